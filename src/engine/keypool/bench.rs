//! Owns: the bench that an overloaded model sits on, and the storm guard that pauses the whole pool.
//! May not: know quotas.

use super::Pool;
use super::rows::BenchRow;
use crate::types::{HOUR_MS, MINUTE_MS, Now, SECOND_MS, UnixMs};
use std::collections::VecDeque;

/// Failures that bench a model: an overload weighs two, an internal error one, because a question
/// that is too long looks like one.
const BENCH_WEIGHT: u32 = 6;
/// Failures older than this say nothing about now.
const MEMORY_MS: i64 = 2 * MINUTE_MS;
/// Failures remembered per model.
const FAILURES_MAX: usize = 16;
/// The first bench, doubled each time in a row.
const BENCH_MS_MIN: i64 = 30 * SECOND_MS;
const BENCH_MS_MAX: i64 = 10 * MINUTE_MS;
/// A failure so soon after a bench ended ends the benefit of the doubt.
const RELAPSE_MS: i64 = 10 * MINUTE_MS;
/// A name that nobody knows is asked for again so often.
const UNKNOWN_MS: i64 = 6 * HOUR_MS;
/// Distinct projects refused within `STORM_MS` while hardly used: so many, and half of all at least,
/// because keys without a declared project may share one that is simply exhausted.
const STORM_PROJECTS_MIN: usize = 3;
const STORM_MS: i64 = 10 * SECOND_MS;
/// The first pause, doubled each time in a row.
const PAUSE_MS_MIN: i64 = MINUTE_MS;
const PAUSE_MS_MAX: i64 = 15 * MINUTE_MS;
/// Storms closer together than this are one storm to the owner.
const STORM_OVER_MS: i64 = HOUR_MS;
/// Refusals remembered for the storm guard and the joining of projects.
pub(super) const REFUSALS_MAX: usize = 64;

/// Until when something sits out, and what led there.
#[derive(Clone, Debug, Default)]
pub(super) struct Bench {
    pub(super) until_ms: UnixMs,
    pub(super) times: u32,
    pub(super) reason: &'static str,
    failures: VecDeque<Failure>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    at_ms: UnixMs,
    key: usize,
    weight: u32,
}

/// A refusal by a quota that local counts did not lead to expect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) at_ms: UnixMs,
    pub(super) pair: usize,
    /// By a day's quota.
    pub(super) day: bool,
    /// Local counts were at most half of the limit.
    pub(super) quiet: bool,
    /// The limit that refused, where its kind is known and it counts requests.
    pub(super) limit: Option<u32>,
}

const REASONS: [&str; 3] = ["overloaded", "unknown", "storm"];

impl Bench {
    pub(super) fn load(&mut self, row: &BenchRow, now_ms: UnixMs) {
        self.times = row.failures;
        self.reason =
            REASONS.into_iter().find(|known| *known == row.reason).unwrap_or("overloaded");
        // A clock that was ahead must not make it longer than any is.
        let longest_ms = match self.reason {
            "unknown" => UNKNOWN_MS,
            "storm" => PAUSE_MS_MAX,
            _ => BENCH_MS_MAX,
        };
        self.until_ms = row.until_ms.min(now_ms.saturating_add(longest_ms));
    }

    pub(super) fn row(&self, model: &str) -> BenchRow {
        BenchRow {
            model: model.to_owned(),
            until_ms: self.until_ms,
            failures: self.times,
            reason: self.reason.to_owned(),
        }
    }

    pub(super) fn keep_memory_of(&mut self, old: &Self) {
        self.failures.clone_from(&old.failures);
    }

    fn sit(&mut self, now_ms: UnixMs, min_ms: i64, max_ms: i64, reason: &'static str) {
        let length = min_ms.saturating_mul(1 << self.times.min(10)).min(max_ms);
        self.until_ms = now_ms.saturating_add(length);
        self.times = self.times.saturating_add(1);
        self.reason = reason;
        self.failures.clear();
    }

    /// Takes another box's word for it; whether that changed anything.
    pub(super) fn sit_until(&mut self, until_ms: UnixMs, reason: &str) -> bool {
        let longer = until_ms > self.until_ms;
        if longer {
            self.until_ms = until_ms;
            self.reason =
                REASONS.into_iter().find(|known| *known == reason).unwrap_or("overloaded");
        }
        longer
    }

