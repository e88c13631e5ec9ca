//! Owns: what is held against a key itself: its validity, the looks at it, the operator's word.
//! May not: touch counters.

use super::notice::Notice;
use super::pair::Reason;
use super::settle::{Effects, Step, number};
use super::{Key, Pool};
use crate::types::model::ModelFailure;
use crate::types::{Group, MINUTE_MS, Now, UnixMs};

/// Looks under way at once: a start with many keys is no burst of calls.
const LOOKS_MAX: usize = 4;
/// A look without a result by then is lost, with the turn that asked for it.
const LOOK_LOST_MS: i64 = 2 * MINUTE_MS;
/// A look that told nothing, since nobody answered, is repeated after this long.
const LOOK_AGAIN_MS: i64 = MINUTE_MS;
/// Rest of a key that was refused once after it had worked; a model-list call decides sooner.
pub(super) const DOUBT_MS: i64 = 5 * MINUTE_MS;

impl Pool {
    /// Says no more about a key than is known: one that has worked is looked at before it is dead.
    pub(super) fn key_refused(&mut self, at: usize, why: &str, now_ms: UnixMs) -> Option<Notice> {
        let key = self.keys.get_mut(at)?;
        self.dirty.keys.insert(at);
        key.row.errors = key.row.errors.saturating_add(1);
        if key.worked && key.row.errors == 1 && why == "invalid" {
            key.row.resting_until_ms = now_ms + DOUBT_MS;
            key.row.rest_guessed = true;
            why.clone_into(&mut key.row.rest_reason);
            key.look_after_ms = 0;
            return None;
        }
        if !key.row.dead.is_empty() {
            return None;
        }
        why.clone_into(&mut key.row.dead);
        key.row.dead_ms = now_ms;
        Some(Notice::KeyDead {
            n: number(at),
            group: key.group,
            last4: key.row.last4.clone(),
            why: why.to_owned(),
        })
    }

    /// Keys to look at with a model-list call, which spends no quota: those not looked at since the
    /// start or a change, and those whose rest was guessed. Each is named once per reason.
    pub fn needs_check(&mut self, now: Now) -> Vec<usize> {
        let mut due = Vec::new();
        let now_ms = now.unix_ms;
        let flying = |key: &&Key| key.looking && key.look_after_ms > now_ms;
        let under_way = self.keys.iter().filter(flying).count();
        for at in 0..self.keys.len() {
            if under_way + due.len() >= LOOKS_MAX {
                break;
            }
            let doubted = self.guessed_rests(at, now.unix_ms);
            let Some(key) = self.keys.get_mut(at) else { continue };
            let resting = key.row.rest_guessed && key.row.resting_until_ms > now.unix_ms;
            let doubtful = key.unchecked || resting || !doubted.is_empty();
            if key.look_after_ms > now_ms || key.is_out() || !doubtful {
                continue;
            }
            key.looking = true;
            key.look_after_ms = now_ms + LOOK_LOST_MS;
            for pair in doubted {
                if let Some(pair) = self.pairs.get_mut(pair) {
                    pair.looked = true;
                }
            }
            due.push(at);
        }
        due
    }

    /// Takes in the result of such a look: a bad key is out, a good one has its guessed rests lifted.
    pub fn checked(&mut self, at: usize, result: Result<(), &ModelFailure>, now: Now) -> Effects {
        let rests = self.guessed_rests_looked_at(at, now.unix_ms);
        let Some(key) = self.keys.get_mut(at) else { return Effects::default() };
        key.looking = false;
        key.look_after_ms = 0;
        match result {
            Ok(()) => {
                key.unchecked = false;
                if key.row.rest_guessed {
                    key.row.rest_guessed = false;
                    key.row.resting_until_ms = 0;
                    key.row.rest_reason.clear();
                    self.dirty.keys.insert(at);
                }
                for pair in rests {
                    if let Some(known) = self.pairs.get_mut(pair) {
                        // The back-off stays: a second refusal rests twice as long.
                        known.until_ms = now.unix_ms;
                        self.dirty.quotas.insert(pair);
                    }
                }
                Effects::default()
            }
            Err(ModelFailure::BadKey { why }) => {
                key.unchecked = false;
                key.row.errors = key.row.errors.max(1);
                Effects {
                    step: Step::Done,
                    notices: self.key_refused(at, why, now.unix_ms).into_iter().collect(),
                }
            }
            // The network, a limit of such calls, the service: says nothing about the key.
            Err(_) => {
                key.look_after_ms = now.unix_ms + LOOK_AGAIN_MS;
                Effects::default()
            }
        }
    }

