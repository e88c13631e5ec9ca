//! Owns: which keys without a declared project share one, inferred from refusals, and for how long
//! that is believed.
//! May not: touch keys whose project is declared.
//!
//! Keys are joined when the same day's quota refuses them shortly after each other, the count of one
//! alone does not explain it, and their counts together do. Sums beyond the limit refute it. (A
//! minute's quota proves too little: any two busy projects look joined by it.) A join is
//! believed until the end of the day, the next time for two days, then four …: when it was wrong it
//! costs a day, and it is undone by itself or by `revive`.

use super::Pool;
use super::bench::Refusal;
use super::pair::Moment;
use super::settle::{Notice, number};
use crate::types::MINUTE_MS;

/// Refusals by a day's quota that are so close may have one cause.
const CLOSE_MS: i64 = 10 * MINUTE_MS;
/// Together they explain the refusal from this part of the limit on, in tenths.
const EXPLAINS_TENTHS: u64 = 6;
/// Counts may be above Gemini's by requests in flight or lost.
const SLACK: u64 = 2;
/// The longest time that an inference is believed: 2^5 days.
const BELIEF_LOG2_MAX: u32 = 5;

impl Pool {
    pub(super) fn join_by(&mut self, refusal: &Refusal, moment: Moment) -> Vec<Notice> {
        let Some(limit) = refusal.limit.filter(|_| refusal.day).map(u64::from) else {
            return Vec::new();
        };
        let project = self.project_of_pair(refusal.pair);
        let model = self.model_of_pair(refusal.pair);
        if !self.is_inferable(project) {
            return Vec::new();
        }
        let count_of =
            |project| u64::from(self.pair_of(self.pair_at(project, model)).used_on(moment.day));
        let mut sum = count_of(project);
        let mut group = vec![(project, sum)];
        for other in self.refusals.iter().rev() {
            let other_project = self.project_of_pair(other.pair);
            let same = other.day
                && other.at_ms >= moment.now_ms - CLOSE_MS
                && other.limit == refusal.limit
                && self.model_of_pair(other.pair) == model;
            let is_new = group.iter().all(|(known, _)| *known != other_project);
            let count = count_of(other_project);
            if same && is_new && sum + count <= limit + SLACK && self.is_inferable(other_project) {
                group.push((other_project, count));
                sum += count;
            }
        }
        let any_quiet = group.iter().any(|(_, count)| count * 2 <= limit);
        if group.len() < 2 || !any_quiet || sum * 10 < limit * EXPLAINS_TENTHS {
            return Vec::new();
        }
        let Some((target, _)) = group.iter().copied().max_by_key(|(_, count)| *count) else {
            return Vec::new();
        };
        let mut notices = Vec::new();
        for (other, _) in group.into_iter().filter(|(other, _)| *other != target) {
            notices.extend(self.join(other, target, moment.day));
        }
        notices
    }

    /// No key of it has a declared project.
    fn is_inferable(&self, project: usize) -> bool {
        let mut keys = self.keys.iter().filter(|key| key.project == project).peekable();
        keys.peek().is_some() && keys.all(|key| !key.declared)
    }

    fn join(&mut self, from: usize, into: usize, day: i64) -> Vec<Notice> {
        let with = self.keys.iter().position(|key| key.project == into).map_or(0, number);
        let name = self.projects.get(into).cloned().unwrap_or_default();
        for model in 0..self.models.len() {
            let (from_at, into_at) = (self.pair_at(from, model), self.pair_at(into, model));
            let Some(mut old) = self.pairs.get(from_at).cloned() else { continue };
            self.roll(into_at, day);
            if let Some(pair) = self.pairs.get_mut(into_at) {
                pair.absorb(&mut old, day);
            }
            if let Some(pair) = self.pairs.get_mut(from_at) {
                *pair = old;
            }
            for open in self.open.values_mut().filter(|open| open.pair == from_at) {
                open.pair = into_at;
            }
            for refusal in self.refusals.iter_mut().filter(|refusal| refusal.pair == from_at) {
                refusal.pair = into_at;
            }
            self.dirty.days.insert(into_at);
            self.dirty.quotas.insert(into_at);
        }
        let mut notices = Vec::new();
        for (at, key) in self.keys.iter_mut().enumerate().filter(|(_, key)| key.project == from) {
            key.project = into;
            key.row.inferred = into != key.own_project;
            key.row.project = if key.row.inferred { name.clone() } else { String::new() };
            key.row.joined_until_day = day + (1 << key.row.joins.min(BELIEF_LOG2_MAX)) - 1;
            key.row.joins = key.row.joins.saturating_add(1);
            self.dirty.keys.insert(at);
            notices.push(Notice::Joined { n: number(at), with });
        }
        notices
    }

    /// Gives every key back its own project whose inference has been believed long enough.
    pub(super) fn end_inferences(&mut self, day: i64) {
        for at in 0..self.keys.len() {
            if self
                .keys
                .get(at)
                .is_some_and(|key| key.row.inferred && key.row.joined_until_day < day)
            {
                self.part(at, day);
            }
        }
    }

    /// Gives a key back its own project; whether it had another.
    pub(super) fn part(&mut self, at: usize, day: i64) -> bool {
        let Some(key) = self.keys.get_mut(at).filter(|key| key.project != key.own_project) else {
            return false;
        };
        let (joined, own) = (key.project, key.own_project);
        key.project = own;
        key.row.inferred = false;
        key.row.project.clear();
        self.dirty.keys.insert(at);
        for model in 0..self.models.len() {
            let (joined_at, own_at) = (self.pair_at(joined, model), self.pair_at(own, model));
            let used = self.pair_of(joined_at).used_on(day);
            let moving =
                self.open.values_mut().filter(|open| open.key == at && open.pair == joined_at);
            let moved = moving.fold(0, |count, open| {
                open.pair = own_at;
                count + 1
            });
            self.roll(own_at, day);
            if let Some(pair) = self.pairs.get_mut(joined_at) {
                pair.in_flight = pair.in_flight.saturating_sub(moved);
            }
            if let Some(pair) = self.pairs.get_mut(own_at) {
                pair.in_flight += moved;
                // Which of the joined uses were this key's is not known: no count may be too low.
                pair.used = pair.used.max(used);
                if used > 0 {
                    self.dirty.days.insert(own_at);
                }
            }
        }
        true
    }
}
