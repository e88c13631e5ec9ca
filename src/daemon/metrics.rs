//! Owns: the counters and histograms of contract §6 and their text form (Prometheus 0.0.4).
//! May not: read a clock or the database; grow with what people or services send.
//! Invariant: every label value comes from a fixed list or from the settings; all else is `other`.

use super::cause;
use super::process::Process;
use crate::types::status::{KeyState, Status, TABLES};
use crate::types::{Group, Role, UPDATE_KINDS, build};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `svs_bot_gemini_requests_total{outcome}`
pub const MODEL_OUTCOMES: [&str; 8] =
    ["ok", "empty", "safety", "bad_request", "bad_key", "quota", "overloaded", "network"];
/// `svs_bot_telegram_errors_total{code}`: HTTP statuses, `network` where there was no reply.
pub const TELEGRAM_CODES: [&str; 13] = [
    "400", "401", "403", "404", "409", "413", "429", "500", "502", "503", "504", "network", "other",
];
/// Models with series of their own; past it a new one is `other`.
const MODELS_MAX: usize = 24;
/// Where counts of an unknown model go.
const OTHER: &str = "other";

/// Upper bounds of `svs_bot_answer_seconds`; `PATIENCE` and `ANSWER_TIMEOUT` fall on bounds.
const ANSWER_BOUNDS_S: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0, 300.0];
/// Upper bounds of `svs_bot_added_latency_seconds`; the goals of 1, 5 and 25 ms are bounds.
const ADDED_BOUNDS_S: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// How an answer ended (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// The model's text went out.
    Answered,
    /// A polite no: queue full, not allowed, no quota in time.
    Refused,
    /// The model's safety block.
    Blocked,
    /// Given up.
    Failed,
}

impl AnswerOutcome {
    /// Every outcome, in the order of the series.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::Blocked, Self::Failed];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }
}

/// What became of a row (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// Arrived with this request.
    Sent,
    /// Was there before.
    Already,
    /// Refused and set aside.
    Parked,
}

impl RowOutcome {
    /// Every outcome, in the order of the series.
    pub const ALL: [Self; 3] = [Self::Sent, Self::Already, Self::Parked];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Already => "already",
            Self::Parked => "parked",
        }
    }
}

/// A histogram with fixed bounds.
#[derive(Clone, Debug)]
struct Histogram<const N: usize> {
    bounds_s: &'static [f64; N],
    /// Observations at or under each bound but over the one before.
    counts: [u64; N],
    total: u64,
    sum_s: f64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds_s: &'static [f64; N]) -> Self {
        Self { bounds_s, counts: [0; N], total: 0, sum_s: 0.0 }
    }

    fn observe(&mut self, seconds: f64) {
        // A clock that stepped could give a negative span or worse: it counts as the least.
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        let slot = self.bounds_s.iter().zip(&mut self.counts).find(|(bound, _)| seconds <= **bound);
        if let Some((_, count)) = slot {
            *count += 1;
        }
        self.total += 1;
        self.sum_s += seconds;
    }
}

/// All counters since the start; the event loop writes, a scrape reads.
#[derive(Clone, Debug)]
pub struct Metrics {
    updates_by_kind: [u64; UPDATE_KINDS.len()],
    answers_by_role: [[u64; AnswerOutcome::ALL.len()]; Role::ALL.len()],
    answer: Histogram<{ ANSWER_BOUNDS_S.len() }>,
    added: Histogram<{ ADDED_BOUNDS_S.len() }>,
    models: BTreeMap<String, ModelCounts>,
    telegram_errors_by_code: [u64; TELEGRAM_CODES.len()],
    rows_by_table: [[u64; RowOutcome::ALL.len()]; TABLES.len()],
    sync_failures: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct ModelCounts {
    requests_by_outcome: [u64; MODEL_OUTCOMES.len()],
    tokens_in: u64,
    tokens_out: u64,
}

impl Metrics {
    /// Zeros, with series for each of `models` (the chains of the settings).
    pub fn new<'a>(models: impl IntoIterator<Item = &'a str>) -> Self {
        let mut metrics = Self {
            updates_by_kind: Default::default(),
            answers_by_role: Default::default(),
            answer: Histogram::new(&ANSWER_BOUNDS_S),
            added: Histogram::new(&ADDED_BOUNDS_S),
            models: BTreeMap::from([(OTHER.to_owned(), ModelCounts::default())]),
            telegram_errors_by_code: Default::default(),
            rows_by_table: Default::default(),
            sync_failures: 0,
        };
        metrics.add_models(models);
        metrics
    }

