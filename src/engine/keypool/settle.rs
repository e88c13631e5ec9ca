//! Owns: what one request costs and teaches: counted before it is sent, settled by how it ended.
//! May not: choose, send, or judge the question itself.

use super::bench::Refusal;
use super::notice::Notice;
use super::pair::{Moment, Reason, doubled};
use super::{Open, Pick, Pool};
use crate::calendar::pacific_day;
use crate::types::model::{ModelFailure, QuotaHit, Usage, Window};
use crate::types::{DAY_MS, HOUR_MS, MINUTE_MS, Now, SECOND_MS, UnixMs};

/// Rest after a refusal by the minute that names no delay, and the longest that is believed.
const MINUTE_REST_MS: i64 = MINUTE_MS;
pub(super) const MINUTE_REST_MS_MAX: i64 = 2 * MINUTE_MS;
/// Rest after a refusal without any detail, doubled each time in a row.
const GUESS_MS_MIN: i64 = 2 * SECOND_MS;
pub(super) const GUESS_MS_MAX: i64 = 10 * MINUTE_MS;
/// Rest of a project whose spending limit is reached, doubled each time in a row: the limit may be
/// one of ten minutes or of a month (api-reference B5).
const SPEND_MS_MIN: i64 = 10 * MINUTE_MS;
pub(super) const SPEND_MS_MAX: i64 = 6 * HOUR_MS;
/// So soon after midnight "used up for today" may still mean yesterday: clocks differ.
const NEW_DAY_MS: i64 = 15 * MINUTE_MS;
const NEW_DAY_REST_MS: i64 = 10 * MINUTE_MS;
/// From here on a delay beside "used up for today" tells when the day really turns.
const DELAY_TELLS_MS: i64 = HOUR_MS;
/// A pair that has none of the model is tried again after so many days, doubled each time.
pub(super) const STATE_DAYS_LOG2_MAX: u32 = 3;
/// After one project was told that it has none of a model, others that never used it wait.
const UNPROVEN_MS: i64 = 10 * MINUTE_MS;
/// Waits after a failure that is nobody's.
const LATER_MS: i64 = SECOND_MS;
/// Requests in flight looked at per reservation to find forgotten ones.
const FORGOTTEN_PER_STEP: usize = 8;

/// A request that is counted and not yet settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The reservation's number.
    pub id: i64,
    /// Position of the key.
    pub key: usize,
    /// Asked for.
    pub model: String,
    /// Counted on.
    project: String,
    /// Which key it was, wherever that stands by now.
    fingerprint: String,
}

/// What the question should do next, as far as keys and models go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// It is answered.
    #[default]
    Done,
    /// Another key, or the same model elsewhere: choose again at once.
    OtherKey,
    /// Another model: choose again at once without this one.
    OtherModel,
    /// Choose again after a wait.
    Later {
        /// Least wait.
        after_ms: i64,
    },
    /// No key and no model will do better: tell the person.
    GiveUp,
}

/// What a settled request leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// For the question.
    pub step: Step,
    /// For the owner.
    pub notices: Vec<Notice>,
}

impl Pool {
    /// Counts a request before it is sent. The caller commits [`Pool::take_changes`] before sending.
    pub fn reserve(&mut self, pick: &Pick, tokens_guess: u32, now: Now) -> Lease {
        let moment = Moment::of(now);
        self.keep_house(moment);
        let model = self.model_of_pair(pick.pair);
        // The key may just have been given back its own project.
        let project = self.keys.get(pick.key).map_or(0, |key| key.project);
        let at = self.pair_at(project, model);
        self.last_reservation += 1;
        let id = self.last_reservation;
        self.roll(at, moment.day);
        if let Some(pair) = self.pairs.get_mut(at) {
            pair.used = pair.used.saturating_add(1);
            pair.in_flight += 1;
            pair.window.enter(moment.now_ms, tokens_guess, id);
        }
        self.dirty.days.insert(at);
        if let Some(key) = self.keys.get_mut(pick.key) {
            key.row.last_used_ms = moment.now_ms;
            self.dirty.keys.insert(pick.key);
        }
        self.open.insert(
            id,
            Open { key: pick.key, pair: at, at_ms: moment.now_ms, tokens: tokens_guess },
        );
        self.write_reservation(id, moment.day, false);
        let project = self.projects.get(project).cloned().unwrap_or_default();
        Lease {
            id,
            key: pick.key,
            model: pick.model.clone(),
            project,
            fingerprint: self.fingerprint(pick.key).unwrap_or_default(),
        }
    }