    /// Pairs of the key's project that rest on a guess long enough to be worth a look.
    fn guessed_rests(&self, key: usize, now_ms: UnixMs) -> Vec<usize> {
        self.guesses(key, now_ms, false)
    }

    fn guessed_rests_looked_at(&self, key: usize, now_ms: UnixMs) -> Vec<usize> {
        self.guesses(key, now_ms, true)
    }

    fn guesses(&self, key: usize, now_ms: UnixMs, looked: bool) -> Vec<usize> {
        let Some(key) = self.keys.get(key) else { return Vec::new() };
        (0..self.models.len())
            .map(|model| self.pair_at(key.project, model))
            .filter(|at| {
                let pair = self.pair_of(*at);
                pair.reason == Reason::Guess
                    && pair.looked == looked
                    && pair.until_ms > now_ms + if looked { 0 } else { MINUTE_MS }
            })
            .collect()
    }

    /// Sets a key aside; false when there is no such number (from 1) or nothing changes.
    pub fn park(&mut self, n: u32) -> Option<bool> {
        let at = usize::try_from(n).ok()?.checked_sub(1)?;
        let key = self.keys.get_mut(at)?;
        let changed = !std::mem::replace(&mut key.row.parked, true);
        if changed {
            self.dirty.keys.insert(at);
        }
        Some(changed)
    }

    /// Gives a key another chance: no longer parked, dead or resting, its project its own again, and
    /// nothing held against its pairs. `None` when there is no such number (from 1).
    pub fn revive(&mut self, n: u32, now: Now) -> Option<bool> {
        let at = usize::try_from(n).ok()?.checked_sub(1)?;
        self.keys.get(at)?;
        let parted = self.part(at, pacific_day_of(now));
        let key = self.keys.get_mut(at)?;
        let row = &mut key.row;
        let mut changed = parted
            || row.parked
            || !row.dead.is_empty()
            || row.resting_until_ms != 0
            || row.errors != 0;
        row.parked = false;
        row.dead.clear();
        row.dead_ms = 0;
        row.resting_until_ms = 0;
        row.rest_guessed = false;
        row.rest_reason.clear();
        row.errors = 0;
        row.joins = 0;
        row.project.clear();
        key.unchecked = true;
        let project = key.project;
        for model in 0..self.models.len() {
            if let Some(model) = self.models.get_mut(model) {
                model.unproven_until_ms = 0;
            }
            let pair_at = self.pair_at(project, model);
            if let Some(pair) = self.pairs.get_mut(pair_at)
                && (pair.until_ms != 0 || pair.reason != Reason::None)
            {
                pair.wake();
                self.dirty.quotas.insert(pair_at);
                changed = true;
            }
        }
        if changed {
            self.dirty.keys.insert(at);
        }
        Some(changed)
    }
}

fn pacific_day_of(now: Now) -> i64 {
    crate::calendar::pacific_day(now.unix_ms)
}

/// Positions of the keys of a group.
pub(super) fn keys_in(keys: &[Key], group: Group) -> Vec<usize> {
    keys.iter().enumerate().filter(|(_, key)| key.group == group).map(|(at, _)| at).collect()
}
