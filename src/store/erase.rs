//! Owns: what it takes to forget a person here, and the wish to forget them in Supabase too.
//! May not: send anything.

use super::Result;
use crate::types::{UnixMs, UserId};
use rusqlite::{Connection, params};

/// Erases a person's rows here and queues their erasure in Supabase; returns how many turns went.
/// Roles stay: that somebody is blocked stays known (contract §3). Questions that wait are still
/// answered, but nothing of them is written down ([`is_forgotten`]).
///
/// A daemon does not follow a clock that was set back: what it dated later than `now_ms` is of before all the same.
///
/// # Errors
/// As SQLite says.
pub fn forget(db: &Connection, user: UserId, now_ms: UnixMs) -> Result<usize> {
    let asked_ms: UnixMs = db.query_row(
        "SELECT max(?2, coalesce((SELECT max(received_ms) FROM inbox WHERE user_id = ?1), 0),
                coalesce((SELECT max(created_us) / 1000 + 1 FROM history WHERE user_id = ?1), 0))",
        params![user.0, now_ms],
        |row| row.get(0),
    )?;
    let turns = db.execute("DELETE FROM history WHERE user_id = ?1", [user.0])?;
    for sql in [
        "DELETE FROM registry WHERE user_id = ?1",
        "DELETE FROM session WHERE user_id = ?1",
        "UPDATE inbox SET name = '', text = '', context = '', body = NULL WHERE user_id = ?1 AND state IN (3, 4)",
        "DELETE FROM outbox_parked WHERE chat_id = ?1",
    ] {
        db.execute(sql, [user.0])?;
    }
    db.execute(
        "UPDATE person SET username = '', first_name = '', lang = '', forgotten_ms = ?2 WHERE user_id = ?1",
        params![user.0, asked_ms],
    )?;
    db.execute(
        "INSERT INTO erasure (user_id, asked_ms) VALUES (?1, ?2)
         ON CONFLICT (user_id) DO UPDATE SET asked_ms = excluded.asked_ms, again_ms = 0",
        params![user.0, asked_ms],
    )?;
    Ok(turns)
}

/// Whether this person asked to be forgotten at or after `since_ms`: what they had asked by then is
/// answered and leaves no row.
///
/// # Errors
/// As SQLite says.
pub fn is_forgotten(db: &Connection, user: UserId, since_ms: UnixMs) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM person WHERE user_id = ?1 AND forgotten_ms >= ?2)",
        )?
        .query_row(params![user.0, since_ms], |row| row.get(0))?)
}
