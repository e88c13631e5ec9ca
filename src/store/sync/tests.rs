//! The mark against a plain account of every row, under seeded operations in any order.

use super::*;
use crate::store::names::{self, Names};
use crate::store::{Durability, Store, salvage, tell, transfer};
use crate::types::row::HistoryRow;
use nanorand::{Rng, WyRand};
use std::collections::BTreeMap;

const SEEDS: u64 = 16;
const STEPS: usize = 250;
/// Whose rows an erasure holds back.
const HELD_BACK: i64 = 9;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Waiting,
    Unsure,
    There(i64),
    Parked,
    Imported(i64),
}

struct Account {
    store: Store,
    names: Names,
    rows: BTreeMap<i64, Is>,
    dice: WyRand,
}

impl Account {
    fn new(seed: u64) -> Self {
        let store = Store::in_memory().unwrap();
        let names = names::load(store.connection(), seed).unwrap();
        Self { store, names, rows: BTreeMap::new(), dice: WyRand::new_seed(seed) }
    }
    fn one_in(&mut self, of: u64) -> bool {
        self.dice.generate_range(0..of) == 0
    }
    fn any(&mut self, upto: usize) -> usize {
        self.dice.generate_range(0..=upto)
    }
    fn add(&mut self) {
        let user = if self.one_in(12) { HELD_BACK } else { 2 };
        let db = self.store.connection();
        db.execute("INSERT INTO history (chat_id, user_id, created_us) VALUES (1, ?1, 7)", [user])
            .unwrap();
        self.rows.insert(db.last_insert_rowid(), Is::Waiting);
    }
    fn import(&mut self) {
        let remote_id = 1 + self.dice.generate_range(0..1_000_000_i64);
        let db = self.store.connection();
        let known = names::local_id(db, remote_id).unwrap().is_some();
        let n: i64 = db.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
        let row = HistoryRow {
            id: 0,
            remote_id,
            sync: 0,
            chat: ChatId(1),
            user: UserId(2),
            username: None,
            message: None,
            response: None,
            model: None,
            metadata: "{}",
            created_us: 1_000 + n,
        };
        let done = transfer::import_history(db, &row, None).unwrap();
        assert_eq!(done == transfer::Imported::Known, known);
        if !known {
            self.rows.insert(db.last_insert_rowid(), Is::Imported(remote_id));
        }
    }
    fn claim(&mut self, unsure: bool) -> Vec<Claimed> {
        let rows_max = 1 + self.any(7);
        let db = self.store.connection();
        let newest = newest_id(db).unwrap();
        if newest > self.names.upto {
            self.names = names::extend(db, self.names, newest, self.dice.generate()).unwrap();
        }
        let claimed =
            claim_history(db, self.names, 0, newest, rows_max, unsure, &mut |_| true).unwrap();
        for row in &claimed {
            let want = if unsure { Is::Unsure } else { Is::Waiting };
            assert_eq!(self.rows.get(&row.id), Some(&want), "row {} was claimed", row.id);
        }
        claimed
    }
    fn sent(&mut self, claimed: &[Claimed]) {
        history_sent(self.store.connection(), claimed).unwrap();
        for row in claimed {
            self.rows.insert(row.id, Is::There(row.remote_id));
        }
    }
    fn step(&mut self) {
        match self.any(13) {
            0..=3 => (0..self.any(5)).for_each(|_| self.add()),
            4..=6 => {
                let claimed = self.claim(false);
                self.sent(&claimed);
            }
            7 => {
                // The reply lists some of them.
                let mut claimed = self.claim(false);
                claimed.retain(|_| !self.one_in(4));
                self.sent(&claimed);
            }
            8 => {
                let claimed = self.claim(false);
                history_unsure(self.store.connection(), &claimed, true).unwrap();
                self.rows.extend(claimed.iter().map(|row| (row.id, Is::Unsure)));
            }
            9 => {
                let claimed = self.claim(true);
                if self.one_in(2) {
                    return self.sent(&claimed);
                }
                history_unsure(self.store.connection(), &claimed, false).unwrap();
                self.rows.extend(claimed.iter().map(|row| (row.id, Is::Waiting)));
            }
            10 => {
                if let Some(row) = self.claim(false).first() {
                    park_history(self.store.connection(), row, "no").unwrap();
                    self.rows.insert(row.id, Is::Parked);
                }
            }
            11 => {
                unpark(self.store.connection(), Table::History).unwrap();
                let parked = self.rows.values_mut().filter(|is| **is == Is::Parked);
                parked.for_each(|is| *is = Is::Waiting);
            }
            12 if self.one_in(4) => {
                let (db, dice) = (self.store.connection(), self.dice.generate());
                self.names = names::redraw(db, self.names, dice).unwrap();
                if let Some(row) = self.claim(false).last() {
                    history_unname(self.store.connection(), row.id).unwrap();
                }
            }
            12 => self.import(),
            _ => {
                let db = self.store.connection();
                db.execute("DELETE FROM erasure", []).unwrap();
                if self.dice.generate_range(0..3) > 0 {
                    db.execute("INSERT INTO erasure VALUES (?1, 1, 0)", [HELD_BACK]).unwrap();
                }
                let gone = self.rows.keys().next().copied().filter(|_| self.one_in(3));
                if let Some(id) = gone {
                    self.store
                        .connection()
                        .execute("DELETE FROM history WHERE id = ?1", [id])
                        .unwrap();
                    self.rows.remove(&id);
                }
            }
        }
    }
    fn look(&self) {
        let db = self.store.connection();
        let count = |wanted: &dyn Fn(&Is) -> bool| {
            i64::try_from(self.rows.values().filter(|is| wanted(is)).count()).unwrap()
        };
        let waits = |is: &Is| matches!(is, Is::Waiting | Is::Unsure);
        let waiting = count(&waits);
        assert_eq!(backlog(db, Table::History).unwrap(), (waiting, count(&|is| *is == Is::Parked)));
        assert_eq!(tell::unsynced(db).unwrap(), u64::try_from(waiting).unwrap());
        let first = self.rows.iter().find(|(_, is)| waits(is)).map(|(id, _)| *id);
        assert_eq!(first_unsent(db, 0, i64::MAX).unwrap(), first);
        assert_eq!(waits_until(db, i64::MAX).unwrap(), first.is_some());
        let mut there = Vec::new();
        for (id, is) in &self.rows {
            let mut told = (0, 0);
            assert!(with_row(db, *id, &mut |row| told = (row.sync, row.remote_id)).unwrap());
            match is {
                Is::Waiting => assert!(matches!(told.0, 0 | 5), "{id}: {told:?}"),
                Is::Unsure => assert_eq!(told.0, 1, "{id}"),
                Is::Parked => assert_eq!(told.0, 3, "{id}"),
                Is::There(remote_id) => assert_eq!(told, (2, *remote_id), "{id}"),
                Is::Imported(remote_id) => assert_eq!(told, (4, *remote_id), "{id}"),
            }
            if matches!(is, Is::There(_) | Is::Imported(_)) {
                assert_eq!(names::local_id(db, told.1).unwrap(), Some(*id));
            }
            if matches!(is, Is::There(_) | Is::Imported(_) | Is::Parked) {
                there.push(told.1);
            }
        }
        there.sort_unstable();
        assert_eq!(transfer::remote_ids(db, 1, i64::MAX, 0, 10_000).unwrap(), there);
        let some = there.len() / 2;
        if let Some(from) = there.get(some) {
            let found = transfer::remote_ids(db, *from, i64::MAX, 0, 3).unwrap();
            assert!(there.get(some..).unwrap().starts_with(&found), "{found:?} of {there:?}");
        }
    }
}

