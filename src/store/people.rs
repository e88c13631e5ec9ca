//! Owns: persons, the roles given to them, their live sessions, the local `user_registry`.
//! May not: decide who may what.

use super::{Result, erase};
use crate::types::{ChatId, Lane, Role, TopicId, UnixMs, User, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// What is remembered of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// When the last polite refusal was said; 0 never.
    pub refused_ms: UnixMs,
    /// Whether this is the first we hear of them.
    pub new: bool,
}

/// A role given at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub user: UserId,
    /// Which.
    pub role: Role,
    /// 0: for ever.
    pub until_ms: UnixMs,
    /// `command`, `chat`, `pairing`, `button`.
    pub source: String,
}

/// A live conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The row; turns of the history carry it.
    pub id: i64,
    /// Where.
    pub lane: Lane,
    /// Whose.
    pub user: UserId,
    /// What they are called.
    pub name: String,
    /// Rounds taken so far.
    pub rounds: u32,
    /// When it began.
    pub opened_ms: UnixMs,
    /// Last activity.
    pub last_ms: UnixMs,
}

/// Writes down who was seen; returns what was known before. A refusal that a wrong clock dated in the future counts as
/// one of long ago; who asked to be forgotten asked before this, here and in Supabase.
///
/// # Errors
/// As SQLite says.
pub fn seen(db: &Connection, user: &User, now_ms: UnixMs) -> Result<Person> {
    let known = db
        .prepare_cached(
            "SELECT iif(refused_ms > ?2, 1, refused_ms) FROM person WHERE user_id = ?1",
        )?
        .query_row(params![user.id.0, now_ms], |row| {
            Ok(Person { refused_ms: row.get(0)?, new: false })
        })
        .optional()?;
    db.prepare_cached(
        "INSERT INTO person (user_id, username, first_name, lang, first_ms, last_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)
         ON CONFLICT (user_id) DO UPDATE SET username = excluded.username,
           first_name = excluded.first_name, lang = excluded.lang, last_ms = excluded.last_ms,
           unreachable = 0, forgotten_ms = min(forgotten_ms, excluded.last_ms - 1)",
    )?
    .execute(params![
        user.id.0,
        user.username.as_deref().unwrap_or(""),
        user.first_name,
        user.language_code.as_deref().unwrap_or(""),
        now_ms
    ])?;
    erase::writes_again(db, user.id, now_ms)?;
    Ok(known.unwrap_or(Person { refused_ms: 0, new: true }))
}

/// Remembers when a polite refusal was said; 0 makes the next one possible again.
///
/// # Errors
/// As SQLite says.
pub fn set_refused(db: &Connection, user: UserId, at_ms: UnixMs) -> Result<()> {
    db.prepare_cached("UPDATE person SET refused_ms = ?2 WHERE user_id = ?1 AND refused_ms != ?2")?
        .execute(params![user.0, at_ms])?;
    Ok(())
}

/// Telegram says this person cannot be reached.
///
/// # Errors
/// As SQLite says.
pub fn set_unreachable(db: &Connection, user: UserId) -> Result<()> {
    db.prepare_cached("UPDATE person SET unreachable = 1 WHERE user_id = ?1")?.execute([user.0])?;
    Ok(())
}

/// A person's Telegram language, for texts sent when no message of theirs is at hand.
///
/// # Errors
/// As SQLite says.
pub fn lang_of(db: &Connection, user: UserId) -> Result<Option<String>> {
    Ok(db
        .prepare_cached("SELECT lang FROM person WHERE user_id = ?1 AND lang != ''")?
        .query_row([user.0], |row| row.get(0))
        .optional()?)
}

/// The role given to this person, unless it has ended.
///
/// # Errors
/// As SQLite says.
pub fn grant_of(db: &Connection, user: UserId, now_ms: UnixMs) -> Result<Option<Role>> {
    Ok(db
        .prepare_cached(
            "SELECT role FROM grants WHERE user_id = ?1 AND (until_ms = 0 OR until_ms > ?2)",
        )?
        .query_row(params![user.0, now_ms], |row| row.get::<_, String>(0))
        .optional()?
        .and_then(|name| Role::from_name(&name)))
}

/// Gives a role; true when that changed anything.
///
/// # Errors
/// As SQLite says.
pub fn set_grant(db: &Connection, grant: &Grant, now_ms: UnixMs) -> Result<bool> {
    let changed = db
        .prepare_cached(
            "INSERT INTO grants (user_id, role, until_ms, source, given_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (user_id) DO UPDATE SET role = excluded.role, until_ms = excluded.until_ms,
               source = excluded.source, given_ms = excluded.given_ms
              WHERE role != excluded.role OR until_ms != excluded.until_ms",
        )?
        .execute(params![grant.user.0, grant.role.name(), grant.until_ms, grant.source, now_ms])?;
    Ok(changed > 0)
}

/// Takes a given role back; false when there was none.
///
/// # Errors
/// As SQLite says.
pub fn remove_grant(db: &Connection, user: UserId) -> Result<bool> {
    Ok(db.prepare_cached("DELETE FROM grants WHERE user_id = ?1")?.execute([user.0])? > 0)
}

