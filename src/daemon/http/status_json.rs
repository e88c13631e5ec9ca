//! Owns: the shape of `status --json` and `/status.json` (contract §7): one function for both.
//! May not: know where the figures come from.

use crate::calendar::{date_text, rfc3339};
use crate::daemon::quoting;
use crate::types::status::{KeyLine, QuotaLine, Status, TABLES};
use crate::types::{SECOND_MS, UnixMs, build};
use std::fmt::Write as _;

/// One JSON object on one line, without a line end.
pub fn status_json(status: &Status) -> String {
    let mut out = String::with_capacity(2_048);
    let counts = &status.counts;
    field(&mut out, "{", "version", |out| quoting::json(out, build::VERSION));
    field(&mut out, ",", "time", |out| quoting::json(out, &rfc3339(status.at_ms)));
    field(&mut out, ",", "running", |out| number(out, status.running));
    field(&mut out, ",", "ready", |out| number(out, status.ready));
    field(&mut out, ",", "reason", |out| quoting::json(out, &status.reason));
    let uptime = status.started_ms.filter(|_| status.running);
    let uptime = uptime.map(|started_ms| (status.at_ms - started_ms).max(0) / SECOND_MS);
    field(&mut out, ",", "uptime_seconds", |out| optional(out, uptime));
    field(&mut out, ",", "rss_bytes", |out| optional(out, status.rss_bytes));
    field(&mut out, ",", "database_bytes", |out| number(out, counts.database_bytes));
    field(&mut out, ",", "inbox", |out| number(out, counts.inbox));
    field(&mut out, ",", "inbox_parked", |out| number(out, counts.inbox_parked));
    field(&mut out, ",", "outbox", |out| number(out, counts.outbox));
    field(&mut out, ",", "outbox_parked", |out| number(out, counts.outbox_parked));
    field(&mut out, ",", "sessions", |out| number(out, counts.sessions));
    field(&mut out, ",", "vip", |out| {
        let _ = write!(out, r#"{{"used":{},"slots":{}}}"#, counts.vip_used, status.vip_slots);
    });
    field(&mut out, ",", "last_poll", |out| instant(out, status.last_poll_ms));
    let intake = if status.webhook { "webhook" } else { "polling" };
    field(&mut out, ",", "intake", |out| quoting::json(out, intake));
    field(&mut out, ",", "keys", |out| keys_json(out, &status.keys));
    field(&mut out, ",", "quota", |out| list(out, &status.quota, quota_json));
    field(&mut out, ",", "lasts", |out| {
        list(out, &status.lasts, |out, line| {
            field(out, "{", "tier", |out| quoting::json(out, line.tier.name()));
            field(out, ",", "ends", |out| instant(out, line.ends_ms));
            out.push('}');
        });
    });
    field(&mut out, ",", "gemini_error", |out| match &status.gemini_error {
        Some(why) => quoting::json(out, why),
        None => out.push_str("null"),
    });
    field(&mut out, ",", "sync", |out| sync_json(out, status));
    field(&mut out, ",", "week", |out| {
        list(out, &status.week(), |out, day| {
            field(out, "{", "day", |out| quoting::json(out, &date_text(day.day)));
            field(out, ",", "answers", |out| number(out, day.answers));
            field(out, ",", "tokens", |out| number(out, day.tokens));
            out.push('}');
        });
    });
    field(&mut out, ",", "troubles", |out| {
        list(out, &status.troubles, |out, trouble| {
            field(out, "{", "time", |out| quoting::json(out, &rfc3339(trouble.at_ms)));
            field(out, ",", "place", |out| quoting::json(out, &trouble.place));
            field(out, ",", "text", |out| quoting::json(out, &trouble.text));
            out.push('}');
        });
    });
    field(&mut out, ",", "disk", |out| match status.disk {
        Some(disk) => {
            let (free, total) = (disk.free_bytes, disk.total_bytes);
            let _ = write!(out, r#"{{"free_bytes":{free},"total_bytes":{total}}}"#);
        }
        None => out.push_str("null"),
    });
    out.push('}');
    out
}

/// The list under `keys`, here and in `keys list --json`.
pub fn keys_json(out: &mut String, keys: &[KeyLine]) {
    list(out, keys, |out, key| {
        field(out, "{", "n", |out| number(out, key.n));
        field(out, ",", "group", |out| quoting::json(out, key.group.label()));
        field(out, ",", "last4", |out| quoting::json(out, &key.last4));
        field(out, ",", "state", |out| quoting::json(out, key.state.name()));
        field(out, ",", "until", |out| instant(out, key.until_ms));
        field(out, ",", "reason", |out| quoting::json(out, &key.reason()));
        field(out, ",", "project", |out| quoting::json(out, &key.project));
        field(out, ",", "inferred", |out| number(out, key.inferred));
        field(out, ",", "shares_with", |out| {
            list(out, &key.shares_with, |out, other| number(out, other));
        });
        out.push('}');
    });
}

fn quota_json(out: &mut String, quota: &QuotaLine) {
    field(out, "{", "project", |out| quoting::json(out, &quota.project));
    field(out, ",", "groups", |out| {
        list(out, &quota.groups, |out, group| quoting::json(out, group.label()));
    });
    field(out, ",", "model", |out| quoting::json(out, &quota.model));
    field(out, ",", "used_today", |out| number(out, quota.used_today));
    field(out, ",", "limit_today", |out| optional(out, quota.limit_today));
    field(out, ",", "resets", |out| instant(out, Some(quota.resets_ms)));
    field(out, ",", "ends", |out| instant(out, quota.ends_ms));
    out.push('}');
}

fn sync_json(out: &mut String, status: &Status) {
    let sync = &status.sync;
    let by_table = |out: &mut String, rows: &[u64; 2]| {
        for (at, (table, rows)) in TABLES.iter().zip(rows).enumerate() {
            field(out, if at == 0 { "{" } else { "," }, table, |out| number(out, rows));
        }
        out.push('}');
    };
    field(out, "{", "enabled", |out| number(out, sync.enabled));
    field(out, ",", "pending", |out| by_table(out, &sync.pending));
    field(out, ",", "parked", |out| by_table(out, &sync.parked));
    field(out, ",", "parked_reason", |out| quoting::json(out, &sync.parked_reason));
    field(out, ",", "last_success", |out| instant(out, sync.last_success_ms));
    field(out, ",", "last_error", |out| match &sync.last_error {
        Some(text) => quoting::json(out, text),
        None => out.push_str("null"),
    });
    out.push('}');
}

/// Appends `before`, the name and whatever `value` writes.
pub(crate) fn field(out: &mut String, before: &str, name: &str, value: impl FnOnce(&mut String)) {
    out.push_str(before);
    quoting::json(out, name);
    out.push(':');
    value(out);
}

/// Appends a JSON array.
pub(crate) fn list<T>(out: &mut String, items: &[T], mut item: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (at, each) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        item(out, each);
    }
    out.push(']');
}

fn number(out: &mut String, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}");
}

