//! Owns: every setting's name, the names of the earlier versions, and the nearest name to a typo.
//! May not: hold values.
//! Invariant: a name stands in the table once.

/// One setting: what it is called now and what the earlier versions called it.
#[derive(Debug)]
pub struct Setting {
    /// What it is called in this version.
    pub name: &'static str,
    /// All its names, this version's among them; within one source the first non-empty wins.
    pub names: &'static [&'static str],
    /// Whether its value must never be shown.
    pub secret: bool,
}

const fn plain(names: &'static [&'static str; 1]) -> Setting {
    Setting { name: names[0], names, secret: false }
}
const fn secret(names: &'static [&'static str; 1]) -> Setting {
    Setting { name: names[0], names, secret: true }
}

/// The name under which the keys of the Python version are looked up: all of [`PYTHON_KEYS`].
pub const UNGROUPED: &str = "GEMINI_API_KEY";

/// The Gemini keys of the Python version: all that are set count, in this order.
pub const PYTHON_KEYS: [&str; 13] = [
    "SVSKILO_BOT_GEMINI_PRIMARY",
    "GEMINI_KEY_PRIMARY",
    "GEMINI_API_KEY",
    "GEMINI_API_KEY_2",
    "GEMINI_API_KEY_3",
    "GEMINI_API_KEY_4",
    "GEMINI_API_KEY_5",
    "GEMINI_API_KEY_6",
    "GEMINI_API_KEY_7",
    "GEMINI_API_KEY_8",
    "GEMINI_API_KEY_9",
    "SVSKILO_BOT_GEMINI_BACKUP",
    "GEMINI_KEY_BACKUP",
];

/// What the earlier versions kept their sessions in; this one needs none of it.
pub const REDIS_PARTS: [&str; 4] = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"];

/// Every setting of the contract (§2), in its order, and the aliases of `predecessor.md`.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "TELEGRAM_BOT_TOKEN",
        names: &["TELEGRAM_BOT_TOKEN", "TELEGRAM_BOT_SVSKILO_TOKEN"],
        secret: true,
    },
    Setting {
        name: "TELEGRAM_BOT_NAME",
        names: &["TELEGRAM_BOT_NAME", "TELEGRAM_BOT_SVSKILO_NAME"],
        secret: false,
    },
    plain(&["TELEGRAM_API_URL"]),
    plain(&["GEMINI_API_URL"]),
    plain(&["ALLOW_HTTP"]),
    secret(&["GROUP_A_KEYS"]),
    secret(&["GROUP_B_KEYS"]),
    secret(&["GROUP_C_KEYS"]),
    secret(&["GROUP_D_KEYS"]),
    secret(&["ROUTER_KEY_A"]),
    secret(&["ROUTER_KEY_B"]),
    Setting { name: UNGROUPED, names: &PYTHON_KEYS, secret: true },
    plain(&["MODEL_LITE"]),
    plain(&["MODEL_FLASH"]),
    plain(&["MODEL_PRO"]),
    plain(&["KEY_RPM"]),
    plain(&["KEY_MIN_INTERVAL"]),
    plain(&["LITE_RPD"]),
    plain(&["FLASH_RPD"]),
    plain(&["PRO_RPD"]),
    plain(&["PRO_RPM"]),
    plain(&["KEY_DAILY_SHARE"]),
    plain(&["BOT_OWNER_ID"]),
    plain(&["VIP_IDS"]),
    plain(&["PREMIUM_IDS"]),
    plain(&["NORMAL_IDS"]),
    plain(&["DEFAULT_ROLE"]),
    plain(&["ALLOWED_CHAT_IDS"]),
    plain(&["ROUNDS_OWNER"]),
    plain(&["ROUNDS_VIP"]),
    plain(&["ROUNDS_PREMIUM"]),
    plain(&["ROUNDS_NORMAL"]),
    plain(&["ROUNDS_GUEST"]),
    plain(&["VIP_SLOTS"]),
    plain(&["SESSION_IDLE"]),
    plain(&["TRIGGER_KEYWORDS"]),
    plain(&["SYSTEM_PROMPT"]),
    plain(&["OWNER_SYSTEM_PROMPT"]),
    plain(&["BOT_LANG"]),
    plain(&["STREAM"]),
    plain(&["REPLY_FORMAT"]),
    plain(&["MEDIA_MAX"]),
    plain(&["JOIN_WINDOW"]),
    plain(&["WORKERS"]),
    plain(&["QUEUE_MAX"]),
    plain(&["USER_QUEUE_MAX"]),
    plain(&["ANSWER_TIMEOUT"]),
    plain(&["PATIENCE"]),
    Setting {
        name: "SUPABASE_URL",
        names: &["SUPABASE_URL", "NEXT_PUBLIC_SUPABASE_URL"],
        secret: false,
    },
    Setting {
        name: "SUPABASE_KEY",
        names: &[
            "SUPABASE_SERVICE_ROLE_KEY",
            "SUPABASE_KEY",
            "SUPABASE_ANON_KEY",
            "NEXT_PUBLIC_SUPABASE_ANON_KEY",
        ],
        secret: true,
    },
    plain(&["SYNC_INTERVAL"]),
    plain(&["SYNC_BATCH_ROWS"]),
    plain(&["SYNC_BATCH_BYTES"]),
    plain(&["KEEP_HISTORY"]),
    plain(&["SUMMARISE"]),
    plain(&["QUIET_HOURS"]),
    plain(&["WEBHOOK_URL"]),
    plain(&["WEBHOOK_ADDR"]),
    secret(&["WEBHOOK_SECRET"]),
    plain(&["WEBHOOK_TLS_CERT"]),
    plain(&["WEBHOOK_TLS_KEY"]),
    plain(&["SHARED_LEDGER"]),
    secret(&["REDIS_URL"]),
    plain(&["REDIS_HOST"]),
    plain(&["REDIS_PORT"]),
    plain(&["REDIS_DB"]),
    secret(&["REDIS_PASSWORD"]),
    plain(&["HTTP_ADDR"]),
    secret(&["HTTP_TOKEN"]),
    plain(&["LOG_LEVEL"]),
    plain(&["LOG_FORMAT"]),
    plain(&["LOG_FILE"]),
    plain(&["TLS_CA_FILE"]),
    plain(&["DATA_DIR"]),
];

