//! Owns: the bots that share updates, and which box has which of their partitions, for `status --fleet`.
//! May not: exist without the feature `redis`.

use super::Said;
use crate::commands::Place;
use crate::daemon::quoting::plain;
use crate::fleet::{Share, shares};
use crate::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Bots whose partitions are shown: each is asked for by itself.
const BOTS_SHOWN_MAX: usize = 100;

/// Bots by id, each with its partitions in their order.
pub(super) type Bots = Vec<(String, Vec<Share>)>;

pub(super) fn read(place: &Place, all: &[Said]) -> Result<Bots, String> {
    let Some(url) = &place.config.redis_url else { return Ok(Bots::new()) };
    let roots = crate::daemon::fleet::roots(&place.config)?;
    let names: BTreeSet<&str> = all.iter().map(|said| &*said.bot).collect();
    let mut found = Bots::new();
    for bot in names.into_iter().take(BOTS_SHOWN_MAX) {
        let mut parts = shares(url, roots.as_deref(), bot)?;
        for part in &mut parts {
            part.holder = plain(&part.holder);
        }
        if !parts.is_empty() {
            found.push((bot.to_owned(), parts));
        }
    }
    Ok(found)
}

pub(super) fn in_words(out: &mut String, bots: &Bots) {
    for (bot, parts) in bots {
        let waiting: i64 = parts.iter().map(|part| part.waiting).sum();
        let oldest_ms = parts.iter().map(|part| part.oldest_ms).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "\nbot {bot}: {} partitions, {waiting} updates not settled, the oldest {}.{} s old",
            parts.len(),
            oldest_ms / 1_000,
            oldest_ms % 1_000 / 100
        );
        let holders: BTreeSet<&str> = parts.iter().map(|part| &*part.holder).collect();
        for holder in holders {
            let held = || parts.iter().enumerate().filter(|(_, part)| part.holder == holder);
            let numbers: Vec<String> = held().map(|(number, _)| number.to_string()).collect();
            let waiting: i64 = held().map(|(_, part)| part.waiting).sum();
            let name = if holder.is_empty() { "nobody" } else { holder };
            let _ = writeln!(out, "  {name:<14}{waiting:>7} waiting  {}", numbers.join(" "));
        }
    }
}

pub(super) fn in_json(out: &mut String, bots: &Bots) {
    out.push_str(",\"bots\":[");
    for (at, (bot, parts)) in bots.iter().enumerate() {
        out.push_str(if at == 0 { "{\"bot\":" } else { ",{\"bot\":" });
        json::quote(out, bot);
        out.push_str(",\"partitions\":[");
        for (number, part) in parts.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(out, "{comma}{{\"n\":{number},\"box\":");
            json::quote(out, &part.holder);
            let (waiting, oldest_ms) = (part.waiting, part.oldest_ms);
            let _ = write!(out, ",\"waiting\":{waiting},\"oldest_ms\":{oldest_ms}}}");
        }
        out.push_str("]}");
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_by_box_and_as_json() {
        let part = |holder: &str, waiting, oldest_ms| Share {
            holder: holder.to_owned(),
            waiting,
            oldest_ms,
        };
        let parts = vec![part("b", 2, 1_250), part("a", 0, 0), part("", 1, 90), part("b", 0, 0)];
        let bots = vec![("7".to_owned(), parts)];
        let mut out = String::new();
        in_words(&mut out, &bots);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[1], "bot 7: 4 partitions, 3 updates not settled, the oldest 1.2 s old");
        assert!(lines[2].starts_with("  nobody ") && lines[2].ends_with(" 1 waiting  2"));
        assert!(lines[3].starts_with("  a ") && lines[3].ends_with(" 0 waiting  1"));
        assert!(lines[4].starts_with("  b ") && lines[4].ends_with(" 2 waiting  0 3"));
        let mut out = String::from("{\"x\":0");
        in_json(&mut out, &bots);
        out.push('}');
        let read = json::parse(out.as_bytes()).unwrap();
        let first = read.root().at("bots").list().next().unwrap().at("partitions").list();
        assert_eq!(first.count(), 4);
    }
}
