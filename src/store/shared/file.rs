//! Owns: the shared file itself: how it is opened, set aside when damaged, and what each transaction does.
//! May not: keep anything between two calls but the connection.
//! Invariant: who opens, makes or sets aside the file holds the lock beside it.

use super::super::private;
use super::trouble::{Trouble, explain, io, lost, no_folder, read_only};
use crate::engine::fleet::{Ask, Use};
use crate::engine::keypool::WINDOW_MS;
use crate::types::{DAY_MS, UnixMs};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ToSql, TransactionBehavior};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file that another program holds for longer counts as away: no chat waits for it.
const BUSY_MAX: Duration = Duration::from_millis(1_000);
/// "SVSl": a database without it is somebody else's.
const APPLICATION_ID: i64 = 0x5356_536c;
/// Boxes with another number do not share.
const VERSION: i64 = 1;
/// 16 MiB of 4 KiB pages: a thousand boxes fit; what would pass it is an error and no full disk.
const PAGES_MAX: i64 = 4_096;
/// Pages in the log after which it is worked into the file.
const CHECKPOINT_PAGES: i64 = 200;
/// Prepared statements kept: all there are.
const STATEMENTS_MAX: usize = 24;
/// Page cache in KiB.
const CACHE_KIB: i64 = 64;
/// After the file began anew nothing is sent for so long, until every box has said what it used.
pub(super) const WARM_UP_MS: i64 = 3_000;
/// Processes read the clock a little before they get their turn; what lies further ahead is of before the machine's start.
const AHEAD_MS: i64 = 5_000;
/// A box not heard of for so long has no share any more.
pub(super) const BOX_LIFE_MS: i64 = 45_000;
/// Counts of days are kept long after: a clock that is ahead for a while must not take away today's.
const DAY_LIFE: i64 = 32;
/// Days that a clock which was ahead counted on weigh on today up to here: as in the ledger.
const AHEAD_DAYS_MAX: i64 = 8;
/// News kept, for how long, and read at once.
const NEWS_MAX: i64 = 2_000;
const NEWS_LIFE_MS: i64 = 2 * DAY_MS;
pub(super) const NEWS_PER_BEAT: usize = 200;
/// Requests that a minute's window holds where only tokens are limited: as in the ledger.
const REQUESTS_MAX: u32 = 2_048;

