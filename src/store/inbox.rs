//! Owns: the queue of questions: taken in once, served by class, in order inside a lane.
//! May not: know why a question is asked or what is answered.
//! Invariant: at most one row of a lane is `asking`, and only the lane's first unfinished row is `head`.

mod files;

pub use files::{add_media, leave_out, left_out, waiting_album};

use super::Result;
use crate::types::{ChatId, Lane, Media, MessageId, TopicId, UnixMs, UpdateId, UserId};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

/// Finished rows are remembered this long, so that a repeated update is known.
pub const REMEMBER_MS: i64 = 2 * crate::types::DAY_MS;
/// Rows forgotten at once, so that pruning never holds the loop for long.
pub const PRUNE_ROWS_MAX: u32 = 500;

/// A question on its way into the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Where it is answered.
    pub lane: Lane,
    /// The message to reply to.
    pub message: MessageId,
    /// Who asks.
    pub user: UserId,
    /// Role's priority × 4 + tier.
    pub class: i64,
    /// 0: no memory.
    pub session: i64,
    /// Which round of the session this is, from 1; 0 without a session.
    pub round: u32,
    /// Rounds the session has.
    pub rounds_max: u32,
    /// The role's name when it was decided.
    pub role: &'static str,
    /// What the person is called.
    pub name: String,
    /// `zh` or `en`.
    pub lang: &'static str,
    /// The question itself.
    pub text: String,
    /// What it replies to.
    pub context: String,
    /// Album id, empty for none.
    pub album: String,
    /// Whether the answer begins with the person's name.
    pub addressed: bool,
    /// Files.
    pub media: Vec<Media>,
}

/// A question taken for asking.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// The row.
    pub id: i64,
    /// When it was stored.
    pub received_ms: UnixMs,
    /// Counting this one.
    pub attempts: u32,
    /// The role's name.
    pub role: String,
    /// `zh` or `en`.
    pub lang: String,
    /// Whether the person was told that it may take long.
    pub told: bool,
    /// The message that shows the growing answer and becomes it; 0 none.
    pub preview: MessageId,
    /// All else.
    pub question: Queued,
}

/// Takes an update in; `None` when it is known already.
///
/// # Errors
/// As SQLite says.
pub fn accept(db: &Connection, update: UpdateId, now_ms: UnixMs) -> Result<Option<i64>> {
    let added = db
        .prepare_cached(
            "INSERT INTO inbox (update_id, state, received_ms, done_ms) VALUES (?1, 3, ?2, ?2)
             ON CONFLICT (update_id) DO NOTHING",
        )?
        .execute(params![update.0, now_ms])?;
    Ok((added == 1).then(|| db.last_insert_rowid()))
}

/// When the newest update that is still remembered came; 0 without any.
///
/// # Errors
/// As SQLite says.
pub fn newest_ms(db: &Connection) -> Result<UnixMs> {
    Ok(db
        .query_row("SELECT received_ms FROM inbox ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// Sets an update aside with its reason and its masked text.
///
/// # Errors
/// As SQLite says.
pub fn park(db: &Connection, id: i64, reason: &str, body: &str, now_ms: UnixMs) -> Result<()> {
    db.prepare_cached(
        "UPDATE inbox SET state = 4, reason = ?2, body = ?3, done_ms = ?4, head = 0 WHERE id = ?1",
    )?
    .execute(params![id, reason, body, now_ms])?;
    Ok(())
}

/// Puts an accepted update into the queue as a question.
///
/// # Errors
/// As SQLite says.
pub fn enqueue(db: &Connection, id: i64, question: &Queued) -> Result<()> {
    let first: bool = db
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM inbox
              WHERE chat_id = ?1 AND topic_id = ?2 AND state IN (1, 2))",
        )?
        .query_row(params![question.lane.chat.0, question.lane.topic.0], |row| row.get(0))?;
    db.prepare_cached(
        "UPDATE inbox SET state = 1, done_ms = 0, chat_id = :chat, topic_id = :topic,
           message_id = :message, user_id = :user, class = :class, head = :head,
           session_id = :session, round = :round, rounds_max = :rounds_max, role = :role,
           name = :name, lang = :lang, text = :text, context = :context, album = :album,
           addressed = :addressed
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": id,
        ":chat": question.lane.chat.0,
        ":topic": question.lane.topic.0,
        ":message": question.message.0,
        ":user": question.user.0,
        ":class": question.class,
        ":head": first,
        ":session": question.session,
        ":round": question.round,
        ":rounds_max": question.rounds_max,
        ":role": question.role,
        ":name": question.name,
        ":lang": question.lang,
        ":text": question.text,
        ":context": question.context,
        ":album": question.album,
        ":addressed": question.addressed,
    })?;
    for (n, media) in question.media.iter().enumerate() {
        add_media(db, id, n, media)?;
    }
    Ok(())
}

