//! Owns: what is to be said to Telegram, in order inside a chat.
//! May not: know formatting or error texts.
//! Invariant: only the first unsent row of a chat is `head`, so parts can never overtake each other.

use super::Result;
use crate::types::{ChatId, Lane, MessageId, TopicId, UnixMs};
use rusqlite::{Connection, OptionalExtension, named_params, params};

/// Refused messages are kept this long for the operator.
pub const PARKED_KEEP_MS: i64 = 30 * crate::types::DAY_MS;
/// Pause of a message whose sending two ends of the program have cut off, longer with each further one.
const AGAIN_MS: i64 = 5 * crate::types::SECOND_MS;

/// What a row asks of Telegram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new message.
    Send,
    /// The text of an existing one.
    Edit,
    /// A file with `text` as its content and `plain` as its name.
    Document,
    /// Remove a message.
    Delete,
    /// A rich message: `text` is its Markdown, `plain` the model's own; an edit where `message` is set.
    Rich,
}

impl Kind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Send, "send"),
        (Self::Edit, "edit"),
        (Self::Document, "document"),
        (Self::Delete, "delete"),
        (Self::Rich, "rich"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("send", |(_, name)| name)
    }

    fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map_or(Self::Send, |(kind, _)| kind)
    }
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Where.
    pub lane: Lane,
    /// The question this answers; 0 for a notice.
    pub inbox: i64,
    /// How.
    pub kind: Kind,
    /// The text, HTML when `html`.
    pub text: String,
    /// The same without formatting.
    pub plain: String,
    /// Whether `text` is HTML.
    pub html: bool,
    /// Inline keyboard as JSON, empty for none.
    pub markup: String,
    /// 0 for none.
    pub reply_to: MessageId,
    /// The message to edit or delete.
    pub message: MessageId,
    /// Without a sound.
    pub silent: bool,
    /// When the question came; 0 for a notice.
    pub received_ms: UnixMs,
    /// The part of the wait that was Gemini's.
    pub model_ms: i64,
    /// Whether this ends an answer.
    pub last: bool,
}

impl Outgoing {
    /// A plain text for a lane, replying to nothing.
    pub fn notice(lane: Lane, text: String) -> Self {
        Self {
            lane,
            inbox: 0,
            kind: Kind::Send,
            plain: text.clone(),
            text,
            html: false,
            markup: String::new(),
            reply_to: MessageId(0),
            message: MessageId(0),
            silent: false,
            received_ms: 0,
            model_ms: 0,
            last: false,
        }
    }
}

/// A row taken for sending.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// The row.
    pub id: i64,
    /// Counting this one.
    pub attempts: u32,
    /// When it was queued.
    pub created_ms: UnixMs,
    /// What to say.
    pub what: Outgoing,
}

/// Queues one thing to say.
///
/// # Errors
/// As SQLite says.
pub fn add(db: &Connection, what: &Outgoing, now_ms: UnixMs) -> Result<i64> {
    db.prepare_cached(
        "INSERT INTO outbox (head, chat_id, topic_id, inbox_id, kind, text, plain, html, markup,
           reply_to, message_id, silent, due_ms, created_ms, received_ms, model_ms, last)
         VALUES (NOT EXISTS (SELECT 1 FROM outbox WHERE chat_id = :chat), :chat, :topic, :inbox,
           :kind, :text, :plain, :html, :markup, :reply_to, :message, :silent, :now, :now,
           :received, :model_ms, :last)",
    )?
    .execute(named_params! {
        ":chat": what.lane.chat.0,
        ":topic": what.lane.topic.0,
        ":inbox": what.inbox,
        ":kind": what.kind.name(),
        ":text": what.text,
        // The same text twice would double the row.
        ":plain": if what.plain == what.text { "" } else { what.plain.as_str() },
        ":html": what.html,
        ":markup": what.markup,
        ":reply_to": what.reply_to.0,
        ":message": what.message.0,
        ":silent": what.silent,
        ":now": now_ms,
        ":received": what.received_ms,
        ":model_ms": what.model_ms,
        ":last": what.last,
    })?;
    Ok(db.last_insert_rowid())
}

