//! Owns: `svs-bot export`: the history on stdout, in constant memory.
//! May not: hold more than one row's text.

use super::{EXIT_OK, Failure, Outcome};
use crate::calendar::{DAY_S, SECOND_US, parse_date, parse_written};
use crate::cli;
use crate::store::transfer::{self, Filter};
use crate::store::{Store, StoreError};
use crate::sync::Tell;
use crate::types::row::HistoryRow;
use crate::wire::table;
use std::io::Write;
use std::path::Path;

/// Rows shown per reading transaction, so that no long one keeps the log of the database growing.
const PAGE_ROWS: u32 = 200;

/// What ends an export before its end.
enum Broken {
    Store(StoreError),
    Output(std::io::Error),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Runs it.
///
/// # Errors
/// Wrong use, no database, a stream that is closed.
pub fn run(args: &cli::Export, data_dir: &Path, out: &mut dyn Write, tell: Tell<'_>) -> Outcome {
    let write: fn(&mut String, &HistoryRow<'_>) = match args.format.as_str() {
        "jsonl" => |out, row| {
            table::write_json(out, row);
            out.push('\n');
        },
        "csv" => table::write_csv,
        "markdown" => table::write_markdown,
        other => {
            return Err(Failure::usage(format!(
                "--format: {other}: it takes jsonl, csv or markdown"
            )));
        }
    };
    let since_us = match args.since.as_deref() {
        None => None,
        Some(text) => Some(since(text).ok_or_else(|| {
            Failure::usage(format!("--since: {text}: it takes a day like 2026-01-31"))
        })?),
    };
    let filter = Filter { user: args.user, chat: args.chat, since_us };
    let store = Store::open_existing(data_dir).map_err(Failure::failed)?;
    let head = match args.format.as_str() {
        "csv" => table::EXPORT_COLUMNS.join(",") + "\r\n",
        _ => String::new(),
    };
    let mut after = (i64::MIN, 0);
    let mut line = head;
    let mut rows = 0_u64;
    // Bounded: `after` grows with every page.
    loop {
        let page = store.read(|db| {
            transfer::scan(db, &filter, after, PAGE_ROWS, &mut |row| {
                write(&mut line, row);
                out.write_all(line.as_bytes()).map_err(Broken::Output)?;
                line.clear();
                rows += 1;
                Ok(())
            })
        });
        tell(format_args!("export: {rows} rows"));
        match page {
            Ok(Some(place)) => after = place,
            Ok(None) => break,
            Err(Broken::Store(error)) => return Err(Failure::failed(error)),
            Err(Broken::Output(error)) => return closed(&error),
        }
    }
    // The head of a table without rows.
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(EXIT_OK),
        Err(error) => closed(&error),
    }
}

/// `export | head` is no failure.
fn closed(error: &std::io::Error) -> Outcome {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(EXIT_OK),
        _ => Err(Failure::failed(format!("output: {error}"))),
    }
}

fn since(text: &str) -> Option<i64> {
    if let Some(day) = parse_date(text) {
        return Some(day.saturating_mul(DAY_S).saturating_mul(SECOND_US));
    }
    parse_written(text).map(|written| written.unix_us(0))
}
