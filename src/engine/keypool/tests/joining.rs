//! Which keys are held back or joined for a refusal, and how that ends when it was wrong.

use super::*;
use crate::types::status::Hold;

fn tokens_of_the_day() -> ModelFailure {
    ModelFailure::Quota(QuotaHit {
        window: Window::Day,
        tokens: true,
        limit: None,
        retry_ms: None,
        learned: Vec::new(),
    })
}

/// Uses key `n` (from 0) whatever the choice would be.
fn use_key(
    pool: &mut Pool,
    key: usize,
    model: &str,
    now: Now,
    result: Result<&Usage, &ModelFailure>,
) -> Effects {
    let at = pool.models.iter().position(|known| known.name == model).unwrap();
    let pair = pool.pair_at(pool.keys[key].project, at);
    let lease = pool.reserve(&Pick { key, model: model.to_owned(), pair }, 100, now);
    pool.settle(lease, result, now)
}

/// Until when the last of six keys is held back for the model, in seconds after `now`.
fn held(pool: &Pool, model: &str, now: Now) -> Option<i64> {
    let line = pool.list(now).pop().unwrap();
    let hold = line.holds.iter().find(|hold| hold.why == Hold::HeldBack);
    let hold = hold.filter(|hold| hold.models.iter().any(|known| known == model))?;
    hold.until_ms.map(|until_ms| (until_ms - now.unix_ms) / SECOND_MS)
}

#[test]
fn keys_are_held_back_for_riddles_alone_and_so_they_are_after_a_restart() {
    let day = || quota(Window::Day, None, Some(500));
    for (why, failure, rpd, answers, wanted) in [
        ("hardly used and refused", day(), Limit::Auto, 0, Some(15)),
        ("the day's tokens are no requests", tokens_of_the_day(), Limit::Auto, 0, None),
        ("a limit that nobody knows", quota(Window::Day, None, None), Limit::Unlimited, 0, None),
        ("their own count explains it", quota(Window::Day, None, Some(4)), Limit::Auto, 4, None),
    ] {
        let mut settings = settings("-:aaaa -:bbbb -:cccc -:dddd -:eeee -:ffff");
        (settings.lite_rpd, settings.rpm) = (rpd, Limit::Unlimited);
        let mut pool = Pool::new(settings.clone(), LedgerRows::default(), NOON);
        for key in 0..4 {
            for n in 0..answers {
                use_key(&mut pool, key, LITE, at(n), Ok(&USAGE));
            }
        }
        // Not within seconds: that would be a storm.
        for key in 0..4 {
            use_key(&mut pool, key, LITE, at(key as i64 * 20_000), Err(&failure));
        }
        let now = at(60_000);
        assert_eq!(held(&pool, LITE, now), wanted, "{why}");
        let again = Pool::new(settings, pool.to_rows(), now);
        assert_eq!(held(&again, LITE, now), wanted, "{why}, after a restart");
    }
}

#[test]
fn the_hold_grows_and_an_answer_ends_it() {
    let mut pool = pool("-:aaaa -:bbbb -:cccc -:dddd -:eeee -:ffff -:gggg");
    let refused = quota(Window::Day, None, Some(500));
    let mut seen = Vec::new();
    for key in 0..6 {
        let now = at(key as i64 * 20_000);
        use_key(&mut pool, key, LITE, now, Err(&refused));
        seen.push(held(&pool, LITE, now));
    }
    assert_eq!(seen, [None, None, None, Some(15), Some(60), Some(240)]);
    use_key(&mut pool, 6, LITE, at(200_000), Ok(&USAGE));
    assert_eq!(held(&pool, LITE, at(200_001)), None);
}

#[test]
fn of_keys_that_are_apart_from_each_other_only_one_can_explain_a_refusal() {
    // aaaa is refused at 8 of 20. With cccc and dddd it comes to 22 without bbbb: all of these may
    // belong to it, so nothing is proven. Where some of them cannot, bbbb must.
    let mut settings = settings("-:aaaa -:bbbb -:cccc -:dddd");
    (settings.rpm, settings.flash) = (Limit::Unlimited, vec![FLASH.to_owned()]);
    let names = ["faaaa", "fbbbb", "fcccc", "fdddd"];
    let apart = |one: usize, other: usize| ApartRow {
        one: names[one].to_owned(),
        other: names[other].to_owned(),
        day: pacific_day(NOON.unix_ms),
        together: 0,
    };
    let refused = quota(Window::Day, None, Some(20));
    for (aparts, wanted) in [
        (vec![], 0),
        (vec![apart(0, 2), apart(0, 3), apart(1, 2), apart(1, 3)], 1),
        (vec![apart(2, 3)], 1),
    ] {
        let rows = LedgerRows { aparts: aparts.clone(), ..LedgerRows::default() };
        let mut pool = Pool::new(settings.clone(), rows, NOON);
        for (key, count) in [8, 12, 7, 7].into_iter().enumerate() {
            for n in 0..count {
                use_key(&mut pool, key, FLASH, at(n), Ok(&USAGE));
            }
        }
        use_key(&mut pool, 1, FLASH, at(1_000), Err(&refused));
        let effects = use_key(&mut pool, 0, FLASH, at(20_000), Err(&refused));
        assert_eq!(effects.notices.len(), wanted, "{aparts:?}: {:?}", effects.notices);
    }
}

/// Two keys of ten answers each, both refused: joined.
fn joined() -> Pool {
    let mut settings = settings("-:aaaa -:bbbb -:cccc");
    (settings.rpm, settings.flash) = (Limit::Unlimited, vec![FLASH.to_owned()]);
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    join_again(&mut pool, NOON);
    assert!(pool.list(NOON)[0].inferred);
    pool
}

