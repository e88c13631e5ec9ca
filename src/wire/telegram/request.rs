//! Owns: the Bot API methods in use, as requests. Absent fields are left out: null is the text "null" there.
//! May not: know why anything is sent.

use crate::json::{Array, Object};
use crate::types::{ChatId, Lane, MessageId};
use crate::wire::{Method, Request};

/// An ordinary call answers at once; slower than this it is broken.
const CALL_TIMEOUT_MS: u64 = 20_000;
/// Beyond the long poll itself, for the way there and back.
const POLL_EXTRA_MS: u64 = 15_000;
/// Updates that mean something to the bot; the list is sticky at the server (api-reference A2).
const ALLOWED_UPDATES: [&str; 5] =
    ["message", "edited_message", "callback_query", "my_chat_member", "stopped_message_generation"];
/// A boundary that cannot occur in Markdown or JSON we send by chance.
const BOUNDARY: &str = "svs-bot-7f3d9c2e5b8a41d6";

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub struct SendMessage<'a> {
    /// Where.
    pub lane: Lane,
    /// HTML when `html`.
    pub text: &'a str,
    /// Whether `text` is HTML.
    pub html: bool,
    /// Sent also when that message is gone.
    pub reply_to: Option<MessageId>,
    /// Inline keyboard as JSON, empty for none.
    pub markup: &'a str,
    /// Without a sound.
    pub silent: bool,
}

/// Who sees a menu of commands (api-reference A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everyone without a narrower list.
    Default,
    /// Private chats.
    AllPrivate,
    /// One chat.
    Chat(ChatId),
}

