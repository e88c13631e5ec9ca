//! Owns: the synchroniser's side of the database: the ids rows have in Supabase, claims and
//! their settlement, erasures.
//! May not: know HTTP or JSON, decide when to try again.
//! Invariant: a row's remote id follows from what is on disk before the row is first sent ([`super::names`]) and
//! never changes after, so sending again is harmless; nothing but a settlement makes a row count as sent.

use super::Result;
use super::names::Names;
use crate::types::row::{HistoryRow, RegistryRow};
use crate::types::{ChatId, UnixMs, UserId};
use rusqlite::{OptionalExtension, Row, params};

/// What the functions of this room run on; a transaction of [`super::Store::write`] is one.
pub use rusqlite::Connection as Db;

pub use super::lease::{
    Lease, end_daemon_lease, end_lease, holder_name, holder_process, lease_holder, take_lease,
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
    fn local(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Registry => "registry",
        }
    }
}

/// The columns that [`read_history`] expects, in its order.
pub(super) const HISTORY_COLUMNS: &str = "id, remote_id, sync, chat_id, user_id, username, \
     message_text, response_text, model_used, metadata, created_us";

pub(super) fn read_history<'a>(row: &'a Row<'_>) -> rusqlite::Result<HistoryRow<'a>> {
    let text =
        |at: usize| -> rusqlite::Result<Option<&'a str>> { Ok(row.get_ref(at)?.as_str_or_null()?) };
    Ok(HistoryRow {
        id: row.get(0)?,
        remote_id: row.get(1)?,
        sync: row.get(2)?,
        chat: ChatId(row.get(3)?),
        user: UserId(row.get(4)?),
        username: text(5)?,
        message: text(6)?,
        response: text(7)?,
        model: text(8)?,
        metadata: text(9)?.unwrap_or("{}"),
        created_us: row.get(10)?,
    })
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

/// The newest local id: a run goes no further, so that it ends while people talk on.
///
/// # Errors
/// As SQLite says.
pub fn newest_id(db: &Db) -> Result<i64> {
    Ok(db.query_row("SELECT coalesce(max(id), 0) FROM history", [], |row| row.get(0))?)
}

/// One row of a claimed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Local id.
    pub id: i64,
    /// Its id in Supabase.
    pub remote_id: i64,
    /// Whether no earlier request can have carried it under this id.
    pub fresh: bool,
    /// When it was made, microseconds.
    pub created_us: i64,
}

/// Unsent rows in the order of their local ids, after `after` and up to `upto`, at most `rows_max`. Each is
/// shown to `take` with the id it has in Supabase; the first that `take` refuses is left for another batch.
/// With `unsure`, only those whose earlier request has an unknown outcome; without, only the others.
/// Nothing is written; `fresh` says that the row lies beyond what was ever named.
///
/// # Errors
/// As SQLite says.
pub fn claim_history(
    db: &Db,
    names: Names,
    after: i64,
    upto: i64,
    rows_max: usize,
    unsure: bool,
    take: &mut dyn FnMut(&HistoryRow<'_>) -> bool,
) -> Result<Vec<Claimed>> {
    let rows_max = rows_max.min(ROWS_MAX);
    let mut claimed = Vec::with_capacity(rows_max);
    // Nobody to erase is the rule, and then no row has to be looked up.
    let but_erased = match erasures_pending(db)? {
        0 => "",
        _ => {
            "AND NOT EXISTS (SELECT 1 FROM erasure
                              WHERE erasure.user_id = history.user_id AND again_ms = 0)"
        }
    };
    // INDEXED BY: without it the planner may walk the whole table by id.
    let mut statement = db.prepare_cached(&format!(
        "SELECT {HISTORY_COLUMNS} FROM history INDEXED BY history_unsent
          WHERE sync IN (0, 1) AND sync = ?1 AND id > ?2 AND id <= ?3 {but_erased}
          ORDER BY id LIMIT ?4"
    ))?;
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![i64::from(unsure), after, upto, limit])?;
    while let Some(row) = rows.next()? {
        let mut row = read_history(row)?;
        let unnamed = row.remote_id == 0;
        if unnamed {
            row.remote_id = names.base.saturating_add(row.id);
        }
        if !take(&row) {
            break;
        }
        let HistoryRow { id, remote_id, created_us, .. } = row;
        claimed.push(Claimed { id, remote_id, fresh: unnamed, created_us });
    }
    Ok(claimed)
}

/// The most rows one claim gives, whatever the settings say.
pub const ROWS_MAX: usize = 5_000;

/// Settles claimed rows: they are there, under these ids.
///
/// # Errors
/// As SQLite says.
pub fn history_sent(db: &Db, rows: &[Claimed]) -> Result<()> {
    let mut set = db.prepare_cached(
        // NOT INDEXED: the index of what is unsent changes under the statement, so it would first collect
        // what it finds there; by the table it changes each row as it comes.
        "UPDATE history NOT INDEXED SET sync = 2, remote_id = id + ?3
          WHERE id BETWEEN ?1 AND ?2 AND sync IN (0, 1)",
    )?;
    // Rows that follow one another without a gap, and so do their ids there, are one statement.
    let follows = |one: &Claimed, next: &Claimed| {
        next.id - one.id == 1 && next.remote_id - one.remote_id == 1
    };
    for run in rows.chunk_by(follows) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            set.execute([first.id, last.id, first.remote_id - first.id])?;
        }
    }
    Ok(())
}

