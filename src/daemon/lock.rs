//! Owns: the lock that makes one daemon the only one of its data directory.
//! May not: wait.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// File name inside the data directory; holds the pid of the holder.
pub const FILE_NAME: &str = "svs-bot.lock";

/// Held for the life of the daemon; the kernel lets go of it whatever happens.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another daemon has it; its pid where the file says one.
    Held(Option<u32>),
    /// The file system says no.
    Io(std::io::Error),
}

/// Takes the lock of this data directory.
///
/// # Errors
/// Another daemon holds it, or the file cannot be made.
pub fn take(dir: &Path) -> Result<Lock, LockError> {
    let mut file = open(dir).map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held(read_pid(&mut file))),
        Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(LockError::Io)?;
    Ok(Lock { _file: file })
}

/// The pid of the running daemon of this data directory, `None` when none runs.
pub fn holder(dir: &Path) -> Option<u32> {
    let mut file = File::open(dir.join(FILE_NAME)).ok()?;
    // A shared lock never gets in the way of a daemon that starts at this moment for longer than this.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read_pid(&mut file),
        _ => None,
    }
}

fn open(dir: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(FILE_NAME))
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