    /// Ends a reservation: charges, gives back what cannot have been used, and blames whose fault it
    /// was (module header).
    pub fn settle(
        &mut self,
        mut lease: Lease,
        result: Result<&Usage, &ModelFailure>,
        now: Now,
    ) -> Effects {
        let moment = Moment::of(now);
        // A reload may have moved the keys; one that is gone is blamed for nothing.
        lease.key = self
            .keys
            .iter()
            .position(|key| key.row.fingerprint == lease.fingerprint)
            .unwrap_or(usize::MAX);
        let open = self.open.remove(&lease.id);
        let at = match &open {
            Some(open) => Some(open.pair),
            None => self.pair_position(&lease.project, &lease.model),
        };
        let Some(at) = at else { return Effects::default() };
        self.roll(at, moment.day);
        if let (Some(open), Some(pair)) = (&open, self.pairs.get_mut(at)) {
            pair.in_flight = pair.in_flight.saturating_sub(1);
            let never_used = result.is_err_and(ModelFailure::is_uncounted);
            let tokens = usage_of(result).map_or(open.tokens, |usage| usage.input);
            if never_used {
                pair.used = pair.used.saturating_sub(1);
                pair.window.leave(lease.id);
            } else {
                pair.window.settle(lease.id, tokens);
            }
            if let Some(usage) = usage_of(result) {
                pair.tokens_in += u64::from(usage.input);
                pair.tokens_out += u64::from(usage.output);
            }
            self.dirty.days.insert(at);
            let row = Open { tokens: if never_used { 0 } else { tokens }, ..open.clone() };
            self.settled_reservation(lease.id, &row, never_used);
        }
        match result {
            Ok(_) => {
                let notices = self.seen_answered(&lease, at, open.map(|open| open.at_ms), moment);
                Effects { notices, ..self.answered(&lease, at, moment) }
            }
            Err(failure) => self.failed(&lease, at, failure, moment),
        }
    }

    fn answered(&mut self, lease: &Lease, at: usize, moment: Moment) -> Effects {
        if let Some(key) = self.keys.get_mut(lease.key) {
            key.worked = true;
            key.unchecked = false;
            if key.row.errors != 0 || key.row.resting_until_ms != 0 {
                key.row.errors = 0;
                key.row.resting_until_ms = 0;
                key.row.rest_guessed = false;
                key.row.rest_reason.clear();
                self.dirty.keys.insert(lease.key);
            }
        }
        if let Some(pair) = self.pairs.get_mut(at)
            && pair.until_ms <= moment.now_ms
            && pair.until_ms != 0
        {
            pair.wake();
            self.dirty.quotas.insert(at);
        }
        let model = self.model_of_pair(at);
        self.model_worked(model);
        if let Some(model) = self.models.get_mut(model) {
            model.unproven_until_ms = 0;
        }
        Effects::default()
    }

    fn failed(
        &mut self,
        lease: &Lease,
        at: usize,
        failure: &ModelFailure,
        moment: Moment,
    ) -> Effects {
        let now = Now { unix_ms: moment.now_ms };
        let model = self.model_of_pair(at);
        let mut effects = Effects::default();
        effects.step = match failure {
            ModelFailure::BadKey { why } => {
                effects.notices.extend(self.key_refused(lease.key, why, moment.now_ms));
                Step::OtherKey
            }
            ModelFailure::ModelClosed => {
                self.rest_as_state(at, Reason::Closed, moment);
                Step::OtherKey
            }
            ModelFailure::ModelUnknown => {
                if self.model_unknown(model, now) {
                    effects.notices.push(Notice::ModelUnknown { model: lease.model.clone() });
                }
                Step::OtherModel
            }
            ModelFailure::Quota(hit) => {
                effects.notices = self.quota_refused(lease.key, at, hit, moment);
                if hit.window == Window::Unknown {
                    Step::Later { after_ms: LATER_MS }
                } else {
                    Step::OtherKey
                }
            }
            ModelFailure::Held(held) => {
                self.fleet_held(at, *held, moment);
                Step::OtherKey
            }
            ModelFailure::Overloaded => {
                self.model_failed(model, lease.key, 2, now);
                Step::OtherModel
            }
            ModelFailure::Internal => {
                self.model_failed(model, lease.key, 1, now);
                Step::OtherModel
            }
            ModelFailure::Region => {
                if !std::mem::replace(&mut self.region_told, true) {
                    effects.notices.push(Notice::Region);
                }
                Step::GiveUp
            }
            ModelFailure::BadRequest { .. }
            | ModelFailure::TooLarge
            | ModelFailure::Media(_)
            | ModelFailure::Safety { .. } => Step::GiveUp,
            // Thinking may have eaten the tokens; the same again may bring words.
            ModelFailure::Empty { .. } | ModelFailure::Network { .. } => {
                Step::Later { after_ms: LATER_MS }
            }
        };
        effects
    }