fn join_again(pool: &mut Pool, now: Now) {
    let refused = quota(Window::Day, None, Some(20));
    let later = |ms: i64| Now { unix_ms: now.unix_ms + ms };
    for key in 0..2 {
        for n in 0..10 {
            use_key(pool, key, FLASH, later(n), Ok(&USAGE));
        }
    }
    for key in 0..2 {
        use_key(pool, key, FLASH, later(1_000 + key as i64), Err(&refused));
    }
}

#[test]
fn a_join_that_is_proven_wrong_parts_says_so_and_counts_for_nothing() {
    let mut pool = joined();
    let tomorrow = at(DAY_MS);
    let refused = quota(Window::Day, None, Some(20));
    use_key(&mut pool, 2, LITE, tomorrow, Ok(&USAGE));
    assert!(!pool.list(tomorrow)[0].inferred, "believed for a day");
    use_key(&mut pool, 0, FLASH, tomorrow, Err(&refused));
    let effects = use_key(&mut pool, 1, FLASH, at(DAY_MS + 61_000), Ok(&USAGE));
    let [Notice::Parted { n, with }] = effects.notices[..] else { panic!("{effects:?}") };
    assert_eq!((n.min(with), n.max(with)), (1, 2));
    assert!(pool.keys.iter().all(|key| key.row.joins == 0 && key.row.project.is_empty()));
    let again = use_key(&mut pool, 1, FLASH, at(DAY_MS + 70_000), Ok(&USAGE));
    assert_eq!(again.notices, [], "once");
}

#[test]
fn a_proof_against_a_join_that_holds_ends_it_at_once() {
    let mut pool = joined();
    assert_eq!(pool.keys[0].project, pool.keys[1].project);
    // Sent by one a while after the other was refused, as when an operator has revived their pair.
    let effects = use_key(&mut pool, 0, FLASH, at(HOUR_MS), Ok(&USAGE));
    assert!(matches!(effects.notices[..], [Notice::Parted { .. }]), "{effects:?}");
    assert_ne!(pool.keys[0].project, pool.keys[1].project);
    assert!(!pool.list(at(HOUR_MS))[0].inferred, "visibly");
    for n in [0, 1] {
        assert!(pool.quota_view(at(HOUR_MS))[n].used_today <= 21, "no count is too low");
    }
}

#[test]
fn what_was_used_up_right_after_midnight_proves_nothing_about_who_is_answered_later() {
    let mut pool = pool("-:aaaa -:bbbb");
    let morning = |minutes: i64| at(12 * HOUR_MS + minutes * MINUTE_MS);
    let refused = quota(Window::Day, None, Some(500));
    use_key(&mut pool, 0, LITE, morning(2), Err(&refused));
    use_key(&mut pool, 1, LITE, morning(13), Ok(&USAGE));
    assert_eq!(pool.to_rows().aparts, [], "the other day had begun for both");
    // And one that says itself when the day turns.
    let refused = quota(Window::Day, Some(2 * 3_600), Some(500));
    use_key(&mut pool, 0, FLASH, morning(60), Err(&refused));
    use_key(&mut pool, 1, FLASH, morning(181), Ok(&USAGE));
    assert_eq!(pool.to_rows().aparts, []);
    use_key(&mut pool, 0, FLASH, morning(200), Err(&quota(Window::Day, None, Some(500))));
    use_key(&mut pool, 1, FLASH, morning(202), Ok(&USAGE));
    assert_eq!(pool.to_rows().aparts.len(), 0, "what was first refused is what is remembered");
}

#[test]
fn joins_that_are_not_inferred_again_are_forgotten_one_by_one() {
    let mut pool = joined();
    join_again(&mut pool, at(DAY_MS));
    let joins = |pool: &Pool| pool.keys.iter().map(|key| key.row.joins).max().unwrap();
    assert_eq!(joins(&pool), 2);
    let mut seen = Vec::new();
    for day in 3..10 {
        use_key(&mut pool, 2, LITE, at(day * DAY_MS), Ok(&USAGE));
        seen.push(joins(&pool));
    }
    assert_eq!(seen, [2, 2, 1, 0, 0, 0, 0], "believed for two days, one forgotten after two more");
    assert!(pool.keys.iter().all(|key| key.row.project.is_empty()));
}

#[test]
fn keys_used_up_together_on_three_days_are_joined_whoever_else_uses_the_quota() {
    let keys = "-:aaaa -:bbbb -:cccc";
    let mut base = settings(keys);
    base.rpm = Limit::Unlimited;
    let refused = quota(Window::Day, None, Some(500));
    for (why, answered_on, wanted) in [
        ("together each day", None, [0, 0, 1]),
        ("answered after the other's end once", Some(1), [0, 0, 0]),
    ] {
        let mut pool = Pool::new(base.clone(), LedgerRows::default(), NOON);
        for (day, wanted) in (0_i64..).zip(wanted) {
            let later = |ms: i64| at(day * DAY_MS + ms);
            use_key(&mut pool, 0, LITE, later(0), Ok(&USAGE));
            use_key(&mut pool, 1, LITE, later(1), Ok(&USAGE));
            use_key(&mut pool, 0, LITE, later(1_000), Err(&refused));
            if answered_on == Some(day) {
                use_key(&mut pool, 1, LITE, later(90_000), Ok(&USAGE));
            }
            let effects = use_key(&mut pool, 1, LITE, later(100_000), Err(&refused));
            let joined = |notice: &&Notice| matches!(notice, Notice::Joined { .. });
            let count = effects.notices.iter().filter(joined).count();
            assert_eq!(count, wanted, "{why}, day {day}: {effects:?}");
            pool = Pool::new(base.clone(), pool.to_rows(), later(200_000));
        }
        assert!(pool.keys[2].row.project.is_empty(), "{why}: the third has no part in it");
    }
}