#[test]
fn the_mark_says_what_each_row_would() {
    let mut moved = 0;
    for seed in 0..SEEDS {
        let mut account = Account::new(seed);
        for _ in 0..STEPS {
            account.step();
            account.look();
        }
        let db = account.store.connection();
        moved += names::sent_upto(db).unwrap();
        // What is old goes only once it is there.
        prune(db, i64::MAX, true, 1_000_000).unwrap();
        let stays = |is: &&Is| matches!(is, Is::Waiting | Is::Unsure | Is::Parked);
        let left: i64 = db.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
        assert_eq!(left, i64::try_from(account.rows.values().filter(stays).count()).unwrap());
    }
    assert!(moved > 300, "the mark hardly ever moved: {moved}");
}

#[test]
fn a_salvage_without_the_facts_still_knows_what_was_sent() {
    let dir = std::env::temp_dir().join(format!("svs-mark-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let mut store = Store::open(&dir).unwrap();
    let base = store
        .write(Durability::Disk, |db| {
            let names = names::load(db, 77)?;
            for _ in 0..20 {
                db.execute(
                    "INSERT INTO history (chat_id, user_id, created_us) VALUES (1, 2, 3)",
                    [],
                )?;
            }
            let names = names::extend(db, names, 15, 0)?;
            let claimed = claim_history(db, names, 0, 10, 20, false, &mut |_| true)?;
            history_sent(db, &claimed)?;
            assert_eq!(names::sent_upto(db)?, 10);
            db.execute("DELETE FROM meta", [])?;
            Ok(names.base)
        })
        .unwrap();
    drop(store);
    salvage::suspect(&dir);
    let path = dir.join("svs-bot.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // The head of the last page of the file: some index's, which nothing is read by.
    let at = bytes.len() - 4_096;
    bytes[at] ^= 0x5a;
    std::fs::write(&path, bytes).unwrap();
    let now = crate::types::Now { unix_ms: 1_795_389_134_000 };
    let (store, salvaged) = salvage::open(&dir, 1 << 40, now).unwrap();
    assert!(salvaged.is_some(), "nothing was damaged");
    // Whatever is sent again bears the name it was sent under.
    let db = store.connection();
    let names = names::load(db, 3).unwrap();
    assert_ne!(names.base, base);
    let names = names::extend(db, names, 20, 0).unwrap();
    let claimed = claim_history(db, names, 0, 20, 99, false, &mut |_| true).unwrap();
    assert!(claimed.len() >= 10, "{claimed:?}");
    assert!(claimed.iter().all(|row| row.remote_id == base + row.id), "{claimed:?}");
    drop(store);
    std::fs::remove_dir_all(&dir).unwrap();
}
