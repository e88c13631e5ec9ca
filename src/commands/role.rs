//! Owns: `svs-bot role`: who was given which role, beside the settings.
//! May not: decide what a role may do.

use super::{EXIT_OK, Failure, Outcome, Place};
use crate::calendar;
use crate::cli;
use crate::config;
use crate::json::Object;
use crate::store::people::{self, Grant};
use crate::store::{Durability, Store, StoreError};
use crate::types::{Now, Role, UserId};
use std::io::Write;

/// Lists, sets or removes roles.
///
/// # Errors
/// Wrong use (exit 2), or the database refuses.
pub fn run(args: &cli::Role, place: &Place, now: Now, out: &mut dyn Write) -> Outcome {
    let words: Vec<&str> = args.action.iter().map(String::as_str).collect();
    let text = match words.as_slice() {
        [] | ["list"] => list(place, args.json, now)?,
        ["set", id, role] => set(place, args.json, id, role, None, now)?,
        ["set", id, role, span] => set(place, args.json, id, role, Some(span), now)?,
        ["remove", id] => {
            let user = user(id)?;
            let changed = store(place)?
                .write(Durability::Process, |tx| people::remove_grant(tx, user))
                .map_err(Failure::failed)?;
            done(args.json, changed, if changed { "removed" } else { "there was none" })
        }
        _ => {
            return Err(Failure::usage(
                "role: takes `list`, `set ID ROLE [30d]` or `remove ID`: see `svs-bot role --help`",
            ));
        }
    };
    out.write_all(text.as_bytes()).map_err(|error| Failure::failed(format!("writing: {error}")))?;
    Ok(EXIT_OK)
}

fn store(place: &Place) -> Result<Store, Failure> {
    std::fs::create_dir_all(&place.data_dir)
        .map_err(|error| Failure::failed(format!("{}: {error}", place.data_dir.display())))?;
    Store::open(&place.data_dir).map_err(Failure::failed)
}

fn set(
    place: &Place,
    json: bool,
    id: &str,
    role: &str,
    span: Option<&str>,
    now: Now,
) -> Result<String, Failure> {
    let user = user(id)?;
    let role = Role::from_name(role).ok_or_else(|| {
        Failure::usage("role: takes owner, vip, premium, normal, guest or blocked")
    })?;
    if role == Role::Owner && !place.config.owner_ids.is_empty() {
        return Err(Failure::usage(
            "role: BOT_OWNER_ID alone decides who is owner: change it there",
        ));
    }
    if place.config.owner_ids.contains(&user) {
        return Err(Failure::usage(
            "role: BOT_OWNER_ID names this person, and it alone decides: change it there",
        ));
    }
    let until_ms = match span {
        None => 0,
        Some(span) => match config::duration_ms(span) {
            Some(ms) if ms > 0 => now.unix_ms.saturating_add(ms),
            _ => {
                return Err(Failure::usage(format!(
                    "role: how long: takes {}",
                    config::DURATION_TAKES
                )));
            }
        },
    };
    let grant = Grant { user, role, until_ms, source: "command".to_owned() };
    let changed = store(place)?
        .write(Durability::Process, |tx| people::set_grant(tx, &grant, now.unix_ms))
        .map_err(Failure::failed)?;
    Ok(done(json, changed, if changed { "set" } else { "was so already" }))
}

fn user(id: &str) -> Result<UserId, Failure> {
    match id.parse() {
        Ok(id) if id > 0 => Ok(UserId(id)),
        _ => Err(Failure::usage("role: ID takes the person's numeric Telegram id")),
    }
}

fn done(json: bool, changed: bool, words: &str) -> String {
    if json { format!("{{\"ok\":true,\"changed\":{changed}}}\n") } else { format!("{words}\n") }
}

struct Line {
    user: UserId,
    role: Role,
    until_ms: i64,
    source: String,
}

fn list(place: &Place, json: bool, now: Now) -> Result<String, Failure> {
    let config = &place.config;
    let granted = match Store::open_existing(&place.data_dir) {
        Ok(store) => people::grants(store.connection(), now.unix_ms).map_err(Failure::failed)?,
        Err(StoreError::Missing(_)) => Vec::new(),
        Err(error) => return Err(Failure::failed(error)),
    };
    let settings = [
        (&config.owner_ids, Role::Owner),
        (&config.vip_ids, Role::Vip),
        (&config.premium_ids, Role::Premium),
        (&config.normal_ids, Role::Normal),
    ];
    let mut lines: Vec<Line> = settings
        .into_iter()
        .flat_map(|(ids, role)| ids.iter().map(move |id| (*id, role)))
        .filter(|(id, role)| *role == Role::Owner || !granted.iter().any(|grant| grant.user == *id))
        .map(|(user, role)| Line { user, role, until_ms: 0, source: "settings".to_owned() })
        .collect();
    lines.extend(granted.into_iter().map(|grant| Line {
        user: grant.user,
        role: grant.role,
        until_ms: grant.until_ms,
        source: grant.source,
    }));
    lines.sort_by_key(|line| (line.role, line.user));
    Ok(if json { as_json(&lines) } else { as_table(&lines) })
}

fn as_json(lines: &[Line]) -> String {
    let mut out = String::new();
    {
        let mut object = Object::new(&mut out);
        let mut roles = object.array("roles");
        for line in lines {
            let mut entry = roles.object();
            entry.int("user_id", line.user.0).str("role", line.role.name());
            match line.until_ms {
                0 => entry.raw("until", "null"),
                until_ms => entry.str("until", &calendar::rfc3339(until_ms)),
            };
            entry.str("source", &line.source);
        }
    }
    out.push('\n');
    out
}

fn as_table(lines: &[Line]) -> String {
    let mut out = String::new();
    for line in lines {
        let until = match line.until_ms {
            0 => "-".to_owned(),
            until_ms => calendar::rfc3339(until_ms),
        };
        out.push_str(&format!(
            "{:<16} {:<8} {until:<24} {}\n",
            line.user.0,
            line.role.name(),
            line.source
        ));
    }
    if lines.is_empty() {
        out.push_str("nobody has a role of their own\n");
    }
    out
}
