//! The emulated Gemini of the simulation: it keeps the true counters and answers as api-reference B4
//! says.

use nanorand::{Rng, WyRand};
use std::collections::{BTreeMap, VecDeque};
use svs_bot::calendar::pacific_day;
use svs_bot::types::model::{ModelFailure, QuotaHit, Usage, Window};
use svs_bot::types::{MINUTE_MS, UnixMs};

/// Input tokens of every question.
pub(super) const INPUT_TOKENS: u32 = 800;

/// True limits of the free tier (api-reference B5), by model.
pub const LIMITS: [(&str, usize, u32); 5] = [
    ("gemini-3.5-flash-lite", 15, 500),
    ("gemini-3.1-flash-lite", 15, 500),
    ("gemini-3.8-flash", 5, 20),
    ("gemini-3.6-flash", 5, 20),
    ("gemini-3.1-pro-preview", 0, 0),
];

/// The emulated Gemini.
#[derive(Default)]
pub(super) struct Gemini {
    /// What somebody else uses of each day's quota at most.
    pub(super) outside_percent: u32,
    pub(super) pairs: BTreeMap<(usize, usize), Counter>,
    /// When each model is overloaded next, from and until.
    pub(super) overload: [(UnixMs, UnixMs); LIMITS.len()],
}

#[derive(Default)]
pub(super) struct Counter {
    pub(super) minute: VecDeque<UnixMs>,
    pub(super) day: i64,
    pub(super) count: u32,
}

pub(super) fn model_position(model: &str) -> usize {
    LIMITS.iter().position(|(name, ..)| *name == model).expect("a model of the plan")
}

fn quota(window: Window, limit: u32, retry_ms: i64) -> ModelFailure {
    let learned = vec![(window, false, limit)];
    ModelFailure::Quota(QuotaHit {
        window,
        tokens: false,
        limit: Some(limit),
        retry_ms: Some(retry_ms),
        learned,
    })
}

impl Gemini {
    /// What somebody else uses of a day's quota, all of it at its beginning.
    pub(super) fn outside(&self, project: usize, model: usize, day: i64) -> u32 {
        let seed = project as u64 * 1_000_003 + model as u64 * 10_007 + day as u64;
        let percent = WyRand::new_seed(seed).generate::<u32>() % (self.outside_percent + 1);
        LIMITS[model].2 * percent / 100
    }

    pub(super) fn counter(&mut self, project: usize, model: usize, now_ms: UnixMs) -> &mut Counter {
        let day = pacific_day(now_ms);
        let outside = self.outside(project, model, day);
        let counter = self.pairs.entry((project, model)).or_default();
        if counter.day != day {
            counter.day = day;
            counter.count = outside;
        }
        while counter.minute.front().is_some_and(|at| *at <= now_ms - MINUTE_MS) {
            counter.minute.pop_front();
        }
        counter
    }

    pub(super) fn ask(
        &mut self,
        project: usize,
        model: usize,
        now_ms: UnixMs,
    ) -> Result<Usage, ModelFailure> {
        let (_, rpm, rpd) = LIMITS[model];
        if rpd == 0 {
            let mut failure = quota(Window::Day, 0, 9_000);
            if let ModelFailure::Quota(hit) = &mut failure {
                hit.window = Window::Nothing;
            }
            return Err(failure);
        }
        let overloaded = self.overload[model].0 <= now_ms && now_ms < self.overload[model].1;
        let counter = self.counter(project, model, now_ms);
        if counter.count >= rpd {
            return Err(quota(Window::Day, rpd, 9_000));
        }
        if counter.minute.len() >= rpm {
            let retry_ms = counter.minute[0] + MINUTE_MS - now_ms;
            return Err(quota(Window::Minute, rpm as u32, retry_ms));
        }
        counter.count += 1;
        counter.minute.push_back(now_ms);
        if overloaded {
            return Err(ModelFailure::Overloaded);
        }
        Ok(Usage { input: INPUT_TOKENS, output: 300 })
    }
}
