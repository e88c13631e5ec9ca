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

/// How far the system's clock is ahead of a service's, from the `Date` of its replies.
#[derive(Debug)]
pub struct Skew {
    /// As the last reply has it; [`i64::MIN`] before there was any.
    last_ms: AtomicI64,
    /// What two replies agree on, or the only one says.
    believed_ms: AtomicI64,
}

impl Skew {
    /// Nothing known.
    pub fn unknown() -> Self {
        Self { last_ms: AtomicI64::new(i64::MIN), believed_ms: AtomicI64::new(i64::MIN) }
    }

    /// A reply came at `now_ms` of the system's clock. One that lay unread while the machine slept
    /// makes the clock look wrong, so what only one reply says is not believed, but of the first.
    pub fn note(&self, now_ms: i64, theirs_ms: i64) {
        let ahead_ms = now_ms.saturating_sub(theirs_ms);
        let last_ms = self.last_ms.swap(ahead_ms, Ordering::Relaxed);
        if last_ms == i64::MIN || last_ms.saturating_sub(ahead_ms).abs() <= SKEW_MS_WARN {
            self.believed_ms.store(ahead_ms, Ordering::Relaxed);
        }
    }

    /// How far, where it is known.
    pub fn ahead_ms(&self) -> Option<i64> {
        Some(self.believed_ms.load(Ordering::Relaxed)).filter(|ahead_ms| *ahead_ms != i64::MIN)
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

/// Milliseconds since the machine was started, the same for all its processes.
pub fn boot_ms() -> i64 {
    crate::os::boot_ms()
}

/// Dice for jitter and for the range of ids that an installation draws, never for secrets. Seeded by the operating
/// system, where it gives nothing by the clock: boards that start together in 1970 must not draw alike.
pub fn dice() -> impl FnMut() -> u64 {
    let clock = || u64::try_from(system_ms()).unwrap_or(0);
    let wide = |bytes: [u8; 16]| bytes.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let seed = crate::secret_hash::random_bytes().map_or_else(|_| clock(), wide);
    let mut dice = WyRand::new_seed(seed);
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
    fn one_late_reply_makes_no_clock_wrong() {
        let skew = Skew::unknown();
        assert_eq!(skew.ahead_ms(), None);
        for (now_ms, theirs_ms, want_ms) in [
            (1_000_000, 999_500, 500),
            // Read an hour after it was written, and then none is.
            (4_600_000, 1_000_000, 500),
            (4_700_000, 4_700_000, 500),
            (4_800_000, 4_800_000, 0),
            // Stepped.
            (9_800_000, 4_810_000, 0),
            (9_900_000, 4_910_000, 4_990_000),
        ] {
            skew.note(now_ms, theirs_ms);
            assert_eq!(skew.ahead_ms(), Some(want_ms), "{now_ms}");
        }
    }

    #[test]
    fn a_small_step_back_is_bridged_and_a_row_from_a_wrong_future_is_not_believed() {
        let system_ms = OLDEST_PLAUSIBLE_MS + 10 * DAY_MS;
        assert_eq!(start(system_ms, system_ms + 60_000), system_ms + 60_000);
        assert_eq!(start(system_ms, system_ms + 2 * DAY_MS), system_ms);
        assert_eq!(start(system_ms, 0), system_ms);
    }
}
