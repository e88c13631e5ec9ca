//! Owns: a damaged database: found out at the start, set aside, and what can be read of it saved.
//! May not: delete anything that was the bot's; take a refusal of the disk for damage.
//! Invariant: killed anywhere, the next start finds either the damaged file in its place, or the saved
//! one whole under `svs-bot.db.saved`.

use super::{
    FILE_NAME, Result, Store, StoreError, blames_data, has_log, meta, migrate, names, private,
};
use crate::types::{Now, SECOND_MS};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What was saved, until it takes the place of the damaged file.
const SAVED_NAME: &str = "svs-bot.db.saved";
/// Begins the name of a damaged database; its end is the second of the Unix clock.
const DAMAGED_NAME: &str = "svs-bot.db.damaged";
/// Beside a database that was found damaged while it was used.
const SUSPECT_NAME: &str = "svs-bot.db.suspect";
/// `meta`: rows saved; `-1` once owners have been told.
pub const SALVAGED: &str = "salvaged_rows";
/// A database up to here is read whole at every start: some milliseconds.
const READ_BYTES_MAX: u64 = 4 << 20;
/// One up to here after an end that left a log behind, as a kill or a cut of power does: a tenth of a second, and
/// seconds on a slow card. A larger one is read whole only where it is suspect.
const READ_UNCLEAN_BYTES_MAX: u64 = 64 << 20;
/// As much of the file's head as tells its length: up to the number of pages.
const HEAD_BYTES: usize = 32;
/// A head that says more is itself damaged.
const LENGTH_BYTES_MAX: u64 = 1 << 40;
/// Rows of one table that are read from one end.
const ROWS_MAX: usize = 100_000_000;

/// What became of a damaged database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// Where the damaged file lies now.
    pub aside: PathBuf,
    /// As SQLite says.
    pub damage: String,
    /// Rows that were saved.
    pub rows: u64,
    /// Tables of which at least one row may be missing.
    pub torn: Vec<String>,
}

/// Opens the database; a damaged one is set aside first, and what can be read of it saved. Only for
/// the daemon, which alone holds the data directory.
///
/// # Errors
/// As [`Store::open`], but for damage.
pub fn open(dir: &Path, dice: u64, now: Now) -> Result<(Store, Option<Salvage>)> {
    finish(dir, now)?;
    let was_killed = has_log(dir);
    let opened = if is_emptied(&dir.join(FILE_NAME)) && (was_killed || is_suspect(dir)) {
        // SQLite would take it for a new one, and remove the log.
        Err(StoreError::Damaged("the file is empty, and was not".to_owned()))
    } else {
        Store::open(dir).and_then(|store| look(dir, store, was_killed))
    };
    match opened {
        Ok(store) => {
            forget_suspicion(dir);
            Ok((store, None))
        }
        Err(error) if error.is_damage() => {
            let damage = match error {
                StoreError::Damaged(why) => why,
                StoreError::Sql(error) => error.to_string(),
                error => error.to_string(),
            };
            let salvage = save(dir, dice, damage, now)?;
            forget_suspicion(dir);
            Ok((Store::open(dir)?, Some(salvage)))
        }
        Err(error) => Err(error),
    }
}

/// Makes the next start read the whole database, however large it is.
pub fn suspect(dir: &Path) {
    // Without room for it the next start looks as usual.
    let _ = private::make(&dir.join(SUSPECT_NAME));
}

fn is_suspect(dir: &Path) -> bool {
    dir.join(SUSPECT_NAME).exists()
}

/// Nothing is left in it, though it is there.
fn is_emptied(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() == 0)
}

fn forget_suspicion(dir: &Path) {
    // There is none most of the time.
    let _ = fs::remove_file(dir.join(SUSPECT_NAME));
}

