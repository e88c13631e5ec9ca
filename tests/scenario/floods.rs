//! Floods by what costs no question: pressed buttons, commands, a whole group at once. Work, rows and memory stay bounded,
//! who floods is told once, and everybody else is answered in time (contract §4, §5.5).

use crate::world::{NAME, World};
use std::time::Duration;
use svs_bot::daemon::clock;
use svs_bot::standin::data::map;
use svs_bot::standin::gemini::Act;

/// Rows of the bot's own words that may wait in one chat, and one that may be on its way beside them.
const OWN_WORDS_MAX: i64 = 7;
/// What a flood may cost for good.
const GROWTH_KIB_MAX: u64 = 4 << 10;
/// What an update that leads to nothing leaves in the database: that it was seen.
const ROW_BYTES_MAX: u64 = 160;
/// Longer than this nobody waits because of a flood, also on a loaded machine.
const IN_TIME: Duration = Duration::from_secs(20);

fn press(world: &World, id: &str, from: i64, chat: i64, data: &str) {
    let kind = if chat < 0 { "group" } else { "private" };
    let person = map([
        ("id", from.into()),
        ("is_bot", false.into()),
        ("first_name", "P".into()),
        ("language_code", "en".into()),
    ]);
    let place = map([("id", chat.into()), ("type", kind.into())]);
    let message = map([("message_id", 9_i64.into()), ("date", 1_i64.into()), ("chat", place)]);
    let pressed = map([
        ("id", id.into()),
        ("from", person),
        ("message", message),
        ("chat_instance", "1".into()),
        ("data", data.into()),
    ]);
    world.telegram.push_raw(map([("callback_query", pressed)]));
}

/// How many presses with ids that begin so were answered.
fn answered(world: &World, begin: &str) -> Vec<String> {
    let calls = world.telegram.calls().into_iter();
    let of = calls.filter(|call| call.method == "answercallbackquery" && call.status == 200);
    of.filter_map(|call| call.params.get("callback_query_id").cloned())
        .filter(|id| id.starts_with(begin))
        .collect()
}

fn bytes(world: &World) -> u64 {
    let size = "SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size)";
    u64::try_from(world.number(size)).unwrap()
}

/// What waits now.
fn waiting(world: &World, chat: i64) -> i64 {
    world.number(&format!("SELECT count(*) FROM outbox WHERE chat_id = {chat} AND inbox_id = 0"))
}

/// Somebody else asks and presses while it goes on.
#[track_caller]
fn others_are_served(world: &World, n: i64) {
    let started = clock::monotonic();
    let (person, text) = (500 + n, format!("in between {n}"));
    world.say(person, person, &text);
    let id = format!("honest-{n}");
    press(world, &id, person, person, "forget:no");
    // The button's message says what was chosen, the question is answered: in either order.
    for _ in 0..2 {
        let sent = world.until("a word for somebody else", || {
            world
                .telegram
                .sent()
                .into_iter()
                .find(|it| it.chat == person && it.text.contains(&text))
        });
        assert!(!sent.text.is_empty());
    }
    world.until("an answer to the press", || (!answered(world, &id).is_empty()).then_some(()));
    assert!(started.elapsed() < IN_TIME, "{n}: {:?}", started.elapsed());
}

#[test]
fn thousands_of_presses_cost_little_and_keep_nobody_waiting() {
    const ROUNDS: i64 = 5;
    const PRESSES: i64 = 1_000;
    const GROUP: i64 = -70;
    let world = World::start(&[("BOT_LANG", "en")]);
    others_are_served(&world, 99);
    world.settle();
    let (before_kib, before_bytes) = (world.resident_kib(), bytes(&world));
    let mut most = 0;
    for round in 0..ROUNDS {
        for n in 0..PRESSES {
            let id = format!("{round}-{n}");
            match n % 5 {
                // One finger on one's own buttons, and on one of another version.
                0 => press(&world, &id, 7, 7, "forget:no"),
                1 => press(&world, &id, 7, 7, "forget:yes"),
                2 => press(&world, &id, 7, 7, "of another version"),
                // Somebody's on a button that is the owner's.
                3 => press(&world, &id, 8, 8, "allow:8"),
                // A whole group on a button that is somebody else's.
                _ => press(&world, &id, 1_000 + n, GROUP, "forget:yes"),
            }
        }
        others_are_served(&world, round);
        most = most.max(waiting(&world, 7));
    }
    world.until("all taken", || (world.telegram.pending() == 0).then_some(()));
    most = most.max(waiting(&world, 7));
    world.settle();
    assert!((1..=OWN_WORDS_MAX).contains(&most), "{most} rows waited");
    assert_eq!(waiting(&world, GROUP), 0);
    assert_eq!(world.number("SELECT count(*) FROM grants"), 0, "nobody let themselves in");
    // Each finger was answered, not each press.
    let answers = answered(&world, "").len() as i64;
    assert!((2..=ROUNDS * PRESSES).contains(&answers), "{answers} answers");
    let (after_kib, after_bytes) = (world.resident_kib(), bytes(&world));
    assert!(after_kib < before_kib + GROWTH_KIB_MAX, "from {before_kib} to {after_kib} KiB");
    let each = (after_bytes - before_bytes) / u64::try_from(ROUNDS * PRESSES).unwrap();
    assert!(each < ROW_BYTES_MAX, "{each} bytes a press");
    eprintln!(
        "presses: {answers} of {} answered, {most} rows at most, {each} bytes each, {before_kib} to {after_kib} KiB",
        ROUNDS * PRESSES
    );
}

