//! Owns: `svs-bot status`: how the bot is, for a terminal or as JSON, with or without a daemon.
//! May not: write to the database; show text that could move a terminal's cursor.

use super::{EXIT_OK, Failure, Outcome, Place};
use crate::calendar::{date_text, rfc3339};
use crate::cli;
use crate::daemon::http::status_json;
use crate::daemon::quoting::{count, plain, size, span};
use crate::daemon::{lock, look, memory, pool, process};
use crate::engine::keypool::Pool;
use crate::store::{Store, StoreError};
use crate::types::status::{KeyLine, Status, TABLES, TierLine};
use crate::types::{HOUR_MS, Now, UnixMs};
use crate::wire::postgrest::fault;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// Between two pictures of `--watch`.
pub const WATCH_EVERY_MS: u64 = 2_000;
/// The longest name shown.
const NAME_CHARS_MAX: usize = 24;

/// What the shell knows and this room may not: the clock, the terminal.
pub struct Ways<'a> {
    /// The clock.
    pub now: &'a dyn Fn() -> Now,
    /// Waits for `--watch`; `Break` ends it.
    pub wait: &'a dyn Fn(u64) -> ControlFlow<()>,
    /// Whether stdout is a terminal.
    pub is_terminal: bool,
    /// Rows and columns of the terminal, which may change from picture to picture.
    pub size: &'a dyn Fn() -> Option<(u16, u16)>,
}

/// Runs the command.
///
/// # Errors
/// The database cannot be read, or stdout is closed.
pub fn run(args: &cli::Status, place: &Place, ways: &Ways<'_>, out: &mut dyn Write) -> Outcome {
    if args.fleet {
        let text = super::fleet::text(place, args.json)?;
        write(out, &text).map_err(|error| Failure::failed(format!("output: {error}")))?;
        return Ok(EXIT_OK);
    }
    let store = match Store::open_read_only(&place.data_dir) {
        // Before the first start there is nothing yet, and that is a status too.
        Err(StoreError::Missing(_)) => Store::in_memory(),
        opened => opened,
    }
    .map_err(Failure::failed)?;
    loop {
        let status = look(&store, place, (ways.now)())?;
        let text = if args.json {
            status_json(&status) + "\n"
        } else if args.memory {
            memory_of_daemon(place, &status)
        } else {
            picture(&status)
        };
        let text = if args.watch && ways.is_terminal { over(&text, (ways.size)()) } else { text };
        write(out, &text).map_err(|error| Failure::failed(format!("output: {error}")))?;
        if !args.watch || (ways.wait)(WATCH_EVERY_MS).is_break() {
            return Ok(EXIT_OK);
        }
    }
}

/// From outside nobody sees the allocator's counter; SQLite's are as of the daemon's last minute.
fn memory_of_daemon(place: &Place, status: &Status) -> String {
    let Some(pid) = lock::holder(&place.data_dir).flatten() else {
        return "not running: no memory\n".to_owned();
    };
    let own = memory::Own::default();
    let parts = memory::Parts::read(Some(pid));
    memory::report(&process::read(Some(pid)), parts.as_ref(), &own, status)
}

/// The picture drawn over the last one, line by line, so that nothing flickers; what does not fit is left out,
/// since a terminal that scrolls would carry its first lines away.
fn over(text: &str, size: Option<(u16, u16)>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some((rows, columns)) = size.map(|(rows, columns)| (usize::from(rows), columns)) {
        if lines.len() > rows {
            let more = lines.len() - rows.saturating_sub(1);
            lines.truncate(rows.saturating_sub(1));
            lines.push(format!("… {more} more lines: a taller window shows them"));
        }
        for line in &mut lines {
            *line = cut(line, columns.into());
        }
    }
    // No line end behind the last line, for the same reason.
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
}

/// The line as far as it fits.
fn cut(line: &str, columns: usize) -> String {
    if width_of(line) <= columns {
        return line.to_owned();
    }
    let mut width = 0;
    let fits = |c: &char| {
        width += width_of(c.encode_utf8(&mut [0; 4]));
        width < columns
    };
    line.chars().take_while(fits).chain(['…']).collect()
}