fn call(method: &str, build: impl FnOnce(&mut Object<'_>)) -> Request {
    let mut body = String::with_capacity(256);
    build(&mut Object::new(&mut body));
    Request {
        method: Method::Post,
        path: method.to_owned(),
        headers: Vec::new(),
        body: Some(body),
        timeout_ms: CALL_TIMEOUT_MS,
    }
}

/// Who are we.
pub fn get_me() -> Request {
    call("getMe", |_| {})
}

/// Waits for updates from `offset` on; asking confirms everything below it.
pub fn get_updates(offset: i64, limit: u32, timeout_s: u32) -> Request {
    let mut request = call("getUpdates", |object| {
        if offset != 0 {
            object.int("offset", offset);
        }
        object.int("limit", i64::from(limit)).int("timeout", i64::from(timeout_s));
        let mut allowed = object.array("allowed_updates");
        for kind in ALLOWED_UPDATES {
            allowed.str(kind);
        }
    });
    request.timeout_ms = u64::from(timeout_s) * 1_000 + POLL_EXTRA_MS;
    request
}

/// Removes a webhook; its waiting updates stay.
pub fn delete_webhook() -> Request {
    call("deleteWebhook", |_| {})
}

/// Whether a webhook is set, and how it goes.
pub fn get_webhook_info() -> Request {
    call("getWebhookInfo", |_| {})
}

/// A new message; link previews off.
pub fn send_message(message: &SendMessage<'_>) -> Request {
    call("sendMessage", |object| {
        place(object, message.lane);
        object.str("text", message.text);
        if message.html {
            object.str("parse_mode", "HTML");
        }
        if let Some(reply_to) = message.reply_to {
            object
                .object("reply_parameters")
                .int("message_id", reply_to.0)
                .bool("allow_sending_without_reply", true);
        }
        object.object("link_preview_options").bool("is_disabled", true);
        if message.silent {
            object.bool("disable_notification", true);
        }
        if !message.markup.is_empty() {
            object.raw("reply_markup", message.markup);
        }
    })
}

/// New text for an existing message.
pub fn edit_message(
    chat: ChatId,
    message: MessageId,
    text: &str,
    html: bool,
    markup: &str,
) -> Request {
    call("editMessageText", |object| {
        object.int("chat_id", chat.0).int("message_id", message.0).str("text", text);
        if html {
            object.str("parse_mode", "HTML");
        }
        object.object("link_preview_options").bool("is_disabled", true);
        if !markup.is_empty() {
            object.raw("reply_markup", markup);
        }
    })
}

/// A rich message of Markdown (api-reference A5): new, or an existing one's new content.
pub fn send_rich(
    lane: Lane,
    markdown: &str,
    reply_to: Option<MessageId>,
    edit: Option<MessageId>,
) -> Request {
    let method = if edit.is_some() { "editMessageText" } else { "sendRichMessage" };
    call(method, |object| {
        match edit {
            Some(message) => {
                object.int("chat_id", lane.chat.0).int("message_id", message.0);
            }
            None => place(object, lane),
        }
        object.object("rich_message").str("markdown", markdown);
        if let Some(reply_to) = reply_to.filter(|_| edit.is_none()) {
            object
                .object("reply_parameters")
                .int("message_id", reply_to.0)
                .bool("allow_sending_without_reply", true);
        }
    })
}

/// Removes a message.
pub fn delete_message(chat: ChatId, message: MessageId) -> Request {
    call("deleteMessage", |object| {
        object.int("chat_id", chat.0).int("message_id", message.0);
    })
}

/// The growing preview of an answer in a private chat, with a Stop button (api-reference A5).
pub fn send_draft(lane: Lane, draft: i64, text: &str, html: bool) -> Request {
    call("sendMessageDraft", |object| {
        place(object, lane);
        object.int("draft_id", draft).str("text", text);
        if html {
            object.str("parse_mode", "HTML");
        }
        object.bool("can_stop", true);
    })
}

/// `typing` and its like; lasts 5 s.
pub fn send_chat_action(lane: Lane, action: &str) -> Request {
    call("sendChatAction", |object| {
        place(object, lane);
        object.str("action", action);
    })
}

/// Ends the waiting circle of a pressed button.
pub fn answer_callback(id: &str) -> Request {
    call("answerCallbackQuery", |object| {
        object.str("callback_query_id", id);
    })
}

/// Where a file can be downloaded.
pub fn get_file(file_id: &str) -> Request {
    call("getFile", |object| {
        object.str("file_id", file_id);
    })
}

/// The menu of commands for a scope and a language (`None` = every other).
pub fn set_my_commands(
    scope: &Scope,
    language: Option<&str>,
    commands: &[(&str, &str)],
) -> Request {
    call("setMyCommands", |object| {
        {
            let mut list = object.array("commands");
            for (command, description) in commands {
                list.object().str("command", command).str("description", description);
            }
        }
        match scope {
            Scope::Default => object.object("scope").str("type", "default"),
            Scope::AllPrivate => object.object("scope").str("type", "all_private_chats"),
            Scope::Chat(chat) => object.object("scope").str("type", "chat").int("chat_id", chat.0),
        };
        if let Some(language) = language {
            object.str("language_code", language);
        }
    })
}

/// A small text as a file.
pub fn send_document(lane: Lane, name: &str, text: &str) -> Request {
    let mut body = String::with_capacity(text.len() + 512);
    let mut field = |name: &str, value: &str| {
        body.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    };
    field("chat_id", &lane.chat.to_string());
    if lane.topic.0 != 0 {
        field("message_thread_id", &lane.topic.to_string());
    }
    body.push_str(&format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"{name}\"\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--{BOUNDARY}--\r\n"
    ));
    Request {
        method: Method::Post,
        path: "sendDocument".to_owned(),
        headers: vec![("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))],
        body: Some(body),
        timeout_ms: CALL_TIMEOUT_MS,
    }
}

/// One row of buttons, each a label and what it carries (at most 64 bytes).
pub fn inline_keyboard(buttons: &[(String, String)]) -> String {
    let mut out = String::new();
    {
        let mut markup = Object::new(&mut out);
        let mut rows = markup.array("inline_keyboard");
        let mut row: Array<'_> = rows.array();
        for (label, data) in buttons {
            row.object().str("text", label).str("callback_data", data);
        }
    }
    out
}

fn place(object: &mut Object<'_>, lane: Lane) {
    object.int("chat_id", lane.chat.0);
    // General is addressed by omission (api-reference A10).
    if lane.topic.0 > 1 {
        object.int("message_thread_id", lane.topic.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    fn check(request: &Request, path: &str, body: &str) {
        assert_eq!(request.path, path);
        assert_eq!(request.body.as_deref(), Some(body));
        assert!(!body.contains("null"));
    }

    #[test]
    fn requests_say_what_is_needed_and_nothing_more() {
        let lane = |topic| Lane { chat: ChatId(-5), topic: TopicId(topic) };
        let message = SendMessage {
            lane: lane(0),
            text: "a \"b\"",
            html: false,
            reply_to: None,
            markup: "",
            silent: false,
        };
        check(
            &send_message(&message),
            "sendMessage",
            r#"{"chat_id":-5,"text":"a \"b\"","link_preview_options":{"is_disabled":true}}"#,
        );
        let full = SendMessage {
            lane: lane(42),
            html: true,
            reply_to: Some(MessageId(7)),
            markup: r#"{"inline_keyboard":[]}"#,
            silent: true,
            ..message
        };
        check(
            &send_message(&full),
            "sendMessage",
            r#"{"chat_id":-5,"message_thread_id":42,"text":"a \"b\"","parse_mode":"HTML","reply_parameters":{"message_id":7,"allow_sending_without_reply":true},"link_preview_options":{"is_disabled":true},"disable_notification":true,"reply_markup":{"inline_keyboard":[]}}"#,
        );
        check(
            &send_rich(lane(42), "**a**", Some(MessageId(7)), None),
            "sendRichMessage",
            r#"{"chat_id":-5,"message_thread_id":42,"rich_message":{"markdown":"**a**"},"reply_parameters":{"message_id":7,"allow_sending_without_reply":true}}"#,
        );
        check(
            &send_rich(lane(42), "**a**", Some(MessageId(7)), Some(MessageId(8))),
            "editMessageText",
            r#"{"chat_id":-5,"message_id":8,"rich_message":{"markdown":"**a**"}}"#,
        );
        check(
            &send_chat_action(lane(1), "typing"),
            "sendChatAction",
            r#"{"chat_id":-5,"action":"typing"}"#,
        );
        check(
            &set_my_commands(&Scope::Chat(ChatId(3)), Some("zh"), &[("help", "帮助")]),
            "setMyCommands",
            r#"{"commands":[{"command":"help","description":"帮助"}],"scope":{"type":"chat","chat_id":3},"language_code":"zh"}"#,
        );
        assert_eq!(
            inline_keyboard(&[("Yes".into(), "y".into())]),
            r#"{"inline_keyboard":[[{"text":"Yes","callback_data":"y"}]]}"#
        );
    }

    #[test]
    fn a_poll_outlives_the_time_telegram_may_wait() {
        let poll = get_updates(9, 100, 50);
        assert!(poll.timeout_ms > 50_000);
        assert!(
            poll.body.unwrap_or_default().starts_with(r#"{"offset":9,"limit":100,"timeout":50,"#)
        );
    }
}
