//! Owns: the file that makes one daemon per data directory (contract §1).
//! May not: remove the file: whoever opened it a moment ago would lock a ghost.
//! Invariant: the lock is the kernel's (`flock`); a killed daemon leaves none behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// File name inside the data directory.
pub const FILE_NAME: &str = "svs-bot.lock";
/// A look by `status` or `check` holds the lock for microseconds; so often it is tried again.
const TRIES_MAX: u32 = 200;
/// The longest text read as a process id.
const PID_BYTES_MAX: u64 = 20;

/// Held for life; dropping it frees the directory.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum Refused {
    /// A daemon runs, under this process id where it could be read.
    Held(Option<u32>),
    /// The file system says no.
    Io(io::Error),
}

/// Takes the lock and writes `pid` into the file.
///
/// # Errors
/// Another daemon holds it, or the file cannot be written.
pub fn take(dir: &Path, pid: u32) -> Result<Lock, Refused> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(dir.join(FILE_NAME))
        .map_err(Refused::Io)?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries < TRIES_MAX => {
                tries += 1;
                std::thread::yield_now();
            }
            Err(TryLockError::WouldBlock) => return Err(Refused::Held(pid_in(&mut file))),
            Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
        }
    }
    file.set_len(0).map_err(Refused::Io)?;
    file.rewind().map_err(Refused::Io)?;
    writeln!(file, "{pid}").map_err(Refused::Io)?;
    Ok(Lock { _file: file })
}

/// Whether a daemon holds the directory: `None` nobody, `Some(None)` one whose id cannot be read.
pub fn holder(dir: &Path) -> Option<Option<u32>> {
    let mut file = File::open(dir.join(FILE_NAME)).ok()?;
    match file.try_lock_shared() {
        // Freed when the file is closed, at the end of this function.
        Ok(()) => None,
        Err(_) => Some(pid_in(&mut file)),
    }
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_holds_the_directory() {
        let dir = std::env::temp_dir().join(format!("svs-lock-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(holder(&dir), None);
        let first = take(&dir, 4_242).unwrap();
        assert_eq!(holder(&dir), Some(Some(4_242)));
        assert!(matches!(take(&dir, 1), Err(Refused::Held(Some(4_242)))));
        drop(first);
        assert_eq!(holder(&dir), None);
        let again = take(&dir, 7).unwrap();
        assert_eq!(holder(&dir), Some(Some(7)));
        drop(again);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(take(&dir, 1), Err(Refused::Io(_))));
    }
}
