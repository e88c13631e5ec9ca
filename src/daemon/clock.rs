//! Owns: the only `now()` and the only seed.
//! May not: anything else.
//! Invariant: within one process time never steps back and never stands still; a step forward is followed.

use crate::types::{DAY_MS, Now};
use nanorand::{Rng, WyRand};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A system's clock further than this from the services' is worth a word; a `Date` and its way take
/// a second or two.
pub const SKEW_MS_WARN: i64 = 30_000;
/// Further than this, certificates are refused sooner or later.
pub const SKEW_MS_FAIL: i64 = 300_000;

/// No honest clock is older than this program: 2026-11-01. Boards without a battery boot in 1970.
const OLDEST_PLAUSIBLE_MS: i64 = 1_793_491_200_000;

/// The wall clock of this process.
#[derive(Debug)]
pub struct Clock {
    /// Wall time at `started`, raised by every step forward.
    base_ms: AtomicI64,
    started: Instant,
}

impl Clock {
    /// A clock that is not older than `newest_row_ms`, unless that row lies more than a day ahead of
    /// a plausible system clock: then the row was written by a clock that was wrong.
    pub fn starting_at(newest_row_ms: i64) -> Self {
        let start_ms = start(system_ms(), newest_row_ms);
        Self { base_ms: AtomicI64::new(start_ms), started: monotonic() }
    }

    /// Now.
    pub fn now(&self) -> Now {
        let elapsed_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let real_base_ms = system_ms().saturating_sub(elapsed_ms);
        let base_ms = self.base_ms.fetch_max(real_base_ms, Ordering::Relaxed).max(real_base_ms);
        Now { unix_ms: base_ms.saturating_add(elapsed_ms) }
    }

    /// How far this clock runs ahead of the system's, which must have stepped back.
    pub fn ahead_ms(&self) -> i64 {
        self.now().unix_ms.saturating_sub(system_ms())
    }
}

fn start(system_ms: i64, newest_row_ms: i64) -> i64 {
    if system_ms < OLDEST_PLAUSIBLE_MS {
        return newest_row_ms.max(OLDEST_PLAUSIBLE_MS);
    }
    if newest_row_ms > system_ms + DAY_MS { system_ms } else { newest_row_ms.max(system_ms) }
}

/// The system's wall clock as it is.
#[expect(clippy::disallowed_methods, reason = "the one door to the clock")]
pub fn system_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A point of the monotonic clock, for durations only.
#[expect(clippy::disallowed_methods, reason = "the one door to the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Dice for jitter, seeded by the clock; never for secrets.
pub fn dice() -> impl FnMut() -> u64 {
    let mut dice = WyRand::new_seed(u64::try_from(system_ms()).unwrap_or(0));
    move || dice.generate()
}

/// Waits, for `--watch` in a terminal; the daemon waits for events instead.
#[expect(clippy::disallowed_methods, reason = "the one door to the clock")]
pub fn pause(wait: std::time::Duration) {
    std::thread::sleep(wait);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_boots_in_1970_starts_at_its_newest_row() {
        let row_ms = OLDEST_PLAUSIBLE_MS + 5;
        assert_eq!(start(0, row_ms), row_ms);
        assert_eq!(start(0, 0), OLDEST_PLAUSIBLE_MS);
    }

    #[test]
    fn a_small_step_back_is_bridged_and_a_row_from_a_wrong_future_is_not_believed() {
        let system_ms = OLDEST_PLAUSIBLE_MS + 10 * DAY_MS;
        assert_eq!(start(system_ms, system_ms + 60_000), system_ms + 60_000);
        assert_eq!(start(system_ms, system_ms + 2 * DAY_MS), system_ms);
        assert_eq!(start(system_ms, 0), system_ms);
    }
}
