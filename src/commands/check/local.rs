//! Owns: the items that need no network: settings, files, database, disk, clock, daemon.
//! May not: read any of it itself but what is handed in.

use super::{Item, Level};
use crate::calendar::rfc3339;
use crate::commands::Place;
use crate::config::Config;
use crate::daemon::quoting::{size, span};
use crate::store::status::{Health, Published};
use crate::types::status::{Disk, QuotaLine};
use crate::types::{HOUR_MS, MINUTE_MS, UnixMs};

/// Less room than this: fail, the database may stop at any moment.
const DISK_BYTES_LOW: u64 = 100 << 20;
/// Less room than this: warn.
const DISK_BYTES_SOON: u64 = 500 << 20;
/// A 409 younger than this still counts.
const CONFLICT_FRESH_MS: i64 = 10 * MINUTE_MS;
/// Before this no honest clock of a bot of this version stands: 2026-11-01.
const CLOCK_MIN_MS: UnixMs = 1_793_491_200_000;
/// Rows from further ahead than this were written by a wrong clock, or the clock is wrong now.
const CLOCK_AHEAD_MAX_MS: i64 = HOUR_MS;

/// The settings file as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFile {
    /// Where.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
}

/// An enabled systemd unit that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// File name.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// What the shell found on this machine.
#[derive(Debug, Default)]
pub struct Local {
    /// The system's clock.
    pub now_ms: UnixMs,
    /// Warnings of the settings.
    pub warnings: Vec<String>,
    /// The settings file, if one was read.
    pub env_file: Option<EnvFile>,
    /// Permission bits of the data directory; `None` where it is not there.
    pub data_mode: Option<u32>,
    /// The database, or why it cannot be read; `None` where there is none yet.
    pub database: Option<Result<Health, String>>,
    /// What the daemon left.
    pub published: Published,
    /// Whether an owner was paired.
    pub has_paired_owner: bool,
    /// Room left.
    pub disk: Option<Disk>,
    /// The daemon that holds the directory.
    pub holder: Option<Option<u32>>,
    /// Today's use, as the pool sees it.
    pub quota: Vec<QuotaLine>,
    /// Whether the webhook's own certificate and key can be used, where they are set.
    pub certificate: Option<Result<(), String>>,
    /// Why a crash of this program may write its memory to disk.
    pub dumps_refused: Option<String>,
    /// Enabled units.
    pub units: Vec<Unit>,
}

pub(super) fn items(place: &Place, local: &Local) -> Vec<Item> {
    let mut items = settings(&place.config, local);
    items.extend(local.certificate.as_ref().map(|result| match result {
        Ok(()) => Item::ok("webhook certificate", "it and its key can be used"),
        Err(why) => Item::fail(
            "webhook certificate",
            why.clone(),
            "give the full chain and its own key in PEM, readable for the bot",
        ),
    }));
    items.push(data_directory(&place.data_dir.display().to_string(), local.data_mode));
    items.extend(database(local));
    items.push(disk(local.disk));
    items.push(clock(local));
    items.push(match &local.dumps_refused {
        None => Item::ok("core dumps", "none is written, wherever this program crashes"),
        Some(why) => Item::warn(
            "core dumps",
            format!("they cannot be forbidden, and secrets would be in them: {why}"),
            "permit `prctl` and `prlimit64` where calls are filtered, and set LimitCORE=0 there",
        ),
    });
    items.push(daemon(local));
    items.push(poller(local));
    items.extend(quotas(&local.quota));
    items.extend(old_units(&local.units));
    items
}

fn settings(config: &Config, local: &Local) -> Vec<Item> {
    let mut items = vec![Item::ok("settings", "read and understood")];
    for warning in &local.warnings {
        items.push(Item::warn("settings", warning.clone(), "correct the settings file"));
    }
    items.push(match &local.env_file {
        None => Item::ok("settings file", "none; all comes from the environment"),
        Some(file) if file.mode & 0o022 != 0 => Item::fail(
            "settings file",
            format!("{} can be written by others (mode {:03o})", file.path, file.mode & 0o777),
            format!("chmod 600 {}", file.path),
        ),
        // Its group may read it: that is how the service does when root owns the file.
        Some(file) if file.mode & 0o004 != 0 => Item::warn(
            "settings file",
            format!("{} can be read by others (mode {:03o})", file.path, file.mode & 0o777),
            format!("chmod 600 {}", file.path),
        ),
        Some(file) => Item::ok("settings file", file.path.clone()),
    });
    let is_owned = !config.owner_ids.is_empty() || local.has_paired_owner;
    items.push(if is_owned {
        Item::ok("owner", "known")
    } else {
        Item::warn(
            "owner",
            "nobody: owner commands answer no one",
            "run `svs-bot owner-link` and open the link, or set BOT_OWNER_ID",
        )
    });
    items
}

fn data_directory(path: &str, mode: Option<u32>) -> Item {
    match mode {
        None => Item::warn(
            "data directory",
            format!("{path} is not there yet"),
            "nothing, if the bot never ran here; else look at --data-dir and DATA_DIR",
        ),
        Some(mode) if mode & 0o077 != 0 => Item::warn(
            "data directory",
            format!("{path} is open to others (mode {:03o})", mode & 0o777),
            format!("chmod 700 {path}"),
        ),
        Some(_) => Item::ok("data directory", path),
    }
}

