//! Owns: what every box of the bot is to know of its people (roles, pairing codes, wishes to be forgotten), and what of it
//! was learned here or elsewhere.
//! May not: know Redis, decide which of two counts (the engine).
//! Invariant: what was learned here is noted before anything that is heard is taken over.

use super::people::{self, Grant};
use super::{Result, erase};
use crate::engine::fleet::people::{About, Fact, Given, is_news, version};
use crate::types::UnixMs;
use rusqlite::{Connection, OptionalExtension, params};

/// Facts that say that something is no more are kept so long.
const NO_MORE_KEPT_MS: i64 = 90 * crate::types::DAY_MS;

/// Makes the table; only boxes that share updates have it.
///
/// # Errors
/// As SQLite says.
pub fn prepare(db: &Connection, now_ms: UnixMs) -> Result<()> {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS shared_fact (
           field TEXT PRIMARY KEY, version INTEGER NOT NULL, value TEXT NOT NULL
         ) STRICT, WITHOUT ROWID;",
    )?;
    db.execute(
        "DELETE FROM shared_fact WHERE value = '' AND version < ?1",
        [now_ms - NO_MORE_KEPT_MS],
    )?;
    Ok(())
}

/// Everything that is known, for boxes that know nothing.
///
/// # Errors
/// As SQLite says.
pub fn all(db: &Connection) -> Result<Vec<Fact>> {
    db.prepare_cached("SELECT field, version, value FROM shared_fact")?
        .query_map([], |row| {
            Ok(Fact { field: row.get(0)?, version: row.get(1)?, value: row.get(2)? })
        })?
        .map(|fact| Ok(fact?))
        .collect()
}

