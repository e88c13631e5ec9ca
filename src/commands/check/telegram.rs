//! Owns: the items about Telegram: token, webhook, privacy mode, groups, another poller.
//! May not: confirm an update, change a setting of the bot.

use super::local::Local;
use super::reply::Fields;
use super::{Call, Item, TIMEOUT_MS, redirected, unreachable};
use crate::config::Config;
use crate::daemon::quoting::span;
use crate::types::SECOND_MS;
use crate::wire::{Method, Request};

/// Groups of `ALLOWED_CHAT_IDS` that are asked about.
const GROUPS_MAX: usize = 20;
/// How long `--poll` waits for another poller to come back.
const POLL_SECONDS: u64 = 5;

pub(super) fn items(config: &Config, local: &Local, poll: bool, call: Call<'_>) -> Vec<Item> {
    let reply = match call(&get("getMe", TIMEOUT_MS)) {
        Ok(reply) => reply,
        Err(error) => return vec![unreachable("telegram", "TELEGRAM_API_URL", &error)],
    };
    let me = Fields::read(&reply.body);
    match reply.status {
        200 if me.is_true(&["ok"]) => {}
        401 | 404 => {
            return vec![Item::fail(
                "telegram",
                format!("the token is refused ({})", reply.status),
                "copy TELEGRAM_BOT_TOKEN again from @BotFather, /mybots",
            )];
        }
        status @ 300..=399 => return vec![redirected("telegram", "TELEGRAM_API_URL", status)],
        status => {
            return vec![Item::fail(
                "telegram",
                format!("getMe answers {status}: {}", me.text(&["description"])),
                "look at TELEGRAM_API_URL, then try again",
            )];
        }
    }
    let name = me.text(&["result", "username"]);
    let mut items = vec![Item::ok("telegram", format!("the token is @{name}'s"))];
    items.push(privacy(me.is_true(&["result", "can_read_all_group_messages"])));
    items.push(webhook(config, local, call));
    items.extend(groups(config, me.number(&["result", "id"]), call));
    if poll {
        items.push(other_poller(config, local, call));
    }
    items
}

fn get(path: impl Into<String>, timeout_ms: u64) -> Request {
    Request { method: Method::Get, path: path.into(), headers: Vec::new(), body: None, timeout_ms }
}

fn privacy(reads_all: bool) -> Item {
    if reads_all {
        return Item::ok("privacy mode", "off: keywords work in every group");
    }
    Item::warn(
        "privacy mode",
        "on: in groups the bot sees only commands and replies, unless it is an administrator",
        "@BotFather, /setprivacy, Disable; then take the bot out of each group and add it again",
    )
}

fn webhook(config: &Config, local: &Local, call: Call<'_>) -> Item {
    let name = "webhook";
    let info = match call(&get("getWebhookInfo", TIMEOUT_MS)) {
        Ok(reply) => Fields::read(&reply.body),
        Err(error) => return unreachable(name, "TELEGRAM_API_URL", &error),
    };
    let url = info.text(&["result", "url"]);
    let waiting = info.number(&["result", "pending_update_count"]);
    let error_ms = info.number(&["result", "last_error_date"]).saturating_mul(SECOND_MS);
    match &config.webhook {
        None if url.is_empty() => Item::ok(name, format!("none set, {waiting} updates waiting")),
        None => Item::warn(
            name,
            format!("one is set although we poll ({waiting} updates waiting)"),
            "`svs-bot run` removes it at its start and keeps the updates; stop whoever set it",
        ),
        Some(_) if url.is_empty() => {
            Item::warn(name, "not set at Telegram", "start the bot: it sets the webhook")
        }
        Some(webhook) if !webhook.is_url(&url) => Item::fail(
            name,
            "Telegram delivers to another URL than WEBHOOK_URL",
            "restart the bot; if it comes back, another program uses this token",
        ),
        Some(_) if error_ms > 0 && local.now_ms - error_ms < 3_600 * SECOND_MS => Item::warn(
            name,
            format!(
                "Telegram could not deliver {} ago: {}",
                span(local.now_ms - error_ms),
                info.text(&["result", "last_error_message"])
            ),
            "look at the certificate, the port (443, 80, 88 or 8443) and the proxy before the bot",
        ),
        Some(_) => Item::ok(name, format!("set, {waiting} updates waiting")),
    }
}

fn groups(config: &Config, bot: i64, call: Call<'_>) -> Vec<Item> {
    let chats = config.allowed_chats.iter().flatten().filter(|chat| chat.0 < 0);
    let mut items = Vec::new();
    for chat in chats.take(GROUPS_MAX) {
        let name = format!("group {chat}");
        let path = format!("getChatMember?chat_id={chat}&user_id={bot}");
        let reply = match call(&get(path, TIMEOUT_MS)) {
            Ok(reply) => reply,
            Err(error) => {
                items.push(unreachable(&name, "TELEGRAM_API_URL", &error));
                break;
            }
        };
        let fields = Fields::read(&reply.body);
        items.push(match fields.text(&["result", "status"]).as_str() {
            "administrator" | "creator" => Item::ok(name, "administrator: it sees every message"),
            "member" => Item::ok(name, "member"),
            "restricted" => Item::warn(
                name,
                "restricted",
                "let the bot send messages there, in the group's permissions",
            ),
            _ => Item::warn(
                name,
                format!("the bot is not there ({})", fields.text(&["description"])),
                "add the bot to the group, or take the id out of ALLOWED_CHAT_IDS",
            ),
        });
    }
    items
}

/// Waits in a poll of its own: another poller that comes back makes Telegram end ours with a 409.
/// Without an offset nothing is confirmed.
fn other_poller(config: &Config, local: &Local, call: Call<'_>) -> Item {
    let name = "other poller (tried)";
    if local.holder.is_some() {
        return Item::ok(name, "not tried: our own daemon polls; stop it first");
    }
    if config.webhook.is_some() {
        return Item::ok(name, "not tried: webhook mode");
    }
    let path = format!("getUpdates?limit=1&timeout={POLL_SECONDS}");
    match call(&get(path, TIMEOUT_MS + POLL_SECONDS * 1_000)) {
        Err(error) => unreachable(name, "TELEGRAM_API_URL", &error),
        Ok(reply) if reply.status == 409 => Item::fail(
            name,
            Fields::read(&reply.body).text(&["description"]),
            "stop the other program; if it cannot be found, take a new token from @BotFather",
        ),
        Ok(reply) if reply.status == 200 => Item::ok(name, "none came back within 5 s"),
        Ok(reply) => Item::warn(name, format!("Telegram answers {}", reply.status), "try again"),
    }
}
