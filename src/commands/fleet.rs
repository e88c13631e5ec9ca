//! Owns: `svs-bot status --fleet`: the boxes as Redis or the shared ledger has them, for a terminal or as JSON; the
//! item of `check`.
//! May not: write there; show what could move a terminal's cursor.

#[cfg(feature = "redis")]
mod bots;

use super::{EXIT_FAILED, Failure, Place};
use crate::daemon::clock;
use crate::daemon::quoting::plain;
use crate::json;
use crate::store::shared;
use std::fmt::Write as _;

/// One box: its version, its bot's id, requests counted by all, held back, sent on its own share.
struct Said {
    id: String,
    version: String,
    bot: String,
    counts: [i64; 3],
}

/// The boxes as text or as one JSON object.
///
/// # Errors
/// Nothing is shared, or what is cannot be used.
pub fn text(place: &Place, as_json: bool) -> Result<String, Failure> {
    let failed = |text: String| Failure { code: EXIT_FAILED, text };
    let alone = || failed("SHARED_LEDGER: not set: this box is on its own".to_owned());
    let all = boxes(place).ok_or_else(alone)?.map_err(failed)?.unwrap_or_default();
    let all: Vec<Said> = all.iter().map(|(id, said)| read(id, said)).collect();
    #[cfg(feature = "redis")]
    let bots = bots::read(place, &all).map_err(failed)?;
    if !as_json {
        #[cfg_attr(
            not(feature = "redis"),
            expect(unused_mut, reason = "only Redis has more to tell")
        )]
        let mut out = in_words(&all);
        #[cfg(feature = "redis")]
        bots::in_words(&mut out, &bots);
        return Ok(out);
    }
    let mut out = in_json(&all);
    #[cfg(feature = "redis")]
    bots::in_json(&mut out, &bots);
    out.push_str("}\n");
    Ok(out)
}

/// How many boxes share the keys, for `check`; the inner `None` where nobody has begun.
///
/// # Errors
/// One line of what, why and what to do; `None` where nothing is shared.
pub fn look(place: &Place) -> Option<Result<Option<usize>, String>> {
    Some(boxes(place)?.map(|all| all.map(|all| all.len())))
}

/// Boxes by id, with what each says of itself.
type Boxes = Vec<(String, String)>;

fn boxes(place: &Place) -> Option<Result<Option<Boxes>, String>> {
    if let Some(path) = &place.config.shared_ledger {
        return Some(shared::boxes(path, clock::boot_ms()));
    }
    #[cfg(feature = "redis")]
    if let Some(url) = &place.config.redis_url {
        let roots = crate::daemon::fleet::roots(&place.config);
        return Some(roots.and_then(|roots| crate::fleet::boxes(url, roots.as_deref()).map(Some)));
    }
    None
}

fn read(id: &str, said: &str) -> Said {
    let mut parts = said.split('\t');
    let mut next = || plain(parts.next().unwrap_or_default());
    let (version, bot) = (next(), next());
    let counts = [next(), next(), next()].map(|count| count.parse().unwrap_or(0));
    Said { id: plain(id), version, bot, counts }
}

fn in_words(all: &[Said]) -> String {
    let mut out = format!(
        "{:<14}{:<10}{:<14}{:>9}{:>9}{:>9}\n",
        "box", "version", "bot", "counted", "held", "alone"
    );
    for said in all {
        let [counted, held, alone] = said.counts;
        let _ = writeln!(
            out,
            "{:<14}{:<10}{:<14}{counted:>9}{held:>9}{alone:>9}",
            said.id, said.version, said.bot
        );
    }
    out
}

/// Without the brace at its end.
fn in_json(all: &[Said]) -> String {
    let mut out = "{\"boxes\":[".to_owned();
    for (at, said) in all.iter().enumerate() {
        let [counted, held, alone] = said.counts;
        out.push_str(if at == 0 { "{" } else { ",{" });
        for (name, text) in [("id", &said.id), ("version", &said.version), ("bot", &said.bot)] {
            let _ = write!(out, "\"{name}\":");
            json::quote(&mut out, text);
            out.push(',');
        }
        let _ = write!(out, "\"counted\":{counted},\"held\":{held},\"alone\":{alone}}}");
    }
    out.push(']');
    out
}
