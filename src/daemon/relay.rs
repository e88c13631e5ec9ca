//! Owns: the daemon's side of updates that several boxes share: the thread that stores, reads and settles them.
//! May not: decide what is settled (the core), touch the database.
//! Invariant: a delivery is answered with yes only after Redis has it.

use super::clock::{self, Clock};
use super::event::{Event, Fetched};
use crate::config::Config;
use crate::engine::fleet::people::{Fact, PlaceAsk, PlaceSaid, Word};
use crate::fleet::relay::{Entry, HOLD_MS, Held, Mode, Push, Relay, RelayView, Tick};
use crate::json::Element;
use crate::types::{ChatId, IncomingBody, UpdateId};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Between two looks at Redis when nothing happens.
const TICK_EVERY: Duration = Duration::from_millis(100);
/// Between two tries to reach a Redis that is away.
const AWAY_MS: i64 = 500;
/// Updates stored with one command.
const PUSHES_MAX: usize = 16;
/// So many prompt failures in a row mean that Redis is away, and not that this process has slept.
const MISSES_AWAY: u32 = 3;
const PROMPT_MS: i64 = HOLD_MS / 2;
/// How long an end waits to tell the others.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// What a look at Redis brought, for the loop.
#[derive(Debug)]
pub struct Relayed {
    /// As Redis has it; the bodies have been read.
    pub tick: Tick,
    /// The update of the only one of [`Tick::entries`].
    pub update: Option<Fetched>,
}

/// What the others are to know: entries that are settled, and how their sessions stand since.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Of the streams.
    pub entries: Vec<(usize, String)>,
    /// Told before the entries are.
    pub words: Vec<Word>,
    /// What this box has learned of people.
    pub facts: Vec<Fact>,
}

impl Settled {
    /// There is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.words.is_empty() && self.facts.is_empty()
    }
}

type Answer = Box<dyn FnOnce(bool) + Send>;

enum Mail {
    Push(Push, Answer),
    Settled(Settled),
    Place(PlaceAsk),
    LetGo(Vec<(usize, String)>),
    Leave(Settled, Sender<()>),
}

/// Where deliveries and settled updates are handed in; shared by all threads.
pub struct Post {
    mail: Mutex<Sender<Mail>>,
    /// When Redis was last heard, or was known to be away for everyone here; 0 never.
    heard_ms: AtomicI64,
    is_ready: AtomicBool,
    view: Mutex<RelayView>,
}

impl Post {
    /// Stores an update with the other boxes; `answer` hears whether it is.
    pub fn push(&self, update: &Fetched, body: Vec<u8>, answer: Answer) {
        // What cannot be read is set aside by whoever gets it, with its reason.
        let (body, why) = match &update.incoming {
            Ok(_) => (String::from_utf8_lossy(&body).into_owned(), String::new()),
            Err(why) => (update.raw.clone(), why.clone()),
        };
        let push = Push { update: update.id.0, chat: chat_of(update), body, why };
        self.send(Mail::Push(push, answer));
    }

    /// These are answered and said.
    pub fn settled(&self, settled: Settled) {
        self.send(Mail::Settled(settled));
    }

    /// A group session wants a place.
    pub fn place(&self, ask: PlaceAsk) {
        self.send(Mail::Place(ask));
    }

    /// These wait for whoever has their partition next.
    pub fn let_go(&self, entries: Vec<(usize, String)>) {
        self.send(Mail::LetGo(entries));
    }

    /// The last word: others may take over what is not settled.
    pub fn leave(&self, settled: Settled) {
        let (done, left) = channel();
        self.send(Mail::Leave(settled, done));
        let _ = left.recv_timeout(LEAVE_WITHIN);
    }

    /// When Redis was last heard.
    pub fn heard_ms(&self) -> i64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    /// Whether this box takes its part.
    pub fn set_ready(&self, ready: bool) {
        self.is_ready.store(ready, Ordering::Relaxed);
    }

    /// How it stands.
    pub fn view(&self) -> RelayView {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, mail: Mail) {
        // Without its thread the process is at its end: an answer that is dropped says no.
        let _ = self.mail.lock().unwrap_or_else(PoisonError::into_inner).send(mail);
    }
}

