//! Owns: the synchroniser's side of the database: the ids rows have in Supabase, claims and
//! their settlement, erasures.
//! May not: know HTTP or JSON, decide when to try again.
//! Invariant: a row's remote id follows from what is on disk before the row is first sent ([`super::names`]) and
//! never changes after, so sending again is harmless; nothing but a settlement makes a row count as sent.

use super::Result;
use super::names::{sent, waiting};
use crate::types::row::RegistryRow;
use crate::types::{ChatId, UnixMs, UserId};
use rusqlite::{OptionalExtension, Row, params};

/// What the functions of this room run on; a transaction of [`super::Store::write`] is one.
pub use rusqlite::Connection as Db;

mod history;
#[cfg(test)]
mod tests;

pub use history::{
    Claimed, ROWS_MAX, claim_history, first_unsent, history_omitted, history_sent, history_unname,
    history_unsure, is_omitted, newest_id, park_history, prune, waits_until, with_row,
};
pub(super) use history::{HISTORY_COLUMNS, read_history};

pub use super::lease::{
    Lease, end_daemon_lease, end_lease, holder_name, holder_process, holder_shown, lease_holder,
    take_lease,
};

/// The two tables that are synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `chat_history`, here `history`.
    History,
    /// `user_registry`, here `registry`.
    Registry,
}

impl Table {
    /// Both, in the order they are sent.
    pub const ALL: [Self; 2] = [Self::History, Self::Registry];

    /// The name in Supabase, in metrics and in JSON.
    pub fn remote(self) -> &'static str {
        match self {
            Self::History => "chat_history",
            Self::Registry => "user_registry",
        }
    }
}

const REGISTRY_COLUMNS: &str = "user_id, chat_id, username, first_name, keyword, trigger_count, \
     synced_count, sending_count, last_us, created_us";

fn read_registry(row: &Row<'_>) -> rusqlite::Result<RegistryRow> {
    Ok(RegistryRow {
        user: UserId(row.get(0)?),
        chat: ChatId(row.get(1)?),
        username: row.get(2)?,
        first_name: row.get(3)?,
        keyword: row.get(4)?,
        count: row.get(5)?,
        synced: row.get(6)?,
        sending: row.get(7)?,
        last_us: row.get(8)?,
        created_us: row.get(9)?,
    })
}

/// Changed registrations after the given pair, at most `limit`, in the order of the key.
///
/// # Errors
/// As SQLite says.
pub fn unsent_registry(
    db: &Db,
    after: Option<(UserId, ChatId)>,
    limit: usize,
) -> Result<Vec<RegistryRow>> {
    let (user, chat) = after.unwrap_or((UserId(i64::MIN), ChatId(i64::MIN)));
    db.prepare_cached(&format!(
        "SELECT {REGISTRY_COLUMNS} FROM registry INDEXED BY registry_unsent
          WHERE sync = 0 AND (user_id, chat_id) > (?1, ?2)
            AND NOT EXISTS (SELECT 1 FROM erasure
                             WHERE erasure.user_id = registry.user_id AND again_ms = 0)
          ORDER BY user_id, chat_id LIMIT ?3"
    ))?
    .query_map(params![user.0, chat.0, i64::try_from(limit).unwrap_or(i64::MAX)], read_registry)?
    .map(|row| Ok(row?))
    .collect()
}

/// Writes down the count that a request about to be sent would leave there.
///
/// # Errors
/// As SQLite says.
pub fn registry_sending(db: &Db, row: &RegistryRow, sending: i64) -> Result<()> {
    db.prepare_cached(
        "UPDATE registry SET sending_count = ?3 WHERE user_id = ?1 AND chat_id = ?2",
    )?
    .execute(params![row.user.0, row.chat.0, sending])?;
    Ok(())
}

/// Takes the remote count over as what the local one builds on: `remote` is there now, and `ours`
/// of it is contained in the local count; the rest another writer counted. The row stays unsent
/// while the local count is larger.
///
/// # Errors
/// As SQLite says.
pub fn registry_seen(db: &Db, user: UserId, chat: ChatId, remote: i64, ours: i64) -> Result<()> {
    db.prepare_cached(
        "UPDATE registry SET trigger_count = trigger_count + (?3 - ?4), synced_count = ?3,
           sending_count = 0,
           sync = CASE WHEN sync = 3 THEN 3
                       WHEN trigger_count + (?3 - ?4) > ?3 THEN 0 ELSE 2 END
          WHERE user_id = ?1 AND chat_id = ?2",
    )?
    .execute(params![user.0, chat.0, remote, ours])?;
    Ok(())
}

