//! Owns: what Linux says of a process: memory, processor time, threads, open files.
//! May not: write anything, look outside `/proc`.

use std::fs;
use std::path::{Path, PathBuf};

/// Clock ticks a second in `/proc/PID/stat`; `USER_HZ` is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// One process at one instant; a figure that cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// `VmRSS`
    pub resident_bytes: Option<u64>,
    /// `VmHWM`
    pub resident_peak_bytes: Option<u64>,
    /// `RssAnon`: heap, stacks, written pages.
    pub resident_anon_bytes: Option<u64>,
    /// `RssFile`: pages of the binary and of mapped files.
    pub resident_file_bytes: Option<u64>,
    /// `RssShmem`
    pub resident_shared_bytes: Option<u64>,
    /// `VmSize`
    pub virtual_bytes: Option<u64>,
    /// `VmData`
    pub data_bytes: Option<u64>,
    /// User and system time.
    pub cpu_seconds: Option<f64>,
    /// Since the epoch.
    pub start_seconds: Option<f64>,
    /// Entries of `fd`, the one used for counting left out.
    pub open_fds: Option<u64>,
    /// Threads alive.
    pub threads: Option<u64>,
}

/// Reads `/proc/self`, or `/proc/PID`.
pub fn read(pid: Option<u32>) -> Process {
    let dir = pid.map_or_else(|| PathBuf::from("/proc/self"), |pid| format!("/proc/{pid}").into());
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut process = parse(&text("status"), &text("stat"), &boot);
    process.open_fds = count_fds(&dir.join("fd"), pid.is_none());
    process
}

fn count_fds(dir: &Path, is_self: bool) -> Option<u64> {
    let count = fs::read_dir(dir).ok()?.count();
    u64::try_from(count).ok().map(|count| count.saturating_sub(u64::from(is_self)))
}

fn parse(status: &str, stat: &str, boot: &str) -> Process {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let bytes = |name: &str| field(name).map(|kib| kib.saturating_mul(1_024));
    // The command name may hold blanks and brackets: fields are counted behind its last bracket.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let stat_field =
        |number: usize| after_name.split_ascii_whitespace().nth(number - 3)?.parse::<f64>().ok();
    let boot_seconds = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|text| text.trim().parse::<f64>().ok());
    Process {
        resident_bytes: bytes("VmRSS"),
        resident_peak_bytes: bytes("VmHWM"),
        resident_anon_bytes: bytes("RssAnon"),
        resident_file_bytes: bytes("RssFile"),
        resident_shared_bytes: bytes("RssShmem"),
        virtual_bytes: bytes("VmSize"),
        data_bytes: bytes("VmData"),
        cpu_seconds: stat_field(14)
            .zip(stat_field(15))
            .map(|(user, system)| (user + system) / TICKS_PER_SECOND),
        start_seconds: stat_field(22)
            .zip(boot_seconds)
            .map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND),
        open_fds: None,
        threads: field("Threads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3 0 1000 5 6";
        let status =
            "Name:\ta) b\nVmSize:\t  20 kB\nVmRSS:\t   8 kB\nRssAnon:\t 4 kB\nThreads:\t3\n";
        let process = parse(status, stat, "cpu 1 2\nbtime 1700000000\n");
        assert_eq!(process.cpu_seconds, Some(3.0));
        assert_eq!(process.start_seconds, Some(1_700_000_010.0));
        assert_eq!(process.resident_bytes, Some(8_192));
        assert_eq!(process.resident_anon_bytes, Some(4_096));
        assert_eq!(process.virtual_bytes, Some(20_480));
        assert_eq!(process.threads, Some(3));
    }

    #[test]
    fn nothing_readable_is_nothing_known() {
        assert_eq!(parse("", "", ""), Process::default());
        assert_eq!(parse("VmRSS: lots kB", "1 (x", "btime never"), Process::default());
    }

    #[test]
    fn this_very_process_has_memory_threads_and_files() {
        let process = read(None);
        assert!(process.resident_bytes > Some(100_000));
        assert!(process.threads >= Some(1));
        assert!(process.open_fds >= Some(3));
        assert!(process.start_seconds > Some(1_000_000_000.0));
    }
}