    fn quota_refused(
        &mut self,
        key: usize,
        at: usize,
        hit: &QuotaHit,
        moment: Moment,
    ) -> Vec<Notice> {
        let now_ms = moment.now_ms;
        let model = self.model_of_pair(at);
        let Some(pair) = self.pairs.get_mut(at) else { return Vec::new() };
        pair.refused = pair.refused.saturating_add(1);
        for (window, tokens, value) in &hit.learned {
            if *value > 0 && matches!(window, Window::Minute | Window::Day) {
                pair.learn(*window == Window::Day, *tokens, *value, now_ms);
            }
        }
        self.dirty.quotas.insert(at);
        let limits = self.limits_of(self.pair_of(at), model);
        let day = hit.window == Window::Day;
        let quiet = self.pair_of(at).is_quiet(limits, day, moment);
        match hit.window {
            Window::Nothing => {
                self.rest_as_state(at, Reason::Nothing, moment);
                if let Some(model) = self.models.get_mut(model) {
                    model.unproven_until_ms = now_ms + UNPROVEN_MS;
                }
                return Vec::new();
            }
            Window::Spend => {
                self.spend_refused(at, hit, now_ms);
                return Vec::new();
            }
            Window::Day => {
                let until_ms = day_rest_until(hit, quiet, moment);
                let guessed = until_ms != moment.midnight_ms;
                let reason = if hit.tokens { Reason::Tokens } else { Reason::Day };
                self.rest(at, until_ms, reason, guessed);
            }
            Window::Minute => {
                let rest_ms =
                    hit.retry_ms.unwrap_or(MINUTE_REST_MS).clamp(SECOND_MS, MINUTE_REST_MS_MAX);
                self.rest(at, now_ms + rest_ms, Reason::Minute, hit.retry_ms.is_none());
            }
            Window::Unknown => {
                let times = self.pair_of(at).backoff;
                let rest_ms =
                    doubled(GUESS_MS_MIN, times, GUESS_MS_MAX).max(hit.retry_ms.unwrap_or(0));
                self.rest(at, now_ms + rest_ms.min(GUESS_MS_MAX), Reason::Guess, true);
            }
        }
        let named = hit.window != Window::Unknown && !hit.tokens;
        let limit = if day { limits.rpd } else { limits.rpm }.filter(|_| named);
        let refusal = Refusal { at_ms: now_ms, pair: at, day, quiet, limit };
        self.remember_refusal(refusal);
        if day {
            // Few requests with many tokens, or a limit that nobody knows, are no riddle.
            let puzzling = quiet && !hit.tokens && limits.rpd.is_some();
            let until_ms = day_rest_until(hit, quiet, moment);
            self.hold_by(key, model, until_ms, puzzling, moment);
        }
        // Keys that turn out to share a project are one project to the storm guard.
        let mut notices = self.join_by(&refusal, moment);
        if notices.is_empty() {
            notices = self.join_by_habit(key, &refusal, moment);
        }
        notices.extend(self.storm(now_ms).map(|until_ms| Notice::Storm { until_ms }));
        notices
    }

