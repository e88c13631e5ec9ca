//! Tables: what a value may be, and what is said of one that may not.

use super::*;
use crate::config::{LangSetting, Limit, LogFormat, ReplyFormat, StreamSetting, Zone};
use crate::types::{ChatId, Group, Role, UserId};
use std::collections::BTreeMap;

#[test]
fn nothing_but_the_two_required_gives_the_defaults_of_the_contract() {
    let config = good(&[]).config;
    assert_eq!(config.bot_token.expose(), TOKEN);
    assert_eq!(config.telegram_url, "https://api.telegram.org");
    assert_eq!(config.gemini_url, "https://generativelanguage.googleapis.com");
    assert_eq!(config.models.lite, ["gemini-3.5-flash-lite", "gemini-3.1-flash-lite"]);
    assert_eq!(config.models.flash, ["gemini-3.8-flash", "gemini-3.6-flash"]);
    assert_eq!(config.models.pro, ["gemini-3.1-pro-preview", "gemini-3.8-flash"]);
    assert_eq!((config.key_rpm, config.key_min_interval_ms), (Limit::Auto, 1_000));
    assert_eq!((config.lite_rpd, config.flash_rpd), (Limit::Auto, Limit::Auto));
    assert_eq!((config.pro_rpd, config.pro_rpm), (Limit::Auto, Limit::Auto));
    assert!((config.key_daily_share - 0.9).abs() < f64::EPSILON);
    assert_eq!((config.default_role, config.allowed_chats.clone()), (Role::Normal, None));
    assert_eq!(config.rounds, [10, 7, 5, 3, 0]);
    assert_eq!((config.vip_slots, config.session_idle_ms), (3, 600_000));
    assert_eq!(config.trigger_keywords.len(), 9);
    assert_eq!((config.lang, config.stream), (LangSetting::Auto, StreamSetting::Auto));
    assert_eq!((config.reply_format, config.media_max), (ReplyFormat::Html, 10 << 20));
    assert_eq!((config.join_window_ms, config.workers), (0, 16));
    assert_eq!((config.queue_max, config.user_queue_max), (10_000, 20));
    assert_eq!((config.answer_timeout_ms, config.patience_ms), (60_000, 300_000));
    assert_eq!((config.supabase.clone(), config.sync_interval_ms), (None, 60_000));
    assert_eq!((config.sync_batch_rows, config.sync_batch_bytes), (500, 1 << 20));
    assert_eq!((config.keep_history_ms, config.summarise), (90 * 86_400_000, false));
    assert_eq!((config.quiet_hours.clone(), config.webhook.clone()), (None, None));
    assert_eq!(config.http_addr.unwrap().to_string(), "127.0.0.1:9464");
    assert_eq!((config.http_token.clone(), config.redis_url.clone()), (None, None));
    assert_eq!((config.log_level, config.log_format), (log::LevelFilter::Info, LogFormat::Auto));
    assert_eq!((config.log_file.clone(), config.tls_ca_file.clone()), (None, None));
    assert_eq!(config.secrets().len(), 2);
}

