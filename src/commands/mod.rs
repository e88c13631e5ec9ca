//! Owns: what every subcommand shares: where things lie, how a command ends.
//! May not: hold rules (the engine), SQL (the store) or sockets (`net`).

pub mod backup;
pub mod check;
pub mod demo;
pub mod dispatch;
pub mod drain;
pub mod env;
pub mod export;
pub mod fleet;
pub mod forget;
pub mod import;
pub mod init;
pub mod keys;
pub mod owner_link;
mod progress;
pub mod role;
pub mod setup;
pub mod status;
pub mod sync;
pub mod tty;
pub mod verify;

use crate::config::Config;
use std::path::PathBuf;

/// Done.
pub const EXIT_OK: u8 = 0;
/// Failed.
pub const EXIT_FAILED: u8 = 1;
/// Wrong use or settings.
pub const EXIT_USAGE: u8 = 2;
/// The data directory belongs to a running daemon.
pub const EXIT_IN_USE: u8 = 73;
/// Not now; nothing lost.
pub const EXIT_LATER: u8 = 75;

/// Settings and data directory, resolved.
#[derive(Debug)]
pub struct Place {
    /// Checked settings.
    pub config: Config,
    /// The data directory; it may not exist yet.
    pub data_dir: PathBuf,
    /// The settings file that was read, if any.
    pub env_file: Option<PathBuf>,
}

/// How a command failed: its exit code and one or more lines for stderr, `what: why: what to do`.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code of the contract.
    pub code: u8,
    /// For stderr.
    pub text: String,
}

impl Failure {
    /// Exit 1.
    pub fn failed(text: impl std::fmt::Display) -> Self {
        Self { code: EXIT_FAILED, text: text.to_string() }
    }
    /// Exit 2.
    pub fn usage(text: impl std::fmt::Display) -> Self {
        Self { code: EXIT_USAGE, text: text.to_string() }
    }
}

/// What a command returns: the exit code when it ran through.
pub type Outcome = Result<u8, Failure>;
