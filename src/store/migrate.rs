//! Owns: the steps from each schema to the next, and the refusal of one that is newer than this program.
//! May not: know what the tables are for.
//! Invariant: each step is one transaction with its number and the program that took it; killed anywhere, the
//! database is at one schema or the next.

use super::{PROGRAM, Result, StoreError, meta};
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Append-only: (name, statements). A number once released never changes.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_init", include_str!("../../migrations/sqlite/0001_init.sql")),
    ("0002_sent_mark", include_str!("../../migrations/sqlite/0002_sent_mark.sql")),
];
/// `meta`: the version of the program that brought the schema to where it is; that one can read it.
pub const MIGRATED_BY: &str = "migrated_by";
/// A version is no longer than this.
const VERSION_BYTES_MAX: usize = 32;

/// The schema's number.
///
/// # Errors
/// [`StoreError::Newer`] for one that this program does not know; as SQLite says.
pub(super) fn check(db: &Connection) -> Result<usize> {
    check_for(db, MIGRATIONS.len())
}

/// Takes every step that is missing, each in one transaction.
///
/// # Errors
/// [`StoreError::Newer`] for a schema that this program does not know, and what the steps meet.
pub fn up(db: &mut Connection, steps: &[(&str, &str)], program: &str) -> Result<()> {
    loop {
        // Begun as a writer before the version is read: two programs may start at once.
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = check_for(&tx, steps.len())?;
        let Some((_, sql)) = steps.get(version) else { return Ok(()) };
        tx.execute_batch(sql)?;
        sign(&tx, version + 1, program)?;
        tx.commit()?;
    }
}

/// All tables in an empty database, within the caller's transaction.
///
/// # Errors
/// As SQLite says.
pub(super) fn make(tx: &Transaction<'_>) -> Result<()> {
    for (_, sql) in MIGRATIONS {
        tx.execute_batch(sql)?;
    }
    sign(tx, MIGRATIONS.len(), PROGRAM)
}

/// Writes down which schema it is now, and who made it so.
pub(super) fn sign(tx: &Transaction<'_>, version: usize, program: &str) -> Result<()> {
    meta::set(tx, MIGRATED_BY, program)?;
    tx.pragma_update(None, "user_version", u32::try_from(version).unwrap_or(u32::MAX))?;
    Ok(())
}

fn check_for(db: &Connection, known: usize) -> Result<usize> {
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = found as usize;
    if found > known {
        return Err(StoreError::Newer { found, known, by: migrated_by(db) });
    }
    Ok(found)
}

/// Who made the schema; nothing where a database does not say so, or says something that is no version.
fn migrated_by(db: &Connection) -> Option<String> {
    // In a schema of the future the table itself may look different.
    let text = meta::get(db, MIGRATED_BY).ok().flatten()?;
    let is_version = text.starts_with(|first: char| first.is_ascii_digit())
        && text.len() <= VERSION_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
    is_version.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FILE_NAME, Store};
    use std::fs;
    use std::path::{Path, PathBuf};

    const MORE: &[(&str, &str)] = &[
        MIGRATIONS[0],
        MIGRATIONS[1],
        ("0003_more", "CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT"),
        ("0004_most", "ALTER TABLE more ADD COLUMN text TEXT NOT NULL DEFAULT 'as before'"),
    ];

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("svs-migrate-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn fact(db: &Connection, name: &str) -> Option<String> {
        meta::get(db, name).unwrap()
    }

    #[test]
    fn each_step_is_taken_once_and_signed() {
        let mut db = Connection::open_in_memory().unwrap();
        for (steps, program) in [(&MORE[..1], "0.1.0"), (&MORE[..1], "0.1.1"), (MORE, "0.9.0")] {
            up(&mut db, steps, program).unwrap();
            assert_eq!(check_for(&db, 9).unwrap(), steps.len());
        }
        assert_eq!(fact(&db, MIGRATED_BY).as_deref(), Some("0.9.0"));
        // One that opens it without a step to take is not needed to read it.
        up(&mut db, MORE, "1.0.0").unwrap();
        assert_eq!(fact(&db, MIGRATED_BY).as_deref(), Some("0.9.0"));
    }

    #[test]
    fn a_step_that_fails_leaves_the_schema_before_it() {
        let mut db = Connection::open_in_memory().unwrap();
        let steps = [MORE[0], ("0002_bad", "CREATE TABLE more (id INTEGER); DELETE FROM nowhere")];
        assert!(up(&mut db, &steps, "0.9.0").is_err());
        assert_eq!((check_for(&db, 9).unwrap(), fact(&db, MIGRATED_BY)), (1, Some("0.9.0".into())));
        up(&mut db, MORE, "0.9.1").unwrap();
        assert_eq!(check_for(&db, 9).unwrap(), MORE.len());
    }

    #[test]
    fn the_program_that_is_needed_is_named_where_it_is_known() {
        let sign_by = |text: &str| format!("UPDATE meta SET value = '{text}'");
        let long = "9".repeat(33);
        for (sql, want) in [
            (sign_by("0.9.0"), Some("0.9.0")),
            (sign_by("1.0.0-rc.1+musl"), Some("1.0.0-rc.1+musl")),
            (sign_by(""), None),
            (sign_by("soon"), None),
            (sign_by("1.0\x1b[31m"), None),
            (sign_by(&long), None),
            ("DELETE FROM meta".to_owned(), None),
            ("DROP TABLE meta".to_owned(), None),
            ("ALTER TABLE meta RENAME COLUMN value TO worth".to_owned(), None),
        ] {
            let mut db = Connection::open_in_memory().unwrap();
            up(&mut db, MORE, "0.9.0").unwrap();
            db.execute_batch(&sql).unwrap();
            let Err(StoreError::Newer { found: 4, known: 2, by }) = check(&db) else {
                panic!("{sql}: taken")
            };
            assert_eq!(by.as_deref(), want, "{sql}");
        }
    }

    /// As a killed newer program leaves it: with a log beside it.
    fn newer(dir: &Path) {
        let made = scratch("making");
        let mut store = Store::open(&made).unwrap();
        up(&mut store.db, MORE, "0.9.0").unwrap();
        for end in ["", "-wal"] {
            let name = format!("{FILE_NAME}{end}");
            fs::copy(made.join(&name), dir.join(&name)).unwrap();
        }
        drop(store);
        fs::remove_dir_all(&made).unwrap();
    }

    #[test]
    fn a_newer_database_is_left_as_it_is_byte_for_byte() {
        let dir = scratch("newer");
        newer(&dir);
        let bytes =
            || ["", "-wal"].map(|end| fs::read(dir.join(format!("{FILE_NAME}{end}"))).unwrap());
        let before = bytes();
        assert!(!before[1].is_empty());
        for opened in [Store::open(&dir), Store::open_existing(&dir), Store::open_read_only(&dir)] {
            let told = opened.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(told.contains("install svs-bot 0.9.0 or newer"), "{told}");
            assert!(told.contains(&format!("this is svs-bot {PROGRAM}")), "{told}");
            assert!(bytes() == before);
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
