//! Owns: the daemon's life: start, loop, reload, end.
//! May not: decide what the core decides.

use super::clock::{Clock, Skew};
use super::core::{Core, End};
use super::event::{Changes, Event};
use super::http::webhook::Listener;
use super::opening::{locked, make_dir, open_store};
#[cfg(feature = "redis")]
use super::relay;
use super::snapshot::Shared;
use super::workers::{self, Tools};
use super::{core, lock, notify};
use super::{fleet, sharing};
use crate::commands::{EXIT_FAILED, EXIT_OK, Failure};
use crate::config::{Config, Webhook};
use crate::engine::mask::Masker;
use crate::net::Net;
use crate::store::salvage;
use crate::types::SECOND_MS;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Stack of a worker: TLS and JSON of bounded depth fit with room to spare; only touched pages count.
const WORKER_STACK_BYTES: usize = 256 * 1024;
/// An idle worker gives its stack back after this long.
const WORKER_KEEP: Duration = Duration::from_secs(3);
/// Threads beside the askers and senders: polling, calls, synchronisation, key checks.
const OTHER_WORKERS: usize = 4;
/// The most that `WORKERS` may say (contract §2).
const WORKERS_MAX: usize = 128;
/// How long an end asked for waits for a database that refuses.
const STOP_WITHIN_MS: i64 = 9 * SECOND_MS;
/// Waits after a turn that the database refused: doubling from the first to the last.
const REFUSED_MS_MIN: i64 = 100;
const REFUSED_MS_MAX: i64 = 10 * SECOND_MS;
/// Between two looks at the room on the disk.
const DISK_EVERY_MS: i64 = 60 * SECOND_MS;

/// Reads the settings again, for SIGHUP and `/reload`; the error is for the log.
pub type Reread = Box<dyn Fn() -> Result<Config, String>>;

/// Ends a daemon from outside by being dropped or used.
pub type StopSender = tokio::sync::oneshot::Sender<()>;
/// The daemon's end of it.
pub type StopReceiver = tokio::sync::oneshot::Receiver<()>;

/// A way to end a daemon from another thread.
pub fn stop_pair() -> (StopSender, StopReceiver) {
    tokio::sync::oneshot::channel()
}

/// How the daemon is started.
pub struct Start<'a> {
    /// Checked settings.
    pub config: Config,
    /// Where everything lies.
    pub data_dir: &'a Path,
    /// Writes become log lines.
    pub dry_run: bool,
    /// Answer what is stored and end; no polling.
    pub drain: bool,
    /// Take messages in and ask no question yet; a hang-up ends it too.
    pub hold_questions: bool,
    /// `$NOTIFY_SOCKET`
    pub notify_socket: Option<String>,
    /// How often systemd wants a sign of life; `None` never.
    pub watchdog_ms: Option<i64>,
    /// For SIGHUP.
    pub reread: Reread,
    /// Called on SIGHUP after the settings: reopens the log file.
    pub reopen_log: Box<dyn Fn(&Config)>,
    /// Ends the daemon from outside, for `demo`; resolves when it should stop.
    pub stop: Option<StopReceiver>,
}

