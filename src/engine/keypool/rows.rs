//! Owns: the ledger as plain rows, in the shape the store keeps them.
//! May not: decide anything, name the store.

use crate::types::UnixMs;

/// A key, by its salted fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRow {
    /// `secret_hash::fingerprint`
    pub fingerprint: String,
    /// All that may be shown.
    pub last4: String,
    /// The project joined by inference, now or the last time; empty for never.
    pub project: String,
    /// Whether it counts on `project` now.
    pub inferred: bool,
    /// The last Pacific day on which the inference is believed.
    pub joined_until_day: i64,
    /// How often it was inferred: each time it is believed twice as long, and after as long again
    /// without being inferred anew one is forgotten.
    pub joins: u32,
    /// The last Pacific day on which a day's quota refused it though hardly used; 0 for never.
    pub puzzled_day: i64,
    /// Why it is out for good; empty when it is not.
    pub dead: String,
    /// Since when.
    pub dead_ms: UnixMs,
    /// Set aside by the operator.
    pub parked: bool,
    /// Until when the key itself rests.
    pub resting_until_ms: UnixMs,
    /// Whether the rest was guessed, so that a model-list call may lift it.
    pub rest_guessed: bool,
    /// Why it rests.
    pub rest_reason: String,
    /// Failures since the last success that were the key's.
    pub errors: u32,
    /// The last reservation.
    pub last_used_ms: UnixMs,
}

/// Two keys that were seen not to share a project, or that may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApartRow {
    /// The fingerprint that sorts first.
    pub one: String,
    /// The other.
    pub other: String,
    /// The Pacific day on which that was seen last.
    pub day: i64,
    /// On so many days both were used up together; 0 once it is known that they are apart.
    pub together: u32,
}

/// What is known of a (project, model) pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaRow {
    /// Declared name, or `~` and a fingerprint.
    pub project: String,
    /// As asked for.
    pub model: String,
    /// Learned requests per minute.
    pub rpm: Option<u32>,
    /// Learned input tokens per minute.
    pub tpm: Option<u32>,
    /// Learned requests per day.
    pub rpd: Option<u32>,
    /// Until when the pair rests.
    pub until_ms: UnixMs,
    /// Why: the words of the schema.
    pub reason: String,
    /// Whether `until_ms` was guessed.
    pub guessed: bool,
    /// Refusals in a row, for the back-off.
    pub backoff: u32,
    /// When a limit was learned last.
    pub learned_ms: UnixMs,
}

/// Use of a pair on one Pacific day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayRow {
    /// Days since the epoch.
    pub day: i64,
    /// As in [`QuotaRow`].
    pub project: String,
    /// As in [`QuotaRow`].
    pub model: String,
    /// Requests, reservations included; never below what Gemini has counted.
    pub used: u32,
    /// Requests that were answered 429.
    pub refused: u32,
    /// Prompt tokens.
    pub tokens_in: u64,
    /// Answer and thinking tokens.
    pub tokens_out: u64,
}

/// A request of the last minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationRow {
    /// Its number, from the pool.
    pub id: i64,
    /// As in [`QuotaRow`].
    pub project: String,
    /// As in [`QuotaRow`].
    pub model: String,
    /// The key it was reserved for.
    pub fingerprint: String,
    /// When.
    pub at_ms: UnixMs,
    /// The Pacific day it was counted on.
    pub day: i64,
    /// Input tokens: guessed, then as counted.
    pub tokens: u32,
    /// Whether its end is known.
    pub settled: bool,
}

/// A model on the bench, or the whole pool under the name `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BenchRow {
    /// The model.
    pub model: String,
    /// Until when.
    pub until_ms: UnixMs,
    /// Times in a row: each bench is longer than the one before.
    pub failures: u32,
    /// `overloaded`, `unknown`, `storm`.
    pub reason: String,
}

/// Everything the pool remembers over a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRows {
    /// Known keys, those no longer in the settings included.
    pub keys: Vec<KeyRow>,
    /// Keys known not to share a project.
    pub aparts: Vec<ApartRow>,
    /// Known pairs.
    pub quotas: Vec<QuotaRow>,
    /// Days from yesterday on.
    pub days: Vec<DayRow>,
    /// Reservations young enough to count.
    pub reservations: Vec<ReservationRow>,
    /// The highest reservation number ever given; numbers do not come back.
    pub last_reservation: i64,
    /// Benches.
    pub benches: Vec<BenchRow>,
}

/// Rows to write since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To insert or replace.
    pub keys: Vec<KeyRow>,
    /// To insert or replace.
    pub aparts: Vec<ApartRow>,
    /// To insert or replace.
    pub quotas: Vec<QuotaRow>,
    /// To insert or replace.
    pub days: Vec<DayRow>,
    /// To insert or replace.
    pub reservations: Vec<ReservationRow>,
    /// To insert or replace; one whose `until_ms` is 0 is to be removed.
    pub benches: Vec<BenchRow>,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.aparts.is_empty()
            && self.quotas.is_empty()
            && self.days.is_empty()
            && self.reservations.is_empty()
            && self.benches.is_empty()
    }
}
