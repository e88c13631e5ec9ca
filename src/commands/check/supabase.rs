//! Owns: the items about Supabase: key kind, tables, columns, grants.
//! May not: write a row: the insert that tries the grant has none.

use super::reply::Fields;
use super::{Call, Item, TIMEOUT_MS, unreachable};
use crate::config::Config;
use crate::types::Secret;
use crate::wire::{Method, Request, Response};
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

pub(super) fn items(config: &Config, generated_ids: bool, call: Call<'_>) -> Vec<Item> {
    let Some(remote) = &config.supabase else {
        return vec![Item::ok("supabase", "not set: everything stays here")];
    };
    let mut items = vec![key_kind(&remote.key)];
    if generated_ids {
        items.push(Item::warn(
            "supabase ids",
            "`chat_history.id` is generated always: the bot's own ids stand in `metadata` and are looked up after \
             a lost reply; a request that commits more than ten minutes late makes a second row",
            "run migrations/supabase/0003_ids.sql in the SQL editor: then every row arrives exactly once",
        ));
    }
    for (table, columns) in TABLES {
        let name = format!("supabase {table}");
        let read = Request {
            method: Method::Get,
            path: format!("{table}?select={columns}&limit=1"),
            headers: Vec::new(),
            body: None,
            timeout_ms: TIMEOUT_MS,
        };
        // An insert of no rows needs the right to insert and changes nothing.
        let write = Request {
            method: Method::Post,
            path: format!("{table}?columns={columns}"),
            headers: vec![("prefer", "return=minimal".to_owned())],
            body: Some("[]".to_owned()),
            timeout_ms: TIMEOUT_MS,
        };
        for (what, request) in [("read", read), ("write", write)] {
            match call(&request) {
                Ok(reply) if (200..300).contains(&reply.status) => {}
                Ok(reply) => {
                    items.push(refused(&name, table, what, &reply));
                    break;
                }
                Err(error) => {
                    items.push(unreachable("supabase", "SUPABASE_URL", &error));
                    return items;
                }
            }
        }
        if items.last().is_none_or(|item| item.name != name) {
            items.push(Item::ok(name, "all columns there, may be read and written"));
        }
    }
    items
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
    match (status, code.as_str()) {
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
        (401 | 403, _) => Item::fail(
            name,
            format!("the key is refused ({status})"),
            "set SUPABASE_KEY to this project's secret key",
        ),
        (402, _) => {
            Item::fail(name, "the project is over its quota or unpaid", "see its billing page")
        }
        (540, _) => Item::fail(name, "the project is paused", "restore it in Supabase's dashboard"),
        (300..=399, _) => Item::fail(
            name,
            format!("it answers with a redirect ({status})"),
            "set SUPABASE_URL to the address it leads to, with https",
        ),
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
