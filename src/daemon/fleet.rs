//! Owns: the daemon's side of the fleet: the thread that beats, the calls around one request.
//! May not: decide what a refusal means (the pool), touch the database.

use super::clock::{self, Clock};
use super::event::{AskJob, Event};
use super::workers::Tools;
use crate::config::Config;
use crate::engine::fleet::News;
use crate::fleet::{BEAT_EVERY_MS, Fleet, Ticket, Verdict, View};
use crate::secret_hash;
use crate::types::model::{ModelFailure, Reply};
use crate::types::{Secret, UnixMs};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Keys are known to all boxes by SHA-256 over this and their text; a key is long enough not to be guessed.
const KEY_SALT: &str = "svs-bot fleet";
/// Between two tries to reach a Redis that is away.
const AWAY_EVERY: Duration = Duration::from_millis(1_000);

/// What happens in the fleet, for the loop.
#[derive(Debug)]
pub enum FleetEvent {
    /// Requests of all boxes on a pair today.
    Used {
        /// By this box's own name.
        project: String,
        /// The model.
        model: String,
        /// By this box's clock.
        day: i64,
        /// How many.
        total: u32,
    },
    /// Other boxes learned something.
    News(Vec<News>),
    /// Redis is there again and should hear what was used.
    Report,
}

/// What the loop asks of a worker for the fleet.
#[derive(Debug)]
pub enum FleetJob {
    /// To be told with the next beat.
    Tell(Vec<News>),
    /// Shared updates that are answered and said.
    Settled(Vec<(usize, String)>),
    /// Shared updates that wait for another box.
    LetGo(Vec<(usize, String)>),
    /// Project, model, day, requests.
    Report(Vec<(String, String, i64, u32)>),
}

/// A key's name on every box.
pub fn shared_name(key: &Secret) -> String {
    secret_hash::fingerprint(KEY_SALT, key)
}

/// This box's part in the fleet of the settings; `None` without `REDIS_URL`.
///
/// # Errors
/// `TLS_CA_FILE` cannot be read.
pub fn join(config: &Config, salt: &str) -> Result<Option<Arc<Fleet>>, String> {
    let Some(url) = &config.redis_url else { return Ok(None) };
    let id = box_id(salt);
    let bot = config.bot_token.expose().split(':').next().unwrap_or_default();
    let about = format!("{}\t{bot}", env!("CARGO_PKG_VERSION"));
    Ok(Some(Arc::new(Fleet::new(url.clone(), roots(config)?, id, about))))
}

/// This box's name in Redis: it stays with the data directory.
pub(super) fn box_id(salt: &str) -> String {
    secret_hash::fingerprint(salt, &Secret::new("box")).chars().take(12).collect()
}

/// The roots of `TLS_CA_FILE`, as PEM.
///
/// # Errors
/// The file cannot be read.
pub fn roots(config: &Config) -> Result<Option<Vec<u8>>, String> {
    let Some(path) = &config.tls_ca_file else { return Ok(None) };
    std::fs::read(path)
        .map(Some)
        .map_err(|error| format!("TLS_CA_FILE: {}: {error}", path.display()))
}

/// Starts the thread that keeps the connection and hears the news; it ends with the loop.
pub fn spawn(
    fleet: Arc<Fleet>,
    clock: Arc<Clock>,
    events: UnboundedSender<Event>,
) -> std::io::Result<()> {
    let beat = move || {
        let mut up: Option<bool> = None;
        // Each cause of one outage is told once.
        let mut told = BTreeSet::new();
        while !events.is_closed() {
            let wait = match fleet.beat(clock.now().unix_ms) {
                Ok(beat) => {
                    if up != Some(true) {
                        let boxes = fleet.view().boxes;
                        log::info!(target: "fleet.joined", boxes; "redis answers: {boxes} boxes share the keys");
                    }
                    up = Some(true);
                    told.clear();
                    if beat.report {
                        let _ = events.send(Event::Fleet(FleetEvent::Report));
                    }
                    if !beat.news.is_empty() {
                        let _ = events.send(Event::Fleet(FleetEvent::News(beat.news)));
                    }
                    Duration::from_millis(BEAT_EVERY_MS)
                }
                Err(why) => {
                    if told.insert(why.clone()) {
                        log::warn!(target: "fleet.away", "{why}: going on with this box's share of the quotas");
                    }
                    up = Some(false);
                    AWAY_EVERY
                }
            };
            clock::pause(wait);
        }
    };
    std::thread::Builder::new().name("fleet".to_owned()).spawn(beat).map(drop)
}

/// Counts a request with all boxes before it is sent.
///
/// # Errors
/// There is no room for it.
pub(super) fn begin(
    tools: &Tools,
    job: &AskJob,
    now_ms: UnixMs,
    report: &dyn Fn(Event),
) -> Result<Option<Ticket>, ModelFailure> {
    let (Some(fleet), Some(ask)) = (&tools.fleet, &job.fleet) else { return Ok(None) };
    let used = |total: u32| {
        report(Event::Fleet(FleetEvent::Used {
            project: ask.own_project.clone(),
            model: ask.model.clone(),
            day: ask.day,
            total,
        }));
    };
    match fleet.reserve(ask, now_ms) {
        Verdict::Counted { ticket, total } => {
            // What others used is worth a word; what is ours the ledger has counted.
            if total > ask.own_today {
                used(total);
            }
            Ok(Some(ticket))
        }
        Verdict::Alone => Ok(None),
        Verdict::Held { held, total } => {
            total.into_iter().for_each(used);
            Err(ModelFailure::Held(held))
        }
    }
}

/// Settles with all boxes how a request ended.
pub(super) fn end(tools: &Tools, ticket: Option<&Ticket>, result: &Result<Reply, ModelFailure>) {
    let (Some(fleet), Some(ticket)) = (&tools.fleet, ticket) else { return };
    let tokens = match result {
        Ok(reply) if reply.usage.input > 0 => Some(reply.usage.input),
        Err(failure) if failure.is_uncounted() => None,
        // As guessed.
        _ => Some(ticket.tokens()),
    };
    fleet.settle(ticket, tokens);
}

/// Tells or reports.
pub(super) fn run(tools: &Tools, job: FleetJob) {
    match (job, &tools.fleet, &tools.relay) {
        (FleetJob::Tell(news), Some(fleet), _) => fleet.tell(news),
        (FleetJob::Report(uses), Some(fleet), _) => fleet.report(&uses),
        (FleetJob::Settled(entries), _, Some(relay)) => relay.settled(entries),
        (FleetJob::LetGo(entries), _, Some(relay)) => relay.let_go(entries),
        _ => {}
    }
}

/// The families of `/metrics` that only this build has.
pub fn metrics(view: &View) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for (name, kind, help, value) in [
        ("up", "gauge", "Whether Redis answers.", u64::from(view.up)),
        ("boxes", "gauge", "Boxes that share the keys, as last seen.", u64::from(view.boxes)),
        ("counted_total", "counter", "Requests counted by all boxes.", view.counted),
        (
            "held_total",
            "counter",
            "Requests held back because the fleet has used up a quota.",
            view.held,
        ),
        (
            "alone_total",
            "counter",
            "Requests sent on this box's own share while Redis was away.",
            view.alone,
        ),
        ("commands_total", "counter", "Commands sent to Redis.", view.commands),
        ("drift_total", "counter", "Requests of this box that Redis had not known of.", view.drift),
    ] {
        let _ = writeln!(
            out,
            "# HELP svs_bot_fleet_{name} {help}\n# TYPE svs_bot_fleet_{name} {kind}\nsvs_bot_fleet_{name} {value}"
        );
    }
    out
}
