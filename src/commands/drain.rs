//! Owns: `svs-bot drain`: asks the running daemon to finish everything, and watches until it has.
//! May not: answer anything itself (without a daemon, the caller runs one that only drains).

use super::{EXIT_LATER, EXIT_OK, Failure, Outcome, Place};
use crate::cli;
use crate::config;
use crate::daemon::lock;
use crate::json::Object;
use crate::store::{Durability, Store, inbox, meta, outbox, tell};
use crate::types::{MINUTE_MS, Now};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How long is waited when `--within` does not say.
const WITHIN_MS: i64 = 10 * MINUTE_MS;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Asks and waits; `None` when no daemon runs.
///
/// # Errors
/// Wrong use (exit 2), or the database refuses.
pub fn ask_daemon(
    args: &cli::Drain,
    place: &Place,
    now: &dyn Fn() -> Now,
    pause: &dyn Fn(Duration),
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Option<u8>, Failure> {
    let within_ms = match args.within.as_deref() {
        None => WITHIN_MS,
        Some(text) => config::duration_ms(text)
            .ok_or_else(|| Failure::usage(format!("--within: takes {}", config::DURATION_TAKES)))?,
    };
    if lock::holder(&place.data_dir).is_none() {
        return Ok(None);
    }
    let mut store = Store::open_existing(&place.data_dir).map_err(Failure::failed)?;
    let started_ms = now().unix_ms;
    store
        .write(Durability::Disk, |tx| meta::ask_daemon(tx, "drain", started_ms))
        .map_err(Failure::failed)?;
    let shows = std::io::stderr().is_terminal();
    loop {
        let left = left(&store, place)?;
        if lock::holder(&place.data_dir).is_none() {
            return finish(args.json, true, left, out).map(Some);
        }
        if now().unix_ms - started_ms >= within_ms {
            if !args.json {
                let _ = writeln!(
                    err,
                    "drain: not done yet: {left:?} left: the daemon goes on draining"
                );
            }
            return finish(args.json, false, left, out).map(Some);
        }
        if shows {
            let _ = write!(
                err,
                "\rdraining: {} questions, {} messages, {} rows ",
                left[0], left[1], left[2]
            );
        }
        pause(LOOK_EVERY);
    }
}

/// Says that a drain without a daemon is done.
///
/// # Errors
/// The database or stdout refuses.
pub fn finished(args: &cli::Drain, place: &Place, out: &mut dyn Write) -> Outcome {
    let store = Store::open_existing(&place.data_dir).map_err(Failure::failed)?;
    finish(args.json, true, left(&store, place)?, out)
}

fn left(store: &Store, place: &Place) -> Result<[u64; 3], Failure> {
    let db = store.connection();
    let rows = match place.config.supabase {
        Some(_) => tell::unsynced(db).map_err(Failure::failed)?,
        None => 0,
    };
    Ok([
        u64::from(inbox::pending(db).map_err(Failure::failed)?),
        u64::from(outbox::pending(db).map_err(Failure::failed)?),
        rows,
    ])
}

fn finish(json: bool, drained: bool, left: [u64; 3], out: &mut dyn Write) -> Outcome {
    let text = if json {
        let mut text = String::new();
        {
            let mut object = Object::new(&mut text);
            object.bool("ok", drained).bool("changed", true);
            let [inbox, outbox, unsynced] =
                left.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
            object.int("inbox", inbox).int("outbox", outbox).int("unsynced", unsynced);
        }
        text + "\n"
    } else if drained {
        "drained: everything is answered and sent; the daemon has ended\n".to_owned()
    } else {
        String::new()
    };
    out.write_all(text.as_bytes()).map_err(|error| Failure::failed(format!("writing: {error}")))?;
    Ok(if drained { EXIT_OK } else { EXIT_LATER })
}