/// Reads all of it, where that takes no time or there is a reason.
fn look(dir: &Path, store: Store, was_killed: bool) -> Result<Store> {
    let bytes = fs::metadata(dir.join(FILE_NAME)).map_or(0, |file| file.len());
    let is_suspect = is_suspect(dir);
    if bytes > (if was_killed { READ_UNCLEAN_BYTES_MAX } else { READ_BYTES_MAX }) && !is_suspect {
        return Ok(store);
    }
    let how = if is_suspect { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
    let found: String = store.db.query_row(how, [], |row| row.get(0))?;
    if found == "ok" { Ok(store) } else { Err(StoreError::Damaged(found)) }
}

/// Copies what can be read, then changes the files' names.
fn save(dir: &Path, dice: u64, damage: String, now: Now) -> Result<Salvage> {
    let saved = dir.join(SAVED_NAME);
    let half_way = |error| StoreError::Io(saved.clone(), error);
    // Left by a salvage that was killed before it was whole.
    for left in [saved.clone(), dir.join(format!("{SAVED_NAME}-journal"))] {
        if left.exists() {
            fs::remove_file(&left).map_err(half_way)?;
        }
    }
    private::make(&saved).map_err(half_way)?;
    let path = dir.join(FILE_NAME);
    lengthen(&path).map_err(|error| StoreError::Io(path.clone(), error))?;
    let (rows, torn) = copy(&path, &saved, dice)?;
    fs::File::open(&saved).and_then(|file| file.sync_all()).map_err(half_way)?;
    let aside = finish(dir, now)?.unwrap_or_default();
    Ok(Salvage { aside, damage, rows, torn })
}

/// SQLite reads nothing of a file that is shorter than its head says: the missing end becomes a hole.
fn lengthen(path: &Path) -> std::io::Result<()> {
    let file = fs::File::options().read(true).write(true).open(path)?;
    let mut head = [0; HEAD_BYTES];
    if file.read_exact_at(&mut head, 0).is_err() || !head.starts_with(b"SQLite format 3\0") {
        return Ok(());
    }
    let [.., high, low] = *head.first_chunk::<18>().unwrap_or(&[0; 18]);
    let page = match u64::from(u16::from_be_bytes([high, low])) {
        1 => 65_536,
        bytes => bytes,
    };
    let [.., a, b, c, d] = head;
    let wanted = page.saturating_mul(u64::from(u32::from_be_bytes([a, b, c, d])));
    if file.metadata()?.len() < wanted && wanted <= LENGTH_BYTES_MAX {
        file.set_len(wanted)?;
    }
    Ok(())
}

/// Gives both files their names, from whichever step on; the path of the damaged one where it moved.
fn finish(dir: &Path, now: Now) -> Result<Option<PathBuf>> {
    let (path, saved) = (dir.join(FILE_NAME), dir.join(SAVED_NAME));
    let moved = |from: &Path, to: &Path| {
        fs::rename(from, to).map_err(|error| StoreError::Io(from.to_owned(), error))
    };
    if !is_marked(&saved) {
        return Ok(None);
    }
    let second = now.unix_ms / SECOND_MS;
    let aside = dir.join(format!("{DAMAGED_NAME}-{second}"));
    if path.exists() {
        moved(&path, &aside)?;
    }
    // Its log belongs to it, and must not meet the new file.
    for end in ["-wal", "-shm"] {
        let log = dir.join(format!("{FILE_NAME}{end}"));
        if log.exists() {
            moved(&log, &dir.join(format!("{DAMAGED_NAME}-{second}{end}")))?;
        }
    }
    moved(&saved, &path)?;
    Ok(Some(aside))
}

/// Whether the copy has been made to its end: the mark is committed with it.
fn is_marked(saved: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let marked = Connection::open_with_flags(saved, flags)
        .map_err(StoreError::from)
        .and_then(|db| meta::get(&db, SALVAGED));
    marked.is_ok_and(|mark| mark.is_some())
}

fn copy(from: &Path, to: &Path, dice: u64) -> Result<(u64, Vec<String>)> {
    let mut new = Connection::open_with_flags(
        to,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // One file, whole or nothing: it is renamed afterwards.
    new.pragma_update(None, "journal_mode", "DELETE")?;
    new.pragma_update(None, "synchronous", "FULL")?;
    new.pragma_update(None, "secure_delete", true)?;
    // Opening an empty file would remove its log, which is set aside with it.
    let from = if is_emptied(from) { Path::new(":memory:") } else { from };
    let old = Connection::open_with_flags(
        from,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let tx = new.transaction()?;
    migrate::make(&tx)?;
    let mut rows = 0;
    let mut torn = Vec::new();
    for table in texts(&tx, "SELECT name FROM sqlite_schema WHERE type = 'table'")? {
        if table.starts_with("sqlite_") {
            continue;
        }
        let (saved, is_whole) = copy_table(&old, &tx, &table)?;
        rows += saved;
        if !is_whole {
            torn.push(table);
        }
    }
    // A row that is gone may have been sent: its name in Supabase must not be given to another.
    let base = match meta::get_i64(&tx, names::BASE)? {
        None => names::base_by_rows(&tx)?,
        known => known,
    };
    if let Some(base) = base {
        let upto = i64::MAX - base;
        names::redraw(&tx, names::Names { base, upto }, dice)?;
    }
    meta::set(&tx, SALVAGED, &rows.to_string())?;
    tx.commit()?;
    Ok((rows, torn))
}

/// Reads from both ends until the damage; true when one way got through.
fn copy_table(old: &Connection, new: &Connection, table: &str) -> Result<(u64, bool)> {
    let quoted = |name: &String| format!("\"{name}\"");
    let columns = texts(new, &format!("SELECT name FROM pragma_table_info('{table}')"))?;
    let known = texts(old, &format!("SELECT name FROM pragma_table_info('{table}')"));
    // An older schema has fewer; a table that is not there at all cannot be told from a lost one.
    let Ok(known) = known else { return Ok((0, false)) };
    let columns: Vec<String> =
        columns.iter().filter(|name| known.contains(name)).map(quoted).collect();
    if columns.is_empty() {
        return Ok((0, false));
    }
    let keys = texts(
        new,
        &format!("SELECT name FROM pragma_table_info('{table}') WHERE pk > 0 ORDER BY pk"),
    )?;
    let order: Vec<String> = keys.iter().map(|name| format!("\"{name}\" DESC")).collect();
    let list = columns.join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO \"{table}\" ({list}) VALUES ({marks})");
    let mut insert = new.prepare(&insert)?;
    let mut saved = 0;
    // NOT INDEXED: an index that is damaged must not hide rows.
    for order in [String::new(), format!("ORDER BY {}", order.join(", "))] {
        let select = format!("SELECT {list} FROM \"{table}\" NOT INDEXED {order}");
        let Ok(mut select) = old.prepare(&select) else { continue };
        let Ok(mut found) = select.query([]) else { continue };
        for _ in 0..ROWS_MAX {
            let row = match found.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok((saved, true)),
                Err(_) => break,
            };
            let values: std::result::Result<Vec<rusqlite::types::Value>, _> =
                (0..columns.len()).map(|at| row.get(at)).collect();
            // A value that its column does not take is a torn one.
            let Ok(values) = values else { continue };
            match insert.execute(params_from_iter(values)) {
                Ok(count) => saved += count as u64,
                Err(error) if blames_data(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((saved, false))
}

fn texts(db: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::LOG_NAME;
    use super::*;
    use crate::store::Durability;

    const ROWS: i64 = 2_000;
    const NOW: Now = Now { unix_ms: 1_795_389_134_000 };

    /// A closed database with rows of some length.
    fn written(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("svs-salvage-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut store = Store::open(&dir).unwrap();
        store
            .write(Durability::Process, |tx| {
                names::load(tx, 77)?;
                for n in 0..ROWS {
                    tx.execute(
                        "INSERT INTO history (chat_id, user_id, created_us, message_text) VALUES (1, 2, ?1, ?2)",
                        (n, "words ".repeat(20)),
                    )?;
                }
                Ok(())
            })
            .unwrap();
        dir
    }

    fn rows(store: &Store) -> i64 {
        store.db.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_sound_database_stays_where_it_is() {
        let dir = written("sound");
        let (store, salvage) = open(&dir, 1, NOW).unwrap();
        assert_eq!((rows(&store), salvage), (ROWS, None));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3, "the database, its log and its index");
        drop(store);
        suspect(&dir);
        assert_eq!(open(&dir, 1, NOW).unwrap().1, None);
        assert!(!dir.join(SUSPECT_NAME).exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_can_be_read_of_a_damaged_one_is_saved() {
        type Damage = fn(&mut Vec<u8>);
        let kinds: [(&str, Damage, i64); 5] = [
            (
                "flipped",
                |bytes| bytes.iter_mut().skip(200_000).take(9_000).for_each(|it| *it ^= 0x5a),
                1_000,
            ),
            ("truncated", |bytes| bytes.truncate(bytes.len() / 2), 1),
            (
                "a hole",
                |bytes| bytes.iter_mut().skip(150_000).take(4_096).for_each(|it| *it = 0),
                1_000,
            ),
            ("no head", |bytes| bytes.iter_mut().take(100).for_each(|it| *it = 7), 0),
            ("noise", |bytes| *bytes = vec![9; 10_000], 0),
        ];
        for (name, damage, at_least) in kinds {
            let dir = written(name);
            let path = dir.join(FILE_NAME);
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            let (store, salvage) = open(&dir, 1 << 40, NOW).unwrap();
            let salvage = salvage.unwrap_or_else(|| panic!("{name}: not found out"));
            let left = rows(&store);
            assert!((at_least..=ROWS).contains(&left), "{name}: {left} rows, {salvage:?}");
            assert!(!salvage.torn.is_empty(), "{name}: {salvage:?}");
            assert!(fs::metadata(&salvage.aside).unwrap().len() > 0, "{name}");
            assert!(meta::get(&store.db, SALVAGED).unwrap().is_some());
            let sound: String =
                store.db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok", "{name}");
            drop(store);
            assert_eq!(open(&dir, 1, NOW).unwrap().1, None, "{name}: once");
            fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn an_emptied_one_is_told_from_a_new_one() {
        for (is_marked_suspect, log, is_found) in
            [(false, 0, false), (true, 0, true), (false, 9_000, true)]
        {
            let dir = written(&format!("emptied-{is_marked_suspect}-{log}"));
            fs::write(dir.join(FILE_NAME), b"").unwrap();
            fs::write(dir.join(LOG_NAME), vec![7; log]).unwrap();
            if is_marked_suspect {
                suspect(&dir);
            }
            let (store, salvage) = open(&dir, 1, NOW).unwrap();
            assert_eq!(rows(&store), 0);
            assert_eq!(salvage.is_some(), is_found, "{salvage:?}");
            let kept = dir.join(format!("{DAMAGED_NAME}-{}-wal", NOW.unix_ms / SECOND_MS));
            assert_eq!(kept.exists(), is_found, "its log is set aside with it");
            assert_eq!(fs::metadata(&kept).map_or(0, |it| it.len()), log as u64);
            drop(store);
            fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn a_salvage_that_was_killed_is_ended_or_begun_anew() {
        let dir = written("killed");
        let path = dir.join(FILE_NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        fs::write(&path, &bytes).unwrap();
        // Half a copy, and then a whole one whose names were not changed.
        fs::write(dir.join(SAVED_NAME), &bytes[..5_000]).unwrap();
        assert_eq!(finish(&dir, NOW).unwrap(), None);
        fs::remove_file(dir.join(SAVED_NAME)).unwrap();
        private::make(&dir.join(SAVED_NAME)).unwrap();
        copy(&path, &dir.join(SAVED_NAME), 1).unwrap();
        let (store, salvage) = open(&dir, 1, NOW).unwrap();
        assert_eq!(salvage, None, "it was made before");
        assert!(meta::get(&store.db, SALVAGED).unwrap().is_some(), "and is still to be told");
        assert!(dir.join(format!("{DAMAGED_NAME}-{}", NOW.unix_ms / SECOND_MS)).exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
