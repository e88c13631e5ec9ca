//! Owns: single facts by name, requests of commands to the daemon, the hourly tallies, the last troubles.
//! May not: give a fact a meaning.

use super::Result;
use crate::types::{HOUR_MS, UnixMs};
use rusqlite::{Connection, OptionalExtension, params};

/// Troubles kept for `status` and `check`.
pub const TROUBLES_MAX: i64 = 50;

/// A fact by name.
///
/// # Errors
/// As SQLite says.
pub fn get(db: &Connection, key: &str) -> Result<Option<String>> {
    Ok(db
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?)
}

/// A fact by name, as a number; `None` when absent or no number.
///
/// # Errors
/// As SQLite says.
pub fn get_i64(db: &Connection, key: &str) -> Result<Option<i64>> {
    Ok(get(db, key)?.and_then(|value| value.parse().ok()))
}

/// Sets a fact; nothing is written when it is the same.
///
/// # Errors
/// As SQLite says.
pub fn set(db: &Connection, key: &str, value: &str) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value != excluded.value",
    )?
    .execute([key, value])?;
    Ok(())
}

/// Sets a fact and writes it even when it is the same: for a commit that must have something to sync.
///
/// # Errors
/// As SQLite says.
pub fn write(db: &Connection, key: &str, value: &str) -> Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute([key, value])?;
    Ok(())
}

/// Asks something of the running daemon: `drain`, `sync`, `reload`.
///
/// # Errors
/// As SQLite says.
pub fn ask_daemon(db: &Connection, kind: &str, now_ms: UnixMs) -> Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO request (kind, asked_ms) VALUES (?1, ?2)",
        params![kind, now_ms],
    )?;
    Ok(())
}

/// Takes every request, oldest first.
///
/// # Errors
/// As SQLite says.
pub fn take_requests(db: &Connection) -> Result<Vec<String>> {
    let kinds = db
        .prepare_cached("SELECT kind FROM request ORDER BY asked_ms, kind")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    if !kinds.is_empty() {
        db.execute("DELETE FROM request", [])?;
    }
    Ok(kinds)
}

/// Adds to a count of the current hour.
///
/// # Errors
/// As SQLite says.
pub fn tally(db: &Connection, now_ms: UnixMs, name: &str, value: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO tally (hour, name, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (hour, name) DO UPDATE SET value = value + excluded.value",
    )?
    .execute(params![now_ms.div_euclid(HOUR_MS), name, value])?;
    Ok(())
}

/// Sets a figure of the current hour.
///
/// # Errors
/// As SQLite says.
pub fn put_tally(db: &Connection, now_ms: UnixMs, name: &str, value: i64) -> Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO tally (hour, name, value) VALUES (?1, ?2, ?3)")?
        .execute(params![now_ms.div_euclid(HOUR_MS), name, value])?;
    Ok(())
}

/// Forgets tallies older than `days`.
///
/// # Errors
/// As SQLite says.
pub fn prune_tallies(db: &Connection, now_ms: UnixMs, days: i64) -> Result<()> {
    db.prepare_cached("DELETE FROM tally WHERE hour < ?1")?
        .execute([now_ms.div_euclid(HOUR_MS) - days * 24])?;
    Ok(())
}

/// Writes a trouble down for `status` and `check`, the oldest leaving.
///
/// # Errors
/// As SQLite says.
pub fn trouble(db: &Connection, now_ms: UnixMs, place: &str, text: &str) -> Result<()> {
    db.execute(
        "INSERT INTO trouble (at_ms, place, text) VALUES (?1, ?2, ?3)",
        params![now_ms, place, text],
    )?;
    db.execute(
        "DELETE FROM trouble WHERE id <= (SELECT max(id) FROM trouble) - ?1",
        [TROUBLES_MAX],
    )?;
    Ok(())
}

/// A number that changes when another connection has committed.
///
/// # Errors
/// As SQLite says.
pub fn data_version(db: &Connection) -> Result<i64> {
    Ok(db.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}
