//! Owns: the modes of the data directory and of what lies in it (contract §1).
//! May not: open the database; touch what belongs to somebody else, or anything beyond the named files.
//! Invariant: a mode only ever gets narrower; what cannot be narrowed stops nobody.

use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// All that the program itself keeps in its directory; copies and logs are their makers' affair.
const FILES: [&str; 4] = ["svs-bot.db", "svs-bot.db-wal", "svs-bot.db-shm", "svs-bot.lock"];
/// For the directory: its owner only.
const DIRECTORY_MODE: u32 = 0o700;
/// For a file: its owner only.
const FILE_MODE: u32 = 0o600;
/// A directory that everybody may write to and nobody owns alone, like `/tmp`.
const STICKY: u32 = 0o1000;
/// The permission bits.
const BITS: u32 = 0o777;

/// Makes the file where it is missing, with mode 0600 from its first moment on.
///
/// # Errors
/// As the file system says.
pub(super) fn make(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path).map(drop)
}

/// Takes other people's rights from the data directory and the files in it, where they are ours: a copy that was
/// restored by hand, or a directory made before the first start, is often open to everybody. Says so in one line.
pub(super) fn tighten(dir: &Path) {
    let Some(us) = fs::metadata("/proc/self").ok().map(|entry| entry.uid()) else { return };
    let mut found = Vec::new();
    let mut narrow = |path: &Path, name: &str, mode: u32, right_kind: fn(&Metadata) -> bool| {
        // The entry itself and not what a link leads to: that may be anybody's.
        let Ok(entry) = fs::symlink_metadata(path) else { return };
        let wide = entry.mode() & BITS & !mode;
        if wide == 0 || entry.uid() != us || entry.mode() & STICKY != 0 || !right_kind(&entry) {
            return;
        }
        if fs::set_permissions(path, Permissions::from_mode(entry.mode() & mode)).is_ok() {
            found.push(format!("{name} was {:03o}", entry.mode() & BITS));
        }
    };
    narrow(dir, "the folder", DIRECTORY_MODE, Metadata::is_dir);
    for name in FILES {
        narrow(&dir.join(name), name, FILE_MODE, Metadata::is_file);
    }
    if !found.is_empty() {
        log::warn!(target: "data.tightened", dir:% = dir.display(), found:% = found.join(", ");
            "the data were open to other users: now they are not");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn wide_modes_are_narrowed_and_nothing_else_is_touched() {
        let dir = std::env::temp_dir().join(format!("svs-private-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let elsewhere = dir.join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        for name in &FILES[..3] {
            fs::write(dir.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(&elsewhere, dir.join(FILES[3])).unwrap();
        // (before, after) of the directory, of the database, and of its log, which is narrower already.
        let cases = [
            ([0o755, 0o644, 0o400], [0o700, 0o600, 0o400]),
            ([0o777, 0o666, 0o600], [0o700, 0o600, 0o600]),
            ([0o700, 0o640, 0o600], [0o700, 0o600, 0o600]),
            ([0o1777, 0o604, 0o660], [0o1777, 0o600, 0o600]),
        ];
        let paths = [dir.clone(), dir.join(FILES[0]), dir.join(FILES[1])];
        for (before, after) in cases {
            paths.iter().zip(before).for_each(|(path, mode)| set(path, mode));
            set(&elsewhere, 0o644);
            tighten(&dir);
            for (path, want) in paths.iter().zip(after) {
                assert_eq!(mode(path), want, "{}, {before:?}", path.display());
            }
            assert_eq!(mode(&elsewhere), 0o644, "the target of a link");
        }
        tighten(&dir.join("missing"));
        set(&dir, 0o700);
        fs::remove_dir_all(&dir).unwrap();
    }
}