/// No row is there (any more): the next request inserts one.
///
/// # Errors
/// As SQLite says.
pub fn registry_gone(db: &Db, user: UserId, chat: ChatId) -> Result<()> {
    db.prepare_cached(
        "UPDATE registry SET synced_count = -1, sending_count = 0
          WHERE user_id = ?1 AND chat_id = ?2",
    )?
    .execute(params![user.0, chat.0])?;
    Ok(())
}

/// Sets a registration aside with the server's reason.
///
/// # Errors
/// As SQLite says.
pub fn park_registry(db: &Db, user: UserId, chat: ChatId, reason: &str) -> Result<()> {
    db.prepare_cached(
        "UPDATE registry SET sync = 3, park_reason = ?3 WHERE user_id = ?1 AND chat_id = ?2",
    )?
    .execute(params![user.0, chat.0, reason])?;
    Ok(())
}

/// Makes every row that was set aside due again; how many.
///
/// # Errors
/// As SQLite says.
pub fn unpark(db: &Db, table: Table) -> Result<usize> {
    Ok(db.execute(
        match table {
            Table::History => concat!(
                "UPDATE history SET park_reason = '', sync = CASE WHEN id <= ",
                sent!(),
                " THEN 5 ELSE 0 END WHERE sync = 3"
            ),
            Table::Registry => "UPDATE registry SET park_reason = '', sync = 0 WHERE sync = 3",
        },
        [],
    )?)
}

/// Rows that wait and rows that are set aside; what `status` and the report show.
///
/// # Errors
/// As SQLite says.
pub fn backlog(db: &Db, table: Table) -> Result<(i64, i64)> {
    let waiting = match table {
        Table::History => concat!(
            "SELECT (SELECT count(*) ",
            waiting!(new),
            ") + (SELECT count(*) ",
            waiting!(again),
            ")"
        ),
        Table::Registry => "SELECT count(*) FROM registry WHERE sync = 0",
    };
    let parked = match table {
        Table::History => "SELECT count(*) FROM history WHERE sync = 3",
        Table::Registry => "SELECT count(*) FROM registry WHERE sync = 3",
    };
    Ok((
        db.prepare_cached(waiting)?.query_row([], |row| row.get(0))?,
        db.prepare_cached(parked)?.query_row([], |row| row.get(0))?,
    ))
}

/// A person to erase in Supabase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Who.
    pub user: UserId,
    /// When it was asked.
    pub asked_ms: UnixMs,
    /// 0: everything of theirs goes; else only rows of ours older than `asked_ms` that came late.
    pub again_ms: UnixMs,
}

/// The next erasure that is due.
///
/// # Errors
/// As SQLite says.
pub fn due_erasure(db: &Db, now_ms: UnixMs) -> Result<Option<Erasure>> {
    Ok(db
        .prepare_cached(
            "SELECT user_id, asked_ms, again_ms FROM erasure WHERE again_ms <= ?1
              ORDER BY again_ms, user_id LIMIT 1",
        )?
        .query_row([now_ms], |row| {
            Ok(Erasure { user: UserId(row.get(0)?), asked_ms: row.get(1)?, again_ms: row.get(2)? })
        })
        .optional()?)
}

/// Settles an erasure: the first is repeated once at `again_ms`, the second ends it. One that was
/// asked anew in the meantime stays as it is.
///
/// # Errors
/// As SQLite says.
pub fn erased(db: &Db, erasure: &Erasure, again_ms: UnixMs) -> Result<()> {
    let key = params![erasure.user.0, erasure.asked_ms, again_ms];
    let sql = if erasure.again_ms == 0 {
        "UPDATE erasure SET again_ms = ?3 WHERE user_id = ?1 AND asked_ms = ?2"
    } else {
        "DELETE FROM erasure WHERE user_id = ?1 AND asked_ms = ?2 AND ?3 IS NOT NULL"
    };
    db.execute(sql, key)?;
    Ok(())
}

/// Erasures still to be done for the first time.
///
/// # Errors
/// As SQLite says.
pub fn erasures_pending(db: &Db) -> Result<i64> {
    Ok(db
        .prepare_cached("SELECT count(*) FROM erasure WHERE again_ms = 0")?
        .query_row([], |row| row.get(0))?)
}
