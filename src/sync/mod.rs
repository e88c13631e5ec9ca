//! Owns: one synchronisation with Supabase, as steps: the `sync` command and the daemon drive the same.
//! May not: open sockets, read a clock, wait: it says what to ask and how long to pause.
//! Invariant: whatever is repeated, lost, late or killed, a row arrives once: a request is handed out
//! only for rows whose remote ids the same transaction wrote down, and only its reply settles them.
//!
//! The way of a run: lease → people to erase → rows of unknown outcome → `chat_history` in batches →
//! `user_registry` → done. What a table's refusal stops is that table; the rest goes on.

mod drive;
mod erase;
mod history;
mod marks;
pub mod pull;
mod registry;
pub mod report;

use crate::store::sync::{self as rows, Claimed, Db, Lease, Table};
use crate::store::{Durability, Result, meta, names};
use crate::types::row::RegistryRow;
use crate::types::{MINUTE_MS, Now, SECOND_MS, UnixMs};
use crate::wire::postgrest::{self, fault, fault::Fault};
use crate::wire::{NetError, Request, Response};
pub use drive::{Outside, Reply, Tell, drive};
use erase::Erasing;
use registry::Pairs;
use report::{Report, Trouble};

/// How long the lease lasts unless renewed.
const LEASE_MS: i64 = 200 * SECOND_MS;
/// What is left of it at least when a step begins: longer than one request and one pause together.
const LEASE_LEFT_MS: i64 = 170 * SECOND_MS;
/// The longest that a request takes from connecting to its last byte: some seconds to connect, and
/// [`postgrest::TIMEOUT_MS`] for each of sending head and body, and receiving head and body.
const REQUEST_MS: i64 = 10 * SECOND_MS + 4 * postgrest::TIMEOUT_MS.cast_signed();
/// Longest pause inside a run; what asks for more ends the run.
const PAUSE_MS_MAX: i64 = 30 * SECOND_MS;
/// First pause after a failure; doubles.
const PAUSE_MS_MIN: i64 = 500;
/// How often the pause after a statement that took too long doubles.
const BREATHE_DOUBLINGS: u32 = 4;
/// Failures in a row after which a run ends; a timeout counts twice.
const FAILURES_MAX: u32 = 4;
/// Rows refused in a row, none accepted between, after which the table is to blame and not the rows.
const REFUSED_MAX: u32 = 20;
/// After this long no request of ours can still commit: the API cuts statements at 60 s, the
/// database at 2 min.
const LATE_MS: i64 = 10 * MINUTE_MS;
/// Facts for `status` and `check`: when all was last sent.
pub const LAST_SUCCESS: &str = "sync_last_success_ms";
/// The text of the last trouble; empty after a success.
pub const LAST_ERROR: &str = "sync_last_error";
/// When the API cuts a statement (api-reference C4).
const STATEMENT_MS: i64 = MINUTE_MS;
// A request leaves with this much of the lease left, or, when it overtakes one, with a request less.
const _: () = assert!(STATEMENT_MS + PAUSE_MS_MAX <= LEASE_LEFT_MS);
const _: () = assert!(STATEMENT_MS + REQUEST_MS <= LEASE_LEFT_MS);
/// A request that overtakes leaves with this much of the lease left: its own time, and a statement's.
const OVERTAKE_LEFT_MS: i64 = LEASE_LEFT_MS - REQUEST_MS;
const _: () = assert!(OVERTAKE_LEFT_MS >= STATEMENT_MS);

/// How a run is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Who holds the lease: [`rows::holder_name`] of `daemon` or `sync`.
    pub holder: String,
    /// `SYNC_BATCH_ROWS`
    pub rows_max: usize,
    /// `SYNC_BATCH_BYTES`
    pub bytes_max: usize,
    /// Try rows again that were set aside.
    pub retry_parked: bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Commit with [`Durability::Disk`], carry this out, then [`SyncRun::settle`] its result.
    Call(Request),
    /// Commit, and ask again at this instant.
    Wait {
        /// When.
        until_ms: UnixMs,
    },
    /// Commit; [`SyncRun::report`] is complete.
    Finished,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begin,
    Erase,
    Unsure,
    History,
    Registry,
    End,
}

/// Whose the lease is.
#[derive(Debug, PartialEq, Eq)]
enum Hold {
    /// Ours, as it has been since this run began.
    Kept,
    /// Ours again; in between it was not.
    Anew,
    Others(String),
}

