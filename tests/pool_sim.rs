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
use svs_bot::types::Now;
use world::{Plan, START_MS, World};

fn check(plan: Plan, given_percent: f64) {
    let now = Now { unix_ms: START_MS };
    let mut ours = Ours::new(&plan, true, now);
    let report = World::new(plan.clone(), &mut ours).run();
    let seen = format!(
        "{plan:?}: {} asked, {} answered, {} possible, {} calls, {} wasted, {} kills",
        report.asked, report.answered, report.possible, report.calls, report.wasted, report.kills
    );
    assert!(
        report.breaches.is_empty(),
        "{seen}\n{:#?}",
        &report.breaches[..report.breaches.len().min(5)]
    );
    assert_eq!(report.wrong_set_asides, 0, "{seen}");
    assert!(report.wasted_percent() < 1.0, "{seen}");
    assert!(report.given_percent() >= given_percent, "{seen}");
    assert!(plan.kill_every_h == 0 || report.kills > 0, "{seen}");
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
        grouped: false,
    }
}

#[test]
fn one_key_with_more_questions_than_it_can_bear() {
    check(plan(1, 3, 1, 1, 1_500), 98.0);
}

#[test]
fn ten_keys_of_three_projects_over_several_days() {
    check(plan(2, 3, 10, 3, 3_500), 98.0);
}

#[test]
fn fifty_keys_of_ten_projects_with_time_to_spare() {
    check(plan(3, 2, 50, 10, 1_000), 99.0);
}
