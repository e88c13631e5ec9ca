//! Owns: what a synchronisation did, its exit code and its JSON (contract §3, §7).
//! May not: read a clock, the database or the network.

use crate::json;
use crate::store::sync::Table;
use std::fmt::Write as _;

/// Names of rows newly set aside that are kept for the operator.
const NAMES_MAX: usize = 20;

/// What became of one table's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableReport {
    /// Rows that this run brought there.
    pub sent: i64,
    /// Rows that were found there: an earlier request had arrived after all.
    pub already: i64,
    /// Rows refused and set aside by this run.
    pub parked: i64,
    /// Rows that earlier runs had set aside.
    pub parked_before: i64,
    /// Rows still to be sent when the run ended.
    pub pending: i64,
}

/// Why a run ended before everything was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One word: `unreachable`, `busy`, `key`, `grant`, `table`, `column`, `quota`, `paused`, `url`,
    /// `refused`, `database`.
    pub kind: &'static str,
    /// `what: why: what to do`; no word of a row, no secret.
    pub text: String,
    /// Whether the operator must act; else it is tried again by itself.
    pub stop: bool,
}

/// What a synchronisation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By [`Table`], in its order.
    pub history: TableReport,
    /// By [`Table`], in its order.
    pub registry: TableReport,
    /// Rows that waited in both tables when the run began.
    pub total: i64,
    /// HTTP requests, repeated ones included.
    pub requests: u64,
    /// How long it took.
    pub took_ms: i64,
    /// The first thing the operator must act on, else the first that ended the run.
    pub error: Option<Trouble>,
    /// `table id: reason` of rows newly set aside, the first twenty.
    pub parked: Vec<String>,
    /// Another holder of the lease is just doing it.
    pub held_by: Option<String>,
    /// Not before this instant, when the server asked for it; 0 none.
    pub not_before_ms: i64,
}

impl Report {
    /// The counts of a table.
    pub fn table(&mut self, table: Table) -> &mut TableReport {
        match table {
            Table::History => &mut self.history,
            Table::Registry => &mut self.registry,
        }
    }

    /// The counts of a table.
    pub fn of(&self, table: Table) -> &TableReport {
        match table {
            Table::History => &self.history,
            Table::Registry => &self.registry,
        }
    }

    /// Remembers a row that was set aside.
    pub fn name_parked(&mut self, table: Table, row: &str, why: &str) {
        self.table(table).parked += 1;
        if self.parked.len() < NAMES_MAX {
            self.parked.push(format!("{} {row}: {why}", table.remote()));
        }
    }

    /// Remembers a trouble; what the operator must act on wins.
    pub fn blame(&mut self, trouble: Trouble) {
        let wins = self.error.as_ref().is_none_or(|before| trouble.stop && !before.stop);
        if wins {
            self.error = Some(trouble);
        }
    }

    /// The exit code of `svs-bot sync`: 1 wins over 75; rows set aside earlier do not fail again.
    pub fn exit_code(&self) -> u8 {
        let parked = self.history.parked + self.registry.parked;
        let stop = self.error.as_ref().is_some_and(|error| error.stop);
        if parked > 0 || stop {
            return 1;
        }
        match &self.held_by {
            Some(holder) if holder.starts_with("daemon") => 0,
            Some(_) => 75,
            None if self.error.is_some() => 75,
            None => 0,
        }
    }

    /// One JSON object (contract §7).
    pub fn json(&self) -> String {
        let mut out = String::from("{\"tables\":{");
        for table in Table::ALL {
            let TableReport { sent, already, parked, parked_before, pending } = *self.of(table);
            let comma = if table == Table::History { "" } else { "," };
            let _ = write!(
                out,
                "{comma}\"{}\":{{\"sent\":{sent},\"already\":{already},\"parked\":{parked},\"parked_before\":{parked_before},\"pending\":{pending}}}",
                table.remote()
            );
        }
        let (whole, ms) = (self.took_ms / 1_000, self.took_ms % 1_000);
        let _ =
            write!(out, "}},\"requests\":{},\"seconds\":{whole}.{ms:03},\"error\":", self.requests);
        match &self.error {
            None => out.push_str("null"),
            Some(Trouble { kind, text, .. }) => {
                let _ = write!(out, "{{\"kind\":\"{kind}\",\"text\":");
                json::quote(&mut out, text);
                out.push('}');
            }
        }
        out.push_str(",\"parked_rows\":[");
        for (at, name) in self.parked.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            json::quote(&mut out, name);
        }
        out.push_str("]}");
        out
    }
}
