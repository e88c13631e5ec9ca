//! Owns: which keys without a declared project share one, inferred from refusals, and for how long
//! that is believed.
//! May not: touch keys whose project is declared.
//!
//! Two facts decide. A key that is answered a while after the day of another was used up does not
//! share its project: that is remembered for long, because projects do not change. And what a project
//! has used is what its keys have used: when a day's quota refuses a key whose own count does not
//! explain it, another key belongs to the same project if, without that key, all that may belong to it
//! have together used less than the limit. Such a key is joined once it has been refused too, or had
//! been joined before; it is never set aside by arithmetic alone. Where somebody else uses the quotas
//! too, the counts explain nothing and nothing is joined. (A minute's quota proves too little: any two
//! busy projects look joined by it.)
//!
//! With the keys used evenly all projects would end in the same minute, and neither fact would ever
//! show. So from the first refusal on that a key's own count does not explain, keys without a declared
//! project are used unevenly: each project and model has a handicap that changes by the day. Now
//! projects end hours apart: whoever is answered after an end is apart from it, and who is left belongs
//! together. After two months without such a refusal the even use comes back.
//!
//! A join is believed until the end of the day, the next time for two days, then four …: when it was
//! wrong it costs a day, and it is undone by itself or by `revive`.

use super::bench::Refusal;
use super::choose::scatter;
use super::pair::{Moment, Reason};
use super::rows::ApartRow;
use super::settle::{Lease, Notice, number};
use super::{Key, Pool};
use crate::calendar::pacific_day;
use crate::types::{HOUR_MS, MINUTE_MS, Now, SECOND_MS, UnixMs};

/// An answer to a request sent so long after the other's refusal proves that they do not share it.
const APART_AFTER_MS: i64 = MINUTE_MS;
/// So often the proof is dated anew, in days.
const APART_AGAIN_DAYS: i64 = 16;
/// Pairs of keys remembered; beyond, nothing new is learned: that many keys are declared.
const APART_MAX: usize = 20_000;
/// Counts may be above Gemini's by requests in flight or lost: so many, and one in so many; and below
/// by the latter, should Gemini count what it refuses.
const SLACK: u64 = 2;
const SLACK_ONE_IN: u64 = 50;
/// From so many such refusals in a row on, the others are held back: so long, four times as long each time.
const HOLD_FROM: u32 = 4;
const HOLD_MS_MIN: i64 = 15 * SECOND_MS;
const HOLD_MS_MAX: i64 = HOUR_MS;
/// The longest time that an inference is believed: 2^5 days.
const BELIEF_LOG2_MAX: u32 = 5;
/// After an unexplained refusal the use is uneven for so many days: longer than any belief, so that
/// what is inferred anew costs as little as possible.
const UNEVEN_DAYS: i64 = 2 << BELIEF_LOG2_MAX;
/// Models told apart by the handicap of a day; beyond, one has tomorrow's of another.
const HANDICAP_MODELS: u32 = 64;
/// The most favoured project is used up to so much faster than others: 100 % is twice as fast.
const HANDICAP_PERCENT_MAX: u32 = 400;

