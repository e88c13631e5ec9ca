//! Order inside a chat, freedom between chats, bounds of the queue (contract §4).

use crate::world::{OWNER, World, last_words};
use svs_bot::standin::gemini::Act;

#[test]
fn a_slow_answer_holds_its_own_chat_and_no_other() {
    let world = World::start(&[]);
    world.script("one", 1, Act::Slow(1_200));
    for text in ["one", "two", "three"] {
        world.say(7, 7, text);
    }
    world.say(8, 8, "quick");
    let quick = world.expect(8, "quick");
    let answers = ["one", "two", "three"].map(|text| world.expect(7, text).number);
    assert!(answers.is_sorted() && quick.number < answers[0], "{answers:?} {}", quick.number);
    world.expect_nothing_more();
}

#[test]
fn as_many_chats_as_workers_are_asked_for_at_once() {
    let world = World::start(&[("WORKERS", "4")]);
    world.script("", 12, Act::Slow(800));
    for user in 10..22 {
        world.say(user, user, "hello");
    }
    for user in 10..22 {
        world.expect(user, "hello");
    }
    let at: Vec<i64> = world.asked("hello").iter().map(|asked| asked.at_ms).collect();
    assert_eq!(at.len(), 12);
    assert!(at[3] - at[0] < 800, "four at once: {at:?}");
    for four in at.windows(5) {
        assert!(four[4] - four[0] >= 700, "no fifth beside four: {at:?}");
    }
}

#[test]
fn past_a_persons_own_bound_one_refusal() {
    let world = World::start(&[("USER_QUEUE_MAX", "3")]);
    world.script("q1", 1, Act::Slow(2_000));
    for n in 1..=7 {
        world.say(7, 7, &format!("q{n}"));
    }
    world.expect(7, "You already have 3 questions waiting");
    for n in 1..=3 {
        world.expect(7, &format!("q{n}"));
    }
    world.expect_nothing_more();
}

#[test]
fn past_the_bound_of_all_one_refusal_each() {
    let world = World::start(&[("QUEUE_MAX", "2")]);
    world.script("", 2, Act::Slow(2_000));
    for user in [7, 8] {
        world.say(user, user, "first");
    }
    for _ in 0..3 {
        world.say(9, 9, "too many");
    }
    world.expect(9, "Too many people are asking");
    for user in [7, 8] {
        world.expect(user, "first");
    }
    world.say(9, 9, "now?");
    world.expect(9, "now?");
    world.expect_nothing_more();
}

#[test]
fn the_owner_goes_before_a_vip_before_the_others() {
    let world = World::start(&[("WORKERS", "1"), ("VIP_IDS", "20")]);
    world.script("first", 1, Act::Slow(2_000));
    world.say(9, 9, "first");
    world.until("it in hand", || (!world.asked("first").is_empty()).then_some(()));
    for user in [10, 11, 12, 20, OWNER] {
        world.say(user, user, &format!("from {user}."));
    }
    world.settle();
    let order: Vec<String> = world.gemini.asked().iter().map(|it| last_words(&it.body)).collect();
    assert_eq!(order, ["first", "from 1.", "from 20.", "from 10.", "from 11.", "from 12."]);
}

#[test]
fn every_eighth_turn_goes_to_whoever_has_waited_longest() {
    let world = World::start(&[("WORKERS", "1"), ("VIP_IDS", "20,21,22,23,24,25,26,27,28,29")]);
    world.script("first", 1, Act::Slow(3_000));
    world.say(9, 9, "first");
    world.until("it in hand", || (!world.asked("first").is_empty()).then_some(()));
    for user in [10, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29] {
        world.say(user, user, &format!("from {user}."));
    }
    world.settle();
    let order: Vec<String> = world.gemini.asked().iter().map(|it| last_words(&it.body)).collect();
    let at = order.iter().position(|words| words == "from 10.").unwrap();
    assert!((1..=8).contains(&at), "not starved: {order:?}");
    assert_eq!(order.len(), 12);
}

/// One request a minute of one key and one model.
fn scarce(patience: &str) -> World {
    let model = "gemini-3.5-flash-lite";
    World::start(&[
        ("KEY_RPM", "1"),
        ("PATIENCE", patience),
        ("MODEL_LITE", model),
        ("MODEL_FLASH", model),
        ("MODEL_PRO", model),
    ])
}

#[test]
fn who_would_wait_longer_than_patience_is_told_when() {
    let world = scarce("2s");
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    world.say(8, 8, "and I?");
    world.say(8, 8, "and this?");
    for _ in 0..2 {
        assert!(world.expect(8, "quota is used up").text.contains("UTC"));
    }
    world.expect_nothing_more();
}

#[test]
fn who_has_patience_is_told_that_it_takes_long() {
    let world = scarce("10m");
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    for user in [8, 9] {
        world.say(user, user, "and I?");
        world.expect(user, "Your question is saved");
    }
}

#[test]
fn messages_behind_an_unfinished_answer_become_one_question() {
    let world = World::start(&[("JOIN_WINDOW", "60s")]);
    world.script("first", 1, Act::Slow(2_000));
    for text in ["first", "second", "third"] {
        world.say(7, 7, text);
    }
    world.expect(7, "first");
    let joined = world.expect(7, "second");
    assert!(joined.text.contains("third"), "{}", joined.text);
    world.expect_nothing_more();
}
