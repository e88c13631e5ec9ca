//! What is done with bytes from outside, one function a door; shared by the fuzzer and by the replay of its
//! corpora. A target panics when a promise does not hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use svs_bot::config::Environment;
use svs_bot::config::{dotenv, problems_of};
use svs_bot::daemon::http::head_bytes;
use svs_bot::engine::policy::{Keyword, LangChoice, Policy};
use svs_bot::engine::trigger::{question_text, trigger};
use svs_bot::engine::{mask, mask::Masker, task};
use svs_bot::json::{self, Element, PageSplitter};
use svs_bot::types::{IncomingBody, Role, UserId};
use svs_bot::wire::gemini::{self, Reader};
use svs_bot::wire::pgdump::Dump;
use svs_bot::wire::postgrest::{fault, read};
use svs_bot::wire::{Response, table, telegram};

#[path = "../support/telegram_html.rs"]
mod telegram_html;

/// What is done with the bytes at one door.
type Door = fn(&[u8]);

/// Every door by its name.
pub(crate) const TARGETS: &[(&str, Door)] = &[
    ("update", update),
    ("page", page),
    ("gemini_events", gemini_events),
    ("gemini_error", gemini_error),
    ("postgrest", postgrest),
    ("env", env),
    ("render", render),
    ("http_head", http_head),
    ("pg_dump", pg_dump),
];

/// Runs a target by its name.
pub(crate) fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target {name}")).1(bytes);
}

fn policy() -> Policy {
    Policy {
        bot: UserId(42),
        bot_name: "svs_bot".to_owned(),
        owners: vec![UserId(7)],
        vips: Vec::new(),
        premiums: Vec::new(),
        normals: Vec::new(),
        default_role: Role::Normal,
        allowed_chats: None,
        rounds: [1; 5],
        vip_slots: 5,
        session_idle_ms: 1_000,
        keywords: ["小助手", "hey bot"].into_iter().map(Keyword::new).collect(),
        queue_max: 10,
        user_queue_max: 5,
        join_window_ms: 1_000,
        media_max_bytes: 1 << 20,
        lang: LangChoice::Auto,
    }
}

/// Update → what is asked: nothing grows, and a command is nothing but letters.
fn update(bytes: &[u8]) {
    let Ok(incoming) = telegram::read_update(bytes) else { return };
    let (IncomingBody::Message(message) | IncomingBody::Edited(message)) = incoming.body else {
        return;
    };
    let policy = policy();
    if let svs_bot::engine::trigger::Trigger::Command { name, .. } = trigger(&policy, &message) {
        assert!(!name.contains(['/', '@', ' ']), "{name:?}");
    }
    let text = question_text(&policy, &message);
    assert!(text.len() <= message.text.len());
    let _tier = task::tier(&text, message.media.is_some(), Role::Normal, true);
    let secret = "AIzaSyA-1234567890-abcdefghijklmnopqrstu";
    let masked = Masker::new(&[secret]).mask(&text).unwrap_or(text);
    assert!(!masked.contains(secret));
}

/// A page of updates gives the same elements whole and in pieces.
fn page(bytes: &[u8]) {
    let feed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut splitter = PageSplitter::new();
        let mut found = Vec::new();
        for piece in pieces {
            let fed = splitter.feed(piece, &mut |element| {
                found.push(match element {
                    Element::Whole(bytes) => bytes.to_vec(),
                    Element::TooLarge { update_id, bytes } => {
                        format!("{update_id:?} {bytes}").into_bytes()
                    }
                });
            });
            if fed.is_err() {
                return (found, None);
            }
        }
        (found, Some(splitter.into_envelope()))
    };
    let whole = feed(&mut std::iter::once(bytes));
    let size = bytes.first().map_or(1, |byte| usize::from(*byte) % 7 + 1);
    let pieces = feed(&mut bytes.chunks(size));
    assert_eq!(whole.1.is_some(), pieces.1.is_some());
    if whole.1.is_some() {
        assert_eq!(whole, pieces);
    }
}

