//! Owns: the only `now()` and the only seed.
//! May not: anything else.

use crate::types::Now;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock of this process; it may stand still but never steps back.
#[derive(Debug, Default)]
pub struct Clock {
    newest_ms: AtomicI64,
}

impl Clock {
    /// A clock that is never older than `floor_ms` (the newest row: ARM boards boot in 1970).
    pub fn starting_at(floor_ms: i64) -> Self {
        Self { newest_ms: AtomicI64::new(floor_ms) }
    }

    /// Now, or the newest instant seen when the system's clock has stepped back.
    pub fn now(&self) -> Now {
        let real = system_ms();
        let newest = self.newest_ms.fetch_max(real, Ordering::Relaxed).max(real);
        Now { unix_ms: newest }
    }
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
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}
