//! Owns: the simulated world: the virtual clock, what happens when, the life of the core.
//! May not: judge (that is `check.rs`).

mod services;
mod troubles;
mod ways;

use crate::check::Witness;
use crate::disk;
use crate::gemini::{self, Gemini, Said};
use crate::people;
use crate::plan::{Dice, Fault, Plan};
use crate::supabase::{KEY, Supabase};
use crate::telegram::{self, Done, Poll, Telegram};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use svs_bot::config::{Config, KeySetting, StreamSetting};
use svs_bot::daemon::core::{self, Core, End};
use svs_bot::daemon::event::{
    AskJob, Asked, Event, Fetched, Job, PollFailure, SendFailure, SetupResult,
};
use svs_bot::store::outbox::Sending;
use svs_bot::store::{Durability, Store, erase};
use svs_bot::types::model::ModelFailure;
use svs_bot::types::{
    DAY_MS, Group, HOUR_MS, MINUTE_MS, MessageId, Now, Role, SECOND_MS, Secret, User, UserId,
};
use svs_bot::wire::telegram::read_update;
use svs_bot::wire::{NetError, NetErrorKind, Request};

pub const BOT_ID: i64 = 123_456;
pub const VIP_SLOTS: u32 = 3;
pub const WORKERS: usize = 6;
pub const QUEUE_MAX: u32 = 300;
pub const USER_QUEUE_MAX: u32 = 8;
/// After people fall silent and the faults end, all must be done by then.
const REST_WITHIN_MS: i64 = 30 * HOUR_MS;
/// Events handled at most; more is a loop that spins.
const STEPS_PER_HOUR_MAX: u64 = 200_000;

/// Steps at one virtual instant; more is a loop that spins.
const AT_ONCE_MAX: u32 = 2_000;

/// What happens at an instant.
pub enum Item {
    /// A worker of this life hands back an event.
    Back(u32, Box<Event>),
    /// Somebody writes.
    Writes,
    PollArrives {
        life: u32,
        offset: i64,
        limit: u32,
        timeout_s: u32,
    },
    PollEnds {
        since_ms: i64,
    },
    SendArrives(u32, Box<Sending>),
    PreviewArrives {
        life: u32,
        inbox: i64,
        request: Box<Request>,
    },
    AskArrives(u32, Box<AskJob>),
    SyncArrives(u32, Box<Request>),
    /// Telegram tries to deliver this update.
    Deliver(i64),
    /// Nobody has answered this delivery.
    DeliveryEnds(u64),
    /// An update comes once more although it was taken.
    Repeat(String),
    Trouble(Fault),
    TroubleEnds(Fault),
}

pub struct World {
    pub plan: Plan,
    pub dice: Dice,
    /// Of its own, so that worlds are the same as before anybody was forgotten.
    forgets: Dice,
    /// The same for deliveries and files.
    ways: Dice,
    hook: ways::Hook,
    pub now_ms: i64,
    start_ms: i64,
    items: BTreeMap<(i64, u64), Item>,
    sequence: u64,
    pub core: Option<Core>,
    pub life: u32,
    dir: PathBuf,
    config: Config,
    /// The wall clock beside the true time, and as this life of the core follows it.
    skew_ms: i64,
    core_skew_ms: i64,
    events: VecDeque<Event>,
    wake_ms: i64,
    refused: u32,
    pub healed: bool,
    away: [bool; 3],
    pub telegram: Telegram,
    pub gemini: Gemini,
    pub supabase: Supabase,
    pub witness: Witness,
    /// Faults that happened, and steps, for the report.
    pub faults: BTreeMap<Fault, u64>,
    pub steps: u64,
    at_once: u32,
    pub trace: u64,
    pub updates: u32,
}

