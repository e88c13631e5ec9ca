//! Owns: `svs-bot sync`: one synchronisation, for cron and people (contract §3).
//! May not: say anything on exit 0 unless asked to or on a terminal.

use super::{EXIT_OK, Failure, Outcome, Place};
use crate::cli;
use crate::daemon::lock;
use crate::store::sync::{Db, Table, end_lease, holder_name, holder_process, lease_holder};
use crate::store::{Durability, Store, StoreError};
use crate::sync::report::{Report, TableReport, Trouble};
use crate::sync::{self, Options, Outside};
use std::io::Write;
use std::path::Path;

/// What a run reports when there is nothing to synchronise with or nothing to send.
fn nothing(args: &cli::Sync, text: &str, out: &mut dyn Write, err: &mut dyn Write) -> Outcome {
    if args.json {
        line(out, &Report::default().json())?;
    } else if args.verbose {
        line(err, text)?;
    }
    Ok(EXIT_OK)
}

/// Runs it. `terminal` says whether a person watches; `process` is this program's own id.
///
/// # Errors
/// The database, or a stream that is closed.
pub fn run(
    args: &cli::Sync,
    place: &Place,
    outside: &mut Outside<'_>,
    process: u32,
    terminal: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Outcome {
    if place.config.supabase.is_none() {
        return nothing(args, "sync: SUPABASE_URL is not set: everything stays here", out, err);
    }
    let mut store = match Store::open_existing(&place.data_dir) {
        Ok(store) => store,
        Err(StoreError::Missing(_)) => {
            return nothing(args, "sync: no database yet: nothing to send", out, err);
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    let now_ms = (outside.now)().unix_ms;
    store
        .write(Durability::Process, |db| free_dead_lease(db, &place.data_dir, now_ms))
        .map_err(Failure::failed)?;
    let options = Options {
        holder: holder_name("sync", process, (outside.dice)()),
        rows_max: usize::try_from(place.config.sync_batch_rows).unwrap_or(usize::MAX),
        bytes_max: usize::try_from(place.config.sync_batch_bytes).unwrap_or(usize::MAX),
        retry_parked: args.retry_parked,
    };
    let report = match sync::drive(&mut store, options, outside) {
        Ok(report) => report,
        Err(error) if args.json => Report {
            error: Some(Trouble { kind: "database", text: error.to_string(), stop: true }),
            ..Report::default()
        },
        Err(error) => return Err(Failure::failed(error)),
    };
    if args.json {
        line(out, &report.json())?;
        return Ok(report.exit_code());
    }
    say(&report, args.verbose || terminal, out, err)?;
    Ok(report.exit_code())
}

/// A holder that was killed does not keep the others waiting until its lease runs out.
fn free_dead_lease(db: &Db, data_dir: &Path, now_ms: i64) -> crate::store::Result<()> {
    let Some(holder) = lease_holder(db, now_ms)? else { return Ok(()) };
    let is_dead = if holder.starts_with("daemon ") {
        // Its process may be another container's, where it has a number of its own; its lock is seen from here.
        lock::holder(data_dir).is_none()
    } else {
        // Without /proc nobody can tell, and the lease runs out by itself.
        let proc = Path::new("/proc");
        let gone = |id: u32| proc.join("self").exists() && !proc.join(id.to_string()).exists();
        holder_process(&holder).is_some_and(gone)
    };
    if is_dead { end_lease(db, &holder) } else { Ok(()) }
}

fn line(to: &mut dyn Write, text: &str) -> Result<(), Failure> {
    writeln!(to, "{text}").map_err(|error| Failure::failed(format!("output: {error}")))
}

fn say(
    report: &Report,
    asked: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(holder) = &report.held_by {
        if asked || report.exit_code() != EXIT_OK {
            line(err, &format!("sync: `{holder}` is just doing it: nothing to do here"))?;
        }
        return Ok(());
    }
    if let Some(error) = &report.error {
        line(err, &error.text)?;
    }
    for name in &report.parked {
        line(err, &format!("sync: set aside: {name}"))?;
    }
    let parked = report.history.parked + report.registry.parked;
    if parked > 0 {
        line(
            err,
            &format!(
                "sync: {parked} rows were refused and set aside: mend the table, then `svs-bot sync --retry-parked`"
            ),
        )?;
    }
    if asked {
        for table in Table::ALL {
            line(out, &sentence(table, report.of(table)))?;
        }
    }
    Ok(())
}

fn sentence(table: Table, counts: &TableReport) -> String {
    let TableReport { sent, already, parked, parked_before, pending } = counts;
    format!(
        "{}: {sent} sent, {already} already there, {pending} waiting, {} set aside",
        table.remote(),
        parked + parked_before
    )
}
