//! Owns: every sentence that a user can read, per language.
//! May not: decide when one is said, or escape it: a sentence is plain text.
//! Invariant: every sentence exists in every language; one that refuses says what to do next.

mod en;
mod zh;

use crate::types::status::Hold;
use crate::types::{ChatId, Lang, Role, Tier, UserId};

/// The language for a person: the operator's choice, else the person's Telegram language, else Chinese.
pub fn lang_of(setting: Option<Lang>, language_code: Option<&str>) -> Lang {
    let code = language_code.map(str::trim).filter(|code| !code.is_empty());
    match (setting, code) {
        (Some(lang), _) => lang,
        (None, None) => Lang::Zh,
        (None, Some(code)) => {
            let primary = code.split(['-', '_']).next().unwrap_or(code);
            if primary.eq_ignore_ascii_case("zh") { Lang::Zh } else { Lang::En }
        }
    }
}

/// The sentence in that language: plain text, never empty.
pub fn say(lang: Lang, what: &Speech<'_>) -> String {
    match lang {
        Lang::Zh => zh::say(what),
        Lang::En => en::say(what),
    }
}

/// The commands to register with Telegram and what each does, without the slash.
pub fn commands(lang: Lang, scope: Scope) -> Vec<(&'static str, &'static str)> {
    let all = match lang {
        Lang::Zh => zh::COMMANDS,
        Lang::En => en::COMMANDS,
    };
    all.iter().filter(|command| command.2 <= scope).map(|command| (command.0, command.1)).collect()
}

/// Who sees a command; each scope includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everywhere.
    Everyone,
    /// Private chats too.
    Private,
    /// The owner's private chat too.
    Owner,
}

/// Where a Gemini key stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// May be used now.
    Ready,
    /// Waits a moment.
    Resting,
    /// Its day is used up.
    Spent,
    /// Set aside by the owner.
    Parked,
    /// Refused by Google for good.
    Dead,
}

/// The owner's full status; numbers and durations are already words.
#[derive(Clone, Debug, Default)]
pub struct OwnerStatus<'a> {
    /// Of the program.
    pub version: &'a str,
    /// Since the start.
    pub uptime: &'a str,
    /// Resident memory.
    pub memory: &'a str,
    /// Of the database file.
    pub database: &'a str,
    /// Questions waiting.
    pub inbox: u64,
    /// Messages waiting to be sent.
    pub outbox: u64,
    /// Live sessions.
    pub sessions: u64,
    /// VIP slots taken and there are.
    pub vip: (u32, u32),
    /// Keys ready and all.
    pub keys: (usize, usize),
    /// Answers today.
    pub answers_today: u64,
    /// Tokens today.
    pub tokens_today: u64,
    /// Rows not yet in Supabase; none where it is not set.
    pub sync_pending: Option<u64>,
    /// When the last synchronisation succeeded.
    pub sync_last: Option<&'a str>,
    /// Why the bot is not ready.
    pub trouble: Option<&'a str>,
}

