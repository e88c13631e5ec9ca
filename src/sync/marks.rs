//! Owns: rows that an insert into `chat_history` found there already: whose they are, and what is not there
//! after all.
//! May not: take one look for proof that a row is not there: a replica may lag behind.

use super::history::{Judged, SWALLOWED, Settled, count, odd_reply};
use super::{Flight, STATEMENT_MS, SyncRun};
use crate::calendar::{parse_written, rfc3339_us};
use crate::store::names;
use crate::store::sync::{self as rows, Claimed, Db};
use crate::types::UnixMs;
use crate::types::row::HistoryRow;
use crate::wire::postgrest::{self, read, read::HistoryMark};
use crate::wire::{NetError, NetErrorKind, Request, Response};

impl SyncRun {
    /// Reads the doubted rows a second time, once the last of them has waited long enough; until then a pause.
    pub(super) fn look_again(&mut self, now_ms: UnixMs) -> Option<Request> {
        let until_ms = self.cursor.doubted.iter().map(|(_, until_ms)| *until_ms).max()?;
        if now_ms < until_ms {
            self.pause_until_ms = until_ms;
            return None;
        }
        let asked: Vec<Claimed> =
            self.cursor.doubted.iter().take(self.cursor.marks).map(|(row, _)| *row).collect();
        let ids: Vec<i64> = asked.iter().map(|row| row.remote_id).collect();
        self.flight = Flight::Marks(asked);
        Some(postgrest::read_history_by_id(&ids))
    }

    /// Rows that were there already: ours from an earlier request, or, after an old backup was
    /// restored here, others' with the same number: those get new numbers.
    pub(super) fn marks_read(
        &mut self,
        db: &Db,
        claimed: &[Claimed],
        result: &Result<Response, NetError>,
        judged: Judged<'_>,
        (now_ms, dice): (UnixMs, u64),
    ) -> Settled {
        let too_large = matches!(result, Err(error) if error.kind == NetErrorKind::TooLarge);
        let marks = match judged.map(|response| read::marks(&response.body)) {
            Ok(Some(marks)) => marks,
            _ if too_large && claimed.len() > 1 => {
                self.ask_once_more(claimed);
                self.cursor.marks = claimed.len() / 2;
                return Ok(Ok(()));
            }
            // One row, larger than any reply that is taken: its number must do.
            _ if too_large => Vec::new(),
            failed => {
                self.ask_once_more(claimed);
                return Ok(Err(failed.err().unwrap_or_else(odd_reply)));
            }
        };
        let (mut ours, mut others) = (Vec::with_capacity(claimed.len()), Vec::new());
        for row in claimed {
            let doubt = self.cursor.doubted.iter().position(|(it, _)| it.id == row.id);
            let doubt = doubt.map(|at| self.cursor.doubted.remove(at));
            let mut is_ours = too_large;
            match marks.iter().find(|mark| mark.id == row.remote_id) {
                Some(mark) => {
                    rows::with_row(db, row.id, &mut |here| is_ours = same(mark, here, row.fresh))?;
                }
                None if too_large => {}
                None if doubt.is_none_or(|(_, until_ms)| now_ms < until_ms) => {
                    let until_ms = doubt.map_or(now_ms + STATEMENT_MS, |(_, until_ms)| until_ms);
                    self.cursor.doubted.push((*row, until_ms));
                    continue;
                }
                None => {
                    // Neither taken nor there, twice: nothing proves that it ever arrived.
                    self.set_aside(db, row, SWALLOWED)?;
                    continue;
                }
            }
            if is_ours { ours.push(*row) } else { others.push(row.id) }
        }
        self.report.history.already += count(&ours);
        self.cursor.arrived.append(&mut ours);
        if !others.is_empty() {
            self.write_down_arrived(db)?;
            // What else was found there was found under the old names: it is sent once more.
            self.cursor.found_there.clear();
            self.cursor.back();
            self.cursor.begin(names::redraw(db, self.cursor.names, dice)?);
            for id in others {
                rows::history_unname(db, id)?;
            }
        }
        Ok(self.blame_table(SWALLOWED))
    }

    /// A reading that gave nothing is repeated; a second look finds its rows among the doubted.
    fn ask_once_more(&mut self, claimed: &[Claimed]) {
        let doubted = &self.cursor.doubted;
        let first = claimed.iter().filter(|row| doubted.iter().all(|(it, _)| it.id != row.id));
        self.cursor.found_there.extend(first);
    }
}

/// Whether the row there is the one here. A row sent for the first time cannot be there yet, so it
/// must match in full; else a trigger of the operator's may have changed its time, or its texts.
fn same(mark: &HistoryMark, local: &HistoryRow<'_>, fresh: bool) -> bool {
    // As it was written there: years beyond RFC 3339 are clamped.
    let written_us = parse_written(&rfc3339_us(local.created_us)).map(|at| at.unix_us(0));
    let text = |here, there: &Option<String>| {
        postgrest::as_sent(here, usize::MAX).as_deref() == there.as_deref()
    };
    let texts = || text(local.message, &mark.message) && text(local.response, &mark.response);
    let made = Some(mark.created_us) == written_us;
    mark.chat == local.chat.0 && mark.user == local.user.0 && (made || (!fresh && texts()))
}
