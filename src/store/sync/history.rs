//! Owns: `history` as the synchroniser sees it: which rows wait, are under way, set aside, or there.
//! May not: know HTTP or JSON.
//! Invariant: a row counts as sent by its own `sync`, or by the mark that moves over whole batches
//! ([`crate::store::names`]); the mark passes no row that waits.

use super::{Db, erasures_pending};
use crate::store::names::{self, Names, base, sent, waiting};
use crate::store::{Result, meta};
use crate::types::row::HistoryRow;
use crate::types::{ChatId, UserId};
use rusqlite::{Row, params};

/// The columns that [`read_history`] expects, in its order; what the mark says is told as if the row said so.
pub(in crate::store) const HISTORY_COLUMNS: &str = concat!(
    "id, CASE WHEN remote_id = 0 AND sync = 0 AND id <= ",
    sent!(),
    " THEN ",
    base!(),
    " + id ELSE remote_id END, CASE WHEN sync = 0 AND id <= ",
    sent!(),
    " THEN 2 ELSE sync END, chat_id, user_id, username, \
     message_text, response_text, model_used, metadata, created_us"
);
/// The same of rows that wait: the mark says nothing of them.
const WAITING_COLUMNS: &str = "id, remote_id, sync, chat_id, user_id, username, \
     message_text, response_text, model_used, metadata, created_us";

pub(in crate::store) fn read_history<'a>(row: &'a Row<'_>) -> rusqlite::Result<HistoryRow<'a>> {
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

/// Unsent rows in the order of their local ids, after `after` and up to `upto`, at most `rows_max`: those that were put
/// back first, by themselves. Each is shown to `take` with the id it has in Supabase; the first that `take` refuses is
/// left for another batch.
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
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    // INDEXED BY: without it the planner may walk the whole table by id.
    const AGAIN: &str = "history INDEXED BY history_again WHERE sync IN (1, 5)";
    const NEW: &str = "history INDEXED BY history_unsent WHERE sync IN (0, 1)";
    let sent = names::sent_upto(db)?;
    let places: &[_] = if unsure {
        &[(AGAIN, UNSURE, after)]
    } else {
        &[(AGAIN, AGAIN_TO_SEND, after), (NEW, TO_SEND, after.max(sent))]
    };
    for (place, state, after) in places {
        let mut statement = db.prepare_cached(&format!(
            "SELECT {WAITING_COLUMNS} FROM {place} AND sync = ?1 AND id > ?2 AND id <= ?3 {but_erased}
              ORDER BY id LIMIT ?4"
        ))?;
        let mut rows = statement.query(params![state, after, upto, limit])?;
        while let Some(row) = rows.next()? {
            let mut row = read_history(row)?;
            let unnamed = row.remote_id == 0;
            if unnamed {
                row.remote_id = names.base.saturating_add(row.id);
            }
            if !take(&row) {
                return Ok(claimed);
            }
            let HistoryRow { id, remote_id, created_us, .. } = row;
            claimed.push(Claimed { id, remote_id, fresh: unnamed, created_us });
        }
        if !claimed.is_empty() {
            break;
        }
    }
    Ok(claimed)
}

/// `history.sync` of rows that wait: beyond the mark, of unknown outcome, put back behind the mark.
const TO_SEND: i64 = 0;
const UNSURE: i64 = 1;
const AGAIN_TO_SEND: i64 = 5;

/// The most rows one claim gives, whatever the settings say.
pub const ROWS_MAX: usize = 5_000;

/// Settles claimed rows, in the order they were claimed: they are there, under these ids.
///
/// # Errors
/// As SQLite says.
pub fn history_sent(db: &Db, rows: &[Claimed]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut set = db.prepare_cached(
        // NOT INDEXED: the index of what is unsent changes under the statement, so it would first collect
        // what it finds there; by the table it changes each row as it comes. OR FAIL: what fails takes the whole
        // transaction along, so no copy of each page is kept for taking back the statement alone.
        "UPDATE OR FAIL history NOT INDEXED SET sync = 2, remote_id = id + ?3
          WHERE id BETWEEN ?1 AND ?2 AND sync IN (0, 1, 5)",
    )?;
    let base = meta::get_i64(db, names::BASE)?;
    let marked = names::sent_upto(db)?;
    let mut mark = marked;
    // Rows that follow one another without a gap, and so do their ids there, are settled as one.
    let follows = |one: &Claimed, next: &Claimed| {
        next.id - one.id == 1 && next.remote_id - one.remote_id == 1
    };
    for run in rows.chunk_by(follows) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let shift = first.remote_id - first.id;
        if base == Some(shift) && mark < first.id && may_pass(db, mark, first.id, last.id)? {
            mark = last.id;
            // One row of a batch says it for itself too: by that a salvage tells the base where `meta` is lost.
            set.execute([last.id, last.id, shift])?;
        } else {
            set.execute([first.id, last.id, shift])?;
        }
    }
    if mark > marked {
        names::mark_sent(db, mark)?;
    }
    Ok(())
}

