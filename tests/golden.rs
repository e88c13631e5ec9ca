//! What goes over the wire, written down: each request as a file, and each reply beside what is read from
//! it. `SVS_BOT_GOLDEN=write cargo test --test golden` writes the files anew; the difference is the review.
//! The published specification of the Bot API is a witness of its own for every request to Telegram.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use svs_bot::json;
use svs_bot::types::{ChatId, Lane, MessageId, Secret, TopicId, UserId};
use svs_bot::wire::gemini::{self, GenerateArgs};
use svs_bot::wire::telegram::{self, Scope, SendMessage};
use svs_bot::wire::{Method, Request, Response};

/// Parameters younger than the specification in the tree (Bot API 10.1): 10.3 has them.
const YOUNGER: [(&str, &str); 2] =
    [("sendMessageDraft", "can_stop"), ("sendRichMessageDraft", "can_stop")];
/// The bound of one question of "hello" (budgets, row 16).
const HELLO_BYTES_MAX: usize = 2_048;

#[expect(clippy::disallowed_methods, reason = "the test's own switch, no setting of the bot")]
fn is_writing() -> bool {
    std::env::var_os("SVS_BOT_GOLDEN").is_some_and(|value| value == "write")
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares with the file, or writes it.
fn check(path: &Path, got: &str) {
    if is_writing() {
        fs::write(path, got).unwrap();
        return;
    }
    let name = path.display();
    let want = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(got, want, "{name}");
}

/// Every `.in` of a folder beside what `read` makes of it.
fn check_replies<T: Debug>(name: &str, read: impl Fn(&str, &[u8]) -> T) {
    let mut count = 0;
    for entry in fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "in") {
            count += 1;
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let got = read(&stem, &fs::read(&path).unwrap());
            check(&path.with_extension("want"), &format!("{got:#?}\n"));
        }
    }
    assert!(count > 2, "{name}: the files are missing");
}

/// The status that a reply's name begins with, as in `429-several.in`.
fn status_of(stem: &str) -> u16 {
    stem.split('-').next().unwrap().parse().unwrap()
}

fn to_telegram() -> BTreeMap<&'static str, Request> {
    let lane = |topic| Lane { chat: ChatId(-1_001_234_500_001), topic: TopicId(topic) };
    let private = Lane { chat: ChatId(7_001), topic: TopicId(0) };
    let chat = lane(0).chat;
    let keyboard = telegram::inline_keyboard(&[("Yes".into(), "y:1".into())]);
    let plain = SendMessage {
        lane: lane(0),
        text: "a < b \"c\"\n\u{2028}😀",
        html: false,
        reply_to: None,
        markup: "",
        silent: false,
    };
    let full = SendMessage {
        lane: lane(42),
        text: "<b>Hi</b>",
        html: true,
        reply_to: Some(MessageId(777)),
        markup: &keyboard,
        silent: true,
    };
    let secret = Secret::new("webhook-secret");
    let commands = [("help", "帮助"), ("reset", "重新开始")];
    BTreeMap::from([
        ("getMe", telegram::get_me()),
        ("getUpdates-first", telegram::get_updates(0, 100, 50)),
        ("getUpdates-next", telegram::get_updates(90_002, 100, 50)),
        ("deleteWebhook", telegram::delete_webhook()),
        ("getWebhookInfo", telegram::get_webhook_info()),
        ("setWebhook", telegram::set_webhook("https://bot.example.org/t", &secret, 40)),
        ("setMyCommands-all", telegram::set_my_commands(&Scope::Default, None, &commands)),
        ("setMyCommands-zh", telegram::set_my_commands(&Scope::AllPrivate, Some("zh"), &commands)),
        ("deleteMyCommands", telegram::delete_my_commands(&Scope::AllGroups, Some("zh"))),
        ("deleteMyCommands-chat", telegram::delete_my_commands(&Scope::Chat(chat), None)),
        ("sendMessage-plain", telegram::send_message(&plain)),
        ("sendMessage-full", telegram::send_message(&full)),
        ("sendMessage-general", telegram::send_message(&SendMessage { lane: lane(1), ..plain })),
        (
            "editMessageText",
            telegram::edit_message(chat, MessageId(8), "<i>x</i>", true, &keyboard),
        ),
        ("editMessageText-plain", telegram::edit_message(chat, MessageId(8), "x", false, "")),
        ("editMessageText-rich", telegram::edit_rich_message(chat, MessageId(8), "# x", "")),
        ("deleteMessage", telegram::delete_message(chat, MessageId(8))),
        ("sendChatAction", telegram::send_chat_action(lane(42), "typing")),
        ("sendMessageDraft", telegram::send_draft(private, 5, "<b>x</b>", true)),
        ("sendRichMessage", telegram::send_rich_message(&full)),
        ("sendRichMessageDraft", telegram::send_rich_draft(private, 5, "**x**")),
        ("answerCallbackQuery", telegram::answer_callback("4382bfdwdsb323b2d9", "")),
        ("getFile", telegram::get_file("AgADBAAD")),
        ("getChat", telegram::get_chat(chat)),
        ("getChatMember", telegram::get_chat_member(chat, UserId(42))),
        ("sendDocument", telegram::send_document(lane(42), "history.md", "# You\n你好\n")),
    ])
}