    /// Gives new models of changed settings their series; counters that are there stay.
    pub fn add_models<'a>(&mut self, models: impl IntoIterator<Item = &'a str>) {
        for model in models {
            if self.models.len() > MODELS_MAX {
                return;
            }
            self.models.entry(model.to_owned()).or_default();
        }
    }

    /// An update was stored; `kind` as `types::Incoming` has it.
    pub fn update(&mut self, kind: &str) {
        bump(&UPDATE_KINDS, &mut self.updates_by_kind, kind, 1);
    }

    /// A question came to its end.
    pub fn answer(&mut self, role: Role, outcome: AnswerOutcome) {
        let by_outcome =
            Role::ALL.iter().zip(&mut self.answers_by_role).find(|(at, _)| **at == role);
        if let Some((_, counts)) = by_outcome {
            for (_, count) in
                AnswerOutcome::ALL.iter().zip(counts).filter(|(at, _)| **at == outcome)
            {
                *count += 1;
            }
        }
    }

    /// An answer's last part was sent: the whole span since the update came, and the same less the
    /// time that Gemini and Telegram took; both in seconds.
    pub fn answered(&mut self, seconds: f64, added_seconds: f64) {
        self.answer.observe(seconds);
        self.added.observe(added_seconds);
    }

    /// A call of a model ended; `outcome` is `ok` or `ModelFailure::label`.
    pub fn gemini(&mut self, model: &str, outcome: &str) {
        bump(&MODEL_OUTCOMES, &mut self.model(model).requests_by_outcome, outcome, 1);
    }

    /// What a call of a model cost.
    pub fn tokens(&mut self, model: &str, input: u32, output: u32) {
        let counts = self.model(model);
        counts.tokens_in += u64::from(input);
        counts.tokens_out += u64::from(output);
    }

    /// Telegram refused a call with this HTTP status, or none came (`None`).
    pub fn telegram_error(&mut self, status: Option<u16>) {
        let code = status.map_or_else(|| "network".to_owned(), |status| status.to_string());
        bump(&TELEGRAM_CODES, &mut self.telegram_errors_by_code, &code, 1);
    }

    /// What became of `rows` rows of `table`; an unknown table is a defect and counts nowhere.
    pub fn sync_rows(&mut self, table: &str, outcome: RowOutcome, rows: u64) {
        for (_, counts) in
            TABLES.iter().zip(&mut self.rows_by_table).filter(|(at, _)| **at == table)
        {
            for (_, count) in RowOutcome::ALL.iter().zip(counts).filter(|(at, _)| **at == outcome) {
                *count += rows;
            }
        }
    }

    /// An attempt to synchronise failed.
    pub fn sync_failure(&mut self) {
        self.sync_failures += 1;
    }

    fn model(&mut self, model: &str) -> &mut ModelCounts {
        let name = if self.models.contains_key(model) { model } else { OTHER };
        self.models.entry(name.to_owned()).or_default()
    }
}

/// Adds to the count of `name`, or to the last one where that is `other`.
fn bump<const N: usize>(names: &[&str; N], counts: &mut [u64; N], name: &str, by: u64) {
    let at = names.iter().position(|known| *known == name);
    let at = at.or_else(|| names.iter().position(|known| *known == OTHER));
    if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
        *count += by;
    }
}

/// The whole page of `/metrics`.
pub fn render(metrics: &Metrics, status: &Status, process: &Process) -> String {
    let mut page = Page { out: String::with_capacity(PAGE_BYTES_USUAL) };
    process_families(&mut page, process);
    counter_families(&mut page, metrics);
    gauge_families(&mut page, status);
    page.out
}

