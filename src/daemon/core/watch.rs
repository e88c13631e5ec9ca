//! Owns: what owners are told unasked: once, and not again until it changed; in quiet hours only that the bot has stopped.
//! May not: look at anything itself: every condition is derived from rows, the pool and what the
//! shell has seen, so that a notice held back by quiet hours is told when they end.

use super::{State, words};
use crate::calendar;
use crate::daemon::clock::{SKEW_MS_FAIL, SKEW_MS_WARN};
use crate::daemon::quoting::span;
use crate::engine::speech::Speech;
use crate::store::salvage::SALVAGED;
use crate::store::status::fact;
use crate::store::{Db, Result, meta, outbox, tell};
use crate::types::status::{KeyLine, KeyState};
use crate::types::{HOUR_MS, Now};
use std::collections::{BTreeMap, BTreeSet};

/// Synchronisation that has failed for less is nobody's worry.
const SYNC_FAILING_MS: i64 = HOUR_MS;
/// Less room than this may stop the database at any moment.
const DISK_BYTES_LOW: u64 = 100 << 20;
/// Told when less than this part of today's quota is left.
const QUOTA_LEFT_PERCENT: u64 = 10;
/// A program that ends again and again says so this often.
const CRASH_TOLD_EVERY_MS: i64 = HOUR_MS;

/// `meta` rows: what owners know already, and how the last run ended.
const TOLD_DEAD: &str = "told_dead_keys";
const TOLD_ALL_DEAD: &str = "told_all_keys_dead";
const TOLD_SYNC: &str = "told_sync";
const TOLD_DISK: &str = "told_disk";
const TOLD_CLOCK: &str = "told_clock";
const TOLD_QUOTA: &str = "told_quota";
const TOLD_VERSION: &str = "told_version";
const TOLD_CRASH: &str = "told_crash";
const TOLD_CRASH_MS: &str = "told_crash_ms";
const SYNC_FAILING_SINCE: &str = "sync_failing_since_ms";
const RUNNING: &str = "running";
const CRASHES: &str = "crashes";

/// Notes that a run begins; true when the one before did not end in order.
///
/// # Errors
/// As SQLite says.
pub(super) fn begin(db: &Db) -> Result<bool> {
    let crashed = meta::get(db, RUNNING)?.as_deref() == Some("1");
    if crashed {
        let crashes = meta::get_i64(db, CRASHES)?.unwrap_or(0) + 1;
        meta::set(db, CRASHES, &crashes.to_string())?;
    }
    meta::set(db, RUNNING, "1")?;
    Ok(crashed)
}

/// Notes that a run ends, or was asked to end, in order.
///
/// # Errors
/// As SQLite says.
pub(super) fn end(db: &Db) -> Result<()> {
    meta::set(db, RUNNING, "0")
}

impl State {
    /// Tells owners what has changed; called once a minute.
    pub(super) fn watch(&mut self, db: &Db, now: Now) -> Result<()> {
        self.note_sync_failing(db, now)?;
        self.log_clock();
        let quiet = self.config.quiet_hours.as_ref().and_then(|hours| hours.end_ms(now.unix_ms));
        if self.owners(db, now)?.is_empty() {
            return Ok(());
        }
        // That the bot has stopped is worth waking somebody for.
        self.watch_all_keys(db, now)?;
        if quiet.is_some() {
            return Ok(());
        }
        self.watch_salvage(db, now)?;
        self.watch_keys(db, now)?;
        self.watch_sync(db, now)?;
        self.watch_disk(db, now)?;
        self.watch_clock(db, now)?;
        self.watch_quota(db, now)?;
        self.watch_starts(db, now)
    }

    fn watch_all_keys(&self, db: &Db, now: Now) -> Result<()> {
        let keys = self.key_lines(now);
        let all = !keys.is_empty() && keys.iter().all(|key| key.state == KeyState::Dead);
        match (all, meta::get(db, TOLD_ALL_DEAD)?.as_deref() == Some("1")) {
            (true, false) => {
                self.tell_owner(db, &Speech::KeysAllDead, now)?;
                meta::set(db, TOLD_ALL_DEAD, "1")
            }
            (false, true) => meta::set(db, TOLD_ALL_DEAD, "0"),
            _ => Ok(()),
        }
    }

