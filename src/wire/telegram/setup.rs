//! Owns: the Bot API methods that ask who we are, fetch updates and set things up (api-reference A2, A3, A11).
//! May not: know when they are called.

use super::request::{CALL_TIMEOUT_MS, call};
use crate::json::Object;
use crate::types::{ChatId, Secret, UserId};
use crate::wire::Request;

/// Beyond the long poll itself, for the way there and back.
const POLL_EXTRA_MS: u64 = 15_000;
/// The server clamps longer waits to this (api-reference A2).
const POLL_TIMEOUT_S_MAX: u32 = 50;
/// Updates of one page.
const POLL_LIMIT_MAX: u32 = 100;
/// Connections that Telegram may open to a webhook at once.
const WEBHOOK_CONNECTIONS_MAX: u32 = 100;
/// Updates that mean something to the bot; the list is sticky at the server (api-reference A2).
const ALLOWED_UPDATES: [&str; 5] =
    ["message", "edited_message", "callback_query", "my_chat_member", "stopped_message_generation"];

/// Who sees a menu of commands (api-reference A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everyone without a narrower list.
    Default,
    /// Private chats.
    AllPrivate,
    /// Groups and supergroups.
    AllGroups,
    /// One chat.
    Chat(ChatId),
}

/// Who are we.
pub fn get_me() -> Request {
    call("getMe", |_| {})
}

/// Waits for updates from `offset` on; asking confirms everything below it.
pub fn get_updates(offset: i64, limit: u32, timeout_s: u32) -> Request {
    let timeout_s = timeout_s.min(POLL_TIMEOUT_S_MAX);
    let mut request = call("getUpdates", |object| {
        if offset != 0 {
            object.int("offset", offset);
        }
        let limit = limit.clamp(1, POLL_LIMIT_MAX);
        object.int("limit", i64::from(limit)).int("timeout", i64::from(timeout_s));
        allowed_updates(object);
    });
    request.timeout_ms = u64::from(timeout_s) * 1_000 + POLL_EXTRA_MS;
    request
}

fn allowed_updates(object: &mut Object<'_>) {
    let mut allowed = object.array("allowed_updates");
    for kind in ALLOWED_UPDATES {
        allowed.str(kind);
    }
}

/// Removes a webhook; its waiting updates stay.
pub fn delete_webhook() -> Request {
    call("deleteWebhook", |_| {})
}

/// Whether a webhook is set, and how it goes.
pub fn get_webhook_info() -> Request {
    call("getWebhookInfo", |_| {})
}

/// Has updates delivered to `url`, each with `secret` in a header; what waits stays. The body holds the
/// secret: it must not be logged.
pub fn set_webhook(url: &str, secret: &Secret, connections: u32) -> Request {
    call("setWebhook", |object| {
        object.str("url", url).str("secret_token", secret.expose());
        let connections = connections.clamp(1, WEBHOOK_CONNECTIONS_MAX);
        object.int("max_connections", i64::from(connections));
        allowed_updates(object);
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
        slot(object, *scope, language);
    })
}

/// Clears that menu, so that the next wider one shows.
pub fn delete_my_commands(scope: &Scope, language: Option<&str>) -> Request {
    call("deleteMyCommands", |object| slot(object, *scope, language))
}

fn slot(object: &mut Object<'_>, scope: Scope, language: Option<&str>) {
    match scope {
        Scope::Default => object.object("scope").str("type", "default"),
        Scope::AllPrivate => object.object("scope").str("type", "all_private_chats"),
        Scope::AllGroups => object.object("scope").str("type", "all_group_chats"),
        Scope::Chat(chat) => object.object("scope").str("type", "chat").int("chat_id", chat.0),
    };
    object.opt_str("language_code", language);
}

/// A chat as the bot sees it.
pub fn get_chat(chat: ChatId) -> Request {
    call("getChat", |object| {
        object.int("chat_id", chat.0);
    })
}

/// Someone's standing in a chat, the bot's own included.
pub fn get_chat_member(chat: ChatId, user: UserId) -> Request {
    call("getChatMember", |object| {
        object.int("chat_id", chat.0).int("user_id", user.0);
    })
}

/// Where a file can be downloaded.
pub fn get_file(file_id: &str) -> Request {
    call("getFile", |object| {
        object.str("file_id", file_id);
    })
}

// The longest poll must outlive an ordinary call, or it would end itself.
const _: () = assert!(CALL_TIMEOUT_MS < POLL_TIMEOUT_S_MAX as u64 * 1_000 + POLL_EXTRA_MS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_outlives_the_time_telegram_may_wait() {
        let poll = get_updates(9, 500, 90);
        assert!(poll.timeout_ms > 50_000);
        assert!(
            poll.body.unwrap_or_default().starts_with(r#"{"offset":9,"limit":100,"timeout":50,"#)
        );
        let first = get_updates(0, 0, 0).body.unwrap_or_default();
        assert!(first.starts_with(r#"{"limit":1,"timeout":0,"#));
    }
}
