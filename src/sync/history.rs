//! Owns: `chat_history` in batches that shrink and grow, the hunt for a refused row, the fallback for
//! tables that refuse explicit ids.
//! May not: settle a row without a reply that proves it.

use super::{Flight, LATE_MS, REFUSED_MAX, SyncRun};
use crate::calendar::{parse_written, rfc3339_us};
use crate::store::sync::{self as rows, Claimed, Db, Table};
use crate::store::{Result, meta};
use crate::types::UnixMs;
use crate::wire::postgrest::{self, Batch, fault::Fault, read, read::HistoryMark};
use crate::wire::{Request, Response};

/// Rows whose ids one reading request names; their list must fit a URL (api-reference C2).
const IDS_MAX: usize = 200;
/// Fact: until when requests of unknown outcome may still commit.
const UNSURE_UNTIL: &str = "sync_unsure_until_ms";

/// How large a batch may be now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    rows_max: usize,
    bytes_max: usize,
    rows: usize,
    bytes: usize,
    /// Rows known to hold one that is refused; 0 when there is no hunt.
    suspects: usize,
}

impl Size {
    pub(super) fn new(rows_max: usize, bytes_max: usize) -> Self {
        let rows_max = rows_max.clamp(1, rows::ROWS_MAX);
        Self { rows_max, bytes_max, rows: rows_max, bytes: bytes_max, suspects: 0 }
    }
    fn claim(&self) -> usize {
        if self.suspects > 0 { self.suspects.div_ceil(2) } else { self.rows }
    }
    fn accepted(&mut self, count: usize) {
        if self.suspects > 0 {
            self.suspects = self.suspects.saturating_sub(count);
            return;
        }
        self.rows = (self.rows + self.rows / 8 + 1).min(self.rows_max);
        self.bytes = self.bytes.saturating_add(self.bytes / 8).min(self.bytes_max);
    }
    fn shrink(&mut self, count: usize) {
        self.rows = (count / 2).max(1);
        self.bytes = (self.bytes / 2).max(1);
    }
}

type Judged<'a> = std::result::Result<&'a Response, Fault>;
type Settled = Result<std::result::Result<(), Fault>>;

impl SyncRun {
    pub(super) fn history(&mut self, db: &Db, now_ms: UnixMs) -> Result<Option<Request>> {
        if !self.found_there.is_empty() {
            let rest = self.found_there.split_off(self.found_there.len().min(IDS_MAX));
            let asked = std::mem::replace(&mut self.found_there, rest);
            let ids: Vec<i64> = asked.iter().map(|row| row.remote_id).collect();
            self.flight = Flight::Marks(asked);
            return Ok(Some(postgrest::read_history_marks(&ids)));
        }
        let mut batch = Batch::new(self.size.bytes);
        let id_column = !self.generated;
        let claimed = rows::claim_history(
            db,
            self.base,
            self.newest,
            self.size.claim(),
            false,
            &mut |row| batch.add_history(row, id_column),
        )?;
        if claimed.is_empty() {
            return Ok(None);
        }
        if self.generated {
            // Nothing there refuses a second copy, so from here on the outcome is unknown.
            rows::history_unsure(db, &claimed, true)?;
            meta::set(db, UNSURE_UNTIL, &now_ms.saturating_add(LATE_MS).to_string())?;
        }
        self.flight = Flight::History(claimed);
        Ok(Some(batch.into_history_insert(id_column)))
    }

    pub(super) fn history_sent(
        &mut self,
        db: &Db,
        claimed: Vec<Claimed>,
        judged: Judged<'_>,
        unclear: bool,
    ) -> Settled {
        if self.generated && !unclear && judged.is_err() {
            rows::history_unsure(db, &claimed, false)?;
        }
        let response = match judged {
            Ok(response) => response,
            Err(Fault::Row { why }) => return self.refused(db, &claimed, &why),
            Err(Fault::Shrink { never: true, why }) if claimed.len() == 1 => {
                return self.refused(db, &claimed, &why);
            }
            Err(fault @ Fault::Shrink { never, .. }) => {
                self.size.shrink(claimed.len());
                return Ok(if never { Ok(()) } else { Err(fault) });
            }
            Err(fault) => return Ok(Err(fault)),
        };
        let Some((new, found)) = split(&claimed, &response.body, self.generated) else {
            return Ok(Err(odd_reply()));
        };
        if self.generated {
            take_ids(db, &claimed, &read::named_ids(&response.body).unwrap_or_default())?;
        }
        rows::history_sent(db, &new)?;
        self.report.history.sent += count(&new);
        self.refused = 0;
        self.size.accepted(claimed.len());
        self.found_there = found;
        Ok(Ok(()))
    }

    /// A refusal of one row sets it aside; of several, starts or goes on with the hunt by halves.
    fn refused(&mut self, db: &Db, claimed: &[Claimed], why: &str) -> Settled {
        let [row] = claimed else {
            self.size.suspects = claimed.len();
            return Ok(Ok(()));
        };
        self.size.suspects = 0;
        self.refused += 1;
        rows::park_history(db, row.id, why)?;
        self.report.name_parked(Table::History, &row.id.to_string(), why);
        if self.refused >= REFUSED_MAX {
            let why = format!(
                "supabase: `chat_history` refuses every row ({why}): look at its constraints and triggers, then run `svs-bot sync --retry-parked`"
            );
            return Ok(Err(Fault::Stop { kind: "refused", why, all: false }));
        }
        Ok(Ok(()))
    }

