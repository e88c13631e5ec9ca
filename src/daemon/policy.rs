//! Owns: the settings as the engine reads them.
//! May not: decide.

use crate::config::{Config, LangSetting};
use crate::engine::policy::{Keyword, LangChoice, Policy};
use crate::types::{Lang, UserId};

/// Translates; `bot_name` is what an earlier getMe or the settings said.
pub(super) fn from_config(config: &Config, bot_name: &str) -> Policy {
    // The number before the colon of a token is the bot's id.
    let bot =
        config.bot_token.expose().split(':').next().and_then(|id| id.parse().ok()).unwrap_or(0);
    Policy {
        bot: UserId(bot),
        bot_name: bot_name.trim_start_matches('@').to_owned(),
        owners: config.owner_ids.clone(),
        vips: config.vip_ids.clone(),
        premiums: config.premium_ids.clone(),
        normals: config.normal_ids.clone(),
        default_role: config.default_role,
        allowed_chats: config.allowed_chats.clone(),
        rounds: config.rounds,
        vip_slots: config.vip_slots as usize,
        session_idle_ms: config.session_idle_ms,
        keywords: config.trigger_keywords.iter().map(|word| Keyword::new(word)).collect(),
        queue_max: config.queue_max,
        user_queue_max: config.user_queue_max,
        join_window_ms: config.join_window_ms,
        media_max_bytes: config.media_max,
        lang: match config.lang {
            LangSetting::Zh => LangChoice::Fixed(Lang::Zh),
            LangSetting::En => LangChoice::Fixed(Lang::En),
            LangSetting::Auto => LangChoice::Auto,
        },
    }
}
