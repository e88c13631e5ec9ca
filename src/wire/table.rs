//! Owns: rows of the two tables from named columns, whatever they were written as; rows to JSON lines,
//! CSV and Markdown.
//! May not: know where columns come from or where text goes.

use crate::calendar::{Written, parse_written, rfc3339_us};
use crate::json::{self, Object, Ref};
use crate::types::row::{HistoryRow, OwnedHistory, RegistryRow};
use crate::types::{ChatId, UserId};

/// The columns of an export, in its order (contract §7).
pub const EXPORT_COLUMNS: [&str; 9] = [
    "chat_id",
    "user_id",
    "username",
    "message_text",
    "response_text",
    "model_used",
    "metadata",
    "created_at",
    "remote_id",
];

/// Turns a written time into microseconds since the epoch; told the row's id in Supabase, because
/// rows of ours are UTC whatever zone the operator named for the others.
pub type Clock<'a> = &'a dyn Fn(i64, Written) -> i64;

/// Gives a column's text, once; none when it is null or absent.
pub type Column<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// A row of `chat_history` from its columns.
///
/// # Errors
/// The name of the column that cannot be used, never its value.
pub fn history(
    column: Column<'_>,
    id_column: &'static str,
    clock: Clock<'_>,
) -> Result<OwnedHistory, &'static str> {
    let remote_id = match column(id_column) {
        None => 0,
        Some(text) => text.trim().parse().ok().filter(|id| *id > 0).ok_or(id_column)?,
    };
    let metadata = column("metadata").unwrap_or_else(|| "{}".to_owned());
    if json::parse(metadata.as_bytes()).is_err() {
        return Err("metadata");
    }
    let created = written(column, "created_at")?;
    let created_us = clock(alias(&metadata).unwrap_or(remote_id), created);
    Ok(OwnedHistory {
        remote_id,
        chat: ChatId(whole(column, "chat_id")?),
        user: UserId(whole(column, "user_id")?),
        username: column("username"),
        message: column("message_text"),
        response: column("response_text"),
        model: column("model_used"),
        metadata,
        created_us,
    })
}

/// A row of `user_registry` from its columns; a null count is none, null times are the epoch.
///
/// # Errors
/// The name of the column that cannot be used, never its value.
pub fn registry(column: Column<'_>, clock: Clock<'_>) -> Result<RegistryRow, &'static str> {
    let time = |text: Option<String>, name: &'static str| match text {
        None => Ok(0),
        Some(text) => parse_written(&text).map(|at| clock(0, at)).ok_or(name),
    };
    let count = match column("trigger_count") {
        None => 0,
        Some(text) => text.trim().parse().ok().ok_or("trigger_count")?,
    };
    let created_us = time(column("created_at"), "created_at")?;
    Ok(RegistryRow {
        user: UserId(whole(column, "user_id")?),
        chat: ChatId(whole(column, "chat_id")?),
        username: column("username"),
        first_name: column("first_name"),
        keyword: column("triggered_by_keyword"),
        count,
        synced: count,
        sending: 0,
        last_us: time(column("last_triggered_at"), "last_triggered_at")?.max(created_us),
        created_us,
    })
}

/// The id of ours inside `metadata`, where the table refuses explicit ids.
pub fn alias(metadata: &str) -> Option<i64> {
    if !metadata.contains(super::postgrest::METADATA_ID) {
        return None;
    }
    json::parse(metadata.as_bytes()).ok()?.at(super::postgrest::METADATA_ID).i64()
}

fn whole(column: Column<'_>, name: &'static str) -> Result<i64, &'static str> {
    column(name).and_then(|text| text.trim().parse().ok()).ok_or(name)
}

fn written(column: Column<'_>, name: &'static str) -> Result<Written, &'static str> {
    column(name).and_then(|text| parse_written(&text)).ok_or(name)
}

/// A column of a JSON object as text: strings as they are, null as none, the rest as its JSON.
pub fn json_column(row: Ref<'_>, name: &str) -> Option<String> {
    let value = row.at(name);
    if value.is_null() {
        return None;
    }
    Some(match (value.str(), value.i64()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => value.to_text(),
    })
}

/// The remote id as an export shows it: only when the row is known to be there.
fn known_id(row: &HistoryRow<'_>) -> Option<i64> {
    (matches!(row.sync, 2 | 4) && row.remote_id != 0).then_some(row.remote_id)
}