/// First size of the page's buffer, so that it need not grow.
const PAGE_BYTES_USUAL: usize = 16 * 1_024;

struct Page {
    out: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One line; labels are (name, value), values are escaped here.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.out.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.out.push_str(if at == 0 { "{" } else { "," });
            self.out.push_str(label);
            self.out.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.family(name, "counter", help);
    }

    /// A gauge without labels; nothing at all where the figure is unknown.
    fn gauge(&mut self, name: &str, help: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.family(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }

    fn histogram<const N: usize>(&mut self, name: &str, help: &str, histogram: &Histogram<N>) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in histogram.bounds_s.iter().zip(&histogram.counts) {
            below += count;
            self.sample(&bucket, &[("le", &bound.to_string())], below);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.total);
        self.sample(&format!("{name}_sum"), &[], histogram.sum_s);
        self.sample(&format!("{name}_count"), &[], histogram.total);
    }
}

fn process_families(page: &mut Page, process: &Process) {
    page.gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        process.resident_bytes,
    );
    page.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        process.virtual_bytes,
    );
    if let Some(seconds) = process.cpu_seconds {
        let name = "process_cpu_seconds_total";
        page.counter(name, "Total user and system CPU time spent in seconds.");
        page.sample(name, &[], seconds);
    }
    page.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        process.start_seconds,
    );
    page.gauge("process_open_fds", "Number of open file descriptors.", process.open_fds);
    page.gauge("process_threads", "Number of operating system threads.", process.threads);
}

fn counter_families(page: &mut Page, metrics: &Metrics) {
    let name = "svs_bot_updates_total";
    page.counter(name, "Updates taken from Telegram, by their type.");
    for (kind, count) in UPDATE_KINDS.iter().zip(&metrics.updates_by_kind) {
        page.sample(name, &[("kind", kind)], count);
    }
    let name = "svs_bot_answers_total";
    page.counter(name, "Questions that came to an end, by the asker's role.");
    for (role, counts) in Role::ALL.iter().zip(&metrics.answers_by_role) {
        for (outcome, count) in AnswerOutcome::ALL.iter().zip(counts) {
            page.sample(name, &[("role", role.name()), ("outcome", outcome.name())], count);
        }
    }
    page.histogram(
        "svs_bot_answer_seconds",
        "From the update received to the answer sent.",
        &metrics.answer,
    );
    page.histogram(
        "svs_bot_added_latency_seconds",
        "The same less the time waiting for Gemini and Telegram.",
        &metrics.added,
    );
    let name = "svs_bot_gemini_requests_total";
    page.counter(name, "Calls of Gemini, by how they ended.");
    for (model, counts) in &metrics.models {
        for (outcome, count) in MODEL_OUTCOMES.iter().zip(&counts.requests_by_outcome) {
            page.sample(name, &[("model", model), ("outcome", outcome)], count);
        }
    }
    let name = "svs_bot_gemini_tokens_total";
    page.counter(name, "Tokens as Gemini counted them.");
    for (model, counts) in &metrics.models {
        page.sample(name, &[("model", model), ("direction", "input")], counts.tokens_in);
        page.sample(name, &[("model", model), ("direction", "output")], counts.tokens_out);
    }
    let name = "svs_bot_telegram_errors_total";
    page.counter(name, "Calls that Telegram refused, by HTTP status.");
    for (code, count) in TELEGRAM_CODES.iter().zip(&metrics.telegram_errors_by_code) {
        page.sample(name, &[("code", code)], count);
    }
    let name = "svs_bot_sync_rows_total";
    page.counter(name, "Rows given to Supabase, by what became of them.");
    for (table, counts) in TABLES.iter().zip(&metrics.rows_by_table) {
        for (outcome, count) in RowOutcome::ALL.iter().zip(counts) {
            page.sample(name, &[("table", table), ("outcome", outcome.name())], count);
        }
    }
    let name = "svs_bot_sync_failures_total";
    page.counter(name, "Synchronisations that ended in an error.");
    page.sample(name, &[], metrics.sync_failures);
}

