//! PostgREST as it is played.

use super::*;
use postgrest::{Fault, Outcome, Postgrest};

const ROW: &str =
    r#"{"chat_id":1,"user_id":2,"message_text":"hi","created_at":"2026-11-22T10:00:00Z"}"#;

fn start() -> Postgrest {
    let (_, clock) = hand_clock(1_795_300_000_000);
    let key = Secret::new("sb_secret_x");
    Postgrest::start(postgrest::Options {
        port: 0,
        key,
        keep_last: 100,
        clock,
        control: None,
        journal: None,
    })
    .unwrap()
}

fn ask(server: &Postgrest, method: &str, path: &str, prefer: &str, body: &str) -> (u16, String) {
    let head =
        format!("{method} /rest/v1/{path} HTTP/1.1\r\napikey: sb_secret_x\r\nPrefer: {prefer}");
    exchange(&server.url(), &head, body.as_bytes())
}

#[track_caller]
fn check(method: &str, path: &str, prefer: &str, body: &str, wanted: &str) {
    let server = start();
    for text in ["one", "two", "three"] {
        let row = map([
            ("chat_id", 1_i64.into()),
            ("user_id", 2_i64.into()),
            ("message_text", text.into()),
        ]);
        server.insert("chat_history", vec![row]).unwrap();
    }
    server
        .insert("user_registry", vec![map([("chat_id", 1_i64.into()), ("user_id", 2_i64.into())])])
        .unwrap();
    let (status, text) = ask(&server, method, path, prefer, body);
    assert!(format!("{status} {text}").starts_with(wanted), "{status} {text}");
}

