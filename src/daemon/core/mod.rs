//! Owns: the loop's state and its turn: events in, rows changed in one transaction, jobs out.
//! May not: open a socket, read a clock, start a thread.
//! Invariant: a job leaves only after the transaction that claimed it is committed; when that fails,
//! nothing has happened, the events are kept and everything cached is read again from the rows.

mod accept;
mod along;
mod ask;
mod export;
mod fleet;
mod gemini;
mod hook;
mod keep;
#[cfg(feature = "redis")]
mod people;
mod poison;
mod poll;
mod press;
#[cfg(feature = "redis")]
mod relay;
mod send;
mod show;
pub mod start;
mod summary;
mod sync;
mod talk;
mod tell;
mod watch;
mod words;

use super::event::{Event, Job};
use super::metrics::{Metrics, RowOutcome};
use crate::config::Config;
use crate::engine::keypool::Pool;
use crate::engine::mask::Masker;
use crate::engine::policy::Policy;
use crate::store::Db;
use crate::store::status::Published;
use crate::store::{Durability, Result, Store, future, history, inbox, ledger, meta, outbox};
use crate::types::status::{Disk, SqliteMemory};
use crate::types::{Lane, Now, Secret, UnixMs};
use nanorand::{Rng, WyRand};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rows sent to Telegram at once; its own pace is about 30 a second (api-reference A7).
pub const SENDERS_MAX: usize = 16;
/// Calls without consequences (typing, previews) at once; more are dropped, not queued.
pub const CALLS_MAX: usize = 8;
/// Further ones that only pressed buttons may take: who pressed waits for the answer.
pub const CALLBACKS_MAX: usize = 8;
/// Events taken into one transaction.
const EVENTS_PER_TURN_MAX: usize = 256;
/// When the soonest wake cannot be read, the loop looks again after this long.
const RETRY_LOOK_MS: i64 = 1_000;
/// Refused turns after which events are taken one by one.
const REFUSED_TOGETHER_MAX: u32 = 3;
/// A commit that was not synced is synced after this long (contract §5.1: the last second).
const SYNC_AFTER_MS: i64 = 800;
/// The loop turns at least this often, to notice what commands wrote (contract §1: 5 s).
const IDLE_TURN_MS: i64 = 4_500;

/// What the loop does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Polls, asks, sends.
    Running,
    /// Polls no more, answers and synchronises everything, then ends.
    Draining,
    /// Ends as soon as what is in hand is finished, at `until_ms` at the latest.
    Stopping {
        /// Whatever is then in hand is put back.
        until_ms: UnixMs,
    },
}

/// Why the loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As asked.
    Stopped,
    /// Drained to the last row.
    Drained,
    /// Telegram does not know the token.
    TokenRefused(String),
    /// The database is damaged.
    Damaged(String),
}

/// What a turn asks of the shell.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be started now.
    pub jobs: Vec<Job>,
    /// Deliveries by their tickets: whether they are stored, or Telegram shall come again.
    pub answers: Vec<(u64, bool)>,
    /// The next turn comes at this instant, or with the next event.
    pub wake_ms: UnixMs,
    /// The loop is over.
    pub end: Option<End>,
}

/// A question that a worker is asking.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) lane: Lane,
    pub(crate) lease: crate::engine::keypool::Lease,
    pub(crate) taken_ms: UnixMs,
    pub(crate) typing_due_ms: UnixMs,
    pub(crate) show: show::Show,
}

/// How polling goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Polling {
    pub(crate) in_flight: bool,
    pub(crate) not_before_ms: UnixMs,
    pub(crate) failures: u32,
    pub(crate) conflicts: u32,
    pub(crate) last_ok_ms: UnixMs,
    /// When an update last came, to this process or an earlier one.
    pub(crate) last_update_ms: UnixMs,
    /// Why the bot is not ready, empty when it is.
    pub(crate) trouble: String,
    pub(crate) conflict_last_ms: UnixMs,
    /// Since when there is trouble, when it was last told, and how long until it is told again.
    pub(crate) trouble_ms: UnixMs,
    pub(crate) told_ms: UnixMs,
    pub(crate) tell_after_ms: i64,
    /// What is wrong will not pass by itself soon.
    pub(crate) unready: bool,
    /// 1 after a page that could not be read as a page.
    pub(crate) limit: u32,
}

