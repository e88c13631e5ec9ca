//! Owns: how the core begins, takes new settings over, and shows itself.
//! May not: open anything.

use super::{Core, Live, Phase, Polling, State, keep};
use crate::config::Config;
use crate::daemon::metrics::Metrics;
use crate::daemon::shell::masker;
use crate::daemon::snapshot::{Intake, Shared};
use crate::daemon::{policy, pool};
use crate::engine::keypool::Pool;
use crate::secret_hash;
use crate::store::places::Places;
use crate::store::status::{self, Published};
use crate::store::{Db, Durability, Result, Store, inbox, ledger, meta};
use crate::types::status::{Disk, SqliteMemory, Status};
use crate::types::{Now, SECOND_MS};
use nanorand::WyRand;
use std::collections::{BTreeMap, BTreeSet};

/// The status that pages show is at most this old while the loop turns.
const STATUS_EVERY_MS: i64 = 5 * SECOND_MS;

impl Core {
    /// A core over an open database; nothing is sent yet.
    ///
    /// # Errors
    /// As SQLite says, or the operating system gives no randomness.
    pub fn new(store: Store, config: Config, dry_run: bool, drain: bool, now: Now) -> Result<Self> {
        let fresh = secret_hash::random_bytes().unwrap_or_default();
        Self::with_dice(store, config, dry_run, drain, &fresh, now)
    }

    /// [`Core::new`] with its randomness given: the same bytes and events make the same turns.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn with_dice(
        mut store: Store,
        config: Config,
        dry_run: bool,
        drain: bool,
        fresh: &[u8],
        now: Now,
    ) -> Result<Self> {
        let bot_id = policy::from_config(&config, "").bot.0.to_string();
        let salt = store.write(Durability::Process, |tx| {
            // Another bot's updates have other numbers: its offset must not skip ours.
            if meta::get(tx, keep::BOT_ID)?.as_deref() != Some(bot_id.as_str()) {
                meta::set(tx, keep::BOT_ID, &bot_id)?;
                meta::set(tx, keep::NEXT_OFFSET, "0")?;
                meta::set(tx, keep::BOT_NAME, "")?;
                meta::set(tx, keep::MENU, "")?;
                meta::set(tx, keep::LAST_DELIVERY, "0")?;
            }
            crate::store::sync::end_daemon_lease(tx)?;
            // What the run before could not reach, this one has not tried yet.
            meta::set(tx, status::fact::GEMINI_ERROR, "")?;
            ledger::install_salt(tx, &secret_hash::hex(fresh))
        })?;
        let db = &store.db;
        let bot_name = meta::get(db, keep::BOT_NAME)?.filter(|name| !name.is_empty());
        let bot_name = bot_name.or_else(|| config.bot_name.clone()).unwrap_or_default();
        let pool = Pool::new(pool::settings(&config, &salt), ledger::load(db, now)?, now);
        let mut state = State {
            policy: policy::from_config(&config, &bot_name),
            masker: masker(&config),
            key_secrets: config.keys.iter().map(|key| key.secret.clone()).collect(),
            metrics: Metrics::new(pool::models(&config)),
            dice: WyRand::new_seed(seed(fresh)),
            data_version: meta::data_version(db)?,
            salt,
            live: Live {
                reloaders: Vec::new(),
                phase: if drain { Phase::Draining } else { Phase::Running },
                offset: 0,
                polling: Polling { last_update_ms: inbox::newest_ms(db)?, ..Polling::default() },
                hook: super::hook::Hook::default(),
                gemini: super::gemini::Gemini::default(),
                me_known: false,
                me_in_flight: false,
                commands_set: false,
                asking: BTreeMap::new(),
                tried: BTreeMap::new(),
                summaries: super::summary::Summaries::default(),
                shows: super::show::Shows::default(),
                sending: BTreeSet::new(),
                #[cfg(feature = "redis")]
                sharing: super::relay::Sharing::default(),
                calls: 0,
                presses: super::press::Presses::default(),
                pending: 0,
                takes: 0,
                blocked_until_ms: BTreeMap::new(),
                sync_in_flight: false,
                sync_due_ms: if config.sync_interval_ms == 0 && !drain {
                    i64::MAX
                } else {
                    now.unix_ms
                },
                unsynced_since_ms: None,
                housekeeping_due_ms: 0,
                end: None,
            },
            dry_run,
            settled: Vec::new(),
            listening: false,
            started_ms: now.unix_ms,
            reload_wanted: false,
            status_due_ms: 0,
            sync_holder: crate::store::sync::holder_name("daemon", std::process::id(), seed(fresh)),
            disk: None,
            measure: crate::os::sqlite_memory,
            ahead_ms: None,
            skewed: false,
            backlog_hour: 0,
            published: Published::default(),
            refused: 0,
            hold: false,
            stale: false,
            sync_run: None,
            sync_trouble: String::new(),
            dry_rows: [0; 2],
            gossip: crate::engine::fleet::Gossip::default(),
            pool,
            config,
        };
        state.live.hook.last_delivery_ms = meta::get_i64(db, keep::LAST_DELIVERY)?.unwrap_or(0);
        state.reload_rows(db, now)?;
        Ok(Self { store, state })
    }

    /// A copy of the counters.
    pub fn metrics(&self) -> Metrics {
        self.state.metrics.clone()
    }

    /// How much is held in memory of what is under way, by name; all zero when nothing is.
    pub fn in_hand(&self) -> [(&'static str, usize); 5] {
        let live = &self.state.live;
        [
            ("asking", live.asking.len()),
            ("sending", live.sending.len()),
            ("calls", live.calls),
            ("presses", live.presses.count()),
            ("tried", live.tried.len()),
        ]
    }

    /// Whether `/reload` asked for the settings to be read again; asks once.
    pub fn take_reload(&mut self) -> bool {
        std::mem::take(&mut self.state.reload_wanted)
    }

    /// From now on messages are taken in and stored, and no question is asked: for `init`.
    pub fn hold_questions(&mut self) {
        self.state.hold = true;
    }

    /// What the shell has seen of the data directory's disk.
    pub fn observe_disk(&mut self, disk: Option<Disk>) {
        self.state.disk = disk;
    }

    /// How far the system's clock is ahead of Telegram's.
    pub fn observe_clock(&mut self, ahead_ms: Option<i64>) {
        let state = &mut self.state;
        state.ahead_ms = ahead_ms.or(state.ahead_ms);
        if state.is_skewed() != state.skewed {
            // Looked at in the next turn.
            state.live.housekeeping_due_ms = 0;
        }
    }

    /// Asks this for SQLite's memory. Half of what it says is of the whole process, and some of it is written down:
    /// where several cores live in one process, they would change each other's rows.
    pub fn measure_by(&mut self, measure: fn(&Db) -> SqliteMemory) {
        self.state.measure = measure;
    }

    /// Whether the webhook's listener is up, as the shell has seen it.
    pub fn observe_listener(&mut self, up: bool) {
        self.state.listening = up;
    }

    /// Takes new settings over without losing a message or a counter (contract §2).
    pub fn reconfigure(&mut self, config: Config, now: Now) {
        let state = &mut self.state;
        let bot = (state.policy.bot, state.policy.bot_name.clone());
        state.policy = policy::from_config(&config, &bot.1);
        state.policy.bot = bot.0;
        state.masker = masker(&config);
        state.key_secrets = config.keys.iter().map(|key| key.secret.clone()).collect();
        state.metrics.add_models(pool::models(&config));
        state.pool = state.pool.clone().with_settings(pool::settings(&config, &state.salt), now);
        state.live.blocked_until_ms.clear();
        state.live.commands_set = false;
        if state.live.hook.set {
            // Whoever reads the settings again wants to see soon that deliveries come.
            state.live.polling.not_before_ms = now.unix_ms;
        }
        state.config = config;
    }

    /// Shows counters and readiness to the HTTP thread; the rest every few seconds.
    pub fn publish(&mut self, shared: &Shared, refused: Option<&str>, now: Now) {
        let Self { store, state } = self;
        shared.count(|metrics| metrics.clone_from(&state.metrics));
        let polling = &state.live.polling;
        let held = match state.live.phase {
            Phase::Running if !polling.unready => None,
            Phase::Running => Some(polling.trouble.clone()),
            Phase::Draining => Some("draining".to_owned()),
            Phase::Stopping { .. } => Some("stopping".to_owned()),
        };
        shared.readiness(|facts| {
            facts.database_error = refused.map(str::to_owned);
            facts.held = held;
            facts.intake = match (polling.last_ok_ms, &state.config.webhook) {
                (0, _) => Intake::Starting,
                (last_ms, None) => Intake::Polling { last_ms },
                (_, Some(_)) => Intake::Webhook {
                    listening: state.listening,
                    last_delivery_ms: state.live.hook.last_delivery_ms,
                    last_error_ms: state.live.hook.last_error_ms,
                },
            };
        });
        if state.status_due_ms <= now.unix_ms && refused.is_none() {
            state.status_due_ms = now.unix_ms + STATUS_EVERY_MS;
            match state.status(&store.db, now) {
                Ok(status) => shared.publish(status),
                Err(error) => log::debug!(target: "status.failed", "status: {error}"),
            }
        }
    }
}

