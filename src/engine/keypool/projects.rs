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
//! too, the counts explain nothing: then keys are joined that were used up together on several days
//! though neither was ever answered after the other's end. (A minute's quota proves too little: any two
//! busy projects look joined by it.)
//!
//! With the keys used evenly all projects would end in the same minute, and neither fact would ever
//! show. So from the first refusal on that a key's own count does not explain, keys without a declared
//! project are used unevenly: each project and model has a handicap that changes by the day. Now
//! projects end hours apart: whoever is answered after an end is apart from it, and who is left belongs
//! together. After two months without such a refusal the even use comes back.
//!
//! A join is believed until the end of the day, the next time for two days, then four …: when it was
//! wrong it costs a day, and it is undone by itself or by `revive`. What is not inferred again for as
//! long as it was believed counts for less; and once the two are seen to be apart it counts for
//! nothing, and the owner's log says so.

use super::bench::Refusal;
use super::choose::scatter;
use super::notice::Notice;
use super::pair::{Moment, Reason};
use super::rows::ApartRow;
use super::settle::{Lease, number};
use super::{Key, Pool};
use crate::calendar::pacific_day;
use crate::types::{HOUR_MS, MINUTE_MS, Now, SECOND_MS, UnixMs};

/// An answer to a request sent so long after the other's refusal proves that they do not share it.
const APART_AFTER_MS: i64 = MINUTE_MS;
/// So often the proof is dated anew, in days.
const APART_AGAIN_DAYS: i64 = 16;
/// Pairs of keys remembered; beyond, nothing new is learned: that many keys are declared.
pub(super) const APART_MAX: usize = 20_000;
/// Counts may be above Gemini's by requests in flight or lost: so many, and one in so many; and below
/// by the latter, should Gemini count what it refuses.
pub(super) const SLACK: u64 = 2;
pub(super) const SLACK_ONE_IN: u64 = 50;
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

/// When today's quota refused a key first, and until when that holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    at_ms: UnixMs,
    until_ms: UnixMs,
}

