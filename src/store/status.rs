//! Owns: reading how the bot is, without writing anything, beside a running daemon or without one;
//! and the few facts that a daemon leaves in `meta` for that.
//! May not: judge; hold secrets.
//! Invariant: every query is bounded or walks an index of unfinished work only.

use super::names::waiting;
use super::{FILE_NAME, Result, Store, StoreError, inbox, ledger, meta, migrate, outbox, people};
use crate::engine::keypool::LedgerRows;
use crate::types::status::{
    Counts, Hour, SqliteMemory, Status, SyncLine, TroubleLine, VipLine, WEEK_HOURS,
};
use crate::types::{HOUR_MS, Now, UnixMs};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::collections::BTreeMap;
use std::path::Path;

/// Unsent rows are counted up to here; a longer backlog reads as this many.
const PENDING_MAX: i64 = 1_000_000;
/// Troubles shown.
const TROUBLES_SHOWN: u32 = 10;

/// `meta` rows that the daemon writes for `status` and `check`.
pub mod fact {
    /// When the running daemon started.
    pub const STARTED_MS: &str = "daemon_started_ms";
    /// `1` or `0`.
    pub const READY: &str = "daemon_ready";
    /// Why not ready.
    pub const REASON: &str = "daemon_reason";
    /// When the last poll or delivery succeeded.
    pub const LAST_POLL_MS: &str = "last_poll_ms";
    /// `1` where updates are delivered to a webhook instead of polled.
    pub const WEBHOOK: &str = "daemon_webhook";
    /// When Telegram last answered a poll with 409.
    pub const CONFLICT_LAST_MS: &str = "conflict_last_ms";
    /// How many 409s came in a row.
    pub const CONFLICTS: &str = "conflicts";
    /// When all rows were last in Supabase.
    pub const SYNC_LAST_SUCCESS_MS: &str = "sync_last_success_ms";
    /// Why the last synchronisation failed; empty after a success.
    pub const SYNC_LAST_ERROR: &str = "sync_last_error";
    /// Why Gemini gives no answers; empty while it does.
    pub const GEMINI_ERROR: &str = "gemini_error";
    /// What SQLite holds in the daemon's memory, as of the last minute.
    pub const SQLITE_MEMORY: &str = "sqlite_memory";
    /// The bot's username, without `@`.
    pub const BOT_NAME: &str = "bot_name";
}

/// What the daemon leaves for others to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// When it started; 0 never.
    pub started_ms: UnixMs,
    /// Whether it took and answered messages when it wrote this.
    pub ready: bool,
    /// Why not.
    pub reason: String,
    /// When Telegram was last heard; 0 never.
    pub last_poll_ms: UnixMs,
    /// Whether it is in webhook mode.
    pub webhook: bool,
    /// The last 409; 0 never.
    pub conflict_last_ms: UnixMs,
    /// 409s in a row.
    pub conflicts: u32,
}

/// Writes what changed; inside the loop's transaction, where something else is written anyway.
///
/// # Errors
/// As SQLite says.
pub fn publish(db: &Connection, what: &Published) -> Result<()> {
    for (key, value) in [
        (fact::STARTED_MS, what.started_ms.to_string()),
        (fact::READY, u8::from(what.ready).to_string()),
        (fact::REASON, what.reason.clone()),
        (fact::LAST_POLL_MS, what.last_poll_ms.to_string()),
        (fact::WEBHOOK, u8::from(what.webhook).to_string()),
        (fact::CONFLICT_LAST_MS, what.conflict_last_ms.to_string()),
        (fact::CONFLICTS, what.conflicts.to_string()),
    ] {
        meta::set(db, key, &value)?;
    }
    Ok(())
}