/// Takes the oldest due row of any chat: counts the attempt before the work.
///
/// # Errors
/// As SQLite says.
pub fn claim(db: &Connection, now_ms: UnixMs) -> Result<Option<Sending>> {
    let Some(id) = db
        .prepare_cached(
            "SELECT id FROM outbox WHERE state = 0 AND head = 1 AND due_ms <= ?1
              ORDER BY due_ms, id LIMIT 1",
        )?
        .query_row([now_ms], |row| row.get::<_, i64>(0))
        .optional()?
    else {
        return Ok(None);
    };
    db.prepare_cached("UPDATE outbox SET state = 1, attempts = attempts + 1 WHERE id = ?1")?
        .execute([id])?;
    Ok(Some(load(db, id)?))
}

fn load(db: &Connection, id: i64) -> Result<Sending> {
    Ok(db
        .prepare_cached(
            "SELECT id, attempts, created_ms, chat_id, topic_id, inbox_id, kind, text, plain, html,
               markup, reply_to, message_id, silent, received_ms, model_ms, last
             FROM outbox WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let text: String = row.get(7)?;
            let plain: String = row.get(8)?;
            Ok(Sending {
                id: row.get(0)?,
                attempts: row.get(1)?,
                created_ms: row.get(2)?,
                what: Outgoing {
                    lane: Lane { chat: ChatId(row.get(3)?), topic: TopicId(row.get(4)?) },
                    inbox: row.get(5)?,
                    kind: Kind::from_name(&row.get::<_, String>(6)?),
                    plain: if plain.is_empty() { text.clone() } else { plain },
                    text,
                    html: row.get(9)?,
                    markup: row.get(10)?,
                    reply_to: MessageId(row.get(11)?),
                    message: MessageId(row.get(12)?),
                    silent: row.get(13)?,
                    received_ms: row.get(14)?,
                    model_ms: row.get(15)?,
                    last: row.get(16)?,
                },
            })
        })?)
}

/// Telegram has it: the row leaves and the chat's next comes forward.
///
/// # Errors
/// As SQLite says.
pub fn done(db: &Connection, id: i64, chat: ChatId) -> Result<()> {
    // The chat may have become a supergroup while the row was in flight: its own chat goes on.
    let moved = db
        .prepare_cached("DELETE FROM outbox WHERE id = ?1 RETURNING chat_id")?
        .query_row([id], |row| row.get(0).map(ChatId))
        .optional()?;
    promote(db, moved.unwrap_or(chat))
}

fn promote(db: &Connection, chat: ChatId) -> Result<()> {
    db.prepare_cached(
        "UPDATE outbox SET head = 1 WHERE id = (SELECT min(id) FROM outbox WHERE chat_id = ?1)",
    )?
    .execute([chat.0])?;
    Ok(())
}

/// Not now: due again at `due_ms`, still the first of its chat.
///
/// # Errors
/// As SQLite says.
pub fn later(db: &Connection, id: i64, due_ms: UnixMs) -> Result<()> {
    db.prepare_cached("UPDATE outbox SET state = 0, due_ms = ?2 WHERE id = ?1")?
        .execute(params![id, due_ms])?;
    Ok(())
}

/// Sends the row again at once as plain text: Telegram refused the formatting.
///
/// # Errors
/// As SQLite says.
pub fn strip_formatting(db: &Connection, id: i64) -> Result<()> {
    db.prepare_cached(
        "UPDATE outbox SET state = 0, html = 0, text = CASE WHEN plain = '' THEN text ELSE plain END
          WHERE id = ?1",
    )?
    .execute([id])?;
    Ok(())
}

