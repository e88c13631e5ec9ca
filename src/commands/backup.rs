//! Owns: `svs-bot backup`: a consistent copy of the live database.
//! May not: overwrite anything.

use super::{EXIT_OK, Failure, Outcome};
use crate::cli;
use crate::store::Store;
use std::io::Write;
use std::path::Path;

/// Copies the database of `data_dir` to a new file, mode 0600, while the daemon may be running.
///
/// # Errors
/// There is no database, the file exists, or the disk says no.
pub fn run(args: &cli::Backup, data_dir: &Path, out: &mut dyn Write) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt;
    let target = Path::new(&args.file);
    let store = Store::open_existing(data_dir).map_err(Failure::failed)?;
    // SQLite copies into an empty file, and this one nobody else can read from the first byte on.
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(
        |error| {
            Failure::failed(format!(
                "{}: {error}: choose a new file in a writable place",
                args.file
            ))
        },
    )?;
    if let Err(error) = store.copy_to(target) {
        // Half a copy is worse than none.
        let _ = std::fs::remove_file(target);
        return Err(Failure::failed(error));
    }
    writeln!(out, "backup: {} written", args.file)
        .map_err(|error| Failure::failed(format!("writing: {error}")))?;
    Ok(EXIT_OK)
}