/// Every given role that has not ended, by person.
///
/// # Errors
/// As SQLite says.
pub fn grants(db: &Connection, now_ms: UnixMs) -> Result<Vec<Grant>> {
    db.prepare_cached(
        "SELECT user_id, role, until_ms, source FROM grants
          WHERE until_ms = 0 OR until_ms > ?1 ORDER BY user_id",
    )?
    .query_map([now_ms], |row| {
        Ok(Grant {
            user: UserId(row.get(0)?),
            role: Role::from_name(&row.get::<_, String>(1)?).unwrap_or(Role::Guest),
            until_ms: row.get(2)?,
            source: row.get(3)?,
        })
    })?
    .map(|grant| Ok(grant?))
    .collect()
}

/// The owners among the given roles.
///
/// # Errors
/// As SQLite says.
pub fn granted_owners(db: &Connection, now_ms: UnixMs) -> Result<Vec<UserId>> {
    Ok(grants(db, now_ms)?
        .into_iter()
        .filter(|grant| grant.role == Role::Owner)
        .map(|grant| grant.user)
        .collect())
}

const SESSION_COLUMNS: &str =
    "id, chat_id, topic_id, user_id, name, rounds, opened_ms, last_ms FROM session";

pub(super) fn read_session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        lane: Lane { chat: ChatId(row.get(1)?), topic: TopicId(row.get(2)?) },
        user: UserId(row.get(3)?),
        name: row.get(4)?,
        rounds: row.get(5)?,
        opened_ms: row.get(6)?,
        last_ms: row.get(7)?,
    })
}

/// The stored session of this person here, live or not: the engine judges.
///
/// # Errors
/// As SQLite says.
pub fn session_of(db: &Connection, lane: Lane, user: UserId) -> Result<Option<Session>> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {SESSION_COLUMNS} WHERE chat_id = ?1 AND topic_id = ?2 AND user_id = ?3"
        ))?
        .query_row(params![lane.chat.0, lane.topic.0, user.0], read_session)
        .optional()?)
}

/// Group sessions that hold a slot: active after `alive_ms` and with rounds left, oldest first.
///
/// # Errors
/// As SQLite says.
pub fn slots(db: &Connection, alive_ms: UnixMs) -> Result<Vec<Session>> {
    db.prepare_cached(&format!(
        "SELECT {SESSION_COLUMNS} WHERE slot = 1 AND last_ms > ?1 AND rounds < rounds_max
          ORDER BY opened_ms, id"
    ))?
    .query_map([alive_ms], read_session)?
    .map(|session| Ok(session?))
    .collect()
}

/// How many sessions of any kind are live.
///
/// # Errors
/// As SQLite says.
pub fn live_sessions(db: &Connection, alive_ms: UnixMs) -> Result<u32> {
    Ok(db
        .prepare_cached("SELECT count(*) FROM session WHERE last_ms > ?1 AND rounds < rounds_max")?
        .query_row([alive_ms], |row| row.get(0))?)
}

/// Begins a session in place of any older one of this person here; its first round is taken. With
/// `follow_after_ms`, one that was active after that and whose rounds are spent is followed: what it
/// held goes on, as a summary.
///
/// # Errors
/// As SQLite says.
#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
pub fn open_session(
    db: &Connection,
    lane: Lane,
    user: UserId,
    name: &str,
    slot: bool,
    rounds_max: u32,
    follow_after_ms: Option<UnixMs>,
    now_ms: UnixMs,
) -> Result<i64> {
    let before: Option<(i64, UnixMs, bool, String)> = db
        .prepare_cached(
            "DELETE FROM session WHERE chat_id = ?1 AND topic_id = ?2 AND user_id = ?3
             RETURNING id, last_ms, rounds >= rounds_max, summary",
        )?
        .query_map(params![lane.chat.0, lane.topic.0, user.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .next()
        .transpose()?;
    let followed = before.filter(|(_, last_ms, spent, _)| {
        *spent && follow_after_ms.is_some_and(|after_ms| *last_ms > after_ms)
    });
    let (follows, summary) = followed.map_or((0, String::new()), |row| (row.0, row.3));
    db.prepare_cached(
        "INSERT INTO session (chat_id, topic_id, user_id, name, slot, rounds, rounds_max,
           opened_ms, last_ms, follows, summary)
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?7, ?8, ?9)",
    )?
    .execute(params![
        lane.chat.0,
        lane.topic.0,
        user.0,
        name,
        slot,
        rounds_max,
        now_ms,
        follows,
        summary
    ])?;
    Ok(db.last_insert_rowid())
}

/// What a session knows from before its own turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The session it follows; 0 none.
    pub follows: i64,
    /// Whether the turns of that one are part of `summary`, or given up.
    pub summed: bool,
    /// Empty where there is none.
    pub summary: String,
}

/// What this session knows from before; `None` when it is over or was reset.
///
/// # Errors
/// As SQLite says.
pub fn before(db: &Connection, session: i64) -> Result<Option<Before>> {
    Ok(db
        .prepare_cached("SELECT follows, summed, summary FROM session WHERE id = ?1")?
        .query_row([session], |row| {
            Ok(Before { follows: row.get(0)?, summed: row.get(1)?, summary: row.get(2)? })
        })
        .optional()?)
}

