//! Owns: log lines: their formats, where they go, what may not be in them.
//! May not: log anything itself; let a secret or a raw control character through.
//! Invariant: one record is one line, whatever its message and fields hold.
//!
//! A record's target is the name of the event (`sync.sent`), its key-values are the fields, its
//! message is for people; `docs/events.md` lists them all.

mod format;
mod scrub;
mod trouble;

pub use scrub::Scrubber;
pub use trouble::{Failing, Recovered, Trouble};

use super::clock;
use crate::config::LogFormat;
use crate::types::Secret;
use format::{Style, TextLines};
use log::{LevelFilter, Log, Metadata, Record};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What the logger needs of the settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `LOG_LEVEL`
    pub level: LevelFilter,
    /// `LOG_FORMAT`
    pub format: LogFormat,
    /// `LOG_FILE`; none = stderr.
    pub file: Option<PathBuf>,
    /// Every secret of the settings.
    pub secrets: Vec<Secret>,
}

/// The logger, shared by the `log` crate and by who reopens or changes it.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    style: Style,
    scrubber: Scrubber,
    lines: TextLines,
    file: Option<File>,
    on_journal: bool,
    line: String,
}

/// Installs the logger for the whole process. `journal_stream` is `$JOURNAL_STREAM`.
///
/// # Errors
/// The log file cannot be opened, or a logger is there already.
pub fn init(settings: &Settings, journal_stream: Option<&str>) -> io::Result<Handle> {
    let handle = Handle::new(settings, is_journal(journal_stream))?;
    log::set_boxed_logger(Box::new(handle.clone())).map_err(io::Error::other)?;
    log::set_max_level(capped(settings.level));
    Ok(handle)
}

impl Handle {
    /// A logger that is not installed, for tests and for its own use.
    ///
    /// # Errors
    /// The log file cannot be opened.
    pub fn new(settings: &Settings, on_journal: bool) -> io::Result<Self> {
        let inner = Inner {
            style: Style::choose(settings.format, on_journal && settings.file.is_none()),
            scrubber: Scrubber::new(&settings.secrets),
            lines: TextLines::new(),
            file: open(settings.file.as_deref())?,
            on_journal,
            line: String::new(),
        };
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Takes changed settings over and opens the file anew (SIGHUP, after logrotate).
    ///
    /// # Errors
    /// The file cannot be opened; then everything stays as it was.
    pub fn reopen(&self, settings: &Settings) -> io::Result<()> {
        let file = open(settings.file.as_deref())?;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.file = file;
        inner.style = Style::choose(settings.format, inner.on_journal && settings.file.is_none());
        inner.scrubber = Scrubber::new(&settings.secrets);
        log::set_max_level(capped(settings.level));
        Ok(())
    }

    /// Makes a panic one log line without secrets; the process still ends (`panic = "abort"`).
    pub fn catch_panics(&self) {
        let handle = self.clone();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            handle.write_record(
                &Record::builder()
                    .level(log::Level::Error)
                    .target("panic")
                    .args(format_args!("{text}"))
                    .build(),
            );
        }));
    }

    fn write_record(&self, record: &Record<'_>) {
        // `try_lock`: a panic inside the logger must not wait for itself.
        let Ok(mut inner) = self.inner.try_lock().or_else(|busy| match busy {
            std::sync::TryLockError::Poisoned(poisoned) => Ok(poisoned.into_inner()),
            std::sync::TryLockError::WouldBlock if record.target() == "panic" => Err(()),
            std::sync::TryLockError::WouldBlock => {
                Ok(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }) else {
            return;
        };
        inner.write(record, clock::system_ms());
    }
}

impl Inner {
    fn write(&mut self, record: &Record<'_>, now_ms: i64) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        format::line(&mut line, self.style, (&self.scrubber, &self.lines), record, now_ms);
        let to_file =
            self.file.as_mut().is_some_and(|file| file.write_all(line.as_bytes()).is_ok());
        if !to_file {
            // A full disk must not silence the reason why nothing works; stderr is the last resort.
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
        line.shrink_to(LINE_BYTES_KEPT);
        self.line = line;
    }
}

/// The buffer of one line is kept, up to this size.
const LINE_BYTES_KEPT: usize = 1_024;

impl Log for Handle {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && is_ours(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write_record(record);
        }
    }

    fn flush(&self) {}
}

/// Other crates are heard from `warn` up: at debug, `ureq` and `rustls` speak of requests and keys.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    const FOREIGN: [&str; 6] = ["ureq", "rustls", "tokio", "mio", "want", "hyper"];
    let root = metadata.target().split("::").next().unwrap_or_default();
    metadata.level() <= log::Level::Warn || !FOREIGN.iter().any(|name| root.starts_with(name))
}

/// `trace` would make `ureq` print URLs, and Telegram's hold the token.
fn capped(level: LevelFilter) -> LevelFilter {
    level.min(LevelFilter::Debug)
}

fn open(path: Option<&Path>) -> io::Result<Option<File>> {
    let Some(path) = path else { return Ok(None) };
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    Ok(Some(file))
}

/// Whether stderr is the journal that systemd names as `DEVICE:INODE`; a redirected stderr is not.
fn is_journal(journal_stream: Option<&str>) -> bool {
    let Some((device, inode)) = journal_stream.and_then(|text| text.split_once(':')) else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| device.parse() == Ok(stderr.dev()) && inode.parse() == Ok(stderr.ino()))
}

#[cfg(test)]
mod tests;
