//! Owns: erasing a person in Supabase: both tables, each looked at afterwards.
//! May not: take a delete that reached no row for done while the rows are still to be seen.

use super::{Flight, LATE_MS, SyncRun, history};
use crate::store::Result;
use crate::store::sync::{self as rows, Db, Erasure, Table};
use crate::types::UnixMs;
use crate::wire::postgrest::{self, fault::Fault, read};
use crate::wire::{Request, Response};

/// Where an erasure stands: table by table, a delete and then a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Erasing {
    erasure: Erasure,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Delete(Table),
    /// Row level security without a policy for deleting hides the rows from a delete, which succeeds.
    Look(Table),
}

impl Erasing {
    pub(super) fn table(&self) -> Table {
        let (What::Delete(table) | What::Look(table)) = self.what;
        table
    }

    /// What follows this step.
    fn next(self, reply: &Response) -> std::result::Result<Option<What>, Fault> {
        let table = match self.what {
            What::Delete(table) => return Ok(Some(What::Look(table))),
            What::Look(table) => table,
        };
        let page = read::page_rows(&reply.body).ok_or_else(history::odd_reply)?;
        if page.root().list().next().is_some() {
            return Err(left(table));
        }
        Ok((table == Table::History).then_some(What::Delete(Table::Registry)))
    }
}

impl SyncRun {
    /// People to erase come first: nothing of theirs may be sent before.
    pub(super) fn erase(&mut self, db: &Db, now_ms: UnixMs) -> Result<Option<Request>> {
        let begun = match self.erasing.take() {
            Some(erasing) => Some(erasing),
            None => rows::due_erasure(db, now_ms)?
                .map(|erasure| Erasing { erasure, what: What::Delete(Table::History) }),
        };
        let Some(erasing) = begun else { return Ok(None) };
        self.flight = Flight::Erase(erasing);
        let Erasure { user, asked_ms, again_ms } = erasing.erasure;
        Ok(Some(match erasing.what {
            What::Delete(table) => {
                let late = (again_ms != 0).then_some(asked_ms);
                postgrest::erase(table.remote(), user, late)
            }
            What::Look(table) => postgrest::read_left(table.remote(), user, asked_ms),
        }))
    }

    pub(super) fn erased(
        &mut self,
        db: &Db,
        step: Erasing,
        judged: std::result::Result<&Response, Fault>,
        now_ms: UnixMs,
    ) -> Result<std::result::Result<(), Fault>> {
        match judged.and_then(|reply| step.next(reply)) {
            Ok(Some(what)) => self.erasing = Some(Erasing { what, ..step }),
            Ok(None) => rows::erased(db, &step.erasure, now_ms + LATE_MS)?,
            Err(fault) => {
                // Tried again by itself: a delete that succeeds between two looks would count as a success.
                self.erasing = Some(step);
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }
}

/// Rows that can be read and not deleted.
fn left(table: Table) -> Fault {
    let table = table.remote();
    let why = format!(
        "supabase: rows of a person to be forgotten are still in `{table}`: a delete reaches none of them: set the \
         project's secret key (service_role), or add a policy for delete on public.{table}"
    );
    Fault::Stop { kind: "grant", why, all: false }
}
