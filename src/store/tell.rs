//! Owns: what the chat's own commands read and take: counts, a person's history, pairing codes.
//! May not: word anything.

use super::Result;
use super::names::waiting;
use crate::types::{DAY_MS, HOUR_MS, UnixMs, UserId};
use rusqlite::{Connection, params};

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
        .prepare_cached(concat!(
            "SELECT (SELECT count(*) ",
            waiting!(new),
            ") + (SELECT count(*) ",
            waiting!(again),
            ") + (SELECT count(*) FROM registry WHERE sync = 0)"
        ))?
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

/// A question of a person with its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When, microseconds.
    pub at_us: i64,
    /// Where.
    pub chat: i64,
    /// The question.
    pub asked: String,
    /// The answer.
    pub answered: String,
}

/// A person's newest rounds, at most `rows` and as many bytes as an export holds, oldest first; and
/// whether these are all that are kept here.
///
/// # Errors
/// As SQLite says.
pub fn rounds_of(db: &Connection, user: UserId, rows: usize) -> Result<(Vec<Round>, bool)> {
    let mut statement = db.prepare_cached(
        "SELECT created_us, chat_id, coalesce(message_text, ''), coalesce(response_text, '')
           FROM history WHERE user_id = ?1 ORDER BY id DESC",
    )?;
    let mut found = statement.query([user.0])?;
    let (mut rounds, mut room, mut whole) = (Vec::new(), EXPORT_BYTES_MAX, true);
    while let Some(row) = found.next()? {
        let round = Round {
            at_us: row.get(0)?,
            chat: row.get(1)?,
            asked: row.get(2)?,
            answered: row.get(3)?,
        };
        let left = room.checked_sub(round.asked.len() + round.answered.len());
        let Some(left) = left.filter(|_| rounds.len() < rows) else {
            whole = false;
            break;
        };
        room = left;
        rounds.push(round);
    }
    rounds.reverse();
    Ok((rounds, whole))
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
