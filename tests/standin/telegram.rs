//! Telegram as it is played.

use super::*;
use telegram::{Fault, Outcome, Telegram};

fn start() -> (Telegram, Arc<AtomicI64>) {
    let (hand, clock) = hand_clock(1_795_300_000_000);
    let options = telegram::Options {
        port: 0,
        token: Secret::new(TOKEN),
        username: "lab_bot".into(),
        keep_last: 3,
        knows_drafts: true,
        knows_rich: false,
        clock,
        control: None,
        journal: None,
    };
    let telegram = Telegram::start(options).unwrap();
    assert_eq!(telegram.push_text(42, 42, "hi"), 1);
    telegram.push_text(-1_000_000_000_007, 42, "hi");
    telegram.chat(-1_000_000_000_007, |chat| {
        chat.is_forum = true;
        chat.topics.insert(7);
    });
    (telegram, hand)
}

fn call(telegram: &Telegram, method: &str, body: &str) -> (u16, Data) {
    let (status, body) = post(&telegram.url(), &format!("/bot{TOKEN}/{method}"), "", body);
    (status, Data::parse(body.as_bytes()).unwrap_or_default())
}

/// One call to a fresh server: `ok`, or what is refused.
#[track_caller]
fn check(method: &str, body: &str, wanted: &str) {
    let (telegram, _) = start();
    let (status, reply) = call(&telegram, method, body);
    let found = match status {
        200 => "ok".to_owned(),
        _ => format!("{status} {}", reply.at("description").str()),
    };
    assert!(found.starts_with(wanted), "{found}");
    assert_eq!(wanted == "ok", reply.at("ok").is_true());
}