const SCHEMA: &str = "
CREATE TABLE born (id TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE minute (member TEXT PRIMARY KEY, pair TEXT NOT NULL, box TEXT NOT NULL, at_ms INTEGER NOT NULL, tokens INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX minute_pair ON minute (pair, at_ms);
CREATE TABLE day (pair TEXT NOT NULL, day INTEGER NOT NULL, box TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (pair, day, box)) STRICT, WITHOUT ROWID;
CREATE TABLE boxes (id TEXT PRIMARY KEY, seen_ms INTEGER NOT NULL, said TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE news (id INTEGER PRIMARY KEY AUTOINCREMENT, box TEXT NOT NULL, told_ms INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
";
const RAISE: &str = "INSERT INTO day (pair, day, box, used) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (pair, day, box) DO UPDATE SET used = excluded.used";
const COUNT: &str =
    "INSERT OR REPLACE INTO minute (member, pair, box, at_ms, tokens) VALUES (?1, ?2, ?3, ?4, ?5)";

/// What a reservation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Room {
        total: u32,
    },
    Minute {
        wait_ms: i64,
        total: u32,
    },
    Day {
        total: u32,
    },
    /// The file is new.
    Warming {
        wait_ms: i64,
    },
}

/// What a beat found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) boxes: Vec<String>,
    /// Number, when it was told, text.
    pub(super) news: Vec<(i64, UnixMs, String)>,
}

/// The open file.
pub(super) struct File {
    db: Connection,
    /// The file, its log and the log's index, as they were opened, and the file's least length.
    places: [(PathBuf, Option<(u64, u64)>); 3],
    bytes_min: u64,
    /// Tells this file from every one that lay here before.
    pub(super) born: String,
    pub(super) is_warm_at_ms: i64,
    version: i64,
}

impl File {
    /// Opens the file, made when absent; a damaged one is set aside first. `name` is unique to this call.
    pub(super) fn open(path: &Path, name: &str, boot_ms: i64) -> Result<(Self, bool), Trouble> {
        let lock = beside(path, ".lock");
        let was_ours = lock.exists();
        let held = (|| {
            private::make(&lock).map_err(|error| io(&lock, &error))?;
            let held = connect(&lock).map_err(|error| explain(&lock, &error))?;
            held.execute_batch("BEGIN EXCLUSIVE").map_err(|error| explain(&lock, &error))?;
            Ok(held)
        })()?;
        let opened = match Self::look(path, name, boot_ms) {
            Err(trouble) if trouble.is_lost && !was_ours => {
                let _ = fs::remove_file(&lock);
                let why = "is there already, and is no shared ledger";
                Err(Trouble::of(path, why, "name another file, or remove it"))
            }
            Err(trouble) if trouble.is_lost => {
                set_aside(path)?;
                Self::look(path, name, boot_ms).map(|file| (file, true))
            }
            opened => opened.map(|file| (file, false)),
        };
        drop(held);
        opened
    }

    fn look(path: &Path, name: &str, boot_ms: i64) -> Result<Self, Trouble> {
        let log = beside(path, "-wal");
        let is_empty = |path: &Path| fs::metadata(path).map(|it| it.len() == 0).unwrap_or(true);
        if path.exists() && is_empty(path) && !is_empty(&log) {
            // SQLite would take it for a new one.
            return Err(lost(path, "the file is empty, and was not"));
        }
        private::make(path).map_err(|error| io(path, &error))?;
        let explain = |error: rusqlite::Error| explain(path, &error);
        let mut db = connect(path).map_err(explain)?;
        let number = |db: &Connection, sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
        let id = number(&db, "PRAGMA application_id").map_err(explain)?;
        let tables = number(&db, "SELECT count(*) FROM sqlite_schema").map_err(explain)?;
        if tables > 0 && id != APPLICATION_ID {
            return Err(Trouble::of(path, "is another program's database", "name another file"));
        }
        if tables > 0 && number(&db, "PRAGMA user_version").map_err(explain)? != VERSION {
            return Err(Trouble::of(path, "is of another version", "run one version on all"));
        }
        let sound: String =
            db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(explain)?;
        if sound != "ok" {
            return Err(lost(path, &sound));
        }
        let mode: String =
            db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(explain)?;
        if mode != "wal" {
            let why = "this file system cannot be shared by processes";
            return Err(Trouble::of(path, why, "name a file on a local disk"));
        }
        (|| {
            db.pragma_update(None, "max_page_count", PAGES_MAX)?;
            db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if tables == 0 {
                tx.execute_batch(SCHEMA)?;
                tx.pragma_update(None, "application_id", APPLICATION_ID)?;
                tx.pragma_update(None, "user_version", VERSION)?;
                tx.execute("INSERT INTO born (id, at_ms) VALUES (?1, ?2)", (name, boot_ms))?;
            } else {
                // Whether it can be written to is known now, and the log is there.
                tx.execute("UPDATE born SET id = id", [])?;
            }
            tx.commit()
        })()
        .map_err(explain)?;
        let (born, at_ms): (String, i64) = db
            .query_row("SELECT id, at_ms FROM born", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(explain)?;
        let version = data_version(&db).map_err(explain)?;
        // One of before the machine's start is from a future of its clock, and warm.
        let is_warm_at_ms =
            if at_ms > boot_ms + AHEAD_MS { 0 } else { at_ms.saturating_add(WARM_UP_MS) };
        let places = [path.to_owned(), log, beside(path, "-shm")].map(|path| {
            let id = id_of(&path);
            (path, id)
        });
        let bytes_min = fs::metadata(path).map_or(0, |it| it.len());
        Ok(Self { db, places, bytes_min, born, is_warm_at_ms, version })
    }

    /// Whether the open files still lie where they were opened; three questions to the file system.
    pub(super) fn stay(&self) -> Result<(), Trouble> {
        let [file, ..] = &self.places;
        let is_here = self.places.iter().all(|(path, id)| id_of(path) == *id);
        let is_whole = fs::metadata(&file.0).is_ok_and(|it| it.len() >= self.bytes_min);
        if is_here && is_whole {
            return Ok(());
        }
        Err(lost(&file.0, "it is gone or was cut while the bots had it open"))
    }

    /// In words for the log.
    pub(super) fn trouble(&self, error: &rusqlite::Error) -> Trouble {
        explain(&self.places[0].0, error)
    }

    /// Counts one request, or says why it may not be.
    pub(super) fn reserve(
        &mut self,
        ask: &Ask,
        pair: &str,
        (id, member): (&str, &str),
        boot_ms: i64,
    ) -> rusqlite::Result<Found> {
        if boot_ms < self.is_warm_at_ms {
            return Ok(Found::Warming { wait_ms: self.is_warm_at_ms - boot_ms });
        }
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut total, own) = two(
            &tx,
            "SELECT coalesce(sum(used), 0), coalesce(sum(used) FILTER (WHERE box = ?3 AND day = ?2), 0) \
                 FROM day WHERE pair = ?1 AND day BETWEEN ?2 AND ?2 + ?4",
            &[&pair, &ask.day, &id, &AHEAD_DAYS_MAX],
        )?;
        // What the box did while it could not tell is made up for here; telling twice changes nothing.
        let known = own.max(ask.own_settled);
        total = total.saturating_add(known - own);
        let raise = |used: u32| run(&tx, RAISE, &[&pair, &ask.day, &id, &used]);
        if known > own {
            raise(known)?;
        }
        if ask.cap.is_some_and(|cap| total >= cap) {
            tx.commit()?;
            return Ok(Found::Day { total });
        }
        if ask.rpm.is_some() || ask.tpm.is_some() {
            let window = window(&tx, pair, boot_ms)?;
            if let Some(wait_ms) = minute_wait(&window, ask, boot_ms) {
                tx.commit()?;
                return Ok(Found::Minute { wait_ms, total });
            }
            run(&tx, COUNT, &[&member, &pair, &id, &boot_ms, &ask.tokens])?;
        }
        raise(known.saturating_add(1))?;
        tx.commit()?;
        Ok(Found::Room { total: total.saturating_add(1) })
    }

    /// Ends what was counted: with the tokens as Gemini counted them, or `None` for never used.
    pub(super) fn settle(
        &mut self,
        (pair, day, id, member): (&str, i64, &str, &str),
        tokens: Option<u32>,
    ) -> rusqlite::Result<()> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match tokens {
            Some(tokens) => {
                let sql = "UPDATE minute SET tokens = ?2 WHERE member = ?1";
                run(&tx, sql, &[&member, &tokens])?;
            }
            None => {
                run(&tx, "DELETE FROM minute WHERE member = ?1", &[&member])?;
                let sql = "UPDATE day SET used = used - 1 WHERE pair = ?1 AND day = ?2 AND box = ?3 AND used > 0";
                run(&tx, sql, &[&pair, &day, &id])?;
            }
        }
        tx.commit()
    }

    /// What a box has used by its own ledger; only ever raises. Replies how much was not known.
    pub(super) fn report(
        &mut self,
        uses: &[Use],
        (id, name): (&str, &str),
        boot_ms: i64,
    ) -> rusqlite::Result<u32> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut unknown = 0_u32;
        for (at, it) in uses.iter().enumerate() {
            let pair = super::pair_name(&it.project, &it.model);
            let sql = "SELECT used, 0 FROM day WHERE pair = ?1 AND day = ?2 AND box = ?3";
            let (own, _) = two(&tx, sql, &[&pair, &it.day, &id])?;
            let missing = it.today.saturating_sub(own);
            if missing > 0 {
                unknown = unknown.saturating_add(missing);
                run(&tx, RAISE, &[&pair, &it.day, &id, &it.today])?;
            }
            window(&tx, &pair, boot_ms)?;
            let sql = "SELECT count(*), coalesce(sum(tokens), 0) FROM minute WHERE pair = ?1 AND box = ?2";
            let (count, tokens) = two(&tx, sql, &[&pair, &id])?;
            let mut tokens = it.minute_tokens.saturating_sub(tokens);
            for n in 0..it.minute.saturating_sub(count).min(REQUESTS_MAX) {
                let member = format!("{name}:{at}:{n}");
                run(&tx, COUNT, &[&member, &pair, &id, &boot_ms, &tokens])?;
                tokens = 0;
            }
        }
        tx.commit()?;
        Ok(unknown)
    }

    /// Whether another box has written since this was asked last.
    pub(super) fn is_changed(&mut self) -> rusqlite::Result<bool> {
        let version = data_version(&self.db)?;
        Ok(std::mem::replace(&mut self.version, version) != version)
    }

    /// Says that a box lives and what it knows, and takes away what is over.
    pub(super) fn say(
        &mut self,
        (id, said): (&str, &str),
        news: &[String],
        (now_ms, boot_ms): (UnixMs, i64),
    ) -> rusqlite::Result<()> {
        let day = crate::calendar::pacific_day(now_ms);
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "INSERT OR REPLACE INTO boxes (id, seen_ms, said) VALUES (?1, ?2, ?3)";
        run(&tx, sql, &[&id, &boot_ms, &said])?;
        for text in news {
            let sql = "INSERT INTO news (box, told_ms, text) VALUES (?1, ?2, ?3)";
            run(&tx, sql, &[&id, &now_ms, text])?;
        }
        // By the clock that starts with the machine; what lies in its future is of before.
        let sql = "DELETE FROM boxes WHERE seen_ms NOT BETWEEN ?1 AND ?2";
        run(&tx, sql, &[&(boot_ms - BOX_LIFE_MS), &(boot_ms + AHEAD_MS)])?;
        run(&tx, "DELETE FROM minute WHERE at_ms <= ?1", &[&(boot_ms - WINDOW_MS)])?;
        run(&tx, "DELETE FROM day WHERE day < ?1", &[&(day - DAY_LIFE)])?;
        let sql = "DELETE FROM news WHERE told_ms < ?1 OR id <= (SELECT max(id) FROM news) - ?2";
        run(&tx, sql, &[&(now_ms - NEWS_LIFE_MS), &NEWS_MAX])?;
        tx.commit()
    }

    /// The boxes alive, in order, and what others told after `last`.
    pub(super) fn hear(&self, id: &str, last: i64, boot_ms: i64) -> rusqlite::Result<Heard> {
        let boxes = self
            .db
            .prepare_cached("SELECT id FROM boxes WHERE seen_ms BETWEEN ?1 AND ?2 ORDER BY id")?
            .query_map((boot_ms - BOX_LIFE_MS, boot_ms + AHEAD_MS), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let news = self
            .db
            .prepare_cached(
                "SELECT id, told_ms, text FROM news WHERE id > ?1 AND box <> ?2 ORDER BY id LIMIT ?3",
            )?
            .query_map((last, id, i64::try_from(NEWS_PER_BEAT).unwrap_or(0)), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Heard { boxes, news })
    }
}