#[test]
fn filters_order_and_limits() {
    let texts = |query: &str, wanted: &str| {
        check("GET", &format!("chat_history?select=t:message_text&{query}"), "", "", wanted);
    };
    texts("id=in.(3,1,9)", r#"200 [{"t":"one"},{"t":"three"}]"#);
    texts("id=gt.1&order=id.desc&limit=1", r#"200 [{"t":"three"}]"#);
    texts("order=message_text&offset=1&limit=1", r#"200 [{"t":"three"}]"#);
    texts(
        "or=(id.eq.1,and(id.gt.1,message_text.eq.%22two%22))",
        r#"200 [{"t":"one"},{"t":"two"}]"#,
    );
    texts("message_text=not.eq.one&id=lt.3", r#"200 [{"t":"two"}]"#);
    texts("username=is.null&id=eq.2", r#"200 [{"t":"two"}]"#);
    texts("username=eq.null", "200 []");
}
#[test]
fn unknown_things_have_their_codes() {
    check("GET", "nothing", "", "", r#"404 {"code":"PGRST205""#);
    check("GET", "chat_history?x=eq.1", "", "", r#"400 {"code":"42703""#);
    check("POST", "chat_history", "", r#"{"x":1}"#, r#"400 {"code":"PGRST204""#);
    check("POST", "chat_history", "", "x", r#"400 {"code":"PGRST102""#);
    check("POST", "chat_history", "", r#"{"chat_id":1}"#, r#"400 {"code":"23502""#);
    check("DELETE", "chat_history", "", "", r#"400 {"code":"21000""#);
}
#[test]
fn duplicates_are_refused_ignored_or_merged() {
    let row = r#"{"user_id":2,"chat_id":1,"trigger_count":5}"#;
    let on = "user_registry?on_conflict=user_id,chat_id";
    check("POST", "user_registry", "", row, r#"409 {"code":"23505""#);
    check("POST", on, "resolution=ignore-duplicates", row, "201 ");
    check("POST", on, "resolution=merge-duplicates", row, "200 ");
    let twice = format!("[{row},{row}]");
    check("POST", on, "resolution=merge-duplicates", &twice, r#"500 {"code":"21000""#);
    check(
        "POST",
        "user_registry?on_conflict=user_id",
        "resolution=merge-duplicates",
        row,
        r#"400 {"code":"42P10""#,
    );
}
#[test]
fn an_absent_listed_column_is_null_unless_defaults_are_asked_for() {
    let path = "chat_history?columns=chat_id,user_id,metadata&select=metadata";
    let row = r#"{"chat_id":1,"user_id":2}"#;
    check("POST", path, "return=representation", row, r#"201 [{"metadata":null}]"#);
    check("POST", path, "return=representation,missing=default", row, r#"201 [{"metadata":{}}]"#);
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let server = start();
    let bad =
        r#"{"chat_id":"x","user_id":2,"message_text":"hi","created_at":"2026-11-22T10:00:00Z"}"#;
    let (status, _) = ask(&server, "POST", "chat_history", "", &format!("[{ROW},{bad}]"));
    assert_eq!((status, server.rows("chat_history").len()), (400, 0));
    assert_eq!(ask(&server, "POST", "chat_history", "", &format!("[{ROW},{ROW}]")).0, 201);
    let ids: Vec<i64> =
        server.rows("chat_history").iter().filter_map(|row| row.at("id").int()).collect();
    // The sequence is not turned back by the failed batch.
    assert_eq!(ids, [3, 4]);
}

#[test]
fn a_reply_can_be_lost_and_a_commit_can_come_late() {
    let server = start();
    let fault = |outcome| Fault { method: Some("POST".into()), table: None, times: 1, outcome };
    let count = || server.rows("chat_history").len();
    server.fault(fault(Outcome::LoseReply));
    assert_eq!((ask(&server, "POST", "chat_history", "", ROW).0, count()), (0, 1));
    server.fault(fault(Outcome::HangUp));
    assert_eq!((ask(&server, "POST", "chat_history", "", ROW).0, count()), (0, 1));
    server.fault(fault(Outcome::CommitLater(1)));
    assert_eq!((ask(&server, "POST", "chat_history", "", ROW).0, count()), (0, 1));
    ask(&server, "GET", "chat_history", "", "");
    assert_eq!(count(), 1);
    ask(&server, "GET", "chat_history", "", "");
    assert_eq!(count(), 2);
}

#[test]
fn a_read_never_has_more_than_a_thousand_rows() {
    let server = start();
    let row = map([("chat_id", 1_i64.into()), ("user_id", 2_i64.into())]);
    server.insert("chat_history", vec![row; 1_001]).unwrap();
    let (_, text) = ask(&server, "GET", "chat_history?select=id&limit=5000", "", "");
    assert_eq!(Data::parse(text.as_bytes()).unwrap().list().len(), 1_000);
    let (_, text) = ask(&server, "GET", "chat_history?select=id&id=gt.1000", "", "");
    assert_eq!(text, r#"[{"id":1001}]"#);
}

#[test]
fn updates_and_deletes_follow_their_filter() {
    let server = start();
    ask(&server, "POST", "chat_history", "", &format!("[{ROW},{ROW}]"));
    let path = "chat_history?id=eq.2";
    assert_eq!(ask(&server, "PATCH", path, "", r#"{"response_text":"yes"}"#).0, 204);
    let texts: Vec<Data> =
        server.rows("chat_history").iter().map(|row| row.at("response_text").clone()).collect();
    assert_eq!(texts, [Data::Null, "yes".into()]);
    assert_eq!(ask(&server, "DELETE", path, "", "").0, 204);
    assert_eq!(server.rows("chat_history").len(), 1);
}

#[test]
fn the_gateway_wants_the_key() {
    let server = start();
    for (header, wanted) in [
        ("", "No API key found in request"),
        ("\r\napikey: x", "Invalid API key"),
        ("\r\napikey: sb_secret_x\r\nUser-Agent: Mozilla/5.0", "Forbidden use of secret API key"),
    ] {
        let head = format!("GET /rest/v1/chat_history HTTP/1.1{header}");
        let (status, text) = exchange(&server.url(), &head, b"");
        assert_eq!((status, text.contains(wanted)), (401, true), "{text}");
    }
}

#[test]
fn a_rejected_text_stands_for_a_check_constraint() {
    let server = start();
    server.reject(Some("hi"));
    let (status, text) = ask(&server, "POST", "chat_history", "", ROW);
    assert_eq!((status, text.contains("23514")), (400, true));
}
