//! The real core over the real store in a simulated world: years of faults in minutes, each failure
//! replayed by its seed. `cargo test --test sim` is the short run, `scripts/simulate` the long one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    missing_docs,
    unsafe_code,
    reason = "a simulator: what is wrong should stop it; the faulty disk speaks SQLite's C interface"
)]

mod check;
mod disk;
mod gemini;
mod migration;
mod people;
mod plan;
mod run;
mod supabase;
mod telegram;
mod world;

use plan::{Fault, Plan};

fn holds(plan: Plan) -> run::Report {
    match run::play(&plan) {
        Ok(report) => report,
        Err(why) => panic!("{}", run::minimised(&plan, &why)),
    }
}

#[test]
fn a_healthy_world_loses_nothing() {
    let report = holds(Plan::of_seed(1, 2).only(&[]));
    assert!(report.accepted > 20, "{report:?}");
    assert_eq!(report.shown_twice, 0, "{report:?}");
}

#[test]
fn kills_and_lost_replies_lose_nothing() {
    for seed in 1..4 {
        holds(Plan::of_seed(seed, 2).only(&[Fault::Kill, Fault::Stop, Fault::TelegramLost]));
    }
}

#[test]
fn a_world_with_every_fault_loses_nothing() {
    for seed in 101..105 {
        holds(Plan::of_seed(seed, 3));
    }
}

#[test]
fn deliveries_that_are_lost_repeated_and_out_of_order_lose_nothing() {
    let few = [Fault::Kill, Fault::Stop, Fault::TelegramLost, Fault::TelegramConflict];
    holds(Plan::of_seed(201, 2).by(true, false).only(&few));
    for seed in 202..205 {
        holds(Plan::of_seed(seed, 3).by(true, true));
    }
}

#[test]
fn files_that_are_gone_too_large_or_cut_lose_nothing() {
    let report = holds(Plan::of_seed(301, 2).by(false, true).only(&[Fault::Files, Fault::Kill]));
    assert!(report.faults.contains_key(&Fault::Files), "{report:?}");
    for seed in 302..304 {
        holds(Plan::of_seed(seed, 3).by(false, true));
    }
}

/// Seeds that once broke a promise, with what they found.
#[test]
fn worlds_that_once_broke_a_promise_hold() {
    for (seed, hours, _found) in [
        (1, 1, "the loop spun until getMe was answered"),
        (100, 3, "the loop spun while stopping: a synchronisation was due that may not start"),
        (
            2000,
            6,
            "the loop spun: the mark of a synced commit was the same as before and so nothing to sync",
        ),
        (2007, 6, "sessions of a wrong clock, counted from now, filled more slots than there are"),
        (1003, 6, "sessions that a wrong clock had opened held their slots for years"),
    ] {
        holds(Plan::of_seed(seed, hours));
    }
    // A request in flight over midnight counts on both days: the witness took that for one too many.
    holds(Plan::of_seed(8303, 12).by(true, true));
}

#[test]
fn the_same_seed_is_the_same_world() {
    let plan = Plan::of_seed(7, 2);
    assert_eq!(holds(plan.clone()).trace, holds(plan).trace);
    assert_ne!(holds(Plan::of_seed(8, 2)).trace, holds(Plan::of_seed(9, 2)).trace);
}

/// The long run of `scripts/simulate`.
#[test]
#[ignore = "as long as it is told to: scripts/simulate"]
fn long() {
    run::long();
}