fn optional(out: &mut String, value: Option<impl std::fmt::Display>) {
    match value {
        Some(value) => number(out, value),
        None => out.push_str("null"),
    }
}

fn instant(out: &mut String, at_ms: Option<UnixMs>) {
    match at_ms {
        Some(at_ms) => quoting::json(out, &rfc3339(at_ms)),
        None => out.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::http::example;
    use crate::json;

    #[test]
    fn every_field_of_the_contract_is_there() {
        let text = status_json(&example::busy());
        let json = json::parse(text.as_bytes()).unwrap();
        let names = json.root().names();
        for name in [
            "version",
            "running",
            "ready",
            "reason",
            "uptime_seconds",
            "rss_bytes",
            "database_bytes",
            "inbox",
            "outbox",
            "sessions",
            "vip",
            "keys",
            "quota",
            "sync",
            "week",
        ] {
            assert!(names.contains(&name), "{name}");
        }
        assert_eq!(json.at("vip").at("used").i64(), Some(2));
        assert_eq!(json.at("vip").at("slots").i64(), Some(3));
        assert_eq!(json.at("sync").at("pending").at("chat_history").i64(), Some(1_234));
        assert_eq!(json.at("sync").at("pending").at("user_registry").i64(), Some(5));
        assert_eq!(json.at("uptime_seconds").i64(), Some(7_205));
        assert_eq!(json.at("week").list().count(), 7);
        let key = json.at("keys").list().next().unwrap();
        assert_eq!(key.at("state").str(), Some("ready"));
        assert!(key.at("until").is_null());
        let resets = json.at("quota").list().next().unwrap().at("resets").str();
        assert_eq!(resets, Some("2026-11-23T08:00:00.000Z"));
        assert!(json.at("quota").list().last().unwrap().at("limit_today").is_null());
        let ends = |list: &str| {
            let first = json.at(list).list().next().unwrap();
            first.at("ends").str().map(str::to_owned)
        };
        assert_eq!(ends("quota").as_deref(), Some("2026-11-23T02:00:00.000Z"));
        assert_eq!(json.at("lasts").list().next().unwrap().at("tier").str(), Some("lite"));
        assert_eq!(ends("lasts"), None);
        assert!(json.at("lasts").list().nth(1).unwrap().at("ends").str().is_some());
    }

    #[test]
    fn a_bot_that_never_ran_is_still_valid_json() {
        let json = json::parse(status_json(&Status::default()).as_bytes()).unwrap();
        assert!(json.at("uptime_seconds").is_null());
        assert!(json.at("sync").at("last_success").is_null());
        assert!(json.at("sync").at("last_error").is_null());
    }
}