const HELLO: GenerateArgs<'_> = GenerateArgs {
    model: "gemini-3.5-flash-lite",
    system: "You are a friendly assistant. Answer in the language of the question.",
    turns: &[],
    text: "hello",
    stream: true,
    timeout_ms: 60_000,
};

fn to_gemini() -> BTreeMap<&'static str, Request> {
    let turns = [
        ("What is musl?".to_owned(), "A \"small\" libc.".to_owned()),
        ("lost".to_owned(), String::new()),
        ("And zig?".to_owned(), "A language.\n\u{0}".to_owned()),
    ];
    let talk = GenerateArgs { turns: &turns, text: "Which is older? 😀", ..HELLO };
    let (mut media, pieces) = gemini::generate_around_media(&talk, 2);
    let fillings = ["\"image/jpeg\"", "<base64>", "\"audio/ogg; codecs=opus\"", "<base64>", ""];
    media.body =
        Some(pieces.iter().zip(fillings).map(|(piece, it)| format!("{piece}{it}")).collect());
    BTreeMap::from([
        ("hello", gemini::generate(&HELLO)),
        ("talk", gemini::generate(&GenerateArgs { model: "gemini-3.8-flash", ..talk })),
        (
            "talk-at-once",
            gemini::generate(&GenerateArgs { model: "gemini-2.5-flash", stream: false, ..talk }),
        ),
        ("talk-unknown-model", gemini::generate(&GenerateArgs { model: "tuned/../x?y", ..HELLO })),
        ("media", media),
        ("list-models", gemini::list_models(1)),
        ("get-model", gemini::get_model("models/gemini-3.8-flash")),
    ])
}

fn text_of(request: &Request) -> String {
    let mut text = format!("{:?} {}\n", request.method, request.path);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str(&format!("within {} ms\n\n", request.timeout_ms));
    text.push_str(request.body.as_deref().unwrap_or("(no body)"));
    text.push('\n');
    text
}

#[test]
fn every_request_goes_out_as_written_down() {
    for (service, requests) in [("telegram", to_telegram()), ("gemini", to_gemini())] {
        for (name, request) in requests {
            check(&folder("requests").join(format!("{service}-{name}.txt")), &text_of(&request));
        }
    }
}

#[test]
fn every_request_to_telegram_is_in_its_specification() {
    let spec =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/telegram-bot-api-spec/api.min.json");
    let spec = json::parse(&fs::read(spec).unwrap()).unwrap();
    for (name, request) in to_telegram() {
        let method = spec.at("methods").at(&request.path);
        assert!(method.is_object(), "{name}: no method {}", request.path);
        assert_eq!(request.method, Method::Post);
        if request.path == "sendDocument" {
            continue;
        }
        let body = json::parse(request.body.unwrap().as_bytes()).unwrap();
        let fields: Vec<_> = method.at("fields").list().collect();
        for member in body.root().names() {
            let known = fields.iter().any(|field| field.at("name").str() == Some(member));
            let younger = YOUNGER.contains(&(request.path.as_str(), member));
            assert!(known != younger, "{name}: {member}");
            assert!(!body.at(member).is_null(), "{name}: {member}: null is the text \"null\"");
        }
        for field in fields.iter().filter(|field| field.at("required").bool() == Some(true)) {
            let field = field.at("name").str().unwrap();
            assert!(!body.at(field).is_null(), "{name}: {field} is required");
        }
    }
}

#[test]
fn a_hello_to_gemini_is_small_and_every_body_is_json() {
    assert!(gemini::generate(&HELLO).body.unwrap().len() < HELLO_BYTES_MAX);
    for (name, request) in to_gemini() {
        let Some(body) = request.body else { continue };
        let value = json::parse(body.as_bytes()).unwrap();
        let roles: Vec<_> =
            value.at("contents").list().filter_map(|turn| turn.at("role").str()).collect();
        assert!(roles.iter().step_by(2).all(|role| *role == "user"), "{name}: {roles:?}");
        assert!(roles.iter().skip(1).step_by(2).all(|role| *role == "model"), "{name}: {roles:?}");
        assert_eq!(roles.last(), Some(&"user"), "{name}");
    }
}

#[test]
fn every_update_is_read_as_written_down() {
    check_replies("telegram-updates", |_, bytes| telegram::read_update(bytes));
}

#[test]
fn every_refusal_of_telegram_is_read_as_written_down() {
    check_replies("telegram-errors", |stem, bytes| {
        let response =
            Response { status: status_of(stem), body: bytes.to_vec(), ..Response::default() };
        telegram::read_reply(&response).map(|result| result.root().to_text())
    });
}

#[test]
fn every_refusal_of_gemini_is_read_as_written_down() {
    check_replies("gemini-errors", |stem, bytes| gemini::classify(status_of(stem), bytes, None));
}

#[test]
fn every_answer_of_gemini_is_read_as_written_down_however_it_is_cut() {
    check_replies("gemini-answers", |stem, bytes| {
        let read = |chunk| {
            let mut reader = gemini::Reader::new("gemini-3.8-flash");
            for piece in bytes.chunks(chunk) {
                if reader.feed(piece) == ControlFlow::Break(()) {
                    break;
                }
            }
            reader.finish()
        };
        let whole = read(bytes.len().max(1));
        for chunk in 1..bytes.len() {
            assert_eq!(read(chunk), whole, "{stem} in chunks of {chunk}");
        }
        whole
    });
}
