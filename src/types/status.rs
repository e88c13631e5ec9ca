//! Owns: how the bot is, as plain data: what `/status.json`, `/`, `/metrics` and `status` show.
//! May not: name any room but `types`; hold a secret or a person's words.

use super::{Group, UnixMs};

/// Days that `week` and the charts look back.
pub const WEEK_DAYS: i64 = 7;
/// Hours of [`Status::hours`], the present one included.
pub const WEEK_HOURS: i64 = WEEK_DAYS * 24;

/// The two tables that are synchronised, in the order of every array indexed by table.
pub const TABLES: [&str; 2] = ["chat_history", "user_registry"];

/// What a key can do now (contract §6, `svs_bot_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// May be used.
    Ready,
    /// Comes back by itself, soon.
    Resting,
    /// Its quotas of today are used up.
    Spent,
    /// Set aside by the operator.
    Parked,
    /// Refused by Google for good.
    Dead,
}

impl KeyState {
    /// Every state, in the order of metrics.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Resting, Self::Spent, Self::Parked, Self::Dead];

    /// The word in metrics, JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Resting => "resting",
            Self::Spent => "spent",
            Self::Parked => "parked",
            Self::Dead => "dead",
        }
    }
}

/// What keeps a key from some of its models, or from all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The project's requests or tokens of this minute are used up.
    Minute,
    /// Those of today.
    Day,
    /// The billing account's spending limit is reached.
    Spend,
    /// Gemini refused and did not say why.
    Unexplained,
    /// The project's limit for the model is none.
    Nothing,
    /// Google does not give the model to the project.
    Closed,
    /// The model has failed for several keys.
    Overloaded,
    /// Nobody knows a model of that name.
    Unknown,
    /// Keys that may share its project were refused for today one after the other: it is tried more rarely.
    HeldBack,
    /// Another project was told that it has none of the model: those that never used it come last.
    Unproven,
    /// What is left of today is kept for owner and vip; the others see the key as used up.
    Kept,
    /// Little is left of today: all but owner and vip take a weaker model first.
    Saved,
    /// `KEY_MIN_INTERVAL` has not passed since its last use.
    Interval,
    /// Many projects were refused at once: the whole pool pauses.
    Storm,
    /// Refused once after it had worked; it is being looked at.
    Doubted,
    /// Set aside by the operator.
    Parked,
    /// Refused by Google for good.
    Dead,
}

impl Hold {
    /// In English, for the operator.
    pub fn text(self) -> &'static str {
        match self {
            Self::Minute => "used up for this minute",
            Self::Day => "used up for today",
            Self::Spend => "the spending limit is reached",
            Self::Unexplained => "refused without a reason",
            Self::Nothing => "the project has none of it",
            Self::Closed => "the model is closed to the project",
            Self::Overloaded => "overloaded",
            Self::Unknown => "unknown to gemini",
            Self::HeldBack => "tried rarely: others that may share its project were used up",
            Self::Unproven => "tried last: another project was told that it has none of it",
            Self::Kept => "what is left today is kept for owner and vip",
            Self::Saved => {
                "little is left today: others than owner and vip take a weaker model first"
            }
            Self::Interval => "pauses between two uses",
            Self::Storm => "the whole pool pauses: many projects were refused at once",
            Self::Doubted => "to be looked at",
            Self::Parked => "parked by the operator",
            Self::Dead => "refused for good",
        }
    }
}

/// One reason why a key is not in use, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHold {
    /// The models concerned; empty for all of them.
    pub models: Vec<String>,
    /// Why.
    pub why: Hold,
    /// Google's reason in one word (`invalid`, `leaked` …) where the key itself was refused; else empty.
    pub word: String,
    /// When it ends by itself; `None` where it does not.
    pub until_ms: Option<UnixMs>,
}