/// How the daemon ended.
pub type Ended = Result<u8, Failure>;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// What kept it from starting, or Telegram refusing the token.
pub fn run(start: Start<'_>) -> Ended {
    make_dir(start.data_dir)?;
    let _lock = lock::take(start.data_dir, std::process::id())
        .map_err(|error| locked(start.data_dir, &error))?;
    let mut store = open_store(start.data_dir)?;
    let clock = Arc::new(Clock::starting_at(core::newest_row_ms(&store).map_err(Failure::failed)?));
    let (asked, sent) = core::recover(&mut store, clock.now()).map_err(Failure::failed)?;
    if asked + sent > 0 {
        log::warn!(
            target: "daemon.recovered", questions = asked, messages = sent;
            "an earlier run ended in the middle: {asked} questions and {sent} messages taken up again"
        );
    }
    let mut core = Core::new(store, start.config.clone(), start.dry_run, start.drain, clock.now())
        .map_err(Failure::failed)?;
    if start.hold_questions {
        core.hold_questions();
    }
    let mut tools = make_tools(&start.config, start.dry_run).map_err(Failure::usage)?;
    let mut shared = Shared::new(Arc::clone(&clock), core.metrics());
    tools.fleet = sharing::join(&start.config, &core.state.salt).map_err(Failure::usage)?;
    shared.fleet.clone_from(&tools.fleet);
    let shared = Arc::new(shared);
    // Lives as long as the process: a stopping daemon still says how it is.
    let _http = match start.config.http_addr {
        Some(addr) => Some(
            super::http::spawn(addr, start.config.http_token.as_ref(), Arc::clone(&shared))
                .map_err(|error| {
                    Failure::failed(format!(
                        "HTTP_ADDR: {addr}: {error}: choose another address or `off`"
                    ))
                })?,
        ),
        None => None,
    };
    let (sender, receiver) = unbounded_channel();
    if let Some(fleet) = &tools.fleet {
        fleet::spawn(Arc::clone(fleet), Arc::clone(&clock), sender.clone())
            .map_err(|error| Failure::failed(format!("threads cannot be started: {error}")))?;
    }
    #[cfg(feature = "redis")]
    if start.config.redis_url.is_some() && start.config.webhook.is_some() {
        let held = core.share_updates(clock.now()).map_err(Failure::failed)?;
        let (config, salt) = (&start.config, &core.state.salt);
        tools.relay = relay::spawn(config, salt, &held, Arc::clone(&clock), sender.clone())
            .map_err(Failure::failed)?;
        tools.relay.iter().for_each(|post| drop(shared.relay.set(Arc::clone(post))));
    }
    let listener = match &start.config.webhook {
        // A drain takes nothing in.
        Some(webhook) if !start.drain => Some(listen(webhook, sender.clone(), &tools)?),
        _ => None,
    };
    let tools = Arc::new(tools);
    log::info!(
        target: "daemon.started",
        version = env!("CARGO_PKG_VERSION"), pid = std::process::id();
        "svs-bot {} starts: data in {}, {} keys, {}",
        env!("CARGO_PKG_VERSION"),
        start.data_dir.display(),
        start.config.keys.len(),
        start.config.http_addr.map_or_else(
            || "no status page".to_owned(),
            |addr| format!("status on http://{addr}/")
        ),
    );
    // Threads are made when needed: room for the largest WORKERS that a reload may bring.
    let workers =
        WORKERS_MAX + core::SENDERS_MAX + core::CALLS_MAX + core::CALLBACKS_MAX + OTHER_WORKERS;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(workers)
        .thread_stack_size(WORKER_STACK_BYTES)
        .thread_keep_alive(WORKER_KEEP)
        .build()
        .map_err(|error| Failure::failed(format!("threads cannot be started: {error}")))?;
    let notifier = notify::Notifier::new(start.notify_socket.as_deref());
    let mut shell = Shell { core, tools, clock, shared, notifier, listener, start, disk_due_ms: 0 };
    let end = runtime.block_on(shell.turn_until_end(&sender, receiver));
    shell.notifier.stopping();
    if let Some(listener) = shell.listener.take() {
        listener.join();
    }
    #[cfg(feature = "redis")]
    if let Some(post) = &shell.tools.relay {
        let now = shell.clock.now();
        post.leave(shell.core.settled_updates(now).unwrap_or_default());
    }
    // Workers still waiting for a reply are left behind: what they do is in the rows already.
    runtime.shutdown_background();
    match end {
        End::Stopped => {
            log::info!(target: "daemon.stopped", "stopped; everything in hand is stored");
            Ok(EXIT_OK)
        }
        End::Drained => {
            log::info!(target: "daemon.drained", "drained: nothing is left to answer or send");
            Ok(EXIT_OK)
        }
        End::Damaged(why) | End::TokenRefused(why) => Err(Failure { code: EXIT_FAILED, text: why }),
    }
}

struct Shell<'a> {
    core: Core,
    tools: Arc<Tools>,
    clock: Arc<Clock>,
    shared: Arc<Shared>,
    notifier: notify::Notifier,
    listener: Option<Listener>,
    start: Start<'a>,
    disk_due_ms: i64,
}

