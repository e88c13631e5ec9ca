//! Owns: raw values → one checked `Config`, every problem found before any is reported.
//! May not: open files, decide which source counts.
//! Invariant: a value that may be a secret never stands in a problem or a warning.

use super::keys;
use super::names::SETTINGS;
use super::source::{Environment, Found, Raw};
use super::value::{self, DURATION_TAKES};
use super::zone::ZONE_TAKES;
use super::{
    Config, LangSetting, LogFormat, Models, Problem, QuietHours, ReplyFormat, StreamSetting, Zone,
};
use crate::types::{ChatId, DAY_MS, HOUR_MS, MINUTE_MS, Role, SECOND_MS, Secret, UserId};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Where Telegram's own server is.
pub(super) const TELEGRAM_URL: &str = "https://api.telegram.org";
/// Where Google's server is.
const GEMINI_URL: &str = "https://generativelanguage.googleapis.com";
/// What no list of ids, models or keywords is longer than.
const LIST_MAX: usize = 1_000;
/// The most characters of a keyword: `user_registry.triggered_by_keyword` is a `varchar(100)`.
const KEYWORD_CHARS_MAX: usize = 100;
/// The most bytes of a prompt: it is part of every request.
const PROMPT_BYTES_MAX: usize = 64 * 1024;
/// The most of a value that a problem repeats.
const SHOWN_CHARS_MAX: usize = 60;
/// So many token characters in a row may be a key in the wrong place.
const SECRET_RUN: usize = 20;
/// So many digits before a colon may be a bot token in the wrong place.
const TOKEN_DIGITS: usize = 5;
/// The keywords of the earlier versions, in their listed spelling.
const KEYWORDS: [&str; 9] = [
    "管理员",
    "admin",
    "administrator",
    "moderator",
    "小爱同学",
    "小愛同學",
    "xiaoai",
    "xiao ai",
    "little love",
];
/// What an on/off setting takes.
const SWITCH_TAKES: &str = "on or off";
/// What a limit takes.
const LIMIT_TAKES: &str = "auto, 0 for no limit, or a whole number";

/// Understands every value; the settings of features that are not in use are checked as well.
pub(super) fn parse(raw: &Raw, environment: &Environment) -> (Config, Vec<Problem>, Vec<String>) {
    let mut reader = Reader { raw, problems: Vec::new(), warnings: Vec::new() };
    let config = config(&mut reader, environment);
    let Reader { problems, warnings, .. } = reader;
    (config, problems, warnings)
}

/// Takes values one by one and remembers what is wrong with them.
pub(super) struct Reader<'a> {
    raw: &'a Raw,
    problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

