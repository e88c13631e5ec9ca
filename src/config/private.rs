//! Owns: writing a file of secrets: mode 0600, whole or not at all.
//! May not: know what is in it.
//! Invariant: nobody else can read the file at any moment, and no reader sees half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

/// What to do with a file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it, and say so with [`io::ErrorKind::AlreadyExists`].
    Keep,
    /// Put the new one in its place, with the same owner: the daemon may run as another user.
    Replace,
}

/// Writes `text` into `path`, mode 0600, by way of a file beside it.
pub fn write_private(path: &Path, text: &str, existing: Existing) -> io::Result<()> {
    // A link is followed: what it points to is replaced, not the link.
    let target = match existing {
        Existing::Replace => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        Existing::Keep => path.to_owned(),
    };
    let beside = beside(&target)?;
    let written = write_new(&beside, text, &target, existing).and_then(|()| match existing {
        Existing::Replace => fs::rename(&beside, &target),
        // A second name for the file: unlike renaming, this fails where the name is taken.
        Existing::Keep => fs::hard_link(&beside, &target),
    });
    if written.is_err() || existing == Existing::Keep {
        // Where the rename went through there is nothing left to remove.
        let removed = fs::remove_file(&beside);
        written?;
        removed?;
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.new", std::process::id()));
    Ok(target.with_file_name(hidden))
}

fn write_new(beside: &Path, text: &str, target: &Path, existing: Existing) -> io::Result<()> {
    if existing == Existing::Keep && target.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // Only a process of the same number that was killed here can have left one.
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(text.as_bytes())?;
    if let Ok(old) = target.metadata() {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            chown(beside, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_file_is_whole_and_for_its_owner_alone() {
        let folder = std::env::temp_dir().join(format!("svs-private-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, link) = (folder.join("env"), folder.join("link"));
        let check = |path: &Path, wanted: &str| {
            assert_eq!(fs::read_to_string(path).unwrap(), wanted);
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        };
        write_private(&path, "one", Existing::Keep).unwrap();
        check(&path, "one");
        let again = write_private(&path, "two", Existing::Keep).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        check(&path, "one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_private(&link, "three", Existing::Replace).unwrap();
        check(&path, "three");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(write_private(&link, "four", Existing::Keep).is_err());
        assert!(write_private(&folder.join("no/env"), "x", Existing::Replace).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "something was left behind");
        fs::remove_dir_all(folder).unwrap();
    }
}
