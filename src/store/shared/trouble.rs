//! Owns: why the shared file cannot be used, in one line for the operator.
//! May not: touch the file.

use rusqlite::ErrorCode;
use std::path::Path;

const MODE: &str = "let the user that the bots run as write to it and to its folder";

/// Why the file cannot be used.
#[derive(Debug)]
pub(super) struct Trouble {
    /// `what: why: what to do`.
    pub(super) text: String,
    /// Whether what was shared is lost or elsewhere, so that the boxes will meet at a new file.
    pub(super) is_lost: bool,
}

impl Trouble {
    pub(super) fn of(path: &Path, why: &str, todo: &str) -> Self {
        Self { text: format!("{}: {why}: {todo}", path.display()), is_lost: false }
    }
}

pub(super) fn lost(path: &Path, why: &str) -> Trouble {
    let todo = "nothing: a new one is begun and filled by every box";
    Trouble { is_lost: true, ..Trouble::of(path, why, todo) }
}

pub(super) fn no_folder(dir: &Path) -> Trouble {
    Trouble::of(dir, "there is no such folder", "make it, owned by the user that the bots run as")
}

pub(super) fn io(path: &Path, error: &std::io::Error) -> Trouble {
    match (error.kind(), path.parent()) {
        (std::io::ErrorKind::NotFound, Some(dir)) => no_folder(dir),
        _ => Trouble::of(path, &error.to_string(), MODE),
    }
}

pub(super) fn read_only(path: &Path) -> Trouble {
    Trouble::of(path, "may only be read", MODE)
}

pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> Trouble {
    let why = error.to_string();
    let todo = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => return lost(path, &why),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds it: end that program; it is tried again"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => MODE,
        Some(ErrorCode::DiskFull) => "free some room; it is tried again",
        Some(ErrorCode::SystemIoFailure) => "look at the disk, and that it is no network's",
        _ => "stop the bots and remove it: a new one is filled by every box",
    };
    Trouble::of(path, &why, todo)
}
