//! Owns: one (project, model) pair: what it has used and learned, and why it rests.
//! May not: know keys, roles or other pairs.

use super::rows::{DayRow, QuotaRow};
use super::settings::Limits;
use super::settle::{GUESS_MS_MAX, MINUTE_REST_MS_MAX, SPEND_MS_MAX, STATE_DAYS_LOG2_MAX};
use super::window::{REQUESTS_MAX, Window};
use crate::calendar::{pacific_day, pacific_midnight_after};
use crate::types::status::Hold;
use crate::types::{DAY_MS, HOUR_MS, Now, UnixMs};

/// Why a pair rests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reason {
    #[default]
    None,
    Minute,
    Day,
    /// The day's tokens: that says nothing of requests.
    Tokens,
    Spend,
    /// A 429 without details.
    Guess,
    /// `limit: 0`.
    Nothing,
    Closed,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Minute,
        Self::Day,
        Self::Tokens,
        Self::Spend,
        Self::Guess,
        Self::Nothing,
        Self::Closed,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Tokens => "tokens",
            Self::Spend => "spend",
            Self::Guess => "guess",
            Self::Nothing => "none",
            Self::Closed => "closed",
        }
    }

    pub(super) fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.name() == name).unwrap_or_default()
    }

    /// The same for people.
    pub(super) fn hold(self) -> Hold {
        match self {
            Self::Minute => Hold::Minute,
            Self::Day | Self::Tokens => Hold::Day,
            Self::Spend => Hold::Spend,
            Self::None | Self::Guess => Hold::Unexplained,
            Self::Nothing => Hold::Nothing,
            Self::Closed => Hold::Closed,
        }
    }

    /// The longest rest there is for this reason.
    fn longest_ms(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Minute => MINUTE_REST_MS_MAX,
            // A day with an hour more, when daylight saving ends.
            Self::Day | Self::Tokens => DAY_MS + HOUR_MS,
            Self::Spend => SPEND_MS_MAX,
            Self::Guess => GUESS_MS_MAX,
            Self::Nothing | Self::Closed => DAY_MS << STATE_DAYS_LOG2_MAX,
        }
    }

    /// A state of the pair and not a matter of time.
    pub(super) fn is_state(self) -> bool {
        matches!(self, Self::Nothing | Self::Closed)
    }
}

/// A count further ahead of the clock than this many days weighs on nothing: that clock was no clock.
const AHEAD_DAYS_MAX: i64 = 8;

/// An instant with the quota day it lies in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now_ms: UnixMs,
    pub(super) day: i64,
    pub(super) midnight_ms: UnixMs,
}

impl Moment {
    pub(super) fn of(now: Now) -> Self {
        Self {
            now_ms: now.unix_ms,
            day: pacific_day(now.unix_ms),
            midnight_ms: pacific_midnight_after(now.unix_ms),
        }
    }
}

/// Why a pair cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) until_ms: UnixMs,
    pub(super) reason: Reason,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    pub(super) learned: Limits,
    pub(super) until_ms: UnixMs,
    pub(super) reason: Reason,
    pub(super) guessed: bool,
    pub(super) backoff: u32,
    learned_ms: UnixMs,
    pub(super) day: i64,
    pub(super) used: u32,
    pub(super) refused: u32,
    pub(super) tokens_in: u64,
    pub(super) tokens_out: u64,
    pub(super) window: Window,
    /// Reserved and not settled.
    pub(super) in_flight: u32,
    /// A look at its keys has been asked for in this rest.
    pub(super) looked: bool,
    /// Days after `day` that a clock which was ahead has counted on, or that one which is behind
    /// will come to: they weigh on today, since what they count has happened.
    ahead: Vec<DayRow>,
    /// Requests of all boxes, and the day they are of.
    pub(super) fleet: (i64, u32),
}

/// The pair of nobody.
pub(super) static NONE: Pair = Pair {
    learned: Limits { rpm: None, tpm: None, rpd: None },
    until_ms: 0,
    reason: Reason::None,
    guessed: false,
    backoff: 0,
    learned_ms: 0,
    day: 0,
    used: 0,
    refused: 0,
    tokens_in: 0,
    tokens_out: 0,
    window: Window::EMPTY,
    in_flight: 0,
    looked: false,
    ahead: Vec::new(),
    fleet: (0, 0),
};