fn database(local: &Local) -> Vec<Item> {
    let health = match &local.database {
        None => return vec![Item::ok("database", "none yet; the first start makes it")],
        Some(Err(why)) => {
            return vec![Item::fail(
                "database",
                why.clone(),
                "if it is damaged, the bot's next start sets it aside and saves what can be read; or restore a backup: see the guide",
            )];
        }
        Some(Ok(health)) => health,
    };
    let mut items = vec![match &health.damage {
        Some(damage) => Item::fail(
            "database",
            format!("damaged: {damage}"),
            "restart the bot: it sets the damaged file aside and saves what can be read; or restore the last backup",
        ),
        None if health.was_read => {
            Item::ok("database", format!("sound, schema {}, {}", health.schema, size(health.bytes)))
        }
        None => Item::ok(
            "database",
            format!(
                "schema {}, {}: too large to read whole here",
                health.schema,
                size(health.bytes)
            ),
        ),
    }];
    items.push(match health.rows_parked {
        0 => Item::ok("rows set aside", "none"),
        rows => Item::warn(
            "rows set aside",
            format!("{rows} refused by Supabase: {}", health.park_reason),
            "remove the reason, then run `svs-bot sync --retry-parked`",
        ),
    });
    if health.messages_parked > 0 {
        items.push(Item::warn(
            "messages given up",
            format!("{}: {}", health.messages_parked, health.message_reason),
            "nothing, if these people blocked the bot; else see the log",
        ));
    }
    items
}

fn disk(disk: Option<Disk>) -> Item {
    let Some(disk) = disk else {
        return Item::warn("disk", "the room left cannot be told", "look at it with `df`");
    };
    let found = format!("{} free of {}", size(disk.free_bytes), size(disk.total_bytes));
    let todo = "free some room: old logs, backups, KEEP_HISTORY";
    match disk.free_bytes {
        ..DISK_BYTES_LOW => Item::fail("disk", found, todo),
        DISK_BYTES_LOW..DISK_BYTES_SOON => Item::warn("disk", found, todo),
        _ => Item::ok("disk", found),
    }
}

fn clock(local: &Local) -> Item {
    let todo = "set the clock: `timedatectl set-ntp true`";
    let newest_ms = match &local.database {
        Some(Ok(health)) => health.newest_ms,
        _ => 0,
    };
    let found = rfc3339(local.now_ms);
    if local.now_ms < CLOCK_MIN_MS {
        return Item::fail("clock", format!("{found}, before this program was made"), todo);
    }
    if newest_ms - local.now_ms > CLOCK_AHEAD_MAX_MS {
        let ahead = span(newest_ms - local.now_ms);
        return Item::fail("clock", format!("{found}, {ahead} behind the newest row"), todo);
    }
    Item::ok("clock", found)
}

fn daemon(local: &Local) -> Item {
    let Some(pid) = local.holder else {
        return Item::warn("daemon", "not running", "start it: `systemctl start svs-bot`");
    };
    let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    if local.published.ready {
        return Item::ok("daemon", format!("running{pid}, ready"));
    }
    Item::warn(
        "daemon",
        format!("running{pid}, not ready: {}", local.published.reason),
        "see the other items and the log",
    )
}

fn poller(local: &Local) -> Item {
    let at_ms = local.published.conflict_last_ms;
    if at_ms == 0 || local.now_ms - at_ms > CONFLICT_FRESH_MS {
        return Item::ok("other poller", "none seen");
    }
    Item {
        name: "other poller".to_owned(),
        // One conflict may be our own poll that Telegram still held.
        level: if local.published.conflicts > 1 { Level::Fail } else { Level::Warn },
        found: format!(
            "Telegram said 409 {} ago, {} times in a row",
            span(local.now_ms - at_ms),
            local.published.conflicts
        ),
        todo:
            "another program polls with this token: stop the old bot, here or on another machine; \
               if it cannot be found, take a new token from @BotFather"
                .to_owned(),
    }
}

/// What the replies of the past taught: models that a project has nothing of, and days that are over.
fn quotas(lines: &[QuotaLine]) -> Vec<Item> {
    let name = |line: &QuotaLine| format!("quota {}", line.model);
    let item = |line: &QuotaLine| match line.limit_today {
        Some(0) => Some(Item::warn(
            name(line),
            format!("project {}: none at all", line.project),
            "enable billing for the project, or take the model out of the chains",
        )),
        Some(limit) if line.used_today >= limit => Some(Item::warn(
            name(line),
            format!("project {}: {} of {limit} used today", line.project, line.used_today),
            format!(
                "nothing: it starts again at {}; or add a key of another project",
                rfc3339(line.resets_ms)
            ),
        )),
        _ => None,
    };
    lines.iter().filter_map(item).collect()
}

/// Words by which a unit of an earlier version gives itself away.
const OLD_WORDS: [&str; 4] = ["svskilo", "xiaoai", "telegram_bot.py", "telegram-bot.py"];

fn old_units(units: &[Unit]) -> Vec<Item> {
    let is_old = |unit: &&Unit| {
        let text = format!("{}\n{}", unit.name, unit.text).to_ascii_lowercase();
        unit.name != "svs-bot.service" && OLD_WORDS.iter().any(|word| text.contains(word))
    };
    let old = units.iter().filter(is_old).map(|unit| {
        Item::warn(
            "old unit",
            format!("{} is still enabled and may poll with the same token", unit.name),
            format!("systemctl disable --now {}", unit.name),
        )
    });
    old.collect()
}
