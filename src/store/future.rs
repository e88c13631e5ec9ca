//! Owns: what a clock that ran ahead has left in the rows, once the clock is right again.
//! May not: touch history, counters or anything that has left this machine.
//!
//! A board without a battery may live in 2040 for an hour. Sessions of that hour would hold their slots, and
//! messages would wait, until 2040 (contract §5.8).

use super::{Db, Result};
use crate::types::{DAY_MS, UnixMs};

/// No honest wait of a message, a key or a model is longer.
const WAIT_MS_MAX: i64 = DAY_MS;
/// A project that has none of a model is tried again after eight days at the latest.
const STATE_MS_MAX: i64 = 9 * DAY_MS;

/// Moves what lies in the future to now; how many rows that were. For the start, before anything is cached: so tables
/// that grow with every person are not gone through here ([`seen`](super::people::seen) judges a person's own row).
///
/// # Errors
/// As SQLite says.
pub fn forget(db: &Db, now_ms: UnixMs) -> Result<usize> {
    // Group sessions end: counting all of them from now could fill more slots than there are.
    let mut moved = db.execute(
        "UPDATE session SET last_ms = 0, opened_ms = 0 WHERE last_ms > ?1 AND slot = 1",
        [now_ms],
    )?;
    for (sql, beyond_ms) in [
        ("UPDATE session SET last_ms = ?2, opened_ms = min(opened_ms, ?2) WHERE last_ms > ?1", 0),
        ("UPDATE inbox SET received_ms = ?2 WHERE received_ms > ?1", 0),
        ("UPDATE inbox SET due_ms = ?2 WHERE due_ms > ?1", WAIT_MS_MAX),
        ("UPDATE outbox SET created_ms = ?2 WHERE created_ms > ?1", 0),
        ("UPDATE outbox SET due_ms = ?2 WHERE due_ms > ?1", WAIT_MS_MAX),
        ("UPDATE erasure SET again_ms = ?2 WHERE again_ms > ?1", WAIT_MS_MAX),
        ("UPDATE erasure SET asked_ms = ?2 WHERE asked_ms > ?1", 0),
        ("UPDATE gemini_key SET resting_until_ms = ?2 WHERE resting_until_ms > ?1", WAIT_MS_MAX),
        ("UPDATE quota SET until_ms = ?2 WHERE until_ms > ?1", STATE_MS_MAX),
        ("UPDATE model_bench SET until_ms = ?2 WHERE until_ms > ?1", WAIT_MS_MAX),
        ("UPDATE reservation SET at_ms = ?2 WHERE at_ms > ?1", 0),
    ] {
        moved += db.execute(sql, [now_ms.saturating_add(beyond_ms), now_ms])?;
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store};

    #[test]
    fn what_a_wrong_clock_wrote_holds_nothing_for_years() {
        let now_ms = 1_795_000_000_000;
        let mut store = Store::in_memory().unwrap();
        let session = |chat: i64, last_ms: i64| {
            format!(
                "INSERT INTO session (chat_id, topic_id, user_id, name, slot, rounds, rounds_max, opened_ms, last_ms)
                 VALUES ({chat}, 0, {last_ms}, '', {chat} < 0, 1, 5, {last_ms}, {last_ms})"
            )
        };
        let moved = store.write(Durability::Process, |tx| {
            for (chat, last_ms) in
                [(-1, now_ms + 400 * DAY_MS), (-2, now_ms - 1_000), (3, now_ms + 400 * DAY_MS)]
            {
                tx.execute_batch(&session(chat, last_ms))?;
            }
            let moved = forget(tx, now_ms)?;
            assert_eq!(forget(tx, now_ms)?, 0, "once is enough");
            Ok(moved)
        });
        assert_eq!(moved.unwrap(), 2);
        let mut read = store
            .connection()
            .prepare("SELECT chat_id, last_ms FROM session ORDER BY chat_id")
            .unwrap();
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let sessions: Vec<(i64, i64)> = rows.map(std::result::Result::unwrap).collect();
        assert_eq!(sessions, [(-2, now_ms - 1_000), (-1, 0), (3, now_ms)]);
    }
}
