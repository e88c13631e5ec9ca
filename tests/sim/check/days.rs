//! Owns: which requests the pool may count on two days: who is in flight when the day turns counts on both, as nobody
//! knows on which of them Google does (`engine/keypool/pair.rs`).

use std::collections::{BTreeMap, BTreeSet};
use svs_bot::calendar::pacific_day;
use svs_bot::engine::keypool::LEASE_MS_MAX;
use svs_bot::types::Now;

/// Project and model.
pub type Named = (String, String);

/// A request that left, until its end is in the rows for good.
#[derive(Debug)]
struct Left {
    row: i64,
    at_ms: i64,
    pair: Named,
    /// Since when its end is committed, by the world's time.
    ended_ms: Option<i64>,
}

#[derive(Debug, Default)]
pub struct Days {
    now_ms: i64,
    day: Option<i64>,
    left: Vec<Left>,
    /// How often requests of a pair were in flight over a turn of the day.
    twice: BTreeMap<Named, u64>,
}

impl Days {
    /// A turn by the bot's clock; `asking` = rows whose answer this process waits for. A day that turns back counts too.
    pub fn turn(&mut self, now: Now, asking: &BTreeSet<i64>) {
        self.now_ms = now.unix_ms;
        // Of one that a dead process left behind the rows tell for so long; a clock that was ahead, for longer.
        self.left
            .retain(|left| now.unix_ms <= left.at_ms + LEASE_MS_MAX || asking.contains(&left.row));
        let day = pacific_day(now.unix_ms);
        if self.day.replace(day).is_some_and(|before| before != day) {
            for left in &self.left {
                *self.twice.entry(left.pair.clone()).or_default() += 1;
            }
        }
    }

    pub fn leaves(&mut self, row: i64, pair: Named) {
        self.left.push(Left { row, at_ms: self.now_ms, pair, ended_ms: None });
    }

    /// Its end is committed at this time of the world.
    pub fn ended(&mut self, row: i64, now_ms: i64) {
        for left in self.left.iter_mut().filter(|left| left.row == row) {
            left.ended_ms.get_or_insert(now_ms);
        }
    }

    /// What ended is as young as this time of the world.
    pub fn unsynced(&mut self, now_ms: i64) {
        self.left.iter_mut().filter_map(|left| left.ended_ms.as_mut()).for_each(|at| *at = now_ms);
    }

    /// No cut of power undoes what ended before this time of the world.
    pub fn synced(&mut self, before_ms: i64) {
        self.left.retain(|left| left.ended_ms.is_none_or(|ended_ms| before_ms <= ended_ms));
    }

    /// What was committed since [`Self::synced`] may be undone.
    pub fn power_cut(&mut self) {
        self.left.iter_mut().for_each(|left| left.ended_ms = None);
    }

    /// What the ledger may have of a pair beyond what left.
    pub fn twice(&self, pair: &Named) -> u64 {
        self.twice.get(pair).copied().unwrap_or(0)
    }
}