#[test]
fn a_bad_value_names_its_setting_and_what_it_takes_and_nothing_of_a_secret() {
    let secret = "hunter2";
    let key = |c: char| format!("hunter2{c}x");
    let (blank, wide) = (key(' '), key('é'));
    let long = format!("hunter2{}", "k".repeat(600));
    let cases: Vec<(&str, &str, &str)> = vec![
        ("TELEGRAM_BOT_TOKEN", "hunter2", "BotFather"),
        ("TELEGRAM_BOT_TOKEN", "1:", "BotFather"),
        ("TELEGRAM_BOT_TOKEN", "1:hunter2/x", "BotFather"),
        ("TELEGRAM_BOT_TOKEN", "1:hunter2 x", "BotFather"),
        ("TELEGRAM_BOT_TOKEN", "1:hunter2é", "BotFather"),
        ("TELEGRAM_BOT_NAME", "my bot", "letters"),
        ("TELEGRAM_API_URL", "ftp://x", "http(s)://"),
        ("TELEGRAM_API_URL", "https://u:hunter2@x", "not shown"),
        ("TELEGRAM_API_URL", "http://example.com", "ALLOW_HTTP"),
        ("GEMINI_API_URL", "http://10.0.0.1:80/x", "ALLOW_HTTP"),
        ("GEMINI_API_URL", "generativelanguage.googleapis.com", "http(s)://"),
        ("ALLOW_HTTP", "maybe", "on or off"),
        ("GROUP_B_KEYS", &blank, "key 1: has a blank"),
        ("GROUP_B_KEYS", &wide, "key 1: has characters"),
        ("GROUP_C_KEYS", "ok,hunter2@", "key 2: has an @"),
        ("GROUP_C_KEYS", "ok, ,@hunter2", "key 2: is empty"),
        ("GROUP_D_KEYS", "hunter2@a@b", "key 1: has"),
        ("ROUTER_KEY_A", &long, "key 1: is too long"),
        ("GEMINI_API_KEY_3", &blank, "key 1"),
        ("MODEL_LITE", "../x", "model names"),
        ("MODEL_PRO", ",", "model names"),
        ("KEY_RPM", "-1", "auto, 0"),
        ("KEY_MIN_INTERVAL", "1ms", "duration"),
        ("LITE_RPD", "many", "auto, 0"),
        ("FLASH_RPD", "1.5", "auto, 0"),
        ("PRO_RPD", "+1", "auto, 0"),
        ("PRO_RPM", "99999999999", "auto, 0"),
        ("KEY_DAILY_SHARE", "0", "above 0"),
        ("KEY_DAILY_SHARE", "1.1", "above 0"),
        ("KEY_DAILY_SHARE", "NaN", "above 0"),
        ("KEY_DAILY_SHARE", "90%", "above 0"),
        ("BOT_OWNER_ID", "@admin", "numeric"),
        ("BOT_OWNER_ID", "-5", "numeric"),
        ("VIP_IDS", "1,x", "numeric"),
        ("PREMIUM_IDS", "0", "numeric"),
        ("NORMAL_IDS", "1.5", "numeric"),
        ("DEFAULT_ROLE", "vip", "normal, guest or blocked"),
        ("DEFAULT_ROLE", "king", "normal, guest or blocked"),
        ("ALLOWED_CHAT_IDS", "none", "numeric"),
        ("ROUNDS_OWNER", "ten", "whole number"),
        ("ROUNDS_VIP", "-1", "whole number"),
        ("ROUNDS_PREMIUM", "1001", "whole number"),
        ("ROUNDS_NORMAL", "3.0", "whole number"),
        ("ROUNDS_GUEST", "4294967296", "whole number"),
        ("VIP_SLOTS", "x", "whole number"),
        ("SESSION_IDLE", "0", "duration"),
        ("BOT_LANG", "fr", "auto, zh or en"),
        ("STREAM", "yes", "auto, off, edit or draft"),
        ("REPLY_FORMAT", "markdown", "html or rich"),
        ("MEDIA_MAX", "10MB", "size"),
        ("JOIN_WINDOW", "soon", "duration"),
        ("WORKERS", "0", "from 1 to 128"),
        ("WORKERS", "129", "from 1 to 128"),
        ("QUEUE_MAX", "0", "whole number"),
        ("USER_QUEUE_MAX", "0", "whole number"),
        ("ANSWER_TIMEOUT", "0", "duration"),
        ("PATIENCE", "5 minutes", "duration"),
        ("SYNC_INTERVAL", "1w", "duration"),
        ("SYNC_BATCH_ROWS", "0", "whole number"),
        ("SYNC_BATCH_BYTES", "0", "size"),
        ("KEEP_HISTORY", "for ever", "duration"),
        ("SUMMARISE", "sometimes", "on or off"),
        ("QUIET_HOURS", "23-7", "23:00-07:00"),
        ("QUIET_HOURS", "23:00-24:00 +08:00", "23:00-07:00"),
        ("QUIET_HOURS", "07:00-07:00 UTC", "23:00-07:00"),
        ("QUIET_HOURS", "23:00-07:00 ../../etc/passwd", "23:00-07:00"),
        ("WEBHOOK_ADDR", "example.com:80", "address:port"),
        ("WEBHOOK_SECRET", "hunter2!", "1 to 256"),
        ("WEBHOOK_TLS_CERT", "/c.pem", "both or none"),
        ("WEBHOOK_TLS_KEY", "/k.pem", "both or none"),
        ("WEBHOOK_URL", "https://x/hook", "WEBHOOK_SECRET"),
        ("SHARED_LEDGER", "ledger.db", "absolute path"),
        ("SHARED_LEDGER", "/var/lib/shared/", "absolute path"),
        #[cfg(not(feature = "redis"))]
        ("REDIS_URL", "redis://:hunter2@x", "no redis"),
        #[cfg(feature = "redis")]
        ("REDIS_URL", "http://:hunter2@x", "redis://[["),
        #[cfg(feature = "redis")]
        ("REDIS_URL", "redis://:hunter2@/0", "redis://[["),
        #[cfg(feature = "redis")]
        ("REDIS_URL", "redis+sentinel://:hunter2@a:1,b", "redis://[["),
        #[cfg(feature = "redis")]
        ("REDIS_PORT", "6379x", "a port"),
        #[cfg(feature = "redis")]
        ("REDIS_HOST", "x:hunter2@y", "a name or an address"),
        ("HTTP_ADDR", "9464", "address:port"),
        ("HTTP_ADDR", "0.0.0.0:9464", "HTTP_TOKEN"),
        ("HTTP_ADDR", "[::]:9464", "HTTP_TOKEN"),
        ("HTTP_TOKEN", "hunter2 x", "ASCII"),
        ("LOG_LEVEL", "loud", "error, warn"),
        ("LOG_FORMAT", "xml", "auto, text, logfmt or json"),
        ("SUPABASE_URL", "https://x.supabase.co", "SUPABASE_KEY"),
        ("SUPABASE_ANON_KEY", "hunter2", "SUPABASE_URL"),
        ("SUPABASE_SERVICE_ROLE_KEY", "hunter2 x", "without blanks"),
        ("WORKERS", "hunter2-hunter2-hunter2", "not shown"),
        ("BOT_LANG", "AIzahunter2", "not shown"),
        ("STREAM", "123456:hunter2", "not shown"),
    ];
    for (name, value, takes) in cases {
        let problems = of(&[(name, value)]).expect_err(&format!("{name}={value}"));
        let text = told(&problems);
        assert!(text.contains(name), "{name}={value}: {text}");
        assert!(text.contains(takes), "{name}={value}: {text}");
        assert!(!text.contains(secret), "{name}: {text}");
        assert!(text.lines().count() <= 2, "{name}={value}: {text}");
    }
}