impl Shell<'_> {
    async fn turn_until_end(
        &mut self,
        sender: &UnboundedSender<Event>,
        mut receiver: UnboundedReceiver<Event>,
    ) -> End {
        watch_signals(sender, self.start.hold_questions);
        if let Some(stop) = self.start.stop.take() {
            let sender = sender.clone();
            tokio::spawn(async move {
                // A dropped handle means stop as well.
                let _ = stop.await;
                let _ = sender.send(Event::Stop);
            });
        }
        let mut events = VecDeque::new();
        let mut refused: u32 = 0;
        // One for each signal, counted as it arrives; and when the first did.
        let (mut stops, mut stop_by_ms) = (0, i64::MAX);
        let mut trouble: Option<String>;
        self.notifier.ready();
        loop {
            self.shared.beat();
            #[cfg(feature = "redis")]
            if let Some(post) = &self.tools.relay {
                self.core.observe_relay(post.heard_ms());
                post.set_ready(self.core.takes_updates());
            }
            let now = self.clock.now();
            let wait_ms = match self.core.turn(&mut events, now) {
                Ok(turn) => {
                    trouble = None;
                    if refused > 0 {
                        log::info!(target: "database.recovered", times = refused; "the database works again");
                        refused = 0;
                    }
                    self.answer(&turn.answers);
                    for job in turn.jobs {
                        let (tools, sender) = (Arc::clone(&self.tools), sender.clone());
                        tokio::task::spawn_blocking(move || {
                            // The loop may be gone at the very end; the rows know.
                            let report = |event| drop(sender.send(event));
                            report(workers::run(&tools, job, &report));
                        });
                    }
                    if let Some(end) = turn.end {
                        return end;
                    }
                    turn.wake_ms - self.clock.now().unix_ms
                }
                Err(error) if error.is_damage() => {
                    salvage::suspect(self.start.data_dir);
                    return End::Damaged(error.to_string());
                }
                Err(error) => {
                    refused = refused.saturating_add(1);
                    if let Some(listener) = self.listener.as_ref().filter(|_| refused > 1) {
                        listener.desk.refuse_waiting();
                    }
                    trouble = Some(error.to_string());
                    let wait_ms = (REFUSED_MS_MIN << refused.min(10)).min(REFUSED_MS_MAX);
                    if refused.is_power_of_two() {
                        log::error!(
                            target: "database.failed", times = refused;
                            "{error}: nothing is lost, next try in {wait_ms} ms"
                        );
                    }
                    if stop_by_ms <= now.unix_ms {
                        // Asked to end while the database refuses: the rows are as they were.
                        return End::Stopped;
                    }
                    wait_ms
                }
            };
            self.publish(trouble.as_deref());
            // A quiet loop still turns in time to feed a watchdog of a few seconds.
            let wait_ms = wait_ms.min(self.start.watchdog_ms.unwrap_or(i64::MAX));
            let known = events.len();
            if wait_ms > 0 || events.is_empty() {
                wait(&mut receiver, &mut events, wait_ms).await;
            }
            while let Ok(event) = receiver.try_recv() {
                events.push_back(event);
            }
            stops += events.iter().skip(known).filter(|event| matches!(event, Event::Stop)).count();
            if stops > 0 {
                if let Some(listener) = &self.listener {
                    listener.close();
                }
                stop_by_ms = stop_by_ms.min(self.clock.now().unix_ms + STOP_WITHIN_MS);
            }
            if stops > 1 {
                return End::Stopped;
            }
            if events.iter().any(|event| matches!(event, Event::Reload)) || self.core.take_reload()
            {
                events.retain(|event| !matches!(event, Event::Reload));
                let result = self.reload();
                events.push_back(Event::Reloaded(result));
            }
        }
    }

    /// Deliveries hear what became of them, after the commit.
    fn answer(&self, answers: &[(u64, bool)]) {
        if let Some(listener) = &self.listener {
            for (ticket, stored) in answers {
                listener.desk.answer(*ticket, *stored);
            }
        }
    }

    fn publish(&mut self, trouble: Option<&str>) {
        let now = self.clock.now();
        if self.disk_due_ms <= now.unix_ms {
            self.disk_due_ms = now.unix_ms + DISK_EVERY_MS;
            self.core.observe_disk(crate::os::disk(self.start.data_dir));
        }
        self.core.observe_clock(self.tools.skew.ahead_ms());
        let listening = self.listener.as_ref().is_some_and(Listener::is_up);
        self.core.observe_listener(listening);
        self.core.publish(&self.shared, trouble, now);
        if self.start.watchdog_ms.is_some() {
            self.notifier.watchdog();
        }
    }

    /// A bad file is reported and the old settings stay (contract §2).
    fn reload(&mut self) -> Result<Changes, String> {
        let now = self.clock.now();
        let result = (self.start.reread)().and_then(|mut config| {
            let later = fixed_at_start(&self.start.config, &config);
            // Another bot's updates have other numbers: asking it with our offset would lose them.
            config.bot_token = self.start.config.bot_token.clone();
            config.webhook = self.start.config.webhook.clone();
            let mut tools = make_tools(&config, self.start.dry_run)?;
            config.shared_ledger.clone_from(&self.start.config.shared_ledger);
            config.redis_url.clone_from(&self.start.config.redis_url);
            tools.fleet.clone_from(&self.tools.fleet);
            #[cfg(feature = "redis")]
            tools.relay.clone_from(&self.tools.relay);
            Ok((config, tools, later))
        });
        let (config, tools, later) = match result {
            Ok(read) => read,
            Err(why) => {
                log::error!(
                    target: "settings.refused",
                    "settings not taken over, the old ones stay: {why}"
                );
                return Err(why);
            }
        };
        for name in &later {
            log::warn!(
                target: "settings.later", setting = *name;
                "{name}: changed: it takes effect at the next start"
            );
        }
        let mut changed = self.core.state.config.changed(&config);
        changed.retain(|name| !later.contains(name));
        (self.start.reopen_log)(&config);
        self.tools = Arc::new(tools);
        self.core.reconfigure(config, now);
        let names = changed.join(", ");
        log::info!(target: "settings.reloaded", changed = names.as_str(); "settings read again");
        Ok(Changes { now: changed, later })
    }
}

