//! Owns: the items about Supabase: key kind, tables, columns, grants, policies.
//! May not: write a row: the insert that tries the grant has none, the one that tries the policies has a row
//! that the primary key refuses after them.

use super::reply::Fields;
use super::{Call, Item, Level, TIMEOUT_MS, redirected, unreachable};
use crate::config::Config;
use crate::types::Secret;
use crate::wire::postgrest::Batch;
use crate::wire::{Method, NetError, Request, Response};
use base64::Engine as _;

/// The columns that the unchanged tables must have.
const TABLES: [(&str, &str); 2] = [
    (
        "chat_history",
        "id,chat_id,user_id,username,message_text,response_text,model_used,metadata,created_at",
    ),
    (
        "user_registry",
        "id,user_id,username,first_name,chat_id,triggered_by_keyword,trigger_count,last_triggered_at,created_at",
    ),
];

/// What is said while the other item of the same name holds.
const ALL_WELL: &str = "all columns there, may be read and written";

pub(super) fn items(config: &Config, call: Call<'_>) -> Vec<Item> {
    let Some(remote) = &config.supabase else {
        return vec![Item::ok("supabase", "not set: everything stays here")];
    };
    let kind = key_kind(&remote.key);
    // Policies stand before every key but this one.
    let passes_policies = kind.level == Level::Ok;
    let mut items = vec![kind];
    for (table, columns) in TABLES {
        let name = format!("supabase {table}");
        match try_table(table, columns, passes_policies, call) {
            Ok(Tried::Fine) => items.push(Item::ok(name, ALL_WELL)),
            Ok(Tried::Generated) => {
                items.push(Item::ok(name, ALL_WELL));
                items.push(generated_ids());
            }
            Ok(Tried::Refused(what, reply)) => items.push(refused(&name, table, what, &reply)),
            Err(error) => {
                items.push(unreachable("supabase", "SUPABASE_URL", &error));
                return items;
            }
        }
    }
    items
}

/// What trying a table showed.
enum Tried {
    Fine,
    /// Ids that are given are refused; all else is fine.
    Generated,
    /// What was tried, and the answer.
    Refused(&'static str, Response),
}

/// Reads a row, and inserts as the bot does, but nothing that would stay.
fn try_table(
    table: &str,
    columns: &str,
    passes_policies: bool,
    call: Call<'_>,
) -> Result<Tried, NetError> {
    let is_done = |reply: &Response| (200..300).contains(&reply.status);
    let read = Request {
        method: Method::Get,
        path: format!("{table}?select={columns}&limit=1"),
        headers: Vec::new(),
        body: None,
        timeout_ms: TIMEOUT_MS,
    };
    let reply = call(&read)?;
    if !is_done(&reply) {
        return Ok(Tried::Refused("read", reply));
    }
    let insert = |with_id| {
        let none = Batch::new(0);
        let request = match table {
            "chat_history" => none.into_history_insert(with_id),
            _ => none.into_registry_insert(),
        };
        Request { timeout_ms: TIMEOUT_MS, ..request }
    };
    // An insert of no rows needs the right to insert, the columns and the key, and changes nothing.
    let mut reply = call(&insert(true))?;
    let is_generated = Fields::read(&reply.body).text(&["code"]) == "428C9";
    if is_generated {
        reply = call(&insert(false))?;
    }
    if !is_done(&reply) {
        return Ok(Tried::Refused("write", reply));
    }
    if !passes_policies && !is_generated {
        // Policies judge rows: this one they see first, and then no primary key takes it, for its id is null.
        let path = format!("{table}?columns=id,chat_id,user_id&select=id");
        let reply = call(&Request { path, body: Some(NOBODY.to_owned()), ..insert(true) })?;
        if Fields::read(&reply.body).text(&["code"]) == "42501" {
            return Ok(Tried::Refused("write", reply));
        }
    }
    Ok(if is_generated { Tried::Generated } else { Tried::Fine })
}

/// A row whose id, chat and person are null.
const NOBODY: &str = "[{}]";

fn generated_ids() -> Item {
    Item::warn(
        "supabase ids",
        "`chat_history.id` is generated always: the bot's own ids stand in `metadata` and are looked up after \
         a lost reply; a request that commits more than ten minutes late makes a second row",
        "run migrations/supabase/0003_ids.sql in the SQL editor: then every row arrives exactly once",
    )
}

/// What the key says of itself.
fn key_kind(key: &Secret) -> Item {
    let name = "supabase key";
    let todo = "set SUPABASE_KEY to the project's secret key (service_role): \
                Project Settings, API Keys";
    let kind = match key.expose() {
        text if text.starts_with("sb_secret_") => "service_role".to_owned(),
        text if text.starts_with("sb_publishable_") => "anon".to_owned(),
        text => role_of_jwt(text).unwrap_or_default(),
    };
    match kind.as_str() {
        "service_role" => Item::ok(name, "a secret key (service_role)"),
        "" => Item::warn(name, "neither an sb_secret_ key nor a JWT with a role", todo),
        role => Item::warn(
            name,
            format!("a key of role {role}: row level security hides and refuses rows from it"),
            todo,
        ),
    }
}

fn role_of_jwt(text: &str) -> Option<String> {
    let payload = text.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    Some(Fields::read(&payload).text(&["role"]))
}

fn refused(name: &str, table: &str, what: &str, reply: &Response) -> Item {
    let fields = Fields::read(&reply.body);
    let code = fields.text(&["code"]);
    let status = reply.status;
    let migrate = "run migrations/supabase in the SQL editor, then `notify pgrst, 'reload schema'`";
    let by_policy = fields.text(&["message"]).contains("row-level security");
    match (status, code.as_str()) {
        (_, "42501") if by_policy => Item::fail(
            name,
            "row level security refuses its rows from this key (42501)",
            "set SUPABASE_KEY to the project's secret key (service_role), which passes all policies",
        ),
        (_, "42501") => Item::fail(
            name,
            format!("the key may not {what} it (42501)"),
            format!(
                "grant select, insert, update, delete on public.{table} to service_role; \
                     grant usage on all sequences in schema public to service_role"
            ),
        ),
        (_, "42703" | "PGRST204") => {
            Item::fail(name, format!("a column is missing ({code})"), migrate)
        }
        (_, "42P01" | "PGRST205" | "PGRST125") | (404, _) => Item::fail(
            name,
            format!("the table is not there ({status})"),
            format!("look whether SUPABASE_URL is the right project; {migrate}"),
        ),
        (_, "42P10" | "55000" | "0A000") => Item::fail(
            name,
            format!("it has no primary key or unique pair, or is a view ({code})"),
            format!(
                "run migrations/supabase/0001_tables.sql, or point `{table}` at the table itself"
            ),
        ),
        (401 | 403, _) => Item::fail(
            name,
            format!("the key is refused ({status})"),
            "set SUPABASE_KEY to this project's secret key",
        ),
        (402, _) => {
            Item::fail(name, "the project is over its quota or unpaid", "see its billing page")
        }
        (540, _) => Item::fail(name, "the project is paused", "restore it in Supabase's dashboard"),
        (300..=399, _) => redirected(name, "SUPABASE_URL", status),
        (429 | 500.., _) => {
            Item::warn(name, format!("busy or starting ({status} {code})"), "try again in a minute")
        }
        _ => Item::fail(
            name,
            format!("it refuses to {what} ({status} {code})"),
            "look whether SUPABASE_URL is the project's URL",
        ),
    }
}