#[test]
fn good_values_of_every_kind_are_taken() {
    let config = good(&[
        ("TELEGRAM_API_URL", "http://127.0.0.1:8081/x/"),
        ("GEMINI_API_URL", "http://localhost:1/"),
        ("MODEL_LITE", "models/a, b,a"),
        ("KEY_RPM", "0"),
        ("PRO_RPM", "2"),
        ("KEY_DAILY_SHARE", "1"),
        ("BOT_OWNER_ID", "1, 2 1"),
        ("ALLOWED_CHAT_IDS", "-1001234567890,5"),
        ("DEFAULT_ROLE", "Guest"),
        ("ROUNDS_GUEST", "1"),
        ("TRIGGER_KEYWORDS", "小助手，Bot , bot"),
        ("SYSTEM_PROMPT", " be kind \n"),
        ("QUIET_HOURS", "23:00-7:00 +08:00"),
        ("WEBHOOK_URL", "https://bot.example.com:8443/hook/"),
        ("WEBHOOK_SECRET", "s"),
        ("HTTP_ADDR", "0.0.0.0:80"),
        ("HTTP_TOKEN", "t"),
        ("LOG_LEVEL", "WARNING"),
        ("MEDIA_MAX", "0"),
        ("SUMMARISE", "ON"),
        ("TELEGRAM_BOT_NAME", "@svs_bot"),
        ("SUPABASE_URL", "https://abc.supabase.co/rest/v1/"),
        ("SUPABASE_KEY", "sb_secret_x"),
    ])
    .config;
    assert_eq!(config.telegram_url, "http://127.0.0.1:8081/x");
    assert_eq!(config.models.lite, ["a", "b"]);
    assert_eq!((config.key_rpm, config.pro_rpm), (Limit::Unlimited, Limit::Fixed(2)));
    assert_eq!(config.owner_ids, [UserId(1), UserId(2)]);
    assert_eq!(config.allowed_chats.clone().unwrap(), [ChatId(-1_001_234_567_890), ChatId(5)]);
    assert_eq!((config.default_role, config.rounds_of(Role::Guest)), (Role::Guest, 1));
    assert_eq!(config.trigger_keywords, ["小助手", "Bot", "bot"]);
    assert_eq!(config.system_prompt.as_deref(), Some(" be kind \n"));
    let quiet = config.quiet_hours.clone().unwrap();
    assert_eq!((quiet.from_min, quiet.to_min, quiet.zone), (1_380, 420, Zone::Fixed(28_800)));
    assert_eq!(config.webhook.clone().unwrap().url, "https://bot.example.com:8443/hook");
    assert_eq!(config.webhook.clone().unwrap().addr.to_string(), "127.0.0.1:8443");
    assert_eq!((config.media_max, config.summarise), (0, true));
    assert_eq!(config.log_level, log::LevelFilter::Warn);
    assert_eq!(config.bot_name.as_deref(), Some("svs_bot"));
    assert_eq!(config.supabase.clone().unwrap().url, "https://abc.supabase.co");
    assert_eq!(config.secrets().len(), 5);
    assert_eq!(good(&[("HTTP_ADDR", "off")]).config.http_addr, None);
    assert_eq!(good(&[("ALLOWED_CHAT_IDS", "all")]).config.allowed_chats, None);
}