fn write(out: &mut dyn Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The status of this place as of now: the database, the pool of keys over what it remembers, and
/// what Linux says of the daemon.
///
/// # Errors
/// The database cannot be read.
pub fn look(store: &Store, place: &Place, now: Now) -> Result<Status, Failure> {
    let (rows, salt) = store.ledger(now).map_err(Failure::failed)?;
    // Without a salt no key was ever used, and any fingerprint is as good.
    let settings = pool::settings(&place.config, salt.as_deref().unwrap_or_default());
    let keys = Pool::new(settings, rows, now);
    let mut status =
        look::look(store, &keys, &place.config, &place.data_dir, now).map_err(Failure::failed)?;
    let holder = lock::holder(&place.data_dir);
    status.running = holder.is_some();
    status.rss_bytes = holder.flatten().and_then(|pid| process::read(Some(pid)).resident_bytes);
    if !status.running {
        status.ready = false;
        status.reason =
            "not running: start it with `svs-bot run` or `systemctl start svs-bot`".into();
    }
    Ok(status)
}

/// The status as aligned text.
pub fn picture(status: &Status) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    let counts = &status.counts;
    let now_ms = status.at_ms;
    let state = match (status.running, status.ready) {
        (false, _) => "DOWN".to_owned(),
        (true, true) => "ready".to_owned(),
        (true, false) => "NOT READY".to_owned(),
    };
    rows.push(("state", join([state, plain(&status.reason)])));
    if let Some(started_ms) = status.started_ms.filter(|_| status.running) {
        rows.push(("up", span(now_ms - started_ms)));
    }
    let intake = match (status.running, status.webhook) {
        (false, _) => "",
        (true, true) => "webhook",
        (true, false) => "polling",
    };
    rows.push(("telegram", join([ago("heard", status.last_poll_ms, now_ms), intake.to_owned()])));
    let oldest = counts.inbox_oldest_ms.map(|at_ms| format!("oldest {}", span(now_ms - at_ms)));
    rows.push((
        "questions",
        join([
            format!("{} waiting", counts.inbox),
            oldest.unwrap_or_default(),
            some("given up", counts.inbox_parked),
        ]),
    ));
    rows.push((
        "answers",
        join([format!("{} to send", counts.outbox), some("given up", counts.outbox_parked)]),
    ));
    rows.push((
        "sessions",
        format!("{} live, {} of {} VIP slots", counts.sessions, counts.vip_used, status.vip_slots),
    ));
    if let Some(why) = &status.gemini_error {
        rows.push(("gemini", format!("no answers: {}; svs-bot check names the cause", plain(why))));
    }
    rows.push(("supabase", supabase(status)));
    let disk = status.disk.map(|disk| format!("{} free on disk", size(disk.free_bytes)));
    rows.push(("database", join([size(counts.database_bytes), disk.unwrap_or_default()])));
    if let Some(bytes) = status.rss_bytes {
        rows.push(("memory", size(bytes)));
    }
    if !status.lasts.is_empty() {
        rows.push(("quota", lasts(status)));
    }
    rows.push(("day", day(status)));
    rows.push(("week", week(status)));
    let mut out = String::new();
    for (name, text) in rows {
        out.push_str(&format!("{name:<10} {text}\n"));
    }
    tables(&mut out, status);
    out
}

/// A key's project, and whether that is a guess.
pub(super) fn key_project(key: &KeyLine) -> String {
    let inferred = if key.inferred { " (inferred)" } else { "" };
    format!("{}{inferred}", plain(&key.project))
}

fn tables(out: &mut String, status: &Status) {
    let now_ms = status.at_ms;
    let keys = status.keys.iter().map(|key| {
        vec![
            key.n.to_string(),
            key.group.label().to_owned(),
            format!("…{}", plain(&key.last4)),
            key_project(key),
            key.state.name().to_owned(),
            key.until_ms
                .map(|until_ms| format!("in {}", span(until_ms - now_ms)))
                .unwrap_or_default(),
            plain(&key.reason()),
        ]
    });
    table(out, "keys", keys);
    let quota = status.quota.iter().map(|line| {
        let limit =
            line.limit_today.map_or_else(|| "no limit".to_owned(), |limit| format!("of {limit}"));
        vec![
            plain(&line.project),
            plain(&line.model),
            line.used_today.to_string(),
            limit,
            format!("resets in {}", span(line.resets_ms - now_ms)),
        ]
    });
    table(out, "used today", quota);
    let slots = status.vips.iter().map(|vip| {
        let name: String = plain(&vip.name).chars().take(NAME_CHARS_MAX).collect();
        vec![
            name,
            format!("{}/{}", vip.rounds, vip.rounds_max),
            format!("{} ago", span(now_ms - vip.last_ms)),
        ]
    });
    table(out, "VIP slots", slots);
    let troubles = status.troubles.iter().map(|at| {
        vec![format!("{} ago", span(now_ms - at.at_ms)), plain(&at.place), plain(&at.text)]
    });
    table(out, "last troubles", troubles);
}

