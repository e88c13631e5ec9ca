//! Owns: reading PostgREST's lists of rows.
//! May not: trust that a page is whole: a list that does not parse is no list.

use crate::calendar::parse_written;
use crate::json::{self, Ref, Value};
use crate::types::row::RemoteRegistry;
use crate::types::{ChatId, UserId};

/// Rows asked for at once; Supabase silently cuts every read at 1000 (api-reference C3).
pub const PAGE_ROWS: usize = 1_000;
/// Bytes of a reply that lists ids or counts.
pub const LIST_BYTES_MAX: usize = 512 * 1024;

/// What tells a row of ours from another with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryMark {
    /// Remote id.
    pub id: i64,
    /// Where.
    pub chat: i64,
    /// Who.
    pub user: i64,
    /// Microseconds of the clock on the wall there.
    pub created_us: i64,
}

fn rows(body: &[u8]) -> Option<Value> {
    let value = json::parse(body).ok()?;
    (value.root().kind() == "list").then_some(value)
}

/// The `id` of every row, given as number or as text.
pub fn ids(body: &[u8]) -> Option<Vec<i64>> {
    rows(body)?.root().list().map(|row| integer(row.at("id"))).collect()
}

/// The pairs of every row.
pub fn pairs(body: &[u8]) -> Option<Vec<(UserId, ChatId)>> {
    let pair = |row: Ref<'_>| Some((UserId(integer(row.at("user_id"))?), ChatId(integer(row.at("chat_id"))?)));
    rows(body)?.root().list().map(pair).collect()
}

/// Rows of [`super::read_history_marks`].
pub fn marks(body: &[u8]) -> Option<Vec<HistoryMark>> {
    let mark = |row: Ref<'_>| {
        Some(HistoryMark {
            id: integer(row.at("id"))?,
            chat: integer(row.at("chat_id"))?,
            user: integer(row.at("user_id"))?,
            created_us: wall_us(row.at("created_at")).unwrap_or(i64::MIN),
        })
    };
    rows(body)?.root().list().map(mark).collect()
}

/// Rows of [`super::read_registry`].
pub fn registry(body: &[u8]) -> Option<Vec<RemoteRegistry>> {
    let read = |row: Ref<'_>| {
        let text = |name| row.at(name).str().unwrap_or_default().to_owned();
        Some(RemoteRegistry {
            id: text("id"),
            user: UserId(integer(row.at("user_id"))?),
            chat: ChatId(integer(row.at("chat_id"))?),
            count: integer(row.at("trigger_count")),
            last: text("last_triggered_at"),
            created: text("created_at"),
        })
    };
    rows(body)?.root().list().map(read).collect()
}

/// A whole number given as number or as text.
fn integer(value: Ref<'_>) -> Option<i64> {
    value.i64().or_else(|| value.str()?.parse().ok())
}

/// A time without zone, read as UTC.
fn wall_us(value: Ref<'_>) -> Option<i64> {
    Some(parse_written(value.str()?)?.unix_us(0))
}
