//! Owns: the daemon's side of the fleet: the thread that beats, the calls around one request.
//! May not: decide what a refusal means (the pool), touch the database.

use super::clock::{self, Clock};
use super::event::{AskJob, Event};
use super::sharing::Sharing;
use super::workers::Tools;
#[cfg(feature = "redis")]
use crate::config::Config;
use crate::engine::fleet::{News, Ticket, Use, Verdict, View};
use crate::secret_hash;
use crate::types::Secret;
use crate::types::model::{ModelFailure, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Keys are known to all boxes by SHA-256 over this and their text; a key is long enough not to be guessed.
const KEY_SALT: &str = "svs-bot fleet";
/// Between two tries to reach what is away.
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
    /// The others should hear what was used.
    Report,
}

/// What the loop asks of a worker for the fleet.
#[derive(Debug)]
pub enum FleetJob {
    /// To be told with the next beat.
    Tell(Vec<News>),
    /// Shared updates that are answered and said, and the sessions they belong to.
    #[cfg(feature = "redis")]
    Settled(super::relay::Settled),
    /// A group session wants a place.
    #[cfg(feature = "redis")]
    Place(crate::engine::fleet::people::PlaceAsk),
    /// Shared updates that wait for another box.
    #[cfg(feature = "redis")]
    LetGo(Vec<(usize, String)>),
    /// What was used.
    Report(Vec<Use>),
}

/// A key's name on every box.
pub fn shared_name(key: &Secret) -> String {
    secret_hash::fingerprint(KEY_SALT, key)
}

/// The roots of `TLS_CA_FILE`, as PEM.
///
/// # Errors
/// The file cannot be read.
#[cfg(feature = "redis")]
pub fn roots(config: &Config) -> Result<Option<Vec<u8>>, String> {
    let Some(path) = &config.tls_ca_file else { return Ok(None) };
    std::fs::read(path)
        .map(Some)
        .map_err(|error| format!("TLS_CA_FILE: {}: {error}", path.display()))
}

/// Starts the thread that keeps the connection and hears the news; it ends with the loop.
pub fn spawn(
    fleet: Arc<Sharing>,
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
                        let name = fleet.name();
                        log::info!(target: "fleet.joined", boxes; "{name} answers: {boxes} boxes share the keys");
                    }
                    up = Some(true);
                    told.clear();
                    if beat.report {
                        let _ = events.send(Event::Fleet(FleetEvent::Report));
                    }
                    if !beat.news.is_empty() {
                        let _ = events.send(Event::Fleet(FleetEvent::News(beat.news)));
                    }
                    fleet.beat_every()
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
    match fleet.reserve(ask) {
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
        _ => Some(ticket.tokens),
    };
    fleet.settle(ticket, tokens);
}

/// Tells or reports.
pub(super) fn run(tools: &Tools, job: FleetJob) {
    match (job, &tools.fleet) {
        (FleetJob::Tell(news), Some(fleet)) => fleet.tell(news),
        (FleetJob::Report(uses), Some(fleet)) => fleet.report(&uses),
        #[cfg(feature = "redis")]
        (FleetJob::Settled(settled), _) => {
            tools.relay.iter().for_each(|relay| relay.settled(settled.clone()));
        }
        #[cfg(feature = "redis")]
        (FleetJob::Place(ask), _) => {
            tools.relay.iter().for_each(|relay| relay.place(ask.clone()));
        }
        #[cfg(feature = "redis")]
        (FleetJob::LetGo(entries), _) => {
            tools.relay.iter().for_each(|relay| relay.let_go(entries.clone()));
        }
        _ => {}
    }
}

/// The families of `/metrics` that only a box which shares its keys has.
pub fn metrics(view: &View) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for (name, kind, help, value) in [
        ("up", "gauge", "Whether what the boxes share can be used.", u64::from(view.up)),
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
            "Requests sent on this box's own share while the others could not be asked.",
            view.alone,
        ),
        (
            "commands_total",
            "counter",
            "Commands sent to Redis, or calls of the shared ledger.",
            view.commands,
        ),
        ("drift_total", "counter", "Requests of this box that were told late.", view.drift),
    ] {
        let _ = writeln!(
            out,
            "# HELP svs_bot_fleet_{name} {help}\n# TYPE svs_bot_fleet_{name} {kind}\nsvs_bot_fleet_{name} {value}"
        );
    }
    out
}
