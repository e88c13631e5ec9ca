//! Owns: `chat_history` in batches that shrink and grow, the hunt for a refused row, the fallback for
//! tables that refuse explicit ids.
//! May not: settle a row without a reply that proves it.

use super::{Flight, LATE_MS, REFUSED_MAX, SyncRun};
use crate::store::names::{self, Names};
use crate::store::sync::{self as rows, Claimed, Db, Table};
use crate::store::{Result, meta};
use crate::types::UnixMs;
use crate::wire::postgrest::{self, Batch, fault::Fault, read};
use crate::wire::{Request, Response};

/// Rows whose ids one reading request names; their list must fit a URL (api-reference C2).
const IDS_MAX: usize = 200;
/// Rows read back whole by one request.
const MARKS_MAX: usize = 50;
/// Rows named ahead by one write to the disk. Of as many it is unknown after a crash whether they were sent.
const NAMED_AHEAD: i64 = 100_000;
/// Fact: rows of a batch that the last run ended with, where that were fewer than the settings allow.
const ROWS_NOW: &str = "sync_rows_now";
/// Why a row is set aside that was accepted and is not there.
pub(super) const SWALLOWED: &str =
    "accepted and not there: look for a trigger or rule that drops rows";
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
    fn is_hunting(&self) -> bool {
        self.suspects > 0
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

pub(super) type Judged<'a> = std::result::Result<&'a Response, Fault>;
pub(super) type Settled = Result<std::result::Result<(), Fault>>;

/// A batch that was made while the one before it was under way.
#[derive(Debug)]
pub(super) struct Ready {
    claimed: Vec<Claimed>,
    request: Request,
}

/// Where a run stands in `chat_history`.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) size: Size,
    pub(super) names: Names,
    /// Local ids beyond this have not been claimed since the last time a batch was not taken whole.
    after: i64,
    /// The last local id that this run or an earlier one may have sent.
    tried: i64,
    ready: Option<Ready>,
    /// The body of a request that is done, for the next one.
    spare: String,
    /// Rows known to be there, not yet written down as such.
    pub(super) arrived: Vec<Claimed>,
    /// Rows that an insert found there, to be compared with ours, at most this many at a time.
    pub(super) found_there: Vec<Claimed>,
    pub(super) marks: usize,
    /// Rows that an insert found there and a reading did not, and when to read again: a replica that lags
    /// behind shows a row late.
    pub(super) doubted: Vec<(Claimed, UnixMs)>,
    /// What [`UNSURE_UNTIL`] was before the request under way.
    unsure_before_ms: UnixMs,
}

impl Cursor {
    pub(super) fn new(rows_max: usize, bytes_max: usize) -> Self {
        Self {
            size: Size::new(rows_max, bytes_max),
            names: Names::default(),
            after: 0,
            tried: 0,
            ready: None,
            spare: String::new(),
            arrived: Vec::new(),
            found_there: Vec::new(),
            marks: MARKS_MAX,
            doubted: Vec::new(),
            unsure_before_ms: 0,
        }
    }
    pub(super) fn begin(&mut self, names: Names) {
        self.names = names;
        self.tried = names.upto;
    }
    /// The same in mid-run: what was made or found before is made and found once more.
    pub(super) fn begin_anew(&mut self, names: Names) {
        self.begin(names);
        self.back();
        self.found_there.clear();
        self.doubted.clear();
    }
    /// Goes on with batches as small as the last run had to make them, or it would end where that one did.
    pub(super) fn resume(&mut self, db: &Db) -> Result<()> {
        let rows = meta::get_i64(db, ROWS_NOW)?.and_then(|rows| usize::try_from(rows).ok());
        if let Some(rows) = rows.filter(|rows| *rows > 0) {
            self.size.rows = rows.min(self.size.rows_max);
        }
        Ok(())
    }
    /// Writes down what [`Cursor::resume`] reads.
    pub(super) fn remember(&self, db: &Db) -> Result<()> {
        let is_small = self.size.rows < self.size.rows_max;
        let rows = if is_small { self.size.rows.to_string() } else { String::new() };
        if meta::get(db, ROWS_NOW)?.unwrap_or_default() == rows {
            return Ok(());
        }
        meta::set(db, ROWS_NOW, &rows)
    }
    /// Whether the next batch could be cut short because no more rows have names, although more wait.
    pub(super) fn is_short_of_names(&self, newest: i64) -> bool {
        let batch = i64::try_from(self.size.rows).unwrap_or(i64::MAX);
        self.names.upto < newest && self.names.upto.saturating_sub(self.after) < batch
    }
    /// Whatever was claimed and did not arrive is claimed again.
    pub(super) fn back(&mut self) {
        self.after = 0;
        self.ready = None;
    }
}

