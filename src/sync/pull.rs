//! Owns: reading a table of Supabase page by page, with pauses and smaller pages where it must.
//! May not: keep more than one page.

use super::{FAILURES_MAX, Outside, PAUSE_MS_MAX, PAUSE_MS_MIN};
use crate::json::Value;
use crate::store::sync::Table;
use crate::wire::postgrest::{fault, fault::Fault, read};
use crate::wire::{NetErrorKind, Request};

/// Rows of a page; small, because the reply and its tree are in memory at once.
const PAGE_ROWS: usize = 200;
/// Bytes of a reply that callers should take; a page that is larger is asked for in halves.
pub const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a page did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullError {
    /// One word, as in [`super::report::Trouble`].
    pub kind: &'static str,
    /// For the operator.
    pub text: String,
    /// Whether only the operator can mend it; else trying later may do.
    pub stop: bool,
}

/// Reads pages; remembers how large they may be.
#[derive(Debug)]
pub struct Puller {
    rows: usize,
    /// Requests made.
    pub requests: u64,
}

impl Default for Puller {
    fn default() -> Self {
        Self { rows: PAGE_ROWS, requests: 0 }
    }
}

impl Puller {
    /// One page; `make` is told how many rows to ask for.
    ///
    /// # Errors
    /// The remote refuses, or did not answer after several tries.
    pub fn page(
        &mut self,
        outside: &mut Outside<'_>,
        table: Table,
        make: &dyn Fn(usize) -> Request,
    ) -> Result<Value, PullError> {
        let mut failures = 0;
        // Bounded: failures are counted, and halving ends at one row.
        loop {
            self.requests += 1;
            let result = (outside.call)(&make(self.rows));
            let too_large = matches!(&result, Err(error) if error.kind == NetErrorKind::TooLarge);
            if too_large && self.rows > 1 {
                self.rows /= 2;
                continue;
            }
            let fault = match fault::judge(&result, table.remote(), &[]) {
                Ok(response) => match read::page_rows(&response.body) {
                    Some(rows) => {
                        self.rows = (self.rows * 2).min(PAGE_ROWS);
                        return Ok(rows);
                    }
                    None => super::history::odd_reply(),
                },
                Err(fault) => fault,
            };
            let (after_ms, kind, text) = match fault {
                Fault::Later { after_ms, kind, why } => (after_ms, kind, why),
                Fault::Shrink { why, .. } => {
                    self.rows = (self.rows / 2).max(1);
                    (0, "unreachable", why)
                }
                Fault::Stop { kind, why, .. } => {
                    return Err(PullError { kind, text: why, stop: true });
                }
                Fault::Row { why } => {
                    let text = format!(
                        "supabase: {} cannot be read ({why}): see `svs-bot check`",
                        table.remote()
                    );
                    return Err(PullError { kind: "refused", text, stop: true });
                }
                Fault::Generated => (0, "refused", String::new()),
            };
            failures += 1;
            let pause_ms = (PAUSE_MS_MIN << failures).max(after_ms);
            if failures >= FAILURES_MAX || pause_ms > PAUSE_MS_MAX {
                return Err(PullError { kind, text, stop: false });
            }
            (outside.wait)(pause_ms);
        }
    }
}
