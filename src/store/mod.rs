//! Owns: the database: where it lies, how it is opened, its migrations, its transactions.
//! May not: hold rules, name `wire` or `net`.
//! Invariant: every writer begins as a writer (`BEGIN IMMEDIATE`); facts cannot go stale in between.

#[cfg(feature = "redis")]
pub mod carried;
pub mod erase;
#[cfg(feature = "redis")]
pub mod facts;
pub mod future;
pub mod history;
pub mod inbox;
pub mod lease;
pub mod ledger;
pub mod meta;
pub mod migrate;
pub mod names;
pub mod outbox;
pub mod people;
mod place;
pub mod places;
mod private;
#[cfg(feature = "redis")]
pub mod relay;
pub mod salvage;
pub mod shared;
pub mod status;
pub mod sync;
pub mod tell;
pub mod transfer;

use crate::types::build::VERSION as PROGRAM;
use place::{Found, Place};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::fmt;
use std::path::{Path, PathBuf};

/// File name inside the data directory (contract §1).
pub const FILE_NAME: &str = "svs-bot.db";
/// The log beside [`FILE_NAME`].
const LOG_NAME: &str = "svs-bot.db-wal";
/// The log's index in shared memory.
const INDEX_NAME: &str = "svs-bot.db-shm";
/// How long a statement waits for another writer; Litestream wants it above 0.
const BUSY_TIMEOUT_MS: u64 = 5_000;
/// Page cache: negative = KiB.
const CACHE_KIB: i64 = 512;
/// Pages in the log after which [`Store::checkpoint_rarely`] works it in; SQLite's own number is 1000.
const RARE_CHECKPOINT_PAGES: i64 = 4_000;
/// Prepared statements kept; the loop uses about a hundred, and one that falls out is parsed and planned
/// again at each use (about a seventh of a profile's samples under load when there was room for 64).
const STATEMENTS_MAX: usize = 160;

/// Why the database did not do what was asked.
#[derive(Debug)]
pub enum StoreError {
    /// Written by a newer program; left untouched.
    Newer {
        /// The schema found.
        found: usize,
        /// The newest schema this program knows.
        known: usize,
        /// The program that brought it there, where the database says so: this one or a later one is needed.
        by: Option<String>,
    },
    /// No such database yet.
    Missing(PathBuf),
    /// Its pages contradict each other; in SQLite's words.
    Damaged(String),
    /// It is not where it was opened; what is written would be lost to the next start.
    Moved(PathBuf),
    /// SQLite says no.
    Sql(rusqlite::Error),
    /// SQLite says no because the operating system did, like a file system that turned read-only.
    Refused(rusqlite::Error, std::io::Error),
    /// The file system says no.
    Io(PathBuf, std::io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { found, known, by: Some(by) } => write!(
                f,
                "database: newer than this program: it is of svs-bot {by} (schema {found}), this is svs-bot {PROGRAM} (schema {known}): install svs-bot {by} or newer, or restore a backup of before"
            ),
            Self::Newer { found, known, by: None } => write!(
                f,
                "database: newer than this program: its schema is {found}, and svs-bot {PROGRAM} knows {known}: install the newer svs-bot again, or restore a backup of before"
            ),
            Self::Missing(path) => {
                write!(f, "database: {} does not exist: start `svs-bot run` once", path.display())
            }
            Self::Damaged(why) => write!(
                f,
                "database: damaged: {why}: the bot's next start sets it aside and saves what can be read"
            ),
            Self::Moved(path) => write!(
                f,
                "database: {} is gone, or another file than the one that is open: moved or replaced under the running bot: put it back, or restart the bot to go on with what is there",
                path.display()
            ),
            Self::Sql(error) if self.is_damage() => Self::Damaged(error.to_string()).fmt(f),
            Self::Sql(error) => write!(f, "database: {error}"),
            Self::Refused(error, cause) => write!(f, "database: {error}: {cause}"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl StoreError {
    /// Whether the file could not be opened, which another program's beginning or end may be the cause of.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Sql(rusqlite::Error::SqliteFailure(error, _))
                if error.code == ErrorCode::CannotOpen
        )
    }

    /// Whether the file does not hold what SQLite wrote there.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Sql(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            }
            _ => false,
        }
    }

    /// Whether what was to be written is to blame, so that repeating it is of no use; a full disk, a
    /// busy or a damaged database is not.
    pub fn blames_data(&self) -> bool {
        match self {
            Self::Sql(error) => blames_data(error),
            Self::Newer { .. }
            | Self::Missing(_)
            | Self::Moved(_)
            | Self::Damaged(_)
            | Self::Io(..)
            | Self::Refused(..) => false,
        }
    }
}

fn blames_data(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(error, _) => matches!(
            error.code,
            ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig
        ),
        error => !matches!(error, rusqlite::Error::SqlInputError { .. }),
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// A connection or an open transaction, for those who hand it from one room file to the next.
pub type Db = Connection;

/// Results of this room.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The open database.
pub struct Store {
    /// The connection; room files under `store/` run their statements on it.
    pub(crate) db: Connection,
    /// What `synchronous` stands at; setting it costs a parse.
    durability: Durability,
    /// Where its files were opened; none in memory.
    place: Option<Place>,
}

/// How durable a commit must be before the next step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a kill; a cut of power may undo the last second.
    Process,
    /// On the disk before the call returns (contract §5.1).
    Disk,
}

