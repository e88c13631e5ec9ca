//! Owns: `svs-bot verify`: the local rows against Supabase's, row by row over a window.
//! May not: change a row, hold more than a page, look beyond what is kept here.

use super::{EXIT_FAILED, EXIT_LATER, EXIT_OK, Failure, Outcome, Place, import};
use crate::calendar::{DAY_S, SECOND_US, parse_written, rfc3339_us};
use crate::cli;
use crate::config::{Environment, Zone};
use crate::json;
use crate::store::sync::Table;
use crate::store::{Store, StoreError, meta, transfer};
use crate::sync::Outside;
use crate::sync::pull::{PullError, Puller};
use crate::types::row::{HistoryRow, OwnedHistory};
use crate::types::{ChatId, UserId};
use crate::wire::postgrest::{self, read};
use crate::wire::table;
use std::fmt::Write as _;
use std::io::Write;

/// Differences that are listed; the rest is counted.
const LISTED_MAX: usize = 10_000;
/// Local ids compared with a page at a time.
const IDS_MAX: usize = 200;
/// Farthest that a clock on a wall is from UTC, so that the window there holds ours.
const ZONE_US_MAX: i64 = 15 * 3_600 * SECOND_US;

/// How a row differs (contract §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Differs,
    MissingRemote,
    MissingLocal,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::MissingRemote => "missing_remote",
            Self::MissingLocal => "missing_local",
        }
    }
}

struct Difference {
    table: Table,
    /// 0: Supabase has no such row.
    id: i64,
    kind: Kind,
    fields: Vec<&'static str>,
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    compared: u64,
    equal: u64,
    listed: Vec<Difference>,
    more: u64,
}

impl Findings {
    fn note(&mut self, table: Table, id: i64, kind: Kind, fields: Vec<&'static str>) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(Difference { table, id, kind, fields });
        } else {
            self.more += 1;
        }
    }
    fn compared(&mut self, table: Table, id: i64, fields: Vec<&'static str>) {
        self.compared += 1;
        if fields.is_empty() {
            self.equal += 1;
        } else {
            self.note(table, id, Kind::Differs, fields);
        }
    }
}