/// Marks claimed rows as of unknown outcome and writes their ids down, or takes that mark away.
///
/// # Errors
/// As SQLite says.
pub fn history_unsure(db: &Db, rows: &[Claimed], unsure: bool) -> Result<()> {
    let mut set = db.prepare_cached(
        "UPDATE history SET sync = ?2, remote_id = ?3 WHERE id = ?1 AND sync IN (0, 1)",
    )?;
    for row in rows {
        set.execute([row.id, i64::from(unsure), row.remote_id])?;
    }
    Ok(())
}

/// Why a row waits that a reply left out: whoever looks it up and does not find it knows that it was refused.
const OMITTED: &str = "accepted and not listed";

/// Notes of rows of unknown outcome that the server's reply left them out.
///
/// # Errors
/// As SQLite says.
pub fn history_omitted(db: &Db, rows: &[Claimed]) -> Result<()> {
    let mut set =
        db.prepare_cached("UPDATE history SET park_reason = ?2 WHERE id = ?1 AND sync = 1")?;
    for row in rows {
        set.execute(params![row.id, OMITTED])?;
    }
    Ok(())
}

/// Whether [`history_omitted`] was noted of a row.
///
/// # Errors
/// As SQLite says.
pub fn is_omitted(db: &Db, id: i64) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM history WHERE id = ?1 AND sync = 1 AND park_reason = ?2)",
        )?
        .query_row(params![id, OMITTED], |row| row.get(0))?)
}

/// Takes a row's remote id away: another row has it there. The next claim gives a new one.
///
/// # Errors
/// As SQLite says.
pub fn history_unname(db: &Db, id: i64) -> Result<()> {
    db.prepare_cached(
        "UPDATE history SET remote_id = 0, sync = 0 WHERE id = ?1 AND sync IN (0, 1)",
    )?
    .execute([id])?;
    Ok(())
}

/// Shows a row as it is here; false when it is gone.
///
/// # Errors
/// As SQLite says.
pub fn with_row(db: &Db, id: i64, visit: &mut dyn FnMut(&HistoryRow<'_>)) -> Result<bool> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {HISTORY_COLUMNS} FROM history WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    visit(&read_history(row)?);
    Ok(true)
}

/// Sets a row aside with the server's reason; it keeps the id it was sent under.
///
/// # Errors
/// As SQLite says.
pub fn park_history(db: &Db, row: &Claimed, reason: &str) -> Result<()> {
    db.prepare_cached(
        "UPDATE history SET sync = 3, park_reason = ?2, remote_id = ?3
          WHERE id = ?1 AND sync IN (0, 1)",
    )?
    .execute(params![row.id, reason, row.remote_id])?;
    Ok(())
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
    let table = table.local();
    Ok(db.execute(&format!("UPDATE {table} SET sync = 0, park_reason = '' WHERE sync = 3"), [])?)
}

/// Rows that wait and rows that are set aside; what `status` and the report show.
///
/// # Errors
/// As SQLite says.
pub fn backlog(db: &Db, table: Table) -> Result<(i64, i64)> {
    let waiting = match table {
        Table::History => "SELECT count(*) FROM history WHERE sync IN (0, 1)",
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

/// The first local id in `after+1..=upto` that waits.
///
/// # Errors
/// As SQLite says.
pub fn first_unsent(db: &Db, after: i64, upto: i64) -> Result<Option<i64>> {
    Ok(db
        .prepare_cached(
            "SELECT min(id) FROM history INDEXED BY history_unsent
              WHERE sync IN (0, 1) AND id > ?1 AND id <= ?2",
        )?
        .query_row([after, upto], |row| row.get(0))?)
}

/// Whether a row up to this local id waits.
///
/// # Errors
/// As SQLite says.
pub fn waits_until(db: &Db, newest: i64) -> Result<bool> {
    Ok(db.query_row(
        "SELECT EXISTS (SELECT 1 FROM history WHERE sync IN (0, 1) AND id <= ?1)",
        [newest],
        |row| row.get(0),
    )?)
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

/// Deletes at most `limit` rows older than `before_us`; with `only_synced` those still to be sent,
/// or set aside, stay. How many went.
///
/// # Errors
/// As SQLite says.
pub fn prune(db: &Db, before_us: i64, only_synced: bool, limit: u32) -> Result<usize> {
    Ok(db
        .prepare_cached(
            "DELETE FROM history WHERE id IN (
               SELECT id FROM history INDEXED BY history_created
                WHERE created_us < ?1 AND (sync IN (2, 4) OR NOT ?2)
                ORDER BY created_us LIMIT ?3)",
        )?
        .execute(params![before_us, only_synced, limit])?)
}
