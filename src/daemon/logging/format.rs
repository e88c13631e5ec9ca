//! Owns: one record as one line, in each format.
//! May not: write anywhere.

use super::Scrubber;
use crate::calendar::rfc3339;
use crate::config::LogFormat;
use crate::daemon::quoting;
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Log as _, Record};
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest value of a field and the longest message, in characters; the rest is cut.
const TEXT_CHARS_MAX: usize = 2_000;
/// Fields of one record; more are a defect and left out.
const FIELDS_MAX: usize = 16;

/// The format, chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Text,
    Logfmt,
    Json,
    /// `<3>sync.failed …`: journald adds the time itself.
    Journal,
}

impl Style {
    pub(super) fn choose(format: LogFormat, on_journal: bool) -> Self {
        match format {
            LogFormat::Auto if on_journal => Self::Journal,
            LogFormat::Auto | LogFormat::Text => Self::Text,
            LogFormat::Logfmt => Self::Logfmt,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Appends the record as one line with its line end.
pub(super) fn line(
    out: &mut String,
    style: Style,
    tools: (&Scrubber, &TextLines),
    record: &Record<'_>,
    now_ms: i64,
) {
    let (scrubber, lines) = tools;
    let clean =
        |text: &str| -> String { scrubber.scrub(text).chars().take(TEXT_CHARS_MAX).collect() };
    let message = clean(&record.args().to_string());
    let event = clean(record.target());
    let mut fields = Fields(Vec::new());
    // The visitor never fails; what a source cannot give is left out.
    let _ = record.key_values().visit(&mut fields);
    let fields: Vec<(String, String)> =
        fields.0.iter().map(|(name, value)| (clean(name), clean(value))).collect();
    match style {
        Style::Text => lines.line(out, record.level(), &people(&event, &message, &fields)),
        Style::Journal => {
            let _ = writeln!(
                out,
                "<{}>{}",
                priority(record.level()),
                people(&event, &message, &fields)
            );
        }
        Style::Logfmt => {
            let _ = write!(out, "ts={} level={}", rfc3339(now_ms), word(record.level()));
            out.push_str(" event=");
            push_value(out, &event);
            out.push_str(" msg=");
            push_value(out, &message);
            push_fields(out, &fields);
            out.push('\n');
        }
        Style::Json => {
            let _ = write!(
                out,
                r#"{{"ts":"{}","level":"{}","event":"#,
                rfc3339(now_ms),
                word(record.level())
            );
            quoting::json(out, &event);
            out.push_str(",\"msg\":");
            quoting::json(out, &message);
            for (name, value) in &fields {
                out.push(',');
                quoting::json(out, &key(name));
                out.push(':');
                quoting::json(out, value);
            }
            out.push_str("}\n");
        }
    }
}

/// `event: message name=value …`, free of control characters.
fn people(event: &str, message: &str, fields: &[(String, String)]) -> String {
    let mut out = format!("{}: {}", quoting::plain(event), quoting::plain(message));
    push_fields(&mut out, fields);
    out
}

fn push_fields(out: &mut String, fields: &[(String, String)]) {
    for (name, value) in fields {
        let _ = write!(out, " {}=", key(name));
        push_value(out, value);
    }
}

/// The text format is simplelog's own: time, level in brackets, line.
pub(super) struct TextLines {
    logger: Box<simplelog::WriteLogger<Buffer>>,
    buffer: Buffer,
}

impl TextLines {
    pub(super) fn new() -> Self {
        let buffer = Buffer::default();
        let config = simplelog::ConfigBuilder::new()
            .set_time_format_rfc3339()
            .set_target_level(simplelog::LevelFilter::Off)
            .set_thread_level(simplelog::LevelFilter::Off)
            .set_location_level(simplelog::LevelFilter::Off)
            .build();
        let logger =
            simplelog::WriteLogger::new(simplelog::LevelFilter::Trace, config, buffer.clone());
        Self { logger, buffer }
    }

    fn line(&self, out: &mut String, level: Level, line: &str) {
        self.logger.log(&Record::builder().level(level).args(format_args!("{line}")).build());
        let mut bytes = self.buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.push_str(&String::from_utf8_lossy(&bytes));
        bytes.clear();
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, name: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if self.0.len() < FIELDS_MAX {
            self.0.push((name.to_string(), value.to_string()));
        }
        Ok(())
    }
}

/// A field may not be called like one of the line's own.
fn key(name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = name.chars().map(clean).collect();
    if ["ts", "level", "event", "msg"].contains(&name.as_str()) { format!("{name}_") } else { name }
}

/// A bare word as it is, anything else quoted.
fn push_value(out: &mut String, value: &str) {
    let is_bare =
        |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\') && !quoting::is_control(c);
    if !value.is_empty() && value.chars().all(is_bare) {
        out.push_str(value);
    } else {
        quoting::json(out, value);
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// `sd-daemon(3)`
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
