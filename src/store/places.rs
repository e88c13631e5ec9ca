//! Owns: the places of group sessions, for sessions that live on when their question is settled.
//! May not: decide who gets a place (that is `engine::session`).
//! Invariant: what is written here never makes more sessions hold a place than there are.

use super::Result;
use crate::types::UnixMs;
use rusqlite::{Connection, params};

/// The places of group sessions.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// So many hold one at a time.
    pub slots: u32,
    /// Who was active after this has not lost it.
    pub alive_ms: UnixMs,
}

/// Whether the session has its place or can have it: it may have been spent or fallen idle while its last question
/// was in hand, and others may hold all places since.
const HAS_PLACE: &str = "(slot = 0 OR (last_ms > ?2 AND rounds < rounds_max)
    OR (SELECT count(*) FROM session AS other
         WHERE other.slot = 1 AND other.last_ms > ?2 AND other.rounds < other.rounds_max) < ?3)";

/// A round that gave no answer does not count, unless the session would come back to life without a place for it.
///
/// # Errors
/// As SQLite says.
pub fn give_round_back(db: &Connection, id: i64, places: Places) -> Result<()> {
    db.prepare_cached(&format!(
        "UPDATE session SET rounds = max(rounds - 1, 0) WHERE id = ?1 AND {HAS_PLACE}"
    ))?
    .execute(params![id, places.alive_ms, places.slots])?;
    Ok(())
}

/// Activity keeps a session alive; one that has ended meanwhile comes back only to a free place.
///
/// # Errors
/// As SQLite says.
pub fn touch_session(db: &Connection, id: i64, places: Places, now_ms: UnixMs) -> Result<()> {
    db.prepare_cached(&format!(
        "UPDATE session SET last_ms = max(last_ms, ?4)
          WHERE id = ?1 AND (rounds >= rounds_max OR {HAS_PLACE})"
    ))?
    .execute(params![id, places.alive_ms, places.slots, now_ms])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store, people};
    use crate::types::{ChatId, Lane, TopicId, UserId};

    #[test]
    fn a_session_that_ended_with_its_question_in_hand_comes_back_only_to_a_free_place() {
        const NOW_MS: i64 = 1_000;
        let places = Places { slots: 2, alive_ms: 500 };
        // (last active, rounds of 3 taken, others that hold a place, whether it is live afterwards)
        for (slot, last_ms, rounds, others, answered, is_live) in [
            (true, 900, 3, 1, false, true),
            (true, 900, 3, 2, false, false),
            (true, 900, 2, 1, false, true),
            (true, 400, 2, 1, true, true),
            (true, 400, 2, 2, true, false),
            (true, 900, 3, 2, true, false),
            (false, 400, 3, 2, false, false),
            (false, 400, 2, 2, true, true),
            (false, 900, 3, 2, false, true),
        ] {
            let mut store = Store::in_memory().unwrap();
            let live = store.write(Durability::Process, |db| {
                let open = |chat: i64, slot, at_ms| {
                    let lane = Lane { chat: ChatId(-chat), topic: TopicId(0) };
                    people::open_session(db, lane, UserId(chat), "x", slot, 3, None, at_ms)
                };
                let id = open(1, slot, last_ms)?;
                for _ in 1..rounds {
                    people::take_round(db, id, 3, last_ms)?;
                }
                for n in 0..others {
                    open(2 + n, true, 950)?;
                }
                match answered {
                    true => touch_session(db, id, places, NOW_MS)?,
                    false => give_round_back(db, id, places)?,
                }
                let live =
                    "SELECT last_ms > 500 AND rounds < rounds_max FROM session WHERE id = ?1";
                Ok(db.query_row(live, [id], |row| row.get::<_, bool>(0))?)
            });
            let case = (slot, last_ms, rounds, others, answered);
            assert_eq!(live.unwrap(), is_live, "{case:?}");
        }
    }
}
