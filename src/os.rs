//! Owns: the few questions to the operating system that the standard library does not ask.
//! May not: hold state; be called with anything but checked values.
//! Invariant: this is the one room with `unsafe`; each block proves itself. Besides `store` it is the
//! only one to name `rusqlite`, for two numbers that it does not pass on.
#![expect(unsafe_code, reason = "system calls that std does not wrap; audited block by block")]

use crate::types::status::{Disk, SqliteMemory};
#[cfg(not(feature = "profiling"))]
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The allocator of profiling builds: it notes where every 8 KiB or so were asked for, since all are a few MB.
#[cfg(feature = "profiling")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One thread at a time, by a lock that wakes a waiting thread once.
///
/// musl's own lock asks the kernel to wake somebody at each release for as long as anybody is still on the way to
/// it, which on a busy machine was some two hundred times an answer.
#[cfg(not(feature = "profiling"))]
#[global_allocator]
static ALLOCATOR: InTurn = InTurn(std::sync::Mutex::new(()));

#[cfg(not(feature = "profiling"))]
struct InTurn(std::sync::Mutex<()>);

#[cfg(not(feature = "profiling"))]
impl InTurn {
    fn turn(&self) -> std::sync::MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract; the lock
// allocates nothing, and nothing that is called while it is held takes it.
#[cfg(not(feature = "profiling"))]
unsafe impl GlobalAlloc for InTurn {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _turn = self.turn();
        // SAFETY: the caller's promise is the callee's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let _turn = self.turn();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _turn = self.turn();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _turn = self.turn();
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// jemalloc reads its settings from this symbol, before `main`.
// SAFETY: the name is jemalloc's own, prefixed as that crate builds it, and nothing else defines it;
// the first word of a slice is the pointer to a NUL-terminated text that jemalloc expects there.
#[cfg(feature = "profiling")]
#[allow(non_upper_case_globals, reason = "the name is jemalloc's")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8] = b"prof:true,prof_active:true,lg_prof_sample:13\0";

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

/// Milliseconds since the machine was started, its sleep included: the same for every process on it, and nobody sets it.
pub fn boot_ms() -> i64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the call writes at most one `timespec` of this target's own C library.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, time.as_mut_ptr()) };
    // SAFETY: two numbers, which may be zero, and were so before the call.
    let time = unsafe { time.assume_init() };
    #[allow(clippy::useless_conversion, reason = "32-bit targets have narrower fields")]
    let (seconds, nanos) = (i64::from(time.tv_sec), i64::from(time.tv_nsec));
    if result == 0 { seconds.saturating_mul(1_000) + nanos / 1_000_000 } else { 0 }
}

/// Whether nothing waits to be read and the other side has not closed; does not wait.
pub fn is_quiet(stream: &TcpStream) -> bool {
    let mut byte = 0_u8;
    // SAFETY: the descriptor is open for as long as `stream` is borrowed; one byte may be written to
    // `byte`, which is one byte long and lives through the call.
    let count = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            (&raw mut byte).cast(),
            1,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
        )
    };
    count < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
}

/// Sees to it that a crash writes no memory of this process anywhere: settings are in it, and what people wrote.
///
/// The limit keeps the kernel from writing a file, also where it was raised or never set. It does not keep it from
/// piping to a program that collects dumps, as many systems do; for that the process is no longer dumpable, which
/// also closes its memory and environment to other processes of its user. In its folder of `/proc` the files are then
/// root's; the folder itself stays its user's, and what anybody may read there stays so.
///
/// # Errors
/// Which setting the system refuses, and why.
pub fn forbid_core_dumps() -> Result<(), String> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one struct of this target's own C library is read, which lives through the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let limited = if limited == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    let no: libc::c_ulong = 0;
    // SAFETY: takes numbers alone and sets a flag of the process.
    let closed = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, no, no, no, no) };
    let closed = if closed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    closed.map_err(|error| format!("PR_SET_DUMPABLE: {error}"))?;
    limited.map_err(|error| format!("RLIMIT_CORE: {error}"))
}

/// Asks the kernel to end a connection whose other side shows no sign of life: it is asked for one after `idle_s`
/// without any, then every `every_s`, and after `gone_ms` of silence, or of bytes that nobody acknowledged, waiting
/// calls end with an error. The kernel does all that: no thread of ours is woken.
///
/// # Errors
/// What the operating system says.
pub fn watch_peer(
    stream: &TcpStream,
    idle_s: u16,
    every_s: u16,
    gone_ms: u16,
) -> std::io::Result<()> {
    set_option(stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, libc::c_int::from(idle_s))?;
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, libc::c_int::from(every_s))?;
    set_option(stream, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, libc::c_int::from(gone_ms))
}

