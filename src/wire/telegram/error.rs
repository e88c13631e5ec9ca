//! Owns: Telegram's refusals, by what to do about them (api-reference A2, A8).
//! May not: carry a URL or more than a short text.

use crate::json::Value;
use crate::types::ChatId;
use crate::wire::Response;
use std::fmt;

/// Characters kept of a description.
const TEXT_CHARS_MAX: usize = 200;
/// Longest pause that is believed; values can be minutes (api-reference A7).
const RETRY_AFTER_S_MAX: u32 = 86_400;

/// What kind of 409 it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another getUpdates with this token.
    OtherPoller,
    /// A webhook is set.
    WebhookActive,
}

/// Why Telegram did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TelegramError {
    /// 429: this chat (or the poller) rests so long.
    RetryAfter {
        /// As told.
        seconds: u32,
    },
    /// The group became this supergroup.
    Migrated(ChatId),
    /// The formatting is refused: resend as plain text.
    CantParse,
    /// An edit that changes nothing: success.
    NotModified,
    /// The message to edit or delete is not there any more.
    EditGone,
    /// The message to reply to is not there any more.
    ReplyGone,
    /// The forum topic is closed or gone.
    ThreadGone,
    /// Too long, in text or in entities.
    TooLong,
    /// Nothing is left to send.
    EmptyText,
    /// The bot is not in that chat, or it does not exist.
    ChatGone {
        /// Short.
        why: String,
    },
    /// The person blocked the bot or is gone.
    UserGone {
        /// Short.
        why: String,
    },
    /// The bot may not write there.
    Muted {
        /// Short.
        why: String,
    },
    /// 401: the token is not known.
    Unauthorized,
    /// 404 without a method name: the token's shape or the base URL is wrong.
    NotFound,
    /// 409.
    Conflict(Conflict),
    /// The server is too old for this method.
    MethodUnknown,
    /// Drafts do not work in this chat.
    DraftRefused,
    /// 413.
    TooLarge,
    /// The button was pressed too long ago.
    QueryTooOld,
    /// More than the 20 MB that a bot may download.
    FileTooBig,
    /// The file is not there any more.
    FileGone,
    /// 5xx: it may have been carried out.
    Server {
        /// HTTP status.
        status: u16,
    },
    /// HTML or nonsense where JSON was promised.
    NotJson {
        /// HTTP status.
        status: u16,
    },
    /// A refusal that nothing here knows.
    Other {
        /// As Telegram says.
        code: u16,
        /// Short.
        text: String,
    },
}

impl TelegramError {
    /// The code for metrics.
    pub fn code(&self) -> u16 {
        match self {
            Self::RetryAfter { .. } => 429,
            Self::ChatGone { .. } | Self::UserGone { .. } | Self::Muted { .. } => 403,
            Self::Unauthorized => 401,
            Self::NotFound | Self::MethodUnknown => 404,
            Self::Conflict(_) => 409,
            Self::TooLarge => 413,
            Self::Server { status } | Self::NotJson { status } => *status,
            Self::Other { code, .. } => *code,
            _ => 400,
        }
    }
}

impl fmt::Display for TelegramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RetryAfter { seconds } => write!(f, "asks for a pause of {seconds} s"),
            Self::Migrated(chat) => write!(f, "the group is now {chat}"),
            Self::ChatGone { why } | Self::UserGone { why } | Self::Muted { why } => {
                f.write_str(why)
            }
            Self::Unauthorized => f.write_str("does not know this token"),
            Self::Conflict(Conflict::OtherPoller) => {
                f.write_str("another program polls with this token")
            }
            Self::Conflict(Conflict::WebhookActive) => f.write_str("a webhook is set"),
            Self::Server { status } => write!(f, "answers {status}"),
            Self::NotJson { status } => write!(f, "answers {status} without JSON"),
            Self::Other { code, text } => write!(f, "answers {code}: {text}"),
            other => write!(f, "refuses: {other:?}"),
        }
    }
}

