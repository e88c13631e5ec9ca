//! Owns: when the daemon synchronises, and what it notes of how that went.
//! May not: know rows or requests: `sync` does, for the command as for the daemon.

use super::{Count, Phase, State, Step};
use crate::daemon::event::Job;
use crate::store::Db;
use crate::store::sync::Table;
use crate::store::{Result, status};
use crate::sync::report::Report;
use crate::sync::{self, Options, SyncRun};
use crate::types::{MINUTE_MS, Now, SECOND_MS};
use crate::wire::{NetError, Response};

/// The pace after a run that ended in trouble, where the interval is shorter.
const TROUBLE_MS: i64 = 30 * SECOND_MS;
/// While draining, runs follow each other no faster than this.
const DRAIN_PACE_MS: i64 = 2 * SECOND_MS;
/// A run that the operator must act on is tried again this rarely.
const STOPPED_MS: i64 = 5 * MINUTE_MS;

impl State {
    /// Whether this turn may hand out a request, whose rows must then be on the disk.
    pub(super) fn may_sync(&self, now: Now) -> bool {
        self.wants_sync() && self.live.sync_due_ms <= now.unix_ms
    }

    /// Whether a request is to be handed out when its time has come; else time need not wake the loop.
    pub(super) fn wants_sync(&self) -> bool {
        let live = &self.live;
        let able = self.config.supabase.is_some() && !self.dry_run && !live.sync_in_flight;
        able && !matches!(live.phase, Phase::Stopping { .. }) && live.end.is_none()
    }

    pub(super) fn start_sync(&mut self, db: &Db, step: &mut Step, now: Now) -> Result<()> {
        if self.dry_run {
            return self.tell_dry(db);
        }
        if !self.may_sync(now) {
            return Ok(());
        }
        let dice = self.roll_wide();
        let mut run = match self.sync_run.take() {
            Some(run) => run,
            None if !self.has_unsynced(db, now)? => {
                // Nothing to send is a success, and costs neither a request nor a sync of the disk.
                status::note_sync(db, now.unix_ms, None)?;
                self.live.sync_due_ms = self.next_sync_ms(&Report::default(), now);
                return Ok(());
            }
            None => SyncRun::new(Options {
                holder: self.sync_holder.clone(),
                rows_max: self.config.sync_batch_rows as usize,
                bytes_max: usize::try_from(self.config.sync_batch_bytes).unwrap_or(usize::MAX),
                retry_parked: false,
            }),
        };
        match run.next(db, now, dice)? {
            sync::Step::Call(request) => {
                self.live.sync_in_flight = true;
                step.jobs.push(Job::Sync(request));
                self.sync_run = Some(run);
            }
            sync::Step::Wait { until_ms } => {
                self.live.sync_due_ms = until_ms.max(now.unix_ms + 1);
                self.sync_run = Some(run);
            }
            sync::Step::Finished => self.sync_ended(db, run.report(), step, now)?,
        }
        Ok(())
    }

    /// What a dry run would have sent, as it becomes more.
    fn tell_dry(&mut self, db: &Db) -> Result<()> {
        if self.config.supabase.is_none() {
            return Ok(());
        }
        for (table, told) in Table::ALL.into_iter().zip(&mut self.dry_rows) {
            let (rows, _) = crate::store::sync::backlog(db, table)?;
            if rows > *told {
                let (name, more) = (table.remote(), rows - *told);
                log::info!(
                    target: "dry_run", method = name, rows = more;
                    "dry run: {more} rows of {name} not sent to Supabase"
                );
            }
            *told = rows;
        }
        Ok(())
    }

    pub(super) fn synced(
        &mut self,
        db: &Db,
        result: &std::result::Result<Response, NetError>,
        now: Now,
    ) -> Result<()> {
        self.live.sync_in_flight = false;
        let dice = self.roll_wide();
        // A run that a failed transaction ended is gone; its rows are found again by the next one.
        match self.sync_run.as_mut() {
            Some(run) => run.settle(db, result, now, dice),
            None => Ok(()),
        }
    }

    fn sync_ended(&mut self, db: &Db, report: &Report, step: &mut Step, now: Now) -> Result<()> {
        for table in Table::ALL {
            let of = report.of(table);
            step.counts.push(Count::Rows {
                table: table.remote(),
                sent: u64::try_from(of.sent).unwrap_or(0),
                already: u64::try_from(of.already).unwrap_or(0),
                parked: u64::try_from(of.parked).unwrap_or(0),
            });
        }
        for row in &report.parked {
            log::warn!(
                target: "sync.parked",
                "sync: {row}: set aside; `svs-bot sync --retry-parked` tries it again"
            );
        }
        let error = report.error.as_ref();
        if report.held_by.is_none() {
            status::note_sync(db, now.unix_ms, error.map(|trouble| trouble.text.as_str()))?;
        }
        match error {
            Some(trouble) if self.sync_trouble != trouble.text => {
                log::warn!(
                    target: "sync.failed", kind:% = trouble.kind;
                    "sync: {}: {}", trouble.kind, trouble.text
                );
                crate::store::meta::trouble(db, now.unix_ms, "sync", &trouble.text)?;
                self.sync_trouble.clone_from(&trouble.text);
            }
            None if !self.sync_trouble.is_empty() => {
                log::info!(target: "sync.recovered", "sync: works again");
                self.sync_trouble.clear();
            }
            _ => {}
        }
        self.live.sync_due_ms = self.next_sync_ms(report, now);
        Ok(())
    }

    fn next_sync_ms(&mut self, report: &Report, now: Now) -> i64 {
        let interval_ms = match self.config.sync_interval_ms {
            // Only cron's `sync` then, but a drain has to finish here.
            0 => i64::MAX / 4,
            interval_ms => interval_ms,
        };
        let wait_ms = match &report.error {
            _ if self.live.phase == Phase::Draining => DRAIN_PACE_MS,
            Some(trouble) if trouble.stop => interval_ms.max(STOPPED_MS),
            Some(_) => interval_ms.max(TROUBLE_MS),
            None => interval_ms,
        };
        let wait_ms = self.jitter_ms(wait_ms);
        now.unix_ms.saturating_add(wait_ms).max(report.not_before_ms)
    }

    /// Synchronises at the next turn, whatever the interval.
    pub(super) fn sync_now(&mut self, now: Now) {
        if self.sync_run.is_none() {
            self.live.sync_due_ms = now.unix_ms;
        }
    }

    /// Whether a drain has to wait for rows.
    pub(super) fn has_unsynced(&self, db: &Db, now: Now) -> Result<bool> {
        if self.config.supabase.is_none() || self.dry_run {
            return Ok(false);
        }
        if self.live.sync_in_flight || self.sync_run.is_some() {
            return Ok(true);
        }
        for table in Table::ALL {
            if crate::store::sync::backlog(db, table)?.0 > 0 {
                return Ok(true);
            }
        }
        Ok(crate::store::sync::due_erasure(db, now.unix_ms)?.is_some())
    }

    fn roll_wide(&mut self) -> u64 {
        u64::from(self.roll()) << 32 | u64::from(self.roll())
    }
}