impl World {
    pub fn new(plan: Plan) -> Result<Self, String> {
        let mut dice = Dice::new(plan.seed);
        // Days whose Pacific midnight is an hour off, the turn of a year, and any other.
        let starts = [1_793_491_200_000, 1_805_000_400_000, 1_798_700_000_000, 1_800_000_000_000];
        let start_ms = dice.pick(&starts) - dice.span(0, 2 * HOUR_MS);
        let dir = disk::scratch(plan.seed);
        let mut config = config(&mut dice);
        config.webhook = plan.webhook.then(ways::webhook);
        let mut world = Self {
            now_ms: start_ms,
            start_ms,
            items: BTreeMap::new(),
            sequence: 0,
            core: None,
            life: 0,
            dir,
            config,
            skew_ms: 0,
            core_skew_ms: 0,
            events: VecDeque::new(),
            wake_ms: start_ms,
            refused: 0,
            healed: false,
            away: [false; 3],
            telegram: Telegram::new(),
            gemini: Gemini::default(),
            supabase: Supabase::new(),
            witness: Witness::default(),
            faults: BTreeMap::new(),
            steps: 0,
            at_once: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            updates: 0,
            forgets: Dice::new(plan.seed ^ 0xf0_9e75),
            ways: Dice::new(plan.seed ^ 0x3a75),
            hook: ways::Hook::default(),
            plan,
            dice,
        };
        world.start_core()?;
        world.at(0, Item::Writes);
        for fault in Fault::ALL {
            world.next_trouble(fault);
        }
        Ok(world)
    }

    fn at(&mut self, after_ms: i64, item: Item) {
        self.sequence += 1;
        self.items.insert((self.now_ms + after_ms.max(0), self.sequence), item);
    }

    fn end_ms(&self) -> i64 {
        self.start_ms + self.plan.hours * HOUR_MS
    }

    /// Whether this fault happens now.
    fn hit(&mut self, fault: Fault, per_mille: u64) -> bool {
        // The dice roll in any case, so that one fault less changes as little as possible.
        let hit = self.dice.per_mille(per_mille);
        let hit = hit && !self.healed && self.plan.faults & fault.bit() != 0;
        if hit {
            self.count(fault);
        }
        hit
    }

    fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
        self.note(fault as u64 + 1_000);
    }

    /// Adds to the trace by which two runs of a seed are compared.
    fn note(&mut self, word: u64) {
        for word in [word, self.now_ms.unsigned_abs()] {
            self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Plays it to the end: people and faults, then healing and rest.
    pub fn run(&mut self) -> Result<(), String> {
        let steps_max = STEPS_PER_HOUR_MAX * self.plan.hours.unsigned_abs().max(1);
        loop {
            let next = self.items.first_key_value().map(|(at, _)| at.0);
            let next = next.unwrap_or(i64::MAX).min(self.wake_ms);
            if !self.healed && next >= self.end_ms() {
                self.heal()?;
                continue;
            }
            if self.healed && self.rests()? {
                break;
            }
            if self.healed && next > self.end_ms() + REST_WITHIN_MS {
                return Err(format!("not at rest: {}", self.witness.unrest(self.core())));
            }
            self.steps += 1;
            if self.steps > steps_max {
                return Err("the loop spins".to_owned());
            }
            if self.now_ms < next {
                self.at_once = 0;
            }
            self.at_once += 1;
            if self.at_once > AT_ONCE_MAX {
                let unrest = self.core.as_ref().map(|core| self.witness.unrest(core));
                let (wake_ms, next) = (self.wake_ms - self.now_ms, self.items.len());
                return Err(format!(
                    "{AT_ONCE_MAX} turns at one instant: the loop spins: {} events, wake in {wake_ms} ms, {next} items: {unrest:?}",
                    self.events.len()
                ));
            }
            self.now_ms = self.now_ms.max(next);
            match self.items.first_entry() {
                Some(entry) if entry.key().0 <= self.now_ms => {
                    let item = entry.remove();
                    self.happens(item)?;
                }
                _ => {}
            }
            // After a refused turn the shell waits, unless something new comes.
            let arrived = self.refused == 0 && !self.events.is_empty();
            if self.core.is_some() && (arrived || self.wake_ms <= self.now_ms) {
                self.turn()?;
            }
        }
        self.supabase.release();
        self.witness.at_rest(self.core.as_ref().ok_or("no core at the end")?, self)
    }

    fn core(&self) -> &Core {
        self.core.as_ref().expect("a core lives whenever it is judged")
    }

    fn rests(&self) -> Result<bool, String> {
        let Some(core) = &self.core else { return Ok(false) };
        Ok(self.telegram.waiting.is_empty()
            && self.events.is_empty()
            && core.in_hand().iter().all(|(_, n)| *n == 0)
            && self.witness.nothing_waits(core)?)
    }

    fn heal(&mut self) -> Result<(), String> {
        self.now_ms = self.end_ms();
        self.healed = true;
        self.away = [false; 3];
        disk::heal();
        // What was given up before is either done by now or never.
        self.supabase.release();
        if self.core.is_none() {
            self.start_core()?;
        }
        Ok(())
    }

    pub fn core_now(&self) -> Now {
        Now { unix_ms: self.now_ms + self.core_skew_ms }
    }

    fn turn(&mut self) -> Result<(), String> {
        let now = self.core_now();
        let Some(core) = self.core.as_mut() else { return Ok(()) };
        let before = self.events.len();
        match core.turn(&mut self.events, now) {
            Ok(turn) => {
                self.refused = 0;
                self.wake_ms = turn.wake_ms - self.core_skew_ms;
                let taken = before - self.events.len();
                self.note(taken as u64);
                self.witness.committed(self.now_ms, now);
                self.delivered(&turn.answers)?;
                // One turn may not ask for more than it can be in the middle of.
                for job in turn.jobs {
                    self.dispatch(job)?;
                }
                let core = self.core.as_ref().ok_or("no core")?;
                self.witness.after_turn(core, now, &self.telegram)?;
                match turn.end {
                    None => {}
                    Some(End::Stopped) => self.restart_after(SECOND_MS),
                    Some(other) => return Err(format!("the core ended: {other:?}")),
                }
            }
            Err(error) => {
                self.refused += 1;
                self.witness.refused(self.now_ms);
                self.wake_ms = self.now_ms + (100 << self.refused.min(10)).min(10_000);
                self.note(77);
                self.refuse_deliveries();
                if self.healed && self.refused > 50 {
                    return Err(format!("the database refuses though nothing is wrong: {error}"));
                }
                if !disk::is_troubled() && self.refused > 3 {
                    return Err(format!("a turn fails on a sound disk: {error}"));
                }
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, job: Job) -> Result<(), String> {
        let life = self.life;
        let out_ms = self.dice.span(2, 60);
        match job {
            Job::Poll { offset, timeout_s, limit } => {
                self.note(1);
                self.at(out_ms, Item::PollArrives { life, offset, limit, timeout_s });
            }
            Job::Ask(job) => {
                self.note(2 + job.inbox.unsigned_abs());
                self.witness.asks(&job)?;
                self.at(out_ms, Item::AskArrives(life, job));
            }
            Job::Send(sending) => {
                self.note(3 + sending.id.unsigned_abs());
                self.witness.sends(&sending)?;
                self.at(out_ms, Item::SendArrives(life, sending));
            }
            Job::Preview { inbox, request } => {
                let request = Box::new(request);
                self.at(out_ms, Item::PreviewArrives { life, inbox, request });
            }
            Job::Call { purpose, .. } => {
                let result = self.telegram_trouble(true).map_or(Ok(()), Err);
                self.back(out_ms, Event::Called { purpose, result });
            }
            Job::Me => {
                let user = User {
                    id: UserId(BOT_ID),
                    is_bot: true,
                    username: Some("sim_bot".to_owned()),
                    first_name: "sim".to_owned(),
                    language_code: None,
                };
                let result = self.telegram_trouble(true).map_or(Ok((user, true)), Err);
                self.back(out_ms, Event::Ready(SetupResult::Me(result)));
            }
            Job::RemoveWebhook => {
                self.back(out_ms, Event::Ready(SetupResult::WebhookGone(Ok(true))));
            }
            job @ (Job::SetWebhook { .. } | Job::WebhookInfo) => self.hook_asked(&job, out_ms)?,
            Job::Sync(request) => {
                self.note(4);
                self.at(out_ms, Item::SyncArrives(life, Box::new(request)));
            }
            Job::CheckKey { secret } => {
                self.back(out_ms, Event::KeyChecked { secret, result: Ok(()) });
            }
            Job::Fleet(_) => return Err("a simulated bot is alone".to_owned()),
        }
        Ok(())
    }

    fn back(&mut self, after_ms: i64, event: Event) {
        let life = self.life;
        self.back_to(life, after_ms, event);
    }

    fn back_to(&mut self, life: u32, after_ms: i64, event: Event) {
        self.at(after_ms, Item::Back(life, Box::new(event)));
    }

    fn happens(&mut self, item: Item) -> Result<(), String> {
        match item {
            Item::Back(life, event) => {
                if life == self.life && self.core.is_some() {
                    self.witness.hears(&event);
                    self.events.push_back(*event);
                }
            }
            Item::Writes => self.somebody_writes(),
            Item::PollArrives { life, offset, limit, timeout_s } => {
                self.poll_arrives(life, offset, limit, timeout_s)?;
            }
            Item::PollEnds { since_ms } => {
                if self.telegram.poll.as_ref().is_some_and(|poll| poll.until_ms == since_ms) {
                    self.answer_poll();
                }
            }
            Item::SendArrives(life, sending) => self.send_arrives(life, sending)?,
            Item::PreviewArrives { life, inbox, request } => {
                let result = match self.telegram_trouble(false) {
                    Some(failure) => Err(failure),
                    None => {
                        Ok(MessageId(self.telegram.preview(&request.path, preview_chat(&request))))
                    }
                };
                let after_ms = self.dice.span(10, 300);
                self.back_to(life, after_ms, Event::Previewed { inbox, result });
            }
            Item::AskArrives(life, job) => self.ask_arrives(life, &job),
            Item::SyncArrives(life, request) => self.sync_arrives(life, &request),
            Item::Deliver(update) => self.deliver(update),
            Item::DeliveryEnds(ticket) => self.delivery_ends(ticket),
            Item::Repeat(text) => self.push(&text, 0),
            Item::Trouble(fault) => self.trouble(fault)?,
            Item::TroubleEnds(fault) => self.trouble_ends(fault)?,
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.core = None;
        disk::clean(&self.dir);
    }
}

fn place(fault: Fault) -> usize {
    match fault {
        Fault::TelegramAway => 0,
        Fault::GeminiAway => 1,
        _ => 2,
    }
}

fn cut(maybe_done: bool) -> NetError {
    NetError { maybe_done, kind: NetErrorKind::Cut, text: "cut".to_owned() }
}

fn preview_chat(request: &Request) -> i64 {
    let body = request.body.as_deref().unwrap_or("{}");
    svs_bot::json::parse(body.as_bytes())
        .ok()
        .and_then(|body| body.at("chat_id").i64())
        .unwrap_or(0)
}

/// The project is the letter in the made-up key.
fn project_of(key: &Secret) -> String {
    key.expose().split('-').nth(2).unwrap_or_default().to_owned()
}

fn config(dice: &mut Dice) -> Config {
    let keys = (0..6).map(|n| {
        let project = ["pa", "pb", "pc"][n % 3];
        let group = [Group::A, Group::B, Group::C, Group::D, Group::Router, Group::Ungrouped][n];
        KeySetting {
            secret: Secret::new(format!("AIza-sim-{project}-{n:024}")),
            group,
            project: Some(project.to_owned()),
        }
    });
    let mut config = Config::sample();
    config.bot_token = Secret::new(format!("{BOT_ID}:simulated-token-of-no-use"));
    config.keys = keys.collect();
    config.owner_ids = vec![UserId(1)];
    config.vip_ids = vec![UserId(2), UserId(3)];
    config.premium_ids = vec![UserId(4), UserId(5)];
    config.default_role = dice.pick(&[Role::Normal, Role::Normal, Role::Guest]);
    config.vip_slots = VIP_SLOTS;
    config.workers = WORKERS;
    config.queue_max = QUEUE_MAX;
    config.user_queue_max = USER_QUEUE_MAX;
    config.trigger_keywords = vec!["simbot".to_owned()];
    config.stream = dice.pick(&[StreamSetting::Off, StreamSetting::Edit, StreamSetting::Auto]);
    config.supabase = Some(svs_bot::config::Supabase {
        url: "https://simulated.supabase.co".to_owned(),
        key: Secret::new(KEY),
    });
    config.http_addr = None;
    config
}
