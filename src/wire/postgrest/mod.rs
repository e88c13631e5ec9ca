//! Owns: rows of the two tables ⇄ requests and replies of Supabase's Data API (api-reference C).
//! May not: know cursors, retries or batches' sizes.
//! Invariant: every write may be sent again: inserts ignore what is there, updates compare first.

pub mod fault;
pub mod read;

use crate::calendar::{push_wall_us, rfc3339_us};
use crate::json;
use crate::types::row::{HistoryRow, RegistryRow};
use crate::types::{ChatId, UnixMs, UserId};
use crate::wire::{Method, Request};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Until a reply is in; the API cuts statements at 60 s, ours take milliseconds.
pub const TIMEOUT_MS: u64 = 20_000;
/// Characters of `username`, `first_name`; the columns are `varchar(255)`.
pub const NAME_CHARS_MAX: usize = 255;
/// Characters of `model_used`, `triggered_by_keyword`; the columns are `varchar(100)`.
pub const WORD_CHARS_MAX: usize = 100;
/// The name of the remote id inside `metadata`, where the column refuses it.
pub const METADATA_ID: &str = "svs_id";

/// The columns of `chat_history` that we send.
pub const HISTORY_COLUMNS: &[&str] = &[
    "id",
    "chat_id",
    "user_id",
    "username",
    "message_text",
    "response_text",
    "model_used",
    "metadata",
    "created_at",
];
/// The columns of `user_registry` that we send.
pub const REGISTRY_COLUMNS: &[&str] = &[
    "user_id",
    "username",
    "first_name",
    "chat_id",
    "triggered_by_keyword",
    "trigger_count",
    "last_triggered_at",
    "created_at",
];

fn request(method: Method, path: String, prefer: &str, body: Option<String>) -> Request {
    let mut headers = vec![("accept", "application/json".to_owned())];
    if !prefer.is_empty() {
        headers.push(("prefer", prefer.to_owned()));
    }
    if body.is_some() {
        headers.push(("content-type", "application/json".to_owned()));
    }
    Request { method, path, headers, body, timeout_ms: TIMEOUT_MS }
}

/// A JSON array of rows that grows up to a bound; one row always fits.
#[derive(Debug, Default)]
pub struct Batch {
    body: String,
    rows: usize,
    bytes_max: usize,
}

impl Batch {
    /// An empty batch of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self::within(String::new(), bytes_max)
    }
    /// The same, in memory that an earlier batch has left.
    pub fn within(mut body: String, bytes_max: usize) -> Self {
        body.clear();
        Self { body, rows: 0, bytes_max }
    }
    /// Rows in it.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Adds what `write` appends, or nothing when that would be too much: then false.
    fn add(&mut self, write: impl FnOnce(&mut String)) -> bool {
        let before = self.body.len();
        self.body.push(if self.rows == 0 { '[' } else { ',' });
        write(&mut self.body);
        if self.rows > 0 && self.body.len() >= self.bytes_max {
            self.body.truncate(before);
            return false;
        }
        self.rows += 1;
        true
    }
    /// Adds a row of `chat_history`, with its id as a column or inside `metadata`.
    pub fn add_history(&mut self, row: &HistoryRow<'_>, id_column: bool) -> bool {
        self.add(|out| write_history(out, row, id_column))
    }
    /// Adds a row of `user_registry`.
    pub fn add_registry(&mut self, row: &RegistryRow) -> bool {
        self.add(|out| {
            write_registry(out, row, row.count);
        })
    }
    fn end(mut self) -> String {
        self.body.push_str(if self.rows == 0 { "[]" } else { "]" });
        self.body
    }
    /// The insert into `chat_history`; the reply lists the ids that were new.
    pub fn into_history_insert(self, id_column: bool) -> Request {
        let columns = HISTORY_COLUMNS.get(usize::from(!id_column)..).unwrap_or_default().join(",");
        let (conflict, resolution) = match id_column {
            true => ("on_conflict=id&", "resolution=ignore-duplicates,"),
            false => ("", ""),
        };
        let select = if id_column { "id".to_owned() } else { named_select() };
        let path = format!("chat_history?{conflict}columns={columns}&select={select}");
        let prefer = format!("{resolution}return=representation");
        request(Method::Post, path, &prefer, Some(self.end()))
    }
    /// The insert into `user_registry`; the reply lists the pairs that were new.
    pub fn into_registry_insert(self) -> Request {
        let path = format!(
            "user_registry?on_conflict=user_id,chat_id&columns={}&select=user_id,chat_id",
            REGISTRY_COLUMNS.join(",")
        );
        let prefer = "resolution=ignore-duplicates,return=representation";
        request(Method::Post, path, prefer, Some(self.end()))
    }
}