/// What the request in flight will settle.
#[derive(Debug)]
enum Flight {
    None,
    Erase(Erasing),
    Unsure(Vec<Claimed>),
    History(Vec<Claimed>),
    Marks(Vec<Claimed>),
    Insert(Vec<RegistryRow>),
    Read(Vec<RegistryRow>, String),
    Swap(RegistryRow),
}

/// One synchronisation. Drop it when its transaction was rolled back and begin anew: nothing in it
/// is not in the database as well.
#[derive(Debug)]
pub struct SyncRun {
    options: Options,
    phase: Phase,
    flight: Flight,
    /// Rows of a request whose reply is in and not settled, because the next one went first.
    behind: Option<Vec<Claimed>>,
    report: Report,
    started_ms: Option<UnixMs>,
    newest: i64,
    cursor: history::Cursor,
    /// `id` is `generated always` there: the remote id goes into `metadata`.
    generated: bool,
    failures: u32,
    /// Requests in a row that were too much for the database, none accepted between.
    slow: u32,
    /// The last one was, and fewer rows are tried after a pause.
    is_slow: bool,
    refused: u32,
    pause_until_ms: UnixMs,
    /// When the lease ends unless renewed; 0 before it is first taken.
    lease_until_ms: UnixMs,
    pairs: Pairs,
    /// An erasure that is begun: the step that is next.
    erasing: Option<Erasing>,
    ended: bool,
}

impl SyncRun {
    /// A run that has not begun.
    pub fn new(options: Options) -> Self {
        let cursor = history::Cursor::new(options.rows_max, options.bytes_max);
        Self {
            options,
            phase: Phase::Begin,
            flight: Flight::None,
            behind: None,
            report: Report::default(),
            started_ms: None,
            newest: 0,
            cursor,
            generated: false,
            failures: 0,
            slow: 0,
            is_slow: false,
            refused: 0,
            pause_until_ms: 0,
            lease_until_ms: 0,
            pairs: Pairs::default(),
            erasing: None,
            ended: false,
        }
    }

    /// What was done so far; complete after [`Step::Finished`].
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The next step. `dice` is any 64 random bits.
    ///
    /// # Errors
    /// As SQLite says; drop the run then.
    pub fn next(&mut self, db: &Db, now: Now, dice: u64) -> Result<Step> {
        let now_ms = now.unix_ms;
        let started_ms = *self.started_ms.get_or_insert(now_ms);
        self.report.took_ms = now_ms.saturating_sub(started_ms);
        if self.ended {
            return Ok(Step::Finished);
        }
        if let Hold::Others(other) = self.hold(db, now_ms, dice)? {
            self.write_down_arrived(db)?;
            if !other.starts_with("daemon") {
                let text = format!("sync: `{other}` is just doing it: try again when it is done");
                self.report.blame(Trouble { kind: "busy", text, stop: false });
            }
            self.report.held_by = Some(other);
            self.count(db)?;
            self.ended = true;
            return Ok(Step::Finished);
        }
        if now_ms < self.pause_until_ms {
            return Ok(Step::Wait { until_ms: self.pause_until_ms });
        }
        // Bounded: every turn goes to a later phase or hands out a request.
        loop {
            let request = match self.phase {
                Phase::Begin => self.begin(db, dice)?,
                Phase::Erase => self.erase(db, now_ms)?,
                Phase::Unsure => self.unsure(db, now_ms)?,
                Phase::History => self.history(db, now_ms, dice)?,
                Phase::Registry => self.registry(db)?,
                Phase::End => {
                    self.end(db, now_ms)?;
                    return Ok(Step::Finished);
                }
            };
            if let Some(request) = request {
                self.report.requests += 1;
                return Ok(Step::Call(request));
            }
            if now_ms < self.pause_until_ms {
                return Ok(Step::Wait { until_ms: self.pause_until_ms });
            }
            self.advance();
        }
    }

    /// What [`SyncRun::prepare`] should be committed with: with [`Durability::Disk`] it also names rows.
    pub fn wants(&self) -> Durability {
        let names = self.phase == Phase::History && self.cursor.is_short_of_names(self.newest);
        if names { Durability::Disk } else { Durability::Process }
    }

    /// Work for the time until the reply is in, for a caller that has nothing else to do; none of it is
    /// needed. Commit with `durability`.
    ///
    /// # Errors
    /// As SQLite says; drop the run then, once the reply is in.
    pub fn prepare(&mut self, db: &Db, durability: Durability, now: Now, dice: u64) -> Result<()> {
        let is_kept = self.hold(db, now.unix_ms, dice)? == Hold::Kept;
        if is_kept && self.phase == Phase::History {
            self.prepare_history(db, durability == Durability::Disk, dice)?;
        }
        self.write_down_arrived(db)
    }

