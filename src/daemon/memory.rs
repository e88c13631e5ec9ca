//! Owns: the report of where the memory is (`/debug/memory`, `status --memory`).
//! May not: guess; what is not measured is named as such.
//! Invariant: the parts are sums over every mapping of the process, so they add up to the whole.

use super::process::Process;
use crate::types::status::Status;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// A guard below a thread's stack is at most so large; a larger hole guards something else.
const GUARD_BYTES_MAX: u64 = 64 * 1_024;

/// Resident bytes by what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Pages of the program's file, code and constants, and what of them was written.
    pub program_bytes: u64,
    /// The allocator's heap (`brk`).
    pub heap_bytes: u64,
    /// Stacks: the first thread's, and mappings that begin at a guard page.
    pub stack_bytes: u64,
    /// Mapped files: the index of SQLite's write-ahead log, shared libraries.
    pub file_bytes: u64,
    /// Other anonymous memory: large allocations, the allocator's arenas.
    pub anonymous_bytes: u64,
}

impl Parts {
    /// Of this process, or of another one; of a running bot root alone may know.
    pub fn read(pid: Option<u32>) -> Option<Self> {
        let dir =
            pid.map_or_else(|| PathBuf::from("/proc/self"), |pid| format!("/proc/{pid}").into());
        let maps = fs::read_to_string(dir.join("smaps")).ok()?;
        let program = fs::read_link(dir.join("exe")).unwrap_or_default();
        Some(parse(&maps, &program.to_string_lossy()))
    }

    /// Of them all.
    pub fn sum(&self) -> u64 {
        self.program_bytes
            + self.heap_bytes
            + self.stack_bytes
            + self.file_bytes
            + self.anonymous_bytes
    }
}

fn parse(maps: &str, program: &str) -> Parts {
    let mut parts = Parts::default();
    let mut guard_end = None;
    let mut place = &mut parts.anonymous_bytes;
    for line in maps.lines() {
        if let Some(mapping) = Mapping::read(line) {
            let has_guard = guard_end == Some(mapping.start);
            let is_guard = mapping.is_closed && mapping.end - mapping.start <= GUARD_BYTES_MAX;
            guard_end = is_guard.then_some(mapping.end);
            place = match mapping.name {
                "[heap]" => &mut parts.heap_bytes,
                "[stack]" => &mut parts.stack_bytes,
                "" if has_guard => &mut parts.stack_bytes,
                name if name == program && !program.is_empty() => &mut parts.program_bytes,
                name if name.starts_with('/') => &mut parts.file_bytes,
                _ => &mut parts.anonymous_bytes,
            };
        } else if let Some(rest) = line.strip_prefix("Rss:") {
            let kib = rest.split_ascii_whitespace().next().and_then(|text| text.parse().ok());
            *place += kib.unwrap_or(0_u64).saturating_mul(1_024);
        }
    }
    parts
}

/// The first line of a mapping: `start-end rwxp offset device inode name`.
struct Mapping<'a> {
    start: u64,
    end: u64,
    is_closed: bool,
    name: &'a str,
}

impl<'a> Mapping<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let mut fields = rest.trim_start().splitn(5, ' ');
        let rights = fields.next()?;
        let name = fields.nth(3).unwrap_or_default().trim();
        Some(Self {
            start: number(start)?,
            end: number(end)?,
            is_closed: rights.starts_with("---"),
            name,
        })
    }
}

/// What only the process itself knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// What the allocator has handed out, where the C library counts that.
    pub allocated_bytes: Option<u64>,
    /// What the HTTP listener's connections may hold at most.
    pub connections_bytes_max: Option<u64>,
}

