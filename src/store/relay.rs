//! Owns: which updates of the shared streams this box has taken in, and which of them are settled.
//! May not: know Redis.
//! Invariant: an update is settled only when nothing of its chat that is as old waits to be asked or said.

use super::Result;
use super::inbox;
use crate::types::{ChatId, Lane, TopicId, UnixMs};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// An entry of a stream: its partition and its id.
pub type EntryId = (usize, String);

/// Makes the table; only boxes that share updates have it.
///
/// # Errors
/// As SQLite says.
pub fn prepare(db: &Connection) -> Result<()> {
    // done: 0 in work, 1 waits for what is to be said, 2 settled, and Redis is to hear of it.
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS relay (
           part INTEGER NOT NULL, entry TEXT NOT NULL, row INTEGER NOT NULL, chat_id INTEGER NOT NULL,
           done INTEGER NOT NULL DEFAULT 0, said_upto INTEGER NOT NULL DEFAULT 0,
           PRIMARY KEY (part, entry)
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS relay_chat ON relay (chat_id);",
    )?;
    Ok(())
}

/// Whether an entry was taken in: `Some(true)` when it is settled.
///
/// # Errors
/// As SQLite says.
pub fn known(db: &Connection, (part, entry): (usize, &str)) -> Result<Option<bool>> {
    Ok(db
        .prepare_cached("SELECT done = 2 FROM relay WHERE part = ?1 AND entry = ?2")?
        .query_row(params![part_number(part), entry], |row| row.get(0))
        .optional()?)
}

/// Notes an entry and the row of the inbox that it became.
///
/// # Errors
/// As SQLite says.
pub fn add(
    db: &Connection,
    (part, entry): (usize, &str),
    row: i64,
    chat: ChatId,
    settled: bool,
) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO relay (part, entry, row, chat_id, done) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![part_number(part), entry, row, chat.0, if settled { 2 } else { 0 }])?;
    Ok(())
}

/// Chats of which something is not settled.
///
/// # Errors
/// As SQLite says.
pub fn open_chats(db: &Connection) -> Result<Vec<ChatId>> {
    db.prepare_cached("SELECT DISTINCT chat_id FROM relay WHERE done < 2")?
        .query_map([], |row| Ok(ChatId(row.get(0)?)))?
        .map(|chat| Ok(chat?))
        .collect()
}

/// Whether something of a chat is not settled.
///
/// # Errors
/// As SQLite says.
pub fn is_open(db: &Connection, chat: ChatId) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM relay WHERE chat_id = ?1 AND done < 2)")?
        .query_row([chat.0], |row| row.get(0))?)
}

/// Settles what of a chat is answered and said.
///
/// # Errors
/// As SQLite says.
pub fn settle(db: &Connection, chat: ChatId) -> Result<Vec<EntryId>> {
    db.prepare_cached(
        "UPDATE relay SET done = 1,
           said_upto = (SELECT coalesce(max(id), 0) FROM outbox WHERE outbox.chat_id = relay.chat_id)
         WHERE chat_id = ?1 AND done = 0 AND NOT EXISTS (SELECT 1 FROM inbox
           WHERE inbox.chat_id = relay.chat_id AND state IN (1, 2) AND inbox.id <= relay.row)",
    )?
    .execute([chat.0])?;
    db.prepare_cached(
        "UPDATE relay SET done = 2 WHERE chat_id = ?1 AND done = 1 AND NOT EXISTS (SELECT 1 FROM outbox
           WHERE outbox.chat_id = relay.chat_id AND outbox.id <= relay.said_upto)
         RETURNING part, entry",
    )?
    .query_map([chat.0], read_entry)?
    .map(|entry| Ok(entry?))
    .collect()
}

/// What is settled and Redis may not have heard of.
///
/// # Errors
/// As SQLite says.
pub fn settled(db: &Connection) -> Result<Vec<EntryId>> {
    db.prepare_cached("SELECT part, entry FROM relay WHERE done = 2")?
        .query_map([], read_entry)?
        .map(|entry| Ok(entry?))
        .collect()
}

/// Redis knows that these are settled.
///
/// # Errors
/// As SQLite says.
pub fn forget(db: &Connection, entries: &[EntryId]) -> Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM relay WHERE part = ?1 AND entry = ?2")?;
    for (part, entry) in entries {
        delete.execute(params![part_number(*part), entry])?;
    }
    Ok(())
}