/// Sets the count to `row.sending` where it still is `row.synced`; the reply lists the row if so.
pub fn swap_registry(row: &RegistryRow, was_null: bool) -> Request {
    let mut path = format!("user_registry?user_id=eq.{}&chat_id=eq.{}", row.user, row.chat);
    match was_null {
        true => path.push_str("&trigger_count=is.null"),
        false => push(&mut path, format_args!("&trigger_count=eq.{}", row.synced)),
    }
    path.push_str("&select=user_id,chat_id");
    let mut body = String::from("{");
    registry_words(&mut body, row);
    body.push_str(",\"trigger_count\":");
    json::integer(&mut body, row.sending);
    wall_clock(&mut body, "last_triggered_at", row.last_us);
    body.push('}');
    request(Method::Patch, path, "return=representation", Some(body))
}

/// What Supabase has of these pairs, and of others that share a person and a chat with them; at
/// most one page, in the order of `id` and after `after_id`.
pub fn read_registry(rows: &[RegistryRow], after_id: &str) -> Request {
    let mut users: Vec<i64> = rows.iter().map(|row| row.user.0).collect();
    let mut chats: Vec<i64> = rows.iter().map(|row| row.chat.0).collect();
    users.sort_unstable();
    users.dedup();
    chats.sort_unstable();
    chats.dedup();
    let path = format!(
        "user_registry?select=id::text,user_id,chat_id,trigger_count,last_triggered_at,created_at&user_id=in.({})&chat_id=in.({}){}&order=id.asc&limit={}",
        list(&users),
        list(&chats),
        after(after_id),
        read::PAGE_ROWS
    );
    request(Method::Get, path, "", None)
}

/// Whole rows of these ids, as a page gives them.
pub fn read_history_by_id(ids: &[i64]) -> Request {
    let select = read::HISTORY_SELECT;
    let path =
        format!("chat_history?select={select}&id=in.({})&limit={}", list(ids), read::PAGE_ROWS);
    request(Method::Get, path, "", None)
}

/// Which of these remote ids are there inside `metadata`; bounded in time so that the index on
/// `created_at` serves where no migration was run.
pub fn read_metadata_ids(remote_ids: &[i64], from_us: i64, to_us: i64) -> Request {
    let path = format!(
        "chat_history?select={}&created_at=gte.{}&created_at=lte.{}&metadata-%3E%3E{METADATA_ID}=in.({})&limit={}",
        named_select(),
        rfc3339_us(from_us),
        rfc3339_us(to_us),
        list(remote_ids),
        read::PAGE_ROWS
    );
    request(Method::Get, path, "", None)
}

/// Erases a person from a table; with `late_before_ms` only rows that we wrote before then.
pub fn erase(table: &str, user: UserId, late_before_ms: Option<UnixMs>) -> Request {
    let mut path = format!("{table}?user_id=eq.{user}");
    if let Some(before_ms) = late_before_ms {
        push(
            &mut path,
            format_args!("&created_at=lte.{}", rfc3339_us(before_ms.saturating_mul(1_000))),
        );
    }
    request(Method::Delete, path, "return=minimal", None)
}

/// At most one row of a person from before then: what an erasure has left.
pub fn read_left(table: &str, user: UserId, before_ms: UnixMs) -> Request {
    let mut path = format!("{table}?select=user_id&user_id=eq.{user}");
    push(
        &mut path,
        format_args!("&created_at=lte.{}&limit=1", rfc3339_us(before_ms.saturating_mul(1_000))),
    );
    request(Method::Get, path, "", None)
}

/// The id a row got there, and ours inside `metadata`.
fn named_select() -> String {
    format!("id::text,{METADATA_ID}:metadata-%3E%3E{METADATA_ID}")
}

fn list(ids: &[i64]) -> String {
    let mut out = String::with_capacity(ids.len() * 18);
    for (at, id) in ids.iter().enumerate() {
        push(&mut out, format_args!("{}{id}", if at == 0 { "" } else { "," }));
    }
    out
}

fn after(id: &str) -> String {
    if id.is_empty() { String::new() } else { format!("&id=gt.{id}") }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = out.write_fmt(text);
}