/// Rows and columns of the terminal; `None` where it is none, or says nothing.
pub fn terminal_size(terminal: &impl AsRawFd) -> Option<(u16, u16)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the descriptor is open for as long as `terminal` is borrowed; the call writes at most one `winsize`.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: four numbers, all of which may be zero, and were so before the call.
    let size = unsafe { size.assume_init() };
    (result == 0 && size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Bounds what the kernel keeps for a connection of this listener that the other side does not take; the kernel
/// doubles it for its own bookkeeping.
///
/// # Errors
/// What the operating system says.
pub fn bound_unsent(listener: &impl AsRawFd, bytes: u16) -> std::io::Result<()> {
    set_option(listener, libc::SOL_SOCKET, libc::SO_SNDBUF, libc::c_int::from(bytes))
}

fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> std::io::Result<()> {
    const INT_BYTES: libc::socklen_t = 4;
    const _: () = assert!(size_of::<libc::c_int>() == 4);
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; every option that this file names takes an
    // int, which `value` is, and only reads it.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), INT_BYTES)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// What the operating system said to the last call of SQLite on this connection that it refused; `None` where it
/// has refused none.
pub fn sqlite_refusal(db: &rusqlite::Connection) -> Option<std::io::Error> {
    // SAFETY: the handle is open for as long as `db` is borrowed, and one number of it is read; the connection is
    // used by this thread alone at this moment, since `Connection` is not `Sync`.
    let code = unsafe { rusqlite::ffi::sqlite3_system_errno(db.handle()) };
    (code != 0).then(|| std::io::Error::from_raw_os_error(code))
}

/// What SQLite holds in memory: of the whole process, and of this connection.
pub fn sqlite_memory(db: &rusqlite::Connection) -> SqliteMemory {
    let status = |what| {
        let (mut now, mut highest) = (0, 0);
        // SAFETY: the handle is open for as long as `db` is borrowed, and it is only read; `now` and
        // `highest` are integers of the C type's width; the connection is used by this thread alone
        // at this moment, since `Connection` is not `Sync`.
        let result = unsafe {
            rusqlite::ffi::sqlite3_db_status(db.handle(), what, &mut now, &mut highest, 0)
        };
        if result == rusqlite::ffi::SQLITE_OK { u64::try_from(now).unwrap_or(0) } else { 0 }
    };
    // SAFETY: takes nothing, reads one counter under SQLite's own lock; legal at any time.
    let used = unsafe { rusqlite::ffi::sqlite3_memory_used() };
    SqliteMemory {
        used_bytes: u64::try_from(used).unwrap_or(0),
        cache_bytes: status(rusqlite::ffi::SQLITE_DBSTATUS_CACHE_USED),
        schema_bytes: status(rusqlite::ffi::SQLITE_DBSTATUS_SCHEMA_USED),
        statements_bytes: status(rusqlite::ffi::SQLITE_DBSTATUS_STMT_USED),
    }
}

/// Bytes that the program has from the allocator and not given back, where the C library counts
/// them: glibc does, musl does not.
pub fn allocated_bytes() -> Option<u64> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes nothing and returns a struct of counters by value.
        let info = unsafe { libc::mallinfo2() };
        u64::try_from(info.uordblks + info.hblkhd).ok()
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_database_costs_something() {
        let store = crate::store::Store::in_memory().unwrap();
        let memory = sqlite_memory(&store.db);
        assert!(memory.used_bytes > 10_000 && memory.schema_bytes > 1_000, "{memory:?}");
        assert!(memory.cache_bytes + memory.schema_bytes <= memory.used_bytes, "{memory:?}");
        assert_eq!(SqliteMemory::read(&memory.written()), Some(memory));
        assert_eq!(SqliteMemory::read("1 2 x 4"), None);
        if cfg!(target_env = "gnu") {
            assert!(allocated_bytes() >= Some(memory.used_bytes));
        }
    }

    #[test]
    fn a_connection_is_quiet_until_bytes_or_an_end_come() {
        use std::io::{Read as _, Write as _};
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = door.accept().unwrap();
        assert!(is_quiet(&ours));
        theirs.write_all(b"x").unwrap();
        // `peek` waits until it is there.
        assert_eq!(ours.peek(&mut [0; 2]).unwrap(), 1);
        assert!(!is_quiet(&ours));
        assert_eq!((&ours).read(&mut [0; 2]).unwrap(), 1);
        assert!(is_quiet(&ours));
        drop(theirs);
        assert_eq!(ours.peek(&mut [0]).unwrap(), 0);
        assert!(!is_quiet(&ours));
    }

    #[test]
    fn the_machine_has_run_for_some_time_and_goes_on() {
        let first_ms = boot_ms();
        assert!(first_ms > 0 && (first_ms..first_ms + 60_000).contains(&boot_ms()));
    }

    #[test]
    fn the_root_has_a_size_and_nowhere_has_none() {
        let disk = disk(Path::new("/")).unwrap();
        assert!(disk.total_bytes > 1 << 20 && disk.free_bytes <= disk.total_bytes);
        assert_eq!(super::disk(Path::new("/no/such/place")), None);
        assert_eq!(super::disk(Path::new("nul\0inside")), None);
    }
}
