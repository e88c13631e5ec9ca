//! Owns: what the chat's own commands read and take: counts, a person's history, pairing codes.
//! May not: word anything.

use super::Result;
use crate::calendar;
use crate::types::{DAY_MS, HOUR_MS, UnixMs, UserId};
use rusqlite::{Connection, params};
use std::fmt::Write;

/// Bytes of one `/export`; Telegram takes 50 MB, memory is dearer.
const EXPORT_BYTES_MAX: usize = 1024 * 1024;
/// A pairing link holds this long (contract §2).
pub const PAIRING_MS: i64 = 15 * crate::types::MINUTE_MS;

/// Rows that are not yet in Supabase.
///
/// # Errors
/// As SQLite says.
pub fn unsynced(db: &Connection) -> Result<u64> {
    Ok(db
        .prepare_cached(
            "SELECT (SELECT count(*) FROM history WHERE sync IN (0, 1))
                  + (SELECT count(*) FROM registry WHERE sync = 0)",
        )?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|count| u64::try_from(count).unwrap_or(0))?)
}

/// The sum of a tally from the hour of `since_ms` on.
///
/// # Errors
/// As SQLite says.
pub fn tally_since(db: &Connection, name: &str, since_ms: UnixMs) -> Result<i64> {
    Ok(db
        .prepare_cached("SELECT coalesce(sum(value), 0) FROM tally WHERE name = ?1 AND hour >= ?2")?
        .query_row(params![name, since_ms.div_euclid(HOUR_MS)], |row| row.get(0))?)
}

/// Answers of each of the last `days` days, oldest first, today last; days of UTC.
///
/// # Errors
/// As SQLite says.
pub fn answers_by_day(db: &Connection, now_ms: UnixMs, days: i64) -> Result<Vec<i64>> {
    let today = now_ms.div_euclid(DAY_MS);
    (0..days)
        .rev()
        .map(|back| {
            let first_hour = (today - back) * 24;
            Ok(db
                .prepare_cached(
                    "SELECT coalesce(sum(value), 0) FROM tally
                      WHERE name = 'answers' AND hour >= ?1 AND hour < ?1 + 24",
                )?
                .query_row([first_hour], |row| row.get(0))?)
        })
        .collect()
}

/// A person's newest `rows` turns as Markdown, oldest first; empty when there are none.
///
/// # Errors
/// As SQLite says.
pub fn person_as_markdown(db: &Connection, user: UserId, rows: u32) -> Result<String> {
    let mut statement = db.prepare_cached(
        "SELECT created_us, coalesce(message_text, ''), coalesce(response_text, ''), chat_id
           FROM history WHERE user_id = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let mut found = statement.query(params![user.0, rows])?;
    let (mut turns, mut room) = (Vec::new(), EXPORT_BYTES_MAX);
    while let Some(row) = found.next()? {
        let (at_us, chat): (i64, i64) = (row.get(0)?, row.get(3)?);
        let (asked, answered): (String, String) = (row.get(1)?, row.get(2)?);
        let at = calendar::rfc3339(at_us.div_euclid(1_000));
        let mut turn = String::with_capacity(asked.len() + answered.len() + 64);
        // Writing to a String cannot fail.
        let _ = write!(turn, "## {at} · {chat}\n\n**?** {asked}\n\n{answered}\n\n");
        if turn.len() > room {
            break;
        }
        room -= turn.len();
        turns.push(turn);
    }
    turns.reverse();
    Ok(turns.concat())
}

/// Stores the hash of a pairing code; older ones are forgotten.
///
/// # Errors
/// As SQLite says.
pub fn add_pairing(db: &Connection, code_hash: &str, now_ms: UnixMs) -> Result<()> {
    db.execute("DELETE FROM pairing WHERE until_ms <= ?1", [now_ms])?;
    db.execute(
        "INSERT OR REPLACE INTO pairing (code_hash, until_ms) VALUES (?1, ?2)",
        params![code_hash, now_ms + PAIRING_MS],
    )?;
    Ok(())
}

/// Takes a pairing code: true once, while it holds. Every code is gone then.
///
/// # Errors
/// As SQLite says.
pub fn take_pairing(db: &Connection, code_hash: &str, now_ms: UnixMs) -> Result<bool> {
    let holds: bool = db.query_row(
        "SELECT EXISTS (SELECT 1 FROM pairing WHERE code_hash = ?1 AND until_ms > ?2)",
        params![code_hash, now_ms],
        |row| row.get(0),
    )?;
    if holds {
        db.execute("DELETE FROM pairing", [])?;
    }
    Ok(holds)
}