/// Replaces the text of a question that nobody has taken up yet; false when there is none.
///
/// # Errors
/// As SQLite says.
pub fn edit(db: &Connection, chat: ChatId, message: MessageId, text: &str) -> Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE inbox SET text = ?3 WHERE chat_id = ?1 AND message_id = ?2 AND state = 1",
        )?
        .execute(params![chat.0, message.0, text])?;
    Ok(changed > 0)
}

/// Lengthens a waiting question's text (another caption of its album, a joined message).
///
/// # Errors
/// As SQLite says.
pub fn append_text(db: &Connection, id: i64, text: &str) -> Result<()> {
    db.prepare_cached(
        "UPDATE inbox SET text = CASE WHEN text = '' THEN ?2 ELSE text || char(10) || ?2 END
          WHERE id = ?1",
    )?
    .execute(params![id, text])?;
    Ok(())
}

/// Delays a waiting question, for instance until its album is complete.
///
/// # Errors
/// As SQLite says.
pub fn delay(db: &Connection, id: i64, due_ms: UnixMs) -> Result<()> {
    db.prepare_cached("UPDATE inbox SET due_ms = ?2 WHERE id = ?1")?
        .execute(params![id, due_ms])?;
    Ok(())
}

/// The longest-waiting takeable question of a class: its row and when it was stored.
///
/// # Errors
/// As SQLite says.
pub fn first_of_class(
    db: &Connection,
    class: i64,
    now_ms: UnixMs,
) -> Result<Option<(i64, UnixMs)>> {
    Ok(db
        .prepare_cached(
            "SELECT id, received_ms FROM inbox
              WHERE state = 1 AND head = 1 AND class = ?1 AND due_ms <= ?2
              ORDER BY received_ms, id LIMIT 1",
        )?
        .query_row(params![class, now_ms], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Takeable questions of a class that were stored before `before_ms`, oldest first.
///
/// # Errors
/// As SQLite says.
pub fn overdue(db: &Connection, class: i64, before_ms: UnixMs, limit: u32) -> Result<Vec<i64>> {
    db.prepare_cached(
        "SELECT id FROM inbox WHERE state = 1 AND head = 1 AND class = ?1 AND received_ms < ?2
          ORDER BY received_ms, id LIMIT ?3",
    )?
    .query_map(params![class, before_ms, limit], |row| row.get(0))?
    .map(|id| Ok(id?))
    .collect()
}

/// The soonest instant after `now_ms` at which a delayed question becomes takeable.
///
/// # Errors
/// As SQLite says.
pub fn next_due_ms(db: &Connection, now_ms: UnixMs) -> Result<Option<UnixMs>> {
    Ok(db
        .prepare_cached(
            "SELECT min(due_ms) FROM inbox WHERE state = 1 AND head = 1 AND due_ms > ?1",
        )?
        .query_row([now_ms], |row| row.get(0))?)
}

/// Takes a question for asking: counts the attempt before the work.
///
/// # Errors
/// As SQLite says.
pub fn claim(db: &Connection, id: i64) -> Result<Asking> {
    db.prepare_cached("UPDATE inbox SET state = 2, attempts = attempts + 1 WHERE id = ?1")?
        .execute([id])?;
    load(db, id)
}

/// A question as it stands.
///
/// # Errors
/// As SQLite says.
pub fn load(db: &Connection, id: i64) -> Result<Asking> {
    let mut asking = db
        .prepare_cached(
            "SELECT id, received_ms, attempts, role, lang, told, chat_id, topic_id, message_id,
               user_id, class, session_id, round, rounds_max, name, text, context, album, addressed,
               preview_id
             FROM inbox WHERE id = ?1",
        )?
        .query_row([id], read_asking)?;
    asking.question.media = files::of_question(db, id)?;
    Ok(asking)
}

fn read_asking(row: &Row<'_>) -> rusqlite::Result<Asking> {
    Ok(Asking {
        id: row.get(0)?,
        received_ms: row.get(1)?,
        attempts: row.get(2)?,
        role: row.get(3)?,
        lang: row.get(4)?,
        told: row.get(5)?,
        preview: MessageId(row.get(19)?),
        question: Queued {
            lane: Lane { chat: ChatId(row.get(6)?), topic: TopicId(row.get(7)?) },
            message: MessageId(row.get(8)?),
            user: UserId(row.get(9)?),
            class: row.get(10)?,
            session: row.get(11)?,
            round: row.get(12)?,
            rounds_max: row.get(13)?,
            role: "",
            name: row.get(14)?,
            lang: "",
            text: row.get(15)?,
            context: row.get(16)?,
            album: row.get(17)?,
            addressed: row.get(18)?,
            media: Vec::new(),
        },
    })
}

/// Remembers that the person was told of a long wait.
///
/// # Errors
/// As SQLite says.
pub fn set_told(db: &Connection, id: i64) -> Result<()> {
    db.prepare_cached("UPDATE inbox SET told = 1 WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The message that shows the growing answer; 0 none.
///
/// # Errors
/// As SQLite says.
pub fn preview(db: &Connection, id: i64) -> Result<MessageId> {
    Ok(db
        .prepare_cached("SELECT preview_id FROM inbox WHERE id = ?1")?
        .query_row([id], |row| row.get(0).map(MessageId))?)
}

/// Remembers the message that shows the growing answer, so that no second one is ever begun.
///
/// # Errors
/// As SQLite says.
pub fn set_preview(db: &Connection, id: i64, message: MessageId) -> Result<()> {
    db.prepare_cached("UPDATE inbox SET preview_id = ?2 WHERE id = ?1")?
        .execute(params![id, message.0])?;
    Ok(())
}

/// Ends a question and lets the next of its lane come forward: that one's class. People's words
/// leave the row.
///
/// # Errors
/// As SQLite says.
pub fn finish(db: &Connection, id: i64, lane: Lane, now_ms: UnixMs) -> Result<Option<i64>> {
    db.prepare_cached(
        "UPDATE inbox SET state = 3, head = 0, text = '', context = '', done_ms = ?2 WHERE id = ?1",
    )?
    .execute(params![id, now_ms])?;
    db.prepare_cached("DELETE FROM inbox_media WHERE inbox_id = ?1")?.execute([id])?;
    Ok(db
        .prepare_cached(
            "UPDATE inbox SET head = 1 WHERE id =
               (SELECT min(id) FROM inbox WHERE chat_id = ?1 AND topic_id = ?2 AND state IN (1, 2))
             RETURNING class",
        )?
        .query_row(params![lane.chat.0, lane.topic.0], |row| row.get(0))
        .optional()?)
}

/// Puts a question back to the front of its lane, not to be taken before `due_ms`.
///
/// # Errors
/// As SQLite says.
pub fn put_back(db: &Connection, id: i64, due_ms: UnixMs) -> Result<()> {
    db.prepare_cached("UPDATE inbox SET state = 1, due_ms = ?2 WHERE id = ?1 AND state = 2")?
        .execute(params![id, due_ms])?;
    Ok(())
}

/// Puts a question back whose attempt did not count: nothing left this machine.
///
/// # Errors
/// As SQLite says.
pub fn put_back_uncounted(db: &Connection, id: i64, due_ms: UnixMs) -> Result<()> {
    db.prepare_cached(
        "UPDATE inbox SET state = 1, due_ms = ?2, attempts = max(attempts - 1, 0)
          WHERE id = ?1 AND state = 2",
    )?
    .execute(params![id, due_ms])?;
    Ok(())
}

/// Questions whose asking was cut off by the end of an earlier process wait again.
///
/// # Errors
/// As SQLite says.
pub fn recover(db: &Connection) -> Result<usize> {
    Ok(db.execute("UPDATE inbox SET state = 1, due_ms = 0 WHERE state = 2", [])?)
}

/// How many questions wait or are being asked.
///
/// # Errors
/// As SQLite says.
pub fn pending(db: &Connection) -> Result<u32> {
    Ok(db
        .prepare_cached("SELECT count(*) FROM inbox INDEXED BY inbox_user WHERE state IN (1, 2)")?
        .query_row([], |row| row.get(0))?)
}

/// How many questions of this person wait or are being asked, counted up to `limit`.
///
/// # Errors
/// As SQLite says.
pub fn pending_of(db: &Connection, user: UserId, limit: u32) -> Result<u32> {
    Ok(db
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM inbox
              WHERE user_id = ?1 AND state IN (1, 2) LIMIT ?2)",
        )?
        .query_row(params![user.0, limit], |row| row.get(0))?)
}

/// The same of this chat, in all its topics.
///
/// # Errors
/// As SQLite says.
pub fn pending_in(db: &Connection, chat: ChatId, limit: u32) -> Result<u32> {
    Ok(db
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM inbox
              WHERE chat_id = ?1 AND state IN (1, 2) LIMIT ?2)",
        )?
        .query_row(params![chat.0, limit], |row| row.get(0))?)
}

/// The last waiting question of this lane, when it is this person's: what a further message may join.
///
/// # Errors
/// As SQLite says.
pub fn last_waiting(db: &Connection, lane: Lane) -> Result<Option<(i64, UserId, UnixMs, bool)>> {
    Ok(db
        .prepare_cached(
            "SELECT id, user_id, received_ms, state = 1 AND head = 0 FROM inbox
              WHERE chat_id = ?1 AND topic_id = ?2 AND state IN (1, 2) ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![lane.chat.0, lane.topic.0], |row| {
            Ok((row.get(0)?, UserId(row.get(1)?), row.get(2)?, row.get(3)?))
        })
        .optional()?)
}

/// Moves everything that waits in a group to the supergroup it became.
///
/// # Errors
/// As SQLite says.
pub fn migrate_chat(db: &Connection, from: ChatId, to: ChatId) -> Result<()> {
    db.execute(
        "UPDATE inbox SET chat_id = ?2, preview_id = 0 WHERE chat_id = ?1 AND state IN (1, 2)",
        params![from.0, to.0],
    )?;
    Ok(())
}

/// Forgets finished rows older than [`REMEMBER_MS`], a bounded number at once.
///
/// # Errors
/// As SQLite says.
pub fn prune(db: &Connection, now_ms: UnixMs) -> Result<usize> {
    Ok(db
        .prepare_cached(
            "DELETE FROM inbox WHERE id IN (SELECT id FROM inbox
              WHERE state IN (3, 4) AND done_ms < ?1 LIMIT ?2)",
        )?
        .execute(params![now_ms - REMEMBER_MS, PRUNE_ROWS_MAX])?)
}

/// Takeable questions of a class whose asker was not told yet that it may take long.
///
/// # Errors
/// As SQLite says.
pub fn untold(db: &Connection, class: i64, limit: u32) -> Result<Vec<i64>> {
    db.prepare_cached(
        "SELECT id FROM inbox WHERE state = 1 AND head = 1 AND class = ?1 AND told = 0
          ORDER BY received_ms, id LIMIT ?2",
    )?
    .query_map(params![class, limit], |row| row.get(0))?
    .map(|id| Ok(id?))
    .collect()
}