/// Whether some setting is given by this name, be it as `X` or as `X_FILE`.
pub fn is_known(name: &str) -> bool {
    let whole = |name: &str| all().any(|known| known == name);
    whole(name) || name.strip_suffix("_FILE").is_some_and(whole)
}

/// Every name of every setting, without the `_FILE` forms.
pub fn all() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|setting| setting.names.iter().copied())
}

/// The known name that takes the fewest edits; for a name on `_FILE`, that form of it.
pub fn nearest(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let closest = |wanted: &str| {
        all().map(|known| (edits(wanted, known), known)).min().unwrap_or((usize::MAX, ""))
    };
    let (whole_edits, whole) = closest(&upper);
    match upper.strip_suffix("_FILE").map(closest) {
        Some((stem_edits, stem)) if stem_edits < whole_edits => format!("{stem}_FILE"),
        _ => whole.to_owned(),
    }
}

/// What to say of a name that nothing knows: the nearest known one, and whether it is near at all.
pub fn unknown(name: &str) -> String {
    let nearest = nearest(name);
    let edits = edits(&name.to_ascii_uppercase(), &nearest);
    let hint = if edits <= EDITS_NEAR_MAX.min(name.len() / 3) {
        "did you mean that?"
    } else {
        "far from it: another program's, perhaps"
    };
    format!("nothing knows it: the nearest known name is {nearest}: {hint}")
}

/// A typo takes so few edits; more, or more than a third of the name, make it another word.
const EDITS_NEAR_MAX: usize = 4;
/// The longest name that edits are counted for; a longer one is cut, being no typo of ours.
const NAME_MAX: usize = 64;

/// Levenshtein's distance, one row at a time.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().take(NAME_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (row_number, byte_a) in a.bytes().take(NAME_MAX).enumerate() {
        let mut left = row_number + 1;
        let mut diagonal = row_number;
        for (cell, byte_b) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(byte_a != *byte_b);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = row_number + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_belongs_to_one_setting() {
        let mut names: Vec<_> = all().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(SETTINGS.iter().all(|setting| setting.names.contains(&setting.name)));
    }

    #[test]
    fn a_typo_leads_to_the_name_that_was_meant() {
        let cases = [
            ("TELEGRAM_BOT_TOKN", "TELEGRAM_BOT_TOKEN"),
            ("TELEGRAM_TOKEN", "TELEGRAM_BOT_TOKEN"),
            ("GROUP_E_KEYS", "GROUP_A_KEYS"),
            ("telegram_bot_token", "TELEGRAM_BOT_TOKEN"),
            ("GEMINI_API_KEY_10", "GEMINI_API_KEY_2"),
            ("TELEGRAM_BOT_TOKE_FILE", "TELEGRAM_BOT_TOKEN_FILE"),
            ("LOGFILE", "LOG_FILE"),
            ("WORKER", "WORKERS"),
        ];
        for (typo, meant) in cases {
            assert!(!is_known(typo), "{typo}");
            assert_eq!(nearest(typo), meant, "{typo}");
        }
    }

    #[test]
    fn a_far_name_is_named_but_not_suggested() {
        for (name, is_near) in [
            ("TELEGRAM_BOT_TOKN", true),
            ("GEMINI_API_KEY_10", true),
            ("WORKER", true),
            ("HOME_ASSISTANT_URL", false),
            ("FOO", false),
            ("X", false),
        ] {
            let text = unknown(name);
            assert!(text.contains(&nearest(name)), "{text}");
            assert_eq!(text.contains("did you mean"), is_near, "{text}");
        }
    }

    #[test]
    fn edits_are_counted() {
        let cases =
            [("", "", 0), ("A", "", 1), ("", "AB", 2), ("KITTEN", "SITTING", 3), ("AB", "BA", 2)];
        for (a, b, count) in cases {
            assert_eq!(edits(a, b), count, "{a} {b}");
        }
    }

    #[test]
    fn a_file_form_is_known_and_log_file_is_a_setting_itself() {
        for name in ["SUPABASE_SERVICE_ROLE_KEY_FILE", "LOG_FILE", "TLS_CA_FILE", "LOG_FILE_FILE"] {
            assert!(is_known(name), "{name}");
        }
        for name in ["LOG", "TLS_CA", "_FILE", "SVS_BOT_ENV_FILE", ""] {
            assert!(!is_known(name), "{name}");
        }
    }
}
