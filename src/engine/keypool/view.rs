//! Owns: the pool as people see it: each key's state with its reason, each quota, the forecast.
//! May not: decide anything.

use super::choose::SHORT_WAIT_MS;
use super::pair::{Blocked, Moment, Pair};
use super::settle::number;
use super::{Key, Pool};
use crate::calendar::pacific_day_start;
use crate::types::status::{Hold, KeyHold, KeyLine, KeyState, QuotaLine, TierLine};
use crate::types::{Group, HOUR_MS, Now, Role, SECOND_MS, Tier, UnixMs};

/// A rate is not judged by less of the day than this.
const RATE_OVER_MS_MIN: i64 = HOUR_MS;

impl Pool {
    /// Every key in the order of the settings. *Ready*: at least one model in use can be asked with
    /// it now or within the second or so between two uses. *Resting*: none can, but one will before
    /// its day is over. *Spent*: all that is open to it is used up for today. *Parked* and *dead*
    /// end only by the operator.
    pub fn list(&self, now: Now) -> Vec<KeyLine> {
        let moment = Moment::of(now);
        let line = |(at, key): (usize, &Key)| {
            let (state, until_ms, holds) = self.state_of(key, moment);
            let shares_with: Vec<u32> =
                self.keys_on(key.project).filter(|other| *other != at).map(number).collect();
            KeyLine {
                n: number(at),
                group: key.group,
                last4: key.row.last4.clone(),
                state,
                until_ms,
                holds,
                project: self.project_label(key.project),
                inferred: !key.declared && !shares_with.is_empty(),
                shares_with,
            }
        };
        self.keys.iter().enumerate().map(line).collect()
    }

    /// Today's use of every project and model in use; a model the project has none of has limit 0.
    pub fn quota_view(&self, now: Now) -> Vec<QuotaLine> {
        let moment = Moment::of(now);
        let mut lines = Vec::new();
        for project in self.live_projects() {
            for model in self.models_in_use() {
                let pair = self.pair_of(self.pair_at(project, model));
                let limit = match pair.reason.is_state() {
                    true => Some(0),
                    false => self.limits_of(pair, model).rpd.map(|rpd| self.settings.share(rpd)),
                };
                let used = pair.used_on(moment.day);
                lines.push(QuotaLine {
                    project: self.project_label(project),
                    groups: self.groups_on(project),
                    model: self
                        .models
                        .get(model)
                        .map(|model| model.name.clone())
                        .unwrap_or_default(),
                    used_today: u64::from(used),
                    limit_today: limit.map(u64::from),
                    resets_ms: moment.midnight_ms,
                    ends_ms: limit.and_then(|limit| ends_at(used, limit, moment)),
                });
            }
        }
        lines
    }

    /// How long the quotas last at the rate of today so far, for every tier that was used today and
    /// whose models all have a limit.
    pub fn lasts(&self, now: Now) -> Vec<TierLine> {
        let moment = Moment::of(now);
        let line = |tier| {
            let (mut used, mut cap) = (0_u32, 0_u32);
            for project in self.live_projects() {
                for model in self.models_in_use() {
                    let pair = self.pair_of(self.pair_at(project, model));
                    let class = self.models.get(model).and_then(|model| model.class);
                    if class != Some(tier) || pair.reason.is_state() {
                        continue;
                    }
                    let limit = self.limits_of(pair, model).rpd?;
                    cap = cap.saturating_add(self.settings.share(limit));
                    used = used.saturating_add(pair.used_on(moment.day));
                }
            }
            (used > 0).then(|| TierLine { tier, ends_ms: ends_at(used, cap, moment) })
        };
        [Tier::Lite, Tier::Flash, Tier::Pro].into_iter().filter_map(line).collect()
    }

    fn state_of(&self, key: &Key, moment: Moment) -> (KeyState, Option<UnixMs>, Vec<KeyHold>) {
        let whole = |why, word: &str, until_ms| {
            vec![KeyHold { models: Vec::new(), why, word: word.to_owned(), until_ms }]
        };
        let row = &key.row;
        if !row.dead.is_empty() {
            return (KeyState::Dead, None, whole(Hold::Dead, &row.dead, None));
        }
        if row.parked {
            return (KeyState::Parked, None, whole(Hold::Parked, "", None));
        }
        let mut ready = false;
        let mut soonest: Option<(UnixMs, Hold)> = None;
        let mut holds: Vec<KeyHold> = Vec::new();
        for model in self.models_in_use() {
            let Some((until_ms, why)) = self.held(key, model, moment) else {
                ready = true;
                if let Some((until_ms, why)) = self.reserved(key, model, moment) {
                    self.note(&mut holds, model, why, String::new(), until_ms);
                }
                continue;
            };
            let word = if why == Hold::Doubted { row.rest_reason.clone() } else { String::new() };
            self.note(&mut holds, model, why, word, until_ms);
            // A model closed to the project comes back last, if ever.
            let rank = (is_state(why), until_ms);
            if soonest.is_none_or(|(ms, why)| rank < (is_state(why), ms)) {
                soonest = Some((until_ms, why));
            }
        }
        // What holds all of them is no matter of models.
        if let [hold] = holds.as_mut_slice()
            && matches!(hold.why, Hold::Doubted | Hold::Storm | Hold::Interval)
            && !ready
        {
            hold.models.clear();
        }
        match soonest {
            _ if ready => (KeyState::Ready, None, holds),
            Some((until_ms, why)) if why == Hold::Day || is_state(why) => {
                (KeyState::Spent, Some(until_ms), holds)
            }
            Some((until_ms, _)) => (KeyState::Resting, Some(until_ms), holds),
            None => (KeyState::Ready, None, holds),
        }
    }