    /// Rows that were there already: ours from an earlier request, or, after an old backup was
    /// restored here, others' with the same number: those get new numbers.
    pub(super) fn marks_read(
        &mut self,
        db: &Db,
        claimed: &[Claimed],
        judged: Judged<'_>,
        dice: u64,
    ) -> Settled {
        let marks = match judged.map(|response| read::marks(&response.body)) {
            Ok(Some(marks)) => marks,
            failed => {
                self.found_there.extend_from_slice(claimed);
                return Ok(Err(failed.err().unwrap_or_else(odd_reply)));
            }
        };
        let mut ours = Vec::with_capacity(claimed.len());
        for row in claimed {
            let mark = marks.iter().find(|mark| mark.id == row.remote_id);
            match (mark, rows::history_mark(db, row.id)?) {
                (Some(mark), Some(local)) if !same(mark, local, row.fresh) => {
                    self.base = rows::redraw_base(db, dice)?;
                    rows::history_unname(db, row.id)?;
                }
                _ => ours.push(*row),
            }
        }
        rows::history_sent(db, &ours)?;
        self.report.history.already += count(&ours);
        Ok(Ok(()))
    }

    /// Rows of unknown outcome in a table that refuses explicit ids: looked up by the id inside
    /// `metadata`, once no request can commit any more.
    pub(super) fn unsure(&mut self, db: &Db, now_ms: UnixMs) -> Result<Option<Request>> {
        let until_ms = meta::get_i64(db, UNSURE_UNTIL)?.unwrap_or(0);
        if now_ms < until_ms && until_ms <= now_ms.saturating_add(LATE_MS) {
            return Ok(None);
        }
        let claimed =
            rows::claim_history(db, self.base, self.newest, IDS_MAX, true, &mut |_| true)?;
        let from_us = claimed.iter().map(|row| row.created_us).min();
        let to_us = claimed.iter().map(|row| row.created_us).max();
        let (Some(from_us), Some(to_us)) = (from_us, to_us) else { return Ok(None) };
        let ids: Vec<i64> = claimed.iter().map(|row| row.remote_id).collect();
        self.flight = Flight::Unsure(claimed);
        Ok(Some(postgrest::read_metadata_ids(&ids, from_us, to_us)))
    }

    pub(super) fn unsure_read(
        &mut self,
        db: &Db,
        claimed: &[Claimed],
        judged: Judged<'_>,
    ) -> Settled {
        let ids = match judged {
            Ok(response) => match read::named_ids(&response.body) {
                Some(ids) => ids,
                None => return Ok(Err(odd_reply())),
            },
            Err(fault) => return Ok(Err(fault)),
        };
        let (there, missing): (Vec<Claimed>, Vec<Claimed>) =
            claimed.iter().partition(|row| ids.iter().any(|(ours, _)| *ours == row.remote_id));
        take_ids(db, &there, &ids)?;
        rows::history_unsure(db, &missing, false)?;
        self.report.history.already += count(&there);
        Ok(Ok(()))
    }
}

/// Settles rows of a table that gives ids of its own: from here on they are known by those.
fn take_ids(db: &Db, claimed: &[Claimed], named: &[(i64, i64)]) -> Result<()> {
    for row in claimed {
        if let Some((_, remote_id)) = named.iter().find(|(ours, _)| *ours == row.remote_id) {
            rows::history_sent_as(db, row.id, *remote_id)?;
        }
    }
    Ok(())
}

/// The rows that the reply lists as new, and those it leaves out; `None` when it is no such list.
/// A success without a body says that all is there, and no more.
fn split(
    claimed: &[Claimed],
    body: &[u8],
    generated: bool,
) -> Option<(Vec<Claimed>, Vec<Claimed>)> {
    if body.is_empty() {
        return Some((claimed.to_vec(), Vec::new()));
    }
    if generated {
        return read::named_ids(body).map(|_| (claimed.to_vec(), Vec::new()));
    }
    let ids = read::ids(body)?;
    let ids: std::collections::BTreeSet<i64> = ids.into_iter().collect();
    Some(claimed.iter().partition(|row| ids.contains(&row.remote_id)))
}

/// Whether the row there is the one here. A row sent for the first time cannot be there yet, so it
/// must match in full; else a trigger of the operator's may have changed the time.
fn same(mark: &HistoryMark, local: (i64, i64, i64), fresh: bool) -> bool {
    let (chat, user, created_us) = local;
    // As it was written there: years beyond RFC 3339 are clamped.
    let written_us = parse_written(&rfc3339_us(created_us)).map(|at| at.unix_us(0));
    mark.chat == chat && mark.user == user && (!fresh || Some(mark.created_us) == written_us)
}

pub(super) fn odd_reply() -> Fault {
    Fault::Later {
        after_ms: 0,
        kind: "unreachable",
        why: "supabase: the reply is not a list of rows: look at SUPABASE_URL, or at what stands between".to_owned(),
    }
}

fn count(rows: &[Claimed]) -> i64 {
    i64::try_from(rows.len()).unwrap_or(i64::MAX)
}