/// Starts the thread; `None` where updates are not delivered or there is no Redis.
///
/// # Errors
/// Files cannot be read, or threads not be started.
pub fn spawn(
    config: &Config,
    salt: &str,
    held: &Held,
    clock: Arc<Clock>,
    events: UnboundedSender<Event>,
) -> Result<Option<Arc<Post>>, String> {
    let (Some(url), Some(_)) = (&config.redis_url, &config.webhook) else { return Ok(None) };
    let bot = config.bot_token.expose().split(':').next().unwrap_or_default();
    let id = super::sharing::box_id(salt);
    let roots = super::fleet::roots(config)?;
    let relay = Relay::new(url.clone(), roots, id, bot.to_owned(), held);
    let (mail, inbox) = channel();
    let post = Arc::new(Post {
        mail: Mutex::new(mail),
        heard_ms: AtomicI64::new(0),
        is_ready: AtomicBool::new(false),
        view: Mutex::default(),
    });
    let carrier = Carrier {
        relay,
        post: Arc::clone(&post),
        clock,
        events,
        tried_ms: 0,
        misses: 0,
        not_before_ms: 0,
        up: None,
        told: BTreeSet::new(),
        refused: BTreeSet::new(),
    };
    std::thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || carrier.run(&inbox))
        .map_err(|error| format!("threads cannot be started: {error}"))?;
    Ok(Some(post))
}

struct Carrier {
    relay: Relay,
    post: Arc<Post>,
    clock: Arc<Clock>,
    events: UnboundedSender<Event>,
    tried_ms: i64,
    misses: u32,
    not_before_ms: i64,
    up: Option<bool>,
    /// Causes of this outage that were told.
    told: BTreeSet<String>,
    /// Causes told since a delivery was last stored.
    refused: BTreeSet<String>,
}

