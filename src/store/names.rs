//! Owns: which id a row has in Supabase before it is first sent: this installation's base plus the local id; and
//! the mark up to which rows are there.
//! May not: send, know why a base is given up.
//! Invariant: the base and the last local id named by it are on disk before a row up to that id is sent;
//! naming and marking by rule and not row by row, a batch costs no write before it leaves, and one when it arrived.

use super::{Db, Result, meta};
use rusqlite::{OptionalExtension, params};

/// First remote id of all installations: no sequence gets there, and JSON numbers carry it exactly.
pub const REMOTE_ID_MIN: i64 = 1 << 52;
/// One past the last remote id; numbers from here on are no longer exact in JSON.
pub const REMOTE_ID_END: i64 = 1 << 53;
/// Rows one installation may number before its range could leave the exact numbers.
const REMOTE_ROWS_MAX: i64 = 1 << 44;
/// Name of the fact that holds this installation's first remote id.
pub const BASE: &str = "remote_base";
/// Name of the fact that holds the last local id that was named by the base.
const UPTO: &str = "remote_upto";

/// Name of the fact that holds the mark: a row up to this local id whose `sync` is 0 is there, under its name.
const SENT: &str = "remote_sent";

/// The mark, as a term of SQL that a statement works out once.
macro_rules! sent {
    () => {
        "(SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'remote_sent')"
    };
}
/// The base, likewise.
macro_rules! base {
    () => {
        "(SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'remote_base')"
    };
}
/// The rows of `history` that wait: those beyond the mark, and those behind it that were put back.
macro_rules! waiting {
    (new) => {
        concat!(
            "FROM history INDEXED BY history_unsent WHERE sync IN (0, 1) AND id > ",
            crate::store::names::sent!()
        )
    };
    (again) => {
        concat!(
            "FROM history INDEXED BY history_again WHERE sync IN (1, 5) AND id <= ",
            crate::store::names::sent!()
        )
    };
}
pub(super) use {base, sent, waiting};

/// How rows without a remote id of their own are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// A row's remote id is this plus its local id.
    pub base: i64,
    /// The last local id that may have been sent under such a name; beyond it nothing was.
    pub upto: i64,
}

/// The names in force; the base is drawn from `dice` the first time.
///
/// # Errors
/// As SQLite says.
pub fn load(db: &Db, dice: u64) -> Result<Names> {
    match meta::get_i64(db, BASE)? {
        Some(base) => Ok(Names { base, upto: meta::get_i64(db, UPTO)?.unwrap_or(0) }),
        None => draw(db, dice),
    }
}

/// Names rows up to `upto`. Where one of those names is taken here by another row, as by an import
/// after an old backup was restored, all get new ones.
///
/// Commit with [`super::Durability::Disk`] before any of them is sent.
///
/// # Errors
/// As SQLite says.
pub fn extend(db: &Db, names: Names, upto: i64, dice: u64) -> Result<Names> {
    let Names { base, upto: from } = names;
    let taken: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM history WHERE remote_id != 0
               AND remote_id BETWEEN ?1 AND ?2 AND remote_id != ?3 + id)",
        )?
        .query_row(
            params![base.saturating_add(from).saturating_add(1), base.saturating_add(upto), base],
            |row| row.get(0),
        )?;
    let base = if taken { redraw(db, names, dice)?.base } else { base };
    meta::set(db, UPTO, &upto.to_string())?;
    Ok(Names { base, upto })
}

/// Gives rows new names: the old range was found in use by rows that are not ours, as happens after a
/// backup was restored. What was sent, or may have been, under its old name keeps it.
///
/// # Errors
/// As SQLite says.
pub fn redraw(db: &Db, names: Names, dice: u64) -> Result<Names> {
    // NOT INDEXED, OR FAIL: as in the settlement of a batch.
    db.execute(
        concat!(
            "UPDATE OR FAIL history NOT INDEXED
                SET remote_id = CASE remote_id WHEN 0 THEN ?1 + id ELSE remote_id END,
                    sync = CASE WHEN sync = 0 AND id <= ",
            sent!(),
            " THEN 2 WHEN sync = 5 THEN 0 ELSE sync END
              WHERE sync IN (0, 1, 5) AND id <= ?2"
        ),
        params![names.base, names.upto],
    )?;
    draw(db, dice)
}

