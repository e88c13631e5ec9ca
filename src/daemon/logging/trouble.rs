//! Owns: when a failure that repeats is worth another line, and the one line at its end.
//! May not: log; read a clock.

use crate::types::{HOUR_MS, MINUTE_MS, UnixMs};

/// The first repetition is told after this time; each next after twice as long.
const REPEAT_MS_MIN: i64 = MINUTE_MS;
/// But at least this often.
const REPEAT_MS_MAX: i64 = HOUR_MS;

/// A failure worth a line now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// How many times in all, this one included.
    pub times: u64,
    /// Since when.
    pub since_ms: UnixMs,
}

/// The end of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// How many times it failed.
    pub times: u64,
    /// How long it lasted.
    pub lasted_ms: i64,
}

/// One thing that can go wrong again and again: one value per place, kept by who tries.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    times: u64,
    since_ms: UnixMs,
    next_ms: UnixMs,
    repeat_ms: i64,
}

impl Trouble {
    /// It failed (again): what to log, or nothing yet.
    pub fn failed(&mut self, now_ms: UnixMs) -> Option<Failing> {
        self.times = self.times.saturating_add(1);
        if self.times == 1 {
            self.since_ms = now_ms;
            self.repeat_ms = REPEAT_MS_MIN;
        } else if now_ms < self.next_ms {
            return None;
        } else {
            self.repeat_ms = (self.repeat_ms * 2).min(REPEAT_MS_MAX);
        }
        self.next_ms = now_ms.saturating_add(self.repeat_ms);
        Some(Failing { times: self.times, since_ms: self.since_ms })
    }

    /// It worked: what to log, once, if it had failed before.
    pub fn worked(&mut self, now_ms: UnixMs) -> Option<Recovered> {
        let before = std::mem::take(self);
        (before.times > 0).then(|| Recovered {
            times: before.times,
            lasted_ms: now_ms.saturating_sub(before.since_ms).max(0),
        })
    }

    /// Since when it fails without a break.
    pub fn since_ms(&self) -> Option<UnixMs> {
        (self.times > 0).then_some(self.since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SECOND_MS;

    #[test]
    fn a_day_of_failures_is_a_handful_of_lines_and_one_recovery() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.worked(0), None);
        let told: Vec<i64> = (0..86_400)
            .filter_map(|second| trouble.failed(second * SECOND_MS).map(|_| second / 60))
            .collect();
        assert_eq!(told[..8], [0, 1, 3, 7, 15, 31, 63, 123]);
        assert!(told.len() < 35, "{}", told.len());
        let end = trouble.worked(86_400 * SECOND_MS);
        assert_eq!(end, Some(Recovered { times: 86_400, lasted_ms: 86_400 * SECOND_MS }));
        assert_eq!(trouble.worked(86_401 * SECOND_MS), None);
        assert_eq!(trouble.failed(5), Some(Failing { times: 1, since_ms: 5 }));
    }
}