fn supabase(status: &Status) -> String {
    let sync = &status.sync;
    if !sync.enabled {
        return "off: everything stays here".to_owned();
    }
    let pending: Vec<String> = TABLES
        .iter()
        .zip(&sync.pending)
        .filter(|(_, rows)| **rows > 0)
        .map(|(table, rows)| format!("{table} {rows}"))
        .collect();
    let pending = if pending.is_empty() {
        "nothing to send".to_owned()
    } else {
        pending.join(", ") + " to send"
    };
    join([
        pending,
        set_aside(status),
        ago("all sent", sync.last_success_ms, status.at_ms),
        sync.last_error.as_deref().map(plain).unwrap_or_default(),
    ])
}

/// How many rows Supabase refused, and why the newest of them.
fn set_aside(status: &Status) -> String {
    let rows = some("set aside", status.sync.parked.iter().sum());
    match status.sync.parked_reason.as_str() {
        "" => rows,
        why => format!("{rows} ({}: {})", fault::meaning(why), plain(why)),
    }
}

/// How long the day's quotas last at the present rate.
fn lasts(status: &Status) -> String {
    let line = |line: &TierLine| match line.ends_ms {
        None => format!("{} lasts the day", line.tier.name()),
        Some(at_ms) if at_ms <= status.at_ms => format!("{} is used up", line.tier.name()),
        Some(at_ms) => {
            let clock: String = rfc3339(at_ms).chars().skip(11).take(5).collect();
            format!("{} at this rate until about {clock} UTC", line.tier.name())
        }
    };
    status.lasts.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// The last 24 hours, this one included.
fn day(status: &Status) -> String {
    let this = status.at_ms.div_euclid(HOUR_MS);
    let answers_in =
        |hour: i64| status.hours.iter().find(|at| at.hour == hour).map_or(0, |found| found.answers);
    let hours: Vec<u64> = (this - 23..=this).map(answers_in).collect();
    format!("{}  {} answers in 24 hours", sparkline(&hours), count(hours.iter().sum()))
}

fn week(status: &Status) -> String {
    let week = status.week();
    let (first, last) = (week.first(), week.last());
    let answers: u64 = week.iter().map(|day| day.answers).sum();
    let tokens: u64 = week.iter().map(|day| day.tokens).sum();
    format!(
        "{}  {} answers, {} tokens, {} to {}",
        sparkline(&week.map(|day| day.answers)),
        count(answers),
        count(tokens),
        first.map(|day| date_text(day.day)).unwrap_or_default(),
        last.map(|day| date_text(day.day)).unwrap_or_default(),
    )
}

/// One of eight heights a value; nothing at all is the lowest.
fn sparkline(values: &[u64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = u128::from(values.iter().copied().max().unwrap_or(0).max(1));
    let height = |value: &u64| {
        let at = (u128::from(*value) * 7).div_ceil(highest);
        usize::try_from(at).ok().and_then(|at| HEIGHTS.get(at)).copied().unwrap_or('█')
    };
    values.iter().map(height).collect()
}

fn table(out: &mut String, title: &str, rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| width_of(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    out.push_str(&format!("\n{title}\n"));
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str("  ");
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(width_of(cell))));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Columns of a terminal: two for East Asian wide characters and emoji, roughly.
fn width_of(text: &str) -> usize {
    let wide = |c: char| {
        matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
            | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0x1F300..=0x1FAFF | 0x20000..=0x3FFFD)
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

fn join<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn some(what: &str, rows: u64) -> String {
    if rows == 0 { String::new() } else { format!("{rows} {what}") }
}

fn ago(what: &str, at_ms: Option<UnixMs>, now_ms: UnixMs) -> String {
    at_ms.map_or_else(
        || format!("never {what}"),
        |at_ms| format!("{what} {} ago", span(now_ms - at_ms)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::daemon::http::example;

    fn show(json: bool, place: &Place) -> Result<String, Failure> {
        let args = cli::Status {
            env_file: None,
            data_dir: None,
            json,
            watch: !json,
            memory: false,
            fleet: false,
        };
        let ways = Ways {
            now: &|| Now { unix_ms: example::NOW_MS },
            wait: &|_| ControlFlow::Break(()),
            is_terminal: false,
            size: &|| None,
        };
        let mut out = Vec::new();
        run(&args, place, &ways, &mut out).map(|code| assert_eq!(code, EXIT_OK))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn it_works_without_a_daemon_and_sees_one_by_its_lock() {
        let dir = std::env::temp_dir().join(format!("svs-status-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let place = Place { config: Config::sample(), data_dir: dir.clone(), env_file: None };
        assert!(show(false, &place).unwrap().starts_with("state      DOWN, not running"));
        drop(Store::open(&dir).unwrap());
        assert!(show(false, &place).unwrap().starts_with("state      DOWN, not running"));
        assert!(show(true, &place).unwrap().contains("\"running\":false,\"ready\":false"));
        let _lock = lock::take(&dir, std::process::id()).unwrap();
        let json = show(true, &place).unwrap();
        assert!(
            json.contains("\"running\":true") && !json.contains("\"rss_bytes\":null"),
            "{json}"
        );
        assert!(
            json.contains("\"state\":\"ready\"") && json.contains("\"used_today\":0"),
            "{json}"
        );
        assert!(!json.contains(place.config.keys[0].secret.expose()));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_picture_is_aligned_and_harmless() {
        let text = picture(&example::busy());
        for line in [
            "state      ready",
            "up         2h",
            "telegram   heard 12s ago",
            "questions  7 waiting, oldest 42s, 1 given up",
            "sessions   9 live, 2 of 3 VIP slots",
            "memory     4.5 MB",
            "supabase   chat_history 1234, user_registry 5 to send, 1 set aside (a check constraint of",
            "quota      lite lasts the day, flash at this rate until about 02:00 UTC",
            "  1  A  …x9Qa  key 1             ready",
            "  2  B  …77bZ  key 2 (inferred)  resting  in 40s     used up for this minute",
            "  小明                   2/5  30s ago",
            "  <img src=x>\\u001b[31m  1/3  8m 20s ago",
        ] {
            assert!(text.lines().any(|at| at.starts_with(line)), "missing {line:?} in\n{text}");
        }
        assert!(!text.chars().any(|c| c != '\n' && crate::daemon::quoting::is_control(c)));
    }

    #[test]
    fn a_new_picture_covers_the_old_one_and_never_scrolls() {
        for (name, text, size, want) in [
            ("no size known", "a\nb\n", None, "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J"),
            ("it fits", "a\nb\n", Some((2, 9)), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J"),
            (
                "a low one",
                "a\nb\nc\nd\n",
                Some((3, 60)),
                "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… 2 more lines: a taller window shows them\x1b[K\x1b[J",
            ),
            ("a narrow one", "小明 abc\n", Some((9, 6)), "\x1b[H小明 …\x1b[K\x1b[J"),
            ("hardly one", "ab\ncd\n", Some((1, 1)), "\x1b[H…\x1b[K\x1b[J"),
        ] {
            assert_eq!(over(text, size), want, "{name}");
        }
    }

    #[test]
    fn a_daemon_that_is_down_is_said_to_be_down() {
        let status = Status { running: false, reason: "not running".into(), ..example::busy() };
        assert!(picture(&status).starts_with("state      DOWN, not running\ntelegram"));
    }

    #[test]
    fn a_sparkline_shows_the_smallest_and_the_largest() {
        for (values, want) in [
            (vec![0, 0, 0], "▁▁▁"),
            (vec![0, 1, 1_000_000], "▁▂█"),
            (vec![1, 2, 3, 4, 5, 6, 7], "▂▃▄▅▆▇█"),
            (vec![u64::MAX], "█"),
        ] {
            assert_eq!(sparkline(&values), want);
        }
    }
}