/// What is undone when a transaction fails.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) phase: Phase,
    pub(crate) offset: i64,
    pub(crate) polling: Polling,
    pub(crate) hook: hook::Hook,
    #[cfg(feature = "redis")]
    pub(crate) sharing: relay::Sharing,
    pub(crate) gemini: gemini::Gemini,
    pub(crate) me_known: bool,
    pub(crate) me_in_flight: bool,
    pub(crate) commands_set: bool,
    pub(crate) asking: BTreeMap<i64, Asked>,
    /// Models a question was refused by already, so that it goes on elsewhere.
    pub(crate) tried: BTreeMap<i64, Vec<String>>,
    pub(crate) summaries: summary::Summaries,
    pub(crate) shows: show::Shows,
    pub(crate) sending: BTreeSet<i64>,
    pub(crate) calls: usize,
    pub(crate) presses: press::Presses,
    pub(crate) pending: u32,
    pub(crate) takes: u64,
    /// Until when nothing can be asked for a class (role's priority × 4 + tier).
    pub(crate) blocked_until_ms: BTreeMap<i64, UnixMs>,
    pub(crate) sync_in_flight: bool,
    pub(crate) sync_due_ms: UnixMs,
    pub(crate) unsynced_since_ms: Option<UnixMs>,
    pub(crate) housekeeping_due_ms: UnixMs,
    /// Who waits to hear how `/reload` went; bounded by [`talk::RELOADERS_MAX`].
    pub(crate) reloaders: Vec<(Lane, crate::types::Lang)>,
    pub(crate) end: Option<End>,
}

/// Everything the loop knows beside the database.
pub struct State {
    pub(crate) config: Config,
    pub(crate) policy: Policy,
    pub(crate) masker: Masker,
    pub(crate) pool: Pool,
    /// Key texts by position in the pool.
    pub(crate) key_secrets: Vec<Secret>,
    pub(crate) metrics: Metrics,
    pub(crate) dice: WyRand,
    pub(crate) data_version: i64,
    pub(crate) live: Live,
    pub(crate) dry_run: bool,
    /// A failed turn left the cached rows unread.
    pub(crate) stale: bool,
    /// Questions are stored and not asked.
    pub(crate) hold: bool,
    /// Turns that the database refused in a row.
    pub(crate) refused: u32,
    /// Deliveries that were settled outside of a turn.
    pub(crate) settled: Vec<(u64, bool)>,
    /// The webhook's listener is up.
    pub(crate) listening: bool,
    pub(crate) started_ms: UnixMs,
    pub(crate) salt: String,
    pub(crate) reload_wanted: bool,
    pub(crate) status_due_ms: UnixMs,
    pub(crate) sync_holder: String,
    /// Room on the data directory's disk, as the shell last saw it.
    pub(crate) disk: Option<Disk>,
    /// What SQLite holds in memory.
    pub(crate) measure: fn(&Db) -> SqliteMemory,
    /// How far the system's clock is ahead of Telegram's, as the shell last saw it.
    pub(crate) ahead_ms: Option<i64>,
    /// Whether the log was told of it.
    pub(crate) skewed: bool,
    pub(crate) backlog_hour: i64,
    pub(crate) published: Published,
    /// The synchronisation under way; dropped when its transaction fails.
    pub(crate) sync_run: Option<crate::sync::SyncRun>,
    /// What was last said of its trouble, so that it is said once.
    pub(crate) sync_trouble: String,
    /// What was told and heard among the boxes.
    pub(crate) gossip: crate::engine::fleet::Gossip,
    /// Rows that a dry run has told of, in the order of [`Table::ALL`](crate::store::sync::Table::ALL).
    pub(crate) dry_rows: [i64; 2],
}

