//! Clocks that were ahead or behind: no count is lost, and nothing rests longer than there is reason.

use super::*;

fn count(pool: &Pool, now: Now) -> u64 {
    used(pool, LITE, now)
}

fn use_it(pool: &mut Pool, times: i64, now: Now) {
    let mut one = pool.settings.clone();
    one.rpm = Limit::Unlimited;
    pool.settings = one;
    let at = pool.models.iter().position(|known| known.name == LITE).unwrap();
    for n in 0..times {
        let pick = Pick { key: 0, model: LITE.to_owned(), pair: pool.pair_at(0, at) };
        let now = Now { unix_ms: now.unix_ms + n };
        let lease = pool.reserve(&pick, 100, now);
        pool.settle(lease, Ok(&USAGE), now);
    }
}

/// The rows as the store would keep them.
fn restarted(pool: &Pool, now: Now) -> Pool {
    Pool::new(settings("A:aaaa"), pool.to_rows(), now)
}

#[test]
fn what_a_clock_that_was_ahead_has_counted_weighs_on_today_and_is_not_overwritten() {
    let mut pool = pool("A:aaaa");
    use_it(&mut pool, 5, NOON);
    let ahead = at(3 * DAY_MS);
    use_it(&mut pool, 7, ahead);
    assert_eq!(count(&pool, ahead), 7);
    let mut rows = pool.to_rows();
    rows.days.push(DayRow { used: 5, day: pacific_day(NOON.unix_ms), ..rows.days[0].clone() });
    rows.days.sort_by_key(|row| row.day);
    let mut back = Pool::new(settings("A:aaaa"), rows, NOON);
    assert_eq!(count(&back, NOON), 12, "all of it may have been today");
    use_it(&mut back, 2, NOON);
    assert_eq!(count(&back, NOON), 14);
    assert_eq!(count(&restarted(&back, NOON), NOON), 14, "a restart counts nothing twice");
    use_it(&mut back, 1, ahead);
    assert_eq!(count(&back, ahead), 8, "the day that was counted on before goes on");
    let days = back.take_changes().days;
    let sum: u32 = days.iter().map(|row| row.used).sum();
    assert_eq!(sum, 7 + 8, "{days:?}");
}

#[test]
fn a_clock_that_was_behind_finds_its_day_again() {
    let mut pool = pool("A:aaaa");
    use_it(&mut pool, 5, NOON);
    // The machine boots without a clock that runs: two days ago, then it is set.
    let mut behind = restarted(&pool, at(-2 * DAY_MS));
    assert_eq!(count(&behind, at(-2 * DAY_MS)), 5);
    use_it(&mut behind, 2, at(-2 * DAY_MS));
    use_it(&mut behind, 1, NOON);
    assert_eq!(count(&behind, NOON), 6, "what was counted today is");
    let wild = restarted(&pool, at(-30 * DAY_MS));
    assert_eq!(count(&wild, at(-30 * DAY_MS)), 0, "no clock at all");
}

#[test]
fn no_rest_of_a_clock_that_was_ahead_lasts_longer_than_any_does() {
    let hour = HOUR_MS / MINUTE_MS;
    for (failure, minutes_at_most) in [
        (quota(Window::Minute, Some(40), None), 2),
        (quota(Window::Day, None, None), 25 * hour),
        (quota(Window::Unknown, None, None), 10),
        (quota(Window::Spend, None, None), 6 * hour),
        (quota(Window::Nothing, None, Some(0)), 8 * 24 * hour),
    ] {
        let mut settings = settings("A:aaaa");
        (settings.flash, settings.pro) = (Vec::new(), Vec::new());
        settings.lite.truncate(1);
        let mut pool = Pool::new(settings.clone(), LedgerRows::default(), NOON);
        let ahead = at(40 * DAY_MS);
        ask(&mut pool, &want(Role::Owner, Tier::Lite), ahead, Err(&failure));
        let back = Pool::new(settings, pool.to_rows(), NOON);
        let until_ms = back.list(NOON)[0].until_ms.unwrap();
        let minutes = (until_ms - NOON.unix_ms) / MINUTE_MS;
        assert!((1..=minutes_at_most).contains(&minutes), "{failure:?}: {minutes} minutes");
    }
}

#[test]
fn requests_of_a_clock_that_was_ahead_weigh_for_a_minute_like_others() {
    let mut pool = pool("A:aaaa");
    let want = want(Role::Owner, Tier::Lite);
    let ahead = at(DAY_MS);
    for n in 0..15 {
        let Choice::Use(pick) = pool.choose(&want, at(DAY_MS + n * 1_000), 7) else { panic!() };
        drop(pool.reserve(&pick, 100, Now { unix_ms: ahead.unix_ms + n * 1_000 }));
    }
    let back = restarted(&pool, NOON);
    let line = back.list(NOON).remove(0);
    let hold = line.holds.iter().find(|hold| hold.models.iter().any(|model| model == LITE));
    let until_ms = hold.and_then(|hold| hold.until_ms).unwrap_or(NOON.unix_ms);
    assert!(until_ms <= NOON.unix_ms + WINDOW_MS, "{line:?}");
}
