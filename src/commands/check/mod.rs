//! Owns: `svs-bot check`: which items are looked at, in which order, how they are shown.
//! May not: change anything anywhere, spend quota, show a secret.
//! Invariant: every item that is not `ok` says what to do.

mod gather;
mod gemini;
mod local;
mod reply;
mod skew;
mod supabase;
mod telegram;

#[cfg(test)]
mod tests;

pub use gather::gather;
pub use local::{EnvFile, Local, Unit};

use super::{EXIT_FAILED, EXIT_OK, EXIT_USAGE, Failure, Outcome, Place};
use crate::cli;
use crate::daemon::logging::Scrubber;
use crate::daemon::quoting::{self, plain};
use crate::types::Secret;
use crate::wire::{NetError, NetErrorKind, Request, Response};
use std::io::Write;

/// Until a reply of any service is in.
const TIMEOUT_MS: u64 = 10_000;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// Works, but somebody should look.
    Warn,
    /// Does not work.
    Fail,
}

impl Level {
    /// The word in JSON and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the report (contract §7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What was looked at.
    pub name: String,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; empty when ok.
    pub todo: String,
}

impl Item {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), level: Level::Ok, found: found.into(), todo: String::new() }
    }
    fn warn(name: impl Into<String>, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { name: name.into(), level: Level::Warn, found: found.into(), todo: todo.into() }
    }
    fn fail(name: impl Into<String>, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { name: name.into(), level: Level::Fail, found: found.into(), todo: todo.into() }
    }
}

/// One call of a service.
pub type Call<'a> = &'a mut dyn FnMut(&Request) -> Result<Response, NetError>;
/// One call of Gemini with this key.
pub type KeyCall<'a> = &'a mut dyn FnMut(&Secret, &Request) -> Result<Response, NetError>;

/// The ways to the services; the shell makes them from `net`.
pub struct Ways<'a> {
    /// Telegram.
    pub telegram: Call<'a>,
    /// Gemini.
    pub gemini: KeyCall<'a>,
    /// Supabase.
    pub supabase: Call<'a>,
    /// The system's own clock, in Unix milliseconds.
    pub system_ms: &'a dyn Fn() -> i64,
}

/// Runs the command; `local` is what [`gather()`] found on this machine.
///
/// # Errors
/// Stdout is closed.
pub fn run(
    args: &cli::Check,
    place: &Place,
    local: &Local,
    ways: &mut Ways<'_>,
    out: &mut dyn Write,
) -> Outcome {
    let mut items = local::items(place, local);
    if args.offline {
        items.push(Item::ok("network", "skipped (--offline)"));
    } else {
        let clock = skew::watched(ways, |ways| {
            items.extend(telegram::items(&place.config, local, args.poll, ways.telegram));
            items.extend(gemini::items(&place.config, ways.gemini));
            items.extend(supabase::items(&place.config, ways.supabase));
        });
        items.extend(clock);
    }
    // The shared ledger is a file of this machine, Redis is the network.
    if place.config.shared_ledger.is_some() || !args.offline {
        items.extend(super::fleet::look(place).map(|found| shared_item(place, found)));
    }
    let secrets: Vec<Secret> = place.config.secrets().into_iter().cloned().collect();
    show(args.json, items.clone(), &Scrubber::new(&secrets), out)?;
    let is_failed = items.iter().any(|item| item.level == Level::Fail);
    Ok(if is_failed { EXIT_FAILED } else { EXIT_OK })
}

fn shared_item(place: &Place, found: Result<Option<usize>, String>) -> Item {
    let name = if place.config.shared_ledger.is_some() { "shared ledger" } else { "redis" };
    match found {
        Ok(None) => Item::ok(name, "not there yet; the first bot that starts makes it"),
        Ok(Some(boxes)) => Item::ok(name, format!("reached; {boxes} boxes share the keys")),
        Err(why) => Item::fail(
            name,
            why,
            "see docs/scaling.md; the bot answers without it, on its share of the quotas",
        ),
    }
}

/// Shows settings that cannot be used, each problem as an item; exit 2 as everywhere.
///
/// # Errors
/// Stdout is closed.
pub fn run_broken(args: &cli::Check, problems: &[String], out: &mut dyn Write) -> Outcome {
    let todo = "correct it in the settings, then run `svs-bot check` again";
    let items = problems.iter().map(|text| Item::fail("settings", text.clone(), todo)).collect();
    show(args.json, items, &Scrubber::default(), out)?;
    Ok(EXIT_USAGE)
}

fn show(
    is_json: bool,
    mut items: Vec<Item>,
    scrubber: &Scrubber,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // A service's own words may repeat what it was sent.
    for item in &mut items {
        item.found = scrubber.scrub(&item.found).into_owned();
    }
    let text = if is_json { json(&items) } else { lines(&items) };
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::failed(format!("output: {error}")))
}

fn json(items: &[Item]) -> String {
    let is_ok = items.iter().all(|item| item.level != Level::Fail);
    let mut out = format!("{{\"ok\":{is_ok},\"items\":[");
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at == 0 { "{\"name\":" } else { ",{\"name\":" });
        quoting::json(&mut out, &item.name);
        out.push_str(",\"level\":");
        quoting::json(&mut out, item.level.name());
        out.push_str(",\"found\":");
        quoting::json(&mut out, &item.found);
        out.push_str(",\"todo\":");
        quoting::json(&mut out, &item.todo);
        out.push('}');
    }
    out.push_str("]}\n");
    out
}

fn lines(items: &[Item]) -> String {
    let width = items.iter().map(|item| item.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for item in items {
        let (level, name) = (item.level.name(), plain(&item.name));
        let line = format!("{level:<4}  {name:<width$}  {}", plain(&item.found));
        out.push_str(line.trim_end());
        out.push('\n');
        if !item.todo.is_empty() {
            out.push_str(&format!("{:<6}{:<width$}  -> {}\n", "", "", plain(&item.todo)));
        }
    }
    let count = |level| items.iter().filter(|item| item.level == level).count();
    out.push_str(&format!(
        "{} ok, {} to look at, {} failed\n",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail)
    ));
    out
}

/// The service leads elsewhere, and nobody goes there: credentials are for the address in `setting` alone.
fn redirected(name: &str, setting: &str, status: u16) -> Item {
    Item::fail(
        name,
        format!("it answers with a redirect ({status}), which is not followed"),
        format!("set {setting} to the address it leads to, with https, if that is the service"),
    )
}

/// No reply at all from `service`, reached by the address in `setting`.
fn unreachable(name: &str, setting: &str, error: &NetError) -> Item {
    let todo = match error.kind {
        NetErrorKind::Dns => format!("look at /etc/resolv.conf and the host name in {setting}"),
        NetErrorKind::Connect => {
            format!("look at the firewall, the network, and the address in {setting}")
        }
        NetErrorKind::Tls => format!(
            "something between here and there answers with its own certificate, or without TLS, or the \
            clock is wrong: look at {setting}; if it is a proxy of yours, give its roots in TLS_CA_FILE"
        ),
        NetErrorKind::Timeout => {
            "the way there is blocked or very slow: look at firewall and proxy, \
            then try again"
                .to_owned()
        }
        NetErrorKind::Cut | NetErrorKind::TooLarge | NetErrorKind::Other => {
            format!("what answers may not be the service itself: look at {setting}, then try again")
        }
    };
    Item::fail(name, format!("no reply: {}", error.text), todo)
}
