//! Owns: rows on their way in and out of the database in bulk: import, export, comparison.
//! May not: know files, JSON or HTTP.
//! Invariant: importing a row again changes nothing; an imported row is never sent back; no function
//! here holds more than one page of rows.

use super::Result;
use super::names::{self, REMOTE_ID_MIN, base, sent};
use super::sync::{self, Db, HISTORY_COLUMNS, read_history, registry_seen};
use crate::types::row::{HistoryRow, RegistryRow};
use crate::types::{ChatId, UserId};
use rusqlite::{OptionalExtension, params};

/// What became of an imported row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is here now.
    New,
    /// It was here.
    Known,
}

/// Brings a row of `chat_history` in. With a remote id it came from there and is never sent; without
/// one it was never there and waits to be sent. `alias` is a second id it may be known by here.
///
/// # Errors
/// As SQLite says.
pub fn import_history(db: &Db, row: &HistoryRow<'_>, alias: Option<i64>) -> Result<Imported> {
    for id in [Some(row.remote_id), alias].into_iter().flatten().filter(|id| *id != 0) {
        if names::local_id(db, id)?.is_some() {
            return Ok(Imported::Known);
        }
    }
    // A file may hold a row that is here without its id, and the other way round.
    let same = db
        .prepare_cached(concat!(
            "SELECT id FROM history INDEXED BY history_created
              WHERE created_us = ?1 AND chat_id = ?2 AND user_id = ?3
                AND message_text IS ?4 AND response_text IS ?5
                AND (?6 = 0 OR (remote_id = 0 AND (sync != 0 OR id > ",
            sent!(),
            "))) LIMIT 1"
        ))?
        .query_row(
            params![
                row.created_us,
                row.chat.0,
                row.user.0,
                row.message,
                row.response,
                row.remote_id
            ],
            |row| row.get::<_, i64>(0),
        )
        .optional()?;
    if let Some(id) = same {
        if row.remote_id != 0 {
            db.prepare_cached(
                "UPDATE history SET remote_id = ?2, sync = 4 WHERE id = ?1 AND sync IN (0, 3, 5)",
            )?
            .execute(params![id, row.remote_id])?;
        }
        return Ok(Imported::Known);
    }
    db.prepare_cached(
        "INSERT INTO history (chat_id, user_id, username, message_text, response_text, model_used,
           metadata, created_us, sync, remote_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        row.chat.0,
        row.user.0,
        row.username,
        row.message,
        row.response,
        row.model,
        row.metadata,
        row.created_us,
        // Brought in, so never sent from here: whoever wrote it sends it (contract §3).
        4,
        row.remote_id
    ])?;
    Ok(Imported::New)
}

/// Brings a row of `user_registry` in. Its count is what the local one builds on from now on; a pair
/// whose remote count is known here already stays as it is.
///
/// # Errors
/// As SQLite says.
pub fn import_registry(db: &Db, row: &RegistryRow) -> Result<Imported> {
    let here: Option<(i64, i64, i64)> = db
        .prepare_cached(
            "SELECT synced_count, sending_count, created_us FROM registry
              WHERE user_id = ?1 AND chat_id = ?2",
        )?
        .query_row(params![row.user.0, row.chat.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    match here {
        // Never seen there, nothing under way: what is there was counted by others.
        Some((-1, 0, created_us)) if created_us != row.created_us => {
            registry_seen(db, row.user, row.chat, row.count, 0)?;
            Ok(Imported::New)
        }
        Some(_) => Ok(Imported::Known),
        None => {
            db.prepare_cached(
                "INSERT INTO registry (user_id, chat_id, username, first_name, keyword,
                   trigger_count, synced_count, last_us, created_us, sync)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, 2)",
            )?
            .execute(params![
                row.user.0,
                row.chat.0,
                row.username,
                row.first_name,
                row.keyword,
                row.count,
                row.last_us,
                row.created_us
            ])?;
            Ok(Imported::New)
        }
    }
}

/// Shows the row that has this id in Supabase, or that may be there under it; false when there is none.
///
/// # Errors
/// As SQLite says.
pub fn with_history(
    db: &Db,
    remote_id: i64,
    visit: &mut dyn FnMut(&HistoryRow<'_>),
) -> Result<bool> {
    match names::local_id(db, remote_id)? {
        Some(id) => sync::with_row(db, id, visit),
        None => Ok(false),
    }
}

/// Remote ids in `from..=to` of rows that should be in Supabase and were made since `since_us`, in
/// order, at most `limit`.
///
/// # Errors
/// As SQLite says.
pub fn remote_ids(db: &Db, from: i64, to: i64, since_us: i64, limit: usize) -> Result<Vec<i64>> {
    db.prepare_cached(concat!(
        "SELECT remote_id FROM history INDEXED BY history_remote
          WHERE remote_id != 0 AND remote_id BETWEEN ?1 AND ?2
            AND (sync IN (2, 3, 4) OR (sync = 0 AND id <= ",
        sent!(),
        ")) AND created_us >= ?3
         UNION ALL
         SELECT ",
        base!(),
        " + id FROM history
          WHERE id >= ?1 - ",
        base!(),
        " AND id <= min(?2 - ",
        base!(),
        ", ",
        sent!(),
        ") AND sync = 0 AND remote_id = 0 AND created_us >= ?3
         ORDER BY 1 LIMIT ?4"
    ))?
    .query_map(params![from, to, since_us, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        row.get(0)
    })?
    .map(|id| Ok(id?))
    .collect()
}

/// The oldest row here, in microseconds.
///
/// # Errors
/// As SQLite says.
pub fn oldest_us(db: &Db) -> Result<Option<i64>> {
    Ok(db.query_row("SELECT min(created_us) FROM history", [], |row| row.get(0))?)
}

/// The count of a pair and whether it is settled (sent, nothing waiting).
///
/// # Errors
/// As SQLite says.
pub fn registry_count(db: &Db, user: UserId, chat: ChatId) -> Result<Option<(i64, bool)>> {
    Ok(db
        .prepare_cached(
            "SELECT trigger_count, sync = 2 FROM registry WHERE user_id = ?1 AND chat_id = ?2",
        )?
        .query_row(params![user.0, chat.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Settled pairs after the given one that were triggered since `since_us`, at most `limit`.
///
/// # Errors
/// As SQLite says.
pub fn settled_pairs(
    db: &Db,
    after: (UserId, ChatId),
    since_us: i64,
    limit: usize,
) -> Result<Vec<RegistryRow>> {
    db.prepare_cached(
        "SELECT user_id, chat_id FROM registry
          WHERE (user_id, chat_id) > (?1, ?2) AND sync = 2 AND last_us >= ?3
          ORDER BY user_id, chat_id LIMIT ?4",
    )?
    .query_map(
        params![after.0.0, after.1.0, since_us, i64::try_from(limit).unwrap_or(i64::MAX)],
        |row| {
            Ok(RegistryRow {
                user: UserId(row.get(0)?),
                chat: ChatId(row.get(1)?),
                ..RegistryRow::default()
            })
        },
    )?
    .map(|row| Ok(row?))
    .collect()
}

/// Which rows an export wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this person.
    pub user: Option<i64>,
    /// Only this chat.
    pub chat: Option<i64>,
    /// Only since then, microseconds.
    pub since_us: Option<i64>,
}

/// Where a scan stands: the time and the local id of the last row shown.
pub type Place = (i64, i64);

/// Shows at most `limit` rows after `after`, oldest first; where it stands then, or `None` at the end.
///
/// # Errors
/// As SQLite says, or what `visit` says.
pub fn scan<E: From<super::StoreError>>(
    db: &Db,
    filter: &Filter,
    after: Place,
    limit: u32,
    visit: &mut dyn FnMut(&HistoryRow<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<Option<Place>, E> {
    let sql = |error: rusqlite::Error| E::from(super::StoreError::from(error));
    let mut statement = db
        .prepare_cached(&format!(
            "SELECT {HISTORY_COLUMNS} FROM history INDEXED BY history_created
              WHERE (created_us, id) > (?1, ?2) AND (?3 IS NULL OR user_id = ?3)
                AND (?4 IS NULL OR chat_id = ?4) AND created_us >= coalesce(?5, created_us)
              ORDER BY created_us, id LIMIT ?6"
        ))
        .map_err(sql)?;
    let since = after.0.max(filter.since_us.unwrap_or(i64::MIN).saturating_sub(1));
    let id = if since == after.0 { after.1 } else { i64::MAX };
    let mut rows = statement
        .query(params![since, id, filter.user, filter.chat, filter.since_us, limit])
        .map_err(sql)?;
    let mut last = None;
    while let Some(row) = rows.next().map_err(sql)? {
        let row = read_history(row).map_err(sql)?;
        visit(&row)?;
        last = Some((row.created_us, row.id));
    }
    Ok(last)
}

/// Whether an id in Supabase was given by a bot of this kind, whose times are UTC.
pub fn is_own_range(remote_id: i64) -> bool {
    remote_id >= REMOTE_ID_MIN
}