fn config(reader: &mut Reader<'_>, environment: &Environment) -> Config {
    let allow_http = reader.switch("ALLOW_HTTP", false);
    let telegram_url = reader.url("TELEGRAM_API_URL", allow_http);
    let webhook = super::services::webhook(reader, telegram_url.as_deref(), allow_http);
    let supabase = super::services::supabase(reader, allow_http);
    let (http_addr, http_token) = super::services::http(reader);
    let redis_url = super::redis::read(reader);
    let shared_ledger = super::services::shared_ledger(reader, redis_url.is_some());
    Config {
        bot_token: bot_token(reader),
        bot_name: bot_name(reader),
        telegram_url: telegram_url.unwrap_or_else(|| TELEGRAM_URL.to_owned()),
        gemini_url: reader
            .url("GEMINI_API_URL", allow_http)
            .unwrap_or_else(|| GEMINI_URL.to_owned()),
        keys: keys::read(reader),
        models: Models {
            lite: models(reader, "MODEL_LITE", &["gemini-3.5-flash-lite", "gemini-3.1-flash-lite"]),
            flash: models(reader, "MODEL_FLASH", &["gemini-3.8-flash", "gemini-3.6-flash"]),
            pro: models(reader, "MODEL_PRO", &["gemini-3.1-pro-preview", "gemini-3.8-flash"]),
        },
        key_rpm: reader.limit("KEY_RPM"),
        key_min_interval_ms: reader.duration("KEY_MIN_INTERVAL", SECOND_MS, 0..=HOUR_MS),
        lite_rpd: reader.limit("LITE_RPD"),
        flash_rpd: reader.limit("FLASH_RPD"),
        pro_rpd: reader.limit("PRO_RPD"),
        pro_rpm: reader.limit("PRO_RPM"),
        key_daily_share: daily_share(reader),
        owner_ids: user_ids(reader, "BOT_OWNER_ID"),
        vip_ids: user_ids(reader, "VIP_IDS"),
        premium_ids: user_ids(reader, "PREMIUM_IDS"),
        normal_ids: user_ids(reader, "NORMAL_IDS"),
        default_role: default_role(reader),
        allowed_chats: allowed_chats(reader),
        rounds: rounds(reader),
        vip_slots: reader.number("VIP_SLOTS", 3, 0..=1_000),
        session_idle_ms: reader.duration("SESSION_IDLE", 10 * MINUTE_MS, SECOND_MS..=30 * DAY_MS),
        trigger_keywords: keywords(reader),
        system_prompt: reader.prompt("SYSTEM_PROMPT"),
        owner_system_prompt: reader.prompt("OWNER_SYSTEM_PROMPT"),
        lang: reader.one_of(
            "BOT_LANG",
            &[("auto", LangSetting::Auto), ("zh", LangSetting::Zh), ("en", LangSetting::En)],
        ),
        stream: reader.one_of(
            "STREAM",
            &[
                ("auto", StreamSetting::Auto),
                ("off", StreamSetting::Off),
                ("edit", StreamSetting::Edit),
                ("draft", StreamSetting::Draft),
            ],
        ),
        reply_format: reader
            .one_of("REPLY_FORMAT", &[("html", ReplyFormat::Html), ("rich", ReplyFormat::Rich)]),
        media_max: reader.size("MEDIA_MAX", 10 << 20, 0..=2 << 30),
        join_window_ms: reader.duration("JOIN_WINDOW", 0, 0..=HOUR_MS),
        workers: reader.number("WORKERS", 16, 1..=128),
        queue_max: reader.number("QUEUE_MAX", 10_000, 1..=10_000_000),
        user_queue_max: reader.number("USER_QUEUE_MAX", 20, 1..=10_000_000),
        answer_timeout_ms: reader.duration("ANSWER_TIMEOUT", MINUTE_MS, SECOND_MS..=30 * MINUTE_MS),
        patience_ms: reader.duration("PATIENCE", 5 * MINUTE_MS, 0..=30 * DAY_MS),
        supabase,
        sync_interval_ms: reader.duration("SYNC_INTERVAL", MINUTE_MS, 0..=30 * DAY_MS),
        sync_batch_rows: reader.number("SYNC_BATCH_ROWS", 500, 1..=100_000),
        sync_batch_bytes: reader.size("SYNC_BATCH_BYTES", 1 << 20, 1..=64 << 20),
        keep_history_ms: reader.duration("KEEP_HISTORY", 90 * DAY_MS, 0..=i64::MAX),
        summarise: reader.switch("SUMMARISE", false),
        quiet_hours: quiet_hours(reader, environment),
        webhook,
        shared_ledger,
        redis_url,
        http_addr,
        http_token,
        log_level: log_level(reader),
        log_format: reader.one_of(
            "LOG_FORMAT",
            &[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("logfmt", LogFormat::Logfmt),
                ("json", LogFormat::Json),
            ],
        ),
        log_file: reader.path("LOG_FILE"),
        tls_ca_file: reader.path("TLS_CA_FILE"),
    }
}

