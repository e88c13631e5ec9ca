//! Order inside a chat, freedom between chats, bounds of the queue (contract §4).

use crate::world::World;
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