impl Pool {
    /// Joins the keys without which a refusal cannot be explained (module header).
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
        let own = count_of(project);
        // All that may belong to it.
        let mut all = vec![(project, own)];
        for other in self.live_projects() {
            let count = count_of(other);
            if other != project && count > 0 && self.may_share(project, other) {
                all.push((other, count));
            }
        }
        let sum = |group: &[(usize, u64)]| group.iter().map(|(_, count)| count).sum::<u64>();
        let (known, enough) = (sum(&all), limit - limit / SLACK_ONE_IN);
        if known < enough {
            return Vec::new();
        }
        let needed = |(other, count): &(usize, u64)| {
            *other == project || known - count < enough && self.is_suspect(*other, model)
        };
        let group: Vec<(usize, u64)> = all.into_iter().filter(needed).collect();
        let agree = group.iter().all(|(one, _)| {
            group.iter().all(|(other, _)| one == other || self.may_share(*one, *other))
        });
        // Part of an explanation is none: what is missing may be somebody else's use.
        let explained =
            enough <= sum(&group) && sum(&group) <= limit + SLACK + limit / SLACK_ONE_IN;
        if !agree || !explained {
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

    /// Many keys refused one after the other though each has hardly used the model share what is used
    /// up, whichever of them belong together: the others are tried one by one and ever more rarely.
    pub(super) fn hold_by(&mut self, key: usize, model: usize, quiet: bool, moment: Moment) {
        self.spent.entry((model, key)).or_insert(moment.now_ms);
        let inferable = self.keys.get_mut(key).filter(|key| quiet && !key.declared);
        let (Some(known), Some(model)) = (inferable, self.models.get_mut(model)) else { return };
        if known.row.puzzled_day < moment.day {
            known.row.puzzled_day = moment.day;
            self.uneven_until_day = self.uneven_until_day.max(moment.day + UNEVEN_DAYS);
            self.dirty.keys.insert(key);
        }
        model.spent_in_a_row = model.spent_in_a_row.saturating_add(1);
        model.held_until_ms = held_until_ms(model.spent_in_a_row, moment);
    }

    /// How much more than counted a key's use of today weighs against it.
    pub(super) fn handicap_percent(&self, key: &Key, model: usize, day: i64) -> i64 {
        if key.declared || day > self.uneven_until_day {
            return 0;
        }
        let day = u32::try_from(day).unwrap_or(0);
        let model = u32::try_from(model).unwrap_or(0);
        let seed = day.wrapping_mul(HANDICAP_MODELS).wrapping_add(model);
        i64::from(scatter(seed, key.project) % (HANDICAP_PERCENT_MAX + 1))
    }

    /// Until when the keys are used unevenly, as their rows tell.
    pub(super) fn remember_puzzles(&mut self) {
        let inferable = self.keys.iter().filter(|key| !key.declared && key.row.puzzled_day > 0);
        let last_day = inferable.map(|key| key.row.puzzled_day).max();
        self.uneven_until_day = last_day.map_or(0, |day| day + UNEVEN_DAYS);
    }

    /// What was used up yesterday tells nothing today.
    pub(super) fn begin_day(&mut self, day: i64) {
        if self.spent.values().any(|at_ms| pacific_day(*at_ms) < day) {
            self.spent.clear();
            for model in &mut self.models {
                (model.spent_in_a_row, model.held_until_ms) = (0, 0);
            }
        }
    }

    /// A request, sent at that instant, was answered: whoever was used up before shares nothing.
    pub(super) fn seen_answered(
        &mut self,
        lease: &Lease,
        pair: usize,
        sent_ms: Option<UnixMs>,
        moment: Moment,
    ) {
        let (key, model, day) = (lease.key, self.model_of_pair(pair), moment.day);
        let sent_ms = sent_ms.unwrap_or(moment.now_ms);
        if self.keys.get(key).is_none_or(|key| key.declared) {
            return;
        }
        if let Some(model) = self.models.get_mut(model).filter(|model| model.spent_in_a_row > 0) {
            (model.spent_in_a_row, model.held_until_ms) = (0, 0);
        }
        let others = self.spent.range((model, 0)..=(model, usize::MAX));
        let proven: Vec<(usize, usize)> = others
            .filter(|((_, other), at_ms)| *other != key && **at_ms <= sent_ms - APART_AFTER_MS)
            .filter(|((_, other), _)| self.keys.get(*other).is_some_and(|key| !key.declared))
            .map(|((_, other), _)| (key.min(*other), key.max(*other)))
            .collect();
        for pair in proven {
            let known = self.apart.get(&pair).copied();
            let news =
                known.map_or(self.apart.len() < APART_MAX, |on| on + APART_AGAIN_DAYS <= day);
            if news {
                self.apart.insert(pair, day);
                self.dirty.aparts.insert(pair);
            }
        }
    }

    pub(super) fn remember_apart(&mut self, rows: &[ApartRow]) {
        for row in rows {
            let find = |name: &str| self.keys.iter().position(|key| key.row.fingerprint == name);
            if let (Some(one), Some(other)) = (find(&row.one), find(&row.other)) {
                self.apart.insert((one.min(other), one.max(other)), row.day);
            }
        }
    }

    /// The same of the pool before the settings were read again: positions may have moved.
    pub(super) fn keep_spent_of(&mut self, old: &Self) {
        for ((model, key), at_ms) in &old.spent {
            let name = old.models.get(*model).map(|model| &model.name);
            let model = self.models.iter().position(|model| Some(&model.name) == name);
            let fingerprint = old.fingerprint(*key);
            let key =
                self.keys.iter().position(|key| Some(&key.row.fingerprint) == fingerprint.as_ref());
            if let (Some(model), Some(key)) = (model, key) {
                self.spent.insert((model, key), *at_ms);
            }
        }
    }

    /// What rests for the day was refused before now; when, no row tells.
    pub(super) fn remember_spent(&mut self, now: Now) {
        let moment = Moment::of(now);
        let keys = self.keys.iter().enumerate().filter(|(_, key)| !key.declared);
        let keys: Vec<_> = keys.map(|(at, key)| (at, key.project)).collect();
        for (at, project) in keys {
            for model in 0..self.models.len() {
                let pair = self.pair_of(self.pair_at(project, model));
                if pair.reason == Reason::Day && pair.until_ms > now.unix_ms {
                    let quiet = pair.is_quiet(self.limits_of(pair, model), true, moment);
                    self.spent.insert((model, at), now.unix_ms);
                    if let Some(model) = self.models.get_mut(model).filter(|_| quiet) {
                        model.spent_in_a_row = model.spent_in_a_row.saturating_add(1);
                        model.held_until_ms = held_until_ms(model.spent_in_a_row, moment);
                    }
                }
            }
        }
    }

    pub(super) fn apart_row(&self, pair: (usize, usize)) -> Option<ApartRow> {
        let (one, other) = (self.fingerprint(pair.0)?, self.fingerprint(pair.1)?);
        let day = *self.apart.get(&pair)?;
        let (one, other) = if one < other { (one, other) } else { (other, one) };
        Some(ApartRow { one, other, day })
    }

    pub(super) fn keys_on(&self, project: usize) -> impl Iterator<Item = usize> {
        let keys = self.keys.iter().enumerate();
        keys.filter(move |(_, key)| key.project == project).map(|(at, _)| at)
    }

    /// Today's quota of the model has refused a key of it.
    fn is_spent(&self, project: usize, model: usize) -> bool {
        self.keys_on(project).any(|key| self.spent.contains_key(&(model, key)))
    }

    /// It was refused too, or found to share once before: what was never refused is not set aside
    /// by arithmetic alone.
    fn is_suspect(&self, project: usize, model: usize) -> bool {
        let joined_before = |key| self.keys.get(key).is_some_and(|key: &Key| key.row.joins > 0);
        self.is_spent(project, model) || self.keys_on(project).any(joined_before)
    }

    /// Nothing speaks against these being one project.
    fn may_share(&self, one: usize, other: usize) -> bool {
        self.is_inferable(one)
            && self.is_inferable(other)
            && self.keys_on(one).all(|a| {
                self.keys_on(other).all(|b| !self.apart.contains_key(&(a.min(b), a.max(b))))
            })
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

fn held_until_ms(refused_in_a_row: u32, moment: Moment) -> UnixMs {
    refused_in_a_row.checked_sub(HOLD_FROM).map_or(0, |times| {
        let hold_ms = (HOLD_MS_MIN << (2 * times.min(8))).min(HOLD_MS_MAX);
        (moment.now_ms + hold_ms).min(moment.midnight_ms)
    })
}
