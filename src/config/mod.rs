//! Owns: raw settings → one checked `Config`, all problems at once (contract §1–2).
//! May not: read a clock, the network or the database.
//! Invariant: nothing of a secret's text stands in a problem or a warning.

mod changed;
pub mod dotenv;
mod keys;
mod load;
pub mod names;
mod parse;
pub mod private;
#[cfg_attr(feature = "redis", path = "redis.rs")]
#[cfg_attr(not(feature = "redis"), path = "no_redis.rs")]
mod redis;
mod services;
pub mod source;
#[cfg(test)]
mod tests;
pub mod value;
pub mod zone;

pub use load::{DataDir, Loaded, Problem, data_dir, draft, load, problems_of};
pub use source::Environment;
pub use value::{DURATION_TAKES, duration_ms};
pub use zone::ZONE_TAKES;

use crate::types::{ChatId, Group, MINUTE_MS, Role, SECOND_MS, Secret, UnixMs, UserId};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A limit of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The built-in table, then what replies teach.
    Auto,
    /// `0`: no limit.
    Unlimited,
    /// This many.
    Fixed(u32),
}

/// One Gemini key as the settings give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetting {
    /// The key.
    pub secret: Secret,
    /// Where it was listed.
    pub group: Group,
    /// `key@project`.
    pub project: Option<String>,
}

/// The fallback chain of each tier, strongest wish first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// `MODEL_LITE`
    pub lite: Vec<String>,
    /// `MODEL_FLASH`
    pub flash: Vec<String>,
    /// `MODEL_PRO`
    pub pro: Vec<String>,
}

/// `BOT_LANG`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LangSetting {
    /// Always Chinese.
    Zh,
    /// Always English.
    En,
    /// The user's Telegram language, Chinese where unknown.
    Auto,
}

/// `STREAM`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamSetting {
    /// Only the finished answer.
    Off,
    /// Growing by edits.
    Edit,
    /// Growing drafts in private chats.
    Draft,
    /// Drafts where known, edits elsewhere.
    Auto,
}

/// `REPLY_FORMAT`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// Telegram HTML.
    Html,
    /// Rich messages, falling back to HTML.
    Rich,
}

/// `LOG_FORMAT`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Journald priorities under systemd, text else.
    Auto,
    /// Lines for people.
    Text,
    /// `key=value`.
    Logfmt,
    /// One object a line.
    Json,
}

/// `SUPABASE_URL`, `SUPABASE_KEY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supabase {
    /// Base without `/rest/v1` and trailing slash.
    pub url: String,
    /// `sb_secret_…` or a JWT.
    pub key: Secret,
}

/// `WEBHOOK_*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Public HTTPS URL.
    pub url: String,
    /// Where we listen.
    pub addr: SocketAddr,
    /// 1–256 of `A-Za-z0-9_-`.
    pub secret: Secret,
    /// Certificate and key files, both or none.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Webhook {
    /// The path of the URL: what Telegram, and whatever stands between, asks us for.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
    }

    /// Whether another spelling means this URL: Telegram may leave out a default port.
    pub fn is_url(&self, other: &str) -> bool {
        let plain = |url: &str| {
            let url = url.trim_end_matches('/');
            let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.to_ascii_lowercase();
            let default = if scheme.eq_ignore_ascii_case("http") { ":80" } else { ":443" };
            let host = host.strip_suffix(default).unwrap_or(&host);
            format!("{}://{host}{path}", scheme.to_ascii_lowercase())
        };
        plain(&self.url) == plain(other)
    }
}

/// A place on the earth's clock: a fixed offset or a name of the system's zoneinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// Name and the bytes of its TZif file.
    Named(String, Vec<u8>),
}

/// `QUIET_HOURS`: minutes of the local day, may wrap over midnight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// First quiet minute.
    pub from_min: u32,
    /// First loud minute.
    pub to_min: u32,
    /// Whose clock.
    pub zone: Zone,
}

impl QuietHours {
    /// When the quiet that rules at this instant ends; none where it is loud.
    pub fn end_ms(&self, unix_ms: UnixMs) -> Option<UnixMs> {
        const DAY_MIN: u32 = 24 * 60;
        let unix_s = unix_ms.div_euclid(SECOND_MS);
        let minute = self.zone.minute_of_day(unix_s);
        let since_from = (minute + DAY_MIN - self.from_min % DAY_MIN) % DAY_MIN;
        let length = (self.to_min + DAY_MIN - self.from_min % DAY_MIN) % DAY_MIN;
        let start_of_minute_ms = unix_ms - unix_ms.rem_euclid(MINUTE_MS);
        (since_from < length)
            .then(|| start_of_minute_ms + i64::from(length - since_from) * MINUTE_MS)
    }
}