impl Pair {
    /// Whether anything is known that a row should hold.
    pub(super) fn is_known(&self) -> bool {
        self.learned != Limits::default() || self.until_ms != 0 || self.reason != Reason::None
    }

    /// Whether this pair has answered before, as far as its row tells.
    pub(super) fn is_proven(&self) -> bool {
        self.used > self.in_flight || self.learned.rpd.is_some()
    }

    /// Uses counted today; a new day begins with what was in flight when the old one ended.
    pub(super) fn used_on(&self, day: i64) -> u32 {
        let counted = if self.day >= day { self.used } else { self.in_flight };
        let counted = if self.fleet.0 == day { counted.max(self.fleet.1) } else { counted };
        let ahead = self.ahead.iter().filter(|row| row.day >= day && row.day > self.day);
        ahead
            .filter(|row| row.day <= day + AHEAD_DAYS_MAX)
            .fold(counted, |sum, row| sum.saturating_add(row.used))
    }

    /// Begins a new day: what is in flight may be counted on it by Gemini, and what was counted on
    /// it before the clock went back is counted on it still.
    pub(super) fn begin(&mut self, day: i64) {
        let known = self.ahead.iter().position(|row| row.day == day);
        let known = known.map(|at| self.ahead.swap_remove(at)).unwrap_or_default();
        self.ahead.retain(|row| row.day > day);
        self.used = self.in_flight.saturating_add(known.used);
        self.refused = known.refused;
        self.tokens_in = known.tokens_in;
        self.tokens_out = known.tokens_out;
        self.day = day;
    }

    /// Rows of the days to come, by the clock.
    pub(super) fn ahead(&self) -> &[DayRow] {
        &self.ahead
    }

    /// How many requests of today's `cap` are left, or why none can be made now.
    pub(super) fn left(
        &self,
        limits: Limits,
        cap: Option<u32>,
        tokens: u32,
        moment: Moment,
    ) -> Result<u32, Blocked> {
        let resting = self.until_ms > moment.now_ms;
        let rest = resting.then_some(Blocked { until_ms: self.until_ms, reason: self.reason });
        if let Some(blocked) = rest.filter(|blocked| blocked.reason.is_state()) {
            return Err(blocked);
        }
        let used = self.used_on(moment.day);
        let day = cap
            .filter(|cap| used >= *cap)
            .map(|_| Blocked { until_ms: moment.midnight_ms, reason: Reason::Day });
        let minute = self
            .minute_blocked_until(limits, tokens, moment.now_ms)
            .map(|until_ms| Blocked { until_ms, reason: Reason::Minute });
        // What ends last decides: before that it is no use to ask again.
        match [minute, day, rest].into_iter().flatten().max_by_key(|blocked| blocked.until_ms) {
            Some(blocked) => Err(blocked),
            None => Ok(cap.map_or(u32::MAX, |cap| cap.saturating_sub(used))),
        }
    }

    fn minute_blocked_until(&self, limits: Limits, tokens: u32, now_ms: UnixMs) -> Option<UnixMs> {
        let count = self.window.count(now_ms);
        let rpm = limits.rpm.map_or(REQUESTS_MAX, |rpm| (rpm as usize).min(REQUESTS_MAX));
        if count >= rpm {
            // So many have to leave that only `rpm - 1` weigh.
            return self.window.leaves(count.saturating_sub(rpm.max(1)) + 1, now_ms);
        }
        let tpm = u64::from(limits.tpm?);
        let live = || self.window.live(now_ms);
        let mut sum: u64 = live().map(|used| u64::from(used.tokens)).sum();
        // A request larger than the whole limit may go alone.
        if count == 0 || sum + u64::from(tokens) <= tpm {
            return None;
        }
        let mut until_ms = None;
        for used in live() {
            sum -= u64::from(used.tokens);
            until_ms = Some(used.at_ms + super::WINDOW_MS);
            if sum + u64::from(tokens) <= tpm {
                break;
            }
        }
        until_ms
    }

    /// What is counted against today's or this minute's limit.
    pub(super) fn count(&self, day_window: bool, moment: Moment) -> u32 {
        if day_window {
            return self.used_on(moment.day);
        }
        u32::try_from(self.window.count(moment.now_ms)).unwrap_or(u32::MAX)
    }

