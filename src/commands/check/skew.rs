//! Owns: the item about the system's clock beside the clocks of those who answered.
//! May not: set a clock; trust a single odd one.

use super::{Item, KeyCall, Ways};
use crate::daemon::clock::{SKEW_MS_FAIL, SKEW_MS_WARN};
use crate::daemon::quoting::span;
use crate::types::Secret;
use crate::wire::{NetError, Request, Response};
use std::cell::RefCell;

/// Whose clock, and how far ours is ahead of it.
type Seen = RefCell<Vec<(&'static str, i64)>>;

/// Lends `work` the same ways and watches the `Date` of every reply.
pub(super) fn watched(ways: &mut Ways<'_>, work: impl FnOnce(&mut Ways<'_>)) -> Option<Item> {
    let seen = Seen::default();
    let system_ms = ways.system_ms;
    let note = |who: &'static str, reply: &Result<Response, NetError>| {
        let theirs_ms = reply.as_ref().ok().and_then(|reply| reply.date_ms);
        if let Some(theirs_ms) = theirs_ms {
            seen.borrow_mut().push((who, system_ms() - theirs_ms));
        }
    };
    let (telegram, gemini, supabase) =
        (&mut *ways.telegram, &mut *ways.gemini, &mut *ways.supabase);
    let mut to_telegram = |request: &Request| {
        let reply = telegram(request);
        note("Telegram", &reply);
        reply
    };
    let mut to_gemini = |key: &Secret, request: &Request| {
        let reply = gemini(key, request);
        note("Google", &reply);
        reply
    };
    let mut to_supabase = |request: &Request| {
        let reply = supabase(request);
        note("Supabase", &reply);
        reply
    };
    work(&mut Ways {
        telegram: &mut to_telegram,
        gemini: &mut to_gemini as KeyCall<'_>,
        supabase: &mut to_supabase,
        system_ms,
    });
    judge(&seen.into_inner())
}

/// The smallest difference counts: where one agrees with us, the other clock is the odd one.
fn judge(seen: &[(&'static str, i64)]) -> Option<Item> {
    let (who, ahead_ms) = seen.iter().min_by_key(|(_, ahead_ms)| ahead_ms.abs())?;
    let name = "clock beside theirs";
    let side = if *ahead_ms > 0 { "ahead of" } else { "behind" };
    let found = format!("{} {side} {who}'s", span(ahead_ms.abs()));
    let todo = "set it: `timedatectl set-ntp true` (or install chrony), then look at `timedatectl`";
    Some(match ahead_ms.abs() {
        // A `Date` is whole seconds, and the reply was under way.
        0..=SKEW_MS_WARN => Item::ok(name, format!("agrees with {who}'s")),
        skew if skew <= SKEW_MS_FAIL => Item::warn(name, found, todo),
        _ => Item::fail(name, format!("{found}: certificates will be refused"), todo),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::Level;

    #[test]
    fn the_nearest_clock_decides() {
        for (seen, want) in [
            (vec![], None),
            (vec![("Telegram", 900)], Some((Level::Ok, "agrees with Telegram's"))),
            (vec![("Telegram", -30_000)], Some((Level::Ok, "agrees"))),
            (vec![("Telegram", 31_000)], Some((Level::Warn, "31s ahead of Telegram's"))),
            (vec![("Google", -120_000)], Some((Level::Warn, "2m behind Google's"))),
            (vec![("Supabase", -300_001)], Some((Level::Fail, "5m behind Supabase's"))),
            (vec![("Telegram", 3_600_000), ("Google", 2_000)], Some((Level::Ok, "Google"))),
        ] {
            let item = judge(&seen);
            assert_eq!(item.as_ref().map(|item| item.level), want.map(|want| want.0), "{seen:?}");
            if let (Some(item), Some((level, words))) = (item, want) {
                assert!(item.found.contains(words), "{item:?}");
                assert_eq!(item.todo.is_empty(), level == Level::Ok, "{item:?}");
            }
        }
    }
}
