//! Owns: playing a plan, making a failing one smaller, and long runs over many seeds.

use crate::plan::{Fault, Plan};
use crate::world::World;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// What a world that held has seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub trace: u64,
    pub hours: f64,
    pub updates: u64,
    pub accepted: u64,
    pub answers: u64,
    pub shown_twice: u64,
    pub steps: u64,
    pub checks: u64,
    pub starts: u64,
    pub faults: BTreeMap<Fault, u64>,
}

/// Worlds side by side in one process were seen to differ from the same worlds played alone; why is not
/// known, so they take turns, and a seed is one world.
static ONE_WORLD: Mutex<()> = Mutex::new(());

/// Plays a plan; the error says which promise was broken.
pub fn play(plan: &Plan) -> Result<Report, String> {
    let _alone = ONE_WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan.clone())?;
        let began_ms = world.now_ms;
        let end = world.run().map_err(|why| format!("after {} steps: {why}", world.steps));
        end.map(|()| Report {
            trace: world.trace,
            hours: (world.now_ms - began_ms) as f64 / 3_600_000.0,
            updates: u64::from(world.updates),
            accepted: world.witness.accepted,
            answers: world.witness.answers,
            shown_twice: world.witness.shown_twice,
            steps: world.steps,
            checks: world.witness.checks,
            starts: u64::from(world.life),
            faults: world.faults.clone(),
        })
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// The same failure with fewer faults and updates, as a text to replay it by.
pub fn minimised(plan: &Plan, why: &str) -> String {
    let mut small = plan.clone();
    let mut last = why.to_owned();
    for fault in Fault::ALL {
        let try_out = small.clone().without(fault);
        if let Err(why) = play(&try_out) {
            (small, last) = (try_out, why);
        }
    }
    for _ in 0..8 {
        let mut try_out = small.clone();
        try_out.hours = (small.hours / 2).max(1);
        try_out.updates_max = (small.updates_max / 2).max(1);
        match play(&try_out) {
            Err(why) if try_out.updates_max < small.updates_max => (small, last) = (try_out, why),
            _ => break,
        }
    }
    let left: Vec<Fault> =
        Fault::ALL.into_iter().filter(|fault| small.faults & fault.bit() != 0).collect();
    format!(
        "seed {} over {} h: {why}\nsmaller: {} h, {} chats, {} updates, faults {left:?}: {last}",
        plan.seed, plan.hours, small.hours, small.chats, small.updates_max
    )
}

#[expect(clippy::disallowed_methods, reason = "the way scripts/simulate says how long")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `SIM_SEEDS` worlds of `SIM_HOURS` each from `SIM_SEED` on; prints totals as it goes.
pub fn long() {
    let (first, seeds) = (number("SIM_SEED", 1), number("SIM_SEEDS", 20));
    let hours = i64::try_from(number("SIM_HOURS", 24)).unwrap_or(24);
    let mut total = Report::default();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        // Each way in has its worlds, and what a seed is by the first was so before there were others.
        let way = number("SIM_WAY", 0);
        let plan = Plan::of_seed(seed, hours).by(way & 1 != 0, way & 2 != 0);
        match play(&plan) {
            Ok(report) => total.add(&report),
            Err(why) => {
                println!("FAILED seed {seed}: {why}");
                println!("{}", minimised(&plan, &why));
                failed.push(seed);
            }
        }
        if (seed + 1 - first).is_multiple_of(10) || seed + 1 == first + seeds {
            println!("{} worlds: {total:?}; failed: {failed:?}", seed + 1 - first);
        }
    }
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
}

impl Report {
    fn add(&mut self, other: &Self) {
        self.hours += other.hours;
        self.updates += other.updates;
        self.accepted += other.accepted;
        self.answers += other.answers;
        self.shown_twice += other.shown_twice;
        self.steps += other.steps;
        self.checks += other.checks;
        self.starts += other.starts;
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
    }
}