fn gauge_families(page: &mut Page, status: &Status) {
    let name = "svs_bot_build_info";
    page.family(name, "gauge", "Which program this is; always 1.");
    page.sample(name, &[("version", build::VERSION), ("target", build::TARGET)], 1);
    let counts = &status.counts;
    let ready = Some(u8::from(status.ready));
    page.gauge("svs_bot_ready", "Whether messages are taken and answered.", ready);
    let name = "svs_bot_not_ready";
    page.family(name, "gauge", "What keeps messages from being taken and answered.");
    let cause = cause::of(status);
    for each in cause::CAUSES {
        page.sample(name, &[("cause", each.label)], u8::from(cause == Some(each)));
    }
    page.gauge("svs_bot_inbox_pending", "Updates stored but not finished.", Some(counts.inbox));
    page.gauge(
        "svs_bot_inbox_oldest_timestamp_seconds",
        "When the oldest question came that still waits to be asked.",
        counts.inbox_oldest_ms.map(seconds),
    );
    page.gauge("svs_bot_outbox_pending", "Messages on their way to Telegram.", Some(counts.outbox));
    page.gauge(
        "svs_bot_outbox_parked",
        "Messages that Telegram will never take.",
        Some(counts.outbox_parked),
    );
    page.gauge("svs_bot_sessions", "Live conversations.", Some(counts.sessions));
    page.gauge("svs_bot_vip_sessions", "Group sessions holding a slot.", Some(counts.vip_used));
    page.gauge("svs_bot_vip_slots", "Slots for group sessions.", Some(status.vip_slots));
    let name = "svs_bot_keys";
    page.family(name, "gauge", "Gemini keys, by group and what they can do now.");
    for group in Group::ALL {
        for state in KeyState::ALL {
            let labels = [("group", group.label()), ("state", state.name())];
            page.sample(name, &labels, status.keys_in(group, state));
        }
    }
    let name = "svs_bot_sync_pending_rows";
    page.family(name, "gauge", "Rows waiting for Supabase.");
    for (table, rows) in TABLES.iter().zip(&status.sync.pending) {
        page.sample(name, &[("table", table)], rows);
    }
    let name = "svs_bot_sync_parked_rows";
    page.family(name, "gauge", "Rows that Supabase refused and that were set aside.");
    for (table, rows) in TABLES.iter().zip(&status.sync.parked) {
        page.sample(name, &[("table", table)], rows);
    }
    let synced = status.sync.last_success_ms.map_or(0.0, seconds);
    page.gauge(
        "svs_bot_sync_last_success_timestamp_seconds",
        "When all rows were last in Supabase; 0 never.",
        Some(synced),
    );
    page.gauge(
        "svs_bot_sync_failing",
        "Whether the last synchronisation ended in an error.",
        Some(u8::from(status.sync.enabled && status.sync.last_error.is_some())),
    );
    page.gauge(
        "svs_bot_gemini_failing",
        "Whether call after call of Gemini fails by network or by trouble of its own.",
        Some(u8::from(status.gemini_error.is_some())),
    );
    page.gauge(
        "svs_bot_sync_enabled",
        "Whether Supabase is set.",
        Some(u8::from(status.sync.enabled)),
    );
    page.gauge(
        "svs_bot_last_poll_timestamp_seconds",
        "When Telegram was last heard; 0 never.",
        Some(status.last_poll_ms.map_or(0.0, seconds)),
    );
    page.gauge("svs_bot_database_bytes", "Size of the database file.", Some(counts.database_bytes));
    page.gauge(
        "svs_bot_disk_free_bytes",
        "Space left where the data lies.",
        status.disk.map(|disk| disk.free_bytes),
    );
    page.gauge(
        "svs_bot_disk_bytes",
        "Size of the disk where the data lies.",
        status.disk.map(|disk| disk.total_bytes),
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit 2^53 for 285,000 years"
)]
fn seconds(at_ms: i64) -> f64 {
    at_ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