    /// Whether local counts alone would not make anyone expect a refusal: at most half is used.
    pub(super) fn is_quiet(&self, limits: Limits, day_window: bool, moment: Moment) -> bool {
        let limit = if day_window { limits.rpd } else { limits.rpm };
        limit.is_none_or(|limit| self.count(day_window, moment).saturating_mul(2) <= limit)
    }

    /// Takes over another pair's use: the two turned out to be one.
    pub(super) fn absorb(&mut self, other: &mut Self, day: i64) {
        // Of days ahead only today's part is known apart; the rows stay where they are.
        let today = |pair: &Self| if pair.day >= day { pair.used } else { pair.in_flight };
        self.used = today(self).saturating_add(other.used_on(day));
        self.refused += other.refused;
        self.day = day;
        self.in_flight += std::mem::take(&mut other.in_flight);
        self.window.absorb(&mut other.window);
        if other.until_ms > self.until_ms {
            self.until_ms = other.until_ms;
            self.reason = other.reason;
            self.guessed = other.guessed;
        }
    }

    pub(super) fn learn(&mut self, day_window: bool, tokens: bool, value: u32, now_ms: UnixMs) {
        let known = match (day_window, tokens) {
            (false, false) => &mut self.learned.rpm,
            (false, true) => &mut self.learned.tpm,
            (true, false) => &mut self.learned.rpd,
            // Tokens per day are not counted ahead; the refusal itself says when they are gone.
            (true, true) => return,
        };
        if *known != Some(value) {
            *known = Some(value);
            self.learned_ms = now_ms;
        }
    }

    pub(super) fn rest(&mut self, until_ms: UnixMs, reason: Reason, guessed: bool) {
        self.until_ms = until_ms;
        self.reason = reason;
        self.guessed = guessed;
        self.looked = false;
        self.backoff = self.backoff.saturating_add(1);
    }

    /// Nothing holds it back any more.
    pub(super) fn wake(&mut self) {
        self.until_ms = 0;
        self.reason = Reason::None;
        self.guessed = false;
        self.backoff = 0;
    }

    pub(super) fn load_quota(&mut self, row: &QuotaRow, now_ms: UnixMs) {
        self.learned = Limits { rpm: row.rpm, tpm: row.tpm, rpd: row.rpd };
        self.reason = Reason::from_name(&row.reason);
        // A clock that was ahead must not make a rest longer than any is.
        self.until_ms = row.until_ms.min(now_ms.saturating_add(self.reason.longest_ms()));
        self.guessed = row.guessed;
        self.backoff = row.backoff;
        self.learned_ms = row.learned_ms;
    }

    pub(super) fn load_day(&mut self, row: &DayRow, today: i64) {
        if row.day > today {
            self.ahead.push(row.clone());
            return;
        }
        if row.day < self.day {
            return;
        }
        self.day = row.day;
        self.used = row.used;
        self.refused = row.refused;
        self.tokens_in = row.tokens_in;
        self.tokens_out = row.tokens_out;
    }

    pub(super) fn quota_row(&self, project: &str, model: &str) -> QuotaRow {
        QuotaRow {
            project: project.to_owned(),
            model: model.to_owned(),
            rpm: self.learned.rpm,
            tpm: self.learned.tpm,
            rpd: self.learned.rpd,
            until_ms: self.until_ms,
            reason: self.reason.name().to_owned(),
            guessed: self.guessed,
            backoff: self.backoff,
            learned_ms: self.learned_ms,
        }
    }

    /// `None` before the first use.
    pub(super) fn day_row(&self, project: &str, model: &str) -> Option<DayRow> {
        (self.day != 0).then(|| DayRow {
            day: self.day,
            project: project.to_owned(),
            model: model.to_owned(),
            used: self.used,
            refused: self.refused,
            tokens_in: self.tokens_in,
            tokens_out: self.tokens_out,
        })
    }
}

/// A rest that doubles with each time in a row.
pub(super) fn doubled(first_ms: i64, times: u32, max_ms: i64) -> i64 {
    first_ms.saturating_mul(1 << times.min(20)).min(max_ms)
}
