//! Owns: the lease that keeps two synchronisations apart.
//! May not: read a clock, know what is synchronised.
//! Invariant: at one time it is one holder's; a holder can tell whether others had it since it last asked.

use super::{Db, Result};
use crate::types::UnixMs;
use rusqlite::{OptionalExtension, params};

/// What asking for the lease gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It was ours and still is, until then.
    Kept {
        /// When it ends unless renewed.
        until_ms: UnixMs,
    },
    /// It is ours from now on; until now others may have had it.
    Taken {
        /// When it ends unless renewed.
        until_ms: UnixMs,
    },
    /// Another has it, of this name.
    Others(String),
}

/// Takes the lease for `for_ms`, or renews it when less than `least_ms` of it is left: a renewal is a
/// write, and a run asks at every step. A lease that ends later than one taken now would was made by a
/// clock that has since stepped back. One that has lapsed and still bears our name was nobody else's in between.
///
/// # Errors
/// As SQLite says.
pub fn take_lease(
    db: &Db,
    holder: &str,
    now_ms: UnixMs,
    for_ms: i64,
    least_ms: i64,
) -> Result<Lease> {
    let until_ms = now_ms.saturating_add(for_ms);
    let found: Option<(String, UnixMs)> = db
        .prepare_cached("SELECT holder, until_ms FROM sync_lease WHERE one = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let was_ours = found.as_ref().is_some_and(|(other, _)| other == holder);
    if let Some((other, end_ms)) = found
        && (now_ms..=until_ms).contains(&end_ms)
    {
        if other != holder && end_ms > now_ms {
            return Ok(Lease::Others(other));
        }
        if other == holder && end_ms - now_ms >= least_ms {
            return Ok(Lease::Kept { until_ms: end_ms });
        }
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO sync_lease (one, holder, until_ms) VALUES (1, ?1, ?2)",
    )?
    .execute(params![holder, until_ms])?;
    Ok(if was_ours { Lease::Kept { until_ms } } else { Lease::Taken { until_ms } })
}

/// A holder's name: what it is, its process, and a draw of its own, because process numbers repeat, in
/// containers from start to start.
pub fn holder_name(what: &str, process: u32, draw: u64) -> String {
    format!("{what} {process} {draw:016x}")
}

/// The process in a [`holder_name`].
pub fn holder_process(name: &str) -> Option<u32> {
    name.split(' ').nth(1)?.parse().ok()
}

/// Takes the lease from a daemon. For its successor, which holds the directory's lock: that daemon has ended.
///
/// # Errors
/// As SQLite says.
pub fn end_daemon_lease(db: &Db) -> Result<()> {
    db.execute("DELETE FROM sync_lease WHERE holder LIKE 'daemon %'", [])?;
    Ok(())
}

/// Gives the lease back; another holder's stays.
///
/// # Errors
/// As SQLite says.
pub fn end_lease(db: &Db, holder: &str) -> Result<()> {
    db.execute("DELETE FROM sync_lease WHERE holder = ?1", [holder])?;
    Ok(())
}

/// Who holds the lease at `now_ms`.
///
/// # Errors
/// As SQLite says.
pub fn lease_holder(db: &Db, now_ms: UnixMs) -> Result<Option<String>> {
    Ok(db
        .query_row("SELECT holder FROM sync_lease WHERE until_ms > ?1", [now_ms], |row| row.get(0))
        .optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_process_number_that_comes_again_is_another_holder() {
        let store = Store::in_memory().unwrap();
        let ask = |holder: &str| take_lease(&store.db, holder, 1_000, 200, 100).unwrap();
        let (first, second) = (holder_name("daemon", 1, 7), holder_name("daemon", 1, 8));
        assert_eq!((holder_process(&first), holder_process("daemon")), (Some(1), None));
        assert_eq!(ask(&first), Lease::Taken { until_ms: 1_200 });
        assert_eq!(ask(&first), Lease::Kept { until_ms: 1_200 });
        assert_eq!(ask(&second), Lease::Others(first));
        // Its successor, which holds the directory, need not wait.
        end_daemon_lease(&store.db).unwrap();
        assert_eq!(ask(&second), Lease::Taken { until_ms: 1_200 });
        let cron = holder_name("sync", 1, 7);
        assert_eq!(ask(&cron), Lease::Others(second.clone()));
        end_lease(&store.db, &second).unwrap();
        ask(&cron);
        end_daemon_lease(&store.db).unwrap();
        assert_eq!(ask(&second), Lease::Others(cron), "only a daemon's");
    }
}
