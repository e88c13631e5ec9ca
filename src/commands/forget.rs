//! Owns: `svs-bot forget`: a person's rows erased here, and noted for Supabase.
//! May not: lift a block: that the person may not use the bot stays known.

use super::{EXIT_OK, Failure, Outcome};
use crate::cli;
use crate::store::{Durability, Store, erase};
use crate::types::{Now, UserId};
use std::io::Write;
use std::path::Path;

/// Runs it.
///
/// # Errors
/// No database, or a stream that is closed.
pub fn run(args: &cli::Forget, data_dir: &Path, now: Now, out: &mut dyn Write) -> Outcome {
    if args.user <= 0 {
        return Err(Failure::usage("forget: it takes the numeric id of a person"));
    }
    let mut store = Store::open_existing(data_dir).map_err(Failure::failed)?;
    let gone = store
        .write(Durability::Disk, |db| erase::forget(db, UserId(args.user), now.unix_ms))
        .map_err(Failure::failed)?;
    writeln!(
        out,
        "forget: {gone} answered questions and all else of this person are erased here; Supabase follows at the next sync"
    )
    .map_err(|error| Failure::failed(format!("output: {error}")))?;
    Ok(EXIT_OK)
}