impl<'a> Reader<'a> {
    /// The value of a setting, where some source gives one.
    pub(super) fn found(&self, setting: &str) -> Option<&'a Found> {
        self.raw.get(setting)
    }

    /// All values of a setting that may have several.
    pub(super) fn all(&self, setting: &str) -> &'a [Found] {
        self.raw.found.get(setting).map_or(&[], Vec::as_slice)
    }

    /// Whether the setting was given, readable or not.
    pub(super) fn is_given(&self, setting: &str) -> bool {
        self.raw.found.contains_key(setting) || self.raw.unread.contains(setting)
    }

    /// The name under which the operator gave a setting.
    pub(super) fn name_of(&self, setting: &'static str) -> &'a str {
        self.found(setting).map_or(setting, |found| found.name.as_str())
    }

    pub(super) fn problem(&mut self, name: &str, text: impl Into<String>) {
        self.problems.push(Problem::new(name, text));
    }

    /// A value that `read` understands; none when it is not set or not understood.
    pub(super) fn read<T>(
        &mut self,
        setting: &str,
        takes: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let found = self.found(setting)?;
        let value = read(value::unquoted(&found.value));
        if value.is_none() {
            self.problem(
                &found.name,
                format!("got {}: takes {takes}", shown(setting, &found.value)),
            );
        }
        value
    }

    fn one_of<T: Copy>(&mut self, setting: &str, words: &[(&str, T)]) -> T {
        let takes: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let by_word = |text: &str| {
            words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
        };
        let default = words.first().map(|(_, value)| *value);
        #[expect(clippy::expect_used, reason = "every table of words above has a first line")]
        self.read(setting, &one_of_text(&takes), by_word).or(default).expect("a word")
    }

    fn switch(&mut self, setting: &str, default: bool) -> bool {
        self.read(setting, SWITCH_TAKES, value::switch).unwrap_or(default)
    }

    fn limit(&mut self, setting: &str) -> super::Limit {
        self.read(setting, LIMIT_TAKES, value::limit).unwrap_or(super::Limit::Auto)
    }

    fn number<T>(&mut self, setting: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<u64> + PartialOrd + std::fmt::Display,
    {
        let takes = format!("a whole number from {} to {}", range.start(), range.end());
        let inside = |text: &str| {
            value::whole(text)
                .and_then(|number| T::try_from(number).ok())
                .filter(|number| range.contains(number))
        };
        self.read(setting, &takes, inside).unwrap_or(default)
    }

    fn duration(&mut self, setting: &str, default_ms: i64, range_ms: RangeInclusive<i64>) -> i64 {
        let from = range_ms.start() / SECOND_MS;
        let to = match range_ms.end() {
            &i64::MAX => String::new(),
            end if end % DAY_MS == 0 => format!(", at most {}d", end / DAY_MS),
            end => format!(", at most {}m", end / MINUTE_MS),
        };
        let least = if from == 0 { String::new() } else { format!(", at least {from}s") };
        let takes = format!("{DURATION_TAKES}{least}{to}");
        self.read(setting, &takes, |text| {
            value::duration_ms(text).filter(|ms| range_ms.contains(ms))
        })
        .unwrap_or(default_ms)
    }

    fn size(&mut self, setting: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let takes =
            format!("a size like 512, 64K or 20M from {} to {}M", range.start(), range.end() >> 20);
        self.read(setting, &takes, |text| value::size_bytes(text).filter(|n| range.contains(n)))
            .unwrap_or(default)
    }

    fn path(&mut self, setting: &str) -> Option<PathBuf> {
        self.found(setting).map(|found| PathBuf::from(value::unquoted(&found.value)))
    }

    fn prompt(&mut self, setting: &str) -> Option<String> {
        let found = self.found(setting)?;
        if found.value.len() > PROMPT_BYTES_MAX {
            let length = found.value.len();
            self.problem(
                &found.name,
                format!("got {length} bytes: takes a text of at most {PROMPT_BYTES_MAX}"),
            );
            return None;
        }
        Some(found.value.clone())
    }

    /// A base URL that may carry a path; plain `http` only to this machine or with `ALLOW_HTTP`.
    pub(super) fn url(&mut self, setting: &str, allow_http: bool) -> Option<String> {
        let takes = "http(s)://host[:port][/path] without user, query or fragment";
        let url = self.read(setting, takes, value::base_url)?;
        if url.is_plain && !url.is_loopback() && !allow_http {
            let name = self.found(setting).map_or(setting, |found| found.name.as_str());
            self.problem(
                name,
                "http:// to another machine shows secrets to everyone between: takes https://, \
                 or ALLOW_HTTP=on inside one's own network",
            );
        }
        Some(url.text)
    }
}

/// The value as a problem may repeat it: short, on one line, and not at all where it is a secret
/// or looks like one that was put into the wrong place.
pub(super) fn shown(setting: &str, value: &str) -> String {
    let is_secret = SETTINGS.iter().any(|known| known.name == setting && known.secret);
    let names_user = value.contains("://") && value.contains('@');
    if is_secret || has_long_run(value, "") || has_token(value) || names_user || has_prefix(value) {
        return "a value that is not shown".to_owned();
    }
    let mut text: String = value.trim().chars().take(SHOWN_CHARS_MAX).collect();
    if text.len() < value.trim().len() {
        text.push('…');
    }
    format!("{text:?}")
}

/// A path as a problem may repeat it; a text without any `/` may be a secret in the wrong place, and so may one that
/// begins or runs on like one. Dots join the three runs of a JWT.
pub(super) fn shown_path(path: &str) -> &str {
    let may_be_secret = has_token(path) || (has_prefix(path) && has_long_run(path, "."));
    if path.contains('/') && !may_be_secret { path } else { "the file it names" }
}

/// A run of the letters of keys and of `more`.
fn has_long_run(value: &str, more: &str) -> bool {
    let is_token = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || more.as_bytes().contains(&byte)
    };
    let mut run = 0;
    value.bytes().any(|byte| {
        run = if is_token(byte) { run + 1 } else { 0 };
        run >= SECRET_RUN
    })
}