/// One key of the pool, masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLine {
    /// Its number in `keys list`, from 1.
    pub n: u32,
    /// Where it was given.
    pub group: Group,
    /// All that may be shown of it.
    pub last4: String,
    /// What it can do now.
    pub state: KeyState,
    /// When that ends by itself; `None` where it does not.
    pub until_ms: Option<UnixMs>,
    /// Why, and what else is not open to it; empty when everything is.
    pub holds: Vec<KeyHold>,
    /// The project it counts on: as declared, or `key N` for that of the first key on it.
    pub project: String,
    /// The other keys that count on the same project.
    pub shares_with: Vec<u32>,
    /// Whether that was inferred from refusals and not declared.
    pub inferred: bool,
}

impl KeyLine {
    /// One word or a short sentence in English; empty when everything is open to it.
    pub fn reason(&self) -> String {
        let one = |hold: &KeyHold| match (hold.why, hold.word.as_str()) {
            (Hold::Dead, word) if !word.is_empty() => word.to_owned(),
            (Hold::Doubted, word) => format!("{word}, {}", hold.why.text()),
            _ if hold.models.is_empty() => hold.why.text().to_owned(),
            _ => format!("{}: {}", hold.models.join(", "), hold.why.text()),
        };
        self.holds.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// The reason, and its project where that is more than the key's own: one text for narrow places.
    pub fn about(&self) -> String {
        let project = match self.inferred {
            true => format!("project of {} (inferred)", self.project),
            false if self.project == format!("key {}", self.n) => String::new(),
            false => format!("project {}", self.project),
        };
        let reason = self.reason();
        let both = if reason.is_empty() || project.is_empty() { "" } else { "; " };
        format!("{reason}{both}{project}")
    }
}

/// Today's use of one project and model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaLine {
    /// Declared or inferred project.
    pub project: String,
    /// The groups whose keys count on it, in the order of the keys.
    pub groups: Vec<Group>,
    /// Model as asked for.
    pub model: String,
    /// Requests, reservations included.
    pub used_today: u64,
    /// Requests the bot allows itself today; `None` = no limit.
    pub limit_today: Option<u64>,
    /// When the count starts again.
    pub resets_ms: UnixMs,
    /// When `limit_today` is reached if today goes on as it did so far; the past when it is reached
    /// already, `None` when it lasts.
    pub ends_ms: Option<UnixMs>,
}

/// How long the quotas of one tier last, all projects together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierLine {
    /// Strength of the models.
    pub tier: super::Tier,
    /// As in [`QuotaLine`].
    pub ends_ms: Option<UnixMs>,
}

/// How the synchronisation stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncLine {
    /// Whether Supabase is set at all.
    pub enabled: bool,
    /// Rows still to send, by [`TABLES`].
    pub pending: [u64; 2],
    /// Rows set aside, by [`TABLES`].
    pub parked: [u64; 2],
    /// Why the newest of them; empty where there is none.
    pub parked_reason: String,
    /// When everything was last sent.
    pub last_success_ms: Option<UnixMs>,
    /// Why the last attempt failed; `None` after a success.
    pub last_error: Option<String>,
}

/// Counts of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Hours since the epoch, UTC.
    pub hour: i64,
    /// Answers given.
    pub answers: u64,
    /// Questions refused, blocked or failed.
    pub troubled: u64,
    /// Tokens of both directions.
    pub tokens: u64,
    /// Sum of the time from question to answer.
    pub answer_ms: u64,
    /// Rows waiting for Supabase at the end of the hour.
    pub backlog: u64,
}

/// Counts of one day, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Days since the epoch.
    pub day: i64,
    /// Answers given.
    pub answers: u64,
    /// Tokens of both directions.
    pub tokens: u64,
}

/// Something that went wrong lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubleLine {
    /// When.
    pub at_ms: UnixMs,
    /// Which part: `telegram`, `gemini`, `sync`, `disk` …
    pub place: String,
    /// What, scrubbed by its writer.
    pub text: String,
}

/// A group session that holds a VIP slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipLine {
    /// What the person is called.
    pub name: String,
    /// Rounds used.
    pub rounds: u32,
    /// Rounds of this session.
    pub rounds_max: u32,
    /// Last activity.
    pub last_ms: UnixMs,
}

