//! Owns: a file system that forgets, refuses and tears: a layer of SQLite's own interface over the
//! real files, which keeps beside each file what has been synced and what has not.
//! Source: https://www.sqlite.org/vfs.html

use crate::plan::Dice;
use rusqlite::ffi;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// A disk writes so much at once or not at all.
const SECTOR_BYTES: usize = 512;

/// One file: what would be there after a cut of power, and what was written since.
#[derive(Default)]
struct Kept {
    synced: Vec<u8>,
    since: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<PathBuf, Kept>,
    /// Refuses now: a full disk, or errors of this kind.
    trouble: Option<Trouble>,
    calls: u64,
    /// So many changes and syncs are still carried out, and what happens then.
    left: Option<(u64, End)>,
}

/// How it ends when a number of changes and syncs is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The disk does nothing any more.
    Silence,
    /// The process is killed.
    Kill,
}

#[derive(Clone, Copy)]
enum Trouble {
    Full,
    Writes(u64),
    Syncs(u64),
    Reads(u64),
}

thread_local! {
    /// Each world lives in one thread.
    static DISK: RefCell<Disk> = RefCell::new(Disk::default());
}

/// A directory of its own in memory, with the faulty layer below SQLite.
pub fn scratch(seed: u64) -> PathBuf {
    install();
    DISK.with_borrow_mut(|disk| *disk = Disk::default());
    let base = if Path::new("/dev/shm").is_dir() {
        PathBuf::from("/dev/shm")
    } else {
        std::env::temp_dir()
    };
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let dir = base.join(format!("svs-bot-sim-{}-{thread}-{seed}", std::process::id()));
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir).expect("a scratch directory can be made");
    dir
}

pub fn clean(dir: &Path) {
    std::fs::remove_dir_all(dir).ok();
}

/// From now on something is refused.
pub fn trouble(dice: u64) {
    let often = 1 + dice / 16 % 40;
    let trouble = match dice % 4 {
        0 => Trouble::Full,
        1 => Trouble::Writes(often),
        2 => Trouble::Syncs(often),
        _ => Trouble::Reads(often),
    };
    DISK.with_borrow_mut(|disk| disk.trouble = Some(trouble));
}

pub fn heal() {
    DISK.with_borrow_mut(|disk| (disk.trouble, disk.left) = (None, None));
}

/// The disk carries out so many changes and syncs and no more.
pub fn ends_after(calls: u64, end: End) {
    install();
    DISK.with_borrow_mut(|disk| disk.left = Some((calls, end)));
}

/// Whether the end that [`ends_after`] set has come.
pub fn has_ended() -> bool {
    DISK.with_borrow(|disk| matches!(disk.left, Some((0, _))))
}

/// One change or sync; true where it is not carried out any more.
fn is_over() -> bool {
    DISK.with_borrow_mut(|disk| match &mut disk.left {
        None => false,
        Some((0, End::Silence)) => true,
        Some((0, End::Kill)) => {
            // SAFETY: no arguments that could be wrong; it does not return.
            unsafe { libc::raise(libc::SIGKILL) };
            true
        }
        Some((left, _)) => {
            *left -= 1;
            false
        }
    })
}

pub fn is_troubled() -> bool {
    DISK.with_borrow(|disk| disk.trouble.is_some())
}

/// The power is gone: each file is what was synced, and of what was written since any part of any
/// change, by the dice.
pub fn cut_power(dir: &Path, dice: &mut Dice) {
    DISK.with_borrow_mut(|disk| {
        for (path, kept) in &mut disk.files {
            let mut left = std::mem::take(&mut kept.synced);
            // All, none, a prefix, or any of them.
            let way = dice.below(4);
            let upto = dice.below(kept.since.len() as u64 + 1);
            for (n, change) in kept.since.drain(..).enumerate() {
                let stays = match way {
                    0 => true,
                    1 => false,
                    2 => (n as u64) < upto,
                    _ => dice.per_mille(500),
                };
                if stays {
                    apply(&mut left, &change, dice.per_mille(200).then(|| dice.word()));
                }
            }
            std::fs::write(path, &left).expect("the file after the cut can be written");
            kept.synced = left;
        }
    });
    std::fs::remove_file(dir.join("svs-bot.db-shm")).ok();
}

