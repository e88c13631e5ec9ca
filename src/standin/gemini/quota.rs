//! Owns: requests and tokens that a project has used of a model (api-reference B5).
//! May not: read a clock.

use super::errors::{self, Failure};
use crate::calendar::pacific_day;
use crate::types::{MINUTE_MS, UnixMs};
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

/// Requests of one minute that are remembered, where only tokens are limited.
const MINUTE_REQUESTS_MAX: usize = 10_000;

/// What one project has used of one model.
#[derive(Default)]
pub(super) struct Quota {
    /// Time and input tokens of each request of the last minute, where either is limited.
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
            if MINUTE_REQUESTS_MAX <= self.minute.len() {
                self.minute.pop_front();
            }
            self.minute.push_back((now_ms, tokens));
        }
        Ok(())
    }
}