/// `123456:…` is how a bot token begins.
fn has_token(value: &str) -> bool {
    value.match_indices(':').any(|(at, _)| {
        let before = value.get(..at).unwrap_or_default();
        before.bytes().rev().take_while(u8::is_ascii_digit).count() >= TOKEN_DIGITS
    })
}

fn has_prefix(value: &str) -> bool {
    ["AIza", "AQ.", "sb_", "sk-", "eyJ"].iter().any(|prefix| value.contains(prefix))
}

fn one_of_text(words: &[&str]) -> String {
    match words {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        _ => words.concat(),
    }
}

fn bot_token(reader: &mut Reader<'_>) -> Secret {
    let is_token = |text: &str| {
        let is_rest = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
        text.split_once(':').is_some_and(|(id, rest)| {
            value::whole(id).is_some() && !rest.is_empty() && rest.bytes().all(is_rest)
        }) && text.len() <= 256
    };
    let takes = "a token of @BotFather like 123456:ABC-DEF";
    if !reader.is_given("TELEGRAM_BOT_TOKEN") {
        reader.problem("TELEGRAM_BOT_TOKEN", format!("not set: takes {takes}"));
    }
    let read = |text: &str| is_token(text).then(|| Secret::new(text));
    reader.read("TELEGRAM_BOT_TOKEN", takes, read).unwrap_or_default()
}

fn bot_name(reader: &mut Reader<'_>) -> Option<String> {
    reader.read("TELEGRAM_BOT_NAME", "the bot's username, 1 to 64 letters, digits and _", |text| {
        let name = text.strip_prefix('@').unwrap_or(text);
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then(|| name.to_owned())
    })
}

fn models(reader: &mut Reader<'_>, setting: &str, default: &[&str]) -> Vec<String> {
    let takes = "model names like gemini-3.8-flash, comma-separated, at most 16";
    let read = |text: &str| {
        let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let mut chain: Vec<String> = Vec::new();
        for name in value::list(text) {
            let name = name.strip_prefix("models/").unwrap_or(name);
            // The name becomes part of a path: `.` and `..` must not.
            if name.len() > 100 || !name.bytes().all(is_byte) || name.starts_with('.') {
                return None;
            }
            if !chain.iter().any(|known| known == name) {
                chain.push(name.to_owned());
            }
        }
        (!chain.is_empty() && chain.len() <= 16).then_some(chain)
    };
    let default = || default.iter().map(|name| (*name).to_owned()).collect();
    reader.read(setting, takes, read).unwrap_or_else(default)
}

fn daily_share(reader: &mut Reader<'_>) -> f64 {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let read = |text: &str| {
        text.parse().ok().filter(|share| is_plain(text) && 0.0 < *share && *share <= 1.0)
    };
    reader.read("KEY_DAILY_SHARE", "a number above 0, at most 1, like 0.9", read).unwrap_or(0.9)
}

