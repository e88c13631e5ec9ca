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
/// Where a 429 does not say; what a restarting server asks for (api-reference A7).
const RETRY_AFTER_S_DEFAULT: u32 = 5;

/// What kind of 409 it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another getUpdates with this token.
    OtherPoller,
    /// A webhook is set, or was being set just then.
    WebhookActive,
    /// In words to come.
    Other,
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
            // The same fact comes as 400 or 403; Telegram's own prefix says which (api-reference A8).
            Self::ChatGone { why } | Self::UserGone { why } | Self::Muted { why }
                if why.starts_with("Forbidden") =>
            {
                403
            }
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
            Self::Conflict(Conflict::Other) => f.write_str("something else uses this token"),
            Self::Server { status } => write!(f, "answers {status}"),
            Self::NotJson { status: status @ 300..=399 } => {
                write!(f, "answers with a redirect ({status}), which is not followed")
            }
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
    ("failed to get http url content", |_| TelegramError::FileGone),
];

/// The same facts come with 400 and with 403: unknown codes of the second are turned into the first.
const STANDING: &[Row] = &[
    ("blocked by the user", user_gone),
    ("user_is_blocked", user_gone),
    ("user is deactivated", user_gone),
    ("input_user_deactivated", user_gone),
    ("can't initiate conversation", user_gone),
    ("can't send messages to the bot", user_gone),
    ("can't send messages to bots", user_gone),
    ("chat not found", chat_gone),
    ("chat_id is empty", chat_gone),
    ("peer_id_invalid", chat_gone),
    ("upgraded to a supergroup", chat_gone),
    ("not enough rights", muted),
    ("have no write access", muted),
    ("need administrator rights", muted),
    ("chat_write_forbidden", muted),
    ("chat_send_plain_forbidden", muted),
    ("chat_restricted", muted),
    ("chat_admin_required", muted),
    ("user_banned_in_channel", muted),
];

fn chat_gone(why: &str) -> TelegramError {
    TelegramError::ChatGone { why: why.to_owned() }
}

fn user_gone(why: &str) -> TelegramError {
    TelegramError::UserGone { why: why.to_owned() }
}

fn muted(why: &str) -> TelegramError {
    TelegramError::Muted { why: why.to_owned() }
}

/// What stands between us and Telegram answered in its own words; some of them are plain enough.
pub(super) fn without_json(response: &Response) -> TelegramError {
    match response.status {
        429 => pause(response.retry_after_s),
        413 => TelegramError::TooLarge,
        status => TelegramError::NotJson { status },
    }
}

fn pause(seconds: Option<u32>) -> TelegramError {
    TelegramError::RetryAfter {
        seconds: seconds.unwrap_or(RETRY_AFTER_S_DEFAULT).clamp(1, RETRY_AFTER_S_MAX),
    }
}

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
        429 => pause(parameters.at("retry_after").u32().or(response.retry_after_s)),
        401 => TelegramError::Unauthorized,
        404 if folded.contains("method not found") => TelegramError::MethodUnknown,
        404 => TelegramError::NotFound,
        409 => TelegramError::Conflict(match () {
            () if folded.contains("webhook") => Conflict::WebhookActive,
            () if folded.contains("getupdates") => Conflict::OtherPoller,
            () => Conflict::Other,
        }),
        413 => TelegramError::TooLarge,
        400 => find(BAD_REQUEST)
            .or_else(|| find(STANDING))
            .unwrap_or(TelegramError::Other { code, text }),
        // Kicked, not a member, deleted, and words to come: nothing can be said there.
        403 => find(STANDING).unwrap_or_else(|| chat_gone(&text)),
        500.. => TelegramError::Server { status: code },
        _ => TelegramError::Other { code, text },
    }
}

