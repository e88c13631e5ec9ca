//! Owns: what the event loop tells the HTTP thread: the last status, the counters, the heartbeat.
//! May not: read the database or wait for the loop.
//! Invariant: no lock here is held over I/O, so neither side can make the other wait.

use super::clock::{self, Clock};
use super::metrics::Metrics;
use super::quoting::span;
use crate::types::UnixMs;
use crate::types::status::Status;
use crate::types::{MINUTE_MS, SECOND_MS};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A loop that has not turned for so long is stuck.
pub const STALL_MS: i64 = 30 * SECOND_MS;
/// A loop with nothing to do turns at least this often, so that idling never looks like a stall.
pub const BEAT_EVERY_MS: i64 = 10 * SECOND_MS;
/// A poll older than this makes the bot unready (contract §6).
pub const POLL_STALE_MS: i64 = 2 * MINUTE_MS;

const _: () = assert!(BEAT_EVERY_MS * 2 < STALL_MS);

/// How messages come in, and how that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Nothing has been tried yet.
    Starting,
    /// Long polling.
    Polling {
        /// When the last poll succeeded.
        last_ms: UnixMs,
    },
    /// Webhook.
    Webhook {
        /// Whether the listener is up.
        listening: bool,
        /// When Telegram last delivered; 0 never.
        last_delivery_ms: UnixMs,
        /// The last delivery error that Telegram reports; 0 none.
        last_error_ms: UnixMs,
    },
}

/// The facts of readiness; the loop writes them whenever one changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Why the database cannot be written; `None` when it can.
    pub database_error: Option<String>,
    /// Telegram's side.
    pub intake: Intake,
    /// Why we do not answer although all of that works or does not (`draining`, `401: …`, a run of
    /// 409s …); it is the reason shown, before the others.
    pub held: Option<String>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { database_error: None, intake: Intake::Starting, held: None }
    }
}

impl Readiness {
    /// Ready, or why not, in a sentence without secrets.
    ///
    /// # Errors
    /// The reason.
    pub fn judge(&self, now_ms: UnixMs) -> Result<(), String> {
        if let Some(why) = &self.database_error {
            return Err(format!("database: {why}"));
        }
        if let Some(why) = &self.held {
            return Err(why.clone());
        }
        match self.intake {
            Intake::Starting => Err("starting: Telegram has not been reached yet".to_owned()),
            Intake::Polling { last_ms } if now_ms - last_ms > POLL_STALE_MS => Err(format!(
                "telegram: the last poll that succeeded was {} ago",
                span(now_ms - last_ms)
            )),
            Intake::Webhook { listening: false, .. } => {
                Err("webhook: the listener is not up".to_owned())
            }
            Intake::Webhook { last_delivery_ms, last_error_ms, .. }
                if last_error_ms > last_delivery_ms =>
            {
                Err(format!(
                    "webhook: Telegram could not deliver {} ago: see `svs-bot check`",
                    span(now_ms - last_error_ms)
                ))
            }
            Intake::Polling { .. } | Intake::Webhook { .. } => Ok(()),
        }
    }
}

struct Live {
    status: Arc<Status>,
    readiness: Readiness,
}

/// Shared between the event loop, which writes, and the HTTP thread, which reads.
pub struct Shared {
    clock: Arc<Clock>,
    started: Instant,
    beat_ms: AtomicI64,
    live: Mutex<Live>,
    metrics: Mutex<Metrics>,
    /// The other boxes.
    pub(crate) fleet: Option<Arc<super::sharing::Sharing>>,
    /// Updates that boxes share; known once the loop begins.
    #[cfg(feature = "redis")]
    pub(crate) relay: std::sync::OnceLock<Arc<super::relay::Post>>,
}

impl Shared {
    /// Nothing known yet; the heartbeat begins now.
    pub fn new(clock: Arc<Clock>, metrics: Metrics) -> Self {
        let live = Live { status: Arc::default(), readiness: Readiness::default() };
        Self {
            clock,
            started: clock::monotonic(),
            beat_ms: AtomicI64::new(0),
            live: Mutex::new(live),
            metrics: Mutex::new(metrics),
            fleet: None,
            #[cfg(feature = "redis")]
            relay: std::sync::OnceLock::new(),
        }
    }

