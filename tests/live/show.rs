//! Growing answers: shown while they grow, delivered once, whatever happens on the way.

use super::*;
use svs_bot::standin::gemini::failure;

/// An answer of this many pieces comes one piece each so many milliseconds.
const PACE_MS: u64 = 150;
const PIECES: usize = 24;

fn growing(change: fn(&mut Config)) -> Setup {
    Setup { pace_ms: PACE_MS, change, ..Setup::default() }
}

fn auto(config: &mut Config) {
    config.stream = StreamSetting::Auto;
}

fn edit(config: &mut Config) {
    config.stream = StreamSetting::Edit;
}

/// Waits until the only message reads like this.
#[track_caller]
fn wait_for_text(world: &World, want: &str) -> Sent {
    for _ in 0..600 {
        let sent = world.telegram.sent();
        if let [only] = sent.as_slice()
            && only.text == want
        {
            return only.clone();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{want}\n{:#?}", world.telegram.sent());
}

fn ask_in_group(world: &World, text: &str) -> i64 {
    world.telegram.push_text(GROUP, PERSON, &format!("@live_bot {text}"))
}

fn fault(world: &World, method: &str, outcome: Outcome) {
    world.telegram.fault(Fault { method: Some(method.into()), chat: None, times: 1, outcome });
}

#[test]
fn a_fast_answer_costs_one_call() {
    let world = World::start(Setup { change: auto, ..Setup::default() });
    world.telegram.push_text(PERSON, PERSON, "hi");
    world.sent(1);
    assert_eq!(world.methods(), ["sendmessage"]);
}

#[test]
fn in_private_drafts_grow_and_one_message_stays() {
    let world = World::start(growing(auto));
    let answer = words(PIECES);
    world.says("grow", &answer);
    world.telegram.push_text(PERSON, PERSON, "grow");
    assert_eq!(wait_for_text(&world, &answer).edits, 0);
    let calls = world.telegram.calls();
    let drafts: Vec<_> = calls.iter().filter(|call| call.method == "sendmessagedraft").collect();
    assert!((2..=6).contains(&drafts.len()), "{}", drafts.len());
    assert!(drafts.iter().all(|draft| draft.status == 200 && draft.params["can_stop"] == "true"));
    assert!(drafts.windows(2).all(|pair| pair[1].at_ms - pair[0].at_ms >= 950));
    assert_eq!(world.methods().last().unwrap(), "sendmessage");
}

#[test]
fn a_server_without_drafts_is_asked_once_and_edits_follow() {
    let world = World::start(Setup { knows_drafts: false, ..growing(auto) });
    let answer = words(PIECES);
    world.says("grow", &answer);
    world.telegram.push_text(PERSON, PERSON, "grow");
    assert!(wait_for_text(&world, &answer).edits > 0);
    world.says("again", &answer);
    world.telegram.push_text(PERSON, PERSON, "again");
    world.sent(2);
    let drafts = world.methods().into_iter().filter(|method| method == "sendmessagedraft");
    assert_eq!(drafts.count(), 1);
}

#[test]
fn in_groups_one_message_replies_and_is_edited_into_the_answer() {
    let world = World::start(growing(auto));
    let answer = words(PIECES * 2);
    world.says("grow", &answer);
    let question = ask_in_group(&world, "grow");
    let sent = wait_for_text(&world, &format!("@Ann, 1/10\n\n{answer}"));
    assert_eq!(sent.reply_to, Some(question));
    assert!((2..=4).contains(&sent.edits), "{}", sent.edits);
}

#[test]
fn an_answer_of_several_messages_begins_where_it_was_shown() {
    let world = World::start(Setup { pace_ms: 10, ..growing(edit) });
    let answer = words(250);
    world.says("grow", &answer);
    world.telegram.push_text(PERSON, PERSON, "grow");
    for _ in 0..600 {
        let sent = world.telegram.sent();
        if sent.last().is_some_and(|last| sent.len() > 1 && last.text.ends_with(" end")) {
            let joined: Vec<&str> = sent.iter().map(|part| part.text.as_str()).collect();
            assert_eq!(joined.join(" ").split_whitespace().collect::<Vec<_>>().join(" "), answer);
            assert!(sent[0].edits > 0);
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{:#?}", world.telegram.sent());
}

#[test]
fn a_flood_stops_previews_and_not_the_answer() {
    for (stream, method) in [(auto as fn(&mut Config), "sendmessagedraft"), (edit, "sendmessage")] {
        let world = World::start(growing(stream));
        let answer = words(PIECES);
        world.says("grow", &answer);
        fault(&world, method, Outcome::Flood(60));
        world.telegram.push_text(PERSON, PERSON, "grow");
        assert_eq!(wait_for_text(&world, &answer).edits, 0);
        assert_eq!(world.methods(), [method, "sendmessage"]);
    }
}

#[test]
fn a_late_edit_never_overwrites_the_answer() {
    let world = World::start(growing(edit));
    let answer = words(PIECES);
    world.says("grow", &answer);
    fault(&world, "editmessagetext", Outcome::Delay(4_000));
    world.telegram.push_text(PERSON, PERSON, "grow");
    wait_for_text(&world, &answer);
    std::thread::sleep(Duration::from_millis(500));
    wait_for_text(&world, &answer);
}

#[test]
fn a_slow_first_preview_leaves_one_message() {
    let world = World::start(growing(edit));
    let answer = words(PIECES);
    world.says("grow", &answer);
    fault(&world, "sendmessage", Outcome::Delay(5_000));
    world.telegram.push_text(PERSON, PERSON, "grow");
    assert_eq!(wait_for_text(&world, &answer).edits, 1);
}

#[test]
fn a_preview_that_is_taken_away_leaves_a_new_message() {
    let world = World::start(growing(edit));
    let answer = words(PIECES);
    world.says("grow", &answer);
    let gone = "Bad Request: message to edit not found".to_owned();
    fault(&world, "editmessagetext", Outcome::Refuse(400, gone));
    world.telegram.push_text(PERSON, PERSON, "grow");
    assert_eq!(world.sent(2)[1].text, answer);
}

#[test]
fn a_failure_in_the_middle_edits_the_preview_into_an_honest_text() {
    let world = World::start(growing(edit));
    // Everything but the last piece, then an error that no repetition mends.
    let act = Act::FailMidway(failure("bad_request", "", 0));
    world.act("grow", act);
    world.telegram.push_text(PERSON, PERSON, &format!("grow {}", words(PIECES)));
    for _ in 0..600 {
        let sent = world.telegram.sent();
        if sent.first().is_some_and(|only| only.text.contains("400")) {
            assert_eq!(sent.len(), 1);
            assert!(sent[0].edits > 0);
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{:#?}", world.telegram.sent());
}

#[test]
fn the_stop_button_makes_the_text_so_far_the_answer() {
    let world = World::start(growing(auto));
    let answer = words(PIECES * 4);
    world.says("grow", &answer);
    world.telegram.push_text(PERSON, PERSON, "grow");
    let draft = loop {
        let calls = world.telegram.calls();
        if let Some(draft) = calls.iter().find(|call| call.method == "sendmessagedraft") {
            break draft.params["draft_id"].parse::<i64>().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let chat = map([("id", PERSON.into()), ("type", "private".into())]);
    let stopped = map([("chat", chat), ("draft_id", draft.into())]);
    world.telegram.push_raw(map([("stopped_message_generation", stopped)]));
    let sent = world.sent(1);
    assert!(answer.starts_with(sent[0].text.as_str()) && sent[0].text.len() < answer.len() / 2);
}

/// The program itself, so that it can be killed.
struct Program(std::process::Child);

impl Program {
    fn start(world: &World, folder: &std::path::Path) -> Self {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_svs-bot"));
        command.arg("run").arg("--data-dir").arg(folder).current_dir(folder);
        command.env_clear().envs([
            ("TELEGRAM_BOT_TOKEN", TOKEN),
            ("TELEGRAM_API_URL", &world.telegram.url()),
            ("GEMINI_API_URL", &world.gemini.url()),
            ("GROUP_A_KEYS", "key-one,key-two"),
            ("KEY_MIN_INTERVAL", "0"),
            ("BOT_OWNER_ID", "7"),
            ("STREAM", "edit"),
            ("HTTP_ADDR", "off"),
        ]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn after_a_crash_the_shown_message_is_edited_on_and_no_second_one_is_sent() {
    let world = World::start_idle(growing(edit));
    let folder = world.folder.join("killed");
    std::fs::create_dir_all(&folder).unwrap();
    let answer = words(PIECES);
    world.says("grow", &answer);
    world.says("grow", &answer);
    let program = Program::start(&world, &folder);
    world.telegram.push_text(PERSON, PERSON, "grow");
    // One edit means that the id of the message was stored before.
    let shown = |edits| world.telegram.sent().first().is_some_and(|sent| sent.edits >= edits);
    while !shown(1) {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(program);
    assert_ne!(world.telegram.sent()[0].text, answer);
    let again = Program::start(&world, &folder);
    wait_for_text(&world, &answer);
    drop(again);
    assert_eq!(world.gemini.asked().len(), 2);
}
