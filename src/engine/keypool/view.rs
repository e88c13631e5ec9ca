//! Owns: the pool as people see it: each key's state with its reason, each quota, the forecast.
//! May not: decide anything.

use super::choose::why;
use super::pair::{Moment, Reason};
use super::settle::number;
use super::{Key, Pool};
use crate::calendar::pacific_day_start;
use crate::types::status::{KeyLine, KeyState, QuotaLine, TierLine};
use crate::types::{HOUR_MS, Now, Role, Tier, UnixMs};

/// A rate is not judged by less of the day than this.
const RATE_OVER_MS_MIN: i64 = HOUR_MS;

/// One key as `/keys` and `keys list` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// What the contract promises.
    pub line: KeyLine,
    /// The project it counts on, printable.
    pub project: String,
    /// Whether that was inferred.
    pub inferred: bool,
}

impl Pool {
    /// Every key in the order of the settings. *Ready*: at least one model in use can be asked with
    /// it now or within the second or so between two uses. *Resting*: none can, but one will before
    /// its day is over. *Spent*: all that is open to it is used up for today. *Parked* and *dead*
    /// end only by the operator.
    pub fn list(&self, now: Now) -> Vec<KeyView> {
        let moment = Moment::of(now);
        let view = |(at, key): (usize, &Key)| {
            let (state, until_ms, reason) = self.state_of(key, moment);
            let line = KeyLine {
                n: number(at),
                group: key.group,
                last4: key.row.last4.clone(),
                state,
                until_ms,
                reason,
            };
            KeyView { line, project: self.project_label(key.project), inferred: key.row.inferred }
        };
        self.keys.iter().enumerate().map(view).collect()
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

    fn state_of(&self, key: &Key, moment: Moment) -> (KeyState, Option<UnixMs>, String) {
        if !key.row.dead.is_empty() {
            return (KeyState::Dead, None, key.row.dead.clone());
        }
        if key.row.parked {
            return (KeyState::Parked, None, "parked by the operator".to_owned());
        }
        if key.row.resting_until_ms > moment.now_ms {
            let reason = format!("{}, to be looked at", key.row.rest_reason);
            return (KeyState::Resting, Some(key.row.resting_until_ms), reason);
        }
        if self.pause.until_ms > moment.now_ms {
            let reason = "the whole pool pauses: many projects were refused at once".to_owned();
            return (KeyState::Resting, Some(self.pause.until_ms), reason);
        }
        let mut ready = false;
        let mut soonest: Option<(UnixMs, Reason)> = None;
        let mut reasons = Vec::new();
        for model in self.models_in_use() {
            let Some(known) = self.models.get(model) else { continue };
            let pair = self.pair_of(self.pair_at(key.project, model));
            let limits = self.limits_of(pair, model);
            let cap = limits.rpd.map(|rpd| self.settings.share_of(rpd, Role::Owner));
            let (until_ms, reason, text) = match pair.left(limits, cap, 1, moment) {
                Err(blocked) => (blocked.until_ms, blocked.reason, why(blocked.reason)),
                Ok(_) if known.bench.until_ms > moment.now_ms => {
                    (known.bench.until_ms, Reason::Guess, known.bench.reason)
                }
                Ok(_) => {
                    ready = true;
                    continue;
                }
            };
            reasons.push(format!("{}: {text}", known.name));
            // A model closed to the project comes back last, if ever.
            let rank = (reason.is_state(), until_ms);
            if soonest.is_none_or(|(ms, why)| rank < (why.is_state(), ms)) {
                soonest = Some((until_ms, reason));
            }
        }
        let text = reasons.join("; ");
        match soonest {
            _ if ready => (KeyState::Ready, None, text),
            Some((until_ms, reason)) if reason == Reason::Day || reason.is_state() => {
                (KeyState::Spent, Some(until_ms), text)
            }
            Some((until_ms, _)) => (KeyState::Resting, Some(until_ms), text),
            None => (KeyState::Ready, None, text),
        }
    }

    fn models_in_use(&self) -> impl Iterator<Item = usize> {
        self.models.iter().enumerate().filter(|(_, model)| model.class.is_some()).map(|(at, _)| at)
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