/// Everything that can be said.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the blanks of the sentences beside them")]
pub enum Speech<'a> {
    /// `/start`
    Start { name: &'a str },
    /// `/help`
    Help { owner: bool },
    /// `/status` for people; `round` of how many, none where nothing is remembered.
    StatusPerson {
        role: Role,
        round: Option<(u32, u32)>,
        waiting: u32,
        quota_note: Option<&'a str>,
    },
    /// `/status` for the owner.
    StatusOwner(&'a OwnerStatus<'a>),
    /// `/vip`: names with idle minutes.
    VipSlots { used: u32, slots: u32, people: &'a [(String, u32)], next_free_min: Option<u32> },
    /// No slot for a newcomer.
    VipFull { slots: u32, next_free_min: Option<u32> },
    /// `/reset`
    Reset,
    /// `/reset` without a session.
    ResetNothing,
    /// No such command, or not for this person.
    UnknownCommand,
    /// Too many questions wait.
    QueueFull,
    /// Too many of this person's questions wait.
    UserQueueFull { waiting: u32 },
    /// Too many commands at once.
    SlowDown,
    /// The chat is not in `ALLOWED_CHAT_IDS`.
    NotAllowedHere { chat: ChatId },
    /// A guest's messages stand alone.
    GuestNoMemory,
    /// The question waits for a free key.
    WaitForKey { minutes: u32 },
    /// Nothing free before then; the time is already words.
    QuotaUntil { until: &'a str },
    /// Refused by the model's filter; Google's reason code.
    Safety { reason: &'a str },
    /// The question is too long for the model.
    TooLong,
    /// The model gave no text.
    Empty,
    /// The model took too long.
    Timeout,
    /// The model is overloaded or broken.
    ModelTrouble,
    /// Something of ours failed; a short code for the owner.
    Failed { what: &'a str },
    /// Added to an answer that was cut at the model's limit.
    CutShort,
    /// Added to an answer that the filter ended.
    StoppedByFilter,
    /// A sticker, a poll …
    NothingToAnswer,
    /// A file over `MEDIA_MAX`; the limit is already words.
    MediaTooLarge { limit: &'a str },
    /// Files of an album that the answer knows nothing of.
    MediaLeftOut { files: u32, limit: &'a str },
    /// A file of a kind that the model cannot read.
    MediaUnknown,
    /// `MEDIA_MAX=0`
    MediaOff,
    /// Telegram would not hand the file over.
    MediaGone,
    /// The server's country is not served.
    RegionBlocked,
    /// No key works.
    NoKeys,
    /// `/forget`
    ForgetAsk,
    /// The button that erases.
    ForgetYes,
    /// The button that does not.
    ForgetNo,
    /// Erased.
    ForgetDone { rows: u64 },
    /// Not erased.
    ForgetCancelled,
    /// A button that is no longer good.
    ButtonOld,
    /// At the top of a file that leaves out older rounds.
    ExportNewest { rounds: usize },
    /// Nothing to export.
    ExportEmpty,
    /// A command for private chats.
    PrivateOnly,
    /// `/grant`; the end is already words.
    GrantDone { user: UserId, role: Role, until: Option<&'a str> },
    /// `/revoke`; the role that now holds.
    RevokeDone { user: UserId, role: Role },
    /// `/revoke` of nothing.
    RevokeNothing { user: UserId },
    /// A command used wrongly.
    BadArguments { usage: &'a str },
    /// `/kick`
    KickDone { name: &'a str },
    /// `/kick` without a session.
    KickNone,
    /// Above the lines of `/keys`.
    KeysHeader { ready: usize, total: usize },
    /// One line of `/keys`.
    KeyLine {
        n: usize,
        group: &'a str,
        last4: &'a str,
        state: KeyState,
        until: Option<&'a str>,
        /// As declared; not said where it was inferred.
        project: &'a str,
        /// Numbers of the other keys on it; empty for none.
        shares_with: &'a str,
        inferred: bool,
    },
    /// What follows in it: why some models (empty: all) are not open to the key; empty when the state
    /// says it already.
    KeyHold { models: &'a str, why: Hold, word: &'a str, until: Option<&'a str> },
    /// `/park`
    ParkDone { n: usize },
    /// `/revive`
    ReviveDone { n: usize },
    /// A number beyond the list.
    NoSuchKey { n: usize, total: usize },
    /// `/usage`: today, and a line per model already as words.
    Usage { answers: u64, input_tokens: u64, output_tokens: u64, lines: &'a [String] },
    /// How long a tier's quotas last at the present rate: `now` = they are gone, `until` is already
    /// words, neither = they last the day.
    QuotaLasts { tier: Tier, until: Option<&'a str>, now: bool },
    /// `/sync`
    SyncStarted { pending: u64 },
    /// `/sync` without Supabase.
    SyncOff,
    /// `/reload`
    ReloadDone { changed: &'a str, later: &'a str },
    /// `/reload` of a bad file.
    ReloadFailed { why: &'a str },
    /// To the new owner.
    OwnerPaired,
    /// To the owner: someone asks to be let in.
    KnockOwner { user: UserId, name: &'a str },
    /// Button.
    KnockAllow,
    /// Button.
    KnockDeny,
    /// To the one who knocks.
    KnockSent,
    /// To the one who was let in.
    KnockAllowed,
    /// A key was written into the chat.
    SecretMasked,
    /// To the owner: a key is refused.
    KeyDead { n: usize, last4: &'a str, why: &'a str },
    /// To the owner: no key is left.
    KeysAllDead,
    /// To the owner: most of the day's quota is used.
    QuotaLow { percent_left: u32, resets: &'a str },
    /// To the owner: rows do not get through.
    SyncFailing { since: &'a str, why: &'a str },
    /// To the owner: they do again.
    SyncRecovered,
    /// To the owner: rows were set aside.
    SyncParked { rows: u64 },
    /// To the owner.
    DiskLow { free: &'a str },
    /// To the owner: the machine's clock differs from Telegram's.
    ClockWrong { by: &'a str, ahead: bool },
    /// To the owner.
    Restarted,
    /// The database was damaged; so many rows of it were saved.
    Salvaged {
        /// Of all tables.
        rows: u64,
    },
    /// To the owner.
    NewVersion { version: &'a str },
}

/// What a filter's reason code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Safety,
    Prohibited,
    Terms,
    Recitation,
    Personal,
    Language,
    Image,
    Jailbreak,
    Other,
}

impl Refusal {
    /// Of `blockReason` or `finishReason` (api-reference B3); new codes are `Other`.
    fn of(reason: &str) -> Self {
        match reason {
            "SAFETY" => Self::Safety,
            "PROHIBITED_CONTENT" => Self::Prohibited,
            "BLOCKLIST" => Self::Terms,
            "RECITATION" => Self::Recitation,
            "SPII" => Self::Personal,
            "LANGUAGE" => Self::Language,
            "JAILBREAK" | "MODEL_ARMOR" => Self::Jailbreak,
            code if code.starts_with("IMAGE_") || code == "NO_IMAGE" => Self::Image,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