/// Reads it back; zeros where a daemon never ran.
///
/// # Errors
/// As SQLite says.
pub fn published(db: &Connection) -> Result<Published> {
    let number = |key| Ok::<_, StoreError>(meta::get_i64(db, key)?.unwrap_or(0));
    Ok(Published {
        started_ms: number(fact::STARTED_MS)?,
        ready: number(fact::READY)? == 1,
        reason: meta::get(db, fact::REASON)?.unwrap_or_default(),
        last_poll_ms: number(fact::LAST_POLL_MS)?,
        webhook: number(fact::WEBHOOK)? == 1,
        conflict_last_ms: number(fact::CONFLICT_LAST_MS)?,
        conflicts: u32::try_from(number(fact::CONFLICTS)?).unwrap_or(0),
    })
}

/// Notes how a synchronisation ended.
///
/// # Errors
/// As SQLite says.
pub fn note_sync(db: &Connection, now_ms: UnixMs, error: Option<&str>) -> Result<()> {
    if error.is_none() {
        meta::set(db, fact::SYNC_LAST_SUCCESS_MS, &now_ms.to_string())?;
    }
    meta::set(db, fact::SYNC_LAST_ERROR, error.unwrap_or_default())
}

/// What the settings say, as far as a status needs it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When.
    pub now_ms: UnixMs,
    /// `SESSION_IDLE`
    pub session_idle_ms: i64,
    /// `VIP_SLOTS`
    pub vip_slots: u32,
    /// Whether Supabase is set.
    pub sync_enabled: bool,
}

impl Store {
    /// Opens the database only to read it: nothing is migrated, written or checkpointed.
    ///
    /// # Errors
    /// Missing, or of another version than this program.
    pub fn open_read_only(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        if !path.exists() {
            return Err(StoreError::Missing(path));
        }
        super::private::tighten(dir);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)?;
        db.busy_timeout(std::time::Duration::from_millis(super::BUSY_TIMEOUT_MS))?;
        if migrate::check(&db)? < migrate::MIGRATIONS.len() {
            // Made by an older program and not opened by this one yet.
            return Err(StoreError::Missing(path));
        }
        Ok(Self { db, durability: super::Durability::Process, place: None })
    }

    /// How the bot is, from the database alone: what a process knows (memory, disk, whether it
    /// runs) and what the pool knows (keys, quotas) is left empty.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn status(&self, asked: &Asked) -> Result<Status> {
        read(&self.db, asked)
    }

    /// What the pool of keys remembers, and the salt of its fingerprints, for a look at it.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn ledger(&self, now: Now) -> Result<(LedgerRows, Option<String>)> {
        Ok((ledger::load(&self.db, now)?, ledger::salt(&self.db)?))
    }

    /// What the daemon left in `meta`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn published(&self) -> Result<Published> {
        published(&self.db)
    }
}

/// The largest database that [`Store::health`] reads whole; about two seconds on a small board.
const READ_BYTES_MAX: u64 = 256 << 20;

/// What `check` wants to know of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Number of the schema.
    pub schema: usize,
    /// Size without the write-ahead log.
    pub bytes: u64,
    /// Whether it was read whole.
    pub was_read: bool,
    /// What SQLite found wrong, first line.
    pub damage: Option<String>,
    /// Rows that Supabase refused.
    pub rows_parked: u64,
    /// Why the newest of them.
    pub park_reason: String,
    /// Messages that Telegram will never take.
    pub messages_parked: u64,
    /// Why the newest of them.
    pub message_reason: String,
    /// Whether somebody was paired or made an owner at run time.
    pub has_owner: bool,
    /// The newest instant in it.
    pub newest_ms: UnixMs,
}