/// Every setting, parsed and checked; nothing later doubts it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `TELEGRAM_BOT_TOKEN`
    pub bot_token: Secret,
    /// Else from getMe.
    pub bot_name: Option<String>,
    /// No trailing slash; may carry a path.
    pub telegram_url: String,
    /// No trailing slash; may carry a path.
    pub gemini_url: String,
    /// In the order of `keys list`, repeats dropped.
    pub keys: Vec<KeySetting>,
    /// Chains per tier.
    pub models: Models,
    /// `KEY_RPM`
    pub key_rpm: Limit,
    /// `KEY_MIN_INTERVAL`
    pub key_min_interval_ms: i64,
    /// `LITE_RPD`
    pub lite_rpd: Limit,
    /// `FLASH_RPD`
    pub flash_rpd: Limit,
    /// `PRO_RPD`
    pub pro_rpd: Limit,
    /// `PRO_RPM`
    pub pro_rpm: Limit,
    /// `KEY_DAILY_SHARE`, 0 < x ≤ 1
    pub key_daily_share: f64,
    /// `BOT_OWNER_ID`
    pub owner_ids: Vec<UserId>,
    /// `VIP_IDS`
    pub vip_ids: Vec<UserId>,
    /// `PREMIUM_IDS`
    pub premium_ids: Vec<UserId>,
    /// `NORMAL_IDS`
    pub normal_ids: Vec<UserId>,
    /// `DEFAULT_ROLE`: normal, guest or blocked
    pub default_role: Role,
    /// `ALLOWED_CHAT_IDS`; none = all
    pub allowed_chats: Option<Vec<ChatId>>,
    /// `ROUNDS_OWNER` … `ROUNDS_GUEST`, by [`Role::priority`]
    pub rounds: [u32; 5],
    /// `VIP_SLOTS`
    pub vip_slots: u32,
    /// `SESSION_IDLE`
    pub session_idle_ms: i64,
    /// `TRIGGER_KEYWORDS`, in their listed spelling
    pub trigger_keywords: Vec<String>,
    /// `SYSTEM_PROMPT`
    pub system_prompt: Option<String>,
    /// `OWNER_SYSTEM_PROMPT`
    pub owner_system_prompt: Option<String>,
    /// `BOT_LANG`
    pub lang: LangSetting,
    /// `STREAM`
    pub stream: StreamSetting,
    /// `REPLY_FORMAT`
    pub reply_format: ReplyFormat,
    /// `MEDIA_MAX`, bytes; 0 = text only
    pub media_max: u64,
    /// `JOIN_WINDOW`
    pub join_window_ms: i64,
    /// `WORKERS`, 1–128
    pub workers: usize,
    /// `QUEUE_MAX`
    pub queue_max: u32,
    /// `USER_QUEUE_MAX`
    pub user_queue_max: u32,
    /// `ANSWER_TIMEOUT`
    pub answer_timeout_ms: i64,
    /// `PATIENCE`
    pub patience_ms: i64,
    /// None: everything stays local
    pub supabase: Option<Supabase>,
    /// `SYNC_INTERVAL`; 0 = only cron
    pub sync_interval_ms: i64,
    /// `SYNC_BATCH_ROWS`
    pub sync_batch_rows: u32,
    /// `SYNC_BATCH_BYTES`
    pub sync_batch_bytes: u64,
    /// `KEEP_HISTORY`; 0 = all
    pub keep_history_ms: i64,
    /// `SUMMARISE`
    pub summarise: bool,
    /// `QUIET_HOURS`
    pub quiet_hours: Option<QuietHours>,
    /// Webhook mode
    pub webhook: Option<Webhook>,
    /// `SHARED_LEDGER`, absolute
    pub shared_ledger: Option<PathBuf>,
    /// `REDIS_URL`, only in `redis` builds
    pub redis_url: Option<Secret>,
    /// `HTTP_ADDR`; none = `off`
    pub http_addr: Option<SocketAddr>,
    /// `HTTP_TOKEN`
    pub http_token: Option<Secret>,
    /// `LOG_LEVEL`
    pub log_level: log::LevelFilter,
    /// `LOG_FORMAT`
    pub log_format: LogFormat,
    /// `LOG_FILE`; none = stderr
    pub log_file: Option<PathBuf>,
    /// `TLS_CA_FILE`
    pub tls_ca_file: Option<PathBuf>,
}

impl Config {
    /// Whether other boxes count on the same keys.
    pub fn shares_keys(&self) -> bool {
        self.shared_ledger.is_some() || self.redis_url.is_some()
    }

    /// How many rounds a session of this role remembers.
    pub fn rounds_of(&self, role: Role) -> u32 {
        usize::try_from(role.priority())
            .ok()
            .and_then(|at| self.rounds.get(at))
            .copied()
            .unwrap_or(0)
    }

    /// Every secret text of the settings, for scrubbing what is about to be shown or stored
    /// (contract §5.6).
    pub fn secrets(&self) -> Vec<&Secret> {
        let keys = self.keys.iter().map(|key| &key.secret);
        let others = [
            Some(&self.bot_token),
            self.supabase.as_ref().map(|supabase| &supabase.key),
            self.webhook.as_ref().map(|webhook| &webhook.secret),
            self.http_token.as_ref(),
            self.redis_url.as_ref(),
        ];
        keys.chain(others.into_iter().flatten()).filter(|secret| !secret.is_empty()).collect()
    }

    /// The defaults with a made-up token and one made-up key, for tests and the demo.
    #[doc(hidden)]
    pub fn sample() -> Self {
        load::sample()
    }
}
