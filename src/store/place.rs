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
    /// Whether they were closed and could not be opened again: a new log may have the number of the old one.
    pub(super) is_closed: bool,
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
            is_closed: false,
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
        if same.all(|same| same) && !self.is_closed { Found::Here } else { Found::WithoutLog }
    }
}

fn id(path: &Path) -> Option<Id> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store, StoreError, meta};

    #[test]
    fn a_log_that_was_taken_away_loses_nothing_even_where_no_new_one_can_be_made_at_once() {
        let dir = std::env::temp_dir().join(format!("svs-bot-place-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut store = Store::open(&dir).unwrap();
        store.write(Durability::Disk, |db| meta::set(db, "kept", "yes")).unwrap();
        store.stay().unwrap();
        for name in [LOG_NAME, INDEX_NAME] {
            fs::remove_file(dir.join(name)).unwrap();
        }
        fs::create_dir(dir.join(LOG_NAME)).unwrap();
        for _ in 0..3 {
            assert!(store.stay().is_err(), "a directory is no log");
        }
        fs::remove_dir(dir.join(LOG_NAME)).unwrap();
        store.stay().unwrap();
        let kept = store.read(|db| meta::get(db, "kept")).unwrap();
        assert_eq!(kept.as_deref(), Some("yes"));
        let away = dir.join("away");
        fs::rename(dir.join(FILE_NAME), &away).unwrap();
        assert!(matches!(store.stay(), Err(StoreError::Moved(_))));
        fs::rename(&away, dir.join(FILE_NAME)).unwrap();
        store.stay().unwrap();
        drop(store);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn files_that_were_closed_are_not_taken_for_the_open_ones() {
        let dir = std::env::temp_dir().join(format!("svs-bot-closed-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(FILE_NAME), b"").unwrap();
        let mut place = Place::of(&dir);
        assert_eq!(place.look(), Found::Here);
        place.is_closed = true;
        assert_eq!(place.look(), Found::WithoutLog);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(place.look(), Found::Gone);
    }
}
