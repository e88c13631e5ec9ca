//! Three plain strategies, written for comparison alone: what most pools of keys do.

use super::world::{LIMITS, Plan, Said, Strategy};
use std::collections::BTreeMap;
use svs_bot::types::model::{ModelFailure, Usage};
use svs_bot::types::{HOUR_MS, MINUTE_MS, Now, Role, Tier, UnixMs};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The next key, whatever happened to it.
    RoundRobin,
    /// A random key; three failures of any kind set it aside for an hour.
    ThreeStrikes,
    /// A random key; a 429 sets it aside for a minute.
    CoolOn429,
}

pub struct Plain {
    kind: Kind,
    keys: usize,
    next: usize,
    strikes: BTreeMap<usize, u32>,
    out_until: BTreeMap<usize, UnixMs>,
    tickets: BTreeMap<i64, usize>,
    last_ticket: i64,
}

impl Plain {
    pub fn new(kind: Kind, plan: &Plan) -> Self {
        Self {
            kind,
            keys: plan.keys,
            next: 0,
            strikes: BTreeMap::new(),
            out_until: BTreeMap::new(),
            tickets: BTreeMap::new(),
            last_ticket: 0,
        }
    }
}

impl Strategy for Plain {
    fn pick(&mut self, _role: Role, tier: Tier, exclude: &[String], now: Now, dice: u32) -> Said {
        let chain: &[usize] = match tier {
            Tier::Lite => &[0, 1],
            Tier::Flash => &[2, 3, 0, 1],
            Tier::Pro => &[4, 2, 3, 0, 1],
        };
        let Some(model) = chain
            .iter()
            .map(|at| LIMITS[*at].0)
            .find(|name| !exclude.iter().any(|out| out == name))
        else {
            return Said::Wait(now.unix_ms + 1_000);
        };
        let free: Vec<usize> = (0..self.keys)
            .filter(|key| self.out_until.get(key).is_none_or(|until| *until <= now.unix_ms))
            .collect();
        if free.is_empty() {
            return Said::Wait(self.out_until.values().copied().min().unwrap_or(now.unix_ms));
        }
        let at = if self.kind == Kind::RoundRobin { self.next } else { dice as usize };
        self.next += 1;
        self.last_ticket += 1;
        let key = free[at % free.len()];
        self.tickets.insert(self.last_ticket, key);
        Said::Use { key, model: model.to_owned(), ticket: self.last_ticket }
    }

    fn done(&mut self, ticket: i64, result: Result<&Usage, &ModelFailure>, now: Now) {
        let Some(key) = self.tickets.remove(&ticket) else { return };
        match (self.kind, result) {
            (Kind::ThreeStrikes, Ok(_)) => {
                self.strikes.remove(&key);
            }
            (Kind::ThreeStrikes, Err(_)) => {
                let strikes = self.strikes.entry(key).or_default();
                *strikes += 1;
                if *strikes >= 3 {
                    *strikes = 0;
                    self.out_until.insert(key, now.unix_ms + HOUR_MS);
                }
            }
            (Kind::CoolOn429, Err(ModelFailure::Quota(_))) => {
                self.out_until.insert(key, now.unix_ms + MINUTE_MS);
            }
            _ => {}
        }
    }

    fn commit(&mut self) {}

    fn restart(&mut self, _now: Now) {
        self.tickets.clear();
        self.strikes.clear();
        self.out_until.clear();
    }

    fn out_until(&self, key: usize, _now: Now) -> Option<UnixMs> {
        self.out_until.get(&key).copied()
    }
}
