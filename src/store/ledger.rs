//! Owns: the rows of keys, quotas, days, reservations and benches, and the installation's salt.
//! May not: know what they mean; the pool does.

use super::{Result, meta};
use crate::calendar::pacific_day;
use crate::engine::keypool::{
    ApartRow, BenchRow, Changes, DayRow, KeyRow, LEASE_MS_MAX, LedgerRows, QuotaRow, ReservationRow,
};
use crate::types::Now;
use rusqlite::{Connection, Row, params};

/// Name of the salt in `meta`.
const INSTALL_SALT: &str = "install_salt";
/// Days of use kept for charts.
const KEEP_DAYS: i64 = 8;
/// Days read into memory: yesterday's may still be what the clock says.
const LOAD_DAYS: i64 = 1;
/// Days for which two keys are known to be of two projects.
const APART_KEEP_DAYS: i64 = 92;

/// Everything the pool remembers.
///
/// # Errors
/// As SQLite says.
pub fn load(db: &Connection, now: Now) -> Result<LedgerRows> {
    let first_day = pacific_day(now.unix_ms) - LOAD_DAYS;
    Ok(LedgerRows {
        keys: all(
            db,
            "SELECT fingerprint, last4, project, inferred, joined_until_day, joins, puzzled_day, dead, dead_ms, parked,
                    resting_until_ms, rest_guessed, rest_reason, errors, last_used_ms
             FROM gemini_key ORDER BY fingerprint",
            [],
            key,
        )?,
        aparts: all(
            db,
            "SELECT one, other, day, together FROM key_apart ORDER BY one, other",
            [],
            |row| {
                let (one, other) = (row.get(0)?, row.get(1)?);
                Ok(ApartRow { one, other, day: row.get(2)?, together: row.get(3)? })
            },
        )?,
        quotas: all(
            db,
            "SELECT project, model, rpm, tpm, rpd, until_ms, reason, guessed, backoff, learned_ms
             FROM quota ORDER BY project, model",
            [],
            quota,
        )?,
        days: all(
            db,
            "SELECT day, project, model, used, refused, tokens_in, tokens_out
             FROM quota_day WHERE day >= ?1 ORDER BY day, project, model",
            [first_day],
            day,
        )?,
        reservations: all(
            db,
            "SELECT id, project, model, fingerprint, at_ms, day, tokens, settled
             FROM reservation WHERE at_ms > ?1 ORDER BY at_ms, id",
            [now.unix_ms - LEASE_MS_MAX],
            reservation,
        )?,
        last_reservation: db
            .prepare_cached("SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'reservation'")?
            .query_row([], |row| row.get(0))?,
        benches: all(
            db,
            "SELECT model, until_ms, failures, reason FROM model_bench ORDER BY model",
            [],
            bench,
        )?,
    })
}

/// Writes what has changed, in the caller's transaction.
///
/// # Errors
/// As SQLite says; the caller rolls back and gives the pool its rows again.
pub fn save(db: &Connection, changes: &Changes) -> Result<()> {
    for row in &changes.keys {
        save_key(db, row)?;
    }
    for row in &changes.aparts {
        db.prepare_cached(
            "INSERT OR REPLACE INTO key_apart (one, other, day, together) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![row.one, row.other, row.day, row.together])?;
    }
    for row in &changes.quotas {
        save_quota(db, row)?;
    }
    for row in &changes.days {
        db.prepare_cached(
            "INSERT OR REPLACE INTO quota_day (day, project, model, used, refused, tokens_in, tokens_out)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            row.day,
            row.project,
            row.model,
            row.used,
            row.refused,
            i64::try_from(row.tokens_in).unwrap_or(i64::MAX),
            i64::try_from(row.tokens_out).unwrap_or(i64::MAX)
        ])?;
    }
    for row in &changes.reservations {
        db.prepare_cached(
            "INSERT OR REPLACE INTO reservation
               (id, project, model, fingerprint, at_ms, day, tokens, settled)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            row.id,
            row.project,
            row.model,
            row.fingerprint,
            row.at_ms,
            row.day,
            row.tokens,
            row.settled
        ])?;
    }
    for row in &changes.benches {
        if row.until_ms == 0 {
            db.prepare_cached("DELETE FROM model_bench WHERE model = ?1")?.execute([&row.model])?;
        } else {
            db.prepare_cached(
                "INSERT OR REPLACE INTO model_bench (model, until_ms, failures, reason)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![row.model, row.until_ms, row.failures, row.reason])?;
        }
    }
    Ok(())
}

