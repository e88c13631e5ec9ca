//! Owns: `svs-bot import`: rows of Supabase, of a plain pg_dump or of JSON lines, brought in.
//! May not: hold more than one batch of rows.
//! Invariant: may be stopped and begun again at any moment; a second run changes nothing.

mod files;

use super::{EXIT_LATER, EXIT_OK, EXIT_USAGE, Failure, Outcome, Place};
use crate::calendar::{SECOND_US, Written};
use crate::cli;
use crate::config::{Environment, ZONE_TAKES, Zone};
use crate::engine::mask::Masker;
use crate::json;
use crate::store::names::{self, REMOTE_ID_MIN};
use crate::store::sync::{self as rows, Db, Table};
use crate::store::transfer::{self, Imported};
use crate::store::{self, Durability, Store, meta};
use crate::sync::Outside;
use crate::sync::pull::{PullError, Puller};
use crate::types::row::{OwnedHistory, RegistryRow};
use crate::wire::postgrest::read;
use crate::wire::table;
use std::fmt::Write as _;
use std::io::Write;

/// Rows of one transaction.
const BATCH_ROWS: usize = 500;
/// Bytes of one transaction's rows.
const BATCH_BYTES: usize = 512 * 1024;
/// Ids below the newest one seen that a repeated import reads again: a transaction of the old bot may
/// have committed later than one that took a higher id.
const TAIL_IDS: i64 = 1_000;
/// Complaints about single rows that are printed; the rest is counted.
const COMPLAINTS_MAX: u64 = 20;
/// Facts: which Supabase the cursor belongs to, how far its own sequence was read, the zone named.
const CURSOR_URL: &str = "import_url";
const CURSOR: &str = "import_after";
/// The zone of the last import, for `verify`.
pub const ZONE: &str = "import_zone";

/// What became of a table's rows (contract §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows looked at.
    pub read: u64,
    /// Rows that are here now.
    pub new: u64,
    /// Rows that were here.
    pub known: u64,
    /// Rows older than `KEEP_HISTORY`.
    pub skipped_old: u64,
    /// Rows that cannot be read.
    pub bad: u64,
}

/// A row on its way in.
enum Item {
    History(OwnedHistory),
    Registry(RegistryRow),
}

/// Rows gathered for the next transaction, and what became of those before.
struct Inflow<'a> {
    store: &'a mut Store,
    cutoff_us: i64,
    items: Vec<Item>,
    bytes: usize,
    history: Counts,
    registry: Counts,
    complaints: u64,
    masker: Masker,
    err: &'a mut dyn Write,
}

