//! Owns: the files of a waiting question, and albums that arrive message by message.
//! May not: hold their bytes.

use crate::store::Result;
use crate::types::{ChatId, Media, MediaKind, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Adds one file to a waiting question.
///
/// # Errors
/// As SQLite says.
pub fn add_media(db: &Connection, id: i64, n: usize, media: &Media) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO inbox_media (inbox_id, n, kind, file_id, size, mime, name, duration_s)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        id,
        i64::try_from(n).unwrap_or(i64::MAX),
        media.kind.name(),
        media.file_id,
        i64::try_from(media.size).unwrap_or(i64::MAX),
        media.mime.as_deref().unwrap_or(""),
        media.name.as_deref().unwrap_or(""),
        media.duration_s,
    ])?;
    Ok(())
}

/// Notes that a file of a waiting question's album is left out, so that its answer can say so.
///
/// # Errors
/// As SQLite says.
pub fn leave_out(db: &Connection, id: i64) -> Result<()> {
    db.prepare_cached("UPDATE inbox SET left_out = left_out + 1 WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// How many files of a question were left out.
///
/// # Errors
/// As SQLite says.
pub fn left_out(db: &Connection, id: i64) -> Result<u32> {
    Ok(db
        .prepare_cached("SELECT left_out FROM inbox WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// This person's waiting question of this album in this chat, with how many files it has.
///
/// # Errors
/// As SQLite says.
pub fn waiting_album(
    db: &Connection,
    chat: ChatId,
    user: UserId,
    album: &str,
) -> Result<Option<(i64, usize)>> {
    Ok(db
        .prepare_cached(
            "SELECT id, (SELECT count(*) FROM inbox_media WHERE inbox_id = inbox.id) FROM inbox
              WHERE user_id = ?2 AND state = 1 AND chat_id = ?1 AND album = ?3 ORDER BY id LIMIT 1",
        )?
        .query_row(params![chat.0, user.0, album], |row| {
            Ok((row.get(0)?, usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
        })
        .optional()?)
}

/// The files of a question, in their order.
///
/// # Errors
/// As SQLite says.
pub(super) fn of_question(db: &Connection, id: i64) -> Result<Vec<Media>> {
    Ok(db
        .prepare_cached(
            "SELECT kind, file_id, size, mime, name, duration_s FROM inbox_media
              WHERE inbox_id = ?1 ORDER BY n",
        )?
        .query_map([id], read_media)?
        .collect::<rusqlite::Result<_>>()?)
}

fn read_media(row: &Row<'_>) -> rusqlite::Result<Media> {
    let kind: String = row.get(0)?;
    let optional = |text: String| (!text.is_empty()).then_some(text);
    Ok(Media {
        kind: MediaKind::ALL
            .into_iter()
            .find(|known| known.name() == kind)
            .unwrap_or(MediaKind::Unsupported),
        file_id: row.get(1)?,
        size: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
        mime: optional(row.get(3)?),
        name: optional(row.get(4)?),
        duration_s: row.get(5)?,
    })
}
