//! Owns: sessions on their way from and to other boxes: which of them changed since the others were told, and the rounds
//! that were said elsewhere.
//! May not: know Redis, put a round of another box into the history.
//! Invariant: rounds that were said elsewhere leave with the session they belong to.

use super::{Result, history, people};
use crate::engine::fleet::people::{Carried, Here, Word, goes_on};
use crate::types::{ChatId, Lane, TopicId, UnixMs, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Rounds that go along; far more than any role's.
const TURNS_MAX: u32 = 64;
/// Sessions told at once.
const WORDS_MAX: usize = 64;

/// What the settings say of sessions.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long one lives without activity.
    pub idle_ms: i64,
    /// Places for those of groups.
    pub places: u32,
}

/// Makes the tables; only boxes that share updates have them.
///
/// # Errors
/// As SQLite says.
pub fn prepare(db: &Connection) -> Result<()> {
    // What was told is forgotten with the process: another one tells it again.
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS carried (
           session_id INTEGER NOT NULL, n INTEGER NOT NULL, asked TEXT NOT NULL, answered TEXT NOT NULL,
           PRIMARY KEY (session_id, n)
         ) STRICT, WITHOUT ROWID;
         CREATE TRIGGER IF NOT EXISTS carried_leave AFTER DELETE ON session
         BEGIN DELETE FROM carried WHERE session_id = OLD.id; END;
         DELETE FROM carried WHERE session_id NOT IN (SELECT id FROM session);
         CREATE TEMP TABLE IF NOT EXISTS told_session (
           chat_id INTEGER NOT NULL, topic_id INTEGER NOT NULL, user_id INTEGER NOT NULL, mark TEXT NOT NULL,
           PRIMARY KEY (chat_id, topic_id, user_id)
         ) STRICT, WITHOUT ROWID;",
    )?;
    Ok(())
}

/// The last rounds of a session that were said elsewhere, oldest first.
///
/// # Errors
/// As SQLite says.
pub fn turns(db: &Connection, session: i64, limit: usize) -> Result<Vec<(String, String)>> {
    let mut turns = db
        .prepare_cached(
            "SELECT asked, answered FROM carried WHERE session_id = ?1 ORDER BY n DESC LIMIT ?2",
        )?
        .query_map(params![session, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    turns.reverse();
    Ok(turns)
}

/// The others know nothing any more: everything is told again.
///
/// # Errors
/// As SQLite says.
pub fn retell(db: &Connection) -> Result<()> {
    db.execute("DELETE FROM told_session", [])?;
    Ok(())
}

/// By what it is seen that a session has changed.
struct Stand {
    session: people::Session,
    slot: bool,
    rounds_max: u32,
    /// Questions of it that are not answered.
    open: u32,
    summed: bool,
}

impl Stand {
    fn mark(&self) -> String {
        let session = &self.session;
        let (id, rounds, last_ms) = (session.id, session.rounds, session.last_ms);
        format!("{id}/{rounds}/{}/{last_ms}/{}", self.open, self.summed)
    }

    fn word(&self, db: &Connection, times: Times) -> Result<Word> {
        let session = &self.session;
        // A question in hand is asked once more by whoever takes over: it does not count yet.
        let rounds = session.rounds.saturating_sub(self.open);
        let holds = self.slot && session.rounds < self.rounds_max;
        let mut word = Word {
            lane: session.lane,
            user: session.user,
            session: None,
            holds_until_ms: if holds { session.last_ms.saturating_add(times.idle_ms) } else { 0 },
            idle_ms: times.idle_ms,
            places: times.places,
        };
        if rounds == 0 || rounds >= self.rounds_max {
            return Ok(word);
        }
        let before = people::before(db, session.id)?.unwrap_or_default();
        let mut turns = turns(db, session.id, TURNS_MAX as usize)?;
        if before.follows != 0 && !before.summed {
            turns.extend(history::of_session(db, before.follows, TURNS_MAX)?);
        }
        turns.extend(history::of_session(db, session.id, TURNS_MAX)?);
        word.session = Some(Carried {
            lane: session.lane,
            user: session.user,
            name: session.name.clone(),
            slot: self.slot,
            rounds,
            rounds_max: self.rounds_max,
            opened_ms: session.opened_ms,
            last_ms: session.last_ms,
            summary: before.summary,
            turns,
        });
        Ok(word)
    }
}

const STAND: &str =
    "SELECT session.id, session.chat_id, session.topic_id, session.user_id, session.name,
    session.rounds, opened_ms, last_ms, slot, session.rounds_max, summed,
    (SELECT count(*) FROM inbox WHERE inbox.chat_id = session.chat_id
      AND inbox.topic_id = session.topic_id AND state IN (1, 2) AND session_id = session.id),
    coalesce(mark, '-')
  FROM session LEFT JOIN told_session USING (chat_id, topic_id, user_id)";

fn read_stand(row: &Row<'_>) -> rusqlite::Result<(Stand, String)> {
    let stand = Stand {
        session: people::read_session(row)?,
        slot: row.get(8)?,
        rounds_max: row.get(9)?,
        summed: row.get(10)?,
        open: row.get(11)?,
    };
    Ok((stand, row.get(12)?))
}

fn tell(db: &Connection, lane: Lane, user: UserId, mark: &str) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO told_session (chat_id, topic_id, user_id, mark) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![lane.chat.0, lane.topic.0, user.0, mark])?;
    Ok(())
}