/// Deletes reservations that weigh on nothing, days older than eight (but for the last nine that were
/// counted on), and what was not seen again for
/// a quarter of a year.
///
/// # Errors
/// As SQLite says.
pub fn prune(db: &Connection, now: Now) -> Result<()> {
    db.prepare_cached("DELETE FROM reservation WHERE at_ms <= ?1")?
        .execute([now.unix_ms - LEASE_MS_MAX])?;
    // Days that were counted on, and not days of the calendar: a clock that runs ahead must not
    // delete what is true when it comes back.
    db.prepare_cached(
        "DELETE FROM quota_day WHERE day < ?1 AND (day < ?2 OR day NOT IN
           (SELECT DISTINCT day FROM quota_day ORDER BY day DESC LIMIT ?3))",
    )?
    .execute([
        pacific_day(now.unix_ms) - KEEP_DAYS,
        pacific_day(now.unix_ms) - APART_KEEP_DAYS,
        KEEP_DAYS + 1,
    ])?;
    db.prepare_cached("DELETE FROM key_apart WHERE day < ?1")?
        .execute([pacific_day(now.unix_ms) - APART_KEEP_DAYS])?;
    Ok(())
}

/// The salt of this installation's fingerprints, `None` before the first one was set.
///
/// # Errors
/// As SQLite says.
pub fn salt(db: &Connection) -> Result<Option<String>> {
    meta::get(db, INSTALL_SALT)
}

/// The salt of this installation's fingerprints; `fresh`, the hex of random bytes, becomes it where
/// there is none.
///
/// # Errors
/// As SQLite says.
pub fn install_salt(db: &Connection, fresh: &str) -> Result<String> {
    if let Some(salt) = salt(db)? {
        return Ok(salt);
    }
    meta::set(db, INSTALL_SALT, fresh)?;
    Ok(fresh.to_owned())
}

fn save_key(db: &Connection, row: &KeyRow) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO gemini_key
           (fingerprint, last4, project, inferred, joined_until_day, joins, puzzled_day, dead, dead_ms,
            parked, resting_until_ms, rest_guessed, rest_reason, errors, last_used_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        row.fingerprint,
        row.last4,
        row.project,
        row.inferred,
        row.joined_until_day,
        row.joins,
        row.puzzled_day,
        row.dead,
        row.dead_ms,
        row.parked,
        row.resting_until_ms,
        row.rest_guessed,
        row.rest_reason,
        row.errors,
        row.last_used_ms
    ])?;
    Ok(())
}

fn save_quota(db: &Connection, row: &QuotaRow) -> Result<()> {
    let stored = |limit: Option<u32>| limit.map_or(-1, i64::from);
    db.prepare_cached(
        "INSERT OR REPLACE INTO quota
           (project, model, rpm, tpm, rpd, until_ms, reason, guessed, backoff, learned_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        row.project,
        row.model,
        stored(row.rpm),
        stored(row.tpm),
        stored(row.rpd),
        row.until_ms,
        row.reason,
        row.guessed,
        row.backoff,
        row.learned_ms
    ])?;
    Ok(())
}

fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    Ok(db.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<_>>()?)
}

fn key(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        fingerprint: row.get(0)?,
        last4: row.get(1)?,
        project: row.get(2)?,
        inferred: row.get(3)?,
        joined_until_day: row.get(4)?,
        joins: row.get(5)?,
        puzzled_day: row.get(6)?,
        dead: row.get(7)?,
        dead_ms: row.get(8)?,
        parked: row.get(9)?,
        resting_until_ms: row.get(10)?,
        rest_guessed: row.get(11)?,
        rest_reason: row.get(12)?,
        errors: row.get(13)?,
        last_used_ms: row.get(14)?,
    })
}

fn quota(row: &Row<'_>) -> rusqlite::Result<QuotaRow> {
    let limit = |at: usize| row.get(at).map(|stored: i64| u32::try_from(stored).ok());
    Ok(QuotaRow {
        project: row.get(0)?,
        model: row.get(1)?,
        rpm: limit(2)?,
        tpm: limit(3)?,
        rpd: limit(4)?,
        until_ms: row.get(5)?,
        reason: row.get(6)?,
        guessed: row.get(7)?,
        backoff: row.get(8)?,
        learned_ms: row.get(9)?,
    })
}

fn day(row: &Row<'_>) -> rusqlite::Result<DayRow> {
    let tokens = |at: usize| row.get(at).map(|stored: i64| u64::try_from(stored).unwrap_or(0));
    Ok(DayRow {
        day: row.get(0)?,
        project: row.get(1)?,
        model: row.get(2)?,
        used: row.get(3)?,
        refused: row.get(4)?,
        tokens_in: tokens(5)?,
        tokens_out: tokens(6)?,
    })
}

fn reservation(row: &Row<'_>) -> rusqlite::Result<ReservationRow> {
    Ok(ReservationRow {
        id: row.get(0)?,
        project: row.get(1)?,
        model: row.get(2)?,
        fingerprint: row.get(3)?,
        at_ms: row.get(4)?,
        day: row.get(5)?,
        tokens: row.get(6)?,
        settled: row.get(7)?,
    })
}