fn known(db: &Connection, field: &str) -> Result<Option<(i64, String)>> {
    Ok(db
        .prepare_cached("SELECT version, value FROM shared_fact WHERE field = ?1")?
        .query_row([field], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

fn note(db: &Connection, fact: &Fact) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO shared_fact (field, version, value) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![fact.field, fact.version, fact.value])?;
    Ok(())
}

/// What was learned here since the last look, by the daemon or by a command beside it. `looked_ms` is when that was; 0: in
/// another process, and something that is gone went at an instant that nobody knows.
///
/// # Errors
/// As SQLite says.
pub fn news(db: &Connection, looked_ms: UnixMs) -> Result<Vec<Fact>> {
    let rows: Vec<(String, UnixMs, String)> = db
        .prepare_cached(
            "SELECT 'g:' || user_id, given_ms, role || char(9) || until_ms || char(9) || source FROM grants
             UNION ALL SELECT 'p:' || code_hash, until_ms, '' || until_ms FROM pairing
             UNION ALL SELECT 'f:' || user_id, asked_ms, '' FROM erasure",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut all = Vec::new();
    for (field, at_ms, value) in rows {
        let known = known(db, &field)?;
        let same = known.as_ref().is_some_and(|(version, known)| match field.starts_with("f:") {
            true => *version >= at_ms,
            false => *known == value,
        });
        if !same {
            let version = version(at_ms, known.map(|(version, _)| version));
            all.push(Fact { field, version, value });
        }
    }
    let gone: Vec<(String, i64)> = db
        .prepare_cached(
            "SELECT field, version FROM shared_fact WHERE value != ''
              AND NOT (field LIKE 'g:%' AND EXISTS (SELECT 1 FROM grants WHERE user_id = CAST(substr(field, 3) AS INTEGER)))
              AND NOT (field LIKE 'p:%' AND EXISTS (SELECT 1 FROM pairing WHERE code_hash = substr(field, 3)))",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (field, known) in gone {
        let version = version(looked_ms, Some(known));
        all.push(Fact { field, version, value: String::new() });
    }
    for fact in &all {
        note(db, fact)?;
    }
    Ok(all)
}

/// Takes over what another box has told; whether it is new here and what it is about.
///
/// # Errors
/// As SQLite says.
pub fn hear(db: &Connection, fact: &Fact) -> Result<Option<About>> {
    let Some(about) = About::read(&fact.field) else { return Ok(None) };
    let known = known(db, &fact.field)?;
    if !is_news(fact, known.as_ref().map(|(version, value)| (*version, value.as_str()))) {
        return Ok(None);
    }
    match &about {
        About::Role(user) => match Given::read(&fact.value) {
            Some(given) => {
                let Given { role, until_ms, source } = given;
                // In place of whatever it was, with its own time.
                people::remove_grant(db, *user)?;
                let grant = Grant { user: *user, role, until_ms, source };
                people::set_grant(db, &grant, fact.version)?;
            }
            None if fact.value.is_empty() => drop(people::remove_grant(db, *user)?),
            // Of a later version of this program.
            None => return Ok(None),
        },
        About::Forgotten(user) => erase::forget_until(db, *user, fact.version)?,
        // What began since is another one.
        About::Ended(lane, user) => {
            db.prepare_cached(
                "DELETE FROM session WHERE chat_id = ?1 AND topic_id = ?2 AND user_id = ?3 AND opened_ms < ?4",
            )?
            .execute([lane.chat.0, lane.topic.0, user.0, fact.version])?;
        }
        About::Code(hash) => {
            db.execute("DELETE FROM pairing WHERE code_hash = ?1", [hash])?;
            if let Ok(until_ms) = fact.value.parse::<UnixMs>() {
                db.execute(
                    "INSERT INTO pairing (code_hash, until_ms) VALUES (?1, ?2)",
                    params![hash, until_ms],
                )?;
            }
        }
    }
    note(db, fact)?;
    Ok(Some(about))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store};
    use crate::types::{Role, UserId};

    fn grant(user: i64, role: Role) -> Grant {
        Grant { user: UserId(user), role, until_ms: 0, source: "chat".into() }
    }

    fn with_boxes(check: impl FnOnce(&Connection, &Connection)) {
        let mut stores = [Store::in_memory().unwrap(), Store::in_memory().unwrap()];
        let [one, two] = &mut stores;
        one.write(Durability::Process, |one| {
            prepare(one, 1_000)?;
            two.write(Durability::Process, |two| {
                prepare(two, 1_000)?;
                check(one, two);
                Ok(())
            })
        })
        .unwrap();
    }

    /// Each tells the other what it has learned; how much that was.
    fn meet(one: &Connection, two: &Connection, at_ms: UnixMs) -> usize {
        let (first, second) = (news(one, at_ms).unwrap(), news(two, at_ms).unwrap());
        first.iter().for_each(|fact| drop(hear(two, fact).unwrap()));
        second.iter().for_each(|fact| drop(hear(one, fact).unwrap()));
        first.len() + second.len()
    }

    fn roles(db: &Connection) -> Vec<(i64, Role)> {
        people::grants(db, 0).unwrap().into_iter().map(|it| (it.user.0, it.role)).collect()
    }

    #[test]
    fn what_one_box_learns_the_other_knows_and_does_not_tell_back() {
        with_boxes(|one, two| {
            people::set_grant(one, &grant(7, Role::Vip), 100).unwrap();
            people::set_grant(two, &grant(8, Role::Blocked), 100).unwrap();
            assert_eq!(meet(one, two, 150), 2);
            assert_eq!(roles(one), [(7, Role::Vip), (8, Role::Blocked)]);
            assert_eq!(roles(one), roles(two));
            assert_eq!(meet(one, two, 160), 0);
            people::remove_grant(two, UserId(7)).unwrap();
            assert_eq!(meet(one, two, 170), 1);
            assert_eq!(roles(one), [(8, Role::Blocked)]);
            assert_eq!(meet(one, two, 180), 0);
        });
    }

    #[test]
    fn the_newest_of_two_counts_on_both() {
        for (first_ms, second_ms, want) in
            [(200, 300, Role::Premium), (300, 200, Role::Vip), (300, 300, Role::Vip)]
        {
            with_boxes(|one, two| {
                people::set_grant(one, &grant(7, Role::Vip), first_ms).unwrap();
                people::set_grant(two, &grant(7, Role::Premium), second_ms).unwrap();
                meet(one, two, 400);
                assert_eq!((roles(one), roles(two)), (vec![(7, want)], vec![(7, want)]));
                assert_eq!(meet(one, two, 500), 0);
            });
        }
    }

    #[test]
    fn a_change_here_is_newer_than_what_a_clock_ahead_told() {
        with_boxes(|one, two| {
            people::set_grant(one, &grant(7, Role::Vip), 9_000_000).unwrap();
            meet(one, two, 150);
            people::set_grant(two, &grant(7, Role::Guest), 200).unwrap();
            meet(one, two, 250);
            assert_eq!(roles(one), [(7, Role::Guest)]);
        });
    }

    #[test]
    fn what_went_while_nobody_looked_gives_way_to_what_was_given_since() {
        with_boxes(|one, two| {
            people::set_grant(one, &grant(7, Role::Vip), 100).unwrap();
            meet(one, two, 150);
            people::remove_grant(one, UserId(7)).unwrap();
            people::set_grant(two, &grant(7, Role::Premium), 200).unwrap();
            let given = news(two, 250).unwrap();
            // A later process finds it gone.
            let gone = news(one, 0).unwrap();
            assert_eq!(gone[0].version, 101);
            given.iter().for_each(|fact| drop(hear(one, fact).unwrap()));
            gone.iter().for_each(|fact| drop(hear(two, fact).unwrap()));
            assert_eq!(
                (roles(one), roles(two)),
                (vec![(7, Role::Premium)], vec![(7, Role::Premium)])
            );
        });
    }

    #[test]
    fn a_code_holds_on_every_box_and_once() {
        with_boxes(|one, two| {
            one.execute("INSERT INTO pairing VALUES ('aa', 9000)", []).unwrap();
            meet(one, two, 150);
            assert!(crate::store::tell::take_pairing(two, "aa", 200).unwrap());
            meet(one, two, 250);
            assert!(!crate::store::tell::take_pairing(one, "aa", 300).unwrap());
        });
    }

    #[test]
    fn who_is_forgotten_on_one_box_is_on_all_and_what_they_say_since_stays() {
        with_boxes(|one, two| {
            for (db, last_ms) in [(one, 90), (two, 300)] {
                db.execute(
                    "INSERT INTO person (user_id, first_name, first_ms, last_ms) VALUES (7, 'A', 1, ?1)",
                    [last_ms],
                )
                .unwrap();
            }
            for at_ms in [150, 300] {
                two.execute(
                    "INSERT INTO history (chat_id, user_id, message_text, created_us) VALUES (7, 7, 'x', ?1)",
                    [at_ms * 1_000],
                )
                .unwrap();
            }
            erase::forget(one, UserId(7), 200).unwrap();
            assert_eq!(meet(one, two, 250), 1);
            assert_eq!(meet(one, two, 260), 0);
            let left = "SELECT group_concat(created_us) FROM history";
            assert_eq!(two.query_row(left, [], |row| row.get::<_, String>(0)).unwrap(), "300000");
            assert!(erase::is_forgotten(two, UserId(7), 200).unwrap());
            assert!(!erase::is_forgotten(two, UserId(7), 201).unwrap());
            let asked = "SELECT asked_ms FROM erasure";
            assert_eq!(two.query_row(asked, [], |row| row.get::<_, i64>(0)).unwrap(), 200);
        });
    }
}