    /// The cap is the billing account's, so every model of the project rests.
    fn spend_refused(&mut self, at: usize, hit: &QuotaHit, now_ms: UnixMs) {
        let times = self.pair_of(at).backoff;
        let rest_ms = doubled(SPEND_MS_MIN, times, SPEND_MS_MAX).max(hit.retry_ms.unwrap_or(0));
        let project = self.project_of_pair(at);
        for model in 0..self.models.len() {
            let at = self.pair_at(project, model);
            if !self.pair_of(at).reason.is_state() {
                self.rest(at, now_ms + rest_ms.min(SPEND_MS_MAX), Reason::Spend, true);
            }
        }
    }

    fn rest_as_state(&mut self, at: usize, reason: Reason, moment: Moment) {
        let days = 1 << self.pair_of(at).backoff.min(STATE_DAYS_LOG2_MAX);
        self.rest(at, moment.now_ms + days * DAY_MS, reason, false);
    }

    fn rest(&mut self, at: usize, until_ms: UnixMs, reason: Reason, guessed: bool) {
        if let Some(pair) = self.pairs.get_mut(at) {
            // A shorter rest for a lesser reason does not end a longer one.
            if until_ms >= pair.until_ms || reason.is_state() {
                pair.rest(until_ms, reason, guessed);
            }
            self.dirty.quotas.insert(at);
        }
    }

    /// Begins a new day of a pair.
    pub(super) fn roll(&mut self, at: usize, day: i64) {
        let ended = self.pair_of(at).day;
        if ended >= day {
            return;
        }
        if self.dirty.days.contains(&at)
            && let Some(row) = self.day_row(at)
        {
            self.dirty.ended_days.push(row);
        }
        if let Some(pair) = self.pairs.get_mut(at) {
            pair.begin(day);
        }
    }

    /// Forgets requests that nobody reported on, and ends inferences whose time is over.
    fn keep_house(&mut self, moment: Moment) {
        for _ in 0..FORGOTTEN_PER_STEP {
            let forgotten = self
                .open
                .first_key_value()
                .is_some_and(|(_, open)| open.at_ms < moment.now_ms - super::LEASE_MS_MAX);
            if !forgotten {
                break;
            }
            if let Some((id, open)) = self.open.pop_first() {
                if let Some(pair) = self.pairs.get_mut(open.pair) {
                    pair.in_flight = pair.in_flight.saturating_sub(1);
                }
                self.settled_reservation(id, &open, false);
            }
        }
        self.begin_day(moment.day);
        self.end_inferences(moment.day);
    }

    fn write_reservation(&mut self, id: i64, day: i64, settled: bool) {
        let Some(open) = self.open.get(&id) else { return };
        let Some((project, model)) = self.names_of(open.pair) else { return };
        let row = super::ReservationRow {
            id,
            project: project.to_owned(),
            model: model.to_owned(),
            fingerprint: self.fingerprint(open.key).unwrap_or_default(),
            at_ms: open.at_ms,
            day,
            tokens: open.tokens,
            settled,
        };
        self.dirty.reservations.insert(id, row);
    }

    /// `void`: it weighs on nothing any more, so it is dated back to where nothing weighs.
    fn settled_reservation(&mut self, id: i64, open: &Open, void: bool) {
        let at_ms = if void { 0 } else { open.at_ms };
        self.open.insert(id, Open { at_ms, ..open.clone() });
        self.write_reservation(id, pacific_day(open.at_ms), true);
        self.open.remove(&id);
    }
}

/// A key's number as people see it.
pub(super) fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1)
}

fn usage_of<'a>(result: Result<&'a Usage, &'a ModelFailure>) -> Option<&'a Usage> {
    match result {
        Ok(usage) => Some(usage),
        Err(ModelFailure::Safety { usage, .. } | ModelFailure::Empty { usage }) => Some(usage),
        Err(_) => None,
    }
    .filter(|usage| usage.input > 0)
}

fn day_rest_until(hit: &QuotaHit, quiet: bool, moment: Moment) -> UnixMs {
    let began_ms = crate::calendar::pacific_day_start(moment.day);
    if quiet && moment.now_ms < began_ms + NEW_DAY_MS {
        return moment.now_ms + NEW_DAY_REST_MS;
    }
    match hit.retry_ms {
        Some(delay_ms) if (DELAY_TELLS_MS..=DAY_MS).contains(&delay_ms) => moment.now_ms + delay_ms,
        _ => moment.midnight_ms,
    }
}
