//! Owns: what it takes to forget a person here, and the wish to forget them in Supabase too.
//! May not: send anything.

use super::Result;
use crate::types::{UnixMs, UserId};
use rusqlite::{Connection, params};

/// Erases a person's rows here and queues their erasure in Supabase; returns how many turns went.
/// Roles stay: that somebody is blocked stays known (contract §3). Questions that wait are still
/// answered, but nothing of them is written down ([`is_forgotten`]).
///
/// A daemon does not follow a clock that was set back: what it dated later than `now_ms` is of before all the same.
///
/// # Errors
/// As SQLite says.
pub fn forget(db: &Connection, user: UserId, now_ms: UnixMs) -> Result<usize> {
    let asked_ms: UnixMs = db.query_row(
        "SELECT max(?2, coalesce((SELECT max(received_ms) FROM inbox WHERE user_id = ?1), 0),
                coalesce((SELECT max(created_us) / 1000 + 1 FROM history WHERE user_id = ?1), 0))",
        params![user.0, now_ms],
        |row| row.get(0),
    )?;
    let turns = db.execute("DELETE FROM history WHERE user_id = ?1", [user.0])?;
    for sql in [
        "DELETE FROM registry WHERE user_id = ?1",
        "DELETE FROM session WHERE user_id = ?1",
        "UPDATE inbox SET name = '', text = '', context = '', body = NULL WHERE user_id = ?1 AND state IN (3, 4)",
        "DELETE FROM outbox_parked WHERE chat_id = ?1",
    ] {
        db.execute(sql, [user.0])?;
    }
    db.execute(
        "UPDATE person SET username = '', first_name = '', lang = '', forgotten_ms = ?2 WHERE user_id = ?1",
        params![user.0, asked_ms],
    )?;
    db.execute(
        "INSERT INTO erasure (user_id, asked_ms) VALUES (?1, ?2)
         ON CONFLICT (user_id) DO UPDATE SET asked_ms = excluded.asked_ms, again_ms = 0",
        params![user.0, asked_ms],
    )?;
    Ok(turns)
}

/// The same for a wish that another box heard at `asked_ms`: what the person said since stays.
///
/// # Errors
/// As SQLite says.
#[cfg(feature = "redis")]
pub fn forget_until(db: &Connection, user: UserId, asked_ms: UnixMs) -> Result<()> {
    for sql in [
        "DELETE FROM history WHERE user_id = ?1 AND created_us <= ?2 * 1000",
        "DELETE FROM registry WHERE user_id = ?1 AND last_us <= ?2 * 1000",
        "DELETE FROM session WHERE user_id = ?1 AND last_ms <= ?2",
        "UPDATE inbox SET name = '', text = '', context = '', body = NULL
          WHERE user_id = ?1 AND state IN (3, 4) AND received_ms <= ?2",
        "DELETE FROM outbox_parked WHERE chat_id = ?1 AND ?2 IS NOT NULL",
        "UPDATE person SET username = '', first_name = '', lang = '' WHERE user_id = ?1 AND last_ms <= ?2",
        "UPDATE person SET forgotten_ms = max(forgotten_ms, ?2) WHERE user_id = ?1",
        "INSERT INTO erasure (user_id, asked_ms) VALUES (?1, ?2)
         ON CONFLICT (user_id) DO UPDATE SET asked_ms = excluded.asked_ms, again_ms = 0
          WHERE asked_ms < excluded.asked_ms",
    ] {
        db.execute(sql, params![user.0, asked_ms])?;
    }
    Ok(())
}

/// Who writes again at `now_ms` asked to be forgotten before that: a wish that a clock ahead had dated later would take
/// in Supabase what they say from now on.
///
/// # Errors
/// As SQLite says.
pub fn writes_again(db: &Connection, user: UserId, now_ms: UnixMs) -> Result<()> {
    db.prepare_cached(
        "UPDATE erasure SET asked_ms = ?2 - 1 WHERE user_id = ?1 AND asked_ms >= ?2",
    )?
    .execute(params![user.0, now_ms])?;
    Ok(())
}