/// What the others have not been told of the sessions of a chat, or of all where `chat` is none: some of it, and whether
/// that is all. Only chats that `holds` are looked at.
///
/// # Errors
/// As SQLite says.
pub fn news(
    db: &Connection,
    chat: Option<ChatId>,
    times: Times,
    now_ms: UnixMs,
    holds: &dyn Fn(ChatId) -> bool,
) -> Result<(Vec<Word>, bool)> {
    let alive_ms = now_ms.saturating_sub(times.idle_ms);
    let mut words = Vec::new();
    let of_chat = if chat.is_some() { "session.chat_id = ?2" } else { "?2 IS NULL" };
    let changed = db
        .prepare_cached(&format!("{STAND} WHERE last_ms > ?1 AND {of_chat}"))?
        .query_map(params![alive_ms, chat.map(|chat| chat.0)], read_stand)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (stand, mark) in changed {
        let new = stand.mark();
        if new == mark || !holds(stand.session.lane.chat) {
            continue;
        }
        if words.len() >= WORDS_MAX {
            return Ok((words, false));
        }
        tell(db, stand.session.lane, stand.session.user, &new)?;
        words.push(stand.word(db, times)?);
    }
    let of_chat = if chat.is_some() { "told_session.chat_id = ?2" } else { "?2 IS NULL" };
    let over: Vec<(i64, i64, i64)> = db
        .prepare_cached(&format!(
            "SELECT chat_id, topic_id, user_id FROM told_session WHERE {of_chat} AND NOT EXISTS (
               SELECT 1 FROM session WHERE session.chat_id = told_session.chat_id AND last_ms > ?1
                 AND session.topic_id = told_session.topic_id AND session.user_id = told_session.user_id)"
        ))?
        .query_map(params![alive_ms, chat.map(|chat| chat.0)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (chat, topic, user) in over {
        if words.len() >= WORDS_MAX {
            return Ok((words, false));
        }
        db.prepare_cached(
            "DELETE FROM told_session WHERE chat_id = ?1 AND topic_id = ?2 AND user_id = ?3",
        )?
        .execute([chat, topic, user])?;
        let lane = Lane { chat: ChatId(chat), topic: TopicId(topic) };
        let Times { idle_ms, places } = times;
        let user = UserId(user);
        words.push(Word { lane, user, session: None, holds_until_ms: 0, idle_ms, places });
    }
    Ok((words, true))
}

/// What was told of these chats is not known any more.
///
/// # Errors
/// As SQLite says.
pub fn untell(db: &Connection, is_meant: &dyn Fn(ChatId) -> bool) -> Result<()> {
    for chat in chats(db, "told_session")?.into_iter().filter(|chat| is_meant(*chat)) {
        db.prepare_cached("DELETE FROM told_session WHERE chat_id = ?1")?.execute([chat.0])?;
    }
    Ok(())
}

/// Where and whose a session is.
///
/// # Errors
/// As SQLite says.
pub fn whose(db: &Connection, session: i64) -> Result<Option<(Lane, UserId)>> {
    Ok(db
        .prepare_cached("SELECT chat_id, topic_id, user_id FROM session WHERE id = ?1")?
        .query_row([session], |row| {
            let lane = Lane { chat: ChatId(row.get(0)?), topic: TopicId(row.get(1)?) };
            Ok((lane, UserId(row.get(2)?)))
        })
        .optional()?)
}

/// The questions that wait in the session of this question, this one first; none where it does not wait any more.
///
/// # Errors
/// As SQLite says.
pub fn waiting_with(db: &Connection, inbox: i64) -> Result<Vec<i64>> {
    db.prepare_cached(
        "SELECT other.id FROM inbox AS own JOIN inbox AS other ON other.chat_id = own.chat_id
           AND other.topic_id = own.topic_id AND other.session_id = own.session_id
         WHERE own.id = ?1 AND own.state = 1 AND own.session_id != 0 AND other.state = 1 AND other.id >= own.id
         ORDER BY other.id",
    )?
    .query_map([inbox], |row| row.get(0))?
    .map(|id| Ok(id?))
    .collect()
}

/// Another box has these chats: their sessions go on there. How many left.
///
/// # Errors
/// As SQLite says.
pub fn leave(db: &Connection, is_meant: &dyn Fn(ChatId) -> bool) -> Result<usize> {
    untell(db, is_meant)?;
    let mut left = 0;
    for chat in chats(db, "session")?.into_iter().filter(|chat| is_meant(*chat)) {
        left += db.prepare_cached("DELETE FROM session WHERE chat_id = ?1")?.execute([chat.0])?;
    }
    Ok(left)
}

fn chats(db: &Connection, table: &str) -> Result<Vec<ChatId>> {
    db.prepare_cached(&format!("SELECT DISTINCT chat_id FROM {table}"))?
        .query_map([], |row| Ok(ChatId(row.get(0)?)))?
        .map(|chat| Ok(chat?))
        .collect()
}

/// Takes a session over from another box; false where what is known here counts for more.
///
/// # Errors
/// As SQLite says.
pub fn take_over(db: &Connection, theirs: &Carried, alive_ms: UnixMs) -> Result<bool> {
    let own = people::session_of(db, theirs.lane, theirs.user)?;
    let forgotten_ms: Option<UnixMs> = db
        .prepare_cached("SELECT forgotten_ms FROM person WHERE user_id = ?1")?
        .query_row([theirs.user.0], |row| row.get(0))
        .optional()?;
    let here = Here {
        own_last_ms: own.map(|own| own.last_ms),
        forgotten_ms: forgotten_ms.unwrap_or(0),
        alive_ms,
    };
    let (lane, user) = (theirs.lane, theirs.user);
    if !goes_on(theirs.last_ms, here) {
        // The others are told how it is here.
        tell(db, lane, user, "")?;
        return Ok(false);
    }
    db.prepare_cached("DELETE FROM session WHERE chat_id = ?1 AND topic_id = ?2 AND user_id = ?3")?
        .execute([lane.chat.0, lane.topic.0, user.0])?;
    db.prepare_cached(
        "INSERT INTO session (chat_id, topic_id, user_id, name, slot, rounds, rounds_max,
           opened_ms, last_ms, summed, summary)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10)",
    )?
    .execute(params![
        lane.chat.0,
        lane.topic.0,
        user.0,
        theirs.name,
        theirs.slot,
        theirs.rounds,
        theirs.rounds_max,
        theirs.opened_ms,
        theirs.last_ms,
        theirs.summary
    ])?;
    let id = db.last_insert_rowid();
    let mut add = db.prepare_cached(
        "INSERT INTO carried (session_id, n, asked, answered) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (n, (asked, answered)) in theirs.turns.iter().enumerate() {
        add.execute(params![id, i64::try_from(n).unwrap_or(i64::MAX), asked, answered])?;
    }
    let mark = format!("{id}/{}/0/{}/true", theirs.rounds, theirs.last_ms);
    tell(db, lane, user, &mark)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store, erase};

    const NOW_MS: UnixMs = 1_000_000;
    const TIMES: Times = Times { idle_ms: 1_000, places: 3 };

    fn lane(chat: i64) -> Lane {
        Lane { chat: ChatId(chat), topic: TopicId(0) }
    }

    fn theirs(chat: i64, last_ms: UnixMs) -> Carried {
        Carried {
            lane: lane(chat),
            user: UserId(chat.abs()),
            name: "A".into(),
            slot: chat < 0,
            rounds: 2,
            rounds_max: 5,
            opened_ms: last_ms - 10,
            last_ms,
            summary: String::new(),
            turns: vec![("q1".into(), "a1".into()), ("q2".into(), "a2".into())],
        }
    }

    fn round(db: &Connection, session: i64, chat: i64, asked: &str) {
        let turn = history::Turn {
            session,
            chat: ChatId(chat),
            topic: TopicId(0),
            user: UserId(chat.abs()),
            username: "a",
            message: asked,
            response: "yes",
            model: "m",
            metadata: "{}",
            created_us: NOW_MS * 1_000,
        };
        history::add(db, &turn).unwrap();
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

    fn all(db: &Connection) -> Vec<Word> {
        news(db, None, TIMES, NOW_MS, &|_| true).unwrap().0
    }

    fn open(db: &Connection, chat: i64, last_ms: UnixMs) -> i64 {
        let user = UserId(chat.abs());
        people::open_session(db, lane(chat), user, "A", chat < 0, 3, None, last_ms).unwrap()
    }

    #[test]
    fn what_changed_is_told_once_and_what_is_over_as_well() {
        with_rows(|db| {
            let id = open(db, -7, NOW_MS - 5);
            round(db, id, -7, "hello");
            let words = all(db);
            let session = words[0].session.clone().unwrap();
            assert_eq!((words.len(), session.rounds, session.slot), (1, 1, true));
            assert_eq!(session.turns, [("hello".to_owned(), "yes".to_owned())]);
            assert_eq!(words[0].holds_until_ms, NOW_MS - 5 + TIMES.idle_ms);
            assert_eq!(all(db), []);
            people::take_round(db, id, 3, NOW_MS - 4).unwrap();
            assert_eq!(news(db, None, TIMES, NOW_MS, &|_| false).unwrap().0, [], "another's chat");
            assert_eq!(news(db, Some(ChatId(8)), TIMES, NOW_MS, &|_| true).unwrap().0, []);
            assert_eq!(all(db)[0].session.clone().unwrap().rounds, 2);
            people::end_session(db, id).unwrap();
            let word = &all(db)[0];
            assert_eq!((word.lane, word.session.clone(), word.holds_until_ms), (lane(-7), None, 0));
            assert_eq!(all(db), []);
        });
    }

    #[test]
    fn a_session_that_fell_idle_or_whose_rounds_are_spent_is_over_for_the_others() {
        with_rows(|db| {
            let idle = open(db, -7, NOW_MS - 5);
            let spent = open(db, -8, NOW_MS - 5);
            assert_eq!(all(db).len(), 2);
            for _ in 0..2 {
                people::take_round(db, spent, 3, NOW_MS - 4).unwrap();
            }
            let word = &all(db)[0];
            assert_eq!((word.lane, word.session.clone(), word.holds_until_ms), (lane(-8), None, 0));
            db.execute("UPDATE session SET last_ms = ?1 WHERE id = ?2", [NOW_MS - 1_000, idle])
                .unwrap();
            assert_eq!(all(db)[0].lane, lane(-7));
        });
    }

    #[test]
    fn a_question_in_hand_does_not_count_for_whoever_takes_over() {
        with_rows(|db| {
            let id = open(db, 7, NOW_MS - 5);
            let ask = "INSERT INTO inbox (update_id, state, received_ms, chat_id, session_id) VALUES (?1, 1, 1, 7, ?2)";
            db.execute(ask, [1, id]).unwrap();
            assert_eq!(all(db)[0].session, None, "nothing is answered yet");
            db.execute("UPDATE inbox SET state = 3", []).unwrap();
            people::take_round(db, id, 3, NOW_MS - 4).unwrap();
            db.execute(ask, [2, id]).unwrap();
            assert_eq!(all(db)[0].session.clone().unwrap().rounds, 1);
        });
    }

    #[test]
    fn what_is_handed_over_goes_on_and_is_not_told_back() {
        with_rows(|db| {
            assert!(take_over(db, &theirs(-7, NOW_MS - 5), NOW_MS - 1_000).unwrap());
            assert_eq!(all(db), []);
            let id = people::session_of(db, lane(-7), UserId(7)).unwrap().unwrap().id;
            round(db, id, -7, "q3");
            people::take_round(db, id, 5, NOW_MS - 3).unwrap();
            let asked: Vec<String> =
                all(db)[0].session.clone().unwrap().turns.into_iter().map(|turn| turn.0).collect();
            assert_eq!(asked, ["q1", "q2", "q3"]);
            assert_eq!(turns(db, id, 1).unwrap(), [("q2".to_owned(), "a2".to_owned())]);
            let rows = "SELECT count(*) FROM history";
            assert_eq!(db.query_row(rows, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        });
    }

    #[test]
    fn what_is_newer_here_or_forgotten_is_told_instead() {
        with_rows(|db| {
            open(db, -7, NOW_MS - 2);
            assert!(!take_over(db, &theirs(-7, NOW_MS - 5), NOW_MS - 1_000).unwrap());
            let told = all(db);
            assert_eq!((told.len(), told[0].session.clone().unwrap().last_ms), (1, NOW_MS - 2));
            db.execute("INSERT INTO person (user_id, first_ms, last_ms) VALUES (8, 1, 1)", [])
                .unwrap();
            erase::forget(db, UserId(8), NOW_MS - 4).unwrap();
            assert!(!take_over(db, &theirs(8, NOW_MS - 5), NOW_MS - 1_000).unwrap());
            assert_eq!(all(db)[0].session, None, "it leaves there too");
        });
    }

    #[test]
    fn rounds_of_others_leave_with_their_session_and_the_session_with_its_chat() {
        with_rows(|db| {
            let count = |table: &str| {
                let sql = format!("SELECT count(*) FROM {table}");
                db.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
            };
            for chat in [7, 8, 9] {
                take_over(db, &theirs(chat, NOW_MS - 5), NOW_MS - 1_000).unwrap();
            }
            assert_eq!((count("carried"), count("told_session")), (6, 3));
            erase::forget(db, UserId(7), NOW_MS).unwrap();
            assert_eq!(count("carried"), 4);
            assert_eq!(leave(db, &|chat| chat.0 == 8).unwrap(), 1);
            assert_eq!((count("carried"), count("session")), (2, 1));
            // The one that was forgotten is still to be told of.
            assert_eq!(all(db)[0].lane, lane(7));
        });
    }
}