/// An answer reads the same in whatever pieces it comes, and its text is bounded and without NUL.
fn gemini_events(bytes: &[u8]) {
    let read = |size: usize| {
        let mut reader = Reader::new("gemini-2.5-flash");
        for piece in bytes.chunks(size) {
            if reader.feed(piece) == ControlFlow::Break(()) {
                break;
            }
        }
        let text = reader.text().to_owned();
        assert!(text.len() <= 64 * 1024 && !text.contains('\0'));
        (text, reader.finish())
    };
    let size = bytes.len() % 11 + 1;
    assert_eq!(read(bytes.len().max(1)), read(size));
}

/// The first byte chooses the status, the rest is the body.
fn gemini_error(bytes: &[u8]) {
    let (first, body) = bytes.split_first().unwrap_or((&0, &[]));
    for status in [400, 401, 403, 404, 429, 499, 500, 503, 504] {
        let _failure = gemini::classify(status, body, None);
    }
    let _failure = gemini::classify(u16::from(*first) + 256, body, Some(u32::from(*first)));
}

fn postgrest(bytes: &[u8]) {
    let _ids = read::ids(bytes);
    let _named = read::named_ids(bytes);
    let _pairs = read::pairs(bytes);
    let _marks = read::marks(bytes);
    let _rows = read::registry(bytes);
    if let Some(page) = read::page_rows(bytes) {
        for row in page.root().list() {
            let mut column = |name: &str| table::json_column(row, name);
            let _row = table::history(&mut column, "id", &|_, written| written.unix_us(0));
            let _row = table::registry(&mut column, &|_, written| written.unix_us(0));
        }
    }
    for status in [200, 201, 400, 401, 402, 403, 404, 406, 409, 413, 429, 500, 503, 504, 540] {
        let response = Response {
            status,
            retry_after_s: None,
            date_ms: None,
            body: bytes.to_vec(),
            content_range: None,
        };
        let result = Ok(response);
        let _may = fault::may_be_done(&result);
        let _fault = fault::judge(&result, "chat_history", &["chat_id", "metadata"]);
    }
}

/// What was read can be written and read again; a problem never quotes a secret.
fn env(bytes: &[u8]) {
    let lines = dotenv::parse(bytes);
    for (name, value) in &lines.values {
        let again = dotenv::parse(dotenv::line(name, value).as_bytes());
        assert_eq!(again.values.get(name), Some(value), "{name}");
    }
    let environment = Environment {
        vars: BTreeMap::new(),
        folder: PathBuf::from("/nowhere"),
        system_file: PathBuf::from("/nowhere/env"),
        zoneinfo: Vec::new(),
        localtime: PathBuf::from("/nowhere/zone"),
        uid: None,
    };
    let problems = problems_of(&lines.values, &environment);
    // Wherever a secret was put by mistake, what looks like one is not shown.
    for problem in problems {
        let problem = problem.to_string();
        assert_eq!(mask::mask(&problem), None, "a secret is quoted: {problem}");
    }
}

fn render(bytes: &[u8]) {
    // A header stands in front of some text: an answer of nothing visible is never rendered.
    let text = String::from_utf8_lossy(bytes);
    telegram_html::check(&format!("x{text}"), "fuzz");
}

/// A head is within its bound, and its beginnings are no heads.
fn http_head(bytes: &[u8]) {
    match head_bytes(bytes) {
        Ok(Some(used)) => {
            assert!(used <= bytes.len() && used <= 8 * 1024);
            let before = bytes.get(..used - 1).unwrap_or_default();
            assert!(!matches!(head_bytes(before), Ok(Some(_))), "half a head is a head");
        }
        Ok(None) => assert!(bytes.len() < 8 * 1024),
        Err(status) => assert!(matches!(status, 400 | 431)),
    }
}

fn pg_dump(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut dump = Dump::default();
    for line in text.lines() {
        let taken = dump.line(line, &mut |mut row| {
            let table = row.table;
            let mut column = |name: &str| row.take(name);
            if table == "chat_history" {
                let _row = table::history(&mut column, "id", &|_, written| written.unix_us(0));
            } else {
                let _row = table::registry(&mut column, &|_, written| written.unix_us(0));
            }
        });
        if taken.is_err() {
            return;
        }
    }
    let _end = dump.end();
    let _value = json::parse(bytes);
}