    fn watch_keys(&self, db: &Db, now: Now) -> Result<()> {
        // By its last characters too: another key in the same place is news.
        let name = |key: &KeyLine| format!("{}…{}", key.n, key.last4.replace(',', "_"));
        let keys = self.key_lines(now);
        let dead: BTreeMap<String, &KeyLine> = keys
            .iter()
            .filter(|key| key.state == KeyState::Dead)
            .map(|key| (name(key), key))
            .collect();
        let told = meta::get(db, TOLD_DEAD)?.unwrap_or_default();
        let list = dead.keys().map(String::as_str).collect::<Vec<_>>().join(",");
        if list == told {
            return Ok(());
        }
        let told: BTreeSet<&str> = told.split(',').collect();
        for (_, key) in dead.iter().filter(|(name, _)| !told.contains(name.as_str())) {
            let why = key.holds.first().map_or("", |hold| &hold.word);
            let speech = Speech::KeyDead { n: key.n as usize, last4: &key.last4, why };
            self.tell_owner(db, &speech, now)?;
        }
        meta::set(db, TOLD_DEAD, &list)
    }

    fn note_sync_failing(&self, db: &Db, now: Now) -> Result<()> {
        let failing = meta::get(db, fact::SYNC_LAST_ERROR)?.is_some_and(|why| !why.is_empty());
        match (failing, meta::get_i64(db, SYNC_FAILING_SINCE)?.unwrap_or(0)) {
            (true, 0) => meta::set(db, SYNC_FAILING_SINCE, &now.unix_ms.to_string()),
            (false, since) if since != 0 => meta::set(db, SYNC_FAILING_SINCE, "0"),
            _ => Ok(()),
        }
    }

    fn watch_sync(&self, db: &Db, now: Now) -> Result<()> {
        let since_ms = meta::get_i64(db, SYNC_FAILING_SINCE)?.unwrap_or(0);
        let told = meta::get(db, TOLD_SYNC)?.as_deref() == Some("1");
        let failing = since_ms != 0 && now.unix_ms - since_ms >= SYNC_FAILING_MS;
        if failing && !told {
            let why = meta::get(db, fact::SYNC_LAST_ERROR)?.unwrap_or_default();
            let since = words::date(since_ms);
            self.tell_owner(db, &Speech::SyncFailing { since: &since, why: &why }, now)?;
            return meta::set(db, TOLD_SYNC, "1");
        }
        if since_ms == 0 && told {
            self.tell_owner(db, &Speech::SyncRecovered, now)?;
            return meta::set(db, TOLD_SYNC, "0");
        }
        Ok(())
    }

    fn watch_disk(&self, db: &Db, now: Now) -> Result<()> {
        let Some(disk) = self.disk else { return Ok(()) };
        let low = disk.free_bytes < DISK_BYTES_LOW;
        let told = meta::get(db, TOLD_DISK)?.as_deref() == Some("1");
        if low && !told {
            let free = words::size(disk.free_bytes);
            self.tell_owner(db, &Speech::DiskLow { free: &free }, now)?;
        }
        // A little more room than the mark, so that it is not told again and again.
        let clear = disk.free_bytes > DISK_BYTES_LOW * 2;
        match (low, told) {
            (true, false) => meta::set(db, TOLD_DISK, "1"),
            (false, true) if clear => meta::set(db, TOLD_DISK, "0"),
            _ => Ok(()),
        }
    }

    /// One line when the system's clock leaves Telegram's, one when it is back.
    fn log_clock(&mut self) {
        let Some(ahead_ms) = self.ahead_ms else { return };
        let is_skewed = self.is_skewed();
        if is_skewed == self.skewed {
            return;
        }
        self.skewed = is_skewed;
        let text = skew_text(ahead_ms);
        if ahead_ms.abs() > SKEW_MS_FAIL {
            log::error!(target: "clock.skewed", ahead_ms; "{text}: certificates will be refused");
        } else if is_skewed {
            log::warn!(target: "clock.skewed", ahead_ms; "{text}");
        } else {
            log::info!(target: "clock.right", "the system's clock agrees with Telegram's again");
        }
    }