/// What one turn collects until its transaction is committed.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) jobs: Vec<Job>,
    pub(crate) answers: Vec<(u64, bool)>,
    pub(crate) counts: Vec<Count>,
}

/// Counts to be made once the transaction is committed.
pub(crate) enum Count {
    Update(&'static str),
    Answer(crate::types::Role, super::metrics::AnswerOutcome),
    Latency { seconds: f64, added_seconds: f64 },
    Gemini { model: String, outcome: &'static str },
    Tokens { model: String, input: u32, output: u32 },
    TelegramError(Option<u16>),
    Rows { table: &'static str, sent: u64, already: u64, parked: u64 },
}

/// The daemon without its shell: a database and a state.
pub struct Core {
    /// The one connection of the loop.
    pub store: Store,
    /// The rest.
    pub state: State,
}

impl Core {
    /// Takes what waits, decides, commits, and says what to do next. Events that were taken into a
    /// committed turn leave the queue; when the turn fails they stay and the error says why.
    ///
    /// # Errors
    /// The database refused; nothing has changed.
    pub fn turn(&mut self, events: &mut VecDeque<Event>, now: Now) -> Result<Turn> {
        let Self { store, state } = &mut *self;
        store.stay()?;
        if state.stale {
            state.reload_rows(&store.db, now)?;
            state.stale = false;
        }
        // After refusals that are no busy disk, one event at a time finds the one to blame.
        let most = if state.refused < REFUSED_TOGETHER_MAX { EVENTS_PER_TURN_MAX } else { 1 };
        let taken = events.len().min(most);
        let durability = state.durability(&store.db, events, now)?;
        let saved = state.live.clone();
        let mut batch: VecDeque<Event> = events.drain(..taken).collect();
        let mut step = Step::default();
        let before = store.changes();
        let result = store.write(durability, |tx| state.work(tx, &batch, &mut step, now));
        let wrote = store.changes() != before;
        match result {
            Ok(()) => {
                batch.clear();
                state.refused = 0;
                state.committed(durability, wrote, &mut step, now);
                // What is committed must leave: nothing may fail from here on.
                let wake_ms = state
                    .wake_ms(&store.db, events.is_empty(), now)
                    .unwrap_or(now.unix_ms + RETRY_LOOK_MS);
                let end = state.live.end.clone();
                let mut answers = std::mem::take(&mut state.settled);
                answers.append(&mut step.answers);
                Ok(Turn { jobs: step.jobs, answers, wake_ms, end })
            }
            Err(error) => {
                // Back to the front, in order.
                while let Some(event) = batch.pop_back() {
                    events.push_front(event);
                }
                state.refused = state.refused.saturating_add(1);
                state.live = saved;
                state.sync_run = None;
                if most == 1 && error.blames_data() {
                    self.leave_out_poison(events, &error.to_string(), now);
                }
                // What could not be read again now is read before the next turn.
                let Self { store, state } = self;
                state.stale = state.reload_rows(&store.db, now).is_err();
                Err(error)
            }
        }
    }
}

impl State {
    /// Updates and reservations are on the disk before anything follows from them (contract §5.1, §5.4).
    fn durability(&self, db: &Db, events: &VecDeque<Event>, now: Now) -> Result<Durability> {
        let takes_in = events.iter().any(|event| match event {
            Event::Polled(Ok(updates)) => !updates.is_empty(),
            Event::Pushed { .. } => true,
            #[cfg(feature = "redis")]
            Event::Relayed(_) => true,
            _ => false,
        });
        // What ends in this turn makes room for what begins in it.
        let ended = |event: &&Event| matches!(event, Event::Asked(_));
        let answered =
            |event: &&Event| matches!(event, Event::Asked(asked) if asked.result.is_ok());
        let asking = self.live.asking.len().saturating_sub(events.iter().filter(ended).count());
        let pending =
            (self.live.pending as usize).saturating_sub(events.iter().filter(answered).count());
        let asks = asking < self.config.workers && pending > asking;
        let stale =
            self.live.unsynced_since_ms.is_some_and(|since| since + SYNC_AFTER_MS <= now.unix_ms);
        let disk = takes_in || asks || stale || self.may_sync(now) && self.has_unsynced(db, now)?;
        Ok(if disk { Durability::Disk } else { Durability::Process })
    }

    fn work(&mut self, db: &Db, events: &VecDeque<Event>, step: &mut Step, now: Now) -> Result<()> {
        self.notice_commands(db, now)?;
        // Finished work first, new updates last: what is free can then be used at once.
        for event in events.iter().filter(|event| !event.is_update()) {
            self.apply(db, event, step, now)?;
        }
        for event in events.iter().filter(|event| event.is_update()) {
            self.apply(db, event, step, now)?;
        }
        self.keep_house(db, step, now)?;
        self.start_asking(db, step, now)?;
        self.start_summary(db, step, now)?;
        self.start_sending(db, step, now)?;
        self.start_polling(step, now);
        self.start_sync(db, step, now)?;
        self.start_calls(step, now);
        self.keep_drafts(db, step, now)?;
        self.judge_end(db, now)?;
        #[cfg(feature = "redis")]
        self.settle_relayed(db, step, now)?;
        let changes = self.pool.take_changes();
        self.fleet_news(&changes, step, now);
        ledger::save(db, &changes)
    }

    fn apply(&mut self, db: &Db, event: &Event, step: &mut Step, now: Now) -> Result<()> {
        match event {
            Event::Polled(result) => self.polled(db, result, step, now),
            Event::Pushed { update, ticket } => self.pushed(db, update, *ticket, step, now),
            Event::Asked(asked) if self.waits_for_preview(asked) => Ok(()),
            Event::Asked(asked) => self.asked(db, asked, step, now),
            Event::Grown { inbox, text } => self.grown(db, *inbox, text, step, now),
            Event::Previewed { inbox, result } => self.previewed(db, *inbox, result, step, now),
            Event::Sent { sending, result, took_ms } => {
                self.sent(db, sending, result, *took_ms, step, now)
            }
            Event::Called { purpose, result } => self.called(db, *purpose, result, step, now),
            Event::Ready(result) => self.ready(db, result, step, now),
            Event::KeyChecked { secret, result } => self.key_checked(db, secret, result, now),
            Event::Stop => self.stop(db, now),
            // The shell reads the settings again and calls `reconfigure`.
            Event::Reload => Ok(()),
            Event::Reloaded(result) => self.reloaded(db, result, now),
            Event::Synced(result) => self.synced(db, result, now),
            #[cfg(feature = "redis")]
            Event::Relayed(relayed) => self.relayed(db, relayed, step, now),
            Event::Fleet(event) => {
                self.fleet(event, step, now);
                Ok(())
            }
        }
    }

    fn committed(&mut self, durability: Durability, wrote: bool, step: &mut Step, now: Now) {
        self.live.unsynced_since_ms = match (durability, wrote, self.live.unsynced_since_ms) {
            // A transaction that wrote nothing was not synced, and has nothing to sync.
            (Durability::Disk, true, _) => None,
            (Durability::Process, true, None) => Some(now.unix_ms),
            (_, _, since) => since,
        };
        for count in step.counts.drain(..) {
            match count {
                Count::Update(kind) => self.metrics.update(kind),
                Count::Answer(role, outcome) => self.metrics.answer(role, outcome),
                Count::Latency { seconds, added_seconds } => {
                    self.metrics.answered(seconds, added_seconds);
                }
                Count::Gemini { model, outcome } => self.metrics.gemini(&model, outcome),
                Count::Tokens { model, input, output } => {
                    self.metrics.tokens(&model, input, output)
                }
                Count::TelegramError(code) => self.metrics.telegram_error(code),
                Count::Rows { table, sent, already, parked } => {
                    self.metrics.sync_rows(table, RowOutcome::Sent, sent);
                    self.metrics.sync_rows(table, RowOutcome::Already, already);
                    self.metrics.sync_rows(table, RowOutcome::Parked, parked);
                }
            }
        }
    }

    /// Reads everything cached again, after a failed transaction or another program's commit.
    pub(crate) fn reload_rows(&mut self, db: &Db, now: Now) -> Result<()> {
        self.live.pending = inbox::pending(db)?;
        self.live.offset = meta::get_i64(db, keep::NEXT_OFFSET)?.unwrap_or(0);
        self.live.blocked_until_ms.clear();
        self.pool.replace_rows(ledger::load(db, now)?, now);
        Ok(())
    }

    fn notice_commands(&mut self, db: &Db, now: Now) -> Result<()> {
        let version = meta::data_version(db)?;
        if version != self.data_version {
            self.data_version = version;
            self.reload_rows(db, now)?;
            for request in meta::take_requests(db)? {
                self.requested(&request, now);
            }
        }
        Ok(())
    }

    fn wake_ms(&self, db: &Db, idle: bool, now: Now) -> Result<UnixMs> {
        if !idle {
            return Ok(now.unix_ms);
        }
        let mut wake_ms = now.unix_ms + IDLE_TURN_MS;
        let mut consider = |at_ms: Option<UnixMs>| {
            if let Some(at_ms) = at_ms {
                wake_ms = wake_ms.min(at_ms.max(now.unix_ms));
            }
        };
        consider(self.live.unsynced_since_ms.map(|since| since + SYNC_AFTER_MS));
        consider(inbox::next_due_ms(db, now.unix_ms)?);
        consider(outbox::next_due_ms(db, now.unix_ms)?);
        // Where no call is free, the end of one wakes the loop.
        if self.live.calls < CALLS_MAX {
            consider(self.live.asking.values().map(|asked| asked.typing_due_ms).min());
        }
        consider(self.live.blocked_until_ms.values().copied().filter(|at| *at > now.unix_ms).min());
        let unhooks = self.must_unhook() && !self.live.polling.in_flight;
        if unhooks || self.wants_telegram() && self.live.phase == Phase::Running {
            consider(Some(self.live.polling.not_before_ms));
        }
        if self.wants_sync() {
            consider(Some(self.live.sync_due_ms));
        }
        if let Phase::Stopping { until_ms } = self.live.phase {
            consider(Some(until_ms));
        }
        // What is due and may not be done yet is no reason to turn without end.
        #[cfg(feature = "redis")]
        let mut wake_ms = self.learn_wake_ms(wake_ms, now);
        #[cfg(feature = "redis")]
        if self.is_held_back(now) {
            wake_ms = wake_ms.max(now.unix_ms + relay::HOLD_LOOK_MS);
        }
        Ok(wake_ms)
    }

    pub(crate) fn roll(&mut self) -> u32 {
        self.dice.generate()
    }

    /// `base_ms` and up to a quarter more, so that many do not come back at once.
    pub(crate) fn jitter_ms(&mut self, base_ms: i64) -> i64 {
        base_ms + i64::from(self.roll()) % (base_ms / 4).max(1)
    }
}

/// Puts everything back that an earlier process left in hand; the only recovery there is.
///
/// # Errors
/// As SQLite says.
pub fn recover(store: &mut Store, now: Now) -> Result<(usize, usize)> {
    store.write(Durability::Process, |tx| {
        watch::begin(tx)?;
        let moved = future::forget(tx, now.unix_ms)?;
        if moved > 0 {
            log::warn!(
                target: "clock.future", rows = moved;
                "{moved} rows lay in the future, written by a clock that was wrong: they count from now"
            );
        }
        Ok((inbox::recover(tx)?, outbox::recover(tx, now.unix_ms)?))
    })
}

/// The instant of the newest row, for the clock.
///
/// # Errors
/// As SQLite says.
pub fn newest_row_ms(store: &Store) -> Result<UnixMs> {
    history::newest_ms(&store.db)
}
