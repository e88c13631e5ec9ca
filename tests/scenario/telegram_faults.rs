//! What Telegram does to the bot (api-reference A6–A9), and that nobody in a chat suffers for it.

use crate::world::{TOKEN, World, gemini_options};
use std::time::Duration;
use svs_bot::standin::data::{Data, map};
use svs_bot::standin::telegram::{Fault, Outcome};

const GROUP: i64 = -500;

#[test]
fn a_flooded_chat_waits_alone() {
    let world = World::start(&[]);
    world.fault("sendmessage", Some(7), 1, Outcome::Flood(2));
    world.say(7, 7, "flooded");
    world.until("the 429", || {
        world.telegram.calls().iter().any(|call| call.status == 429).then_some(())
    });
    world.say(8, 8, "free");
    let free = world.expect(8, "free");
    let late = world.expect(7, "flooded");
    assert!(free.number < late.number);
    let calls = world.telegram.calls();
    let at = |chat: &str, status: u16| {
        let fits = |call: &&svs_bot::standin::telegram::Call| {
            call.method == "sendmessage" && call.status == status && call.params["chat_id"] == chat
        };
        calls.iter().filter(fits).map(|call| call.at_ms).collect::<Vec<_>>()
    };
    assert_eq!(at("7", 429).len(), 1);
    assert!(at("7", 200)[0] - at("7", 429)[0] >= 2_000, "not before the time is over");
}

#[test]
fn a_gateways_page_is_waited_out() {
    let world = World::start(&[]);
    world.fault("sendmessage", None, 2, Outcome::Page(502, "<html>Bad Gateway</html>".into()));
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    world.fault("getupdates", None, 2, Outcome::Page(502, "<html>Bad Gateway</html>".into()));
    for n in 1..=3 {
        world.say(7, 7, &format!("again {n}"));
        world.expect(7, &format!("again {n}"));
    }
    world.expect_nothing_more();
}

#[test]
fn a_lost_reply_shows_an_answer_twice_at_most() {
    let world = World::start(&[]);
    world.fault("sendmessage", Some(7), 1, Outcome::LoseReply);
    world.say(7, 7, "hello");
    world.say(7, 7, "next");
    world.until("the answer after", || {
        world.telegram.sent().iter().any(|sent| sent.text.contains("next")).then_some(())
    });
    let copies = world.telegram.sent().iter().filter(|sent| sent.text.contains("hello")).count();
    assert!((1..=2).contains(&copies), "{copies}");
    assert_eq!(world.asked("hello").len(), 1, "sending again is not asking again");
}

#[test]
fn a_connection_that_closes_is_tried_again() {
    let world = World::start(&[]);
    world.fault("sendmessage", Some(7), 2, Outcome::HangUp);
    world.fault("getupdates", None, 2, Outcome::HangUp);
    for n in 1..=3 {
        world.say(7, 7, &format!("hello {n}"));
    }
    for n in 1..=3 {
        world.expect(7, &format!("hello {n}"));
    }
    world.expect_nothing_more();
}

#[test]
fn refused_formatting_is_sent_as_plain_text() {
    let world = World::start(&[]);
    let why =
        "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"b\"";
    world.fault("sendmessage", Some(7), 1, Outcome::Refuse(400, why.into()));
    world.say(7, 7, "hello");
    let sent = world.expect(7, "hello");
    assert_eq!(sent.parse_mode, "");
    assert!(!sent.text.contains("<b") && !sent.text.contains("&"), "{}", sent.text);
    world.expect_nothing_more();
}

#[test]
fn who_blocked_the_bot_is_set_aside_and_others_go_on() {
    let world = World::start(&[]);
    world.telegram.chat(7, |chat| chat.forbidden = Some("bot was blocked by the user".into()));
    world.say(7, 7, "hello");
    world.say(8, 8, "hello");
    world.expect(8, "hello");
    world.expect_nothing_more();
    assert_eq!(world.number("SELECT count(*) FROM outbox_parked"), 1);
    world.telegram.chat(7, |chat| chat.forbidden = None);
    world.say(7, 7, "back again");
    world.expect(7, "back again");
}