impl State {
    /// How the bot is, from the rows and the pool.
    pub(super) fn status(&self, db: &Db, now: Now) -> Result<Status> {
        let asked = status::Asked {
            now_ms: now.unix_ms,
            session_idle_ms: self.policy.session_idle_ms,
            vip_slots: self.config.vip_slots,
            sync_enabled: self.config.supabase.is_some(),
        };
        let mut status = status::read(db, &asked)?;
        status.running = true;
        status.disk = self.disk;
        status.sqlite = Some((self.measure)(db));
        status.started_ms = Some(self.started_ms);
        status.keys = self.pool.list(now);
        status.quota = self.pool.quota_view(now);
        status.webhook = self.is_hooked();
        status.lasts = self.pool.lasts(now);
        status.last_poll_ms = Some(self.live.polling.last_ok_ms).filter(|at| *at > 0);
        Ok(status)
    }

    /// The places of group sessions, as sessions hold them now.
    pub(super) fn places(&self, now: Now) -> Places {
        Places { slots: self.config.vip_slots, alive_ms: now.unix_ms - self.policy.session_idle_ms }
    }

    /// What commands beside the daemon may want to know.
    pub(super) fn published(&self) -> Published {
        let polling = &self.live.polling;
        let hook_trouble = self.hook_trouble();
        Published {
            started_ms: self.started_ms,
            ready: !polling.unready
                && polling.last_ok_ms > 0
                && hook_trouble.is_none()
                && self.live.phase == Phase::Running,
            reason: match self.live.phase {
                Phase::Running if polling.trouble.is_empty() => hook_trouble.unwrap_or_default(),
                Phase::Running => polling.trouble.clone(),
                Phase::Draining => "draining".to_owned(),
                Phase::Stopping { .. } => "stopping".to_owned(),
            },
            last_poll_ms: polling.last_ok_ms,
            webhook: self.is_hooked(),
            conflict_last_ms: polling.conflict_last_ms,
            conflicts: polling.conflicts,
        }
    }
}

fn seed(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