/// Whether this person asked to be forgotten at or after `since_ms`: what they had asked by then is
/// answered and leaves no row.
///
/// # Errors
/// As SQLite says.
pub fn is_forgotten(db: &Connection, user: UserId, since_ms: UnixMs) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM person WHERE user_id = ?1 AND forgotten_ms >= ?2)",
        )?
        .query_row(params![user.0, since_ms], |row| row.get(0))?)
}

/// Whether nothing of this person was taken in since they asked to be forgotten: asked again and again, it costs one look.
///
/// # Errors
/// As SQLite says.
pub fn is_all_forgotten(db: &Connection, user: UserId) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS
               (SELECT 1 FROM person WHERE user_id = ?1 AND forgotten_ms > 0 AND forgotten_ms >= last_ms)",
        )?
        .query_row([user.0], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store, people};
    use crate::types::User;

    #[test]
    fn what_is_in_hand_is_forgotten_even_if_it_was_dated_by_a_clock_that_ran_ahead() {
        for (what, received_ms, history_us, now_ms, since_ms, want) in [
            ("asked before", 50, 0, 100, 50, true),
            ("asked at that instant", 100, 0, 100, 100, true),
            ("asked after", 50, 0, 100, 101, false),
            ("asked before, by a clock ahead", 900, 0, 100, 900, true),
            ("asked after, by a clock ahead", 900, 0, 100, 901, false),
            ("answered lately, by a clock ahead", 50, 900_500, 100, 901, true),
        ] {
            let user = UserId(5);
            let mut store = Store::in_memory().unwrap();
            let (asked_ms, found) = store
                .write(Durability::Process, |db| {
                    db.execute("INSERT INTO person (user_id, first_ms, last_ms) VALUES (5, 1, 1)", [])?;
                    db.execute(
                        "INSERT INTO inbox (update_id, state, received_ms, user_id) VALUES (1, 2, ?1, 5)",
                        [received_ms],
                    )?;
                    db.execute(
                        "INSERT INTO history (chat_id, user_id, created_us) VALUES (5, 5, ?1)",
                        [history_us],
                    )?;
                    assert_eq!(forget(db, user, now_ms)?, 1);
                    let asked_ms: i64 =
                        db.query_row("SELECT asked_ms FROM erasure", [], |row| row.get(0))?;
                    Ok((asked_ms, is_forgotten(db, user, since_ms)?))
                })
                .unwrap();
            assert_eq!(found, want, "{what}");
            assert!(
                asked_ms * 1_000 >= history_us,
                "{what}: rows younger than {asked_ms} would stay"
            );
        }
    }

    #[test]
    fn what_is_said_after_a_wish_of_a_clock_that_ran_ahead_is_not_taken_with_it() {
        for (what, asked_ms, seen_ms, want) in [
            ("asked before", 100, 500, 100),
            ("asked at that instant", 500, 500, 499),
            ("asked by a clock ahead", 900, 500, 499),
        ] {
            let user = User { id: UserId(5), ..User::default() };
            let mut store = Store::in_memory().unwrap();
            let dates = store
                .write(Durability::Process, |db| {
                    db.execute(
                        "INSERT INTO person (user_id, first_ms, last_ms) VALUES (5, 1, 1)",
                        [],
                    )?;
                    forget(db, user.id, asked_ms)?;
                    forget(db, UserId(6), 900)?;
                    people::seen(db, &user, seen_ms)?;
                    let of = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
                    Ok([
                        of("SELECT asked_ms FROM erasure WHERE user_id = 5")?,
                        of("SELECT forgotten_ms FROM person WHERE user_id = 5")?,
                        of("SELECT asked_ms FROM erasure WHERE user_id = 6")?,
                    ])
                })
                .unwrap();
            assert_eq!(dates, [want, want, 900], "{what}");
        }
    }
}