fn apply(file: &mut Vec<u8>, change: &Change, torn: Option<u64>) {
    match change {
        Change::Truncate(size) => file.resize(*size, 0),
        Change::Write(at, bytes) => {
            let mut upto = bytes.len();
            if let Some(word) = torn {
                // Whole sectors, as disks promise.
                let sectors = upto.div_ceil(SECTOR_BYTES) as u64 + 1;
                upto = upto.min(usize::try_from(word % sectors).unwrap_or(0) * SECTOR_BYTES);
            }
            if file.len() < at + upto {
                file.resize(at + upto, 0);
            }
            file[*at..at + upto].copy_from_slice(&bytes[..upto]);
        }
    }
}

impl Disk {
    fn refuses(&mut self, what: fn(Trouble) -> Option<u64>) -> bool {
        self.calls += 1;
        let Some(often) = self.trouble.and_then(what) else { return false };
        self.calls.is_multiple_of(often)
    }
}

/// The file of SQLite with ours around it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    kept: *mut PathBuf,
    // The real file follows.
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default VFS lives as long as the process, and so does the leaked copy of it.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!real.is_null(), "SQLite has a file system");
            let mut vfs = std::ptr::read(real);
            vfs.szOsFile += c_int::try_from(size_of::<File>()).expect("a small size");
            vfs.zName = c"faulty".as_ptr();
            vfs.pNext = std::ptr::null_mut();
            vfs.pAppData = real.cast();
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            let code = ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1);
            assert_eq!(code, ffi::SQLITE_OK, "the layer is taken");
        }
    });
}

/// The real file behind ours.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `open` was given room for both.
    unsafe { file.byte_add(size_of::<File>()) }
}

unsafe fn methods(file: *mut ffi::sqlite3_file) -> &'static ffi::sqlite3_io_methods {
    // SAFETY: set by the real VFS when it opened the file.
    unsafe { &*(*real(file)).pMethods }
}