impl SyncRun {
    pub(super) fn history(
        &mut self,
        db: &Db,
        now_ms: UnixMs,
        dice: u64,
    ) -> Result<Option<Request>> {
        if !self.cursor.found_there.is_empty() {
            let at = self.cursor.found_there.len().min(self.cursor.marks);
            let rest = self.cursor.found_there.split_off(at);
            let asked = std::mem::replace(&mut self.cursor.found_there, rest);
            let ids: Vec<i64> = asked.iter().map(|row| row.remote_id).collect();
            self.flight = Flight::Marks(asked);
            return Ok(Some(postgrest::read_history_by_id(&ids)));
        }
        if self.cursor.doubted.len() >= REFUSED_MAX as usize {
            return Ok(self.look_again(now_ms));
        }
        if let Some(ready) = self.cursor.ready.take() {
            return Ok(Some(self.hand_out(ready)));
        }
        self.write_down_arrived(db)?;
        // Bounded: a turn without a batch names more rows, or goes back to the first, or is the last.
        loop {
            if let Some(ready) = self.claim(db)? {
                if self.generated {
                    // Nothing there refuses a second copy, so from here on the outcome is unknown.
                    rows::history_unsure(db, &ready.claimed, true)?;
                    self.cursor.unsure_before_ms = meta::get_i64(db, UNSURE_UNTIL)?.unwrap_or(0);
                    meta::set(db, UNSURE_UNTIL, &now_ms.saturating_add(LATE_MS).to_string())?;
                }
                return Ok(Some(self.hand_out(ready)));
            }
            if self.name_more(db, dice)? {
                continue;
            }
            if !self.cursor.doubted.is_empty() {
                return Ok(self.look_again(now_ms));
            }
            if self.cursor.after == 0 {
                return Ok(None);
            }
            self.cursor.after = 0;
        }
    }

    fn hand_out(&mut self, Ready { claimed, request }: Ready) -> Request {
        let last = claimed.last().map_or(0, |row| row.id);
        self.cursor.tried = self.cursor.tried.max(last);
        self.flight = Flight::History(claimed);
        request
    }

    /// Makes the next batch while one is under way. What it makes is as good as not made until it is
    /// handed out. With `may_name`, rows are named first, to be on the disk when they leave.
    pub(super) fn prepare_history(&mut self, db: &Db, may_name: bool, dice: u64) -> Result<()> {
        let Flight::History(flying) = &self.flight else { return Ok(()) };
        let last = flying.last().map_or(0, |row| row.id);
        // Where a reply sent the cursor back, the rows that are under way would be claimed again.
        let goes_on = self.cursor.after >= last && self.cursor.found_there.is_empty();
        if !goes_on || self.generated || self.cursor.size.is_hunting() {
            return Ok(());
        }
        if may_name && self.cursor.is_short_of_names(self.newest) {
            self.name_more(db, dice)?;
        }
        self.cursor.ready = self.claim(db)?;
        Ok(())
    }

    /// Hands out what was prepared; what is under way stays behind, to be settled.
    pub(super) fn hand_out_ready(&mut self) -> Option<Request> {
        let ready = self.cursor.ready.take()?;
        if let Flight::History(claimed) = std::mem::replace(&mut self.flight, Flight::None) {
            self.behind = Some(claimed);
        }
        Some(self.hand_out(ready))
    }

    /// Names the next rows that wait; false when there are none.
    fn name_more(&mut self, db: &Db, dice: u64) -> Result<bool> {
        let names = self.cursor.names;
        let Some(first) = rows::first_unsent(db, names.upto, self.newest)? else {
            return Ok(false);
        };
        let upto = first.saturating_add(NAMED_AHEAD).min(self.newest);
        self.cursor.names = names::extend(db, names, upto, dice)?;
        Ok(true)
    }

