//! The list against the choice: whatever `choose` passes over, `list` names, with the time it ends.

use super::*;
use crate::types::status::{Hold, KeyHold};

/// Of whom the whole pool knows, but what this key may do with this model alone.
fn alone(pool: &Pool, n: u32, model: &str, now: Now) -> Choice {
    let mut pool = pool.clone();
    for other in (1..).take(pool.keys.len()).filter(|other| *other != n) {
        pool.park(other);
    }
    let exclude: Vec<String> = pool.settings.models().into_iter().filter(|m| m != model).collect();
    let want = Want { role: Role::Owner, tier: Tier::Pro, tokens_guess: 1, exclude: &exclude };
    pool.choose(&want, now, 7)
}

fn hold_of(pool: &Pool, n: u32, model: &str, now: Now) -> Option<KeyHold> {
    let line = pool.list(now).swap_remove(n as usize - 1);
    let soft = |hold: &KeyHold| matches!(hold.why, Hold::Kept | Hold::Saved);
    let about = |hold: &KeyHold| hold.models.is_empty() || hold.models.iter().any(|m| m == model);
    line.holds.into_iter().find(|hold| about(hold) && !soft(hold))
}

/// Every key and model: named as held exactly when passed over, and free when the list says so.
fn agree(pool: &Pool, now: Now, seen: &mut BTreeMap<String, u32>) {
    for n in (1..).take(pool.keys.len()) {
        for model in pool.settings.models() {
            let choice = alone(pool, n, &model, now);
            let hold = hold_of(pool, n, &model, now);
            let about = || format!("key {n}, {model}: {choice:?}, {hold:?}, {:?}", pool.list(now));
            // A pause of a second or so between two uses is no news.
            let short = |choice: &Choice, now: Now| matches!(choice, Choice::Wait { until_ms, .. } if *until_ms <= now.unix_ms + 1_500);
            let Some(hold) = &hold else {
                assert!(matches!(choice, Choice::Use(_)) || short(&choice, now), "{}", about());
                continue;
            };
            *seen.entry(format!("{:?}", hold.why)).or_default() += 1;
            // What is tried last is tried where nothing else is left, as it is here.
            let passed = !matches!(choice, Choice::Use(_)) || hold.why == Hold::Unproven;
            assert!(passed, "{}", about());
            let Some(until_ms) = hold.until_ms else { continue };
            assert!(until_ms > now.unix_ms, "{}", about());
            let (before, then) = (Now { unix_ms: until_ms - 1 }, Now { unix_ms: until_ms });
            let earlier = alone(pool, n, &model, before);
            let still = !matches!(earlier, Choice::Use(_)) || hold.why == Hold::Unproven;
            assert!(still, "it comes back before that: {}", about());
            let back = alone(pool, n, &model, then);
            let flying = matches!(hold.why, Hold::Nothing | Hold::Closed);
            let free = matches!(back, Choice::Use(_)) || short(&back, then);
            assert!(free || flying, "and not then: {back:?}: {}", about());
        }
    }
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "rolls below eight")]
fn the_list_names_whatever_the_choice_passes_over_and_when_it_comes_back() {
    let mut seen = BTreeMap::new();
    for seed in 1..=9_u64 {
        // Every third world is one of riddles: hardly used keys, refused by the day and nothing else.
        let riddles = seed % 3 == 0;
        let mut dice = seed;
        let mut roll = move |below: u64| {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % below
        };
        let mut settings =
            settings("A:aaaa A:bbbb A:cccc -:dddd -:eeee -:ffff -:gggg@mine -:hhhh@mine");
        settings.min_interval_ms = [0, 1_000, 20_000][roll(3) as usize];
        settings.lite_rpd = Limit::Fixed(if riddles { 500 } else { 12 });
        settings.flash_rpd = Limit::Fixed(8);
        let models = settings.models();
        let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
        let mut leases = Vec::new();
        let mut now = NOON;
        for _ in 0..80 {
            now.unix_ms += [10, 700, 5_000, 70_000][roll(4) as usize];
            if roll(60) == 0 {
                now.unix_ms += HOUR_MS * i64::try_from(roll(30)).unwrap();
            }
            let key = roll(8) as usize;
            let mut model = roll(models.len() as u64) as usize;
            if riddles {
                model = models.iter().position(|known| known == LITE).unwrap();
            }
            let at = pool.models.iter().position(|known| known.name == models[model]).unwrap();
            match roll(12) {
                0 if !riddles => drop(pool.park(key as u32 + 1)),
                0 | 1 => drop(pool.revive(key as u32 + 1, now)),
                2 => pool = Pool::new(pool.settings.clone(), pool.to_rows(), now),
                _ => {
                    let pair = pool.pair_at(pool.keys[key].project, at);
                    let pick = Pick { key, model: models[model].clone(), pair };
                    leases.push(pool.reserve(&pick, 100, now));
                }
            }
            // A few stay in flight.
            while leases.len() > roll(4) as usize {
                let lease = leases.remove(0);
                let failure = match roll(14) {
                    _ if riddles => quota(Window::Day, None, Some(500)),
                    0 => quota(Window::Minute, Some(30), None),
                    1 => quota(Window::Day, None, Some(12)),
                    2 => quota(Window::Nothing, None, Some(0)),
                    3 => quota(Window::Unknown, None, None),
                    4 => quota(Window::Spend, None, None),
                    5 | 6 => ModelFailure::Overloaded,
                    7 if roll(5) == 0 => ModelFailure::ModelUnknown,
                    7 => ModelFailure::ModelClosed,
                    8 if roll(3) == 0 => ModelFailure::BadKey { why: "invalid" },
                    _ => {
                        pool.settle(lease, Ok(&USAGE), now);
                        continue;
                    }
                };
                pool.settle(lease, Err(&failure), now);
            }
            agree(&pool, now, &mut seen);
        }
    }
    let every = [
        "Minute",
        "Day",
        "Spend",
        "Unexplained",
        "Nothing",
        "Closed",
        "Overloaded",
        "Unknown",
        "HeldBack",
        "Unproven",
        "Interval",
        "Storm",
        "Doubted",
        "Parked",
        "Dead",
    ];
    for why in every {
        assert!(seen.get(why).is_some_and(|times| *times > 0), "{why} was seen: {seen:?}");
    }
}

