//! Owns: Telegram, Gemini and PostgREST played in memory on loopback, for `demo`, tests and benches.
//! May not: name any room but `types`, read a clock, leave loopback.
//! Invariant: whatever a stand-in keeps has a named bound.

pub mod data;
pub mod gemini;
pub mod html;
pub mod http;
pub mod journal;
pub mod postgrest;
pub mod telegram;

use crate::types::UnixMs;
use std::sync::Arc;

/// The time a stand-in lives by; real for the demo, turned by hand in tests of quotas.
pub type Clock = Arc<dyn Fn() -> UnixMs + Send + Sync>;