    fn note(
        &self,
        holds: &mut Vec<KeyHold>,
        model: usize,
        why: Hold,
        word: String,
        until_ms: UnixMs,
    ) {
        let name = self.models.get(model).map(|model| model.name.clone()).unwrap_or_default();
        let same = |hold: &&mut KeyHold| hold.why == why && hold.until_ms == Some(until_ms);
        match holds.iter_mut().find(same) {
            Some(hold) => hold.models.push(name),
            None => {
                holds.push(KeyHold { models: vec![name], why, word, until_ms: Some(until_ms) });
            }
        }
    }

    /// Until when and why the model is not open to the key for anybody; `None` when it is. Of
    /// several reasons the one that ends last: every reason of `choose` is here.
    fn held(&self, key: &Key, model: usize, moment: Moment) -> Option<(UnixMs, Hold)> {
        let known = self.models.get(model)?;
        let pair = self.pair_of(self.pair_at(key.project, model));
        let quota = match self.left_for(pair, model, Role::Owner, moment) {
            Err(blocked) => Some((blocked.until_ms, blocked.reason.hold())),
            // Tried again, one request at a time.
            Ok(_) if pair.reason.is_state() && pair.in_flight > 0 => {
                Some((moment.now_ms + SECOND_MS, pair.reason.hold()))
            }
            Ok(_) => None,
        };
        if let Some((until_ms, why)) = quota.filter(|(_, why)| is_state(*why)) {
            return Some((until_ms, why));
        }
        let unknown = known.bench.reason == "unknown";
        let bench = if unknown { Hold::Unknown } else { Hold::Overloaded };
        let held_ms = if key.declared { 0 } else { known.held_until_ms };
        let unproven_ms = if pair.is_proven() { 0 } else { known.unproven_until_ms };
        let ready_ms = self.ready_ms(key, moment.now_ms);
        let pausing = ready_ms > moment.now_ms + SHORT_WAIT_MS;
        [
            (known.bench.until_ms, bench),
            (held_ms, Hold::HeldBack),
            (unproven_ms, Hold::Unproven),
            (if pausing { ready_ms } else { 0 }, Hold::Interval),
            (key.row.resting_until_ms, Hold::Doubted),
            (self.pause.until_ms, Hold::Storm),
        ]
        .into_iter()
        .filter(|(until_ms, _)| *until_ms > moment.now_ms)
        .chain(quota)
        .max_by_key(|(until_ms, _)| *until_ms)
    }

    /// Whether what is left is not for everybody.
    fn reserved(&self, key: &Key, model: usize, moment: Moment) -> Option<(UnixMs, Hold)> {
        let pair = self.pair_of(self.pair_at(key.project, model));
        let class = self.models.get(model)?.class?;
        let weaker = |other: usize| self.models.get(other).is_some_and(|at| at.class < Some(class));
        match self.left_for(pair, model, Role::Normal, moment) {
            Err(_) => Some((moment.midnight_ms, Hold::Kept)),
            Ok(left) => (self.is_saved(pair, model, Role::Normal, left)
                && self.models_in_use().any(weaker))
            .then_some((moment.midnight_ms, Hold::Saved)),
        }
    }

    fn left_for(
        &self,
        pair: &Pair,
        model: usize,
        role: Role,
        moment: Moment,
    ) -> Result<u32, Blocked> {
        let limits = self.limits_of(pair, model);
        pair.left(limits, limits.rpd.map(|rpd| self.settings.share_of(rpd, role)), 1, moment)
    }

    fn models_in_use(&self) -> impl Iterator<Item = usize> {
        self.models.iter().enumerate().filter(|(_, model)| model.class.is_some()).map(|(at, _)| at)
    }

    fn groups_on(&self, project: usize) -> Vec<Group> {
        let mut groups = Vec::new();
        for key in self.keys.iter().filter(|key| key.project == project) {
            if !groups.contains(&key.group) {
                groups.push(key.group);
            }
        }
        groups
    }

    /// Projects that a key counts on, in the order of the keys.
    pub(super) fn live_projects(&self) -> Vec<usize> {
        let mut projects = Vec::new();
        for key in &self.keys {
            if !projects.contains(&key.project) {
                projects.push(key.project);
            }
        }
        projects
    }

    /// The declared name, or the first key that counts on it: a fingerprint tells nobody anything.
    fn project_label(&self, project: usize) -> String {
        let first = self.keys.iter().position(|key| key.project == project);
        match first.and_then(|at| self.keys.get(at)).filter(|key| key.declared) {
            Some(_) => self.projects.get(project).cloned().unwrap_or_default(),
            None => format!("key {}", first.map_or(0, number)),
        }
    }
}

/// Not a matter of time.
fn is_state(why: Hold) -> bool {
    matches!(why, Hold::Nothing | Hold::Closed)
}

/// When `used` of a day reaches `cap` at the rate of the day so far; `None` when it lasts.
fn ends_at(used: u32, cap: u32, moment: Moment) -> Option<UnixMs> {
    if used == 0 {
        return None;
    }
    let over_ms = (moment.now_ms - pacific_day_start(moment.day)).max(RATE_OVER_MS_MIN);
    let left = i64::from(cap.saturating_sub(used));
    let lasts_ms = left.saturating_mul(over_ms) / i64::from(used);
    Some(moment.now_ms.saturating_add(lasts_ms)).filter(|at_ms| *at_ms < moment.midnight_ms)
}
