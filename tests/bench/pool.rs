//! `cargo run --release --example pool_bench [DAYS] [SEED] [ROW]`: the pool of keys beside three plain
//! strategies, as a Markdown table. With a row, from 1: the pool alone, and what it inferred.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    dead_code,
    reason = "a simulation shared by a test and an example: a wrong number should stop it"
)]

#[path = "pool_ours.rs"]
mod ours;
#[path = "pool_plain.rs"]
mod plain;
#[path = "pool_world.rs"]
mod world;

use ours::Ours;
use plain::{Kind, Plain};
use std::io::Write;
use svs_bot::types::{Now, Role};
use world::{Plan, START_MS, Strategy, World};

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let days = args.next().and_then(|days| days.parse().ok()).unwrap_or(30);
    let seed = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let row: Option<usize> = args.next().and_then(|row| row.parse().ok());
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{days} days, seed {seed}, one kill in 12 hours on average, 1 % of calls fail by nobody's fault. \
         Possible is what the limits leave after the share of 0.9 and the tenth of it that is kept for owner \
         and vip; what those two use of that tenth comes on top.\n"
    )?;
    writeln!(
        out,
        "| keys / projects | questions a day | strategy | answered of possible | calls refused | wrongly set aside (key hours) | wait owner / vip / normal, s | kills | counter breaches |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for (_, (keys, projects, questions, outside_percent)) in [
        (1, 1, 300, 0),
        (1, 1, 1_500, 0),
        (5, 5, 3_000, 0),
        (10, 3, 2_000, 0),
        (10, 3, 3_500, 0),
        (50, 10, 6_000, 0),
        (50, 10, 11_000, 0),
        (10, 3, 2_000, 40),
    ]
    .into_iter()
    .enumerate()
    .filter(|(at, _)| row.is_none_or(|row| row == at + 1))
    {
        let plan = Plan {
            seed,
            days,
            keys,
            projects,
            questions,
            kill_every_h: 12,
            trouble_per_mille: 10,
            bad_keys: 0,
            leaked_keys: 0,
            storms: false,
            outside_percent,
            grouped: false,
        };
        let now = Now { unix_ms: START_MS };
        let mut strategies: Vec<(&str, Box<dyn Strategy>)> = vec![
            ("**svs-bot**", Box::new(Ours::new(&plan, true, now))),
            ("svs-bot, projects not declared", Box::new(Ours::new(&plan, false, now))),
            ("round robin", Box::new(Plain::new(Kind::RoundRobin, &plan))),
            ("random, 3 strikes", Box::new(Plain::new(Kind::ThreeStrikes, &plan))),
            ("random, cool on 429", Box::new(Plain::new(Kind::CoolOn429, &plan))),
        ];
        if row.is_some() {
            strategies.truncate(2);
        }
        let outside = if outside_percent > 0 { ", used elsewhere too" } else { "" };
        for (name, strategy) in &mut strategies {
            let report = World::new(plan.clone(), strategy.as_mut()).run();
            writeln!(
                out,
                "| {keys} / {projects}{outside} | {questions} | {name} | {:.1} % | {:.2} % | {} | {:.1} / {:.1} / {:.1} | {} | {} |",
                report.given_percent(),
                report.wasted_percent(),
                report.wrong_set_asides,
                report.wait_s(Role::Owner),
                report.wait_s(Role::Vip),
                report.wait_s(Role::Normal),
                report.kills,
                report.breaches.len(),
            )?;
            if row.is_some() {
                writeln!(
                    out,
                    "joined wrongly {} key pair hours, not joined {}; refused by day: {:?}",
                    report.wrong_joins, report.missed_joins, report.wasted_by_day
                )?;
            }
            out.flush()?;
        }
    }
    Ok(())
}
