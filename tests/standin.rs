//! The stand-ins over real loopback HTTP: what the services refuse, they refuse, in their words.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use svs_bot::standin::data::{Data, map};
use svs_bot::standin::{Clock, gemini, html, postgrest, telegram};
use svs_bot::types::Secret;

const TOKEN: &str = "123:abc";
const SOON: Duration = Duration::from_secs(10);

/// One exchange on a connection of its own; status 0 when the peer hung up.
fn exchange(url: &str, head: &str, body: &[u8]) -> (u16, String) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = format!("{head}\r\nHost: {host}\r\nConnection: close\r\n");
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    let framed = head.contains("chunked");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(if framed { b"\r\n" } else { length.as_bytes() }).unwrap();
    stream.write_all(body).unwrap();
    let mut reply = Vec::new();
    let _cut_is_seen_below = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let Some((head, mut body)) = reply.split_once("\r\n\r\n") else { return (0, reply) };
    let mut whole = String::new();
    if head.contains("chunked") {
        while let Some((size, rest)) = body.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            whole.push_str(&rest[..size]);
            body = rest.get(size + 2..).unwrap_or_default();
        }
    } else {
        whole.push_str(body);
    }
    (head[9..12].parse().unwrap(), whole)
}

fn post(url: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json{headers}");
    exchange(url, &head, body.as_bytes())
}

/// A clock that a test turns.
fn hand_clock(at_ms: i64) -> (Arc<AtomicI64>, Clock) {
    let hand = Arc::new(AtomicI64::new(at_ms));
    let read = Arc::clone(&hand);
    (hand, Arc::new(move || read.load(Ordering::Relaxed)))
}

mod of_telegram {
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
        let body = |topic| {
            format!(r#"{{"chat_id":-1000000000007,"text":"x","message_thread_id":{topic}}}"#)
        };
        check("sendMessage", &body(7), "ok");
        check("sendMessage", &body(1), "400 Bad Request: message thread not found");
    }
    #[test]
    fn drafts_are_for_private_chats() {
        let body = |chat: i64| format!(r#"{{"chat_id":{chat},"draft_id":1,"text":"x"}}"#);
        check("sendMessageDraft", &body(42), "ok");
        check(
            "sendMessageDraft",
            &body(-1_000_000_000_007),
            "400 Bad Request: TEXTDRAFT_PEER_INVALID",
        );
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
        let send = |chat: i64| {
            call(&telegram, "sendMessage", &format!(r#"{{"chat_id":{chat},"text":"x"}}"#))
        };
        let fault = |outcome| Fault {
            method: Some("sendMessage".into()),
            chat: Some(42),
            times: 1,
            outcome,
        };
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
}

mod of_html {
    use super::*;

    /// Text and spans as `text | kind offset length argument | …`, or the error.
    #[track_caller]
    fn check(html: &str, wanted: &str) {
        let found = match html::parse(html) {
            Ok((text, spans)) => spans.iter().fold(text, |out, span| {
                let argument = if span.argument.is_empty() { "" } else { " " };
                let html::Span { kind, offset, length, argument: value } = span;
                format!("{out} | {kind} {offset} {length}{argument}{value}")
            }),
            Err(why) => why,
        };
        assert_eq!(found, wanted);
    }

    #[test]
    fn offsets_are_utf16_units() {
        check("😀<b>é😀</b>", "😀é😀 | bold 2 3");
    }
    #[test]
    fn a_language_needs_pre_around_code() {
        check("<pre><code class=\"language-c\">x</code></pre>", "x | pre 0 1 c");
        check("<code class=\"language-c\">x</code>", "x | code 0 1");
    }
    #[test]
    fn a_bad_link_is_dropped_without_a_word() {
        check("<a href=\"nonsense\">x</a>", "x");
        check("<a href=\"tg://user?id=7\">x</a>", "x | text_mention 0 1 7");
    }
    #[test]
    fn an_angle_bracket_must_be_escaped() {
        check("a < b", "Unsupported start tag \"\" at byte offset 2");
        check("a<b", "Unclosed start tag at byte offset 1");
        check("a &lt; b", "a < b");
    }
    #[test]
    fn half_an_emoji_is_refused() {
        let wanted = "Text contains invalid Unicode characters after decoding HTML entities, check for unmatched surrogate code units";
        check("&#xd83d;", wanted);
    }
    #[test]
    fn empty_elements_vanish() {
        check("a<b></b>c", "ac");
    }
}

mod of_gemini {
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
            limits: BTreeMap::from([(
                LITE.into(),
                Limits { rpm: Some(2), rpd: Some(3), tpm: None },
            )]),
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
        let body = format!(
            r#"{},"generationConfig":{{"maxOutputTokens":2}}}}"#,
            &HELLO[..HELLO.len() - 1]
        );
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
}

mod of_postgrest {
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

    fn ask(
        server: &Postgrest,
        method: &str,
        path: &str,
        prefer: &str,
        body: &str,
    ) -> (u16, String) {
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
            .insert(
                "user_registry",
                vec![map([("chat_id", 1_i64.into()), ("user_id", 2_i64.into())])],
            )
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
        check(
            "POST",
            path,
            "return=representation,missing=default",
            row,
            r#"201 [{"metadata":{}}]"#,
        );
    }

    #[test]
    fn a_batch_is_written_whole_or_not_at_all() {
        let server = start();
        let bad = r#"{"chat_id":"x","user_id":2,"message_text":"hi","created_at":"2026-11-22T10:00:00Z"}"#;
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
            (
                "\r\napikey: sb_secret_x\r\nUser-Agent: Mozilla/5.0",
                "Forbidden use of secret API key",
            ),
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
}
