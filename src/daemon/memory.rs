//! Owns: the report of where the memory is (`/debug/memory`, `status --memory`).
//! May not: guess; what is not measured is named as such.

use super::process::Process;
use crate::types::status::Status;
use std::fmt::Write as _;

/// Lines of `name bytes`, adding up to the resident size where Linux says how it is made up.
pub fn report(process: &Process, status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, bytes: Option<u64>, what: &str| {
        let bytes = bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string());
        let _ = writeln!(out, "{name:<16} {bytes:>12}  {what}");
    };
    line("resident", process.resident_bytes, "all of the following three");
    line("  anonymous", process.resident_anon_bytes, "heap, stacks, SQLite's cache, written pages");
    line("  file", process.resident_file_bytes, "pages of the program itself");
    line("  shared", process.resident_shared_bytes, "the index of the write-ahead log");
    line("resident peak", process.resident_peak_bytes, "the most since the start");
    line("virtual", process.virtual_bytes, "address space, mostly never touched");
    line("threads", process.threads, "(a count)");
    line("database", Some(status.counts.database_bytes), "on disk, not in memory");
    out
}