#[test]
fn a_group_that_becomes_a_supergroup_keeps_its_talk() {
    const SUPER: i64 = -1_000_000_000_500;
    let world = World::start(&[]);
    world.say(GROUP, 7, "admin one");
    world.expect(GROUP, "@user7, 1/3");
    world.telegram.chat(GROUP, |chat| chat.migrated_to = Some(SUPER));
    world.telegram.chat(SUPER, |chat| chat.kind = "supergroup".into());
    world.say(GROUP, 7, "two");
    world.expect(SUPER, "@user7, 2/3");
    world.say(SUPER, 7, "three");
    world.expect(SUPER, "@user7, 3/3");
    world.expect_nothing_more();
}

fn conflict() -> Outcome {
    let why = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    Outcome::Refuse(409, why.into())
}

#[test]
fn one_conflict_is_nothing() {
    let world = World::start(&[]);
    world.fault("getupdates", None, 1, conflict());
    for n in 1..=2 {
        world.say(7, 7, &format!("hello {n}"));
        world.expect(7, &format!("hello {n}"));
    }
    world.until("readiness", || world.is_ready().then_some(()));
}

#[test]
fn conflict_after_conflict_is_unready_and_never_the_end() {
    let world = World::start(&[]);
    world.until("readiness", || world.is_ready().then_some(()));
    world.fault("getupdates", None, 1_000, conflict());
    // Ends the open poll, if there is one; it may be the last that is heard.
    world.say(7, 7, "hello");
    world.until("unreadiness", || (!world.is_ready()).then_some(()));
    world.until_log("another program polls with this token");
    let (_, why) = world.page("/readyz");
    assert!(why.contains("409"), "{why}");
    assert_eq!(world.page("/healthz").0, 200);
    assert!(world.is_running());
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
}

#[test]
fn a_webhook_in_the_way_is_removed_and_its_updates_are_kept() {
    let world = World::prepare(&[], gemini_options());
    world.call("setWebhook", "{\"url\":\"https://example.org/hook\"}");
    world.say(7, 7, "waiting at the webhook");
    world.run();
    world.expect(7, "waiting at the webhook");
    world.until_log("a webhook was set: removed");
    world.call("setWebhook", "{\"url\":\"https://example.org/hook\"}");
    world.say(7, 7, "while running");
    world.expect(7, "while running");
    world.expect_nothing_more();
}

#[test]
fn an_unknown_token_at_the_start_is_the_end() {
    let world = World::prepare(
        &[("TELEGRAM_BOT_TOKEN", "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw2")],
        gemini_options(),
    );
    world.run();
    assert_eq!(world.wait_exit(), Some(1));
    let log = world.log();
    assert!(log.contains("TELEGRAM_BOT_TOKEN") && log.contains("BotFather"), "{log}");
    assert!(!log.contains("PALDsaw2"), "{log}");
}

#[test]
fn a_token_refused_later_makes_unready_and_recovers() {
    let world = World::start(&[]);
    world.until("readiness", || world.is_ready().then_some(()));
    world.fault("getupdates", None, 1, Outcome::Refuse(401, "Unauthorized".into()));
    // Ends the open poll, if there is one; else it is what the refused poll would have brought.
    world.say(7, 7, "before");
    world.until("unreadiness", || (!world.is_ready()).then_some(()));
    world.say(7, 7, "after");
    world.until_within(Duration::from_secs(100), "the next minute", || {
        world.is_ready().then_some(())
    });
    world.expect(7, "before");
    world.expect(7, "after");
    assert!(!world.log().contains(TOKEN));
}