impl Store {
    /// Looks whether the database is sound and what was set aside.
    ///
    /// # Errors
    /// As SQLite says; damage that it can describe is no error.
    pub fn health(&self, now: Now) -> Result<Health> {
        let db = &self.db;
        let text = |sql: &str| -> Result<String> {
            Ok(db.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or_default())
        };
        let bytes = number(db, DATABASE_BYTES)?;
        let was_read = bytes <= READ_BYTES_MAX;
        let found = if was_read { text("PRAGMA quick_check(1)")? } else { "ok".to_owned() };
        let newest_us: i64 =
            db.query_row("SELECT coalesce(max(created_us), 0) FROM history", [], |row| row.get(0))?;
        Ok(Health {
            schema: migrate::check(db)?,
            bytes,
            was_read,
            damage: (found != "ok").then_some(found),
            rows_parked: number(
                db,
                "SELECT (SELECT count(*) FROM history WHERE sync = 3)
                      + (SELECT count(*) FROM registry WHERE sync = 3)",
            )?,
            park_reason: text(
                "SELECT park_reason FROM history WHERE sync = 3 ORDER BY id DESC LIMIT 1",
            )?,
            messages_parked: number(db, "SELECT count(*) FROM outbox_parked")?,
            message_reason: text(
                "SELECT reason FROM outbox_parked ORDER BY parked_ms DESC LIMIT 1",
            )?,
            has_owner: !people::granted_owners(db, now.unix_ms)?.is_empty(),
            newest_ms: newest_us / 1_000,
        })
    }
}

const INBOX_PARKED: &str = "SELECT count(*) FROM inbox WHERE state = 4";
/// The first of every lane that waits; what is being asked has its own bound in time.
const INBOX_OLDEST: &str = "SELECT min(received_ms) FROM inbox WHERE state = 1 AND head = 1";
const HISTORY_PENDING: &str =
    concat!("SELECT 1 ", waiting!(new), " UNION ALL SELECT 1 ", waiting!(again));
const HISTORY_PARKED: &str = "SELECT 1 FROM history WHERE sync = 3";
const REGISTRY_PENDING: &str = "SELECT 1 FROM registry WHERE sync = 0";
const REGISTRY_PARKED: &str = "SELECT 1 FROM registry WHERE sync = 3";
const HISTORY_REASON: &str =
    "SELECT park_reason FROM history WHERE sync = 3 ORDER BY id DESC LIMIT 1";
const REGISTRY_REASON: &str =
    "SELECT park_reason FROM registry WHERE sync = 3 ORDER BY last_us DESC LIMIT 1";
const HOURS: &str =
    "SELECT hour, name, value FROM tally WHERE hour > ?1 AND hour <= ?2 ORDER BY hour";
const DATABASE_BYTES: &str =
    "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";

/// As [`Store::status`], on any connection.
///
/// # Errors
/// As SQLite says.
pub fn read(db: &Connection, asked: &Asked) -> Result<Status> {
    let left = published(db)?;
    let alive_ms = asked.now_ms.saturating_sub(asked.session_idle_ms);
    let vips = vips(db, alive_ms)?;
    let counts = Counts {
        inbox: u64::from(inbox::pending(db)?),
        inbox_parked: number(db, INBOX_PARKED)?,
        inbox_oldest_ms: oldest(db)?,
        outbox: u64::from(outbox::pending(db)?),
        outbox_parked: number(db, "SELECT count(*) FROM outbox_parked")?,
        sessions: u64::from(people::live_sessions(db, alive_ms)?),
        vip_used: u64::try_from(vips.len()).unwrap_or(u64::MAX),
        database_bytes: number(db, DATABASE_BYTES)?,
    };
    Ok(Status {
        at_ms: asked.now_ms,
        running: false,
        ready: left.ready,
        reason: left.reason,
        started_ms: (left.started_ms > 0).then_some(left.started_ms),
        last_poll_ms: (left.last_poll_ms > 0).then_some(left.last_poll_ms),
        webhook: left.webhook,
        rss_bytes: None,
        disk: None,
        counts,
        vip_slots: asked.vip_slots,
        vips,
        keys: Vec::new(),
        quota: Vec::new(),
        lasts: Vec::new(),
        gemini_error: meta::get(db, fact::GEMINI_ERROR)?.filter(|why| !why.is_empty()),
        sync: sync(db, asked.sync_enabled)?,
        hours: hours(db, asked.now_ms)?,
        troubles: troubles(db)?,
        sqlite: meta::get(db, fact::SQLITE_MEMORY)?.as_deref().and_then(SqliteMemory::read),
    })
}

