//! Tables over a small pool; the long run is `tests/pool_sim.rs`.

mod choosing;
mod clock;
mod joining;
mod seen;
mod settling;

use super::*;
use crate::types::model::{ModelFailure, QuotaHit, Usage, Window};
use crate::types::status::{KeyState, TierLine};
use crate::types::{DAY_MS, HOUR_MS};

/// 2026-11-10, 12:00 in California.
pub(super) const NOON: Now = Now { unix_ms: 1_794_340_800_000 };
const FLASH: &str = "gemini-3.8-flash";
const LITE: &str = "gemini-3.5-flash-lite";

/// Keys as `GROUP:last4` or `GROUP:last4@project`.
fn settings(keys: &str) -> PoolSettings {
    let keys = keys
        .split_whitespace()
        .map(|key| {
            let (group, rest) = key.split_once(':').unwrap();
            let (last4, project) = match rest.split_once('@') {
                Some((last4, project)) => (last4, Some(project.to_owned())),
                None => (rest, None),
            };
            let group = Group::ALL.into_iter().find(|known| known.label() == group).unwrap();
            KeySpec { fingerprint: format!("f{last4}"), last4: last4.to_owned(), group, project }
        })
        .collect();
    PoolSettings {
        keys,
        lite: vec![LITE.to_owned(), "gemini-3.1-flash-lite".to_owned()],
        flash: vec![FLASH.to_owned(), "gemini-3.6-flash".to_owned()],
        pro: vec!["gemini-3.1-pro-preview".to_owned(), FLASH.to_owned()],
        rpm: Limit::Auto,
        pro_rpm: Limit::Auto,
        lite_rpd: Limit::Auto,
        flash_rpd: Limit::Auto,
        pro_rpd: Limit::Auto,
        min_interval_ms: 1_000,
        daily_share: 0.9,
    }
}

fn pool(keys: &str) -> Pool {
    Pool::new(settings(keys), LedgerRows::default(), NOON)
}

fn at(after_ms: i64) -> Now {
    Now { unix_ms: NOON.unix_ms + after_ms }
}

fn want(role: Role, tier: Tier) -> Want<'static> {
    Want { role, tier, tokens_guess: 100, exclude: &[] }
}

/// `last4 model`, `wait SECONDS` or `never`.
fn shown(pool: &Pool, want: &Want<'_>, now: Now) -> String {
    match pool.choose(want, now, 7) {
        Choice::Use(pick) => format!("{} {}", pool.keys[pick.key].row.last4, pick.model),
        Choice::Wait { until_ms, .. } => format!("wait {}", (until_ms - now.unix_ms) / 1_000),
        Choice::Never { .. } => "never".to_owned(),
    }
}

/// Reserves and settles one request; panics when nothing can be chosen.
fn ask(
    pool: &mut Pool,
    want: &Want<'_>,
    now: Now,
    result: Result<&Usage, &ModelFailure>,
) -> Effects {
    let Choice::Use(pick) = pool.choose(want, now, 7) else { panic!("{}", shown(pool, want, now)) };
    let lease = pool.reserve(&pick, 100, now);
    pool.settle(lease, result, now)
}

fn used(pool: &Pool, model: &str, now: Now) -> u64 {
    pool.quota_view(now).iter().filter(|line| line.model == model).map(|line| line.used_today).sum()
}

/// State, minutes until it ends (`-` for never), reason.
fn state(pool: &Pool, n: usize, now: Now) -> String {
    let line = pool.list(now).swap_remove(n - 1);
    let until =
        line.until_ms.map_or("-".to_owned(), |ms| ((ms - now.unix_ms) / MINUTE_MS).to_string());
    format!("{} {until} {}", line.state.name(), line.reason())
}

fn quota(window: Window, retry_s: Option<i64>, value: Option<u32>) -> ModelFailure {
    ModelFailure::Quota(QuotaHit {
        window,
        tokens: false,
        limit: value,
        retry_ms: retry_s.map(|s| s * SECOND_MS),
        learned: value.map(|value| (window, false, value)).into_iter().collect(),
    })
}

const USAGE: Usage = Usage { input: 90, output: 10 };

fn network(sent: bool) -> ModelFailure {
    ModelFailure::Network { sent, why: String::new() }
}