/// Puts these in the place of a rich message that cannot be sent: the first at once and in its row,
/// the others right behind it, before everything else that waits in the chat.
///
/// # Errors
/// As SQLite says.
pub fn replace(db: &Connection, id: i64, with: &[Outgoing], now_ms: UnixMs) -> Result<()> {
    let Some((first, others)) = with.split_first() else { return Ok(()) };
    let chat: Option<i64> = db
        .prepare_cached(
            "UPDATE outbox SET state = 0, attempts = 0, kind = ?2, text = ?3, plain = ?4, html = ?5,
               last = ?6, received_ms = ?7 WHERE id = ?1 RETURNING chat_id",
        )?
        .query_row(
            params![
                id,
                first.kind.name(),
                first.text,
                if first.plain == first.text { "" } else { first.plain.as_str() },
                first.html,
                first.last,
                first.received_ms,
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(chat) = chat.filter(|_| !others.is_empty()) else { return Ok(()) };
    let behind: i64 = db
        .prepare_cached("SELECT max(id) FROM outbox WHERE chat_id = ?1")?
        .query_row([chat], |row| row.get(0))?;
    for what in others {
        add(db, what, now_ms)?;
    }
    // Rows are said in the order of their numbers: what waited before takes new ones. None of it is
    // in flight, because only the first of a chat ever is.
    db.prepare_cached(
        "INSERT INTO outbox (chat_id, topic_id, inbox_id, kind, text, plain, html, markup, reply_to,
           message_id, silent, attempts, due_ms, created_ms, received_ms, model_ms, last)
         SELECT chat_id, topic_id, inbox_id, kind, text, plain, html, markup, reply_to,
           message_id, silent, attempts, due_ms, created_ms, received_ms, model_ms, last
           FROM outbox WHERE chat_id = ?1 AND id > ?2 AND id <= ?3 AND state = 0 ORDER BY id",
    )?
    .execute([chat, id, behind])?;
    db.prepare_cached(
        "DELETE FROM outbox WHERE chat_id = ?1 AND id > ?2 AND id <= ?3 AND state = 0",
    )?
    .execute([chat, id, behind])?;
    Ok(())
}

/// Sends the row again at once without what it replied to, or outside its topic.
///
/// # Errors
/// As SQLite says.
pub fn loosen(db: &Connection, id: i64, keep_topic: bool) -> Result<()> {
    db.prepare_cached(
        "UPDATE outbox SET state = 0, reply_to = 0, topic_id = CASE WHEN ?2 THEN topic_id ELSE 0 END
          WHERE id = ?1",
    )?
    .execute(params![id, keep_topic])?;
    Ok(())
}

/// Makes an edit whose message is gone a new message.
///
/// # Errors
/// As SQLite says.
pub fn edit_becomes_send(db: &Connection, id: i64) -> Result<()> {
    db.prepare_cached(
        "UPDATE outbox SET state = 0, message_id = 0,
           kind = CASE kind WHEN 'rich' THEN 'rich' ELSE 'send' END WHERE id = ?1",
    )?
    .execute([id])?;
    Ok(())
}

/// Telegram will never take it: set aside with its reason.
///
/// # Errors
/// As SQLite says.
pub fn park(db: &Connection, id: i64, chat: ChatId, reason: &str, now_ms: UnixMs) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO outbox_parked (id, chat_id, text, reason, parked_ms)
         SELECT id, chat_id, text, ?2, ?3 FROM outbox WHERE id = ?1",
    )?
    .execute(params![id, reason, now_ms])?;
    done(db, id, chat)
}

/// Nothing can be said in this chat any more: everything waiting for it is set aside.
///
/// # Errors
/// As SQLite says.
pub fn park_chat(db: &Connection, chat: ChatId, reason: &str, now_ms: UnixMs) -> Result<usize> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO outbox_parked (id, chat_id, text, reason, parked_ms)
         SELECT id, chat_id, text, ?2, ?3 FROM outbox WHERE chat_id = ?1",
    )?
    .execute(params![chat.0, reason, now_ms])?;
    Ok(db.prepare_cached("DELETE FROM outbox WHERE chat_id = ?1")?.execute([chat.0])?)
}

/// Moves everything that waits for a group to the supergroup it became. What is in flight stays so
/// until its result is known.
///
/// # Errors
/// As SQLite says.
pub fn migrate_chat(db: &Connection, from: ChatId, to: ChatId) -> Result<()> {
    db.execute(
        "UPDATE outbox SET chat_id = ?2, head = 0, reply_to = 0 WHERE chat_id = ?1",
        params![from.0, to.0],
    )?;
    db.execute("UPDATE outbox SET head = 0 WHERE chat_id = ?1", [to.0])?;
    promote(db, to)
}

