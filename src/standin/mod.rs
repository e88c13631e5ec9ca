//! Owns: Telegram, Gemini and PostgREST played in memory on loopback, for `demo`, tests and benches.
//! May not: name any room but `types` and `calendar`, read a clock, leave loopback.
//! Invariant: whatever a stand-in keeps has a named bound.

pub mod data;
pub mod gemini;
pub mod html;
pub mod http;
pub mod postgrest;
pub mod telegram;

use crate::types::UnixMs;
use data::Data;
use std::sync::Arc;

/// The time a stand-in lives by; real for the demo, turned by hand in tests of quotas.
pub type Clock = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// Where a stand-in tells of each call: service, call, request, HTTP status (0: none), and the
/// reply as JSON text, empty where it is none.
pub type Journal = Arc<dyn Fn(&str, &str, &Data, u16, &str) + Send + Sync>;