fn number(db: &Connection, sql: &str) -> Result<u64> {
    let value: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

fn oldest(db: &Connection) -> Result<Option<UnixMs>> {
    Ok(db.prepare_cached(INBOX_OLDEST)?.query_row([], |row| row.get(0)).optional()?.flatten())
}

fn sync(db: &Connection, enabled: bool) -> Result<SyncLine> {
    let error = meta::get(db, fact::SYNC_LAST_ERROR)?.filter(|text| !text.is_empty());
    let mut line = SyncLine {
        enabled,
        last_success_ms: meta::get_i64(db, fact::SYNC_LAST_SUCCESS_MS)?,
        last_error: error,
        ..SyncLine::default()
    };
    // Without Supabase every row is unsent for ever, and nothing is owed.
    if enabled {
        let upto =
            |sql: &str| number(db, &format!("SELECT count(*) FROM ({sql} LIMIT {PENDING_MAX})"));
        line.pending = [upto(HISTORY_PENDING)?, upto(REGISTRY_PENDING)?];
        line.parked = [upto(HISTORY_PARKED)?, upto(REGISTRY_PARKED)?];
        for (sql, rows) in [HISTORY_REASON, REGISTRY_REASON].iter().zip(line.parked) {
            if rows > 0 && line.parked_reason.is_empty() {
                let found: Option<String> =
                    db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
                line.parked_reason = found.unwrap_or_default();
            }
        }
    }
    Ok(line)
}

fn hours(db: &Connection, now_ms: UnixMs) -> Result<Vec<Hour>> {
    let this = now_ms.div_euclid(HOUR_MS);
    let mut by_hour: BTreeMap<i64, Hour> = BTreeMap::new();
    let mut statement = db.prepare_cached(HOURS)?;
    let mut rows = statement.query([this - WEEK_HOURS, this])?;
    while let Some(row) = rows.next()? {
        let (at, value): (i64, i64) = (row.get(0)?, row.get(2)?);
        let value = u64::try_from(value).unwrap_or(0);
        let hour = by_hour.entry(at).or_insert(Hour { hour: at, ..Hour::default() });
        match row.get_ref(1)?.as_str().unwrap_or_default() {
            "answers" => hour.answers += value,
            "refused" | "blocked" | "failed" => hour.troubled += value,
            "tokens_in" | "tokens_out" => hour.tokens += value,
            "answer_ms" => hour.answer_ms += value,
            "backlog" => hour.backlog = value,
            _ => {}
        }
    }
    Ok(by_hour.into_values().collect())
}

/// As `people::slots`, with the rounds of each.
fn vips(db: &Connection, alive_ms: UnixMs) -> Result<Vec<VipLine>> {
    db.prepare_cached(
        "SELECT name, rounds, rounds_max, last_ms FROM session
          WHERE slot = 1 AND last_ms > ?1 AND rounds < rounds_max ORDER BY opened_ms, id",
    )?
    .query_map([alive_ms], |row| {
        Ok(VipLine {
            name: row.get(0)?,
            rounds: row.get(1)?,
            rounds_max: row.get(2)?,
            last_ms: row.get(3)?,
        })
    })?
    .map(|line| Ok(line?))
    .collect()
}

fn troubles(db: &Connection) -> Result<Vec<TroubleLine>> {
    let sql = "SELECT at_ms, place, text FROM trouble ORDER BY id DESC LIMIT ?1";
    db.prepare_cached(sql)?
        .query_map([TROUBLES_SHOWN], |row| {
            Ok(TroubleLine { at_ms: row.get(0)?, place: row.get(1)?, text: row.get(2)? })
        })?
        .map(|line| Ok(line?))
        .collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