/// Every box alive, by id, with what it says of itself; `None` where there is no file yet. Whether it can be
/// written to is tried.
pub(super) fn boxes(path: &Path, boot_ms: i64) -> Result<Option<Vec<(String, String)>>, Trouble> {
    if !path.try_exists().map_err(|error| io(path, &error))? {
        let dir = path.parent().unwrap_or(path);
        return if dir.is_dir() { Ok(None) } else { Err(no_folder(dir)) };
    }
    let explain = |error: rusqlite::Error| explain(path, &error);
    let db = connect(path).map_err(explain)?;
    if db.is_readonly("main").map_err(explain)? {
        return Err(read_only(path));
    }
    (|| {
        db.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?;
        db.prepare("SELECT id, said FROM boxes WHERE seen_ms BETWEEN ?1 AND ?2 ORDER BY id")?
            .query_map((boot_ms - BOX_LIFE_MS, boot_ms + AHEAD_MS), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()
    })()
    .map(Some)
    .map_err(explain)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_MAX)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The last connection that closes removes a log by its name, which may be another's by then.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(db)
}

/// Forgets what no longer weighs and gives the rest, oldest first: when, tokens.
fn window(db: &Connection, pair: &str, boot_ms: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    let sql = "DELETE FROM minute WHERE pair = ?1 AND at_ms <= ?2";
    run(db, sql, &[&pair, &(boot_ms - WINDOW_MS)])?;
    // Of before the machine started: how long ago is not known.
    let sql = "UPDATE minute SET at_ms = ?2 WHERE pair = ?1 AND at_ms > ?2 + ?3";
    run(db, sql, &[&pair, &boot_ms, &AHEAD_MS])?;
    pairs(db, "SELECT at_ms, tokens FROM minute WHERE pair = ?1 ORDER BY at_ms", &[&pair])
}

