//! Owns: the Bot API's JSON, both ways (api-reference A).
//! May not: decide policy, or print a URL.

mod document;
mod error;
mod request;
mod rich;
mod setup;
mod update;

pub use document::send_document;
pub use error::{Conflict, TelegramError};
pub use request::{
    SendMessage, answer_callback, delete_message, edit_message, edit_rich_message, inline_keyboard,
    send_chat_action, send_draft, send_message, send_rich_draft, send_rich_message,
};
pub use setup::{
    Scope, delete_my_commands, delete_webhook, get_chat, get_chat_member, get_file, get_me,
    get_updates, get_webhook_info, set_my_commands, set_webhook,
};
pub use update::{ReadError, read_update};

use super::Response;
use crate::json::{self, Value};
use crate::types::{MessageId, User, UserId};

/// Who the token belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Me {
    /// The bot as a user.
    pub user: User,
    /// True = privacy mode is off (api-reference A3).
    pub reads_all_group_messages: bool,
    /// Whether it may be added to groups.
    pub can_join_groups: bool,
    /// Whether private chats may have topics (api-reference A10).
    pub has_topics: bool,
}

/// What getWebhookInfo says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookInfo {
    /// Where updates are delivered; empty when no webhook is set.
    pub url: String,
    /// Updates that wait at Telegram.
    pub pending: u32,
    /// Unix seconds of the last delivery error; 0 none.
    pub last_error_s: i64,
    /// What it was, cut.
    pub last_error: String,
}

/// A file ready for download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Joins the file URL.
    pub path: String,
    /// 0 unknown.
    pub size: u64,
}

/// The `result` of a reply, or why there is none.
///
/// # Errors
/// Every refusal of Telegram, and whatever is no JSON.
pub fn read_reply(response: &Response) -> Result<Value, TelegramError> {
    let Ok(value) = json::parse(&response.body) else { return Err(error::without_json(response)) };
    if value.at("ok").bool() == Some(true) {
        return Ok(value.take("result"));
    }
    if value.at("ok").bool().is_none() {
        return Err(error::without_json(response));
    }
    Err(error::read(&value, response))
}

/// The id of the message that a reply shows; `None` when its result is no message (`true`, a draft).
///
/// # Errors
/// As [`read_reply`].
pub fn read_sent(response: &Response) -> Result<Option<MessageId>, TelegramError> {
    // Telegram sends the whole message back: of all that only its number is wanted.
    if let Some([Some(b"true"), Some(result)]) = json::pick(&response.body, ["ok", "result"])
        && let Some([Some(id)]) = json::pick(result, ["message_id"])
        && let Some(id) = json::picked_i64(id)
    {
        return Ok(Some(MessageId(id)));
    }
    read_reply(response).map(|result| result.at("message_id").i64().map(MessageId))
}

/// Who we are, from getMe's result.
///
/// # Errors
/// What is missing.
pub fn read_me(result: &Value) -> Result<Me, String> {
    let id = result.at("id").need_i64("id").map_err(|error| error.to_string())?;
    let username = result.at("username").need_str("username").map_err(|error| error.to_string())?;
    Ok(Me {
        user: User {
            id: UserId(id),
            is_bot: true,
            username: Some(username.to_owned()),
            first_name: result.at("first_name").str().unwrap_or_default().to_owned(),
            language_code: None,
        },
        reads_all_group_messages: result.at("can_read_all_group_messages").bool() == Some(true),
        can_join_groups: result.at("can_join_groups").bool() != Some(false),
        has_topics: result.at("has_topics_enabled").bool() == Some(true),
    })
}

/// What getWebhookInfo says.
pub fn read_webhook_info(result: &Value) -> WebhookInfo {
    WebhookInfo {
        url: result.at("url").str().unwrap_or_default().to_owned(),
        pending: result.at("pending_update_count").u32().unwrap_or(0),
        last_error_s: result.at("last_error_date").i64().unwrap_or(0),
        last_error: error::cut(result.at("last_error_message").str().unwrap_or_default()),
    }
}

/// A file of getFile; `None` when there is no path to download from.
pub fn read_file(result: &Value) -> Option<RemoteFile> {
    let path = result.at("file_path").str()?;
    // It joins a URL: nothing that could leave its place there.
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.~%".contains(c));
    if !plain || path.split('/').any(|part| part == "..") {
        return None;
    }
    let size = result.at("file_size").i64().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    Some(RemoteFile { path: path.to_owned(), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_sent_message_is_read_whatever_else_comes_back() {
        let cases: [(&str, Result<Option<i64>, u16>); 9] = [
            (
                r#"{"ok":true,"result":{"message_id":55,"text":"a } \"result\":{\"message_id\":1}"}}"#,
                Ok(Some(55)),
            ),
            (
                " { \"ok\" : true , \"result\" : { \"chat\" : {\"message_id\":9} , \"message_id\" : 7 } } ",
                Ok(Some(7)),
            ),
            (r#"{"result":{"message_id":8},"ok":true,"more":[1,{"x":2}]}"#, Ok(Some(8))),
            (r#"{"ok":true,"result":true}"#, Ok(None)),
            (r#"{"ok":true,"result":{}}"#, Ok(None)),
            (r#"{"ok":true,"result":{"message_id":"x"}}"#, Ok(None)),
            (r#"{"ok":true,"result":{"message_id":55}"#, Err(200)),
            (r#"{"ok":1,"result":{"message_id":55}}"#, Err(200)),
            ("<html>", Err(200)),
        ];
        for (body, want) in cases {
            let response =
                Response { status: 200, body: body.as_bytes().to_vec(), ..Response::default() };
            let want = want
                .map(|id| id.map(MessageId))
                .map_err(|status| TelegramError::NotJson { status });
            assert_eq!(read_sent(&response), want, "{body}");
        }
        let refused = r#"{"ok":false,"error_code":429,"parameters":{"retry_after":7},"result":{"message_id":1}}"#;
        let response =
            Response { status: 429, body: refused.as_bytes().to_vec(), ..Response::default() };
        assert_eq!(read_sent(&response), Err(TelegramError::RetryAfter { seconds: 7 }));
    }
}