/// Rows in flight when an earlier process ended are due again: at once, or, when they were so before,
/// after a pause, so that a program that ends again and again does not say the same again and again.
///
/// # Errors
/// As SQLite says.
pub fn recover(db: &Connection, now_ms: UnixMs) -> Result<usize> {
    Ok(db.execute(
        "UPDATE outbox SET state = 0, due_ms = CASE WHEN attempts < 2 THEN min(due_ms, created_ms)
           ELSE ?1 + ?2 * min(attempts - 1, 12) END
          WHERE state = 1",
        params![now_ms, AGAIN_MS],
    )?)
}

/// Whether anything is still to be said in this chat.
///
/// # Errors
/// As SQLite says.
pub fn waits(db: &Connection, chat: ChatId) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM outbox WHERE chat_id = ?1)")?
        .query_row([chat.0], |row| row.get(0))?)
}

/// How many rows wait in this chat that answer no question; more than `max` are not counted.
///
/// # Errors
/// As SQLite says.
pub fn notices(db: &Connection, chat: ChatId, max: u32) -> Result<u32> {
    Ok(db
        .prepare_cached(
            "SELECT count(*) FROM
               (SELECT 1 FROM outbox WHERE chat_id = ?1 AND inbox_id = 0 LIMIT ?2)",
        )?
        .query_row(params![chat.0, max], |row| row.get(0))?)
}

/// How many rows are unsent, those in flight included.
///
/// # Errors
/// As SQLite says.
pub fn pending(db: &Connection) -> Result<u32> {
    Ok(db.prepare_cached("SELECT count(*) FROM outbox")?.query_row([], |row| row.get(0))?)
}

/// The soonest instant after `now_ms` at which a row becomes due.
///
/// # Errors
/// As SQLite says.
pub fn next_due_ms(db: &Connection, now_ms: UnixMs) -> Result<Option<UnixMs>> {
    Ok(db
        .prepare_cached(
            "SELECT min(due_ms) FROM outbox WHERE state = 0 AND head = 1 AND due_ms > ?1",
        )?
        .query_row([now_ms], |row| row.get(0))?)
}

/// Forgets refused messages older than [`PARKED_KEEP_MS`].
///
/// # Errors
/// As SQLite says.
pub fn prune(db: &Connection, now_ms: UnixMs) -> Result<usize> {
    Ok(db
        .prepare_cached("DELETE FROM outbox_parked WHERE parked_ms < ?1")?
        .execute([now_ms - PARKED_KEEP_MS])?)
}

/// Whether any row could be sent now.
///
/// # Errors
/// As SQLite says.
pub fn has_due(db: &Connection, now_ms: UnixMs) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 0 AND head = 1 AND due_ms <= ?1)",
        )?
        .query_row([now_ms], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store};

    #[test]
    fn the_parts_of_a_rich_message_are_said_before_what_waited_behind_it() {
        let lane = |chat| Lane { chat: ChatId(chat), topic: TopicId(0) };
        let notice = |chat, text: &str| Outgoing::notice(lane(chat), text.to_owned());
        for (waiting, parts, want) in [
            (vec!["next", "last"], vec!["a", "b", "c"], "a b c next last"),
            (vec!["next", "last"], vec!["a"], "a next last"),
            (vec![], vec!["a", "b"], "a b"),
            (vec!["next"], vec![], "rich next"),
        ] {
            let mut store = Store::in_memory().unwrap();
            let said = store.write(Durability::Process, |db| {
                let rich = Outgoing { kind: Kind::Rich, ..notice(7, "rich") };
                add(db, &rich, 1)?;
                add(db, &notice(8, "elsewhere"), 1)?;
                for text in &waiting {
                    add(db, &notice(7, text), 2)?;
                }
                let first = claim(db, 3)?.unwrap();
                let parts: Vec<_> = parts.iter().map(|text| notice(7, text)).collect();
                replace(db, first.id, &parts, 3)?;
                if parts.is_empty() {
                    later(db, first.id, 3)?;
                }
                let mut said = Vec::new();
                while let Some(row) = claim(db, 9)? {
                    done(db, row.id, row.what.lane.chat)?;
                    if row.what.lane.chat == ChatId(7) {
                        said.push(row.what.text);
                    }
                }
                Ok(said.join(" "))
            });
            assert_eq!(said.unwrap(), want);
        }
    }
}