impl Store {
    /// Opens `dir/svs-bot.db` for writing, made when absent, and brings its schema up to date.
    ///
    /// # Errors
    /// A newer schema, a file system or a database that refuses.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        private::tighten(dir);
        private::make(&path).map_err(|error| StoreError::Io(path.clone(), error))?;
        let has_log = has_log(dir);
        let db = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        let mut store = Self::prepare(db, has_log)?;
        store.place = Some(Place::of(dir));
        Ok(store)
    }

    /// Opens an existing database for a command beside the daemon; never creates one.
    ///
    /// # Errors
    /// [`StoreError::Missing`], and as [`Store::open`].
    pub fn open_existing(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        if !path.exists() {
            return Err(StoreError::Missing(path));
        }
        Self::open(dir)
    }

    /// The connection, for the room's own functions.
    pub fn connection(&self) -> &Connection {
        &self.db
    }

    /// The version of SQLite that is compiled in.
    pub fn sqlite_version() -> &'static str {
        rusqlite::version()
    }

    /// Copies the live database to an empty file, consistent and compact.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        self.db.execute("VACUUM INTO ?1", [path.to_string_lossy()])?;
        Ok(())
    }

    /// A database in memory, for tests.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn in_memory() -> Result<Self> {
        Self::prepare(Connection::open_in_memory()?, false)
    }

    fn prepare(mut db: Connection, has_log: bool) -> Result<Self> {
        db.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
        db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // SQLite otherwise plans a statement anew whenever another value is bound that its planner had looked
        // at, as that of a LIMIT: two fifths of all instructions of an answer were spent on that.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // A newer database is refused before anything is changed: the journal mode stays, and so does its log, which
        // the last connection otherwise works in when it closes.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
        migrate::check(&db)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        // What was deleted is overwritten: `forget` means it, and so do emptied queues.
        db.pragma_update(None, "secure_delete", true)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        migrate::up(&mut db, migrate::MIGRATIONS, PROGRAM)?;
        Ok(Self { db, durability: Durability::Process, place: None })
    }

    /// Runs `work` in one transaction that begins as a writer; commits when it is `Ok`.
    ///
    /// # Errors
    /// What `work` says, or SQLite at begin or commit; nothing is changed then.
    pub fn write<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.attempt(durability, work).map_err(|error| self.with_cause(error))
    }

    /// SQLite says "disk I/O error" for a file system that turned read-only; the system knows better.
    fn with_cause(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Sql(error)
                if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) =>
            {
                match crate::os::sqlite_refusal(&self.db) {
                    Some(cause) => StoreError::Refused(error, cause),
                    None => StoreError::Sql(error),
                }
            }
            other => other,
        }
    }

    fn attempt<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.durability != durability {
            let level = if durability == Durability::Disk { "FULL" } else { "NORMAL" };
            self.db.pragma_update(None, "synchronous", level)?;
            self.durability = durability;
        }
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&tx)?;
        tx.commit()?;
        Ok(value)
    }
}

/// Whether something is left in the log; the last connection that closes takes it away.
fn has_log(dir: &Path) -> bool {
    std::fs::metadata(dir.join(LOG_NAME)).is_ok_and(|log| log.len() > 0)
}

impl Store {
    /// Sees that the open files still lie where they were opened; for who keeps them open for long. A log that was
    /// taken away is written into the database, and a new one begun.
    ///
    /// # Errors
    /// [`StoreError::Moved`] as long as the database is not in its place; as SQLite says.
    pub fn stay(&mut self) -> Result<()> {
        let Some(place) = &mut self.place else { return Ok(()) };
        let found = place.look();
        if place.was_gone != (found == Found::Gone) {
            place.was_gone = found == Found::Gone;
            // The last connection that closes removes a log by its name, which may be another's by now.
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, place.was_gone)?;
        }
        match found {
            Found::Here => return Ok(()),
            Found::Gone => return Err(StoreError::Moved(place.path())),
            Found::WithoutLog => {}
        }
        let dir = place.dir.clone();
        // Nothing is in the log after this, and no second one is begun while the first is open.
        let busy: bool =
            self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy {
            return Err(StoreError::Moved(dir.join(LOG_NAME)));
        }
        place.is_closed = true;
        self.db = Connection::open_in_memory()?;
        *self = Self::open(&dir)?;
        log::warn!(
            target: "database.reopened", dir:% = dir.display();
            "the database's log was taken away while it was open: nothing of it is lost, and a new one is begun; \
             leave {LOG_NAME} and {INDEX_NAME} where they are"
        );
        Ok(())
    }

    /// Runs `work` in a transaction that is undone whatever comes of it.
    ///
    /// # Errors
    /// What `work` says, or SQLite at begin.
    pub fn try_out(
        &mut self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<()>,
    ) -> Result<()> {
        // A transaction that is dropped is rolled back.
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        work(&tx)
    }

    /// Lets the log grow to some 16 MB before it is worked into the database, which costs two syncs of the
    /// disk each time: for a command that writes much in a row and ends.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn checkpoint_rarely(&self) -> Result<()> {
        Ok(self.db.pragma_update(None, "wal_autocheckpoint", RARE_CHECKPOINT_PAGES)?)
    }

    /// Rows that this connection has changed in its life; the same before and after a transaction that
    /// wrote nothing, and so has nothing to bring to the disk.
    pub fn changes(&self) -> u64 {
        self.db.total_changes()
    }

    /// Runs `work` without a transaction of its own, for statements that only read.
    ///
    /// # Errors
    /// What `work` says.
    pub fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        work(&self.db)
    }
}