/// A short text without line breaks and without anything that looks like a URL or a token.
pub(super) fn cut(text: &str) -> String {
    text.split_whitespace()
        .map(|word| if word.contains("://") || is_like_a_token(word) { "…" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(TEXT_CHARS_MAX)
        .collect()
}

/// `123456:AA…`, as BotFather gives them, also behind `/bot`.
fn is_like_a_token(word: &str) -> bool {
    word.split_once(':').is_some_and(|(before, after)| {
        before.ends_with(|c: char| c.is_ascii_digit())
            && after.len() >= 30
            && after.chars().take(30).all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    })
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
        check(400, "Bad Request: chat not found", chat_gone("Bad Request: chat not found"));
        check(
            403,
            "Forbidden: bot was blocked by the user",
            user_gone("Forbidden: bot was blocked by the user"),
        );
        check(
            403,
            "Forbidden: bot was kicked from the group chat",
            chat_gone("Forbidden: bot was kicked from the group chat"),
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
        let webhook = TelegramError::Conflict(Conflict::WebhookActive);
        check(409, "Conflict: terminated by setWebhook request", webhook.clone());
        check(409, "Conflict: terminated by other setWebhook", webhook);
        check(409, "Conflict: of another kind", TelegramError::Conflict(Conflict::Other));
        for (code, why) in [
            (400, "Bad Request: not enough rights to send text messages to the chat"),
            (400, "Bad Request: have no write access to the chat"),
            (400, "Bad Request: CHAT_WRITE_FORBIDDEN"),
            (403, "Forbidden: CHAT_WRITE_FORBIDDEN"),
        ] {
            check(code, why, muted(why));
            assert_eq!(muted(why).code(), code, "{why}");
        }
        for why in [
            "Forbidden: user is deactivated",
            "Forbidden: bot can't initiate conversation with a user",
            "Forbidden: the bot can't send messages to the bot",
        ] {
            check(403, why, user_gone(why));
        }
        for why in [
            "Forbidden: bot is not a member of the channel chat",
            "Forbidden: the group chat was deleted",
            "Forbidden: words to come",
        ] {
            check(403, why, chat_gone(why));
        }
        check(400, "Bad Request: message to edit not found", TelegramError::EditGone);
        check(400, "Bad Request: message can't be edited", TelegramError::EditGone);
        check(400, "Bad Request: TOPIC_CLOSED", TelegramError::ThreadGone);
        check(400, "Bad Request: text is too long", TelegramError::TooLong);
        check(400, "Bad Request: message caption is too long", TelegramError::TooLong);
        check(400, "Bad Request: message text is empty", TelegramError::EmptyText);
        check(400, "Bad Request: file is too big", TelegramError::FileTooBig);
        check(
            400,
            "Bad Request: wrong file_id or the file is temporarily unavailable",
            TelegramError::FileGone,
        );
        check(
            400,
            "Bad Request: query is too old and response timeout expired or query ID is invalid",
            TelegramError::QueryTooOld,
        );
        check(413, "Request Entity Too Large", TelegramError::TooLarge);
        check(500, "Internal Server Error: restart", TelegramError::Server { status: 500 });
        check(502, "Bad Gateway", TelegramError::Server { status: 502 });
        check(
            418,
            "teapot https://x/bot1:A",
            TelegramError::Other { code: 418, text: "teapot …".into() },
        );
        let token = "bot123456:AAabcdefghijklmnopqrstuvwxyz0123456789-_";
        check(
            418,
            &format!("at /{token}/x {}", "long ".repeat(99)),
            TelegramError::Other {
                code: 418, text: cut(&format!("at … {}", "long ".repeat(99)))
            },
        );
    }

    #[test]
    fn pauses_and_moves_are_read_from_the_parameters() {
        let reply = |body: &str, header| {
            let response = Response {
                status: 429,
                retry_after_s: header,
                date_ms: None,
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
        let endless = r#"{"ok":false,"error_code":429,"parameters":{"retry_after":99999999999}}"#;
        assert_eq!(reply(endless, None), TelegramError::RetryAfter { seconds: RETRY_AFTER_S_MAX });
        assert_eq!(reply("<html>slow</html>", Some(3)), TelegramError::RetryAfter { seconds: 3 });
        assert_eq!(reply("", None), TelegramError::RetryAfter { seconds: 5 });
    }

    #[test]
    fn what_is_not_telegrams_json_is_told_by_its_status() {
        let reply = |status, body: &str| {
            let body = body.as_bytes().to_vec();
            let response = Response { status, body, ..Response::default() };
            crate::wire::telegram::read_reply(&response).unwrap_err()
        };
        assert_eq!(reply(502, "<html>bad gateway</html>"), TelegramError::NotJson { status: 502 });
        assert_eq!(reply(200, "<html>log in</html>"), TelegramError::NotJson { status: 200 });
        assert_eq!(reply(200, r#"{"hello":1}"#), TelegramError::NotJson { status: 200 });
        assert_eq!(reply(200, "[]"), TelegramError::NotJson { status: 200 });
        assert_eq!(reply(413, "<html>"), TelegramError::TooLarge);
    }
}