impl Carrier {
    fn run(mut self, inbox: &Receiver<Mail>) {
        let mut wait = TICK_EVERY;
        while !self.events.is_closed() {
            let mut next = match inbox.recv_timeout(wait) {
                Ok(mail) => Some(mail),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut pushes = Vec::new();
            while let Some(mail) = next {
                match mail {
                    Mail::Push(push, answer) => pushes.push((push, answer)),
                    Mail::Settled(settled) => self.settle(settled),
                    Mail::Place(ask) => self.place(&ask),
                    Mail::LetGo(entries) => self.relay.let_go(&entries),
                    Mail::Leave(settled, done) => {
                        self.settle(settled);
                        let now_ms = self.now_ms();
                        drop(self.relay.meet(now_ms));
                        let _ = self.relay.tick(Mode::Leaves, self.now_ms());
                        let _ = done.send(());
                        return;
                    }
                }
                next = if pushes.len() < PUSHES_MAX { inbox.try_recv().ok() } else { None };
            }
            self.push(pushes);
            wait = if self.tick() { Duration::ZERO } else { TICK_EVERY };
        }
    }

    fn settle(&mut self, settled: Settled) {
        let now_ms = self.now_ms();
        self.relay.tell_sessions(settled.words, now_ms);
        self.relay.tell_facts(settled.facts);
        self.relay.settle(settled.entries);
    }

    fn place(&mut self, ask: &PlaceAsk) {
        let now_ms = self.now_ms();
        let mut said = PlaceSaid { inbox: ask.inbox, granted: None, wait_ms: 0 };
        if self.not_before_ms <= now_ms {
            said = self.relay.place(ask, now_ms);
        }
        let tick = Tick { place: Some(said), ..Tick::default() };
        let _ = self.events.send(Event::Relayed(Box::new(Relayed { tick, update: None })));
    }

    /// Reads the sessions of one partition that was taken over; whether there was one.
    fn take_over(&mut self, now_ms: i64) -> bool {
        match self.relay.take_over(now_ms) {
            Ok(None) => false,
            Ok(sessions) => {
                let tick = Tick { sessions, ..Tick::default() };
                let relayed = Relayed { tick, update: None };
                let _ = self.events.send(Event::Relayed(Box::new(relayed)));
                true
            }
            Err(why) => {
                self.missed(&why);
                false
            }
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().unix_ms
    }

    fn push(&mut self, pushes: Vec<(Push, Answer)>) {
        if pushes.is_empty() {
            return;
        }
        let (updates, answers): (Vec<_>, Vec<_>) = pushes.into_iter().unzip();
        let stored = if self.not_before_ms > self.now_ms() {
            Vec::new()
        } else {
            match self.relay.push(&updates) {
                Ok(stored) => {
                    self.refused.clear();
                    stored
                }
                // A full Redis refuses what is new and takes what is settled: that is told once, too.
                Err(why) => {
                    self.not_before_ms = self.now_ms() + AWAY_MS;
                    if self.refused.insert(why.clone()) {
                        tell(&why);
                    }
                    Vec::new()
                }
            }
        };
        for (at, answer) in answers.into_iter().enumerate() {
            answer(stored.get(at).copied().unwrap_or(false));
        }
    }

    /// Looks at Redis, when it is time; whether to look again at once.
    fn tick(&mut self) -> bool {
        let began_ms = self.now_ms();
        if self.not_before_ms > began_ms {
            return false;
        }
        let mode =
            if self.post.is_ready.load(Ordering::Relaxed) { Mode::Joins } else { Mode::Finishes };
        let result = self.relay.tick(mode, began_ms);
        let now_ms = self.now_ms();
        let prompt = now_ms - self.tried_ms < PROMPT_MS;
        self.tried_ms = now_ms;
        let mut tick = match result {
            Ok(tick) => tick,
            Err(why) => {
                self.misses = if prompt { self.misses.saturating_add(1) } else { 1 };
                // Nobody else can take over then what is in hand: it is finished.
                if self.misses >= MISSES_AWAY && self.post.heard_ms() > 0 {
                    self.post.heard_ms.store(now_ms, Ordering::Relaxed);
                }
                self.missed(&why);
                return false;
            }
        };
        self.misses = 0;
        self.told.clear();
        if self.up != Some(true) {
            let partitions = self.relay.view().partitions;
            log::info!(target: "relay.joined", partitions; "redis answers: updates are shared by the boxes of this bot");
        }
        self.up = Some(true);
        let slept = now_ms - self.post.heard_ms.swap(now_ms, Ordering::Relaxed) > HOLD_MS;
        *self.post.view.lock().unwrap_or_else(PoisonError::into_inner) = self.relay.view();
        let again = self.relay.is_behind(&tick);
        let (facts, retell) = self.relay.meet(now_ms);
        tick.facts = facts;
        tick.retell |= retell;
        if slept || !tick.is_empty() {
            for relayed in read(tick) {
                let _ = self.events.send(Event::Relayed(Box::new(relayed)));
            }
        }
        // Before anything of theirs is read.
        self.take_over(now_ms) || again
    }

    fn missed(&mut self, why: &str) {
        self.not_before_ms = self.now_ms() + AWAY_MS;
        if self.told.insert(why.to_owned()) && !self.refused.contains(why) {
            tell(why);
        }
        self.up = Some(false);
    }
}

fn tell(why: &str) {
    log::warn!(target: "relay.away", "{why}: deliveries are refused, Telegram keeps them");
}

/// What happened to the partitions first, then each update for itself, so that one that cannot be stored stands alone.
fn read(mut tick: Tick) -> Vec<Relayed> {
    let entries = std::mem::take(&mut tick.entries);
    let mut all = vec![Relayed { tick, update: None }];
    for mut entry in entries {
        let update = Some(update(&mut entry));
        all.push(Relayed { tick: Tick { entries: vec![entry], ..Tick::default() }, update });
    }
    all
}

fn update(entry: &mut Entry) -> Fetched {
    let body = std::mem::take(&mut entry.body);
    let id = UpdateId(entry.update);
    if !entry.why.is_empty() {
        return Fetched { id, incoming: Err(std::mem::take(&mut entry.why)), raw: body };
    }
    super::workers::fetched(&Element::Whole(body.as_bytes())).unwrap_or_else(|| Fetched {
        id,
        incoming: Err("no update: written by another program".to_owned()),
        raw: body,
    })
}

/// The chat in whose order an update stands.
pub fn chat_of(update: &Fetched) -> Option<ChatId> {
    match &update.incoming.as_ref().ok()?.body {
        IncomingBody::Message(message) | IncomingBody::Edited(message) => Some(message.chat),
        IncomingBody::Callback(callback) => Some(callback.chat),
        IncomingBody::Membership { chat, .. } | IncomingBody::Stopped { chat, .. } => Some(*chat),
        IncomingBody::Other => None,
    }
}

/// The families of `/metrics` that only a box which shares updates has.
pub fn metrics(view: &RelayView, up: bool) -> String {
    let mut out = String::new();
    let of = |number: i64| u64::try_from(number).unwrap_or(0);
    for (name, kind, help, value) in [
        ("up", "gauge", "Whether updates can be stored and read.", u64::from(up)),
        ("boxes", "gauge", "Boxes of this bot.", u64::from(view.boxes)),
        ("partitions", "gauge", "Partitions held by this box.", u64::from(view.partitions)),
        ("backlog", "gauge", "Updates of all boxes that are not settled.", view.backlog),
        ("lag_milliseconds", "gauge", "Age of the oldest of them.", of(view.lag_ms)),
        ("stored_total", "counter", "Deliveries stored by this box.", view.stored),
        (
            "refused_total",
            "counter",
            "Deliveries refused, for Telegram to come again.",
            view.refused,
        ),
        ("taken_total", "counter", "Updates taken in by this box.", view.taken),
        ("lost_total", "counter", "Partitions lost to other boxes.", view.lost),
        ("commands_total", "counter", "Commands sent to Redis for updates.", view.commands),
    ] {
        let _ = writeln!(
            out,
            "# HELP svs_bot_relay_{name} {help}\n# TYPE svs_bot_relay_{name} {kind}\nsvs_bot_relay_{name} {value}"
        );
    }
    out
}

impl Post {
    /// Whether Redis was heard lately.
    pub fn is_up(&self) -> bool {
        clock::system_ms() - self.heard_ms() < HOLD_MS
    }
}
