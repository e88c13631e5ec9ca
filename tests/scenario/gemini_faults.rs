//! What Gemini answers (api-reference B3, B4): who is blamed, what is tried next, what the person reads.

use crate::bad_input::PEAK_KIB_MAX;
use crate::world::{KEY_1, KEY_2, OWNER, World};
use svs_bot::standin::data::Data;
use svs_bot::standin::gemini::{Act, Failure, Script, failure};

const FIRST: &str = "gemini-3.5-flash-lite";
const SECOND: &str = "gemini-3.1-flash-lite";

/// Two keys of two projects; every tier has the same two models.
fn world(settings: &[(&str, &str)]) -> World {
    let keys = format!("{KEY_1}@one,{KEY_2}@two");
    let models = format!("{FIRST},{SECOND}");
    let mut all = vec![("GROUP_D_KEYS", keys.as_str())];
    all.extend(["MODEL_LITE", "MODEL_FLASH", "MODEL_PRO"].map(|name| (name, models.as_str())));
    all.extend(settings);
    World::start(&all)
}

/// `n: state` of each key as `status --json` tells.
fn states(world: &World) -> Vec<String> {
    let out = world.command(&["status", "--json"]).output().unwrap();
    let status = Data::parse(&out.stdout).unwrap();
    status.at("keys").list().iter().map(|key| key.at("state").str().to_owned()).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Blame {
    /// The key alone, for good or until it is proven.
    Key,
    /// The key's project and that model for a while.
    Pair,
    /// The model; the keys stay ready.
    Model,
    /// Nobody: the request itself. The person reads this.
    Request(&'static str),
}

/// Key 1 answers so, always; whoever is to blame is blamed, the question is answered all the same.
#[track_caller]
fn check(kind: &str, blame: Blame) {
    let world = world(&[]);
    let model = (blame == Blame::Model).then(|| FIRST.to_owned());
    let of_chance = matches!(blame, Blame::Key | Blame::Pair);
    let key = of_chance.then(|| KEY_1.to_owned());
    let act = Act::Fail(failure(kind, FIRST, 30));
    world.gemini.script(Script { key, model, prompt: None, times: 1_000, act });
    let tries = || {
        world
            .gemini
            .asked()
            .iter()
            .filter(|asked| asked.key == KEY_1 && asked.status != 200)
            .count()
    };
    // Which key is first is left to chance: in time key 1 has its turn.
    for n in 1..=40 {
        let text = format!("hello {n}");
        world.say(7, 7, &text);
        match blame {
            Blame::Request(words) => world.expect(7, words),
            _ => world.expect(7, &text),
        };
        if n >= 3 && (tries() > 0 || !of_chance) {
            break;
        }
    }
    world.settle();
    let asked = world.gemini.asked();
    let of_key_1 = tries();
    match blame {
        Blame::Key => {
            assert!((1..=4).contains(&of_key_1), "{kind}: {of_key_1} tries with a bad key");
            let states = states(&world);
            assert_ne!(states[0], "ready", "{kind}: {states:?}");
            assert_eq!(states[1], "ready", "{kind}: {states:?}");
        }
        Blame::Pair => {
            assert!((1..=4).contains(&of_key_1), "{kind}: {of_key_1} tries with a spent pair");
            let states = states(&world);
            assert_eq!(states[1], "ready", "{kind}: {states:?}");
            assert_ne!(states[0], "dead", "{kind}: {states:?}");
        }
        Blame::Model => {
            let served: Vec<&str> = asked
                .iter()
                .filter(|asked| asked.status == 200)
                .map(|asked| asked.model.as_str())
                .collect();
            assert_eq!(served, [SECOND; 3], "{kind}");
            assert!(asked.len() <= 12, "{kind}: {} tries", asked.len());
            assert_eq!(states(&world), ["ready", "ready"], "{kind}");
        }
        Blame::Request(_) => {
            assert_eq!(asked.len(), 3, "{kind}: each is asked once");
            assert_eq!(states(&world), ["ready", "ready"], "{kind}");
        }
    }
}

#[test]
fn a_key_that_is_refused_is_blamed_alone() {
    for kind in [
        "api_key_invalid",
        "expired",
        "retired_key",
        "leaked",
        "suspended",
        "service_blocked",
        "ip_blocked",
        "service_disabled",
    ] {
        check(kind, Blame::Key);
    }
}

#[test]
fn a_spent_quota_rests_its_project_and_model() {
    for kind in [
        "per_minute",
        "per_day",
        "tokens",
        "limit_zero",
        "minute_and_day",
        "spend_cap",
        "no_details",
    ] {
        check(kind, Blame::Pair);
    }
}

#[test]
fn a_models_trouble_goes_to_the_next_model() {
    for kind in [
        "overloaded",
        "high_demand",
        "model_not_found",
        "model_closed",
        "internal",
        "deadline",
        "gateway",
    ] {
        check(kind, Blame::Model);
    }
}

#[test]
fn a_bad_request_blames_nobody() {
    check("bad_request", Blame::Request("something went wrong"));
    check("too_large", Blame::Request("too long"));
}

#[test]
fn a_region_is_told_and_no_key_is_dead() {
    let world = world(&[]);
    world.script("", 1, Act::Fail(failure("location", FIRST, 0)));
    world.say(7, 7, "hello");
    world.expect(7, "not available in my server's region");
    world.settle();
    assert!(!states(&world).contains(&"dead".to_owned()));
}

#[test]
fn the_owner_hears_of_a_dead_key() {
    let world = world(&[]);
    let act = Act::Fail(failure("leaked", FIRST, 0));
    world.gemini.script(Script { key: Some(KEY_1.into()), times: 100, act, ..Script::default() });
    for n in 1..=40 {
        world.say(7, 7, &format!("hello {n}"));
        world.expect(7, &format!("hello {n}"));
        if world.gemini.total(403) > 0 {
            break;
        }
    }
    let told = world.expect(OWNER, "aaAA");
    assert!(!told.text.contains(KEY_1), "{}", told.text);
    world.expect_nothing_more();
}

#[test]
fn what_the_model_will_not_say_has_its_own_words() {
    let world = world(&[]);
    for (prompt, act, words) in [
        ("blocked", Act::BlockPrompt("SAFETY".into()), "safety limits"),
        ("prohibited", Act::BlockPrompt("PROHIBITED_CONTENT".into()), "not allowed to answer"),
        ("stopped", Act::Finish("SAFETY".into(), String::new()), "safety limits"),
        ("recited", Act::Finish("RECITATION".into(), String::new()), "protected text"),
        ("nothing", Act::Finish("STOP".into(), String::new()), "No answer came back"),
        ("a new reason", Act::Finish("SOMETHING_NEW".into(), String::new()), ""),
    ] {
        world.script(prompt, 4, act);
        world.say(7, 7, prompt);
        let sent = world.expect(7, words);
        assert!(!sent.text.is_empty());
        world.expect_nothing_more();
    }
    assert_eq!(states(&world), ["ready", "ready"]);
    for (prompt, reason, note) in
        [("long", "MAX_TOKENS", "length limit"), ("cut", "SAFETY", "safety filter")]
    {
        world.script(prompt, 1, Act::Finish(reason.into(), "The first half".into()));
        world.say(7, 7, prompt);
        world.expect(7, "The first half");
        world.expect(7, note);
        world.expect_nothing_more();
    }
}

#[test]
fn an_empty_answer_is_asked_for_once_more() {
    let world = world(&[]);
    world.script("hello", 1, Act::Finish("STOP".into(), String::new()));
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    assert_eq!(world.asked("hello").len(), 2);
}

#[test]
fn thoughts_are_left_out() {
    let world = world(&[]);
    world.script("hello", 1, Act::Think("secret thoughts".into(), "Open words".into()));
    world.say(7, 7, "hello");
    assert!(!world.expect(7, "Open words").text.contains("thoughts"));
}

#[test]
fn a_stream_that_breaks_off_is_asked_for_again() {
    let overloaded = failure("overloaded", FIRST, 0);
    let world = world(&[("STREAM", "edit"), ("ANSWER_TIMEOUT", "2s")]);
    for (n, act) in
        [Act::Cut, Act::Stall(10_000), Act::FailMidway(overloaded), Act::LoseReply, Act::HangUp]
            .into_iter()
            .enumerate()
    {
        let chat = 10 + i64::try_from(n).unwrap();
        let text = format!("number {n}");
        world.script(&text, 1, act);
        world.say(chat, chat, &text);
        world.until(&format!("a whole answer to {text}"), || {
            let all = world.telegram.sent();
            let mine = all.iter().rfind(|sent| sent.chat == chat && !sent.deleted);
            mine.is_some_and(|sent| sent.text.contains("it will talk")).then_some(())
        });
        world.settle();
        let whole =
            world.telegram.sent().iter().filter(|sent| sent.chat == chat && !sent.deleted).count();
        assert_eq!((whole, world.asked(&text).len()), (1, 2), "{text}");
    }
    assert_eq!(states(&world), ["ready", "ready"]);
}

#[test]
fn a_spent_pool_is_told_with_its_time() {
    let world = world(&[]);
    world.script("", 1_000, Act::Fail(failure("per_day", FIRST, 40_000)));
    world.say(7, 7, "hello");
    let told = world.expect(7, "quota is used up");
    assert!(told.text.contains("UTC"), "{}", told.text);
    let asked = world.gemini.asked().len();
    assert!(asked <= 4, "two keys, two models: {asked}");
    world.say(8, 8, "and I?");
    world.expect(8, "quota is used up");
    assert_eq!(world.gemini.asked().len(), asked, "nobody is asked in vain");
    assert_eq!(states(&world), ["spent", "spent"]);
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    world.run();
    world.say(9, 9, "after a restart");
    world.expect(9, "quota is used up");
    assert_eq!(world.gemini.asked().len(), asked, "set-asides survive a restart");
}

#[test]
fn replies_that_are_no_answers_are_not_the_end() {
    let world = world(&[]);
    let html = |status| Act::Fail(Failure { status, body: "<html>captive portal</html>".into() });
    for (prompt, act) in [
        ("html", html(200)),
        ("gone", html(404)),
        ("teapot", html(418)),
        ("list", Act::Raw(Data::from(vec![Data::from(1_i64)]))),
        ("null", Act::Raw(Data::Null)),
        (
            "types",
            Act::Raw(Data::parse(br#"{"candidates":{"content":7},"usageMetadata":"x"}"#).unwrap()),
        ),
    ] {
        world.script(prompt, 1, act);
        world.say(7, 7, prompt);
        world.expect(7, "");
        world.settle();
    }
    // Twenty megabytes of one answer: cut with a word, or refused with one.
    world.script("huge", 4, Act::Say("много ".repeat(2_000_000)));
    world.say(8, 8, "huge");
    world.until("some word", || {
        world.telegram.sent().iter().any(|sent| sent.chat == 8).then_some(())
    });
    world.say(9, 9, "the next message");
    world.expect(9, "the next message");
    assert!(world.peak_kib() < PEAK_KIB_MAX, "{} KiB", world.peak_kib());
}

#[test]
fn nobody_at_geminis_address_ends_in_an_honest_word() {
    let world = World::start(&[("GEMINI_API_URL", "http://127.0.0.1:1"), ("PATIENCE", "3s")]);
    world.say(7, 7, "hello");
    world.expect(7, "The model is having trouble");
    assert_eq!(states(&world), ["ready"]);
}

#[test]
fn a_parked_key_stays_parked_over_a_restart() {
    let world = world(&[]);
    world.say(OWNER, OWNER, "/park 1");
    world.expect(OWNER, "set aside");
    for n in 1..=6 {
        world.say(7, 7, &format!("hello {n}"));
        world.expect(7, &format!("hello {n}"));
        if n == 3 {
            // A message whose reply is still under way might be said again.
            world.settle();
            world.kill();
            world.run();
        }
    }
    assert!(world.gemini.asked().iter().all(|asked| asked.key == KEY_2));
    assert_eq!(states(&world), ["parked", "ready"]);
}
