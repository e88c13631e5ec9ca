//! Owns: requests and tokens that a project has used of a model (api-reference B5).
//! May not: read a clock.

use super::errors::{self, Failure};
use crate::types::{DAY_MS, HOUR_MS, MINUTE_MS, UnixMs};
use std::collections::VecDeque;

/// Limits of a model; none of them: unlimited. `Some(0)`: the project has no quota at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in any 60 s.
    pub rpm: Option<u32>,
    /// Requests between two midnights in California.
    pub rpd: Option<u32>,
    /// Input tokens in any 60 s.
    pub tpm: Option<u32>,
}

const fn limits(rpm: u32, rpd: u32, tpm: u32) -> Limits {
    Limits { rpm: Some(rpm), rpd: Some(rpd), tpm: Some(tpm) }
}

/// The free tier as observed (api-reference B5, B6).
pub(super) const MODELS: [(&str, Limits); 11] = [
    ("gemini-3.8-flash", limits(5, 20, 250_000)),
    ("gemini-3.7-flash", limits(5, 20, 250_000)),
    ("gemini-3.6-flash", limits(5, 20, 250_000)),
    ("gemini-3.5-flash", limits(5, 20, 250_000)),
    ("gemini-3.5-flash-lite", limits(15, 500, 250_000)),
    ("gemini-3.1-flash-lite", limits(15, 500, 250_000)),
    ("gemini-2.5-flash", limits(10, 20, 250_000)),
    ("gemini-2.5-flash-lite", limits(10, 20, 250_000)),
    ("gemini-3.1-pro-preview", limits(0, 0, 0)),
    ("gemini-2.5-pro", limits(0, 0, 0)),
    ("gemini-flash-latest", limits(5, 20, 250_000)),
];

/// The limits of a known model.
pub(super) fn free_tier(model: &str) -> Option<Limits> {
    MODELS.iter().find(|(name, _)| *name == model).map(|(_, limits)| *limits)
}

/// What one project has used of one model.
#[derive(Default)]
pub(super) struct Quota {
    /// Time and input tokens of each request of the last minute; as long as `rpm` or, without
    /// one, not kept at all.
    minute: VecDeque<(UnixMs, u32)>,
    day: i64,
    today: u32,
    /// Requests ever let through.
    pub(super) taken: u64,
    /// Requests ever refused.
    pub(super) refused: u64,
}

impl Quota {
    pub(super) fn today(&self) -> u32 {
        self.today
    }

    /// Counts a request, or says which quotas are against it.
    pub(super) fn take(
        &mut self,
        model: &str,
        limits: Limits,
        tokens: u32,
        now_ms: UnixMs,
    ) -> Result<(), Failure> {
        let day = pacific_day(now_ms);
        if day != self.day {
            self.day = day;
            self.today = 0;
        }
        while self.minute.front().is_some_and(|(at_ms, _)| *at_ms + MINUTE_MS <= now_ms) {
            self.minute.pop_front();
        }
        let used: u32 = self.minute.iter().map(|(_, tokens)| *tokens).sum();
        let requests = u32::try_from(self.minute.len()).unwrap_or(u32::MAX);
        let mut violations = Vec::new();
        if let Some(limit) = limits.rpd.filter(|limit| *limit <= self.today) {
            violations.push(errors::per_day(limit));
        }
        if let Some(limit) = limits.rpm.filter(|limit| *limit <= requests) {
            violations.push(errors::per_minute(limit));
        }
        if let Some(limit) = limits.tpm.filter(|limit| *limit < used.saturating_add(tokens)) {
            violations.push(errors::tokens_per_minute(limit));
        }
        if !violations.is_empty() {
            self.refused += 1;
            // Google names the minute's delay even where the day is spent.
            let free_ms =
                self.minute.front().map_or(9_000, |(at_ms, _)| at_ms + MINUTE_MS - now_ms);
            return Err(errors::exhausted(model, &violations, free_ms));
        }
        self.taken += 1;
        self.today += 1;
        if limits.rpm.is_some() || limits.tpm.is_some() {
            self.minute.push_back((now_ms, tokens));
        }
        Ok(())
    }
}

/// The number of the day in California, where daily quotas begin anew at midnight.
fn pacific_day(now_ms: UnixMs) -> i64 {
    let standard = now_ms - 8 * HOUR_MS;
    let summer = is_summer(standard);
    (standard + if summer { HOUR_MS } else { 0 }).div_euclid(DAY_MS)
}

/// Daylight saving time: from the second Sunday of March to the first of November, 2 o'clock.
fn is_summer(standard_ms: i64) -> bool {
    let day = standard_ms.div_euclid(DAY_MS);
    // Days of a year that begins in March: leap days fall at its end.
    let since = day + 719_468;
    let of_era = since.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let first_of_march = day - day_of_year;
    let sunday_from = |day: i64| day + (3 - day).rem_euclid(7);
    let begins = sunday_from(first_of_march) + 7;
    let ends = sunday_from(first_of_march + 245);
    let hour = |day: i64, hour: i64| day * DAY_MS + hour * HOUR_MS;
    // At its end two o'clock of summer is one o'clock of standard time.
    (hour(begins, 2)..hour(ends, 1)).contains(&standard_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: UnixMs, midnight: UnixMs) {
        assert_eq!(pacific_day(midnight - 1), pacific_day(before));
        assert_eq!(pacific_day(midnight), pacific_day(before) + 1);
    }

    #[test]
    fn winter_midnight_is_at_eight_utc() {
        check(1_795_300_000_000, 1_795_334_400_000);
    }
    #[test]
    fn summer_midnight_is_at_seven_utc() {
        check(1_783_000_000_000, 1_783_062_000_000);
    }
}
