//! Owns: the data directory at a start: made, locked, its database opened.
//! May not: change a row.

use super::lock;
use crate::commands::{EXIT_IN_USE, Failure};
use crate::store::{Store, salvage};
use crate::types::Now;
use std::path::Path;
use std::time::Duration;

/// Tries to open the database at the start, and the pause between two.
const OPEN_TRIES_MAX: u32 = 5;
const OPEN_PAUSE: Duration = Duration::from_millis(200);

pub(super) fn make_dir(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::failed(format!(
            "{}: {error}: make it writable or choose another --data-dir",
            dir.display()
        ))
    })
}

pub(super) fn locked(dir: &Path, error: &lock::Refused) -> Failure {
    match error {
        lock::Refused::Held(pid) => {
            let holder =
                pid.map_or_else(|| "another process".to_owned(), |pid| format!("pid {pid}"));
            Failure {
                code: EXIT_IN_USE,
                text: format!(
                    "{}: in use by {holder}: stop it, or choose another --data-dir",
                    dir.display()
                ),
            }
        }
        lock::Refused::Io(error) => {
            Failure::failed(format!("{}: {error}: make the directory writable", dir.display()))
        }
    }
}

/// A command of root's that begins or ends at this moment may hold a file for an instant that is not yet ours.
pub(super) fn open_store(dir: &Path) -> Result<Store, Failure> {
    let mut tries = 1;
    loop {
        let (dice, now) = (super::clock::dice()(), Now { unix_ms: super::clock::system_ms() });
        match salvage::open(dir, dice, now) {
            Ok((store, None)) => return Ok(store),
            Ok((store, Some(salvage))) => {
                log::error!(
                    target: "database.salvaged",
                    rows = salvage.rows, aside:% = salvage.aside.display(), torn:% = salvage.torn.join(" ");
                    "the database was damaged ({}): set aside as {}; {} rows were saved; to have back what is \
                     missing, stop the bot and restore a backup",
                    salvage.damage, salvage.aside.display(), salvage.rows
                );
                return Ok(store);
            }
            Err(error) if error.may_pass() && tries < OPEN_TRIES_MAX => {
                log::debug!(target: "database.retried", "{error}: tried again");
                super::clock::pause(OPEN_PAUSE);
                tries += 1;
            }
            Err(error) => return Err(Failure::failed(error)),
        }
    }
}
