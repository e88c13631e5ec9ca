//! A database is brought from each earlier schema to the newest, and the power goes, or the process is killed, at
//! each change that this makes on the disk: what was there is there, and the next start goes on to the end.
//!
//! Steps like those to come follow the known ones here.

use crate::disk::{self, End};
use crate::plan::Dice;
use std::path::Path;
use std::process::Command;
use svs_bot::store::migrate::{MIGRATIONS, up};
use svs_bot::store::{FILE_NAME, Store};

const ROWS: i64 = 60;
/// A step that takes more changes than this has run away.
const CHANGES_MAX: u64 = 5_000;
/// Every change is met by a cut of power, but only some by a kill: each needs a process.
const KILL_EVERY: usize = 7;

/// A column, an index over rows, a table made from another, rows written anew, and something taken away.
const TO_COME: [(&str, &str); 3] = [
    (
        "a column and an index",
        "ALTER TABLE history ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm';
         CREATE INDEX history_mood ON history (mood, created_us)",
    ),
    (
        "a table out of rows",
        "CREATE TABLE shout (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
         INSERT INTO shout SELECT id, upper(message_text) FROM history",
    ),
    (
        "rows written anew",
        "UPDATE history SET message_text = message_text || '!', mood = 'loud';
         DROP INDEX history_mood",
    ),
];

fn steps() -> Vec<(&'static str, &'static str)> {
    MIGRATIONS.iter().chain(&TO_COME).copied().collect()
}

fn connect(dir: &Path) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(dir.join(FILE_NAME)).expect("a file that can be opened");
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").ok();
    db
}

/// The file of a database at this schema, with rows; nothing before the first schema.
fn at_schema(schema: usize) -> Vec<u8> {
    if schema == 0 {
        return Vec::new();
    }
    let dir = disk::scratch(schema as u64);
    let mut db = connect(&dir);
    up(&mut db, &steps()[..schema], "0.0.1").expect("steps on a sound disk");
    for n in 0..ROWS {
        db.execute(
            "INSERT INTO history (chat_id, user_id, created_us, message_text) VALUES (?1, 2, ?1, 'words ' || ?1)",
            [n],
        )
        .expect("a row of history");
    }
    drop(db);
    let bytes = std::fs::read(dir.join(FILE_NAME)).expect("the closed file");
    disk::clean(&dir);
    bytes
}

/// As a start does it: the released steps by the store itself, those to come after them.
fn start(dir: &Path) -> Result<(), String> {
    let found = rusqlite::Connection::open(dir.join(FILE_NAME))
        .and_then(|db| db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)));
    if found.is_ok_and(|found| found as usize <= MIGRATIONS.len()) {
        drop(Store::open(dir).map_err(|error| error.to_string())?);
    }
    up(&mut connect(dir), &steps(), "0.0.2").map_err(|error| error.to_string())
}

/// The newest schema, and all that was there before.
fn judge(dir: &Path, schema: usize, case: &str) {
    start(dir).unwrap_or_else(|why| panic!("{case}: the next start: {why}"));
    let db = connect(dir);
    let text = |sql: &str| -> String {
        db.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|why| panic!("{case}: {sql}: {why}"))
    };
    let rows = if schema == 0 { 0 } else { ROWS };
    for (sql, want) in [
        ("SELECT user_version || '' FROM pragma_user_version", steps().len().to_string()),
        ("SELECT value FROM meta WHERE key = 'migrated_by'", "0.0.2".to_owned()),
        ("PRAGMA integrity_check", "ok".to_owned()),
        ("SELECT count(*) || '' FROM history WHERE mood = 'loud'", rows.to_string()),
        (
            "SELECT count(*) || '' FROM history WHERE message_text = 'words ' || chat_id || '!'",
            rows.to_string(),
        ),
    ] {
        // A database that was at the newest schema already has nothing rewritten.
        if schema < steps().len() {
            assert_eq!(text(sql), want, "{case}: {sql}");
        }
    }
    if schema < MIGRATIONS.len() + 2 {
        assert_eq!(text("SELECT count(*) || '' FROM shout"), rows.to_string(), "{case}");
    }
}

/// A directory with this file in it, on a disk that has it synced.
fn laid_out(seed: u64, file: &[u8]) -> std::path::PathBuf {
    let dir = disk::scratch(seed);
    if !file.is_empty() {
        std::fs::write(dir.join(FILE_NAME), file).expect("room for a small file");
    }
    dir
}

#[test]
fn a_cut_of_power_at_any_change_of_a_migration_loses_nothing() {
    let mut cuts = 0;
    for schema in 0..steps().len() {
        let file = at_schema(schema);
        for after in 0.. {
            assert!(after < CHANGES_MAX, "schema {schema}: it does not end");
            let case = format!("from schema {schema}, power cut after {after} changes");
            let dir = laid_out(after, &file);
            disk::ends_after(after, End::Silence);
            let outcome = start(&dir);
            let cut = disk::has_ended();
            assert!(cut || outcome.is_ok(), "{case}: {outcome:?}");
            disk::cut_power(&dir, &mut Dice::new(after ^ (schema as u64) << 32));
            disk::heal();
            judge(&dir, schema, &case);
            disk::clean(&dir);
            if !cut {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 100, "{cuts} cuts: the disk was not asked");
}

#[test]
fn a_kill_at_any_change_of_a_migration_loses_nothing() {
    let mut kills = 0;
    for schema in 0..steps().len() {
        let file = at_schema(schema);
        for after in (schema as u64..).step_by(KILL_EVERY) {
            assert!(after < CHANGES_MAX, "schema {schema}: it does not end");
            let case = format!("from schema {schema}, killed after {after} changes");
            let dir = laid_out(1_000 + after, &file);
            let ended = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "migration::one_that_is_killed", "--ignored", "--nocapture"])
                .env("SIM_DIR", &dir)
                .env("SIM_AFTER", after.to_string())
                .output()
                .expect("a process");
            let killed = std::os::unix::process::ExitStatusExt::signal(&ended.status) == Some(9);
            assert!(killed || ended.status.success(), "{case}: {ended:?}");
            // The program that goes on is another one, over the files as they are.
            judge(&dir, schema, &case);
            disk::clean(&dir);
            if !killed {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 20, "{kills} kills");
}

/// The process that is killed.
#[test]
#[ignore = "a part of the test above, in a process of its own"]
fn one_that_is_killed() {
    let var = |name: &str| std::env::var(name).expect("set by the test above");
    disk::ends_after(var("SIM_AFTER").parse().expect("a number"), End::Kill);
    start(Path::new(&var("SIM_DIR"))).expect("killed, or done");
}
