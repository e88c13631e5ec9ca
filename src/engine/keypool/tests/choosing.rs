//! Which key and model is chosen, and what the pool says when there is none.

use super::*;

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
                pick.model.get(7..10).unwrap()
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
    assert_eq!(pool.lasts(NOON), []);
    for n in 0..30 {
        ask(&mut pool, &want(Role::Owner, Tier::Flash), at(n * 1_000), Ok(&USAGE));
    }
    // 30 of 36 in twelve hours: the other six last 2.4 hours.
    let [flash] = pool.lasts(NOON)[..] else { panic!("only flash was used") };
    assert_eq!(flash.tier, Tier::Flash);
    assert_eq!((flash.ends_ms.unwrap() - NOON.unix_ms) / MINUTE_MS, 144);
    // The same of every pair: 18 of 18 are used up, 12 of 18 last six more hours.
    let mut ends: Vec<_> = pool.quota_view(NOON).into_iter().collect();
    ends.retain(|line| line.used_today > 0);
    let ends: BTreeMap<_, _> = ends
        .into_iter()
        .map(|line| (line.used_today, (line.ends_ms.unwrap() - NOON.unix_ms) / HOUR_MS))
        .collect();
    assert_eq!(ends, BTreeMap::from([(12, 6), (18, 0)]));
    // The same use over a whole day lasts it.
    let late = at(11 * 3_600_000);
    assert_eq!(pool.lasts(late), [TierLine { tier: Tier::Flash, ends_ms: None }]);
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