#[test]
fn a_flood_of_commands_is_slowed_down_in_one_word() {
    const COMMANDS: i64 = 2_000;
    let world = World::start(&[("BOT_LANG", "en")]);
    others_are_served(&world, 99);
    let before_kib = world.resident_kib();
    let mut most = 0;
    let commands = ["/help", "/export", "/forget", "/status", "/nonsense"];
    for (n, command) in (0..COMMANDS).zip(commands.into_iter().cycle()) {
        world.say(7, 7, command);
        if n % 500 == 0 {
            others_are_served(&world, n);
            most = most.max(waiting(&world, 7));
        }
    }
    world.until("all taken", || (world.telegram.pending() == 0).then_some(()));
    most = most.max(waiting(&world, 7));
    world.settle();
    assert!((1..=OWN_WORDS_MAX).contains(&most), "{most} rows waited");
    let sent = world.telegram.sent();
    let slowed = sent.iter().filter(|it| it.chat == 7 && it.text.contains("One thing at a time"));
    assert_eq!(slowed.count(), 1);
    let after_kib = world.resident_kib();
    assert!(after_kib < before_kib + GROWTH_KIB_MAX, "from {before_kib} to {after_kib} KiB");
    // And afterwards all is as before.
    let before = world.telegram.sent().iter().filter(|it| it.chat == 7).count();
    world.say(7, 7, "/help");
    world.until("help", || {
        (world.telegram.sent().iter().filter(|it| it.chat == 7).count() > before).then_some(())
    });
}

#[test]
fn a_group_that_floods_leaves_room_for_everybody_else() {
    const GROUP: i64 = -71;
    const PEOPLE: i64 = 150;
    const EACH: i64 = 10;
    let world = World::start(&[
        ("BOT_LANG", "en"),
        // Who has no session needs no place, so a group of them could fill the queue.
        ("DEFAULT_ROLE", "guest"),
        ("QUEUE_MAX", "40"),
        ("USER_QUEUE_MAX", "3"),
    ]);
    world.telegram.chat(GROUP, |chat| chat.kind = "group".into());
    world.script("flood", 100_000, Act::Slow(200));
    others_are_served(&world, 99);
    world.settle();
    let (before_kib, before_bytes) = (world.resident_kib(), bytes(&world));
    let mut most = [0; 2];
    let queued = format!("SELECT count(*) FROM inbox WHERE chat_id = {GROUP} AND state IN (1, 2)");
    for n in 0..EACH {
        for person in 0..PEOPLE {
            let text = match n % 5 {
                4 => format!("/help@{NAME}"),
                _ => format!("@{NAME} flood {n}"),
            };
            world.say(GROUP, 2_000 + person, &text);
        }
        others_are_served(&world, n);
        most = [most[0].max(world.number(&queued)), most[1].max(waiting(&world, GROUP))];
    }
    assert!((1..=20).contains(&most[0]), "{} questions of the group waited", most[0]);
    assert!((1..=OWN_WORDS_MAX).contains(&most[1]), "{} notices waited", most[1]);
    let (after_kib, after_bytes) = (world.resident_kib(), bytes(&world));
    assert!(after_kib < before_kib + GROWTH_KIB_MAX, "from {before_kib} to {after_kib} KiB");
    let each = (after_bytes - before_bytes) / u64::try_from(PEOPLE * EACH).unwrap();
    assert!(each < 3 * ROW_BYTES_MAX, "{each} bytes a message");
    eprintln!("group: {most:?} rows at most, {each} bytes each, {before_kib} to {after_kib} KiB");
}