/// How long until the minute has room; the same rule as in the ledger.
fn minute_wait(window: &[(i64, i64)], ask: &Ask, boot_ms: i64) -> Option<i64> {
    let leaves = |at_ms: i64| (at_ms + WINDOW_MS - boot_ms).max(1);
    let rpm = ask.rpm.unwrap_or(REQUESTS_MAX).min(REQUESTS_MAX) as usize;
    if window.len() >= rpm {
        let last = window.get(window.len() - rpm.max(1).min(window.len().max(1)));
        return Some(last.map_or(WINDOW_MS, |(at_ms, _)| leaves(*at_ms)));
    }
    let tpm = i64::from(ask.tpm?);
    let wanted = i64::from(ask.tokens);
    let mut sum: i64 = window.iter().map(|(_, tokens)| tokens).sum();
    // A request larger than the whole limit may go alone.
    if window.is_empty() || sum + wanted <= tpm {
        return None;
    }
    let mut wait_ms = WINDOW_MS;
    for (at_ms, tokens) in window {
        sum -= tokens;
        wait_ms = leaves(*at_ms);
        if sum + wanted <= tpm {
            break;
        }
    }
    Some(wait_ms)
}

/// One body for all statements that reply nothing; each tuple of values would have its own.
#[inline(never)]
fn run(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(values).map(drop)
}

/// The same for those that reply numbers, the first two of each row.
#[inline(never)]
fn pairs(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<(i64, i64)>> {
    db.prepare_cached(sql)?.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The only row of such a reply.
fn two(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<(u32, u32)> {
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let first = pairs(db, sql, values)?.first().copied().unwrap_or((0, 0));
    Ok((number(first.0), number(first.1)))
}

fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// The damaged file keeps its place in the folder under another name; the one before it gives way.
fn set_aside(path: &Path) -> Result<(), Trouble> {
    let aside = beside(path, ".damaged");
    for end in ["-wal", "-shm"] {
        let (from, to) = (beside(path, end), beside(&aside, end));
        if fs::rename(&from, &to).is_err() {
            let _ = fs::remove_file(&to);
        }
    }
    fs::rename(path, &aside).map_err(|error| io(path, &error))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn id_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
