//! Owns: what is asked about the bot, chats and people, and the command menu (api-reference A3).
//! May not: change a chat.

use super::params::Params;
use super::state::State;
use super::{Answer, Data, Refusal, map};

const COMMANDS_MAX: usize = 100;
/// Menus kept at most: scopes times languages.
const MENUS_MAX: usize = 1_000;
const SCOPES: [&str; 7] = [
    "default",
    "all_private_chats",
    "all_group_chats",
    "all_chat_administrators",
    "chat",
    "chat_administrators",
    "chat_member",
];

impl State {
    /// Methods that read, and the menu.
    pub(super) fn ask(&mut self, method: &str, params: &Params) -> Answer {
        match method {
            "getme" => Ok(self.me().render()),
            "getwebhookinfo" => Ok(self.webhook_info().render()),
            "setmycommands" => self.set_commands(params),
            "getmycommands" => {
                let none = Data::List(Vec::new());
                Ok(self.commands.get(&menu(params)?).unwrap_or(&none).render())
            }
            "deletemycommands" => {
                self.commands.remove(&menu(params)?);
                Ok("true".into())
            }
            "getchat" => self.get_chat(params),
            "getchatmember" => self.get_member(params),
            "getchatmembercount" => self.asked_chat(params).map(|_| "2".into()),
            "getchatadministrators" => {
                self.asked_chat(params)?;
                Ok(Data::List(vec![member(self.bot.clone(), "administrator")]).render())
            }
            _ => Err(Refusal::new(404, "Not Found: method not found")),
        }
    }

    fn me(&self) -> Data {
        let mut me = self.bot.clone();
        for (key, value) in [
            ("can_join_groups", true),
            ("can_read_all_group_messages", true),
            ("supports_inline_queries", false),
            ("can_connect_to_business", false),
            ("has_main_web_app", false),
            ("has_topics_enabled", false),
        ] {
            me.set(key, value);
        }
        me
    }

    fn set_commands(&mut self, params: &Params) -> Answer {
        let Data::List(commands) = params.json("commands") else {
            return Err(Refusal::bad("can't parse commands JSON array"));
        };
        if COMMANDS_MAX < commands.len() {
            return Err(Refusal::bad("BOT_COMMANDS_TOO_MUCH"));
        }
        for command in &commands {
            let name = command.at("command").str().trim_start_matches('/');
            let letter =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if name.is_empty() || 32 < name.len() || !name.bytes().all(letter) {
                return Err(Refusal::bad("BOT_COMMAND_INVALID"));
            }
            let described = command.at("description").str().chars().count();
            if !(1..=256).contains(&described) {
                return Err(Refusal::bad("BOT_COMMAND_DESCRIPTION_INVALID"));
            }
        }
        if MENUS_MAX <= self.commands.len() {
            self.commands.pop_first();
        }
        self.commands.insert(menu(params)?, Data::List(commands));
        Ok("true".into())
    }

    fn asked_chat(&mut self, params: &Params) -> Result<Data, Refusal> {
        let wanted = params.get("chat_id");
        let chat = match wanted.strip_prefix('@') {
            Some(name) => self.chat_by_name(name),
            None => wanted.parse().ok().and_then(|id| self.known_chat(id)),
        };
        chat.map(|chat| chat.data()).ok_or_else(|| Refusal::bad("chat not found"))
    }

    fn get_chat(&mut self, params: &Params) -> Answer {
        let gifts = [
            "unlimited_gifts",
            "limited_gifts",
            "unique_gifts",
            "premium_subscription",
            "gifts_from_channels",
        ];
        let gifts = gifts.map(|name| (name, false.into()));
        let full = self
            .asked_chat(params)?
            .with("accent_color_id", 0_i64)
            .with("max_reaction_count", 11_i64)
            .with("accepted_gift_types", map(gifts));
        Ok(full.render())
    }

    fn get_member(&mut self, params: &Params) -> Answer {
        self.asked_chat(params)?;
        let id = params.int("user_id", 0, 0, i64::MAX);
        if id == 0 {
            return Err(Refusal::bad("invalid user_id specified"));
        }
        let user = if id == self.bot_id { self.bot.clone() } else { self.user(id) };
        Ok(member(user, "member").render())
    }
}

/// A ChatMember; administrators carry every right that the type requires.
fn member(user: Data, status: &str) -> Data {
    let mut member = map([("status", status.into()), ("user", user)]);
    if status == "administrator" {
        for right in [
            "can_be_edited",
            "is_anonymous",
            "can_manage_chat",
            "can_delete_messages",
            "can_manage_video_chats",
            "can_restrict_members",
            "can_promote_members",
            "can_change_info",
            "can_invite_users",
            "can_post_stories",
            "can_edit_stories",
            "can_delete_stories",
        ] {
            member.set(right, right == "can_manage_chat");
        }
    }
    member
}

/// The slot of a menu: its scope as JSON text, its language.
fn menu(params: &Params) -> Result<(String, String), Refusal> {
    let scope = match params.get("scope") {
        "" => "{\"type\":\"default\"}".to_owned(),
        given => {
            let scope = Data::parse(given.as_bytes()).unwrap_or_default();
            if !SCOPES.contains(&scope.at("type").str()) {
                return Err(Refusal::bad(
                    "can't parse BotCommandScope: unsupported type specified",
                ));
            }
            scope.render()
        }
    };
    let language = params.get("language_code");
    let shaped = language.len() == 2 && language.bytes().all(|byte| byte.is_ascii_lowercase());
    if !language.is_empty() && !shaped {
        return Err(Refusal::bad("invalid language code specified"));
    }
    Ok((scope, language.to_owned()))
}
