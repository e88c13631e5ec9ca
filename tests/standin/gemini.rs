//! Gemini as it is played.

use super::*;
use gemini::{Act, Gemini, Limits, Script, failure};

const LITE: &str = "gemini-3.5-flash-lite";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hello"}]}]}"#;

fn start() -> (Gemini, Arc<AtomicI64>) {
    let (hand, clock) = hand_clock(1_795_300_000_000);
    let keys = [("k1", "p"), ("k2", "p"), ("k3", "q")];
    let options = gemini::Options {
        port: 0,
        keys: keys.map(|(key, project)| (key.into(), project.into())).into(),
        any_key: false,
        limits: BTreeMap::from([(LITE.into(), Limits { rpm: Some(2), rpd: Some(3), tpm: None })]),
        unlimited: false,
        first_ms: 0,
        pace_ms: 0,
        piece_chars: 8,
        keep_last: 100,
        clock,
        control: None,
        journal: None,
    };
    (Gemini::start(options).unwrap(), hand)
}

fn ask(gemini: &Gemini, key: &str, model: &str, verb: &str, body: &str) -> (u16, String) {
    let path = format!("/v1beta/models/{model}:{verb}");
    post(&gemini.url(), &path, &format!("\r\nx-goog-api-key: {key}"), body)
}

#[track_caller]
fn check_body(model: &str, body: &str, wanted: &str) {
    let (gemini, _) = start();
    let (status, text) = ask(&gemini, "k1", model, "generateContent", body);
    assert!(format!("{status} {text}").contains(wanted), "{status} {text}");
}

#[test]
fn the_question_comes_back() {
    check_body(LITE, HELLO, "> hello");
}
#[test]
fn an_unknown_field_is_refused() {
    let body = HELLO.replacen('{', r#"{"context":1,"#, 1);
    check_body(LITE, &body, r#"Unknown name \"context\""#);
}
#[test]
fn the_last_turn_must_be_the_users() {
    check_body(LITE, &HELLO.replace("user", "model"), "Requests ending with a model turn");
}
#[test]
fn empty_parts_are_refused() {
    check_body(LITE, r#"{"contents":[{"role":"user","parts":[]}]}"#, "must not be empty");
    check_body(LITE, &HELLO.replace("hello", ""), "required oneof field 'data'");
}
#[test]
fn minimal_thinking_is_not_for_every_model() {
    let config = r#","generationConfig":{"thinkingConfig":{"thinkingLevel":"minimal"}}}"#;
    let body = format!("{}{config}", &HELLO[..HELLO.len() - 1]);
    check_body("gemini-3.8-flash", &body, "400 ");
    check_body(LITE, &body, "200 ");
    check_body(LITE, &body.replace("minimal", "deep"), "400 ");
}
#[test]
fn a_short_limit_cuts_the_answer() {
    let body =
        format!(r#"{},"generationConfig":{{"maxOutputTokens":2}}}}"#, &HELLO[..HELLO.len() - 1]);
    check_body(LITE, &body, r#""finishReason":"MAX_TOKENS""#);
}

#[test]
fn keys_of_one_project_share_its_quota() {
    let (gemini, hand) = start();
    let status = |key: &str| ask(&gemini, key, LITE, "generateContent", HELLO).0;
    assert_eq!([status("k1"), status("k2"), status("k1"), status("k3")], [200, 200, 429, 200]);
    hand.fetch_add(60_000, Ordering::Relaxed);
    assert_eq!([status("k2"), status("k1")], [200, 429]);
    hand.fetch_add(60_000, Ordering::Relaxed);
    let (_, text) = ask(&gemini, "k1", LITE, "generateContent", HELLO);
    assert!(text.contains("PerDay") && !text.contains("PerMinute"), "{text}");
    assert!(text.contains(r#""quotaValue":"3""#), "{text}");
    hand.fetch_add(24 * 3_600_000, Ordering::Relaxed);
    assert_eq!(status("k1"), 200);
    assert_eq!((gemini.total(200), gemini.total(429)), (5, 3));
    assert_eq!(gemini.asked().len(), 8);
}

#[test]
fn bad_keys_are_told_apart_from_bad_requests() {
    let (gemini, _) = start();
    let (status, text) = ask(&gemini, "nonsense", LITE, "generateContent", "nonsense");
    assert_eq!((status, text.contains("API_KEY_INVALID")), (400, true));
    let (status, text) = ask(&gemini, "k1", LITE, "generateContent", "nonsense");
    assert_eq!((status, text.contains("API_KEY_INVALID")), (400, false));
    let head = format!("GET /v1beta/models/{LITE} HTTP/1.1\r\nx-goog-api-key: k1");
    assert_eq!(exchange(&gemini.url(), &head, b"").0, 200);
}

/// The pieces of a stream, and whether it ended with a `finishReason`.
fn stream(gemini: &Gemini) -> (u16, String, bool) {
    let path = format!("/v1beta/models/{LITE}:streamGenerateContent?alt=sse");
    let (status, text) = post(&gemini.url(), &path, "\r\nx-goog-api-key: k3", HELLO);
    let mut said = String::new();
    for event in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event = Data::parse(event.as_bytes()).unwrap();
        for candidate in event.at("candidates").list() {
            for part in candidate.at("content").at("parts").list() {
                said.push_str(part.at("text").str());
            }
        }
    }
    (status, said, text.contains("finishReason"))
}

#[test]
fn a_stream_can_go_wrong_after_200() {
    let script = |act| Script { times: 1, act, ..Script::default() };
    for (act, finished) in [
        (Act::Say("twelve chars".into()), true),
        (Act::Cut, false),
        (Act::Stall(1), false),
        (Act::FailMidway(failure("overloaded", LITE, 0)), false),
    ] {
        let (gemini, _) = start();
        gemini.script(script(act.clone()));
        let (status, said, ended) = stream(&gemini);
        assert_eq!((status, ended), (200, finished), "{act:?}");
        assert!(!said.is_empty());
    }
    let (gemini, _) = start();
    gemini.script(script(Act::LoseReply));
    assert_eq!(stream(&gemini).0, 0);
    assert_eq!(stream(&gemini).0, 200);
}

#[test]
fn scripts_wait_for_their_key_model_or_words() {
    let (gemini, _) = start();
    let act = Act::Fail(failure("leaked", LITE, 0));
    gemini.script(Script { key: Some("k3".into()), times: 1, act, ..Script::default() });
    let act = Act::BlockPrompt("SAFETY".into());
    gemini.script(Script { prompt: Some("bomb".into()), times: 1, act, ..Script::default() });
    assert_eq!(ask(&gemini, "k1", LITE, "generateContent", HELLO).0, 200);
    assert_eq!(ask(&gemini, "k3", LITE, "generateContent", HELLO).0, 403);
    let (status, text) =
        ask(&gemini, "k3", LITE, "generateContent", &HELLO.replace("hello", "bomb"));
    assert_eq!((status, text.contains("blockReason")), (200, true));
}