#[test]
fn supabase_urls_are_normalised() {
    for url in [
        "https://x.co",
        "https://x.co/",
        "https://x.co/rest/v1",
        "https://x.co/rest/v1//",
        "HTTPS://X.co/rest/v1",
    ] {
        let config = good(&[("NEXT_PUBLIC_SUPABASE_URL", url), ("SUPABASE_KEY", "k")]).config;
        assert_eq!(config.supabase.unwrap().url, "https://x.co", "{url}");
    }
}

#[test]
fn log_levels_of_every_earlier_version_are_taken() {
    let cases = [
        ("INFO", "info"),
        ("Warn", "warn"),
        ("WARNING", "warn"),
        ("CRITICAL", "error"),
        ("ERROR", "error"),
        ("debug", "debug"),
        ("NOTSET", "info"),
        ("off", "off"),
    ];
    for (text, wanted) in cases {
        let level = good(&[("LOG_LEVEL", text)]).config.log_level;
        assert_eq!(level.to_string().to_lowercase(), wanted, "{text}");
    }
}

#[test]
fn webhook_ports_are_telegrams_unless_the_server_is_our_own() {
    let secret = ("WEBHOOK_SECRET", "s");
    for (url, good) in [
        ("https://x/h", true),
        ("https://x:443/h", true),
        ("https://x:88/h", true),
        ("https://x:9000/h", false),
    ] {
        assert_eq!(of(&[("WEBHOOK_URL", url), secret]).is_ok(), good, "{url}");
        let own = ("TELEGRAM_API_URL", "http://127.0.0.1:8081");
        assert!(of(&[("WEBHOOK_URL", url), secret, own]).is_ok(), "{url}");
    }
    let http = ("WEBHOOK_URL", "http://10.0.0.1:80/h");
    assert!(of(&[http, secret]).is_err());
    assert!(of(&[http, secret, ("ALLOW_HTTP", "on")]).is_ok());
    let unused = good(&[secret]);
    assert!(unused.warnings.concat().contains("WEBHOOK_SECRET"), "{:?}", unused.warnings);
    let both =
        [("WEBHOOK_TLS_CERT", "/c"), ("WEBHOOK_TLS_KEY", "/k"), ("WEBHOOK_URL", "https://x")];
    assert!(good(&[both[0], both[1], both[2], secret]).config.webhook.unwrap().tls.is_some());
}

#[test]
fn a_webhooks_url_is_known_in_every_spelling_and_has_a_path() {
    for (url, path, same, other) in [
        (
            "https://Bot.example/a/b/",
            "/a/b",
            "https://bot.example:443/a/b",
            "https://bot.example/a",
        ),
        ("https://x", "/", "https://x:443/", "https://x:8443"),
        ("https://x:8443/H", "/H", "https://X:8443/H/", "https://x:8443/h"),
        ("https://[::1]:88/h", "/h", "https://[::1]:88/h", ""),
    ] {
        let of = good(&[("WEBHOOK_URL", url), ("WEBHOOK_SECRET", "s")]).config.webhook.unwrap();
        assert_eq!((of.path(), of.is_url(same), of.is_url(other)), (path, true, false), "{url}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let environment = Environment {
        vars: BTreeMap::from(
            [("WORKERS", "0"), ("STREAM", "x"), ("GROUP_A_KEYS", "a b,c@"), ("REDIS_URL", "r")]
                .map(|(n, v)| (n.to_owned(), v.to_owned())),
        ),
        ..nowhere()
    };
    let problems = load(None, None, &environment).unwrap_err();
    let text = told(&problems);
    for name in
        ["TELEGRAM_BOT_TOKEN", "WORKERS", "STREAM", "key 1", "key 2", "REDIS_URL", "DATA_DIR"]
    {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert_eq!(problems.len(), 7, "{text}");
    assert!(!text.contains("no Gemini key"), "{text}");
}

#[test]
fn without_keys_or_token_it_says_which_settings_are_missing() {
    let environment =
        Environment { vars: BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]), ..nowhere() };
    let text = told(&load(None, None, &environment).unwrap_err());
    assert!(text.contains("TELEGRAM_BOT_TOKEN: not set"), "{text}");
    assert!(text.contains("GEMINI_API_KEY"), "{text}");
}

