//! Owns: which settings differ between two readings, by the name that the operator writes.
//! May not: say a value.

use super::Config;

impl Config {
    /// The settings in which `new` differs, in the order of the guide.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        // Every field has its place here: a new one does not compile without a name.
        macro_rules! named {
            ($($field:ident => $name:literal),+ $(,)?) => {{
                let Self { $($field),+ } = self;
                [$(($name, *$field != new.$field)),+]
            }};
        }
        let all = named! {
            bot_token => "TELEGRAM_BOT_TOKEN",
            bot_name => "BOT_USERNAME",
            telegram_url => "TELEGRAM_API_URL",
            gemini_url => "GEMINI_API_URL",
            keys => "Gemini keys",
            models => "MODEL_LITE, MODEL_FLASH, MODEL_PRO",
            key_rpm => "KEY_RPM",
            key_min_interval_ms => "KEY_MIN_INTERVAL",
            lite_rpd => "LITE_RPD",
            flash_rpd => "FLASH_RPD",
            pro_rpd => "PRO_RPD",
            pro_rpm => "PRO_RPM",
            key_daily_share => "KEY_DAILY_SHARE",
            owner_ids => "BOT_OWNER_ID",
            vip_ids => "VIP_IDS",
            premium_ids => "PREMIUM_IDS",
            normal_ids => "NORMAL_IDS",
            default_role => "DEFAULT_ROLE",
            allowed_chats => "ALLOWED_CHAT_IDS",
            rounds => "ROUNDS_…",
            vip_slots => "VIP_SLOTS",
            session_idle_ms => "SESSION_IDLE",
            trigger_keywords => "TRIGGER_KEYWORDS",
            system_prompt => "SYSTEM_PROMPT",
            owner_system_prompt => "OWNER_SYSTEM_PROMPT",
            lang => "BOT_LANG",
            stream => "STREAM",
            reply_format => "REPLY_FORMAT",
            media_max => "MEDIA_MAX",
            join_window_ms => "JOIN_WINDOW",
            workers => "WORKERS",
            queue_max => "QUEUE_MAX",
            user_queue_max => "USER_QUEUE_MAX",
            answer_timeout_ms => "ANSWER_TIMEOUT",
            patience_ms => "PATIENCE",
            supabase => "SUPABASE_URL, SUPABASE_KEY",
            sync_interval_ms => "SYNC_INTERVAL",
            sync_batch_rows => "SYNC_BATCH_ROWS",
            sync_batch_bytes => "SYNC_BATCH_BYTES",
            keep_history_ms => "KEEP_HISTORY",
            summarise => "SUMMARISE",
            quiet_hours => "QUIET_HOURS",
            webhook => "WEBHOOK_…",
            shared_ledger => "SHARED_LEDGER",
            redis_url => "REDIS_URL",
            http_addr => "HTTP_ADDR",
            http_token => "HTTP_TOKEN",
            log_level => "LOG_LEVEL",
            log_format => "LOG_FORMAT",
            log_file => "LOG_FILE",
            tls_ca_file => "TLS_CA_FILE",
        };
        all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named() {
        let old = Config::sample();
        assert!(old.changed(&old.clone()).is_empty());
        let new =
            Config { workers: 3, http_token: Some(crate::types::Secret::new("s")), ..old.clone() };
        assert_eq!(old.changed(&new), ["WORKERS", "HTTP_TOKEN"]);
    }
}
