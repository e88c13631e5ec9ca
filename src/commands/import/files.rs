//! Owns: rows read from a file: a plain pg_dump, or JSON lines as `export` writes them.
//! May not: hold more of it than one line and one batch.

use super::{End, Inflow};
use crate::commands::{EXIT_FAILED, Failure};
use crate::json;
use crate::sync::Tell;
use crate::wire::pgdump::{Dump, STATEMENT_BYTES_MAX};
use crate::wire::table;
use std::io::{BufRead, BufReader, Read};

/// Lines of a file, each bounded; one buffer for all.
struct Lines {
    file: BufReader<std::fs::File>,
    line: Vec<u8>,
    number: u64,
    /// Whether its first line ends as on Windows: then all do, and else a CR is part of a text.
    crlf: bool,
    read_bytes: u64,
    /// Of the whole file; 0 where that is not known, as of a pipe.
    bytes: u64,
}

impl Lines {
    fn open(path: &str) -> Result<Self, Failure> {
        let file = std::fs::File::open(path)
            .map_err(|error| Failure::failed(format!("import: {path}: {error}")))?;
        let bytes = file.metadata().map_or(0, |at| at.len());
        let file = BufReader::with_capacity(64 * 1024, file);
        Ok(Self { file, line: Vec::new(), number: 0, crlf: false, read_bytes: 0, bytes })
    }

    fn percent(&self) -> Option<u64> {
        self.read_bytes.saturating_mul(100).checked_div(self.bytes)
    }

    /// The next line without its end, and whether it had one.
    fn next(&mut self) -> Result<Option<(std::borrow::Cow<'_, str>, bool)>, String> {
        self.line.clear();
        self.number += 1;
        let limit = u64::try_from(STATEMENT_BYTES_MAX).unwrap_or(u64::MAX);
        let count = (&mut self.file)
            .take(limit)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| format!("line {}: {error}", self.number))?;
        if count == 0 {
            return Ok(None);
        }
        self.read_bytes += u64::try_from(count).unwrap_or(0);
        if count >= STATEMENT_BYTES_MAX {
            return Err(format!("line {}: longer than {STATEMENT_BYTES_MAX} bytes", self.number));
        }
        let ended = self.line.pop_if(|last| *last == b'\n').is_some();
        if self.number == 1 {
            self.crlf = self.line.ends_with(b"\r");
        }
        if self.crlf {
            self.line.pop_if(|last| *last == b'\r');
        }
        Ok(Some((String::from_utf8_lossy(&self.line), ended)))
    }
}

fn in_file(file: &str, why: &str) -> End {
    End::Broken(EXIT_FAILED, "file", format!("{file}: {why}"))
}

pub(super) fn from_dump(
    flow: &mut Inflow<'_>,
    file: &str,
    clock: table::Clock<'_>,
    tell: Tell<'_>,
) -> Result<End, Failure> {
    let mut lines = Lines::open(file)?;
    let mut dump = Dump::default();
    let mut error = None;
    // Bounded by the file.
    loop {
        let number = lines.number + 1;
        let (line, ended) = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(why) => {
                error = Some(why);
                break;
            }
        };
        if !ended {
            // A line that is cut may hold half a row.
            error = dump.end().err().or_else(|| Some(format!("it ends inside line {number}: the rows before are in; make the dump again and import it again")));
            break;
        }
        let taken = dump.line(&line, &mut |mut row| {
            let place = format!("line {number}");
            let (table, whole) = (row.table, row.is_whole());
            let mut column = |name: &str| row.take(name);
            match table {
                "chat_history" if whole => {
                    flow.history(table::history(&mut column, "id", clock), &place)
                }
                "chat_history" => flow.history(Err("the row"), &place),
                _ if whole => flow.registry(table::registry(&mut column, clock), &place),
                _ => flow.registry(Err("the row"), &place),
            }
        });
        if let Err(why) = taken {
            error = Some(why);
            break;
        }
        if flow.is_full() {
            flow.flush(None)?;
            flow.tell(tell, lines.percent());
        }
    }
    flow.flush(None)?;
    Ok(match error.or_else(|| dump.end().err()) {
        None => End::Whole,
        Some(why) => in_file(file, &why),
    })
}

pub(super) fn from_json_lines(
    flow: &mut Inflow<'_>,
    file: &str,
    clock: table::Clock<'_>,
    tell: Tell<'_>,
) -> Result<End, Failure> {
    let mut lines = Lines::open(file)?;
    let mut error = None;
    // Bounded by the file.
    loop {
        let number = lines.number + 1;
        let (line, ended) = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(why) => {
                error = Some(why);
                break;
            }
        };
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("line {number}");
        match json::parse(line.as_bytes()) {
            Ok(value) if value.root().is_object() => {
                let mut column = |name: &str| table::json_column(value.root(), name);
                flow.history(table::history(&mut column, "remote_id", clock), &place);
            }
            _ if !ended => {
                error = Some(format!(
                    "it ends inside line {number}: the rows before are in; make the file again and import it again"
                ));
                break;
            }
            _ => flow.history(Err("the line"), &place),
        }
        if flow.is_full() {
            flow.flush(None)?;
            flow.tell(tell, lines.percent());
        }
    }
    flow.flush(None)?;
    Ok(match error {
        None => End::Whole,
        Some(why) => in_file(file, &why),
    })
}
