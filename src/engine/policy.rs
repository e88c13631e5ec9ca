//! Owns: the settings as the engine reads them.
//! May not: parse anything.

use crate::types::{ChatId, Role, UserId};

/// Which language a text is written in when the person's own is unknown or overruled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LangChoice {
    /// Always this one.
    Fixed(crate::types::Lang),
    /// The person's Telegram language, Chinese where unknown.
    Auto,
}

/// A word that wakes the bot in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyword {
    /// As it is listed, for `user_registry`.
    pub listed: String,
    /// Lower-case, for comparing.
    pub folded: String,
    /// Latin ones count as whole words, Chinese ones anywhere.
    pub whole_word: bool,
}

impl Keyword {
    /// A keyword in its listed spelling.
    pub fn new(listed: &str) -> Self {
        let folded = listed.trim().to_lowercase();
        let whole_word = folded.chars().all(|c| c.is_ascii() || !c.is_alphanumeric());
        Self { listed: listed.trim().to_owned(), folded, whole_word }
    }
}

/// Everything that decisions depend on besides facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The bot's own id.
    pub bot: UserId,
    /// The bot's username, without `@`.
    pub bot_name: String,
    /// When not empty these alone are owners.
    pub owners: Vec<UserId>,
    /// `VIP_IDS`
    pub vips: Vec<UserId>,
    /// `PREMIUM_IDS`
    pub premiums: Vec<UserId>,
    /// `NORMAL_IDS`
    pub normals: Vec<UserId>,
    /// Everyone else.
    pub default_role: Role,
    /// None: every chat.
    pub allowed_chats: Option<Vec<ChatId>>,
    /// Rounds of a session by [`Role::priority`].
    pub rounds: [u32; 5],
    /// Group sessions at a time.
    pub vip_slots: usize,
    /// A session ends after this long without activity.
    pub session_idle_ms: i64,
    /// What wakes the bot in groups.
    pub keywords: Vec<Keyword>,
    /// Waiting questions of all.
    pub queue_max: u32,
    /// Waiting questions of one person.
    pub user_queue_max: u32,
    /// Messages that wait behind an unfinished answer and came within this time become one.
    pub join_window_ms: i64,
    /// Largest file; 0 = text only.
    pub media_max_bytes: u64,
    /// How the language is chosen.
    pub lang: LangChoice,
}

impl Policy {
    /// How many rounds a session of this role has; 0 = no session.
    pub fn rounds_of(&self, role: Role) -> u32 {
        usize::try_from(role.priority())
            .ok()
            .and_then(|at| self.rounds.get(at))
            .copied()
            .unwrap_or(0)
    }
}