impl Inflow<'_> {
    fn counts(&mut self, table: Table) -> &mut Counts {
        match table {
            Table::History => &mut self.history,
            Table::Registry => &mut self.registry,
        }
    }

    fn history(&mut self, row: Result<OwnedHistory, &'static str>, place: &str) {
        self.history.read += 1;
        match row {
            Ok(row) if row.created_us < self.cutoff_us => self.history.skipped_old += 1,
            Ok(mut row) => {
                // A secret of the settings is in no row of ours, wherever the row comes from.
                for text in [&mut row.message, &mut row.response].into_iter().flatten() {
                    if let Some(masked) = self.masker.mask(text) {
                        *text = masked;
                    }
                }
                self.bytes += row.bytes();
                self.items.push(Item::History(row));
            }
            Err(column) => self.bad(Table::History, column, place),
        }
    }

    fn registry(&mut self, row: Result<RegistryRow, &'static str>, place: &str) {
        self.registry.read += 1;
        match row {
            Ok(row) => {
                self.bytes += 256;
                self.items.push(Item::Registry(row));
            }
            Err(column) => self.bad(Table::Registry, column, place),
        }
    }

    fn bad(&mut self, table: Table, what: &str, place: &str) {
        self.counts(table).bad += 1;
        self.complaints += 1;
        if self.complaints <= COMPLAINTS_MAX {
            // A closed stderr is no reason to stop.
            let _ = writeln!(
                self.err,
                "import: {} {place}: {what} cannot be read: the row is left out",
                table.remote()
            );
        }
    }

    fn tell(&self, tell: &mut dyn FnMut(std::fmt::Arguments<'_>), percent: Option<u64>) {
        let rows = self.history.read + self.registry.read;
        match percent {
            Some(percent) => tell(format_args!("import: {rows} rows, {percent} %")),
            None => tell(format_args!("import: {rows} rows")),
        }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Writes the batch down, and `cursor` with it.
    fn flush(&mut self, cursor: Option<i64>) -> Result<(), Failure> {
        let items = std::mem::take(&mut self.items);
        self.bytes = 0;
        if items.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let (history, registry) = self
            .store
            .write(Durability::Process, |db| {
                if let Some(cursor) = cursor {
                    meta::set(db, CURSOR, &cursor.to_string())?;
                }
                bring_in(db, &items)
            })
            .map_err(Failure::failed)?;
        self.history.new += history.0;
        self.history.known += history.1;
        self.registry.new += registry.0;
        self.registry.known += registry.1;
        self.items = items;
        self.items.clear();
        Ok(())
    }
}

type NewKnown = (u64, u64);

fn bring_in(db: &Db, items: &[Item]) -> store::Result<(NewKnown, NewKnown)> {
    let (mut history, mut registry) = ((0, 0), (0, 0));
    for item in items {
        let (counts, became) = match item {
            Item::History(row) => {
                let alias = table::alias(&row.metadata);
                (&mut history, transfer::import_history(db, &row.as_row(), alias)?)
            }
            Item::Registry(row) => (&mut registry, transfer::import_registry(db, row)?),
        };
        match became {
            Imported::New => counts.0 += 1,
            Imported::Known => counts.1 += 1,
        }
    }
    Ok((history, registry))
}

/// How a source ended.
enum End {
    Whole,
    /// The rows before are in; why the rest is not, and the exit code.
    Broken(u8, &'static str, String),
}

/// Runs it.
///
/// # Errors
/// Wrong use, a file or a database that cannot be opened.
pub fn run(
    args: &cli::Import,
    place: &Place,
    environment: &Environment,
    outside: &mut Outside<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Outcome {
    let began_ms = (outside.now)().unix_ms;
    let zone_name = args.zone.as_deref().unwrap_or("+00:00");
    let zone = Zone::parse(zone_name, environment)
        .ok_or_else(|| Failure::usage(format!("--zone: {zone_name}: it takes {ZONE_TAKES}")))?;
    let clock = |remote_id: i64, written: Written| unix_us(&zone, remote_id, written);
    let mut store = Store::open(&place.data_dir).map_err(Failure::failed)?;
    // Rows of many people touch as many pages of the indexes, again and again: written once for several batches.
    store.checkpoint_rarely().map_err(Failure::failed)?;
    let keep_us = place.config.keep_history_ms.saturating_mul(1_000);
    let cutoff_us = if keep_us == 0 {
        i64::MIN
    } else {
        began_ms.saturating_mul(1_000).saturating_sub(keep_us)
    };
    store
        .write(Durability::Process, |db| meta::set(db, ZONE, zone_name))
        .map_err(Failure::failed)?;
    let mut flow = Inflow {
        store: &mut store,
        cutoff_us,
        items: Vec::new(),
        bytes: 0,
        history: Counts::default(),
        registry: Counts::default(),
        complaints: 0,
        masker: crate::daemon::masker(&place.config),
        err,
    };
    let end = match (args.source.as_str(), args.file.as_deref()) {
        ("supabase", None) => from_supabase(&mut flow, place, &clock, outside),
        ("pgdump", Some(file)) => files::from_dump(&mut flow, file, &clock, outside.tell),
        ("jsonl", Some(file)) => files::from_json_lines(&mut flow, file, &clock, outside.tell),
        ("pgdump" | "jsonl", None) => {
            return Err(Failure::usage(format!("import {}: it takes a file", args.source)));
        }
        ("supabase", Some(_)) => return Err(Failure::usage("import supabase: it takes no file")),
        (other, _) => {
            return Err(Failure::usage(format!(
                "import: {other}: it takes supabase, pgdump FILE or jsonl FILE"
            )));
        }
    };
    let end = match end {
        // What was read before the database or the file refused is told all the same.
        Err(failure) if args.json && failure.code != EXIT_USAGE => {
            End::Broken(failure.code, "failed", failure.text)
        }
        end => end?,
    };
    let (history, registry) = (flow.history, flow.registry);
    let took_ms = (outside.now)().unix_ms.saturating_sub(began_ms);
    report(args.json, (history, registry), took_ms, end, out, err)
}

fn report(
    as_json: bool,
    (history, registry): (Counts, Counts),
    took_ms: i64,
    end: End,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Outcome {
    let text = if as_json {
        let error = match &end {
            End::Whole => None,
            End::Broken(_, kind, why) => Some((*kind, why.as_str())),
        };
        report_json(&history, &registry, took_ms, error)
    } else {
        let line = |name: &str, counts: &Counts| {
            let Counts { read, new, known, skipped_old, bad } = counts;
            format!(
                "{name}: {read} read, {new} new, {known} known, {skipped_old} older than KEEP_HISTORY, {bad} bad"
            )
        };
        format!("{}\n{}", line("chat_history", &history), line("user_registry", &registry))
    };
    writeln!(out, "{text}").map_err(|error| Failure::failed(format!("output: {error}")))?;
    match end {
        End::Whole => Ok(EXIT_OK),
        End::Broken(code, _, why) => {
            let _ = writeln!(err, "import: {why}");
            Ok(code)
        }
    }
}

fn report_json(
    history: &Counts,
    registry: &Counts,
    took_ms: i64,
    error: Option<(&str, &str)>,
) -> String {
    let mut out = String::from("{");
    for (name, counts) in [("chat_history", history), ("user_registry", registry)] {
        let Counts { read, new, known, skipped_old, bad } = counts;
        let _ = write!(
            out,
            "\"{name}\":{{\"read\":{read},\"new\":{new},\"known\":{known},\"skipped_old\":{skipped_old},\"bad\":{bad}}},"
        );
    }
    let _ = write!(out, "\"seconds\":{}.{:03},\"error\":", took_ms / 1_000, took_ms % 1_000);
    match error {
        None => out.push_str("null"),
        Some((kind, text)) => {
            json::Object::new(&mut out).str("kind", kind).str("text", text);
        }
    }
    out.push('}');
    out
}

/// The instant of a written time: as its zone says, else UTC for rows of ours, else as the operator says.
pub(super) fn unix_us(zone: &Zone, remote_id: i64, written: Written) -> i64 {
    if written.offset_s.is_some() || transfer::is_own_range(remote_id) {
        return written.unix_us(0);
    }
    let local_s = written.local_us.div_euclid(SECOND_US);
    zone.unix_s_of_local(local_s).saturating_mul(SECOND_US) + written.local_us.rem_euclid(SECOND_US)
}

fn from_supabase(
    flow: &mut Inflow<'_>,
    place: &Place,
    clock: table::Clock<'_>,
    outside: &mut Outside<'_>,
) -> Result<End, Failure> {
    let Some(remote) = &place.config.supabase else {
        return Err(Failure::usage(
            "import supabase: SUPABASE_URL is not set: set it and SUPABASE_KEY",
        ));
    };
    let url = remote.url.as_str();
    let (after, base, newest) = flow
        .store
        .write(Durability::Process, |db| {
            if meta::get(db, CURSOR_URL)?.as_deref() != Some(url) {
                meta::set(db, CURSOR_URL, url)?;
                meta::set(db, CURSOR, "0")?;
            }
            let after = meta::get_i64(db, CURSOR)?.unwrap_or(0);
            let base = meta::get_i64(db, names::BASE)?;
            Ok((after, base, rows::newest_id(db)?))
        })
        .map_err(Failure::failed)?;
    let mut puller = Puller::default();
    // The table's own sequence, from where the last import ended; then the ids that bots of this kind
    // gave, all but our own.
    let ours = base.map_or((i64::MAX, i64::MAX), |base| (base, base.saturating_add(newest)));
    let ranges = [
        ((after - TAIL_IDS).max(0), REMOTE_ID_MIN - 1, true),
        (REMOTE_ID_MIN - 1, ours.0, false),
        (ours.1, i64::MAX, false),
    ];
    for (after, upto, sequence) in ranges {
        if after >= upto {
            continue;
        }
        if let Some(end) = pull_history(flow, clock, outside, &mut puller, after, upto, sequence)? {
            return Ok(end);
        }
    }
    pull_registry(flow, clock, outside, &mut puller)
}

fn pull_history(
    flow: &mut Inflow<'_>,
    clock: table::Clock<'_>,
    outside: &mut Outside<'_>,
    puller: &mut Puller,
    mut after: i64,
    upto: i64,
    sequence: bool,
) -> Result<Option<End>, Failure> {
    // Bounded: `after` grows with every page.
    loop {
        let make = |limit| read::page("chat_history", after, upto, None, limit);
        let page = match puller.page(outside, Table::History, &make) {
            Ok(page) => page,
            Err(error) => return Ok(Some(broken(error))),
        };
        let mut last = None;
        for row in page.root().list() {
            let id = read::row_id(row);
            last = id.max(last);
            let mut column = |name: &str| table::json_column(row, name);
            flow.history(table::history(&mut column, "id", clock), &place_of(id));
        }
        flow.tell(outside.tell, None);
        let Some(last) = last.filter(|last| *last > after) else { return Ok(None) };
        after = last;
        flow.flush(sequence.then_some(after))?;
    }
}

fn place_of(id: Option<i64>) -> String {
    id.map_or_else(|| "without id".to_owned(), |id| format!("id {id}"))
}

fn pull_registry(
    flow: &mut Inflow<'_>,
    clock: table::Clock<'_>,
    outside: &mut Outside<'_>,
    puller: &mut Puller,
) -> Result<End, Failure> {
    let mut after = 0;
    // Bounded: `after` grows with every page.
    loop {
        let make = |limit| read::page("user_registry", after, i64::MAX, None, limit);
        let page = match puller.page(outside, Table::Registry, &make) {
            Ok(page) => page,
            Err(error) => return Ok(broken(error)),
        };
        let mut last = None;
        for row in page.root().list() {
            let id = read::row_id(row);
            last = id.max(last);
            let mut column = |name: &str| table::json_column(row, name);
            flow.registry(table::registry(&mut column, clock), &place_of(id));
        }
        flow.flush(None)?;
        match last.filter(|last| *last > after) {
            Some(last) => after = last,
            None => return Ok(End::Whole),
        }
    }
}

fn broken(PullError { kind, text, stop }: PullError) -> End {
    let code = if stop { super::EXIT_FAILED } else { EXIT_LATER };
    End::Broken(code, kind, format!("{text}; what came before is in: import again to go on"))
}

#[cfg(test)]
mod tests;