#[test]
fn unknown_refusals_do_not_hold_the_chat_for_ever() {
    let world = World::start(&[]);
    for why in ["Bad Request: message text is empty", "Bad Request: something new of 2027"] {
        let outcome = Outcome::Refuse(400, why.into());
        world.telegram.fault(Fault {
            method: Some("sendmessage".into()),
            chat: Some(7),
            times: 1,
            outcome,
        });
        world.say(7, 7, "lost");
        world.settle();
    }
    world.say(7, 7, "the next one");
    world.expect(7, "the next one");
}

#[test]
fn a_start_while_telegram_is_away_waits_for_it() {
    let world = World::prepare(&[], gemini_options());
    world.fault("getme", None, 2, Outcome::HangUp);
    world.fault("getupdates", None, 2, Outcome::Page(502, "<html>".into()));
    world.say(7, 7, "early");
    world.run();
    world.expect(7, "early");
    world.until("readiness", || world.is_ready().then_some(()));
}

#[test]
fn nobody_at_telegrams_address_is_not_the_end() {
    let world = World::prepare(&[("TELEGRAM_API_URL", "http://127.0.0.1:1")], gemini_options());
    world.run();
    world.until("the listener", || (world.page("/healthz").0 == 200).then_some(()));
    assert_eq!(world.page("/readyz").0, 503);
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
}

#[test]
fn numbers_that_begin_anew_after_a_quiet_week_are_not_confirmed_unseen() {
    let world = World::start(&[]);
    world.say(7, 7, "before");
    world.expect(7, "before");
    world.settle();
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    world.change("UPDATE inbox SET received_ms = received_ms - 6 * 86400000");
    let chat = map([("id", 7u32.into()), ("type", "private".into())]);
    let from = map([("id", 7u32.into()), ("is_bot", false.into()), ("first_name", "P".into())]);
    let message = map([
        ("message_id", 900u32.into()),
        ("date", 1_790_000_000u32.into()),
        ("chat", chat),
        ("from", from),
        ("text", "after".into()),
    ]);
    let pushed =
        world.telegram.push_raw(map([("update_id", 1_000u32.into()), ("message", message)]));
    assert_eq!(pushed, Some(1_000));
    world.run();
    world.expect(7, "after");
    world.say(7, 7, "and on");
    world.expect(7, "and on");
    world.expect_nothing_more();
}

#[test]
fn a_page_without_numbers_is_no_page() {
    let world = World::start(&[]);
    let page = "{\"ok\":true,\"result\":[{\"message\":{\"text\":\"no number\"}}]}";
    world.fault("getupdates", None, 3, Outcome::Page(200, page.to_owned()));
    for n in 1..=2 {
        world.say(7, 7, &format!("hello {n}"));
        world.expect(7, &format!("hello {n}"));
    }
    // Else whoever sends such pages for ever is asked for them without a pause.
    world.until_log("cannot be read");
}

#[test]
fn a_bot_that_was_thrown_out_says_nothing_more_there() {
    let world = World::start(&[]);
    world.fault("sendmessage", Some(GROUP), 1, Outcome::Flood(1_000));
    world.say(GROUP, 7, "admin, hello");
    world.until("the 429", || {
        world.telegram.calls().iter().any(|call| call.status == 429).then_some(())
    });
    let member = |status: &str| {
        let user = Data::parse(b"{\"id\":123456789,\"is_bot\":true,\"first_name\":\"X\"}").unwrap();
        map([("status", status.into()), ("user", user)])
    };
    let change = map([
        ("chat", map([("id", GROUP.into()), ("type", "group".into()), ("title", "G".into())])),
        ("from", map([("id", 7_i64.into()), ("is_bot", false.into()), ("first_name", "U".into())])),
        ("date", 1_i64.into()),
        ("old_chat_member", member("member")),
        ("new_chat_member", member("kicked")),
    ]);
    world.telegram.push_raw(map([("my_chat_member", change)]));
    world.expect_nothing_more();
    assert_eq!(world.number("SELECT count(*) FROM outbox_parked"), 1);
}
