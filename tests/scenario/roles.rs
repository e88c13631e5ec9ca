//! Who may do what (contract §4): commands, the owner, strangers, closed chats.

use crate::world::{OWNER, World};
use svs_bot::standin::data::{Data, map};

const GROUP: i64 = -500;

#[test]
fn everyone_has_five_commands() {
    let world = World::start(&[]);
    for (command, words) in [
        ("/start", "Hi user7"),
        ("/help", "What I can do"),
        ("/status", "Your role: normal"),
        ("/vip", "0 of 3"),
        ("/reset", "no conversation"),
    ] {
        world.say(7, 7, command);
        world.expect(7, words);
    }
    world.say(7, 7, "hello");
    world.expect(7, "I remember 0");
    world.say(7, 7, "/reset");
    world.expect(7, "forgotten");
    world.say(7, 7, "hello again");
    world.expect(7, "I remember 0");
    world.expect_nothing_more();
    let menus = world.control("state", "{}");
    assert!(!menus.at("commands").map().unwrap().is_empty());
}

#[test]
fn an_owner_command_is_unknown_to_everyone_else() {
    let world = World::start(&[]);
    world.say(7, 7, "/nonsense");
    let unknown = world.expect(7, "");
    for command in [
        "/grant 7 vip",
        "/revoke 1",
        "/kick",
        "/keys",
        "/park 1",
        "/revive 1",
        "/usage",
        "/sync",
        "/reload",
    ] {
        world.say(7, 7, command);
        assert_eq!(world.expect(7, "").text, unknown.text, "{command}");
    }
    world.say(GROUP, 7, "/keys@scenario_bot");
    assert_eq!(world.expect(GROUP, "").text, unknown.text);
    world.say(GROUP, 7, "/keys@other_bot");
    world.expect_nothing_more();
}

#[test]
fn the_owner_commands() {
    let world = World::start(&[]);
    for (command, words) in [
        ("/grant 50 vip", "50 is now VIP"),
        ("/grant 51 premium 30d", "until"),
        ("/grant 52 king", "/grant ID"),
        ("/revoke 51", "51 is now normal"),
        ("/revoke 51", "nothing to take back"),
        ("/kick", "no group session"),
        ("/keys", "1 of 1 ready"),
        ("/park 1", "set aside"),
        ("/keys", "parked"),
        ("/revive 1", "is back"),
        ("/park 9", "There is no key 9"),
        ("/usage", "Answers today:"),
        ("/sync", "Supabase is not set"),
    ] {
        world.say(OWNER, OWNER, command);
        world.expect(OWNER, words);
    }
    world.say(50, 50, "/status");
    world.expect(50, "VIP");
    world.say(GROUP, 50, "admin, hello");
    world.expect(GROUP, "@user50, 1/7");
    world.say(OWNER, OWNER, "/kick 50");
    world.expect(OWNER, "user50");
    world.say(GROUP, 50, "still there?");
    world.expect_nothing_more();
}

fn by(user: i64) -> Data {
    map([("id", user.into()), ("is_bot", false.into()), ("first_name", "Boss".into())])
}

#[test]
fn only_an_ordinary_message_of_the_owner_commands() {
    let world = World::start(&[]);
    let origin = map([("type", "user".into()), ("date", 1_i64.into()), ("sender_user", by(OWNER))]);
    let group = map([("id", GROUP.into()), ("type", "group".into()), ("title", "G".into())]);
    let bot = map([("id", 77_i64.into()), ("is_bot", true.into()), ("first_name", "B".into())]);
    let anonymous = map([
        ("id", 1_087_968_824_i64.into()),
        ("is_bot", true.into()),
        ("first_name", "Group".into()),
        ("username", "GroupAnonymousBot".into()),
    ]);
    for (case, fields) in [
        ("forwarded", vec![("forward_origin", origin)]),
        ("via a bot", vec![("via_bot", bot)]),
        ("as the group", vec![("sender_chat", group.clone()), ("from", anonymous)]),
        ("as a chat", vec![("sender_chat", group)]),
    ] {
        world.send(GROUP, OWNER, "/grant 50 vip", &fields);
        world.settle();
        world.say(50, 50, "/status");
        let status = world.expect(50, "Your role");
        assert!(status.text.contains("normal"), "{case}: {}", status.text);
    }
    let edited = map([
        ("message_id", 3_i64.into()),
        ("date", 1_i64.into()),
        ("edit_date", 2_i64.into()),
        ("chat", map([("id", OWNER.into()), ("type", "private".into())])),
        ("from", by(OWNER)),
        ("text", "/grant 50 vip".into()),
    ]);
    world.telegram.push_raw(map([("edited_message", edited)]));
    world.telegram.chat(-900, |chat| chat.kind = "channel".into());
    world.say(-900, OWNER, "/grant 50 vip");
    world.settle();
    world.say(50, 50, "/status");
    world.expect(50, "normal");
}

#[test]
fn a_stranger_knocks_and_the_owner_opens() {
    let world = World::start(&[("DEFAULT_ROLE", "blocked")]);
    // So that the bot knows the owner's language.
    world.say(OWNER, OWNER, "/help");
    world.expect(OWNER, "For the owner");
    world.say(GROUP, 7, "admin, hello");
    world.expect_nothing_more();
    world.say(7, 7, "hello?");
    let knock = world.expect(OWNER, "(7) would like to chat");
    world.expect(7, "I may not chat with you yet");
    world.say(7, 7, "hello??");
    world.expect_nothing_more();
    let keyboard = Data::parse(knock.markup.as_bytes()).unwrap();
    let allow =
        keyboard.at("inline_keyboard").list()[0].list()[0].at("callback_data").str().to_owned();
    let press = |user: i64| {
        let message = map([
            ("message_id", knock.id.into()),
            ("date", 1_i64.into()),
            ("chat", map([("id", user.into()), ("type", "private".into())])),
        ]);
        let pressed = map([
            ("id", format!("press-{user}").into()),
            ("from", by(user)),
            ("chat_instance", "1".into()),
            ("data", allow.as_str().into()),
            ("message", message),
        ]);
        world.telegram.push_raw(map([("callback_query", pressed)]));
    };
    press(7);
    world.settle();
    world.say(7, 7, "did it open?");
    world.expect_nothing_more();
    press(OWNER);
    world.expect(7, "let in");
    world.say(7, 7, "now at last");
    world.expect(7, "now at last");
    world.expect_nothing_more();
}

#[test]
fn a_chat_that_is_not_allowed_is_told_once_in_private() {
    let world = World::start(&[("ALLOWED_CHAT_IDS", "-500,999999,8")]);
    world.say(-501, 7, "admin, hello");
    world.expect_nothing_more();
    world.say(7, 7, "hello");
    world.expect(7, "not allowed to chat here");
    world.say(7, 7, "hello again");
    world.say(7, 7, "/help");
    world.expect_nothing_more();
    world.say(GROUP, 7, "admin, hello");
    world.expect(GROUP, "@user7, 1/3");
    world.say(8, 8, "and here");
    world.expect(8, "and here");
}

#[test]
fn who_is_blocked_hears_nothing() {
    let world = World::start(&[]);
    world.say(OWNER, OWNER, "/grant 7 blocked");
    world.expect(OWNER, "7 is now");
    for text in ["hello", "/help", "/start"] {
        world.say(7, 7, text);
        world.say(GROUP, 7, &format!("admin {text}"));
    }
    world.expect_nothing_more();
    world.say(OWNER, OWNER, "/revoke 7");
    world.expect(OWNER, "7 is now normal");
    world.say(7, 7, "hello");
    world.expect(7, "hello");
}