/// What to look for, in lower case, and what it means; the first match counts.
type Row = (&'static str, fn(&str) -> TelegramError);

const BAD_REQUEST: &[Row] = &[
    ("can't parse entities", |_| TelegramError::CantParse),
    ("unsupported parse_mode", |_| TelegramError::CantParse),
    ("message is not modified", |_| TelegramError::NotModified),
    ("message to edit not found", |_| TelegramError::EditGone),
    ("message can't be edited", |_| TelegramError::EditGone),
    ("message to delete not found", |_| TelegramError::EditGone),
    ("message can't be deleted", |_| TelegramError::EditGone),
    ("message_id_invalid", |_| TelegramError::EditGone),
    ("message to be replied not found", |_| TelegramError::ReplyGone),
    ("message thread not found", |_| TelegramError::ThreadGone),
    ("topic_closed", |_| TelegramError::ThreadGone),
    ("topic_deleted", |_| TelegramError::ThreadGone),
    ("message is too long", |_| TelegramError::TooLong),
    ("text is too long", |_| TelegramError::TooLong),
    ("caption is too long", |_| TelegramError::TooLong),
    ("entities_too_long", |_| TelegramError::TooLong),
    ("text must be non-empty", |_| TelegramError::EmptyText),
    ("message text is empty", |_| TelegramError::EmptyText),
    ("textdraft_peer_invalid", |_| TelegramError::DraftRefused),
    ("query is too old", |_| TelegramError::QueryTooOld),
    ("file is too big", |_| TelegramError::FileTooBig),
    ("wrong file_id", |_| TelegramError::FileGone),
    ("wrong file identifier", |_| TelegramError::FileGone),
    ("chat not found", |why| TelegramError::ChatGone { why: why.to_owned() }),
    ("chat_id is empty", |why| TelegramError::ChatGone { why: why.to_owned() }),
    ("not enough rights", |why| TelegramError::Muted { why: why.to_owned() }),
    ("have no write access", |why| TelegramError::Muted { why: why.to_owned() }),
    ("chat_write_forbidden", |why| TelegramError::Muted { why: why.to_owned() }),
];

const FORBIDDEN: &[Row] = &[
    ("blocked by the user", |why| TelegramError::UserGone { why: why.to_owned() }),
    ("user is deactivated", |why| TelegramError::UserGone { why: why.to_owned() }),
    ("can't initiate conversation", |why| TelegramError::UserGone { why: why.to_owned() }),
    ("can't send messages to the bot", |why| TelegramError::UserGone { why: why.to_owned() }),
    ("not enough rights", |why| TelegramError::Muted { why: why.to_owned() }),
    // Kicked, not a member, deleted, and codes to come: nothing can be said there.
    ("", |why| TelegramError::ChatGone { why: why.to_owned() }),
];

/// Reads the error of a reply whose `ok` is false.
pub(super) fn read(value: &Value, response: &Response) -> TelegramError {
    let code = value.at("error_code").i64().and_then(|code| u16::try_from(code).ok());
    let code = code.unwrap_or(response.status);
    let parameters = value.at("parameters");
    if let Some(chat) = parameters.at("migrate_to_chat_id").i64() {
        return TelegramError::Migrated(ChatId(chat));
    }
    let text = cut(value.at("description").str().unwrap_or_default());
    let folded = text.to_lowercase();
    let find = |rows: &[Row]| {
        rows.iter().find(|(needle, _)| folded.contains(needle)).map(|(_, make)| make(&text))
    };
    match code {
        429 => {
            let seconds = parameters.at("retry_after").u32().or(response.retry_after_s);
            TelegramError::RetryAfter { seconds: seconds.unwrap_or(5).clamp(1, RETRY_AFTER_S_MAX) }
        }
        401 => TelegramError::Unauthorized,
        404 if folded.contains("method not found") => TelegramError::MethodUnknown,
        404 => TelegramError::NotFound,
        409 if folded.contains("webhook is active") => {
            TelegramError::Conflict(Conflict::WebhookActive)
        }
        409 => TelegramError::Conflict(Conflict::OtherPoller),
        413 => TelegramError::TooLarge,
        400 => find(BAD_REQUEST).unwrap_or(TelegramError::Other { code, text }),
        403 => find(FORBIDDEN).unwrap_or(TelegramError::Other { code, text }),
        500.. => TelegramError::Server { status: code },
        _ => TelegramError::Other { code, text },
    }
}

/// A short text without line breaks and without anything that looks like a URL.
pub(super) fn cut(text: &str) -> String {
    text.split_whitespace()
        .map(|word| if word.contains("://") { "…" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(TEXT_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u16, description: &str, want: TelegramError) {
        let body = format!(r#"{{"ok":false,"error_code":{code},"description":"{description}"}}"#);
        let response = Response { status: code, body: body.into_bytes(), ..Response::default() };
        assert_eq!(
            crate::wire::telegram::read_reply(&response).unwrap_err(),
            want,
            "{description}"
        );
    }

    fn gone(why: &str) -> TelegramError {
        TelegramError::ChatGone { why: why.to_owned() }
    }

    fn user(why: &str) -> TelegramError {
        TelegramError::UserGone { why: why.to_owned() }
    }

    #[test]
    fn every_known_refusal_says_what_to_do() {
        check(
            400,
            "Bad Request: can't parse entities: Unsupported start tag",
            TelegramError::CantParse,
        );
        check(400, "Bad Request: message is not modified: x", TelegramError::NotModified);
        check(400, "Bad Request: MESSAGE_ID_INVALID", TelegramError::EditGone);
        check(400, "Bad Request: message to be replied not found", TelegramError::ReplyGone);
        check(400, "Bad Request: message thread not found", TelegramError::ThreadGone);
        check(400, "Bad Request: message is too long", TelegramError::TooLong);
        check(400, "Bad Request: ENTITIES_TOO_LONG", TelegramError::TooLong);
        check(400, "Bad Request: text must be non-empty", TelegramError::EmptyText);
        check(400, "Bad Request: TEXTDRAFT_PEER_INVALID", TelegramError::DraftRefused);
        check(400, "Bad Request: chat not found", gone("Bad Request: chat not found"));
        check(
            403,
            "Forbidden: bot was blocked by the user",
            user("Forbidden: bot was blocked by the user"),
        );
        check(
            403,
            "Forbidden: bot was kicked from the group chat",
            gone("Forbidden: bot was kicked from the group chat"),
        );
        check(401, "Unauthorized", TelegramError::Unauthorized);
        check(404, "Not Found", TelegramError::NotFound);
        check(404, "Not Found: method not found", TelegramError::MethodUnknown);
        check(
            409,
            "Conflict: terminated by other getUpdates request; make sure",
            TelegramError::Conflict(Conflict::OtherPoller),
        );
        check(
            409,
            "Conflict: can't use getUpdates method while webhook is active; use",
            TelegramError::Conflict(Conflict::WebhookActive),
        );
        check(502, "Bad Gateway", TelegramError::Server { status: 502 });
        check(
            418,
            "teapot https://x/bot1:A",
            TelegramError::Other { code: 418, text: "teapot …".into() },
        );
    }

    #[test]
    fn pauses_and_moves_are_read_from_the_parameters() {
        let reply = |body: &str, header| {
            let response = Response {
                status: 429,
                retry_after_s: header,
                body: body.as_bytes().to_vec(),
                content_range: None,
            };
            crate::wire::telegram::read_reply(&response).unwrap_err()
        };
        let told = r#"{"ok":false,"error_code":429,"parameters":{"retry_after":7}}"#;
        assert_eq!(reply(told, Some(9)), TelegramError::RetryAfter { seconds: 7 });
        let bare = r#"{"ok":false,"error_code":429}"#;
        assert_eq!(reply(bare, Some(9)), TelegramError::RetryAfter { seconds: 9 });
        assert_eq!(reply(bare, None), TelegramError::RetryAfter { seconds: 5 });
        let moved = r#"{"ok":false,"error_code":400,"parameters":{"migrate_to_chat_id":-1001}}"#;
        assert_eq!(reply(moved, None), TelegramError::Migrated(ChatId(-1001)));
        assert_eq!(reply("<html>502</html>", None), TelegramError::NotJson { status: 429 });
    }
}