/// Lines of `name bytes what`; the parts add up to the resident size.
pub fn report(process: &Process, parts: Option<&Parts>, own: &Own, status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, bytes: Option<u64>, what: &str| {
        let bytes = bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string());
        let _ = writeln!(out, "{name:<20} {bytes:>12}  {what}");
    };
    let what = match parts {
        Some(_) => "all of the following five",
        None => "its parts are for root to see, and on the page /debug/memory",
    };
    line("resident", process.resident_bytes, what);
    line(
        "  program",
        parts.map(|it| it.program_bytes),
        "pages of the binary; the kernel can drop most",
    );
    line("  heap", parts.map(|it| it.heap_bytes), "the allocator, small pieces");
    line("  anonymous", parts.map(|it| it.anonymous_bytes), "the allocator, large pieces");
    line("  stacks", parts.map(|it| it.stack_bytes), "touched pages of every thread's stack");
    line(
        "  files",
        parts.map(|it| it.file_bytes),
        "mapped files: the index of the write-ahead log",
    );
    let in_allocator = parts.map(|it| it.heap_bytes + it.anonymous_bytes);
    line("allocator", in_allocator, "heap and anonymous of above, of which");
    line("  handed out", own.allocated_bytes, "musl's allocator keeps no count of it");
    let sqlite = status.sqlite;
    line("  sqlite", sqlite.map(|it| it.used_bytes), "all connections, by SQLite's own count");
    line("    page cache", sqlite.map(|it| it.cache_bytes), "pages of the database");
    line("    schema", sqlite.map(|it| it.schema_bytes), "tables and indexes, parsed");
    line("    statements", sqlite.map(|it| it.statements_bytes), "prepared, kept for the next use");
    let rest = sqlite.zip(in_allocator).map(|(it, all)| all.saturating_sub(it.used_bytes));
    line(
        "  everything else",
        rest,
        "network buffers, answers in hand, settings, counters, free pieces",
    );
    line(
        "    http at most",
        own.connections_bytes_max,
        "requests being read, if every connection is open",
    );
    line("resident peak", process.resident_peak_bytes, "the most since the start");
    line("virtual", process.virtual_bytes, "address space, mostly never touched");
    line("threads", process.threads, "a count");
    line("open files", process.open_fds, "a count");
    line("inbox", Some(status.counts.inbox), "a count of rows, on disk and not in memory");
    line("outbox", Some(status.counts.outbox), "a count of rows, on disk and not in memory");
    line("database", Some(status.counts.database_bytes), "on disk and not in memory");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::process;

    #[test]
    fn each_mapping_lands_in_one_part() {
        let maps = "\
00400000-00500000 r-xp 00000000 08:01 42                         /opt/svs bot\nRss:  100 kB\n\
00600000-00700000 rw-p 00000000 00:00 0                          [heap]\nSize: 9 kB\nRss:   20 kB\n\
7f0000000000-7f0000001000 ---p 00000000 00:00 0 \nRss:    0 kB\n\
7f0000001000-7f0000031000 rw-p 00000000 00:00 0 \nRss:   12 kB\n\
7f0000031000-7f0000041000 rw-p 00000000 00:00 0 \nRss:    5 kB\n\
7f0000100000-7f0000900000 ---p 00000000 00:00 0 \nRss:    0 kB\n\
7f0000900000-7f0000a00000 rw-p 00000000 00:00 0 \nRss:    3 kB\n\
7f0000b00000-7f0000b08000 rw-s 00000000 08:01 77                 /data/svs-bot.db-shm\nRss:   32 kB\n\
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                  [stack]\nRss:    8 kB\n\
7ffc00030000-7ffc00031000 r-xp 00000000 00:00 0                  [vdso]\nRss:    4 kB\n";
        let kib = |count: u64| count * 1_024;
        let parts = parse(maps, "/opt/svs bot");
        assert_eq!(
            parts,
            Parts {
                program_bytes: kib(100),
                heap_bytes: kib(20),
                stack_bytes: kib(12 + 8),
                file_bytes: kib(32),
                anonymous_bytes: kib(5 + 3 + 4),
            }
        );
        assert_eq!(parse("nonsense\nRss: x kB\n", ""), Parts::default());
    }

    #[test]
    fn the_parts_of_this_process_add_up_to_within_a_tenth() {
        let (parts, resident) =
            (Parts::read(None).unwrap(), process::read(None).resident_bytes.unwrap());
        let (sum, tenth) = (parts.sum(), resident / 10);
        assert!(sum.abs_diff(resident) <= tenth, "{parts:?} {sum} of {resident}");
        assert!(parts.program_bytes > 0 && parts.stack_bytes > 0);
    }
}