/// One JSON object, no line end; what `import jsonl` takes.
pub fn write_json(out: &mut String, row: &HistoryRow<'_>) {
    let mut object = Object::new(out);
    object.int("chat_id", row.chat.0).int("user_id", row.user.0);
    let texts = [
        ("username", row.username),
        ("message_text", row.message),
        ("response_text", row.response),
        ("model_used", row.model),
    ];
    for (name, text) in texts {
        match text {
            Some(text) => object.str(name, text),
            None => object.raw(name, "null"),
        };
    }
    let metadata = if row.metadata.trim().is_empty() { "{}" } else { row.metadata.trim() };
    object.raw("metadata", metadata).str("created_at", &rfc3339_us(row.created_us));
    match known_id(row) {
        Some(id) => object.int("remote_id", id),
        None => object.raw("remote_id", "null"),
    };
}

/// What makes a spreadsheet take a field for a formula, and run it.
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// One CSV record after RFC 4180, CRLF included. It is for spreadsheets: a text of people or models that they would run
/// as a formula gets an apostrophe before it, which they take as "this is text" (JSON lines are exact).
pub fn write_csv(out: &mut String, row: &HistoryRow<'_>) {
    let (chat, user) = (row.chat.to_string(), row.user.to_string());
    let created = rfc3339_us(row.created_us);
    let id = known_id(row).map(|id| id.to_string()).unwrap_or_default();
    let fields = [
        (&*chat, true),
        (&*user, true),
        (row.username.unwrap_or_default(), false),
        (row.message.unwrap_or_default(), false),
        (row.response.unwrap_or_default(), false),
        (row.model.unwrap_or_default(), false),
        (row.metadata, false),
        (&*created, true),
        (&*id, true),
    ];
    for (at, (field, is_ours)) in fields.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let guarded;
        let field = match field.starts_with(FORMULA_STARTS) && !is_ours {
            true => {
                guarded = format!("'{field}");
                &guarded
            }
            false => field,
        };
        if !field.contains(['"', ',', '\n', '\r']) {
            out.push_str(field);
            continue;
        }
        out.push('"');
        for (part, text) in field.split('"').enumerate() {
            out.push_str(if part > 0 { "\"\"" } else { "" });
            out.push_str(text);
        }
        out.push('"');
    }
    out.push_str("\r\n");
}

/// One exchange for people to read; texts are quoted blocks, so that none breaks out of its place.
pub fn write_markdown(out: &mut String, row: &HistoryRow<'_>) {
    let name: String =
        row.username.unwrap_or("?").chars().filter(|letter| !letter.is_control()).collect();
    out.push_str(&format!(
        "## {} · {} ({}) in {}\n\n",
        rfc3339_us(row.created_us),
        escaped(&name),
        row.user,
        row.chat
    ));
    quoted(out, row.message.unwrap_or_default());
    out.push_str(&format!("\n**{}**\n\n", escaped(row.model.unwrap_or("-"))));
    quoted(out, row.response.unwrap_or_default());
    out.push('\n');
}

fn quoted(out: &mut String, text: &str) {
    for line in text.lines() {
        out.push_str("> ");
        out.push_str(line);
        out.push('\n');
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\`*_{}[]<>#|~".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ChatId, UserId};

    #[test]
    fn no_text_becomes_a_formula_or_another_field() {
        for (text, want) in [
            ("hello", "hello"),
            ("=HYPERLINK(\"http://x\";1)", "\"'=HYPERLINK(\"\"http://x\"\";1)\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r\n=1", "\"'\r\n=1\""),
            ("a=1", "a=1"),
            ("a,\"b\"\nc", "\"a,\"\"b\"\"\nc\""),
        ] {
            let row = HistoryRow {
                id: 1,
                remote_id: 0,
                sync: 0,
                chat: ChatId(-100),
                user: UserId(7),
                username: Some(text),
                message: Some(text),
                response: Some(text),
                model: Some("m"),
                metadata: "{}",
                created_us: 0,
            };
            let mut out = String::new();
            write_csv(&mut out, &row);
            let wanted = format!("-100,7,{want},{want},{want},m,{{}},1970-01-01T00:00:00");
            assert!(out.starts_with(&wanted), "{text:?}: {out:?}");
        }
    }
}