/// Numeric ids between commas or blanks; `is_id` says which numbers make sense.
fn ids(text: &str, is_id: impl Fn(i64) -> bool) -> Option<Vec<i64>> {
    let mut ids = Vec::new();
    for item in value::list(text).flat_map(str::split_whitespace) {
        let id = item.parse().ok().filter(|id| is_id(*id))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    (ids.len() <= LIST_MAX).then_some(ids)
}

fn user_ids(reader: &mut Reader<'_>, setting: &str) -> Vec<UserId> {
    let takes =
        "numeric Telegram ids, comma-separated (a username is not safe: anyone may take it over)";
    let read = |text: &str| ids(text, |id| id > 0);
    reader.read(setting, takes, read).unwrap_or_default().into_iter().map(UserId).collect()
}

fn allowed_chats(reader: &mut Reader<'_>) -> Option<Vec<ChatId>> {
    let takes = "numeric chat ids, comma-separated (groups are negative), or all";
    let read = |text: &str| {
        if text.eq_ignore_ascii_case("all") {
            return Some(None);
        }
        ids(text, |id| id != 0).map(Some)
    };
    let ids = reader.read("ALLOWED_CHAT_IDS", takes, read)??;
    Some(ids.into_iter().map(ChatId).collect())
}

fn default_role(reader: &mut Reader<'_>) -> Role {
    let roles = [Role::Normal, Role::Guest, Role::Blocked];
    reader.one_of("DEFAULT_ROLE", &roles.map(|role| (role.name(), role)))
}

fn rounds(reader: &mut Reader<'_>) -> [u32; 5] {
    let defaults = [
        ("ROUNDS_OWNER", 10),
        ("ROUNDS_VIP", 7),
        ("ROUNDS_PREMIUM", 5),
        ("ROUNDS_NORMAL", 3),
        ("ROUNDS_GUEST", 0),
    ];
    defaults.map(|(setting, default)| reader.number(setting, default, 0..=1_000))
}

fn keywords(reader: &mut Reader<'_>) -> Vec<String> {
    let takes = format!("words, comma-separated, each of at most {KEYWORD_CHARS_MAX} characters");
    let read = |text: &str| {
        let mut words: Vec<String> = Vec::new();
        for word in value::list(text) {
            if word.chars().count() > KEYWORD_CHARS_MAX {
                return None;
            }
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        }
        (words.len() <= LIST_MAX).then_some(words)
    };
    let default = || KEYWORDS.map(str::to_owned).to_vec();
    reader.read("TRIGGER_KEYWORDS", &takes, read).unwrap_or_else(default)
}

fn quiet_hours(reader: &mut Reader<'_>, environment: &Environment) -> Option<QuietHours> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let is_short = (1..=2).contains(&hour.len()) && minute.len() == 2;
        let (hour, minute) = (value::whole(hour)?, value::whole(minute)?);
        let is_time = is_short && hour < 24 && minute < 60;
        is_time.then(|| u32::try_from(hour * 60 + minute).ok()).flatten()
    };
    let read = |text: &str| {
        let (from, rest) = text.split_once('-')?;
        let (to, zone) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let zone = if zone.trim().is_empty() {
            Zone::of_machine(environment)
        } else {
            Zone::parse(zone, environment)?
        };
        let (from_min, to_min) = (minute(from)?, minute(to)?);
        (from_min != to_min).then_some(QuietHours { from_min, to_min, zone })
    };
    let takes = format!("hours like 23:00-07:00 and {ZONE_TAKES}");
    reader.read("QUIET_HOURS", &takes, read)
}

fn log_level(reader: &mut Reader<'_>) -> log::LevelFilter {
    use log::LevelFilter;
    let takes = "error, warn, info, debug, trace or off";
    let read = |text: &str| match text.to_ascii_lowercase().as_str() {
        "off" => Some(LevelFilter::Off),
        "error" | "critical" | "fatal" | "panic" | "dpanic" => Some(LevelFilter::Error),
        "warn" | "warning" => Some(LevelFilter::Warn),
        // Python's NOTSET is what stands where nobody chose a level.
        "info" | "notset" => Some(LevelFilter::Info),
        "debug" => Some(LevelFilter::Debug),
        "trace" => Some(LevelFilter::Trace),
        _ => None,
    };
    reader.read("LOG_LEVEL", takes, read).unwrap_or(LevelFilter::Info)
}