    /// Takes back what a carried-out request was written in.
    pub(super) fn reuse(&mut self, body: String) {
        self.cursor.spare = body;
    }

    pub(super) fn write_down_arrived(&mut self, db: &Db) -> Result<()> {
        let arrived = std::mem::take(&mut self.cursor.arrived);
        rows::history_sent(db, &arrived)
    }

    /// The next rows within what is named.
    fn claim(&mut self, db: &Db) -> Result<Option<Ready>> {
        let cursor = &mut self.cursor;
        let mut batch = Batch::within(std::mem::take(&mut cursor.spare), cursor.size.bytes);
        let id_column = !self.generated;
        let upto = cursor.names.upto.min(self.newest);
        let mut claimed = rows::claim_history(
            db,
            cursor.names,
            cursor.after,
            upto,
            cursor.size.claim(),
            false,
            &mut |row| batch.add_history(row, id_column),
        )?;
        let Some(last) = claimed.last().map(|row| row.id) else { return Ok(None) };
        for row in &mut claimed {
            row.fresh &= row.id > cursor.tried;
        }
        if !self.generated {
            cursor.after = last;
        }
        Ok(Some(Ready { claimed, request: batch.into_history_insert(id_column) }))
    }

    pub(super) fn history_sent(
        &mut self,
        db: &Db,
        claimed: Vec<Claimed>,
        judged: Judged<'_>,
        unclear: bool,
    ) -> Settled {
        if judged.is_err() {
            self.cursor.back();
            if self.generated && !unclear {
                rows::history_unsure(db, &claimed, false)?;
                self.outcome_is_known(db)?;
            }
        }
        let response = match judged {
            Ok(response) => response,
            Err(Fault::Row { why }) => return self.refused(db, &claimed, &why),
            Err(Fault::Shrink { never: true, why }) if claimed.len() == 1 => {
                return self.refused(db, &claimed, &why);
            }
            Err(fault @ Fault::Shrink { never, .. }) => {
                self.cursor.size.shrink(claimed.len());
                // Where it is certain that nothing was done, fewer are tried: at once when there were too
                // many for the gateway, after a pause when the database was busy.
                let certain = never || (!unclear && claimed.len() > 1);
                self.is_slow = certain && !never;
                return Ok(if certain { Ok(()) } else { Err(named(fault, &claimed)) });
            }
            Err(fault) => return Ok(Err(fault)),
        };
        let Some((mut new, found)) = split(&claimed, &response.body, self.generated) else {
            self.cursor.back();
            return Ok(Err(odd_reply()));
        };
        if self.generated {
            // Rows that it does not list keep their unknown outcome, and are looked up.
            rows::history_omitted(db, &found)?;
            self.outcome_is_known(db)?;
            take_ids(&mut new, &read::named_ids(&response.body).unwrap_or_default());
        }
        self.report.history.sent += count(&new);
        if !new.is_empty() {
            self.refused = 0;
        }
        self.cursor.arrived.append(&mut new);
        self.cursor.size.accepted(claimed.len());
        if !self.generated {
            self.cursor.found_there.extend(found);
        }
        Ok(Ok(()))
    }

    /// What the request under way did is known, so nobody has to wait for it: else a bot that talks on would
    /// never look up what an earlier one left unknown.
    fn outcome_is_known(&self, db: &Db) -> Result<()> {
        meta::set(db, UNSURE_UNTIL, &self.cursor.unsure_before_ms.to_string())
    }

    /// A refusal of one row sets it aside; of several, starts or goes on with the hunt by halves.
    fn refused(&mut self, db: &Db, claimed: &[Claimed], why: &str) -> Settled {
        let [row] = claimed else {
            self.cursor.size.suspects = claimed.len();
            return Ok(Ok(()));
        };
        self.cursor.size.suspects = 0;
        self.set_aside(db, row, why)?;
        Ok(self.blame_table(why))
    }

    /// After many rows in a row that did not get in, the table is to blame and the run is over for it.
    pub(super) fn blame_table(&self, why: &str) -> std::result::Result<(), Fault> {
        if self.refused < REFUSED_MAX {
            return Ok(());
        }
        let why = format!(
            "supabase: `chat_history` refuses every row ({why}): look at its constraints and triggers, then run `svs-bot sync --retry-parked`"
        );
        Err(Fault::Stop { kind: "refused", why, all: false })
    }

