//! Owns: whether the files that are open still lie where they were opened.
//! May not: move, make or remove a file.

use super::{FILE_NAME, INDEX_NAME, LOG_NAME};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells a file from every other one: its device and number.
type Id = (u64, u64);

/// The database, its log and the log's index, as they were opened.
#[derive(Debug)]
pub(super) struct Place {
    /// The data directory.
    pub(super) dir: PathBuf,
    /// Absent as long as SQLite has not made it.
    files: [(PathBuf, Option<Id>); 3],
    /// Whether the last look found nothing here.
    pub(super) was_gone: bool,
}

/// How the files were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// As they were opened.
    Here,
    /// The database is, but its log or the log's index is gone or another one: other programs would begin new
    /// ones, and with two of them tear the database.
    WithoutLog,
    /// The database itself is gone or another one: what is written would not be there after the next start.
    Gone,
}

impl Place {
    /// The files that have just been opened.
    pub(super) fn of(dir: &Path) -> Self {
        let file = |name| {
            let path = dir.join(name);
            let id = id(&path);
            (path, id)
        };
        Self {
            dir: dir.to_owned(),
            files: [FILE_NAME, LOG_NAME, INDEX_NAME].map(file),
            was_gone: false,
        }
    }

    /// The database's own path.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }

    /// Looks again: three questions to the file system, some microseconds.
    pub(super) fn look(&mut self) -> Found {
        let mut same = self.files.iter_mut().map(|(path, known)| {
            let now = id(path);
            *known = known.or(now);
            *known == now
        });
        let database = same.next().unwrap_or(true);
        if !database {
            return Found::Gone;
        }
        if same.all(|same| same) { Found::Here } else { Found::WithoutLog }
    }
}

fn id(path: &Path) -> Option<Id> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