/// The streams are gone: what was taken in is this box's alone.
///
/// # Errors
/// As SQLite says.
pub fn forget_all(db: &Connection) -> Result<()> {
    db.execute("DELETE FROM relay", [])?;
    Ok(())
}

/// Another box has a partition: what is not settled is its to answer, and is dropped here. How many were.
///
/// # Errors
/// As SQLite says.
pub fn abandon(db: &Connection, part: usize, now_ms: UnixMs) -> Result<usize> {
    let rows: Vec<(i64, i64)> = db
        .prepare_cached("SELECT row, chat_id FROM relay WHERE part = ?1 AND done < 2")?
        .query_map(params![part_number(part)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, chat) in &rows {
        let lane: Option<(i64, i64)> = db
            .prepare_cached(
                "SELECT chat_id, topic_id FROM inbox WHERE id = ?1 AND state IN (1, 2)",
            )?
            .query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((chat, topic)) = lane {
            inbox::finish(db, *row, Lane { chat: ChatId(chat), topic: TopicId(topic) }, now_ms)?;
        }
        unknow(db, *row)?;
        db.prepare_cached("DELETE FROM outbox WHERE inbox_id = ?1 AND inbox_id != 0")?
            .execute([row])?;
        db.prepare_cached(
            "UPDATE outbox SET head = 1 WHERE id = (SELECT min(id) FROM outbox WHERE chat_id = ?1)",
        )?
        .execute([chat])?;
    }
    db.prepare_cached("DELETE FROM relay WHERE part = ?1")?.execute([part_number(part)])?;
    Ok(rows.len())
}

/// Lets go what of a partition only waits, so that whoever has it next can ask: those entries. What is being asked or said
/// stays, and all of a chat where something was joined to a question.
///
/// # Errors
/// As SQLite says.
pub fn hand_over(db: &Connection, part: usize, now_ms: UnixMs) -> Result<Vec<EntryId>> {
    let rows: Vec<(i64, String, i64, i64)> = db
        .prepare_cached(
            "SELECT relay.row, entry, inbox.chat_id, topic_id FROM relay JOIN inbox ON inbox.id = relay.row
             WHERE part = ?1 AND done = 0 AND state = 1 AND attempts = 0 AND NOT EXISTS (
               SELECT 1 FROM relay AS other JOIN inbox AS its ON its.id = other.row
               WHERE other.chat_id = relay.chat_id AND other.done = 0 AND its.state NOT IN (1, 2))
             ORDER BY relay.row DESC",
        )?
        .query_map([part_number(part)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut left = Vec::new();
    for (row, entry, chat, topic) in rows {
        let lane = Lane { chat: ChatId(chat), topic: TopicId(topic) };
        inbox::finish(db, row, lane, now_ms)?;
        // Its round is taken again where it is asked.
        db.prepare_cached(
            "UPDATE session SET rounds = max(rounds - 1, 0)
              WHERE id = (SELECT session_id FROM inbox WHERE id = ?1)",
        )?
        .execute([row])?;
        unknow(db, row)?;
        left.push((part, entry));
    }
    forget(db, &left)?;
    Ok(left)
}

/// Should an update come back to us, it is to be taken in once more.
fn unknow(db: &Connection, row: i64) -> Result<()> {
    db.prepare_cached("UPDATE inbox SET update_id = -4611686018427387904 - id WHERE id = ?1")?
        .execute([row])?;
    Ok(())
}

/// Whether a question is still being asked: it may have been left to another box.
///
/// # Errors
/// As SQLite says.
pub fn is_asked(db: &Connection, row: i64) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT state = 2 FROM inbox WHERE id = ?1")?
        .query_row([row], |row| row.get(0))
        .optional()?
        .unwrap_or(false))
}

fn part_number(part: usize) -> i64 {
    i64::try_from(part).unwrap_or(i64::MAX)
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<EntryId> {
    Ok((usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX), row.get(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::inbox::Queued;
    use crate::store::outbox::{self, Outgoing};
    use crate::store::{Durability, Store};
    use crate::types::{MessageId, UpdateId, UserId};

    const NOW_MS: i64 = 1_800_000_000_000;

    fn lane(chat: i64) -> Lane {
        Lane { chat: ChatId(chat), topic: TopicId(0) }
    }

    /// A question of a chat, taken in as an entry of the same name.
    fn question(db: &Connection, update: i64, chat: i64) -> i64 {
        let row = inbox::accept(db, UpdateId(update), NOW_MS).unwrap().unwrap();
        let question = Queued {
            lane: lane(chat),
            message: MessageId(update),
            user: UserId(chat),
            class: 0,
            session: 0,
            round: 0,
            rounds_max: 0,
            role: "normal",
            name: String::new(),
            lang: "en",
            text: "?".into(),
            context: String::new(),
            album: String::new(),
            addressed: false,
            media: Vec::new(),
        };
        inbox::enqueue(db, row, &question).unwrap();
        add(db, (3, &update.to_string()), row, ChatId(chat), false).unwrap();
        row
    }

    fn with_rows(check: impl FnOnce(&Connection)) {
        let mut store = Store::in_memory().unwrap();
        store
            .write(Durability::Process, |tx| {
                prepare(tx)?;
                prepare(tx)?;
                check(tx);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn an_update_is_settled_when_it_is_answered_and_said() {
        with_rows(|db| {
            let (first, _second) = (question(db, 1, 7), question(db, 2, 7));
            assert_eq!(settle(db, ChatId(7)).unwrap(), []);
            inbox::claim(db, first).unwrap();
            inbox::finish(db, first, lane(7), NOW_MS).unwrap();
            let said = Outgoing { inbox: first, ..Outgoing::notice(lane(7), "!".into()) };
            let said = outbox::add(db, &said, NOW_MS).unwrap();
            assert_eq!(settle(db, ChatId(7)).unwrap(), [], "not said yet");
            // What is said later has nothing to do with it.
            outbox::add(db, &Outgoing::notice(lane(7), "later".into()), NOW_MS).unwrap();
            outbox::done(db, said, ChatId(7)).unwrap();
            assert_eq!(settle(db, ChatId(7)).unwrap(), [(3, "1".to_owned())]);
            assert_eq!(settle(db, ChatId(7)).unwrap(), [], "once");
            assert_eq!(settled(db).unwrap(), [(3, "1".to_owned())], "until Redis knows");
            assert_eq!(known(db, (3, "1")).unwrap(), Some(true));
            forget(db, &[(3, "1".to_owned())]).unwrap();
            assert_eq!(known(db, (3, "1")).unwrap(), None);
            assert_eq!(open_chats(db).unwrap(), [ChatId(7)]);
        });
    }

    #[test]
    fn what_another_box_has_is_dropped_here_and_may_come_back() {
        with_rows(|db| {
            let (first, second) = (question(db, 1, 7), question(db, 2, 7));
            inbox::claim(db, first).unwrap();
            let said = Outgoing { inbox: first, ..Outgoing::notice(lane(7), "!".into()) };
            outbox::add(db, &said, NOW_MS).unwrap();
            assert!(is_asked(db, first).unwrap());
            assert_eq!(abandon(db, 3, NOW_MS).unwrap(), 2);
            assert!(!is_asked(db, first).unwrap() && !is_asked(db, second).unwrap());
            assert_eq!((inbox::pending(db).unwrap(), outbox::pending(db).unwrap()), (0, 0));
            assert!(inbox::accept(db, UpdateId(2), NOW_MS).unwrap().is_some());
        });
    }

    #[test]
    fn what_only_waits_is_handed_over_and_what_is_asked_is_finished() {
        with_rows(|db| {
            let first = question(db, 1, 7);
            for update in 2..5 {
                question(db, update, 7);
            }
            inbox::claim(db, first).unwrap();
            let left: Vec<String> =
                hand_over(db, 3, NOW_MS).unwrap().into_iter().map(|(_, id)| id).collect();
            assert_eq!(left, ["4", "3", "2"]);
            assert_eq!(inbox::pending(db).unwrap(), 1);
            assert!(is_asked(db, first).unwrap());
            // Something was joined to a question that waits: both stay together.
            question(db, 10, 8);
            let joined = inbox::accept(db, UpdateId(11), NOW_MS).unwrap().unwrap();
            add(db, (3, "11"), joined, ChatId(8), false).unwrap();
            assert_eq!(hand_over(db, 3, NOW_MS).unwrap(), []);
        });
    }
}
