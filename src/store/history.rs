//! Owns: what was said and answered, as the memory of sessions and as rows for Supabase.
//! May not: build prompts or send anything.

use super::Result;
use crate::types::{ChatId, TopicId, UnixMs, UserId};
use rusqlite::{Connection, params};

/// One answered question.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'a> {
    /// 0: without memory.
    pub session: i64,
    /// Where.
    pub chat: ChatId,
    /// The forum topic.
    pub topic: TopicId,
    /// Who asked.
    pub user: UserId,
    /// Without `@`; the first name where there is none.
    pub username: &'a str,
    /// The question.
    pub message: &'a str,
    /// The answer.
    pub response: &'a str,
    /// The model that answered.
    pub model: &'a str,
    /// A JSON object.
    pub metadata: &'a str,
    /// Microseconds since the epoch.
    pub created_us: i64,
}

/// Writes a turn down; it waits for synchronisation from now on.
///
/// # Errors
/// As SQLite says.
pub fn add(db: &Connection, turn: &Turn<'_>) -> Result<i64> {
    db.prepare_cached(
        "INSERT INTO history (session_id, topic_id, chat_id, user_id, username, message_text,
           response_text, model_used, metadata, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        turn.session,
        turn.topic.0,
        turn.chat.0,
        turn.user.0,
        turn.username,
        turn.message,
        turn.response,
        turn.model,
        turn.metadata,
        turn.created_us
    ])?;
    Ok(db.last_insert_rowid())
}

/// The last `limit` turns of a session, oldest first, as (question, answer).
///
/// # Errors
/// As SQLite says.
pub fn of_session(db: &Connection, session: i64, limit: u32) -> Result<Vec<(String, String)>> {
    if session == 0 || limit == 0 {
        return Ok(Vec::new());
    }
    let mut turns: Vec<(String, String)> = db
        .prepare_cached(
            "SELECT coalesce(message_text, ''), coalesce(response_text, '') FROM history
              WHERE session_id = ?1 AND session_id != 0 ORDER BY id DESC LIMIT ?2",
        )?
        .query_map(params![session, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    turns.reverse();
    Ok(turns)
}

/// When the newest question was stored; what a clock that boots in 1970 is corrected by. History is
/// not asked: imported rows may carry any year.
///
/// # Errors
/// As SQLite says.
pub fn newest_ms(db: &Connection) -> Result<UnixMs> {
    Ok(db.query_row(
        "SELECT coalesce(max(received_ms), 0) FROM
           (SELECT received_ms FROM inbox ORDER BY id DESC LIMIT 100)",
        [],
        |row| row.get(0),
    )?)
}
