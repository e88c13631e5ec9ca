//! Owns: the Bot API methods that say something in a chat. Absent fields are left out: null is the text
//! "null" there (api-reference A1, A4, A5).
//! May not: know why anything is sent.

use crate::json::{Array, Object};
use crate::types::{ChatId, Lane, MessageId};
use crate::wire::{Method, Request};

/// An ordinary call answers at once; slower than this it is broken.
pub(super) const CALL_TIMEOUT_MS: u64 = 20_000;
/// A message to send.
#[derive(Clone, Copy, Debug)]
pub struct SendMessage<'a> {
    /// Where.
    pub lane: Lane,
    /// HTML when `html`; rich Markdown for [`send_rich_message`].
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

/// A method with the members that `build` writes.
pub(super) fn call(method: &str, build: impl FnOnce(&mut Object<'_>)) -> Request {
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

/// A new message; link previews off.
pub fn send_message(message: &SendMessage<'_>) -> Request {
    call("sendMessage", |object| {
        place(object, message.lane);
        object.str("text", message.text);
        if message.html {
            object.str("parse_mode", "HTML");
        }
        no_preview(object);
        manner(object, message);
    })
}

/// A new rich message (Bot API 10.1): `text` is rich Markdown, `html` counts for nothing.
pub fn send_rich_message(message: &SendMessage<'_>) -> Request {
    call("sendRichMessage", |object| {
        place(object, message.lane);
        object.object("rich_message").str("markdown", message.text);
        manner(object, message);
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
        no_preview(object);
        keyboard(object, markup);
    })
}

/// New rich Markdown for an existing rich message.
pub fn edit_rich_message(
    chat: ChatId,
    message: MessageId,
    markdown: &str,
    markup: &str,
) -> Request {
    call("editMessageText", |object| {
        object.int("chat_id", chat.0).int("message_id", message.0);
        object.object("rich_message").str("markdown", markdown);
        keyboard(object, markup);
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

/// The same in rich Markdown.
pub fn send_rich_draft(lane: Lane, draft: i64, markdown: &str) -> Request {
    call("sendRichMessageDraft", |object| {
        place(object, lane);
        object.int("draft_id", draft);
        object.object("rich_message").str("markdown", markdown);
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

/// Ends the waiting circle of a pressed button; `text` is shown for a moment where it is not empty.
pub fn answer_callback(id: &str, text: &str) -> Request {
    call("answerCallbackQuery", |object| {
        object.str("callback_query_id", id);
        if !text.is_empty() {
            object.str("text", text);
        }
    })
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

/// Whom it answers, whether it makes a sound, and its buttons.
fn manner(object: &mut Object<'_>, message: &SendMessage<'_>) {
    if let Some(reply_to) = message.reply_to {
        object
            .object("reply_parameters")
            .int("message_id", reply_to.0)
            .bool("allow_sending_without_reply", true);
    }
    if message.silent {
        object.bool("disable_notification", true);
    }
    keyboard(object, message.markup);
}

fn keyboard(object: &mut Object<'_>, markup: &str) {
    if !markup.is_empty() {
        object.raw("reply_markup", markup);
    }
}

fn no_preview(object: &mut Object<'_>) {
    object.object("link_preview_options").bool("is_disabled", true);
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
            r#"{"chat_id":-5,"message_thread_id":42,"text":"a \"b\"","parse_mode":"HTML","link_preview_options":{"is_disabled":true},"reply_parameters":{"message_id":7,"allow_sending_without_reply":true},"disable_notification":true,"reply_markup":{"inline_keyboard":[]}}"#,
        );
        check(
            &send_chat_action(lane(1), "typing"),
            "sendChatAction",
            r#"{"chat_id":-5,"action":"typing"}"#,
        );
        assert_eq!(
            inline_keyboard(&[("Yes".into(), "y".into())]),
            r#"{"inline_keyboard":[[{"text":"Yes","callback_data":"y"}]]}"#
        );
    }
}
