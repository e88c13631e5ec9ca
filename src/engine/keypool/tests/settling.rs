//! What requests cost and teach, over restarts, days and changes of settings.

use super::*;

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
fn a_project_without_a_model_speaks_against_the_others_only_while_something_else_is_left() {
    let none = quota(Window::Nothing, None, Some(0));
    let want = want(Role::Vip, Tier::Lite);
    let mut pool = pool("A:aaaa B:bbbb");
    ask(&mut pool, &want, NOON, Err(&none));
    let later = at(2_000);
    assert_eq!(shown(&pool, &want, later), "aaaa gemini-3.1-flash-lite", "b is not risked");
    ask(&mut pool, &want, later, Err(&none));
    let last = at(4_000);
    assert_eq!(shown(&pool, &want, last), format!("bbbb {LITE}"), "nothing else is left");
    ask(&mut pool, &want, last, Err(&none));
    ask(&mut pool, &want, at(6_000), Err(&none));
    assert_eq!(shown(&pool, &want, at(8_000)), "never");
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
fn looks_are_few_at_once_and_pause_while_nobody_answers() {
    let mut pool = pool("A:aaaa B:bbbb C:cccc D:dddd D:eeee D:ffff");
    assert_eq!(pool.needs_check(NOON), [0, 1, 2, 3]);
    assert_eq!(pool.needs_check(NOON), [], "no burst of calls");
    pool.checked(0, Err(&network(false)), at(100));
    pool.checked(1, Ok(()), at(100));
    assert_eq!(pool.needs_check(at(100)), [4, 5], "0 waits, 1 is known");
    pool.checked(4, Ok(()), at(200));
    assert_eq!(pool.needs_check(at(MINUTE_MS)), []);
    assert_eq!(pool.needs_check(at(MINUTE_MS + 100)), [0]);
    assert_eq!(pool.needs_check(at(2 * MINUTE_MS)), [2, 3], "their answers are lost");
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
    assert!(joined[0].1 && joined[1].1, "visibly: {joined:?}");
    assert_eq!(pool.list(at(200_000))[0].shares_with, [2]);
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
fn a_refusal_of_a_key_that_is_gone_meanwhile_blames_nobody_else() {
    for (why, then, blamed) in [
        ("the key is gone and others stand in its place", "A:bbbb A:cccc", None),
        ("the key is gone and none is left", "", None),
        ("the key has moved", "A:bbbb A:cccc A:aaaa", Some(3)),
    ] {
        let mut pool = pool("A:aaaa");
        let want = want(Role::Owner, Tier::Lite);
        let Choice::Use(pick) = pool.choose(&want, NOON, 0) else { panic!() };
        let lease = pool.reserve(&pick, 1, NOON);
        let mut pool = pool.with_settings(settings(then), at(1_000));
        let bad = ModelFailure::BadKey { why: "invalid" };
        let effects = pool.settle(lease, Err(&bad), at(2_000));
        let out = |pool: &Pool| -> Vec<u32> {
            let lines = pool.list(at(2_000)).into_iter();
            lines.filter(|line| line.state != KeyState::Ready).map(|line| line.n).collect()
        };
        assert_eq!(out(&pool), Vec::from_iter(blamed), "{why}");
        assert_eq!(effects.notices.len(), usize::from(blamed.is_some()), "{why}: {effects:?}");
        assert_eq!(pool.open.len(), 0, "{why}: nothing is in flight any more");
        // And the key that is gone is not forgotten: were it to come back, its use is counted.
        let back = pool.with_settings(settings("A:aaaa"), at(3_000));
        assert_eq!(used(&back, LITE, at(3_000)), 0, "{why}: what was refused is not counted");
    }
}

#[test]
fn keys_answered_after_the_other_s_day_was_used_up_are_never_joined() {
    let keys = "-:aaaa -:bbbb -:cccc";
    let mut pool = pool(keys);
    pool.settings.rpm = Limit::Unlimited;
    let want = want(Role::Owner, Tier::Flash);
    for n in 0..18 {
        ask(&mut pool, &want, at(n * 2_000), Ok(&USAGE));
    }
    let refused = quota(Window::Day, None, Some(20));
    // Six each: one is refused, the two others are answered more than a minute after.
    assert_eq!(ask(&mut pool, &want, at(60_000), Err(&refused)).notices, []);
    for n in 0..8 {
        ask(&mut pool, &want, at(121_000 + n * 2_000), Ok(&USAGE));
    }
    let rows = pool.to_rows();
    assert_eq!(rows.aparts.len(), 2, "{:?}", rows.aparts);
    for pool in [pool, Pool::new(settings(keys), rows, at(200_000))] {
        let mut pool = pool;
        for n in 0..2 {
            let effects = ask(&mut pool, &want, at(300_000 + n * 2_000), Err(&refused));
            let joined = if n == 0 { 0 } else { 1 };
            assert_eq!(effects.notices.len(), joined, "{:?}", effects.notices);
        }
        let of: Vec<_> = pool.list(at(310_000)).into_iter().map(|view| view.project).collect();
        assert_eq!(of.iter().collect::<BTreeSet<_>>().len(), 2, "{of:?}");
    }
}

/// Keys aaaa, bbbb … with so many answers each today; those with `!` were refused by the day since.
fn joined_of(counts: &str) -> String {
    let names: Vec<String> =
        ('a'..).take(counts.split(' ').count()).map(|c| c.to_string().repeat(4)).collect();
    let keys = names.iter().map(|name| format!("-:{name}")).collect::<Vec<_>>().join(" ");
    let mut settings = settings(&keys);
    settings.rpm = Limit::Unlimited;
    settings.flash = vec![FLASH.to_owned()];
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    let model = pool.models.iter().position(|model| model.name == FLASH).unwrap();
    let use_key = |pool: &mut Pool, key: usize, result, now| {
        let pair = pool.pair_at(pool.keys[key].project, model);
        let lease = pool.reserve(&Pick { key, model: FLASH.to_owned(), pair }, 100, now);
        pool.settle(lease, result, now)
    };
    let refused = quota(Window::Day, None, Some(20));
    for (key, count) in counts.split(' ').enumerate() {
        for n in 0..count.trim_end_matches('!').parse().unwrap() {
            use_key(&mut pool, key, Ok(&USAGE), at(n));
        }
    }
    for (key, count) in counts.split(' ').enumerate() {
        if count.ends_with('!') {
            use_key(&mut pool, key, Err(&refused), at(1_000 + key as i64));
        }
    }
    let lines = pool.list(at(2_000));
    let letter = |project: &str| -> char {
        let n: u8 = project.trim_start_matches("key ").parse().unwrap();
        char::from(b'a' + n - 1)
    };
    lines.iter().map(|view| letter(&view.project)).collect()
}

#[test]
fn keys_are_joined_when_a_refusal_cannot_be_explained_without_them() {
    for (counts, wanted, why) in [
        ("10! 10!", "aa", "together they are the limit"),
        ("10! 10", "ab", "the other was not refused: it is not set aside by arithmetic"),
        ("20! 10", "ab", "its own count explains it"),
        ("16! 16!", "ab", "one project does not have so many"),
        ("6! 6!", "ab", "somebody else uses it too"),
        ("6! 6! 8", "abc", "the two alone do not explain it, and the third was not refused"),
        ("10! 10! 1", "aac", "both tens are needed, the one is not"),
        ("17! 3! 2", "aac", "without seventeen there are five, without three there are nineteen"),
        ("7! 7! 6!", "aaa", "all three are needed"),
        ("17! 3! 17! 3!", "abcd", "either of the large ones explains either of the small ones"),
        ("18! 0! 1", "abc", "nineteen are not the limit"),
        ("20! 0! 3", "aac", "without the twenty a refusal at nought is not explained"),
    ] {
        assert_eq!(joined_of(counts), wanted, "{counts}: {why}");
    }
}

#[test]
fn keys_are_used_evenly_until_a_refusal_puzzles_and_unevenly_from_then_on() {
    let keys = "-:aaaa -:bbbb -:cccc -:dddd -:eeee@mine -:ffff@yours";
    let mut pool = pool(keys);
    pool.settings.rpm = Limit::Unlimited;
    let want = want(Role::Owner, Tier::Lite);
    let counts = |pool: &Pool, now| -> Vec<u64> {
        let lines = pool.quota_view(now).into_iter().filter(|line| line.model == LITE);
        lines.map(|line| line.used_today).collect()
    };
    for n in 0..60 {
        ask(&mut pool, &want, at(n * 2_000), Ok(&USAGE));
    }
    assert_eq!(counts(&pool, NOON), [10; 6], "the key with the most left");
    let flash = super::want(Role::Owner, Tier::Flash);
    ask(&mut pool, &flash, at(200_000), Err(&quota(Window::Day, None, Some(20))));
    let rows = pool.to_rows();
    assert_eq!(rows.keys.iter().filter(|key| key.puzzled_day > 0).count(), 1);
    let tomorrow = DAY_MS;
    for mut pool in [pool.clone(), Pool::new(settings(keys), rows, at(tomorrow))] {
        pool.settings.rpm = Limit::Unlimited;
        for n in 0..240 {
            ask(&mut pool, &want, at(tomorrow + n * 2_000), Ok(&USAGE));
        }
        let seen = counts(&pool, at(tomorrow));
        let (least, most) = (seen[..4].iter().min().unwrap(), seen[..4].iter().max().unwrap());
        assert!(least * 3 < most * 2, "unevenly, also after a restart: {seen:?}");
        assert!(seen[4].abs_diff(seen[5]) <= 1, "those declared are used evenly: {seen:?}");
        let much_later = at(tomorrow + 70 * DAY_MS);
        for n in 0..60 {
            let now = Now { unix_ms: much_later.unix_ms + n * 2_000 };
            ask(&mut pool, &want, now, Ok(&USAGE));
        }
        assert_eq!(counts(&pool, much_later), [10; 6], "two months later evenly again");
    }
}
