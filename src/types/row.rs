//! Owns: the rows of the two synchronised tables as store, wire and sync hand them to one another.
//! May not: know how they are stored or sent.

use super::{ChatId, UserId};

/// A row of `chat_history`, borrowed from where it was read for as long as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistoryRow<'a> {
    /// Local id; 0 where there is none.
    pub id: i64,
    /// The id it has, or will have, in Supabase; 0 unknown.
    pub remote_id: i64,
    /// 0 to send, 1 outcome unknown, 2 there, 3 parked, 4 came from there, 5 to send once more.
    pub sync: i64,
    /// Where.
    pub chat: ChatId,
    /// Who asked.
    pub user: UserId,
    /// Without `@`; the first name where there is none.
    pub username: Option<&'a str>,
    /// The question.
    pub message: Option<&'a str>,
    /// The answer.
    pub response: Option<&'a str>,
    /// The model that answered.
    pub model: Option<&'a str>,
    /// JSON, an object as a rule.
    pub metadata: &'a str,
    /// Microseconds since the epoch.
    pub created_us: i64,
}

/// A row of `user_registry`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryRow {
    /// Who.
    pub user: UserId,
    /// Where.
    pub chat: ChatId,
    /// Without `@`; the first name where there is none.
    pub username: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// The keyword in its listed spelling, or `@mention`.
    pub keyword: Option<String>,
    /// The count here, which builds on `synced`.
    pub count: i64,
    /// The remote count last known; -1 when no row was seen there.
    pub synced: i64,
    /// The count that a request of unknown outcome would leave there; 0 none.
    pub sending: i64,
    /// Last trigger, microseconds.
    pub last_us: i64,
    /// First trigger, microseconds.
    pub created_us: i64,
}

/// A row of `user_registry` as Supabase has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteRegistry {
    /// Its own id there, as text: it may be beyond what JSON numbers carry exactly.
    pub id: String,
    /// Who.
    pub user: UserId,
    /// Where.
    pub chat: ChatId,
    /// The count; `None` where the column is null.
    pub count: Option<i64>,
    /// Last trigger as the table writes it, no zone.
    pub last: String,
    /// First trigger as the table writes it, no zone.
    pub created: String,
}

/// A row of `chat_history` on its way in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedHistory {
    /// Its id in Supabase; 0 when it never was there.
    pub remote_id: i64,
    /// Where.
    pub chat: ChatId,
    /// Who asked.
    pub user: UserId,
    /// Without `@`; the first name where there is none.
    pub username: Option<String>,
    /// The question.
    pub message: Option<String>,
    /// The answer.
    pub response: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// JSON.
    pub metadata: String,
    /// Microseconds since the epoch.
    pub created_us: i64,
}

impl OwnedHistory {
    /// The same, borrowed.
    pub fn as_row(&self) -> HistoryRow<'_> {
        HistoryRow {
            id: 0,
            remote_id: self.remote_id,
            sync: 4,
            chat: self.chat,
            user: self.user,
            username: self.username.as_deref(),
            message: self.message.as_deref(),
            response: self.response.as_deref(),
            model: self.model.as_deref(),
            metadata: &self.metadata,
            created_us: self.created_us,
        }
    }
    /// What it weighs in memory, about.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        128 + text(&self.username)
            + text(&self.message)
            + text(&self.response)
            + self.metadata.len()
    }
}