#[test]
fn method_names_know_no_case() {
    check("GETME", "{}", "ok");
}
#[test]
fn an_unknown_method_is_not_found() {
    check("sendRichMessage", "{}", "404 Not Found: method not found");
}
#[test]
fn an_unknown_chat_is_not_found() {
    check("sendMessage", r#"{"chat_id":9,"text":"x"}"#, "400 Bad Request: chat not found");
}
#[test]
fn null_becomes_the_text_null() {
    let body = r#"{"chat_id":42,"text":"x","parse_mode":null}"#;
    check("sendMessage", body, "400 Bad Request: unsupported parse_mode");
}
#[test]
fn blanks_alone_are_no_text() {
    let body = r#"{"chat_id":42,"text":" \n "}"#;
    check("sendMessage", body, "400 Bad Request: text must be non-empty");
    check("sendMessage", r#"{"chat_id":42}"#, "400 Bad Request: message text is empty");
}
#[test]
fn the_limit_is_4096_utf16_units_after_parsing() {
    let send = |text: String| {
        map([("chat_id", 42_i64.into()), ("parse_mode", "HTML".into()), ("text", text.into())])
    };
    let fits = send(format!("<b>{}</b>", "😀".repeat(2_048)));
    check("sendMessage", &fits.render(), "ok");
    let over = send("😀".repeat(2_048) + "x");
    check("sendMessage", &over.render(), "400 Bad Request: message is too long");
    let bytes = send("&amp;".repeat(6_554));
    check("sendMessage", &bytes.render(), "400 Bad Request: text is too long");
}
#[test]
fn broken_html_is_told_with_its_byte_offset() {
    let body = r#"{"chat_id":42,"text":"é<b>x</i>","parse_mode":"HTML"}"#;
    let wanted = "400 Bad Request: can't parse entities: Unmatched end tag at byte offset 6, expected \"</b>\", found \"</i>\"";
    check("sendMessage", body, wanted);
}
#[test]
fn a_reply_to_nothing_is_refused_unless_that_is_allowed() {
    let body = |more| {
        format!(r#"{{"chat_id":42,"text":"x","reply_parameters":{{"message_id":99{more}}}}}"#)
    };
    check("sendMessage", &body(""), "400 Bad Request: message to be replied not found");
    check("sendMessage", &body(r#","allow_sending_without_reply":true"#), "ok");
}
#[test]
fn the_general_topic_is_addressed_by_omission() {
    let body =
        |topic| format!(r#"{{"chat_id":-1000000000007,"text":"x","message_thread_id":{topic}}}"#);
    check("sendMessage", &body(7), "ok");
    check("sendMessage", &body(1), "400 Bad Request: message thread not found");
}
#[test]
fn drafts_are_for_private_chats() {
    let body = |chat: i64| format!(r#"{{"chat_id":{chat},"draft_id":1,"text":"x"}}"#);
    check("sendMessageDraft", &body(42), "ok");
    check("sendMessageDraft", &body(-1_000_000_000_007), "400 Bad Request: TEXTDRAFT_PEER_INVALID");
}
#[test]
fn only_own_messages_can_be_edited() {
    let body = |id| format!(r#"{{"chat_id":42,"message_id":{id},"text":"x"}}"#);
    check("editMessageText", &body(1), "400 Bad Request: message can't be edited");
    check("editMessageText", &body(99), "400 Bad Request: message to edit not found");
}
#[test]
fn a_webhook_must_be_https() {
    check("setWebhook", r#"{"url":"http://x"}"#, "400 Bad Request: bad webhook");
}
#[test]
fn an_unknown_action_is_refused() {
    let body = r#"{"chat_id":42,"action":"dance"}"#;
    check("sendChatAction", body, "400 Bad Request: wrong parameter action in request");
}
#[test]
fn an_unknown_button_is_too_old() {
    check(
        "answerCallbackQuery",
        r#"{"callback_query_id":"1"}"#,
        "400 Bad Request: query is too old",
    );
}

#[test]
fn tokens_are_told_apart_by_shape() {
    let (telegram, _) = start();
    for (token, status) in [("123:abd", 401), ("abc", 404), (TOKEN, 200)] {
        let (found, _) = post(&telegram.url(), &format!("/bot{token}/getMe"), "", "{}");
        assert_eq!(found, status, "{token}");
    }
}

#[test]
fn the_same_edit_twice_is_not_modified() {
    let (telegram, _) = start();
    call(&telegram, "sendMessage", r#"{"chat_id":42,"text":"a"}"#);
    let edit = r#"{"chat_id":42,"message_id":2,"text":"<b>b</b>","parse_mode":"HTML"}"#;
    assert_eq!(call(&telegram, "editMessageText", edit).0, 200);
    let (status, reply) = call(&telegram, "editMessageText", edit);
    assert_eq!(status, 400);
    assert!(reply.at("description").str().contains("message is not modified"));
    let sent = telegram.sent();
    assert_eq!((sent[0].text.as_str(), sent[0].edits), ("b", 1));
}

#[test]
fn only_a_higher_offset_confirms() {
    let (telegram, hand) = start();
    let ids = |body: &str| -> Vec<i64> {
        hand.fetch_add(5_000, Ordering::Relaxed);
        let (_, reply) = call(&telegram, "getUpdates", body);
        reply.at("result").list().iter().filter_map(|it| it.at("update_id").int()).collect()
    };
    let all = ids("{}");
    assert_eq!(all.len(), 2);
    assert_eq!(ids("{}"), all);
    assert_eq!(ids(r#"{"limit":1}"#), all[..1]);
    assert_eq!(ids(&format!(r#"{{"offset":{}}}"#, all[1])), all[1..]);
    assert_eq!(telegram.pending(), 1);
    telegram.push_text(42, 42, "a");
    telegram.push_text(42, 42, "b");
    assert_eq!(ids(r#"{"offset":-1}"#).len(), 1);
    assert_eq!(telegram.pending(), 1);
}

#[test]
fn a_waiting_poll_wakes_for_an_update_and_ends_for_a_newer_poll() {
    let (telegram, _) = start();
    let url = telegram.url();
    call(&telegram, "getUpdates", r#"{"offset":-1}"#);
    let (tell, answers) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let (url, tell) = (url.clone(), tell.clone());
        std::thread::spawn(move || {
            let body = r#"{"offset":100000003,"timeout":50}"#;
            tell.send(post(&url, &format!("/bot{TOKEN}/getUpdates"), "", body))
        });
    }
    // Whichever came first is told of the conflict; the other waits on.
    let (status, text) = answers.recv_timeout(SOON).unwrap();
    assert_eq!(status, 409);
    assert!(text.contains("terminated by other getUpdates request"), "{text}");
    telegram.push_text(42, 42, "wake");
    let (status, text) = answers.recv_timeout(SOON).unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("wake"));
}

#[test]
fn allowed_updates_stick_and_an_empty_list_is_the_default() {
    let (telegram, _) = start();
    let push =
        |kind: &str| telegram.push_raw(map([(kind, map([("date", 1_i64.into())]))])).is_some();
    call(&telegram, "getUpdates", r#"{"allowed_updates":["message","chat_member"]}"#);
    call(&telegram, "getUpdates", r#"{"limit":1}"#);
    assert_eq!((push("poll"), push("chat_member")), (false, true));
    call(&telegram, "getUpdates", r#"{"limit":1,"allowed_updates":[]}"#);
    assert_eq!((push("poll"), push("chat_member")), (true, false));
}

#[test]
fn a_webhook_forbids_polling_until_it_is_deleted() {
    let (telegram, _) = start();
    call(&telegram, "setWebhook", r#"{"url":"https://example.org/x"}"#);
    assert_eq!(call(&telegram, "getUpdates", "{}").0, 409);
    let (_, info) = call(&telegram, "getWebhookInfo", "{}");
    assert_eq!(info.at("result").at("pending_update_count").int(), Some(2));
    call(&telegram, "deleteWebhook", "{}");
    assert_eq!(call(&telegram, "getUpdates", "{}").0, 200);
}

#[test]
fn faults_strike_the_chat_they_are_for_as_often_as_they_say() {
    let (telegram, _) = start();
    let send =
        |chat: i64| call(&telegram, "sendMessage", &format!(r#"{{"chat_id":{chat},"text":"x"}}"#));
    let fault =
        |outcome| Fault { method: Some("sendMessage".into()), chat: Some(42), times: 1, outcome };
    telegram.fault(fault(Outcome::Flood(7)));
    assert_eq!(send(-1_000_000_000_007).0, 200);
    let (status, reply) = send(42);
    assert_eq!((status, reply.at("parameters").at("retry_after").int()), (429, Some(7)));
    telegram.fault(fault(Outcome::LoseReply));
    let before = telegram.sent_total();
    assert_eq!(send(42).0, 0);
    assert_eq!(telegram.sent_total(), before + 1);
    telegram.fault(fault(Outcome::HangUp));
    assert_eq!(send(42).0, 0);
    assert_eq!(telegram.sent_total(), before + 1);
    telegram.fault(fault(Outcome::Page(502, "<html>".into())));
    assert_eq!(send(42).0, 502);
    assert_eq!(send(42).0, 200);
}

#[test]
fn a_chat_can_block_the_bot_or_move() {
    let (telegram, _) = start();
    let send = || call(&telegram, "sendMessage", r#"{"chat_id":42,"text":"x"}"#);
    telegram.chat(42, |chat| chat.migrated_to = Some(-1_000_000_000_009));
    let (status, reply) = send();
    let moved = reply.at("parameters").at("migrate_to_chat_id").int();
    assert_eq!((status, moved), (400, Some(-1_000_000_000_009)));
    telegram.chat(42, |chat| chat.forbidden = Some("bot was blocked by the user".into()));
    let (status, reply) = send();
    assert_eq!(
        (status, reply.at("description").str()),
        (403, "Forbidden: bot was blocked by the user")
    );
}

#[test]
fn only_the_last_messages_are_kept_but_all_are_counted() {
    let (telegram, _) = start();
    for number in 0..5 {
        call(&telegram, "sendMessage", &format!(r#"{{"chat_id":42,"text":"{number}"}}"#));
    }
    let texts: Vec<String> = telegram.sent().into_iter().map(|sent| sent.text).collect();
    assert_eq!(texts, ["2", "3", "4"]);
    assert!(telegram.wait_for_sent(5, SOON));
    assert!(!telegram.wait_for_sent(6, Duration::ZERO));
    assert_eq!(telegram.chat(42, |chat| chat.sent_total), 5);
}

#[test]
fn a_file_goes_up_as_multipart_and_comes_down_again() {
    let (telegram, _) = start();
    let part = "--b\r\nContent-Disposition: form-data; name=";
    let body = format!(
        "{part}\"chat_id\"\r\n\r\n42\r\n{part}\"document\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nsome\r\nbytes\r\n--b--\r\n"
    );
    let head = format!(
        "POST /bot{TOKEN}/sendDocument HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b"
    );
    let (status, reply) = exchange(&telegram.url(), &head, body.as_bytes());
    assert_eq!(status, 200, "{reply}");
    let reply = Data::parse(reply.as_bytes()).unwrap();
    let document = reply.at("result").at("document");
    assert_eq!(document.at("file_name").str(), "a.txt");
    let ask = map([("file_id", document.at("file_id").clone())]).render();
    let (_, file) = call(&telegram, "getFile", &ask);
    let path = file.at("result").at("file_path").str();
    let head = format!("GET /file/bot{TOKEN}/{path} HTTP/1.1");
    assert_eq!(exchange(&telegram.url(), &head, b""), (200, "some\r\nbytes".into()));
}

#[test]
fn a_file_over_20_megabytes_cannot_be_fetched() {
    let (telegram, _) = start();
    telegram.put_file("big", "documents/big", vec![0; (20 << 20) + 1]);
    let (status, reply) = call(&telegram, "getFile", r#"{"file_id":"big"}"#);
    assert_eq!((status, reply.at("description").str()), (400, "Bad Request: file is too big"));
}

#[test]
fn chunked_bodies_and_expectations_are_understood() {
    let (telegram, _) = start();
    let head = format!(
        "POST /bot{TOKEN}/sendMessage HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked"
    );
    let body = b"b\r\nchat_id=42&\r\n8\r\ntext=a+b\r\n0\r\n\r\n";
    assert_eq!(exchange(&telegram.url(), &head, body).0, 200);
    assert_eq!(telegram.sent()[0].text, "a b");
    let head = format!("POST /bot{TOKEN}/getMe HTTP/1.1\r\nExpect: 100-continue");
    assert_eq!(exchange(&telegram.url(), &head, b"").0, 100);
}
