//! Bad input from Telegram: whatever comes, it is set aside and the next message is answered.

use crate::world::World;
use std::fmt::Write as _;
use svs_bot::standin::telegram::Outcome;

/// Contract §5.5; a debug build's code is itself several megabytes more.
pub(crate) const PEAK_KIB_MAX: u64 = if cfg!(debug_assertions) { 28 << 10 } else { 20 << 10 };

/// A message as JSON text, from user 7 in the private chat, with these further fields.
fn message(update_id: i64, text: &str, more: &str) -> String {
    format!(
        r#"{{"update_id":{update_id},"message":{{"message_id":{update_id},"date":1,"chat":{{"id":7,"type":"private"}},"from":{{"id":7,"is_bot":false,"first_name":"U","language_code":"en"}},"text":{text}{more}}}}}"#
    )
}

/// Puts these lines in as they are, then a person writes and is answered.
fn check(world: &World, case: &str, lines: &str) {
    world.control("push", lines);
    let text = format!("after {case}");
    world.say(8, 8, &text);
    world.expect(8, &text);
}

#[test]
fn updates_of_every_broken_kind() {
    let world = World::start(&[]);
    let mut id = 200_000_000;
    let mut next = || {
        // Room for the updates of the person between.
        id += 100;
        id
    };
    for (case, line) in [
        (
            "an unknown type",
            format!(r#"{{"update_id":{},"new_thing_of_2027":{{"a":[1,2]}}}}"#, next()),
        ),
        ("no body", format!(r#"{{"update_id":{},"message":{{}}}}"#, next())),
        ("a null body", format!(r#"{{"update_id":{},"message":null}}"#, next())),
        ("a list for a body", format!(r#"{{"update_id":{},"message":[]}}"#, next())),
        ("a number for a text", message(next(), "7", "")),
        ("null for a text", message(next(), "null", "")),
        ("an empty text", message(next(), "\"\"", "")),
        ("blanks", message(next(), "\"  \\n \"", "")),
        (
            "entities out of range",
            message(
                next(),
                "\"hi\"",
                r#","entities":[{"type":"mention","offset":-5,"length":99999999999}]"#,
            ),
        ),
        ("entities of wrong types", message(next(), "\"hi\"", r#","entities":{"a":1}"#)),
        (
            "a chat without id",
            format!(
                r#"{{"update_id":{},"message":{{"message_id":1,"date":1,"chat":{{"type":"private"}},"from":{{"id":7}},"text":"x"}}}}"#,
                next()
            ),
        ),
        (
            "a fraction for an id",
            format!(
                r#"{{"update_id":{},"message":{{"message_id":1.5,"date":1,"chat":{{"id":7.5,"type":"private"}},"from":{{"id":7}},"text":"x"}}}}"#,
                next()
            ),
        ),
        (
            "a huge id",
            format!(
                r#"{{"update_id":{},"message":{{"message_id":1,"date":1,"chat":{{"id":99999999999999999999999,"type":"private"}},"from":{{"id":7}},"text":"x"}}}}"#,
                next()
            ),
        ),
        (
            "a text for an id",
            format!(
                r#"{{"update_id":{},"message":{{"message_id":"x","date":1,"chat":{{"id":"7","type":"private"}},"from":{{"id":"7"}},"text":"x"}}}}"#,
                next()
            ),
        ),
        (
            "no sender",
            format!(
                r#"{{"update_id":{},"message":{{"message_id":1,"date":1,"chat":{{"id":7,"type":"private"}},"text":"x"}}}}"#,
                next()
            ),
        ),
        (
            "an unknown chat type",
            format!(
                r#"{{"update_id":{},"message":{{"message_id":1,"date":1,"chat":{{"id":7,"type":"hologram"}},"from":{{"id":7}},"text":"x"}}}}"#,
                next()
            ),
        ),
        (
            "a callback of nothing",
            format!(r#"{{"update_id":{},"callback_query":{{"id":"q"}}}}"#, next()),
        ),
    ] {
        check(&world, case, &line);
    }
    assert!(world.is_running());
}

#[test]
fn texts_of_every_broken_kind_are_answered() {
    let world = World::start(&[]);
    let mut controls = String::from("\"controls ");
    for code in 0..0x20 {
        let _ = write!(controls, "\\u{code:04x}");
    }
    controls.push_str("\\u007f\\u0085\\u2028\\u202e\\ufeff\\ufffe end\"");
    let mut id = 300_000_000;
    for (case, text) in [
        ("a lone high surrogate", r#""one \ud83d end""#.to_owned()),
        ("a lone low surrogate", r#""two \ude00 end""#.to_owned()),
        ("surrogates in the wrong order", r#""three \ude00\ud83d end""#.to_owned()),
        ("controls", controls),
        ("markup", r#""<b>&amp; <tg-spoiler> ``` [a](javascript:1) end""#.to_owned()),
        ("100,000 characters", format!("\"{} end\"", "很".repeat(100_000))),
    ] {
        id += 100;
        let before = world.telegram.sent_total();
        check(&world, case, &message(id, &text, ""));
        world.settle();
        assert!(
            world.telegram.sent_total() >= before + 2,
            "{case}: no word for it\n{}",
            world.log()
        );
    }
}

#[test]
fn an_update_of_four_megabytes_holds_nobody_up() {
    let world = World::start(&[]);
    let big = format!("\"{}\"", "x".repeat(4_000_000));
    check(&world, "four megabytes of text", &message(400_001_000, &big, ""));
    let junk = format!(r#","junk":[{}1]"#, "1,".repeat(1_900_000));
    check(&world, "four megabytes of junk", &message(400_002_000, "\"small text\"", &junk));
    let mut page = String::new();
    for id in 0..100 {
        let more = format!(r#","junk":"{}""#, "y".repeat(40_000));
        page.push_str(&message(400_003_000 + id, &format!("\"part {id}\""), &more));
        page.push('\n');
    }
    check(&world, "four megabytes of page", &page);
    world.settle();
    assert!(world.peak_kib() < PEAK_KIB_MAX, "{} KiB", world.peak_kib());
}

#[test]
fn ids_of_both_ends_are_ids() {
    let world = World::start(&[]);
    let group: i64 = -1_009_999_999_999;
    let user = 4_503_599_627_370_495;
    world.say(group, user, "admin, hello");
    world.expect(group, "1/3");
    world.say(user, user, "hello");
    world.expect(user, "hello");
}

#[test]
fn pages_that_are_no_pages() {
    let world = World::start(&[]);
    for (n, page) in [
        "<html>captive portal</html>",
        "",
        "{\"ok\":true,\"result\":[{\"update_id\":1,\"mess",
        "{\"ok\":true,\"result\":{}}",
        "{\"ok\":true}",
        "{\"ok\":false}",
        "null",
        "[]",
        "\u{feff}{\"ok\":true,\"result\":[}",
        "{\"ok\":true,\"result\":[1,null,\"x\"]}",
        "{\"ok\":true,\"result\":[{\"message\":{\"text\":\"no number\"}}]}",
        &format!(
            "{{\"ok\":true,\"result\":[{{\"update_id\":50,\"message\":{}1{}}}]}}",
            "[".repeat(600),
            "]".repeat(600)
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let page: &str = page;
        // The open poll ends with the first of these; the next one meets the page.
        world.fault("getupdates", None, 1, Outcome::Page(200, page.to_owned()));
        for text in ["before", "after"] {
            let text = format!("{text} {n}");
            world.say(7, 7, &text);
            world.expect(7, &text);
        }
    }
    world.expect_nothing_more();
}

#[test]
fn replies_to_sending_that_are_no_replies() {
    let world = World::start(&[]);
    for (n, page) in [
        "<html>",
        "",
        "{\"ok\":true",
        "{\"ok\":true}",
        "null",
        "{\"ok\":false,\"error_code\":\"x\"}",
    ]
    .into_iter()
    .enumerate()
    {
        world.fault("sendmessage", Some(7), 1, Outcome::Page(200, page.to_owned()));
        world.say(7, 7, &format!("number {n}"));
        world.say(8, 8, &format!("free {n}"));
        world.expect(8, &format!("free {n}"));
        world.settle();
    }
    world.say(7, 7, "the next one");
    world.until("the next one", || {
        world
            .telegram
            .sent()
            .iter()
            .any(|sent| sent.chat == 7 && sent.text.contains("the next one"))
            .then_some(())
    });
}