/// Whether the mark may go on from `mark` to `last`, where the rows from `first` on have arrived: none may wait before
/// them, and none of them say for itself that its outcome is unknown.
fn may_pass(db: &Db, mark: i64, first: i64, last: i64) -> Result<bool> {
    Ok(!db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM history INDEXED BY history_unsent
                             WHERE sync IN (0, 1) AND id > ?1 AND id < ?2)
                 OR EXISTS (SELECT 1 FROM history INDEXED BY history_again
                             WHERE sync IN (1, 5) AND id >= ?2 AND id <= ?3)",
        )?
        .query_row([mark, first, last], |row| row.get(0))?)
}

/// Marks claimed rows as of unknown outcome and writes their ids down, or takes that mark away.
///
/// # Errors
/// As SQLite says.
pub fn history_unsure(db: &Db, rows: &[Claimed], unsure: bool) -> Result<()> {
    let mut set = db.prepare_cached(
        "UPDATE history SET sync = ?2, remote_id = ?3 WHERE id = ?1 AND sync IN (0, 1, 5)",
    )?;
    let sent = names::sent_upto(db)?;
    for row in rows {
        let state = match unsure {
            true => UNSURE,
            false => to_send(row.id, sent),
        };
        set.execute([row.id, state, row.remote_id])?;
    }
    Ok(())
}

/// What a row's `sync` is that waits, by where the mark stands.
fn to_send(id: i64, sent: i64) -> i64 {
    if id <= sent { AGAIN_TO_SEND } else { TO_SEND }
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
    let state = to_send(id, names::sent_upto(db)?);
    db.prepare_cached(
        "UPDATE history SET remote_id = 0, sync = ?2 WHERE id = ?1 AND sync IN (0, 1, 5)",
    )?
    .execute([id, state])?;
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
          WHERE id = ?1 AND sync IN (0, 1, 5)",
    )?
    .execute(params![row.id, reason, row.remote_id])?;
    Ok(())
}

/// The first local id in `after+1..=upto` that waits.
///
/// # Errors
/// As SQLite says.
pub fn first_unsent(db: &Db, after: i64, upto: i64) -> Result<Option<i64>> {
    Ok(db
        .prepare_cached(concat!(
            "SELECT min(id) FROM (SELECT min(id) AS id ",
            waiting!(again),
            " AND id > ?1 AND id <= ?2 UNION ALL SELECT min(id) ",
            waiting!(new),
            " AND id > ?1 AND id <= ?2)"
        ))?
        .query_row([after, upto], |row| row.get(0))?)
}

/// Whether a row up to this local id waits.
///
/// # Errors
/// As SQLite says.
pub fn waits_until(db: &Db, newest: i64) -> Result<bool> {
    Ok(db.query_row(
        concat!(
            "SELECT EXISTS (SELECT 1 ",
            waiting!(new),
            " AND id <= ?1) OR EXISTS (SELECT 1 ",
            waiting!(again),
            " AND id <= ?1)"
        ),
        [newest],
        |row| row.get(0),
    )?)
}

/// Deletes at most `limit` rows older than `before_us`; with `only_synced` those still to be sent,
/// or set aside, stay. How many went.
///
/// # Errors
/// As SQLite says.
pub fn prune(db: &Db, before_us: i64, only_synced: bool, limit: u32) -> Result<usize> {
    Ok(db
        .prepare_cached(concat!(
            "DELETE FROM history WHERE id IN (
                   SELECT id FROM history INDEXED BY history_created
                    WHERE created_us < ?1
                      AND (sync IN (2, 4) OR NOT ?2 OR (sync = 0 AND id <= ",
            sent!(),
            ")) ORDER BY created_us LIMIT ?3)"
        ))?
        .execute(params![before_us, only_synced, limit])?)
}