    /// The loop has turned; costs one store.
    pub fn beat(&self) {
        self.beat_ms.store(self.monotonic_ms(), Ordering::Relaxed);
    }

    /// What the pages show from now on; `ready`, `reason` and the memory are filled in when shown.
    pub fn publish(&self, status: Status) {
        lock(&self.live).status = Arc::new(status);
    }

    /// Changes the facts of readiness.
    pub fn readiness(&self, change: impl FnOnce(&mut Readiness)) {
        change(&mut lock(&self.live).readiness);
    }

    /// Counts something.
    pub fn count(&self, change: impl FnOnce(&mut Metrics)) {
        change(&mut lock(&self.metrics));
    }

    /// Healthy, or what is stuck.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn health(&self) -> Result<(), String> {
        let still_ms = self.monotonic_ms() - self.beat_ms.load(Ordering::Relaxed);
        judge_beat(still_ms)
    }

    /// Ready, or why not.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn ready(&self) -> Result<(), String> {
        self.health()?;
        let readiness = lock(&self.live).readiness.clone();
        readiness.judge(self.clock.now().unix_ms)
    }

    /// The last status with readiness as of now; its other figures are as old as `at_ms` says.
    pub fn status(&self) -> Status {
        let mut status = Status::clone(&*Arc::clone(&lock(&self.live).status));
        status.running = true;
        match self.ready() {
            Ok(()) => (status.ready, status.reason) = (true, String::new()),
            Err(reason) => (status.ready, status.reason) = (false, reason),
        }
        status
    }

    /// A copy of the counters, taken under a short lock.
    pub fn metrics(&self) -> Metrics {
        lock(&self.metrics).clone()
    }

    /// The clock that the loop uses too.
    pub fn now_ms(&self) -> UnixMs {
        self.clock.now().unix_ms
    }

    /// Makes the loop look stuck.
    #[cfg(test)]
    pub(crate) fn stall(&self) {
        self.beat_ms.store(-STALL_MS - 11 * SECOND_MS, Ordering::Relaxed);
    }

    fn monotonic_ms(&self) -> i64 {
        let elapsed = clock::monotonic().saturating_duration_since(self.started);
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }
}

fn judge_beat(still_ms: i64) -> Result<(), String> {
    if still_ms > STALL_MS {
        return Err(format!("stalled: the event loop has not turned for {}", span(still_ms)));
    }
    Ok(())
}

/// A panic ends the process, so a poisoned lock can only be seen in tests: its value is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000_000;

    #[test]
    fn readiness_names_what_is_missing() {
        let polling = |ago_ms| Intake::Polling { last_ms: NOW_MS - ago_ms };
        let hook = |listening, delivery_ms, error_ms| Intake::Webhook {
            listening,
            last_delivery_ms: delivery_ms,
            last_error_ms: error_ms,
        };
        for (what, database, held, intake, want) in [
            ("a fresh poll", None, None, polling(0), None),
            ("a poll just young enough", None, None, polling(POLL_STALE_MS), None),
            ("an old poll", None, None, polling(POLL_STALE_MS + 1), Some("last poll")),
            ("no poll yet", None, None, Intake::Starting, Some("starting")),
            (
                "a full disk",
                Some("disk full"),
                Some("401"),
                polling(0),
                Some("database: disk full"),
            ),
            ("a hold", None, Some("draining"), polling(0), Some("draining")),
            ("a webhook at rest", None, None, hook(true, 0, 0), None),
            ("an old delivery error", None, None, hook(true, 6, 5), None),
            ("a new delivery error", None, None, hook(true, 5, 6), Some("could not deliver")),
            ("no listener", None, None, hook(false, 5, 0), Some("listener")),
        ] {
            let readiness = Readiness {
                database_error: database.map(str::to_owned),
                held: held.map(str::to_owned),
                intake,
            };
            let got = readiness.judge(NOW_MS);
            match want {
                None => assert_eq!(got, Ok(()), "{what}"),
                Some(part) => assert!(got.unwrap_err().contains(part), "{what}"),
            }
        }
    }

    #[test]
    fn a_loop_is_stuck_only_after_the_bound() {
        assert_eq!(judge_beat(STALL_MS), Ok(()));
        assert!(judge_beat(STALL_MS + 1).unwrap_err().contains("30s"));
    }
}