    /// Rows of unknown outcome in a table that refuses explicit ids: looked up by the id inside
    /// `metadata`, once no request can commit any more.
    pub(super) fn unsure(&mut self, db: &Db, now_ms: UnixMs) -> Result<Option<Request>> {
        let until_ms = meta::get_i64(db, UNSURE_UNTIL)?.unwrap_or(0);
        if now_ms < until_ms && until_ms <= now_ms.saturating_add(LATE_MS) {
            return Ok(None);
        }
        let (names, newest) = (self.cursor.names, self.newest);
        let claimed = rows::claim_history(db, names, 0, newest, IDS_MAX, true, &mut |_| true)?;
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
        let (mut there, missing): (Vec<Claimed>, Vec<Claimed>) =
            claimed.iter().partition(|row| ids.iter().any(|(ours, _)| *ours == row.remote_id));
        take_ids(&mut there, &ids);
        rows::history_sent(db, &there)?;
        self.report.history.already += count(&there);
        for row in &missing {
            if rows::is_omitted(db, row.id)? {
                // Neither listed nor there: sent again it would fare no better.
                self.set_aside(db, row, SWALLOWED)?;
            }
        }
        rows::history_unsure(db, &missing, false)?;
        Ok(self.blame_table(SWALLOWED))
    }

    /// Sets a row aside and names it.
    pub(super) fn set_aside(&mut self, db: &Db, row: &Claimed, why: &str) -> Result<()> {
        self.refused += 1;
        rows::park_history(db, row, why)?;
        self.report.name_parked(Table::History, &row.id.to_string(), why);
        Ok(())
    }
}

/// Rows of a table that gives ids of its own are known by those once they are there.
fn take_ids(claimed: &mut [Claimed], named: &[(i64, i64)]) {
    for row in claimed {
        if let Some((_, remote_id)) = named.iter().find(|(ours, _)| *ours == row.remote_id) {
            row.remote_id = *remote_id;
        }
    }
}

/// The rows that the reply lists as new, and those to be looked up there: the ones it leaves out, or all where
/// it has no body, which proves nothing, since the request asks for the list. `None` when it is no such list.
/// Where ids are `generated always`, rows are known by the ids inside `metadata`.
fn split(
    claimed: &[Claimed],
    body: &[u8],
    generated: bool,
) -> Option<(Vec<Claimed>, Vec<Claimed>)> {
    if generated {
        if read::ids(body)?.len() == claimed.len() {
            return Some((claimed.to_vec(), Vec::new()));
        }
        let named = read::named_ids(body)?;
        let is_listed = |row: &Claimed| named.iter().any(|(ours, _)| *ours == row.remote_id);
        return Some(claimed.iter().copied().partition(is_listed));
    }
    if body.is_empty() {
        return Some((Vec::new(), claimed.to_vec()));
    }
    let ids = read::ids(body)?;
    if ids.iter().eq(claimed.iter().map(|row| &row.remote_id)) {
        return Some((claimed.to_vec(), Vec::new()));
    }
    let ids: std::collections::BTreeSet<i64> = ids.into_iter().collect();
    Some(claimed.iter().partition(|row| ids.contains(&row.remote_id)))
}

/// The same fault, with the rows that met it: by their numbers here, as `status` and `export` know them.
fn named(fault: Fault, claimed: &[Claimed]) -> Fault {
    match (fault, claimed.first(), claimed.last()) {
        (Fault::Shrink { never, why }, Some(first), Some(last)) => {
            let why = format!("{why} (rows {} to {} of `history` here)", first.id, last.id);
            Fault::Shrink { never, why }
        }
        (fault, ..) => fault,
    }
}

pub(super) fn odd_reply() -> Fault {
    Fault::Later {
        after_ms: 0,
        kind: "unreachable",
        why: "supabase: the reply is not a list of rows: look at SUPABASE_URL, or at what stands between".to_owned(),
    }
}

pub(super) fn count(rows: &[Claimed]) -> i64 {
    i64::try_from(rows.len()).unwrap_or(i64::MAX)
}