unsafe fn path_of<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Path> {
    // SAFETY: null, or the box that `open` leaked and `close` takes back.
    unsafe { file.cast::<File>().read().kept.as_ref().map(PathBuf::as_path) }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes, room for ours and the real one.
    unsafe {
        let ours = file.cast::<File>();
        (*ours).base.pMethods = std::ptr::null();
        (*ours).kept = std::ptr::null_mut();
        let below = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
        let Some(real_open) = (*below).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = real_open(below, name, real(file), flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        if !name.is_null() {
            let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
            DISK.with_borrow_mut(|disk| {
                disk.files.entry(path.clone()).or_insert_with(|| Kept {
                    synced: std::fs::read(&path).unwrap_or_default(),
                    since: Vec::new(),
                });
            });
            (*ours).kept = Box::into_raw(Box::new(path));
        }
        (*ours).base.pMethods = &METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: as SQLite calls it.
    unsafe {
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        DISK.with_borrow_mut(|disk| disk.files.remove(&path));
        let below = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
        (*below).xDelete.map_or(ffi::SQLITE_IOERR, |real| real(below, name, sync))
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the box is ours and is taken back once.
    unsafe {
        let ours = file.cast::<File>();
        if !(*ours).kept.is_null() {
            drop(Box::from_raw((*ours).kept));
            (*ours).kept = std::ptr::null_mut();
        }
        methods(file).xClose.map_or(ffi::SQLITE_OK, |call| call(real(file)))
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let refused = DISK.with_borrow_mut(|disk| {
        disk.refuses(|trouble| match trouble {
            Trouble::Reads(often) => Some(often),
            _ => None,
        })
    });
    if refused {
        return ffi::SQLITE_IOERR_READ;
    }
    // SAFETY: as SQLite calls it.
    unsafe { methods(file).xRead.map_or(ffi::SQLITE_IOERR, |call| call(real(file), to, bytes, at)) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let refused = DISK.with_borrow_mut(|disk| {
        let full = matches!(disk.trouble, Some(Trouble::Full));
        if full {
            return Some(ffi::SQLITE_FULL);
        }
        let often = |trouble| match trouble {
            Trouble::Writes(often) => Some(often),
            _ => None,
        };
        disk.refuses(often).then_some(ffi::SQLITE_IOERR_WRITE)
    });
    if let Some(code) = refused {
        return code;
    }
    if is_over() {
        return ffi::SQLITE_IOERR_WRITE;
    }
    // SAFETY: as SQLite calls it; the buffer holds `bytes` bytes.
    unsafe {
        if let Some(path) = path_of(file) {
            let text = std::slice::from_raw_parts(from.cast::<u8>(), bytes.unsigned_abs() as usize);
            let at = usize::try_from(at).unwrap_or(0);
            change(path, Change::Write(at, text.to_vec()));
        }
        methods(file).xWrite.map_or(ffi::SQLITE_IOERR, |call| call(real(file), from, bytes, at))
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    if is_over() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    // SAFETY: as SQLite calls it.
    unsafe {
        if let Some(path) = path_of(file) {
            change(path, Change::Truncate(usize::try_from(size).unwrap_or(0)));
        }
        methods(file).xTruncate.map_or(ffi::SQLITE_IOERR, |call| call(real(file), size))
    }
}

fn change(path: &Path, change: Change) {
    DISK.with_borrow_mut(|disk| {
        if let Some(kept) = disk.files.get_mut(path) {
            kept.since.push(change);
        }
    });
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    if is_over() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    // SAFETY: the path lives until `close`.
    let path = unsafe { path_of(file) };
    DISK.with_borrow_mut(|disk| {
        let refused = disk.refuses(|trouble| match trouble {
            Trouble::Syncs(often) => Some(often),
            _ => None,
        });
        if refused {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        if let Some(kept) = path.and_then(|path| disk.files.get_mut(path)) {
            for change in kept.since.drain(..) {
                apply(&mut kept.synced, &change, None);
            }
        }
        // The real file lies in memory: nothing is gained by syncing it.
        ffi::SQLITE_OK
    })
}

macro_rules! pass {
    ($name:ident, $method:ident, ($($arg:ident: $kind:ty),*), $none:expr) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $arg: $kind)*) -> c_int {
            // SAFETY: handed on as SQLite calls it.
            unsafe { methods(file).$method.map_or($none, |call| call(real(file) $(, $arg)*)) }
        }
    };
}

pass!(file_size, xFileSize, (size: *mut ffi::sqlite3_int64), ffi::SQLITE_IOERR);
pass!(lock, xLock, (level: c_int), ffi::SQLITE_IOERR);
pass!(unlock, xUnlock, (level: c_int), ffi::SQLITE_IOERR);
pass!(check_lock, xCheckReservedLock, (out: *mut c_int), ffi::SQLITE_IOERR);
pass!(control, xFileControl, (what: c_int, with: *mut c_void), ffi::SQLITE_NOTFOUND);
pass!(sector_size, xSectorSize, (), 512);
pass!(traits, xDeviceCharacteristics, (), 0);
pass!(shm_map, xShmMap, (page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void), ffi::SQLITE_IOERR);
pass!(shm_lock, xShmLock, (offset: c_int, n: c_int, flags: c_int), ffi::SQLITE_IOERR);
pass!(shm_unmap, xShmUnmap, (remove: c_int), ffi::SQLITE_OK);

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: handed on as SQLite calls it.
    unsafe {
        if let Some(call) = methods(file).xShmBarrier {
            call(real(file));
        }
    }
}

/// Version 2: shared memory, no memory-mapped pages, so that every read and write passes here.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(traits),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