fn draw(db: &Db, dice: u64) -> Result<Names> {
    let width = REMOTE_ID_END - REMOTE_ID_MIN - REMOTE_ROWS_MAX;
    let drawn = i64::try_from(dice >> 1).unwrap_or(0) % width;
    let base = REMOTE_ID_MIN + drawn;
    meta::set(db, BASE, &base.to_string())?;
    meta::set(db, UPTO, "0")?;
    meta::set(db, SENT, "0")?;
    Ok(Names { base, upto: 0 })
}

/// The mark: a row up to this local id whose `sync` is 0 is there.
///
/// # Errors
/// As SQLite says.
pub fn sent_upto(db: &Db) -> Result<i64> {
    Ok(meta::get_i64(db, SENT)?.unwrap_or(0))
}

/// Moves the mark to `upto`: all that waited between it and there has arrived under its name.
///
/// # Errors
/// As SQLite says.
pub(super) fn mark_sent(db: &Db, upto: i64) -> Result<()> {
    meta::set(db, SENT, &upto.to_string())
}

/// The base by the newest row that says under which name it was sent; for a database that lost its facts.
///
/// # Errors
/// As SQLite says.
pub(super) fn base_by_rows(db: &Db) -> Result<Option<i64>> {
    Ok(db
        .prepare_cached(
            "SELECT remote_id - id FROM history WHERE sync = 2 AND remote_id >= ?1
              ORDER BY id DESC LIMIT 1",
        )?
        .query_row([REMOTE_ID_MIN], |row| row.get(0))
        .optional()?)
}

/// The local id of the row that has this id in Supabase, or that may have arrived there under it.
///
/// # Errors
/// As SQLite says.
pub fn local_id(db: &Db, remote_id: i64) -> Result<Option<i64>> {
    let known = db
        .prepare_cached("SELECT id FROM history WHERE remote_id = ?1 AND remote_id != 0")?
        .query_row([remote_id], |row| row.get(0))
        .optional()?;
    if known.is_some() || remote_id < REMOTE_ID_MIN {
        return Ok(known);
    }
    let Some(base) = meta::get_i64(db, BASE)? else { return Ok(None) };
    let upto = meta::get_i64(db, UPTO)?.unwrap_or(0);
    let id = remote_id.saturating_sub(base);
    if !(1..=upto).contains(&id) {
        return Ok(None);
    }
    Ok(db
        .prepare_cached(
            "SELECT id FROM history WHERE id = ?1 AND remote_id = 0 AND sync IN (0, 1, 5)",
        )?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sync::{claim_history, history_unname};
    use crate::store::{Durability, Store};

    fn store(rows: usize) -> Store {
        let mut store = Store::in_memory().unwrap();
        store
            .write(Durability::Process, |db| {
                for _ in 0..rows {
                    db.execute(
                        "INSERT INTO history (chat_id, user_id, created_us) VALUES (1, 2, 3)",
                        [],
                    )?;
                }
                Ok(())
            })
            .unwrap();
        store
    }

    #[test]
    fn names_stay_until_they_are_given_up() {
        let store = store(9);
        let db = store.connection();
        let names = load(db, 77).unwrap();
        assert_eq!(load(db, 5).unwrap(), names);
        let names = extend(db, names, 6, 0).unwrap();
        assert_eq!(local_id(db, names.base + 6).unwrap(), Some(6));
        assert_eq!(local_id(db, names.base + 7).unwrap(), None, "never sent under that name");
        let claimed = claim_history(db, names, 0, 6, 9, false, &mut |_| true).unwrap();
        assert!(claimed.iter().all(|row| row.remote_id == names.base + row.id), "{claimed:?}");

        let new = redraw(db, names, 1 << 40).unwrap();
        assert_ne!(new.base, names.base);
        history_unname(db, 2).unwrap();
        let new = extend(db, new, 9, 0).unwrap();
        let claimed = claim_history(db, new, 0, 9, 9, false, &mut |_| true).unwrap();
        for row in &claimed {
            let base = if row.id > 6 || row.id == 2 { new.base } else { names.base };
            assert_eq!(row.remote_id, base + row.id, "what may have been sent keeps its name");
        }
        assert_eq!(local_id(db, names.base + 3).unwrap(), Some(3));
    }

    #[test]
    fn a_name_that_an_imported_row_bears_is_not_given_again() {
        let store = store(3);
        let db = store.connection();
        let names = load(db, 77).unwrap();
        db.execute("UPDATE history SET remote_id = ?1, sync = 4 WHERE id = 1", [names.base + 2])
            .unwrap();
        let extended = extend(db, names, 3, 1 << 50).unwrap();
        assert_ne!(extended.base, names.base);
        assert_eq!(extended.upto, 3);
    }
}
