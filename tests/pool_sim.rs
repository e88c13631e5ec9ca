//! The pool of keys in a simulated world: days pass, the process is killed at random, and no counter
//! is ever below the emulated server's.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    dead_code,
    reason = "a simulation shared by a test and an example: a wrong number should stop it"
)]

#[path = "bench/pool_ours.rs"]
mod ours;
#[path = "bench/pool_world.rs"]
mod world;

use ours::Ours;
use svs_bot::types::{Now, Role};
use world::{Plan, Report, START_MS, World};

fn check(plan: Plan, declared: bool, given_percent: f64) -> Report {
    let now = Now { unix_ms: START_MS };
    let mut ours = Ours::new(&plan, declared, now);
    let report = World::new(plan.clone(), &mut ours).run();
    let seen = format!(
        "{plan:?}: {} asked, {} answered, {} possible, {} calls, {} wasted, {} with bad keys, {} kills",
        report.asked,
        report.answered,
        report.possible,
        report.calls,
        report.wasted,
        report.bad_calls,
        report.kills
    );
    assert!(
        report.breaches.is_empty(),
        "{seen}\n{:#?}",
        &report.breaches[..report.breaches.len().min(5)]
    );
    assert_eq!(report.wrong_set_asides, 0, "{seen}");
    assert_eq!(report.wrong_joins, 0, "{seen}");
    assert_eq!(report.overtaken, 0, "owner and vip go first: {seen}");
    assert!(report.wasted_percent() < 1.0, "{seen}");
    assert!(report.given_percent() >= given_percent, "{seen}");
    assert!(plan.kill_every_h == 0 || report.kills > 0, "{seen}");
    report
}

fn plan(seed: u64, days: i64, keys: usize, projects: usize, questions: u32) -> Plan {
    Plan {
        seed,
        days,
        keys,
        projects,
        questions,
        kill_every_h: 4,
        trouble_per_mille: 10,
        bad_keys: 0,
        leaked_keys: 0,
        storms: false,
        outside_percent: 0,
        grouped: false,
    }
}

#[test]
fn one_key_with_more_questions_than_it_can_bear() {
    check(plan(1, 3, 1, 1, 1_500), true, 99.0);
}

#[test]
fn ten_keys_of_three_projects_over_several_days() {
    check(plan(2, 3, 10, 3, 3_500), true, 99.0);
}

#[test]
fn fifty_keys_of_ten_projects_with_time_to_spare() {
    check(plan(3, 2, 50, 10, 1_000), true, 99.0);
}

#[test]
fn keys_of_projects_that_nobody_declared() {
    check(plan(6, 6, 10, 3, 3_500), false, 99.0);
}

#[test]
fn fifty_keys_of_projects_that_nobody_declared_with_more_questions_than_quota() {
    let report = check(plan(8, 6, 50, 10, 11_000), false, 99.0);
    // Once it is known who shares what, the tenth that is kept for owner and vip is kept again.
    assert!(report.given_percent() < 112.0, "{}", report.given_percent());
    let (first, last) = (report.wasted_by_day[0], report.wasted_by_day[5]);
    assert!(last * 5 < first, "it learns: {:?}", report.wasted_by_day);
}

#[test]
fn keys_that_somebody_else_uses_too_are_not_set_aside_for_it() {
    let plan = Plan { outside_percent: 40, ..plan(9, 6, 5, 5, 2_500) };
    check(plan, false, 95.0);
}

#[test]
fn wrong_keys_and_leaked_ones_are_out_and_cost_no_more_than_a_few_calls() {
    let plan = Plan { bad_keys: 2, leaked_keys: 2, ..plan(4, 3, 12, 4, 2_500) };
    let report = check(plan, true, 99.0);
    // Some may be in flight when it turns out, and a kill forgets what was not committed.
    assert!((4..=4 * 6).contains(&report.bad_calls), "{} calls", report.bad_calls);
}

#[test]
fn overload_of_every_model_at_once_sets_no_key_aside() {
    check(Plan { storms: true, trouble_per_mille: 50, ..plan(5, 3, 10, 5, 3_000) }, true, 98.0);
}

#[test]
fn groups_fall_through_in_their_order_and_guests_never_take_the_reserve() {
    let report = check(Plan { grouped: true, ..plan(7, 2, 20, 10, 8_000) }, true, 60.0);
    let given = |role: Role, group: &str| {
        report.by_group.iter().any(|(at, count)| *at == (role.priority(), group) && *count > 0)
    };
    for (role, groups, never) in [
        (Role::Owner, "A", "BCD"),
        (Role::Vip, "AB", "CD"),
        (Role::Premium, "BC", "AD"),
        (Role::Normal, "CDR", "AB"),
        (Role::Guest, "D", "ABCR"),
    ] {
        for (wanted, groups) in [(true, groups), (false, never)] {
            for group in groups.chars() {
                let got = given(role, &group.to_string());
                assert_eq!(got, wanted, "{role:?} {group}: {:?}", report.by_group);
            }
        }
    }
}
