//! Tables over a small pool; the long run is `tests/pool_sim.rs`.

use super::*;
use crate::types::model::{ModelFailure, QuotaHit, Usage, Window};
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

#[test]
fn every_role_takes_its_groups_and_nobody_else_s() {
    for (keys, role, wanted) in [
        ("A:aaaa B:bbbb C:cccc D:dddd R:rrrr", Role::Owner, "aaaa"),
        ("A:aaaa B:bbbb C:cccc D:dddd R:rrrr", Role::Premium, "bbbb"),
        ("A:aaaa B:bbbb C:cccc D:dddd R:rrrr", Role::Normal, "cccc"),
        ("A:aaaa B:bbbb C:cccc D:dddd R:rrrr", Role::Guest, "dddd"),
        ("A:aaaa B:bbbb", Role::Normal, "bbbb"),
        ("A:aaaa B:bbbb", Role::Guest, "bbbb"),
        ("A:aaaa D:dddd", Role::Premium, "dddd"),
        ("C:cccc", Role::Owner, "cccc"),
        ("R:rrrr", Role::Normal, "rrrr"),
        ("R:rrrr", Role::Guest, "never"),
        ("-:uuuu", Role::Guest, "uuuu"),
        ("A:aaaa -:uuuu", Role::Guest, "uuuu"),
        ("A:aaaa", Role::Blocked, "never"),
        ("", Role::Owner, "never"),
    ] {
        let got = shown(&pool(keys), &want(role, Tier::Lite), NOON);
        assert_eq!(got.split(' ').next().unwrap(), wanted, "{keys} {role:?}");
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
    let line = pool.list(now).swap_remove(n - 1).line;
    let until =
        line.until_ms.map_or("-".to_owned(), |ms| ((ms - now.unix_ms) / MINUTE_MS).to_string());
    format!("{} {until} {}", line.state.name(), line.reason)
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

#[test]
fn every_failure_is_blamed_on_its_own_scope_and_counted_only_when_it_may_have_been() {
    // After the failure: the same question again, whether it counts, the state of both keys.
    let (lite2, own) = ("gemini-3.1-flash-lite", "aaaa gemini-3.5-flash-lite");
    let other = "bbbb gemini-3.5-flash-lite";
    let empty = ModelFailure::Empty { usage: USAGE };
    let safety = ModelFailure::Safety { reason: "SAFETY".to_owned(), usage: USAGE };
    let request = ModelFailure::BadRequest { why: String::new() };
    for (failure, then, counted, step) in [
        (ModelFailure::BadKey { why: "leaked" }, other, 0, Step::OtherKey),
        (ModelFailure::ModelClosed, other, 0, Step::OtherKey),
        (ModelFailure::ModelUnknown, &*format!("aaaa {lite2}"), 0, Step::OtherModel),
        (quota(Window::Minute, Some(20), Some(15)), other, 0, Step::OtherKey),
        (quota(Window::Day, Some(9), Some(500)), other, 0, Step::OtherKey),
        (quota(Window::Nothing, None, Some(0)), &*format!("aaaa {lite2}"), 0, Step::OtherKey),
        (quota(Window::Spend, None, None), other, 0, Step::OtherKey),
        (quota(Window::Unknown, None, None), other, 0, Step::Later { after_ms: 1_000 }),
        (ModelFailure::Overloaded, own, 1, Step::OtherModel),
        (ModelFailure::Internal, own, 1, Step::OtherModel),
        (request, own, 1, Step::GiveUp),
        (ModelFailure::TooLarge, own, 1, Step::GiveUp),
        (safety, own, 1, Step::GiveUp),
        (ModelFailure::Region, own, 0, Step::GiveUp),
        (empty, own, 1, Step::Later { after_ms: 1_000 }),
        (network(true), own, 1, Step::Later { after_ms: 1_000 }),
        (network(false), own, 0, Step::Later { after_ms: 1_000 }),
    ] {
        let mut pool = pool("A:aaaa B:bbbb");
        let want = want(Role::Vip, Tier::Lite);
        let effects = ask(&mut pool, &want, NOON, Err(&failure));
        assert_eq!(effects.step, step, "{failure:?}");
        assert_eq!(shown(&pool, &want, at(1_600)), then, "{failure:?}");
        assert_eq!(used(&pool, LITE, NOON), counted, "{failure:?}");
        assert!(
            state(&pool, 2, NOON).starts_with("ready"),
            "{failure:?}: the other key is innocent"
        );
    }
}

#[test]
fn a_rest_is_as_long_as_the_refusal_says() {
    let midnight = 12 * 60;
    for (failure, wanted) in [
        (quota(Window::Minute, Some(40), Some(15)), 40),
        (quota(Window::Minute, None, Some(15)), 60),
        (quota(Window::Minute, Some(86_400), Some(15)), 120),
        // `quotaId` before `retryDelay`: seconds beside a day's quota mean nothing.
        (quota(Window::Day, Some(9), Some(500)), midnight * 60),
        (quota(Window::Day, None, None), midnight * 60),
        // Many hours tell when the day really turns.
        (quota(Window::Day, Some(13 * 3_600), Some(500)), 13 * 3_600),
        (quota(Window::Unknown, None, None), 2),
        (quota(Window::Unknown, Some(30), None), 30),
    ] {
        let mut settings = settings("A:aaaa");
        settings.lite = vec![LITE.to_owned()];
        let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
        ask(&mut pool, &want(Role::Owner, Tier::Lite), NOON, Err(&failure));
        assert_eq!(
            shown(&pool, &want(Role::Owner, Tier::Lite), NOON),
            format!("wait {wanted}"),
            "{failure:?}"
        );
    }
}

#[test]
fn refusals_without_a_reason_rest_twice_as_long_each_time_until_an_answer() {
    let mut settings = settings("A:aaaa");
    settings.lite = vec![LITE.to_owned()];
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    let want = want(Role::Owner, Tier::Lite);
    let mut now = NOON;
    for seconds in [2, 4, 8, 16] {
        ask(&mut pool, &want, now, Err(&quota(Window::Unknown, None, None)));
        assert_eq!(shown(&pool, &want, now), format!("wait {seconds}"));
        now.unix_ms += seconds * SECOND_MS;
    }
    ask(&mut pool, &want, now, Ok(&USAGE));
    now.unix_ms += 2 * SECOND_MS;
    ask(&mut pool, &want, now, Err(&quota(Window::Unknown, None, None)));
    assert_eq!(shown(&pool, &want, now), "wait 2");
}

#[test]
fn used_up_today_right_after_midnight_may_be_yesterday_s() {
    let mut pool = pool("A:aaaa");
    let morning = at(12 * HOUR_MS + 2 * MINUTE_MS);
    ask(
        &mut pool,
        &want(Role::Owner, Tier::Lite),
        morning,
        Err(&quota(Window::Day, None, Some(500))),
    );
    let row = pool.take_changes().quotas.remove(0);
    assert_eq!((row.until_ms - morning.unix_ms, row.guessed), (10 * MINUTE_MS, true));
}

#[test]
fn a_project_that_has_none_of_a_model_is_asked_again_after_one_two_four_days() {
    let mut settings = settings("A:aaaa");
    settings.pro = vec!["gemini-3.1-pro-preview".to_owned()];
    settings.flash.clear();
    settings.lite.clear();
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    let want = want(Role::Owner, Tier::Pro);
    let mut now = NOON;
    for days in [1, 2, 4, 8, 8] {
        ask(&mut pool, &want, now, Err(&quota(Window::Nothing, None, Some(0))));
        assert_eq!(shown(&pool, &want, now), "never", "waiting is no answer");
        let line = pool.quota_view(now).remove(0);
        assert_eq!((line.limit_today, line.used_today), (Some(0), 0));
        assert!(state(&pool, 1, now).starts_with("spent"));
        now.unix_ms += days * DAY_MS - 1;
        assert_eq!(shown(&pool, &want, now), "never");
        now.unix_ms += 1;
    }
    ask(&mut pool, &want, now, Err(&quota(Window::Nothing, None, Some(0))));
    assert_eq!(pool.revive(1, now), Some(true));
    now.unix_ms += SECOND_MS;
    assert_eq!(shown(&pool, &want, now), "aaaa gemini-3.1-pro-preview");
}

#[test]
fn the_last_tenth_of_the_share_is_kept_for_owner_and_vip() {
    let mut settings = settings("-:aaaa");
    settings.flash = vec![FLASH.to_owned()];
    settings.lite.clear();
    settings.pro.clear();
    settings.flash_rpd = Limit::Fixed(40);
    settings.rpm = Limit::Unlimited;
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    // 40 × 0.9 = 36, of which 3 are kept.
    let mut now = NOON;
    for (role, count) in [(Role::Normal, 33), (Role::Premium, 0), (Role::Vip, 3), (Role::Owner, 0)]
    {
        for _ in 0..count {
            now.unix_ms += 2 * SECOND_MS;
            ask(&mut pool, &want(role, Tier::Flash), now, Ok(&USAGE));
        }
        now.unix_ms += 2 * SECOND_MS;
        let got = shown(&pool, &want(role, Tier::Flash), now);
        assert_eq!(
            got,
            format!("wait {}", (NOON.unix_ms + 12 * HOUR_MS - now.unix_ms) / 1_000),
            "{role:?}"
        );
    }
    let line = pool.quota_view(now).remove(0);
    assert_eq!((line.used_today, line.limit_today), (36, Some(36)));
    assert!(state(&pool, 1, now).starts_with("spent"));
    assert_eq!(
        shown(&pool, &want(Role::Normal, Tier::Flash), at(12 * HOUR_MS)),
        format!("aaaa {FLASH}")
    );
}

#[test]
fn shares_are_rounded_down() {
    for (limit, share, total, others) in [
        (20, 0.9, 18, 17),
        (500, 0.9, 450, 405),
        (100, 0.29, 29, 27),
        (10, 1.0, 10, 9),
        (1, 0.9, 0, 0),
        (9, 1.0, 9, 9),
    ] {
        let settings = PoolSettings { daily_share: share, ..settings("A:aaaa") };
        let got = (settings.share_of(limit, Role::Vip), settings.share_of(limit, Role::Guest));
        assert_eq!(got, (total, others), "{limit} × {share}");
    }
}

#[test]
fn a_tier_is_stepped_down_before_its_day_ends_and_used_up_when_nothing_below_is_left() {
    let mut settings = settings("-:aaaa");
    settings.flash = vec![FLASH.to_owned()];
    settings.lite = vec![LITE.to_owned()];
    settings.rpm = Limit::Unlimited;
    settings.lite_rpd = Limit::Fixed(10);
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    let mut seen = Vec::new();
    let mut now = NOON;
    while let Choice::Use(pick) = pool.choose(&want(Role::Normal, Tier::Flash), now, 0) {
        let lease = pool.reserve(&pick, 10, now);
        pool.settle(lease, Ok(&USAGE), now);
        seen.push(if pick.model == FLASH { 'F' } else { 'l' });
        now.unix_ms += 2 * SECOND_MS;
    }
    // 17 of flash are theirs, three of them saved; 9 of lite; then the saved ones.
    assert_eq!(seen.into_iter().collect::<String>(), "FFFFFFFFFFFFFFlllllllllFFF");
    assert_eq!(shown(&pool, &want(Role::Owner, Tier::Flash), now), format!("aaaa {FLASH}"));
}

#[test]
fn own_groups_come_before_the_reserve_and_the_reserve_before_a_weaker_tier() {
    let mut pool = pool("A:aaaa R:rrrr");
    let want = want(Role::Owner, Tier::Flash);
    let mut seen = Vec::new();
    for n in 0..40 {
        let now = at(n * 1_000);
        if let Choice::Use(pick) = pool.choose(&want, now, 0) {
            let lease = pool.reserve(&pick, 10, now);
            pool.settle(lease, Ok(&USAGE), now);
            seen.push(format!(
                "{}{}",
                pool.keys[pick.key].row.last4.chars().next().unwrap(),
                &pick.model[7..10]
            ));
        }
    }
    seen.dedup();
    assert_eq!(seen, ["a3.8", "a3.6", "r3.8", "r3.6", "a3.5", "a3.1"]);
}

#[test]
fn a_short_pause_of_one_s_own_key_is_waited_for() {
    let mut pool = pool("A:aaaa R:rrrr");
    ask(&mut pool, &want(Role::Owner, Tier::Lite), NOON, Ok(&USAGE));
    let choice = pool.choose(&want(Role::Owner, Tier::Lite), at(100), 0);
    assert!(
        matches!(choice, Choice::Wait { until_ms, .. } if until_ms == NOON.unix_ms + 1_000),
        "{choice:?}"
    );
}

#[test]
fn the_key_with_most_left_is_taken_and_ties_go_by_dice() {
    let mut pool = pool("A:aaaa A:bbbb A:cccc");
    let want = want(Role::Owner, Tier::Lite);
    let mut first = BTreeSet::new();
    for dice in 0..64 {
        let Choice::Use(pick) = pool.choose(&want, NOON, dice) else { panic!() };
        first.insert(pick.key);
    }
    assert_eq!(first.len(), 3, "dice reach every key");
    for n in 0..9 {
        ask(&mut pool, &want, at(n * 1_000), Ok(&USAGE));
    }
    let used: Vec<u32> = pool.pairs.iter().map(|pair| pair.used).filter(|used| *used > 0).collect();
    assert_eq!(used, [3, 3, 3], "use is spread evenly");
}

#[test]
fn requests_per_minute_are_of_the_project_and_tokens_are_too() {
    let mut pool = pool("A:aaaa@p A:bbbb@p");
    let want = want(Role::Owner, Tier::Lite);
    for n in 0..15 {
        let now = at(n * 1_000);
        assert!(shown(&pool, &want, now).ends_with(LITE), "{n}");
        ask(&mut pool, &want, now, Ok(&USAGE));
    }
    assert!(
        shown(&pool, &want, at(16_000)).ends_with("gemini-3.1-flash-lite"),
        "15 a minute, both keys together"
    );
    assert!(shown(&pool, &want, at(WINDOW_MS)).ends_with(LITE));
    let big = Want { tokens_guess: 249_950, ..want };
    assert!(shown(&pool, &big, at(16_000)).ends_with("gemini-3.1-flash-lite"));
    assert!(
        shown(&pool, &big, at(WINDOW_MS + 13_000)).ends_with("gemini-3.1-flash-lite"),
        "90 tokens are left over"
    );
    let huge = Want { tokens_guess: 900_000, ..want };
    assert!(
        shown(&pool, &huge, at(2 * WINDOW_MS)).ends_with(LITE),
        "what is above the whole limit goes alone"
    );
}

#[test]
fn learned_limits_are_remembered_and_settings_overrule_them() {
    let mut pool = pool("A:aaaa");
    ask(
        &mut pool,
        &want(Role::Owner, Tier::Flash),
        NOON,
        Err(&quota(Window::Day, None, Some(250))),
    );
    let limit = |pool: &Pool| {
        pool.quota_view(NOON).iter().find(|line| line.model == FLASH).unwrap().limit_today
    };
    assert_eq!(limit(&pool), Some(225));
    let again = Pool::new(settings("A:aaaa"), pool.to_rows(), NOON);
    assert_eq!(limit(&again), Some(225));
    let fixed = PoolSettings { flash_rpd: Limit::Fixed(100), ..settings("A:aaaa") };
    assert_eq!(limit(&again.with_settings(fixed, NOON)), Some(90));
}

#[test]
fn an_overloaded_model_is_benched_after_failures_over_several_keys_and_for_longer_each_time() {
    let mut pool = pool("-:aaaa -:bbbb");
    let want = want(Role::Owner, Tier::Flash);
    for n in 0..3 {
        assert!(shown(&pool, &want, at(n * 2_000)).ends_with(FLASH), "{n}");
        ask(&mut pool, &want, at(n * 2_000), Err(&ModelFailure::Overloaded));
    }
    assert!(shown(&pool, &want, at(5_000)).ends_with("gemini-3.6-flash"));
    assert!(shown(&pool, &want, at(35_000)).ends_with(FLASH));
    ask(&mut pool, &want, at(35_000), Err(&ModelFailure::Overloaded));
    assert!(
        shown(&pool, &want, at(94_000)).ends_with("gemini-3.6-flash"),
        "one more failure is enough then"
    );
    let again = Pool::new(settings("-:aaaa -:bbbb"), pool.to_rows(), at(60_000));
    assert!(
        shown(&again, &want, at(60_000)).ends_with("gemini-3.6-flash"),
        "a restart does not forget"
    );
    ask(&mut pool, &want, at(96_000), Ok(&USAGE));
    assert_eq!(pool.take_changes().benches.iter().filter(|row| row.until_ms == 0).count(), 1);
}

#[test]
fn one_question_that_breaks_the_model_does_not_bench_it() {
    let mut pool = pool("-:aaaa -:bbbb");
    let want = want(Role::Owner, Tier::Flash);
    for n in 0..5 {
        ask(&mut pool, &want, at(n * 2_000), Err(&ModelFailure::Internal));
    }
    assert!(shown(&pool, &want, at(12_000)).ends_with(FLASH));
}

#[test]
fn a_storm_pauses_the_whole_pool_and_is_told_once() {
    let mut pool = pool("-:aaaa@a -:bbbb@b -:cccc@c -:dddd@d");
    let want = want(Role::Normal, Tier::Lite);
    let refused = quota(Window::Unknown, None, None);
    let mut notices = Vec::new();
    for n in 0..3 {
        notices.extend(ask(&mut pool, &want, at(n * 500), Err(&refused)).notices);
    }
    assert_eq!(notices, [Notice::Storm { until_ms: NOON.unix_ms + 61_000 }]);
    assert_eq!(shown(&pool, &want, at(1_000)), "wait 60");
    assert!(state(&pool, 4, at(1_000)).starts_with("resting"), "also the key that was not refused");
    let mut again =
        Pool::new(settings("-:aaaa@a -:bbbb@b -:cccc@c -:dddd@d"), pool.to_rows(), at(2_000));
    assert_eq!(shown(&again, &want, at(2_000)), "wait 59");
    for n in 0..3 {
        let effects = ask(&mut again, &want, at(70_000 + n * 500), Err(&refused));
        assert_eq!(effects.notices, [], "one storm, one word");
    }
    assert_eq!(shown(&again, &want, at(71_000)), "wait 120");
}

#[test]
fn a_key_that_worked_is_looked_at_before_it_is_dead() {
    let mut pool = pool("A:aaaa");
    assert_eq!(pool.needs_check(NOON), [0]);
    assert_eq!(pool.needs_check(NOON), [], "named once");
    pool.checked(0, Ok(()), NOON);
    let want = want(Role::Owner, Tier::Lite);
    ask(&mut pool, &want, NOON, Ok(&USAGE));
    let bad = ModelFailure::BadKey { why: "invalid" };
    assert_eq!(ask(&mut pool, &want, at(2_000), Err(&bad)).notices, []);
    assert_eq!(state(&pool, 1, at(2_000)), "resting 5 invalid, to be looked at");
    assert_eq!(pool.needs_check(at(2_000)), [0]);
    pool.checked(0, Err(&network(false)), at(2_100));
    assert_eq!(
        state(&pool, 1, at(2_100)),
        "resting 4 invalid, to be looked at",
        "the network says nothing"
    );
    pool.checked(0, Ok(()), at(2_200));
    assert!(state(&pool, 1, at(2_200)).starts_with("ready"), "a good look lifts the guess");
    let notices = ask(&mut pool, &want, at(4_000), Err(&bad)).notices;
    assert_eq!(notices.len(), 1, "the second time in a row is no accident");
    assert_eq!(state(&pool, 1, at(4_000)), "dead - invalid");
    assert_eq!(
        pool.choose(&want, at(9_000), 0),
        Choice::Never { why: "no key of this role's groups is alive" }
    );
    pool.checked(0, Ok(()), at(9_000));
    assert_eq!(state(&pool, 1, at(9_000)), "dead - invalid", "only the operator revives the dead");
    assert_eq!(
        (pool.revive(1, at(9_000)), pool.revive(2, NOON), pool.park(0)),
        (Some(true), None, None)
    );
    assert!(state(&pool, 1, at(9_000)).starts_with("ready"));
}

#[test]
fn a_look_never_lifts_what_a_reply_said() {
    let mut pool = pool("A:aaaa");
    pool.checked(0, Ok(()), NOON);
    ask(&mut pool, &want(Role::Owner, Tier::Flash), NOON, Err(&quota(Window::Day, None, Some(20))));
    assert_eq!(pool.needs_check(NOON), [], "nothing here is a guess");
    pool.checked(0, Ok(()), NOON);
    assert!(shown(&pool, &want(Role::Owner, Tier::Flash), at(2_000)).ends_with("gemini-3.6-flash"));
}

#[test]
fn reservations_found_at_the_start_count_until_they_age_out() {
    let mut pool = pool("A:aaaa");
    let want = want(Role::Owner, Tier::Flash);
    for n in 0..5 {
        let Choice::Use(pick) = pool.choose(&want, at(n * 1_000), 0) else { panic!() };
        pool.reserve(&pick, 100, at(n * 1_000));
    }
    let mut again = Pool::new(settings("A:aaaa"), pool.to_rows(), at(10_000));
    assert_eq!(used(&again, FLASH, at(10_000)), 5);
    assert!(shown(&again, &want, at(10_000)).ends_with("gemini-3.6-flash"));
    assert!(shown(&again, &want, at(WINDOW_MS)).ends_with(FLASH));
    // What was in flight at midnight may be counted on the new day.
    let morning = at(12 * HOUR_MS);
    let Choice::Use(pick) = again.choose(&want, at(12 * HOUR_MS - 500), 0) else { panic!() };
    let lease = again.reserve(&pick, 100, at(12 * HOUR_MS - 500));
    assert_eq!(used(&again, FLASH, morning), 1);
    again.settle(lease, Ok(&USAGE), morning);
    assert_eq!(used(&again, FLASH, morning), 1);
}

#[test]
fn numbers_of_reservations_do_not_come_back() {
    let mut pool = pool("A:aaaa");
    let Choice::Use(pick) = pool.choose(&want(Role::Owner, Tier::Lite), NOON, 0) else { panic!() };
    let first = pool.reserve(&pick, 1, NOON);
    pool.replace_rows(LedgerRows::default(), NOON);
    let second = pool.reserve(&pick, 1, NOON);
    assert!(first.id < second.id);
    // The turn of the first was undone: settling it changes no counter.
    pool.settle(first, Err(&network(false)), NOON);
    assert_eq!(used(&pool, LITE, NOON), 1);
}

#[test]
fn keys_of_one_project_are_joined_by_its_day_and_parted_at_midnight() {
    let mut pool = pool("-:aaaa -:bbbb -:cccc@mine");
    pool.settings.rpm = Limit::Unlimited;
    let want = want(Role::Owner, Tier::Flash);
    for n in 0..30 {
        ask(&mut pool, &want, at(n * 2_000), Ok(&USAGE));
    }
    let refused = quota(Window::Day, None, Some(20));
    let mut notices = Vec::new();
    for n in 0..3 {
        notices.extend(ask(&mut pool, &want, at(100_000 + n * 2_000), Err(&refused)).notices);
    }
    assert_eq!(notices.len(), 1, "{notices:?}");
    let seen = |pool: &Pool| -> Vec<(String, bool)> {
        pool.list(at(200_000)).into_iter().map(|view| (view.project, view.inferred)).collect()
    };
    let joined = seen(&pool);
    assert_eq!(joined[0].0, joined[1].0);
    assert!(joined[0].1 != joined[1].1, "one of the two is inferred: {joined:?}");
    assert_eq!(joined[2], ("mine".to_owned(), false), "a declared project is left alone");
    let again = Pool::new(settings("-:aaaa -:bbbb -:cccc@mine"), pool.to_rows(), at(200_000));
    assert_eq!(seen(&again), joined, "a restart remembers");
    ask(&mut pool, &want, at(12 * HOUR_MS + HOUR_MS), Ok(&USAGE));
    assert!(seen(&pool).iter().all(|(_, inferred)| !inferred), "believed for a day the first time");
}

#[test]
fn counts_beyond_the_limit_refute_a_join() {
    let mut settings = settings("-:aaaa -:bbbb");
    settings.rpm = Limit::Unlimited;
    settings.daily_share = 1.0;
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    let want = want(Role::Owner, Tier::Flash);
    for n in 0..32 {
        ask(&mut pool, &want, at(n * 2_000), Ok(&USAGE));
    }
    for n in 0..2 {
        let effects = ask(
            &mut pool,
            &want,
            at(100_000 + n * 2_000),
            Err(&quota(Window::Day, None, Some(20))),
        );
        assert_eq!(effects.notices, [], "16 + 16 is more than one project has");
    }
}

#[test]
fn settings_read_again_keep_every_counter_and_what_is_in_flight() {
    let mut pool = pool("A:aaaa B:bbbb");
    let want = want(Role::Owner, Tier::Lite);
    let Choice::Use(pick) = pool.choose(&want, NOON, 0) else { panic!() };
    let lease = pool.reserve(&pick, 1, NOON);
    assert_eq!(pool.park(2), Some(true));
    let mut pool = pool.with_settings(settings("C:cccc A:aaaa D:bbbb"), at(1_000));
    assert_eq!(used(&pool, LITE, at(1_000)), 1);
    assert!(
        state(&pool, 3, at(1_000)).starts_with("parked"),
        "known by its fingerprint, wherever it is listed"
    );
    pool.settle(lease, Err(&network(false)), at(1_000));
    assert_eq!(used(&pool, LITE, at(1_000)), 0);
    assert_eq!(pool.needs_check(at(1_000)).len(), 2, "the parked one is not looked at");
}

#[test]
fn a_model_that_failed_for_the_question_is_left_out_for_it_alone() {
    let pool = pool("A:aaaa");
    let exclude = [LITE.to_owned()];
    let tried = Want { exclude: &exclude, ..want(Role::Owner, Tier::Lite) };
    assert_eq!(shown(&pool, &tried, NOON), "aaaa gemini-3.1-flash-lite");
    assert_eq!(shown(&pool, &want(Role::Owner, Tier::Lite), NOON), "aaaa gemini-3.5-flash-lite");
}

#[test]
fn the_forecast_is_today_s_rate_against_what_is_left() {
    let mut pool = pool("A:aaaa");
    pool.settings.rpm = Limit::Unlimited;
    assert_eq!(pool.spent_at(Tier::Flash, NOON), None);
    for n in 0..30 {
        ask(&mut pool, &want(Role::Owner, Tier::Flash), at(n * 1_000), Ok(&USAGE));
    }
    // 30 of 36 in twelve hours: the other six last 2.4 hours.
    let at_ms = pool.spent_at(Tier::Flash, NOON).unwrap();
    assert_eq!((at_ms - NOON.unix_ms) / MINUTE_MS, 144);
    assert_eq!(pool.spent_at(Tier::Lite, NOON), None);
}

#[test]
fn the_next_wake_is_the_soonest_of_all_roles() {
    let mut pool = pool("A:aaaa");
    assert_eq!(pool.next_wake(None, NOON), Some(NOON.unix_ms));
    ask(&mut pool, &want(Role::Owner, Tier::Lite), NOON, Ok(&USAGE));
    assert_eq!(pool.next_wake(Some(Role::Owner), NOON), Some(NOON.unix_ms + 1_000));
    pool.park(1);
    assert_eq!(pool.next_wake(None, NOON), None);
}