#[test]
fn a_key_that_another_s_limit_of_none_speaks_against_is_said_to_come_last_and_until_when() {
    let mut pool = pool("A:aaaa A:bbbb");
    pool.settings.min_interval_ms = 0;
    let want = want(Role::Owner, Tier::Pro);
    ask(&mut pool, &want, NOON, Err(&quota(Window::Nothing, None, Some(0))));
    let mut lines = pool.list(at(1_000));
    let asked = lines.iter().position(|line| line.holds[0].why == Hold::Nothing).unwrap();
    lines.swap(0, asked);
    let holds: Vec<_> = lines.iter().map(|line| (line.state, line.holds[0].why)).collect();
    assert_eq!(holds, [(KeyState::Ready, Hold::Nothing), (KeyState::Ready, Hold::Unproven)]);
    let hold = &lines[1].holds[0];
    assert_eq!(hold.models, ["gemini-3.1-pro-preview"]);
    assert_eq!(hold.until_ms, Some(NOON.unix_ms + 10 * MINUTE_MS));
    assert!(lines[1].reason().contains("tried last"), "{}", lines[1].reason());
    assert_eq!(pool.list(at(10 * MINUTE_MS))[1 - asked].holds, []);
    // Where it is the only model, the key is not ready.
    let mut settings = settings("A:aaaa A:bbbb");
    (settings.flash, settings.lite) = (Vec::new(), Vec::new());
    settings.pro.truncate(1);
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    ask(&mut pool, &want, NOON, Err(&quota(Window::Nothing, None, Some(0))));
    let states = [state(&pool, 1, NOON), state(&pool, 2, NOON)];
    assert!(states.iter().any(|state| state.starts_with("resting 10 ")), "{states:?}");
}

#[test]
fn what_is_left_for_some_only_is_said() {
    let mut pool = pool("-:aaaa");
    pool.settings.rpm = Limit::Unlimited;
    pool.settings.flash.truncate(1);
    pool.settings.pro.clear();
    let want = want(Role::Owner, Tier::Flash);
    for (uses, why) in [(0, None), (14, Some(Hold::Saved)), (17, Some(Hold::Kept))] {
        while used(&pool, FLASH, NOON) < uses {
            let now = at(used(&pool, FLASH, NOON) as i64 * 2_000);
            ask(&mut pool, &want, now, Ok(&USAGE));
        }
        let line = pool.list(at(200_000)).remove(0);
        assert_eq!(line.state, KeyState::Ready, "{uses}");
        assert_eq!(line.holds.first().map(|hold| hold.why), why, "{uses}: {line:?}");
        let midnight = why.map(|_| Some(NOON.unix_ms + 12 * HOUR_MS));
        assert_eq!(line.holds.first().map(|hold| hold.until_ms), midnight, "{uses}");
    }
}

#[test]
fn of_several_reasons_the_one_that_ends_last_is_named() {
    let mut settings = settings("-:aaaa");
    settings.lite = vec![LITE.to_owned()];
    (settings.flash, settings.pro) = (Vec::new(), Vec::new());
    settings.lite_rpd = Limit::Fixed(2);
    settings.daily_share = 1.0;
    let mut pool = Pool::new(settings, LedgerRows::default(), NOON);
    let want = want(Role::Owner, Tier::Lite);
    let Choice::Use(pick) = pool.choose(&want, NOON, 7) else { panic!() };
    let leases = [(); 3].map(|()| pool.reserve(&pick, 100, NOON));
    let [one, two, three] = leases;
    pool.settle(one, Ok(&USAGE), NOON);
    pool.settle(two, Ok(&USAGE), NOON);
    pool.settle(three, Err(&quota(Window::Minute, Some(30), None)), NOON);
    assert!(state(&pool, 1, NOON).starts_with("spent 720 "), "{}", state(&pool, 1, NOON));
    assert_eq!(shown(&pool, &want, NOON), "wait 43200", "nobody is told thirty seconds");
}