    /// Whether enough failed, over more than one key where there is more than one.
    fn is_due(&self, now_ms: UnixMs, single_key: bool) -> bool {
        if self.times > 0
            && now_ms < self.until_ms.saturating_add(RELAPSE_MS)
            && !self.failures.is_empty()
        {
            return true;
        }
        let weight: u32 = self.failures.iter().map(|failure| failure.weight).sum();
        let first = self.failures.front().map(|failure| failure.key);
        let several = self.failures.iter().any(|failure| Some(failure.key) != first);
        weight >= BENCH_WEIGHT && (several || single_key)
    }
}

impl Pool {
    /// The model failed for this key; it sits out when that happens over and over.
    pub(super) fn model_failed(&mut self, model: usize, key: usize, weight: u32, now: Now) {
        let now_ms = now.unix_ms;
        let single_key = self.keys.iter().filter(|key| !key.is_out()).count() < 2;
        let Some(known) = self.models.get_mut(model) else { return };
        // Failures of calls sent before the bench began say nothing new.
        if known.bench.until_ms > now_ms {
            return;
        }
        let failures = &mut known.bench.failures;
        failures.push_back(Failure { at_ms: now_ms, key, weight });
        while failures.len() > FAILURES_MAX
            || failures.front().is_some_and(|failure| failure.at_ms < now_ms - MEMORY_MS)
        {
            failures.pop_front();
        }
        if known.bench.is_due(now_ms, single_key) {
            known.bench.sit(now_ms, BENCH_MS_MIN, BENCH_MS_MAX, "overloaded");
            self.dirty.benches.insert(model);
        }
    }

    /// Nobody knows a model of this name; whether that is news.
    pub(super) fn model_unknown(&mut self, model: usize, now: Now) -> bool {
        let Some(known) = self.models.get_mut(model) else { return false };
        let news = known.bench.reason != "unknown";
        known.bench.reason = "unknown";
        known.bench.times = known.bench.times.max(1);
        known.bench.until_ms = now.unix_ms.saturating_add(UNKNOWN_MS);
        self.dirty.benches.insert(model);
        news
    }

    /// The model answered: whatever was held against it is over.
    pub(super) fn model_worked(&mut self, model: usize) {
        let Some(known) = self.models.get_mut(model) else { return };
        known.bench.failures.clear();
        if known.bench.until_ms != 0 {
            known.bench = Bench::default();
            self.dirty.benches.insert(model);
        }
    }

    /// Remembers a refusal for the storm guard and the joining of projects.
    pub(super) fn remember_refusal(&mut self, refusal: Refusal) {
        self.refusals.push_back(refusal);
        while self.refusals.len() > REFUSALS_MAX
            || self.refusals.front().is_some_and(|old| old.at_ms < refusal.at_ms - HOUR_MS)
        {
            self.refusals.pop_front();
        }
    }

    /// Pauses the whole pool when many projects were refused at once without cause; returns until
    /// when, if the owner has not been told of this storm.
    pub(super) fn storm(&mut self, now_ms: UnixMs) -> Option<UnixMs> {
        if self.pause.until_ms > now_ms {
            return None;
        }
        let mut projects: Vec<usize> = self
            .refusals
            .iter()
            .filter(|old| old.quiet && old.at_ms >= now_ms - STORM_MS)
            .map(|old| self.project_of_pair(old.pair))
            .collect();
        projects.sort_unstable();
        projects.dedup();
        if projects.len() < STORM_PROJECTS_MIN.max(self.live_projects().len().div_ceil(2)) {
            return None;
        }
        if self.pause.until_ms.saturating_add(STORM_OVER_MS) < now_ms {
            self.pause.times = 0;
        }
        let news = self.pause.times == 0;
        self.pause.sit(now_ms, PAUSE_MS_MIN, PAUSE_MS_MAX, "storm");
        self.dirty.pause = true;
        for old in &mut self.refusals {
            // What made this storm does not make the next one.
            old.quiet = false;
        }
        news.then_some(self.pause.until_ms)
    }
}