fn write_history(out: &mut String, row: &HistoryRow<'_>, id_column: bool) {
    out.push('{');
    if id_column {
        out.push_str("\"id\":");
        json::integer(out, row.remote_id);
        out.push(',');
    }
    place_of(out, row.chat, row.user);
    text_or_null(out, "username", row.username, NAME_CHARS_MAX);
    text_or_null(out, "message_text", row.message, usize::MAX);
    text_or_null(out, "response_text", row.response, usize::MAX);
    text_or_null(out, "model_used", row.model, WORD_CHARS_MAX);
    out.push_str(",\"metadata\":");
    match id_column {
        true => write_metadata(out, row.metadata),
        false => metadata_with_id(out, row.metadata, row.remote_id),
    }
    wall_clock(out, "created_at", row.created_us);
    out.push('}');
}

fn place_of(out: &mut String, chat: ChatId, user: UserId) {
    out.push_str("\"chat_id\":");
    json::integer(out, chat.0);
    out.push_str(",\"user_id\":");
    json::integer(out, user.0);
}

/// The wall clock of UTC: the column has no zone and would drop one (api-reference C5).
fn wall_clock(out: &mut String, name: &str, unix_us: i64) {
    for part in [",\"", name, "\":\""] {
        out.push_str(part);
    }
    push_wall_us(out, unix_us);
    out.push('"');
}

fn metadata_with_id(out: &mut String, metadata: &str, id: i64) {
    push(out, format_args!("{{\"{METADATA_ID}\":{id}"));
    let rest = metadata.trim().strip_prefix('{').map_or("}", str::trim_start);
    if !rest.starts_with('}') {
        out.push(',');
    }
    write_metadata(out, rest);
}

/// JSON as it is, less the escapes that PostgreSQL's jsonb refuses: U+0000 (22P05) and half a surrogate (22P02).
fn write_metadata(out: &mut String, metadata: &str) {
    if !metadata.contains("\\u") {
        out.push_str(if metadata.trim().is_empty() { "{}" } else { metadata });
        return;
    }
    let metadata = &*json::repaired(metadata);
    let mut rest = metadata;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        if let Some(tail) = after.strip_prefix("u0000") {
            rest = tail;
            continue;
        }
        // The escaped character goes along, so that `\\u0000` is not taken for an escape.
        let mut chars = after.chars();
        out.push('\\');
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out.push_str(rest);
}

fn registry_words(out: &mut String, row: &RegistryRow) {
    place_of(out, row.chat, row.user);
    text_or_null(out, "username", row.username.as_deref(), NAME_CHARS_MAX);
    text_or_null(out, "first_name", row.first_name.as_deref(), NAME_CHARS_MAX);
    text_or_null(out, "triggered_by_keyword", row.keyword.as_deref(), WORD_CHARS_MAX);
}

fn write_registry(out: &mut String, row: &RegistryRow, count: i64) {
    out.push('{');
    registry_words(out, row);
    out.push_str(",\"trigger_count\":");
    json::integer(out, count);
    wall_clock(out, "last_triggered_at", row.last_us);
    wall_clock(out, "created_at", row.created_us);
    out.push('}');
}

/// A text column as it is sent: cut to whole characters, without U+0000, which PostgreSQL cannot hold.
pub fn as_sent(text: Option<&str>, chars_max: usize) -> Option<Cow<'_, str>> {
    let text = text?;
    // Bytes bound characters, so most texts need no count.
    let end = match text.len() <= chars_max {
        true => text.len(),
        false => text.char_indices().nth(chars_max).map_or(text.len(), |(at, _)| at),
    };
    let text = text.get(..end).unwrap_or_default();
    Some(match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "")),
        false => Cow::Borrowed(text),
    })
}

/// `metadata` as it is sent, with our id inside where the column refuses it.
pub fn metadata_as_sent(metadata: &str, id_inside: Option<i64>) -> String {
    let mut out = String::new();
    match id_inside {
        Some(id) => metadata_with_id(&mut out, metadata, id),
        None => write_metadata(&mut out, metadata),
    }
    out
}

fn text_or_null(out: &mut String, name: &str, text: Option<&str>, chars_max: usize) {
    for part in [",\"", name, "\":"] {
        out.push_str(part);
    }
    match as_sent(text, chars_max) {
        Some(text) => json::quote(out, &text),
        None => out.push_str("null"),
    }
}