    pub(super) fn is_skewed(&self) -> bool {
        self.ahead_ms.is_some_and(|ahead_ms| ahead_ms.abs() > SKEW_MS_WARN)
    }

    fn watch_clock(&self, db: &Db, now: Now) -> Result<()> {
        let Some(ahead_ms) = self.ahead_ms else { return Ok(()) };
        let told = meta::get(db, TOLD_CLOCK)?.as_deref() == Some("1");
        match (self.is_skewed(), told) {
            (true, false) => {
                let (by, ahead) = (span(ahead_ms.abs()), ahead_ms > 0);
                self.tell_owner(db, &Speech::ClockWrong { by: &by, ahead }, now)?;
                meta::set(db, TOLD_CLOCK, "1")
            }
            (false, true) => meta::set(db, TOLD_CLOCK, "0"),
            _ => Ok(()),
        }
    }

    fn watch_quota(&self, db: &Db, now: Now) -> Result<()> {
        let quota = self.pool.quota_view(now);
        let limits: u64 = quota.iter().filter_map(|line| line.limit_today).sum();
        let used: u64 = quota
            .iter()
            .filter_map(|line| line.limit_today.map(|limit| line.used_today.min(limit)))
            .sum();
        let unlimited = quota.iter().any(|line| line.limit_today.is_none());
        let left_percent = (limits - used) * 100 / limits.max(1);
        let today = calendar::pacific_day(now.unix_ms).to_string();
        let told = meta::get(db, TOLD_QUOTA)?.as_deref() == Some(today.as_str());
        if unlimited || limits == 0 || left_percent >= QUOTA_LEFT_PERCENT || told {
            return Ok(());
        }
        let resets = words::date(calendar::pacific_midnight_after(now.unix_ms));
        let percent_left = u32::try_from(left_percent).unwrap_or(0);
        self.tell_owner(db, &Speech::QuotaLow { percent_left, resets: &resets }, now)?;
        meta::set(db, TOLD_QUOTA, &today)
    }

    fn watch_salvage(&self, db: &Db, now: Now) -> Result<()> {
        let rows = meta::get_i64(db, SALVAGED)?.unwrap_or(-1);
        if let Ok(rows) = u64::try_from(rows) {
            self.tell_owner(db, &Speech::Salvaged { rows }, now)?;
            meta::set(db, SALVAGED, "-1")?;
        }
        Ok(())
    }

    fn watch_starts(&self, db: &Db, now: Now) -> Result<()> {
        let crashes = meta::get(db, CRASHES)?.unwrap_or_default();
        let told_ms = meta::get_i64(db, TOLD_CRASH_MS)?.unwrap_or(0);
        let news = meta::get(db, TOLD_CRASH)?.as_deref() != Some(crashes.as_str());
        if !crashes.is_empty() && news && told_ms + CRASH_TOLD_EVERY_MS <= now.unix_ms {
            self.tell_owner(db, &Speech::Restarted, now)?;
            meta::set(db, TOLD_CRASH, &crashes)?;
            meta::set(db, TOLD_CRASH_MS, &now.unix_ms.to_string())?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let told = meta::get(db, TOLD_VERSION)?;
        if told.as_deref() == Some(version) {
            return Ok(());
        }
        // The very first start is no news.
        if told.is_some() {
            self.tell_owner(db, &Speech::NewVersion { version }, now)?;
        }
        meta::set(db, TOLD_VERSION, version)
    }

    /// Once an hour the backlogs are written down for the charts.
    pub(super) fn tally_backlog(&mut self, db: &Db, now: Now) -> Result<()> {
        let hour = now.unix_ms.div_euclid(HOUR_MS);
        if self.backlog_hour == hour {
            return Ok(());
        }
        self.backlog_hour = hour;
        // Without Supabase every row is "unsynced", and counting them all would hold the loop.
        let unsynced = if self.config.supabase.is_some() { tell::unsynced(db)? } else { 0 };
        let waiting = unsynced + u64::from(outbox::pending(db)?);
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        meta::put_tally(db, now.unix_ms, "backlog", waiting)
    }
}

fn skew_text(ahead_ms: i64) -> String {
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    format!(
        "the system's clock is {} {side} Telegram's: set it, `timedatectl set-ntp true`",
        span(ahead_ms.abs())
    )
}