/// The session it follows is summed up, with nothing where that did not work; a session that is gone
/// stays so.
///
/// # Errors
/// As SQLite says.
pub fn set_summary(db: &Connection, session: i64, summary: &str) -> Result<()> {
    db.prepare_cached("UPDATE session SET summed = 1, summary = ?2 WHERE id = ?1")?
        .execute(params![session, summary])?;
    Ok(())
}

/// Takes a further round of a session.
///
/// # Errors
/// As SQLite says.
pub fn take_round(db: &Connection, id: i64, rounds_max: u32, now_ms: UnixMs) -> Result<()> {
    db.prepare_cached(
        "UPDATE session SET rounds = rounds + 1, rounds_max = ?2, last_ms = ?3 WHERE id = ?1",
    )?
    .execute(params![id, rounds_max, now_ms])?;
    Ok(())
}

/// Ends a session; false when there was none.
///
/// # Errors
/// As SQLite says.
pub fn end_session(db: &Connection, id: i64) -> Result<bool> {
    Ok(db.prepare_cached("DELETE FROM session WHERE id = ?1")?.execute([id])? > 0)
}

/// Forgets sessions whose last activity is older than `before_ms`, a bounded number at once.
///
/// # Errors
/// As SQLite says.
pub fn prune_sessions(db: &Connection, before_ms: UnixMs) -> Result<usize> {
    Ok(db
        .prepare_cached(
            "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE last_ms < ?1 LIMIT 500)",
        )?
        .execute([before_ms])?)
}

/// Counts a keyword or mention of this person in this chat (`user_registry`).
///
/// # Errors
/// As SQLite says.
pub fn register(
    db: &Connection,
    user: &User,
    chat: ChatId,
    keyword: &str,
    now_us: i64,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO registry (user_id, chat_id, username, first_name, keyword, trigger_count,
           last_us, created_us) VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6)
         ON CONFLICT (user_id, chat_id) DO UPDATE SET username = excluded.username,
           first_name = excluded.first_name, keyword = excluded.keyword,
           trigger_count = trigger_count + 1, last_us = excluded.last_us,
           sync = CASE WHEN sync = 3 THEN 3 ELSE 0 END",
    )?
    .execute(params![
        user.id.0,
        chat.0,
        user.username.as_deref().unwrap_or(&user.first_name),
        user.first_name,
        keyword,
        now_us
    ])?;
    Ok(())
}

/// Sessions of a group go on in the supergroup it became.
///
/// # Errors
/// As SQLite says.
pub fn migrate_chat(db: &Connection, from: ChatId, to: ChatId) -> Result<()> {
    db.execute(
        "UPDATE OR REPLACE session SET chat_id = ?2 WHERE chat_id = ?1",
        params![from.0, to.0],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store};

    #[test]
    fn a_session_follows_one_whose_rounds_are_spent_while_it_is_not_idle() {
        for (what, rounds, follow_after_ms, reset, follows) in [
            ("spent and active", 2, Some(50), false, true),
            ("spent and idle", 2, Some(200), false, false),
            ("not wished for", 2, None, false, false),
            ("rounds are left", 1, Some(50), false, false),
            ("reset meanwhile", 2, Some(50), true, false),
        ] {
            let mut store = Store::in_memory().unwrap();
            let (before, first) = store
                .write(Durability::Process, |db| {
                    let lane = Lane { chat: ChatId(7), topic: TopicId(0) };
                    let open = |follow_after_ms, now_ms| {
                        open_session(db, lane, UserId(7), "x", false, 2, follow_after_ms, now_ms)
                    };
                    let first = open(follow_after_ms, 100)?;
                    set_summary(db, first, "earlier")?;
                    for _ in 1..rounds {
                        take_round(db, first, 2, 150)?;
                    }
                    if reset {
                        end_session(db, first)?;
                    }
                    let second = open(follow_after_ms, 180)?;
                    Ok((before(db, second)?.unwrap(), first))
                })
                .unwrap();
            let want = match follows {
                true => Before { follows: first, summed: false, summary: "earlier".to_owned() },
                false => Before::default(),
            };
            assert_eq!(before, want, "{what}");
        }
    }
    #[test]
    fn a_refusal_counts_from_when_it_was_unless_a_wrong_clock_dated_it() {
        let user = User {
            id: UserId(5),
            username: None,
            first_name: "A".to_owned(),
            language_code: None,
            is_bot: false,
        };
        for (refused_ms, now_ms, want) in
            [(0, 100, 0), (40, 100, 40), (100, 100, 100), (9_000, 100, 1)]
        {
            let mut store = Store::in_memory().unwrap();
            let found = store.write(Durability::Process, |db| {
                seen(db, &user, 10)?;
                set_refused(db, user.id, refused_ms)?;
                seen(db, &user, now_ms)
            });
            assert_eq!(found.unwrap().refused_ms, want, "{refused_ms} at {now_ms}");
        }
    }
}
