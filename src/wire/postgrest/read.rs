//! Owns: reading PostgREST's lists of rows.
//! May not: trust that a page is whole: a list that does not parse is no list.

use crate::calendar::{parse_written, rfc3339_us};
use crate::json::{self, Ref, Value};
use crate::types::row::RemoteRegistry;
use crate::types::{ChatId, UserId};
use crate::wire::{Method, Request};

/// Rows asked for at once; Supabase silently cuts every read at 1000 (api-reference C3).
pub const PAGE_ROWS: usize = 1_000;
/// Bytes of a reply that lists ids or counts.
pub const LIST_BYTES_MAX: usize = 512 * 1024;

/// What tells a row of ours from another with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryMark {
    /// Remote id.
    pub id: i64,
    /// Where.
    pub chat: i64,
    /// Who.
    pub user: i64,
    /// Microseconds of the clock on the wall there.
    pub created_us: i64,
    /// The question.
    pub message: Option<String>,
    /// The answer.
    pub response: Option<String>,
}

fn rows(body: &[u8]) -> Option<Value> {
    let value = json::parse(body).ok()?;
    (value.root().kind() == "list").then_some(value)
}

/// The `id` of every row, given as number or as text.
pub fn ids(body: &[u8]) -> Option<Vec<i64>> {
    plain_ids(body).or_else(|| rows(body)?.root().list().map(|row| integer(row.at("id"))).collect())
}

/// The same for what PostgREST writes, `[{"id":7}, \n {"id":8}]`, without a tree; `None` for all else.
fn plain_ids(body: &[u8]) -> Option<Vec<i64>> {
    let text = std::str::from_utf8(body).ok()?.trim().strip_prefix('[')?.strip_suffix(']')?;
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let id = |row: &str| {
        row.trim()
            .strip_prefix("{\"id\":")?
            .strip_suffix('}')
            .filter(|id| is_whole(id))?
            .parse()
            .ok()
    };
    text.split(',').map(id).collect()
}

/// Whether it is a whole number in JSON's own form, which is narrower than Rust's.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'))
}

/// The id that every row got there, by ours inside `metadata`.
pub fn named_ids(body: &[u8]) -> Option<Vec<(i64, i64)>> {
    let named = |row: Ref<'_>| Some((integer(row.at(super::METADATA_ID))?, integer(row.at("id"))?));
    rows(body)?.root().list().map(named).collect()
}

/// The pairs of every row.
pub fn pairs(body: &[u8]) -> Option<Vec<(UserId, ChatId)>> {
    let pair = |row: Ref<'_>| {
        Some((UserId(integer(row.at("user_id"))?), ChatId(integer(row.at("chat_id"))?)))
    };
    rows(body)?.root().list().map(pair).collect()
}

/// Rows of [`super::read_history_by_id`].
pub fn marks(body: &[u8]) -> Option<Vec<HistoryMark>> {
    let mark = |row: Ref<'_>| {
        Some(HistoryMark {
            id: integer(row.at("id"))?,
            chat: integer(row.at("chat_id"))?,
            user: integer(row.at("user_id"))?,
            created_us: wall_us(row.at("created_at")).unwrap_or(i64::MIN),
            message: row.at("message_text").str().map(str::to_owned),
            response: row.at("response_text").str().map(str::to_owned),
        })
    };
    rows(body)?.root().list().map(mark).collect()
}

/// Rows of [`super::read_registry`].
pub fn registry(body: &[u8]) -> Option<Vec<RemoteRegistry>> {
    registry_rows(&rows(body)?)
}

/// The same, from a page that was read already.
pub fn registry_rows(page: &Value) -> Option<Vec<RemoteRegistry>> {
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
    page.root().list().map(read).collect()
}

/// A whole number given as number or as text.
fn integer(value: Ref<'_>) -> Option<i64> {
    value.i64().or_else(|| value.str()?.parse().ok())
}

/// A time without zone, read as UTC.
fn wall_us(value: Ref<'_>) -> Option<i64> {
    Some(parse_written(value.str()?)?.unix_us(0))
}

/// The columns of a page of `chat_history` for [`crate::wire::table::history`]: whole numbers and
/// JSON as text, because JSON numbers carry neither all ids nor all metadata.
pub(super) const HISTORY_SELECT: &str = "id::text,chat_id::text,user_id::text,username,message_text,response_text,model_used,metadata::text,created_at";
/// The same for `user_registry`.
const REGISTRY_SELECT: &str = "id::text,user_id::text,chat_id::text,username,first_name,triggered_by_keyword,trigger_count,last_triggered_at,created_at";

/// A page of a table in the order of `id`: after `after`, up to `upto`, and, where given, made since
/// `since_us` by the clock on the wall there.
pub fn page(table: &str, after: i64, upto: i64, since_us: Option<i64>, limit: usize) -> Request {
    let select = if table == "chat_history" { HISTORY_SELECT } else { REGISTRY_SELECT };
    let mut path = format!("{table}?select={select}&id=gt.{after}");
    if upto < i64::MAX {
        path.push_str(&format!("&id=lte.{upto}"));
    }
    if let Some(since_us) = since_us {
        let column = if table == "chat_history" { "created_at" } else { "last_triggered_at" };
        path.push_str(&format!("&{column}=gte.{}", rfc3339_us(since_us)));
    }
    path.push_str(&format!("&order=id.asc&limit={}", limit.min(PAGE_ROWS)));
    super::request(Method::Get, path, "", None)
}

/// The rows of a page; `None` when it is no list.
pub fn page_rows(body: &[u8]) -> Option<Value> {
    rows(body)
}

/// The id of a row of a page.
pub fn row_id(row: Ref<'_>) -> Option<i64> {
    integer(row.at("id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_however_they_are_written_and_never_guessed() {
        let cases: [(&str, Option<&[i64]>); 14] = [
            ("[]", Some(&[])),
            (" [ \n ] ", Some(&[])),
            (
                "[{\"id\":7}, \n {\"id\":9007199254740991}, \n {\"id\":-3}]",
                Some(&[7, 9_007_199_254_740_991, -3]),
            ),
            ("[{\"id\":\"4503599627370497\"},{\"id\":2}]", Some(&[4_503_599_627_370_497, 2])),
            ("[{\"x\":1,\"id\":5}]", Some(&[5])),
            ("[{ \"id\" : 5 }]", Some(&[5])),
            ("[{\"id\":07}]", None),
            ("[{\"id\":+7}]", None),
            ("[{\"id\":}]", None),
            ("[{\"id\":null}]", None),
            ("[{\"id\":7},]", None),
            ("[{\"id\":7}", None),
            ("{\"id\":7}", None),
            ("<html>", None),
        ];
        for (body, wanted) in cases {
            assert_eq!(ids(body.as_bytes()).as_deref(), wanted, "{body}");
        }
        assert!(plain_ids(b"[{\"id\":7}, \n {\"id\":8}]").is_some(), "what PostgREST writes");
    }
}