    /// The request that [`SyncRun::prepare`] has made, when the one under way was carried out: to be sent
    /// before the reply is settled, which is the next thing to do. Its rows are others, so whatever the reply
    /// says of single rows does not touch it. None where the lease, as it was last read, does not last for it.
    pub fn overtake(&mut self, reply: &Reply, now: Now) -> Option<Request> {
        let is_done = matches!(reply, Ok(reply) if (200..300).contains(&reply.status));
        // Only a batch may be overtaken: what else is under way would be judged by the batch's own reply.
        let is_batch = matches!(self.flight, Flight::History(_));
        let lasts = self.lease_until_ms - now.unix_ms >= OVERTAKE_LEFT_MS;
        if !is_done || !is_batch || !lasts || self.behind.is_some() {
            return None;
        }
        let request = self.hand_out_ready()?;
        self.report.requests += 1;
        Some(request)
    }

    /// What became of a request: the one that was overtaken, else that which [`SyncRun::next`] handed out.
    ///
    /// # Errors
    /// As SQLite says; drop the run then.
    pub fn settle(
        &mut self,
        db: &Db,
        result: &std::result::Result<Response, NetError>,
        now: Now,
        dice: u64,
    ) -> Result<()> {
        // Others may have sent, read and renamed the same rows: what this reply says of them is as good as
        // lost, and is found out anew.
        if self.hold(db, now.unix_ms, dice)? != Hold::Kept {
            return Ok(());
        }
        let flight = match self.behind.take() {
            Some(claimed) => Flight::History(claimed),
            None => std::mem::replace(&mut self.flight, Flight::None),
        };
        let table = match &flight {
            Flight::None => return Ok(()),
            Flight::Erase(step) => step.table(),
            Flight::Unsure(_) | Flight::History(_) | Flight::Marks(_) => Table::History,
            Flight::Insert(_) | Flight::Read(..) | Flight::Swap(_) => Table::Registry,
        };
        let ours = match table {
            Table::History => postgrest::HISTORY_COLUMNS,
            Table::Registry => postgrest::REGISTRY_COLUMNS,
        };
        let judged = fault::judge(result, table.remote(), ours);
        let is_accepted = judged.is_ok();
        let unclear = fault::may_be_done(result);
        let found = match flight {
            Flight::None => Ok(()),
            Flight::Erase(step) => self.erased(db, step, judged, now.unix_ms)?,
            Flight::Unsure(claimed) => self.unsure_read(db, &claimed, judged)?,
            Flight::History(claimed) => self.history_sent(db, claimed, judged, unclear)?,
            Flight::Marks(claimed) => {
                self.marks_read(db, &claimed, result, judged, (now.unix_ms, dice))?
            }
            Flight::Insert(pairs) => self.inserted(db, &pairs, judged, unclear)?,
            Flight::Read(pairs, after) => self.registry_read(db, &pairs, &after, judged)?,
            Flight::Swap(row) => self.swapped(db, &row, judged, unclear)?,
        };
        match found {
            Err(fault) => self.suffer(fault, now.unix_ms, dice),
            // A success that does not say what is wanted is none.
            Ok(()) if is_accepted => (self.failures, self.slow) = (0, 0),
            Ok(()) if std::mem::take(&mut self.is_slow) => self.breathe(now.unix_ms, dice),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Asks for the lease. Where it is not the one that this run has had all along, what the run holds ready
    /// or under way is let go, for others may have changed what it was made from.
    fn hold(&mut self, db: &Db, now_ms: UnixMs, dice: u64) -> Result<Hold> {
        let holder = &self.options.holder;
        let (hold, until_ms) = match rows::take_lease(db, holder, now_ms, LEASE_MS, LEASE_LEFT_MS)?
        {
            Lease::Kept { until_ms } => (Hold::Kept, until_ms),
            Lease::Taken { until_ms } if self.lease_until_ms == 0 => (Hold::Kept, until_ms),
            Lease::Taken { until_ms } => (Hold::Anew, until_ms),
            Lease::Others(other) => {
                (Hold::Others(rows::holder_shown(&other).to_owned()), self.lease_until_ms)
            }
        };
        self.lease_until_ms = until_ms;
        if hold != Hold::Kept {
            (self.flight, self.behind, self.erasing) = (Flight::None, None, None);
            self.pairs = Pairs::default();
            if hold == Hold::Anew && self.phase != Phase::Begin {
                self.cursor.begin_anew(names::load(db, dice)?);
            }
        }
        Ok(hold)
    }

    /// Gives the lease back when a run is dropped before its end.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn abandon(&self, db: &Db) -> Result<()> {
        rows::end_lease(db, &self.options.holder)
    }

    fn advance(&mut self) {
        self.phase = match self.phase {
            Phase::Begin => Phase::Erase,
            Phase::Erase => Phase::Unsure,
            Phase::Unsure => Phase::History,
            Phase::History => Phase::Registry,
            Phase::Registry | Phase::End => Phase::End,
        };
        self.refused = 0;
        self.failures = 0;
    }

    fn begin(&mut self, db: &Db, dice: u64) -> Result<Option<Request>> {
        self.cursor.begin(names::load(db, dice)?);
        self.cursor.resume(db)?;
        self.newest = rows::newest_id(db)?;
        for table in Table::ALL {
            if self.options.retry_parked {
                rows::unpark(db, table)?;
            }
            let (waiting, parked) = rows::backlog(db, table)?;
            self.report.total += waiting;
            self.report.table(table).parked_before = parked;
        }
        Ok(None)
    }

    /// What a fault means for the run: pause, leave the table, or end.
    fn suffer(&mut self, fault: Fault, now_ms: UnixMs, dice: u64) {
        match fault {
            Fault::Later { after_ms, kind, why } => {
                self.pause(1, after_ms, kind, why, now_ms, dice);
            }
            Fault::Shrink { why, .. } => self.pause(2, 0, "unreachable", why, now_ms, dice),
            Fault::Stop { kind, why, all } => {
                self.report.blame(Trouble { kind, text: why, stop: true });
                if all {
                    self.phase = Phase::End;
                } else {
                    self.advance();
                }
            }
            Fault::Row { why } => {
                let text = format!("supabase: the request is refused ({why}): see `svs-bot check`");
                self.report.blame(Trouble { kind: "refused", text, stop: true });
                self.advance();
            }
            Fault::Generated => self.generated = true,
        }
    }

    fn pause(
        &mut self,
        weight: u32,
        after_ms: i64,
        kind: &'static str,
        why: String,
        now_ms: UnixMs,
        dice: u64,
    ) {
        let step = PAUSE_MS_MIN << self.failures.min(10);
        let jitter = i64::try_from(dice % 1_000).unwrap_or(0) * step / 2_000;
        let pause_ms = (step + jitter).min(PAUSE_MS_MAX).max(after_ms);
        self.failures += weight;
        if self.failures >= FAILURES_MAX || pause_ms > PAUSE_MS_MAX {
            self.report.not_before_ms = if after_ms > 0 { now_ms + after_ms } else { 0 };
            self.report.blame(Trouble { kind, text: why, stop: false });
            self.phase = Phase::End;
            return;
        }
        self.pause_until_ms = now_ms + pause_ms;
    }

    /// A pause before fewer rows are tried at a database that is busy; it grows, and ends no run by itself,
    /// since the rows of a request can be halved only so often.
    fn breathe(&mut self, now_ms: UnixMs, dice: u64) {
        let step = PAUSE_MS_MIN << self.slow.min(BREATHE_DOUBLINGS);
        let jitter = i64::try_from(dice % 1_000).unwrap_or(0) * step / 2_000;
        self.slow += 1;
        self.pause_until_ms = now_ms + step + jitter;
    }

    fn end(&mut self, db: &Db, now_ms: UnixMs) -> Result<()> {
        self.ended = true;
        self.write_down_arrived(db)?;
        self.cursor.remember(db)?;
        self.count(db)?;
        let waiting = self.report.history.pending + self.report.registry.pending;
        if waiting > 0 && self.report.error.is_none() && self.has_left_rows(db)? {
            let text = "supabase: some rows wait for requests whose outcome is unknown: they are tried again later".to_owned();
            self.report.blame(Trouble { kind: "busy", text, stop: false });
        }
        match &self.report.error {
            None => meta::set(db, LAST_SUCCESS, &now_ms.to_string())?,
            Some(error) => meta::set(db, LAST_ERROR, &error.text)?,
        }
        if self.report.error.is_none() {
            meta::set(db, LAST_ERROR, "")?;
        }
        rows::end_lease(db, &self.options.holder)
    }

    /// Whether rows wait that this run should have sent; people may have talked on meanwhile.
    fn has_left_rows(&self, db: &Db) -> Result<bool> {
        Ok(rows::waits_until(db, self.newest)? || self.pairs.left_any())
    }

    fn count(&mut self, db: &Db) -> Result<()> {
        for table in Table::ALL {
            self.report.table(table).pending = rows::backlog(db, table)?.0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