/// Sizes of queues and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Updates taken but not finished.
    pub inbox: u64,
    /// Updates that could not be read or were given up.
    pub inbox_parked: u64,
    /// When the oldest question came that still waits to be asked.
    pub inbox_oldest_ms: Option<UnixMs>,
    /// Messages on their way to Telegram.
    pub outbox: u64,
    /// Messages that Telegram will never take.
    pub outbox_parked: u64,
    /// Live conversations, private ones included.
    pub sessions: u64,
    /// Live conversations that hold a slot.
    pub vip_used: u64,
    /// Size of the database, without its write-ahead log.
    pub database_bytes: u64,
}

/// Space where the data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What an ordinary user may still write.
    pub free_bytes: u64,
    /// Of this many.
    pub total_bytes: u64,
}

/// What SQLite holds in memory, by its own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqliteMemory {
    /// All that it has from the allocator, every connection of the process together.
    pub used_bytes: u64,
    /// Of that: pages of the database kept in memory by the loop's connection.
    pub cache_bytes: u64,
    /// Of that: its schema.
    pub schema_bytes: u64,
    /// Of that: its prepared statements.
    pub statements_bytes: u64,
}

impl SqliteMemory {
    /// As one row of `meta`.
    pub fn written(&self) -> String {
        let Self { used_bytes, cache_bytes, schema_bytes, statements_bytes } = self;
        format!("{used_bytes} {cache_bytes} {schema_bytes} {statements_bytes}")
    }

    /// Back from [`Self::written`].
    pub fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            used_bytes: next()?,
            cache_bytes: next()?,
            schema_bytes: next()?,
            statements_bytes: next()?,
        })
    }
}

/// Everything an operator wants to see at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// When this was true.
    pub at_ms: UnixMs,
    /// Whether a daemon holds the data directory.
    pub running: bool,
    /// Whether it takes and answers messages.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reason: String,
    /// When the daemon started.
    pub started_ms: Option<UnixMs>,
    /// When the last poll or delivery succeeded.
    pub last_poll_ms: Option<UnixMs>,
    /// Whether updates are delivered to a webhook instead of polled.
    pub webhook: bool,
    /// Resident memory of the daemon.
    pub rss_bytes: Option<u64>,
    /// Disk of the data directory.
    pub disk: Option<Disk>,
    /// Queues and sizes.
    pub counts: Counts,
    /// `VIP_SLOTS`
    pub vip_slots: u32,
    /// Who holds them; at most `vip_slots`.
    pub vips: Vec<VipLine>,
    /// The pool in the order of `keys list`.
    pub keys: Vec<KeyLine>,
    /// Today's use.
    pub quota: Vec<QuotaLine>,
    /// How long they last, for every tier that was used today and has a limit.
    pub lasts: Vec<TierLine>,
    /// Why Gemini gives no answers to anybody; `None` while it does.
    pub gemini_error: Option<String>,
    /// Supabase.
    pub sync: SyncLine,
    /// The last hours that had anything to count, oldest first, at most [`WEEK_HOURS`].
    pub hours: Vec<Hour>,
    /// The last troubles, newest first.
    pub troubles: Vec<TroubleLine>,
    /// What SQLite holds in the daemon's memory; `None` where no daemon has said so yet.
    pub sqlite: Option<SqliteMemory>,
}

impl Status {
    /// The last seven days up to today, UTC, oldest first; days without anything are there with zeros.
    pub fn week(&self) -> [Day; 7] {
        let today = self.at_ms.div_euclid(super::DAY_MS);
        let mut week = [Day::default(); 7];
        for (at, day) in (0..).zip(week.iter_mut()) {
            day.day = today - (WEEK_DAYS - 1) + at;
            for hour in self.hours.iter().filter(|hour| hour.hour.div_euclid(24) == day.day) {
                day.answers = day.answers.saturating_add(hour.answers);
                day.tokens = day.tokens.saturating_add(hour.tokens);
            }
        }
        week
    }

    /// How many keys of this group are in this state.
    pub fn keys_in(&self, group: Group, state: KeyState) -> usize {
        self.keys.iter().filter(|key| key.group == group && key.state == state).count()
    }
}
