//! Owns: the shell around the core: lock, threads, signals, timers, start and end.
//! May not: hold SQL text, JSON or rules.
//!
//! One thread turns the core and owns the only connection to the database; blocking workers make
//! one HTTP call each and send one event back; another thread serves HTTP from a snapshot.

pub mod cause;
pub mod clock;
pub mod core;
pub mod event;
pub mod fleet;
pub mod http;
pub mod lock;
pub mod logging;
pub mod look;
pub mod memory;
pub mod metrics;
pub mod notify;
mod opening;
mod policy;
pub mod pool;
pub mod process;
pub mod quoting;
#[cfg(feature = "redis")]
pub mod relay;
pub mod sharing;
mod shell;
pub mod snapshot;
pub mod workers;

pub(crate) use shell::masker;
pub use shell::{Ended, Reread, Start, StopReceiver, StopSender, run, stop_pair};

/// Bytes of one reply of Supabase; a page has at most 1000 rows of what we sent.
pub const SYNC_REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;
