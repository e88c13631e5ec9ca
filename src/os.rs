//! Owns: the few questions to the operating system that the standard library does not ask.
//! May not: hold state; be called with anything but checked values.
//! Invariant: this is the one room with `unsafe`; each block proves itself. Besides `store` it is the
//! only one to name `rusqlite`, for one counter.
#![expect(unsafe_code, reason = "system calls that std does not wrap; audited block by block")]

use crate::types::status::Disk;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Free and total space of the file system that `path` lies on; `None` where it cannot be told.
pub fn disk(path: &Path) -> Option<Disk> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut space = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is NUL-terminated and lives through the call; `space` is writable memory of
    // the size that the C library of this target expects, since the type is that library's own.
    let result = unsafe { libc::statvfs(path.as_ptr(), space.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: statvfs returned 0, so it has filled the whole struct.
    let space = unsafe { space.assume_init() };
    // The fields' width differs between targets; all are unsigned.
    #[allow(clippy::useless_conversion, reason = "32-bit targets have narrower fields")]
    let (block, free, total) =
        (u64::from(space.f_frsize), u64::from(space.f_bavail), u64::from(space.f_blocks));
    Some(Disk { free_bytes: free.saturating_mul(block), total_bytes: total.saturating_mul(block) })
}

/// Bytes that SQLite has from the allocator now, all connections of this process together.
pub fn sqlite_bytes() -> Option<u64> {
    // SAFETY: takes nothing, reads one counter under SQLite's own lock; legal at any time.
    let bytes = unsafe { rusqlite::ffi::sqlite3_memory_used() };
    u64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_database_costs_something() {
        let store = crate::store::Store::in_memory().unwrap();
        assert!(sqlite_bytes() > Some(10_000));
        drop(store);
    }

    #[test]
    fn the_root_has_a_size_and_nowhere_has_none() {
        let disk = disk(Path::new("/")).unwrap();
        assert!(disk.total_bytes > 1 << 20 && disk.free_bytes <= disk.total_bytes);
        assert_eq!(super::disk(Path::new("/no/such/place")), None);
        assert_eq!(super::disk(Path::new("nul\0inside")), None);
    }
}