async fn wait(receiver: &mut UnboundedReceiver<Event>, events: &mut VecDeque<Event>, wait_ms: i64) {
    let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
    if let Ok(Some(event)) = tokio::time::timeout(wait, receiver.recv()).await {
        events.push_back(event);
    }
}

fn watch_signals(sender: &UnboundedSender<Event>, hangup_stops: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let watched = [
        (SignalKind::terminate(), true),
        (SignalKind::interrupt(), true),
        (SignalKind::hangup(), hangup_stops),
    ];
    for (kind, stops) in watched {
        let Ok(mut stream) = signal(kind) else {
            log::error!(
                target: "signal.unwatched",
                "a signal cannot be watched: stop the program with SIGKILL; nothing is lost"
            );
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                let event = if stops { Event::Stop } else { Event::Reload };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
    }
}

/// Settings that only a start takes over, of those that have changed.
fn fixed_at_start(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("HTTP_ADDR", old.http_addr != new.http_addr),
        ("HTTP_TOKEN", old.http_token != new.http_token),
        ("TELEGRAM_BOT_TOKEN", old.bot_token != new.bot_token),
        ("WEBHOOK_URL or another setting of the webhook", old.webhook != new.webhook),
        ("SHARED_LEDGER", old.shared_ledger != new.shared_ledger),
        #[cfg(feature = "redis")]
        ("REDIS_URL", old.redis_url != new.redis_url),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}

#[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "a fleet shares updates"))]
fn listen(
    webhook: &Webhook,
    events: UnboundedSender<Event>,
    tools: &Tools,
) -> Result<Listener, Failure> {
    let listener = super::http::webhook::spawn(
        webhook,
        events,
        #[cfg(feature = "redis")]
        tools.relay.clone(),
    )?;
    let addr = listener.addr;
    log::info!(
        target: "webhook.listening", tls = webhook.tls.is_some();
        "webhook: listening on {addr}, {}",
        if webhook.tls.is_some() { "with TLS" } else { "without TLS: a proxy has to provide it" }
    );
    if webhook.tls.is_none() && !addr.ip().to_canonical().is_loopback() {
        log::warn!(
            target: "webhook.open",
            "WEBHOOK_ADDR: {addr} is not loopback, and without TLS messages and the secret can be read on the way: only for a proxy in one's own network"
        );
    }
    Ok(listener)
}

fn make_tools(config: &Config, dry_run: bool) -> Result<Tools, String> {
    Ok(Tools {
        net: Net::new(config)?,
        dry_run,
        skew: Skew::unknown(),
        fleet: None,
        #[cfg(feature = "redis")]
        relay: None,
    })
}

/// Masks what looks like a secret, and what is one.
pub(crate) fn masker(config: &Config) -> Masker {
    let secrets: Vec<&str> =
        config.secrets().into_iter().map(crate::types::Secret::expose).collect();
    Masker::new(&secrets)
}
