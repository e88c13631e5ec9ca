//! `svs-bot`: a Telegram bot server that answers with Google Gemini.
//!
//! The map, in reading order: `types` are the words, `config` the settings, `engine` decides,
//! `wire` speaks each service's JSON, `store` remembers, `net` is the one HTTP door, `daemon`
//! turns, `commands` are the other ways in, `standin` plays the outside world on loopback.
//! The rule of who may name whom is a test: `tests/rooms.rs`.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing))]

pub mod calendar;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod engine;
#[cfg(feature = "redis")]
pub mod fleet;
pub mod json;
pub mod net;
pub mod os;
pub mod secret_hash;
pub mod standin;
pub mod store;
pub mod sync;
pub mod types;
pub mod wire;