fn bench(row: &Row<'_>) -> rusqlite::Result<BenchRow> {
    Ok(BenchRow {
        model: row.get(0)?,
        until_ms: row.get(1)?,
        failures: row.get(2)?,
        reason: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store};

    const NOW: Now = Now { unix_ms: 1_795_000_000_000 };

    fn changes() -> Changes {
        let (project, model) = ("p".to_owned(), "m".to_owned());
        let day = pacific_day(NOW.unix_ms);
        Changes {
            keys: vec![KeyRow {
                fingerprint: "f".to_owned(),
                last4: "1234".to_owned(),
                project: "~g".to_owned(),
                inferred: true,
                joined_until_day: day,
                joins: 3,
                puzzled_day: day,
                dead: "leaked".to_owned(),
                dead_ms: 5,
                parked: true,
                resting_until_ms: 6,
                rest_guessed: true,
                rest_reason: "invalid".to_owned(),
                errors: 7,
                last_used_ms: 8,
            }],
            aparts: vec![ApartRow { one: "f".to_owned(), other: "g".to_owned(), day, together: 2 }],
            quotas: vec![QuotaRow {
                project: project.clone(),
                model: model.clone(),
                rpm: Some(15),
                tpm: None,
                rpd: Some(500),
                until_ms: 9,
                reason: "day".to_owned(),
                guessed: true,
                backoff: 2,
                learned_ms: 10,
            }],
            days: vec![DayRow {
                day,
                project: project.clone(),
                model: model.clone(),
                used: 11,
                refused: 12,
                tokens_in: 13,
                tokens_out: 14,
            }],
            reservations: vec![ReservationRow {
                id: 15,
                project,
                model: model.clone(),
                fingerprint: "f".to_owned(),
                at_ms: NOW.unix_ms,
                day,
                tokens: 16,
                settled: false,
            }],
            benches: vec![BenchRow {
                model,
                until_ms: 17,
                failures: 18,
                reason: "overloaded".to_owned(),
            }],
        }
    }

    #[test]
    fn what_is_saved_is_loaded_to_the_last_field() {
        let mut store = Store::in_memory().unwrap();
        let want = changes();
        for _ in 0..2 {
            store.write(Durability::Process, |tx| save(tx, &want)).unwrap();
            let rows = load(&store.db, NOW).unwrap();
            assert_eq!(rows.keys, want.keys);
            assert_eq!(rows.aparts, want.aparts);
            assert_eq!(rows.quotas, want.quotas);
            assert_eq!(rows.days, want.days);
            assert_eq!(rows.reservations, want.reservations);
            assert_eq!(rows.last_reservation, 15);
            assert_eq!(rows.benches, want.benches);
        }
    }

    #[test]
    fn old_reservations_and_days_leave_and_numbers_do_not_come_back() {
        let mut store = Store::in_memory().unwrap();
        store.write(Durability::Process, |tx| save(tx, &changes())).unwrap();
        let later = |days: i64| Now { unix_ms: NOW.unix_ms + days * crate::types::DAY_MS };
        store.write(Durability::Process, |tx| prune(tx, later(1))).unwrap();
        let rows = load(&store.db, later(1)).unwrap();
        assert_eq!((rows.days.len(), rows.reservations.len(), rows.last_reservation), (1, 0, 15));
        store.write(Durability::Process, |tx| prune(tx, later(9))).unwrap();
        let kept = load(&store.db, NOW).unwrap().days;
        assert_eq!(kept.len(), 1, "a clock that runs ahead deletes nothing that counts");
        let busy =
            |day| Changes { days: vec![DayRow { day, ..kept[0].clone() }], ..Changes::default() };
        for n in 1..=KEEP_DAYS + 1 {
            store.write(Durability::Process, |tx| save(tx, &busy(kept[0].day + n))).unwrap();
        }
        store.write(Durability::Process, |tx| prune(tx, later(9))).unwrap();
        let days = load(&store.db, NOW).unwrap().days;
        assert_eq!((days.len(), days[0].day), (9, kept[0].day + 1), "nine newer days were used");
        assert_eq!(load(&store.db, NOW).unwrap().aparts.len(), 1);
        store.write(Durability::Process, |tx| prune(tx, later(93))).unwrap();
        assert_eq!(load(&store.db, NOW).unwrap().aparts.len(), 0);
    }

    #[test]
    fn a_bench_that_is_over_leaves_the_table() {
        let mut store = Store::in_memory().unwrap();
        store.write(Durability::Process, |tx| save(tx, &changes())).unwrap();
        let over = BenchRow { model: "m".to_owned(), ..BenchRow::default() };
        let over = Changes { benches: vec![over], ..Changes::default() };
        store.write(Durability::Process, |tx| save(tx, &over)).unwrap();
        assert_eq!(load(&store.db, NOW).unwrap().benches, []);
    }

    #[test]
    fn the_salt_is_made_once() {
        let store = Store::in_memory().unwrap();
        assert_eq!(salt(&store.db).unwrap(), None);
        let first = install_salt(&store.db, "abab").unwrap();
        assert_eq!(first, "abab");
        assert_eq!(install_salt(&store.db, "cdcd").unwrap(), first);
    }
}