#[test]
fn keys_are_listed_in_order_and_repeats_dropped() {
    let cases: [(Vars<'_>, &str, usize); 9] = [
        (&[("GROUP_A_KEYS", "k1,k2@p, k1 ,,'k3'")], "A:k1 A:k2@p A:k3", 0),
        (&[("GROUP_A_KEYS", "\"k1,k2\"")], "A:k1 A:k2", 0),
        (&[("GROUP_A_KEYS", "k1\n k2 \r\nk3\n")], "A:k1 A:k2 A:k3", 0),
        (&[("GROUP_B_KEYS", "b"), ("GROUP_A_KEYS", "a"), ("ROUTER_KEY_B", "r")], "A:a B:b R:r", 0),
        (&[("GROUP_A_KEYS", "k"), ("GROUP_B_KEYS", "k@p")], "A:k@p", 1),
        (&[("GROUP_D_KEYS", "k@p"), ("ROUTER_KEY_A", "k@q")], "D:k@p", 1),
        (&[("GEMINI_API_KEY", "x"), ("SVSKILO_BOT_GEMINI_PRIMARY", "y")], "-:y -:x", 0),
        (
            &[("GEMINI_KEY_BACKUP", "x"), ("GEMINI_API_KEY_9", "z"), ("GEMINI_API_KEY", "x")],
            "-:x -:z",
            0,
        ),
        (&[("GEMINI_API_KEY", "k"), ("GROUP_C_KEYS", "k")], "C:k", 1),
    ];
    for (vars, wanted, warned) in cases {
        let all = [("TELEGRAM_BOT_TOKEN", TOKEN), ("HOME", "/h")];
        let vars = all.iter().chain(vars).map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let environment = Environment { vars: vars.collect(), ..nowhere() };
        let loaded = load(None, None, &environment).unwrap();
        assert_eq!(shown_keys(&loaded.config.keys), wanted);
        assert_eq!(loaded.warnings.len(), warned, "{:?}", loaded.warnings);
    }
}

#[test]
fn a_repeated_key_is_told_by_its_places() {
    let loaded = good(&[("GROUP_B_KEYS", "other,key-a-1")]);
    assert_eq!(
        loaded.warnings,
        ["key 2 of GROUP_B_KEYS: the same as key 1 of GROUP_A_KEYS: the first one counts"]
    );
    assert_eq!(loaded.config.keys[0].group, Group::A);
}

#[test]
fn keys_are_shared_by_one_way_and_not_by_two() {
    let alone = good(&[]).config;
    assert!(!alone.shares_keys() && alone.shared_ledger.is_none());
    let path = ("SHARED_LEDGER", "/var/lib/shared/ledger.db");
    assert!(good(&[path]).config.shares_keys());
    let problems = of(&[path, ("REDIS_URL", "redis://box")]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[cfg(not(feature = "redis"))]
#[test]
fn old_redis_settings_are_one_warning() {
    let loaded = good(&[("REDIS_HOST", "localhost"), ("REDIS_PASSWORD", "hunter2")]);
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("REDIS_HOST, REDIS_PASSWORD"));
    assert!(!loaded.warnings[0].contains("hunter2"));
}

#[cfg(feature = "redis")]
#[test]
fn old_redis_settings_are_where_redis_is_unless_the_new_one_says() {
    let url = |vars: Vars<'_>| good(vars).config.redis_url.map(|url| url.expose().to_owned());
    let password = ("REDIS_PASSWORD", "p@s/s");
    assert_eq!(
        url(&[("REDIS_HOST", "box"), ("REDIS_PORT", "7000"), ("REDIS_DB", "3"), password]),
        Some("redis://:%70%40%73%2F%73@box:7000/3".to_owned())
    );
    assert_eq!(url(&[("REDIS_HOST", "::1")]), Some("redis://[::1]:6379/0".to_owned()));
    assert_eq!(url(&[("REDIS_PORT", "7000")]), None);
    let both = good(&[("REDIS_URL", "rediss://other/1"), ("REDIS_HOST", "box"), password]);
    assert_eq!(
        both.config.redis_url.map(|url| url.expose().to_owned()).as_deref(),
        Some("rediss://other/1")
    );
    assert_eq!(both.warnings, ["REDIS_HOST, REDIS_PASSWORD: not used: REDIS_URL is set"]);
}