/// What was seen of two keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Apart {
    /// The Pacific day of that.
    pub(super) day: i64,
    /// On so many days both were used up and neither was answered after the other's end; 0 once one was.
    pub(super) together: u32,
}

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
        let enough = limit - limit / SLACK_ONE_IN;
        if self.most_of_one(&all, None) < enough {
            return Vec::new();
        }
        let needed = |(other, _): &&(usize, u64)| {
            *other == project
                || self.is_suspect(*other, model) && self.most_of_one(&all, Some(*other)) < enough
        };
        let group: Vec<(usize, u64)> = all.iter().filter(needed).copied().collect();
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

    /// The most that one project can have used of these, but for one: of those that are all apart from
    /// each other only one belongs to it. Never too little; too much where who is apart is not known.
    fn most_of_one(&self, all: &[(usize, u64)], without: Option<usize>) -> u64 {
        let mut by_count: Vec<_> =
            all.iter().filter(|(project, _)| Some(*project) != without).copied().collect();
        by_count.sort_by_key(|(project, count)| (std::cmp::Reverse(*count), *project));
        let mut alternatives: Vec<Vec<usize>> = Vec::new();
        let mut most = 0_u64;
        for (project, count) in by_count {
            let apart_from_all = |others: &&mut Vec<usize>| {
                others.iter().all(|other| !self.may_share(project, *other))
            };
            match alternatives.iter_mut().find(apart_from_all) {
                // The first of them has the largest count.
                Some(others) => others.push(project),
                None => {
                    most = most.saturating_add(count);
                    alternatives.push(vec![project]);
                }
            }
        }
        most
    }

    /// Many keys refused one after the other though each has hardly used the model share what is used
    /// up, whichever of them belong together: the others are tried one by one and ever more rarely.
    pub(super) fn hold_by(
        &mut self,
        key: usize,
        model: usize,
        until_ms: UnixMs,
        quiet: bool,
        moment: Moment,
    ) {
        self.spent.entry((model, key)).or_insert(Spent { at_ms: moment.now_ms, until_ms });
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
        if self.spent.values().any(|spent| pacific_day(spent.at_ms) < day) {
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
    ) -> Vec<Notice> {
        let (key, model, day) = (lease.key, self.model_of_pair(pair), moment.day);
        let sent_ms = sent_ms.unwrap_or(moment.now_ms);
        if self.keys.get(key).is_none_or(|key| key.declared) {
            return Vec::new();
        }
        if let Some(model) = self.models.get_mut(model).filter(|model| model.spent_in_a_row > 0) {
            (model.spent_in_a_row, model.held_until_ms) = (0, 0);
        }
        // What came back before midnight may have come back for both.
        let says = |spent: &Spent| {
            (spent.at_ms.saturating_add(APART_AFTER_MS)..spent.until_ms).contains(&sent_ms)
        };
        let others = self.spent.range((model, 0)..=(model, usize::MAX));
        let proven: Vec<usize> = others
            .filter(|((_, other), spent)| *other != key && says(spent))
            .filter(|((_, other), _)| self.keys.get(*other).is_some_and(|key| !key.declared))
            .map(|((_, other), _)| *other)
            .collect();
        let mut notices = Vec::new();
        for other in proven {
            let pair = (key.min(other), key.max(other));
            let news = self.apart.get(&pair).map_or(self.apart.len() < APART_MAX, |known| {
                known.together > 0 || known.day + APART_AGAIN_DAYS <= day
            });
            if news {
                self.apart.insert(pair, Apart { day, together: 0 });
                self.dirty.aparts.insert(pair);
            }
            notices.extend(self.refuted(key, other, day));
        }
        notices
    }

    /// Two keys do not share a project: were they ever joined, that was wrong, and is undone.
    fn refuted(&mut self, one: usize, other: usize, day: i64) -> Option<Notice> {
        let joined_to = |pool: &Self, at: usize| -> Option<String> {
            let key = pool.keys.get(at)?;
            let own = || pool.projects.get(key.own_project).cloned();
            if key.row.project.is_empty() { own() } else { Some(key.row.project.clone()) }
        };
        if joined_to(self, one)? != joined_to(self, other)? {
            return None;
        }
        // The one that was joined; where both were, the later one in the list.
        let joined = |at: &usize| self.keys.get(*at).is_some_and(|key| !key.row.project.is_empty());
        let at = [one.max(other), one.min(other)].into_iter().find(joined)?;
        self.part(at, day);
        for at in [one, other] {
            if let Some(key) = self.keys.get_mut(at).filter(|key| key.project == key.own_project) {
                key.row.project.clear();
                key.row.joins = 0;
                self.dirty.keys.insert(at);
            }
        }
        Some(Notice::Parted { n: number(at), with: number(if at == one { other } else { one }) })
    }

    pub(super) fn remember_apart(&mut self, rows: &[ApartRow]) {
        for row in rows {
            let find = |name: &str| self.keys.iter().position(|key| key.row.fingerprint == name);
            if let (Some(one), Some(other)) = (find(&row.one), find(&row.other)) {
                let apart = Apart { day: row.day, together: row.together };
                self.apart.insert((one.min(other), one.max(other)), apart);
            }
        }
    }

    /// The same of the pool before the settings were read again: positions may have moved.
    pub(super) fn keep_spent_of(&mut self, old: &Self) {
        for ((model, key), spent) in &old.spent {
            let name = old.models.get(*model).map(|model| &model.name);
            let model = self.models.iter().position(|model| Some(&model.name) == name);
            let fingerprint = old.fingerprint(*key);
            let key =
                self.keys.iter().position(|key| Some(&key.row.fingerprint) == fingerprint.as_ref());
            if let (Some(model), Some(key)) = (model, key) {
                self.spent.insert((model, key), *spent);
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
                if !matches!(pair.reason, Reason::Day | Reason::Tokens)
                    || pair.until_ms <= now.unix_ms
                {
                    continue;
                }
                let limits = self.limits_of(pair, model);
                // As when it was refused: few requests with many tokens are no riddle, nor is a limit
                // that nobody knows.
                let puzzling = pair.reason == Reason::Day
                    && limits.rpd.is_some()
                    && pair.is_quiet(limits, true, moment);
                let spent = Spent { at_ms: now.unix_ms, until_ms: pair.until_ms };
                self.spent.insert((model, at), spent);
                if let Some(model) = self.models.get_mut(model).filter(|_| puzzling) {
                    model.spent_in_a_row = model.spent_in_a_row.saturating_add(1);
                    model.held_until_ms = held_until_ms(model.spent_in_a_row, moment);
                }
            }
        }
    }

    pub(super) fn apart_row(&self, pair: (usize, usize)) -> Option<ApartRow> {
        let (one, other) = (self.fingerprint(pair.0)?, self.fingerprint(pair.1)?);
        let Apart { day, together } = *self.apart.get(&pair)?;
        let (one, other) = if one < other { (one, other) } else { (other, one) };
        Some(ApartRow { one, other, day, together })
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
    pub(super) fn may_share(&self, one: usize, other: usize) -> bool {
        self.is_inferable(one)
            && self.is_inferable(other)
            && self.keys_on(one).all(|a| self.keys_on(other).all(|b| !self.are_apart(a, b)))
    }

    fn are_apart(&self, one: usize, other: usize) -> bool {
        let known = self.apart.get(&(one.min(other), one.max(other)));
        known.is_some_and(|known| known.together == 0)
    }

    /// No key of it has a declared project.
    pub(super) fn is_inferable(&self, project: usize) -> bool {
        let mut keys = self.keys.iter().filter(|key| key.project == project).peekable();
        keys.peek().is_some() && keys.all(|key| !key.declared)
    }

    pub(super) fn join(&mut self, from: usize, into: usize, day: i64) -> Vec<Notice> {
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
        // What was found before counts, whichever of the two was joined to the other then.
        let both = self.keys.iter().filter(|key| key.project == from || key.project == into);
        let joins = both.map(|key| key.row.joins).max().unwrap_or(0);
        let mut notices = Vec::new();
        for (at, key) in self.keys.iter_mut().enumerate() {
            if key.project == into && key.own_project == into && !key.row.project.is_empty() {
                // This time it is the one that is joined to.
                key.row.project.clear();
                self.dirty.keys.insert(at);
            }
            if key.project != from {
                continue;
            }
            key.project = into;
            key.row.inferred = into != key.own_project;
            key.row.project = if key.row.inferred { name.clone() } else { String::new() };
            key.row.joined_until_day = day + (1 << joins.min(BELIEF_LOG2_MAX)) - 1;
            key.row.joins = joins.saturating_add(1);
            self.dirty.keys.insert(at);
            notices.push(Notice::Joined { n: number(at), with });
        }
        notices
    }

    /// Gives every key back its own project whose inference has been believed long enough.
    pub(super) fn end_inferences(&mut self, day: i64) {
        for at in 0..self.keys.len() {
            let Some(key) = self.keys.get_mut(at) else { continue };
            let row = &mut key.row;
            if row.joined_until_day >= day {
                continue;
            }
            if row.inferred {
                self.part(at, day);
            } else if row.joins > 0
                && row.joined_until_day + (1 << (row.joins - 1).min(BELIEF_LOG2_MAX)) < day
            {
                row.joins -= 1;
                row.joined_until_day = day - 1;
                if row.joins == 0 {
                    row.project.clear();
                }
                self.dirty.keys.insert(at);
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