/// What ends a comparison before its end.
enum Broken {
    Store(StoreError),
    Pull(PullError),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<PullError> for Broken {
    fn from(error: PullError) -> Self {
        Self::Pull(error)
    }
}

/// Runs it.
///
/// # Errors
/// Wrong use, no database, a stream that is closed.
pub fn run(
    args: &cli::Verify,
    place: &Place,
    environment: &Environment,
    outside: &mut Outside<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Outcome {
    if place.config.supabase.is_none() {
        return Err(Failure::usage(
            "verify: SUPABASE_URL is not set: there is nothing to compare with",
        ));
    }
    let store = Store::open_existing(&place.data_dir).map_err(Failure::failed)?;
    let now_us = (outside.now)().unix_ms.saturating_mul(1_000);
    let days_us = i64::from(args.days).saturating_mul(DAY_S * SECOND_US);
    let mut since_us = now_us.saturating_sub(days_us);
    let keep_us = place.config.keep_history_ms.saturating_mul(1_000);
    if keep_us > 0 {
        since_us = since_us.max(now_us.saturating_sub(keep_us));
    }
    let zone = store
        .read(|db| meta::get(db, import::ZONE))
        .map_err(Failure::failed)?
        .and_then(|name| Zone::parse(&name, environment))
        .unwrap_or(Zone::Fixed(0));
    let mut check = Check {
        store: &store,
        since_us,
        zone,
        puller: Puller::default(),
        findings: Findings::default(),
    };
    let ended = check.history(outside).and_then(|()| check.registry(outside));
    let findings = check.findings;
    match ended {
        Ok(()) => say(args, &findings, out, err),
        Err(broken) => {
            let error = match broken {
                Broken::Pull(error) => error,
                Broken::Store(error) => {
                    PullError { kind: "database", text: error.to_string(), stop: true }
                }
            };
            let code = if error.stop { EXIT_FAILED } else { EXIT_LATER };
            if !args.json {
                return Err(Failure { code, text: error.text });
            }
            writeln!(out, "{}", to_json(args.days, &findings, Some(&error))).map_err(closed)?;
            Ok(code)
        }
    }
}

fn closed(error: std::io::Error) -> Failure {
    Failure::failed(format!("output: {error}"))
}

fn say(
    args: &cli::Verify,
    findings: &Findings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Outcome {
    let code = if findings.listed.is_empty() { EXIT_OK } else { EXIT_FAILED };
    if args.json {
        writeln!(out, "{}", to_json(args.days, findings, None)).map_err(closed)?;
        return Ok(code);
    }
    for difference in &findings.listed {
        let Difference { table, id, kind, fields } = difference;
        let fields =
            if fields.is_empty() { String::new() } else { format!(": {}", fields.join(", ")) };
        writeln!(out, "{} {id}: {}{fields}", table.remote(), kind.name()).map_err(closed)?;
    }
    writeln!(out, "{} compared, {} equal", findings.compared, findings.equal).map_err(closed)?;
    if code != EXIT_OK {
        let count = findings.listed.len();
        let _ = writeln!(
            err,
            "verify: {count} rows differ or are missing: `svs-bot import supabase` brings in what is missing here, `svs-bot sync` sends what waits"
        );
    }
    Ok(code)
}

/// One JSON object (contract §7); with an error it holds what was found before.
fn to_json(days: u32, findings: &Findings, error: Option<&PullError>) -> String {
    let Findings { compared, equal, listed, more } = findings;
    let mut out = format!(
        "{{\"days\":{days},\"compared\":{compared},\"equal\":{equal},\"more\":{more},\"differences\":["
    );
    for (at, difference) in listed.iter().enumerate() {
        let Difference { table, id, kind, fields } = difference;
        let comma = if at > 0 { "," } else { "" };
        let id = if *id == 0 { "null".to_owned() } else { id.to_string() };
        let _ = write!(
            out,
            "{comma}{{\"table\":\"{}\",\"id\":{id},\"kind\":\"{}\",\"fields\":[",
            table.remote(),
            kind.name()
        );
        for (at, field) in fields.iter().enumerate() {
            let _ = write!(out, "{}\"{field}\"", if at > 0 { "," } else { "" });
        }
        out.push_str("]}");
    }
    out.push_str("],\"error\":");
    match error {
        None => out.push_str("null"),
        Some(PullError { kind, text, .. }) => {
            json::Object::new(&mut out).str("kind", kind).str("text", text);
        }
    }
    out.push('}');
    out
}

struct Check<'a> {
    store: &'a Store,
    since_us: i64,
    zone: Zone,
    puller: Puller,
    findings: Findings,
}

impl Check<'_> {
    /// Both sides in the order of the remote id, page by page.
    fn history(&mut self, outside: &mut Outside<'_>) -> Result<(), Broken> {
        let window_us = self.since_us.saturating_sub(ZONE_US_MAX);
        let mut after = 0;
        // Bounded: `after` grows with every page.
        loop {
            let make = |limit| read::page("chat_history", after, i64::MAX, Some(window_us), limit);
            let page = self.puller.page(outside, Table::History, &make)?;
            let Findings { compared, listed, .. } = &self.findings;
            let differing = listed.len();
            (outside.tell)(format_args!(
                "verify: {compared} rows compared, {differing} differences"
            ));
            let mut there = Vec::new();
            for row in page.root().list() {
                let Some(id) = read::row_id(row) else { continue };
                there.push(id);
                self.compare(row, id)?;
            }
            let upto = there.last().copied();
            self.missing_remote(outside, after, upto.unwrap_or(i64::MAX), &there)?;
            match upto {
                Some(upto) if upto > after => after = upto,
                _ => return Ok(()),
            }
        }
    }

    fn compare(&mut self, row: json::Ref<'_>, id: i64) -> Result<(), Broken> {
        let zone = &self.zone;
        let clock = |id, written| import::unix_us(zone, id, written);
        let mut column = |name: &str| table::json_column(row, name);
        let remote = table::history(&mut column, "id", &clock);
        let alias = remote.as_ref().ok().and_then(|row| table::alias(&row.metadata));
        let mut fields = None;
        for id in [Some(id), alias].into_iter().flatten() {
            let found = self.store.read(|db| {
                transfer::with_history(db, id, &mut |local| {
                    fields = Some(match &remote {
                        Ok(remote) => differing(local, remote),
                        Err(column) => vec![*column],
                    });
                })
            })?;
            if found {
                break;
            }
        }
        let in_window = remote.as_ref().map_or(true, |row| row.created_us >= self.since_us);
        match fields {
            Some(fields) if in_window || fields.contains(&"created_at") => {
                self.findings.compared(Table::History, id, fields);
            }
            None if in_window => {
                self.findings.note(Table::History, id, Kind::MissingLocal, Vec::new());
            }
            _ => {}
        }
        Ok(())
    }

    /// Rows here with remote ids in `after+1..=upto` that the page lacks are asked for by id: their
    /// time there may lie outside of the window.
    fn missing_remote(
        &mut self,
        outside: &mut Outside<'_>,
        after: i64,
        upto: i64,
        there: &[i64],
    ) -> Result<(), Broken> {
        let mut from = after.saturating_add(1);
        // Bounded: `from` grows with every turn.
        while from <= upto {
            let since_us = self.since_us;
            let here =
                self.store.read(|db| transfer::remote_ids(db, from, upto, since_us, IDS_MAX))?;
            let Some(last) = here.last().copied() else { return Ok(()) };
            from = last.saturating_add(1);
            let lacking: Vec<i64> =
                here.into_iter().filter(|id| there.binary_search(id).is_err()).collect();
            if lacking.is_empty() {
                continue;
            }
            let make = |_: usize| postgrest::read_history_by_id(&lacking);
            let page = self.puller.page(outside, Table::History, &make)?;
            let mut found = Vec::new();
            for row in page.root().list() {
                if let Some(id) = read::row_id(row) {
                    found.push(id);
                    self.compare(row, id)?;
                }
            }
            for id in lacking.into_iter().filter(|id| !found.contains(id)) {
                self.findings.compared += 1;
                self.findings.note(Table::History, id, Kind::MissingRemote, Vec::new());
            }
        }
        Ok(())
    }

    fn registry(&mut self, outside: &mut Outside<'_>) -> Result<(), Broken> {
        let window_us = self.since_us.saturating_sub(ZONE_US_MAX);
        let zone = self.zone.clone();
        let clock = |id, written| import::unix_us(&zone, id, written);
        let mut after = 0;
        // Bounded: `after` grows with every page.
        loop {
            let make = |limit| read::page("user_registry", after, i64::MAX, Some(window_us), limit);
            let page = self.puller.page(outside, Table::Registry, &make)?;
            let mut last = None;
            for row in page.root().list() {
                let Some(id) = read::row_id(row) else { continue };
                last = Some(id).max(last);
                let mut column = |name: &str| table::json_column(row, name);
                let Ok(remote) = table::registry(&mut column, &clock) else { continue };
                if remote.last_us < self.since_us {
                    continue;
                }
                let here =
                    self.store.read(|db| transfer::registry_count(db, remote.user, remote.chat))?;
                match here {
                    None => self.findings.note(Table::Registry, id, Kind::MissingLocal, Vec::new()),
                    // What still waits to be sent is no difference.
                    Some((_, false)) => {}
                    Some((count, true)) => {
                        let differs = count != remote.count;
                        let fields = if differs { vec!["trigger_count"] } else { Vec::new() };
                        self.findings.compared(Table::Registry, id, fields);
                    }
                }
            }
            match last.filter(|last| *last > after) {
                Some(last) => after = last,
                None => break,
            }
        }
        self.pairs_gone(outside)
    }

    fn pairs_gone(&mut self, outside: &mut Outside<'_>) -> Result<(), Broken> {
        let mut after = (UserId(i64::MIN), ChatId(i64::MIN));
        // Bounded: `after` grows with every page.
        loop {
            let since_us = self.since_us;
            let pairs =
                self.store.read(|db| transfer::settled_pairs(db, after, since_us, IDS_MAX / 2))?;
            let Some(last) = pairs.last() else { return Ok(()) };
            after = (last.user, last.chat);
            let mut found = Vec::new();
            let mut from = String::new();
            // Bounded: ids grow with every page.
            loop {
                let make = |_: usize| postgrest::read_registry(&pairs, &from);
                let page = self.puller.page(outside, Table::Registry, &make)?;
                let rows = read::registry_rows(&page).unwrap_or_default();
                let next = rows.last().map(|row| row.id.clone()).unwrap_or_default();
                let full = rows.len() >= read::PAGE_ROWS;
                found.extend(rows.into_iter().map(|row| (row.user, row.chat)));
                if !full || next == from {
                    break;
                }
                from = next;
            }
            for pair in pairs.iter().filter(|pair| !found.contains(&(pair.user, pair.chat))) {
                self.findings.compared += 1;
                let fields = vec!["user_id", "chat_id"];
                let _ = pair;
                self.findings.note(Table::Registry, 0, Kind::MissingRemote, fields);
            }
        }
    }
}

/// The columns in which two rows differ, after what sending does to a value.
fn differing(local: &HistoryRow<'_>, remote: &OwnedHistory) -> Vec<&'static str> {
    let mut fields = Vec::new();
    let mut check = |name, equal: bool| {
        if !equal {
            fields.push(name);
        }
    };
    check("chat_id", local.chat == remote.chat);
    check("user_id", local.user == remote.user);
    let same = |here: Option<&str>, there: &Option<String>, chars_max: usize| {
        postgrest::as_sent(here, chars_max).as_deref() == there.as_deref()
    };
    check("username", same(local.username, &remote.username, postgrest::NAME_CHARS_MAX));
    check("message_text", same(local.message, &remote.message, usize::MAX));
    check("response_text", same(local.response, &remote.response, usize::MAX));
    check("model_used", same(local.model, &remote.model, postgrest::WORD_CHARS_MAX));
    check("metadata", same_json(local, remote));
    let written = parse_written(&rfc3339_us(local.created_us)).map(|at| at.unix_us(0));
    check("created_at", written == Some(remote.created_us));
    fields
}

fn same_json(local: &HistoryRow<'_>, remote: &OwnedHistory) -> bool {
    let sent = postgrest::metadata_as_sent(local.metadata, table::alias(&remote.metadata));
    sent == remote.metadata
        || match (json::parse(sent.as_bytes()), json::parse(remote.metadata.as_bytes())) {
            (Ok(here), Ok(there)) => here == there,
            _ => false,
        }
}
