//! What the pool of keys is put through in a simulation, and what is counted.

use std::collections::BTreeMap;
use svs_bot::types::{DAY_MS, Group, Role, UnixMs};

/// 2026-11-10, 00:00 in California.
pub const START_MS: UnixMs = 1_794_297_600_000;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub days: i64,
    pub keys: usize,
    pub projects: usize,
    /// Questions a day, on average.
    pub questions: u32,
    /// On average one kill in so many hours; 0 for none.
    pub kill_every_h: i64,
    /// Part of calls, in a thousand, that fail for reasons of no key.
    pub trouble_per_mille: u32,
    /// The first so many keys are wrong …
    pub bad_keys: usize,
    /// … and the next so many are reported as leaked at noon of the first day.
    pub leaked_keys: usize,
    /// All models are overloaded once a day, all at once.
    pub storms: bool,
    /// Somebody else uses up to so much of each day's quotas.
    pub outside_percent: u32,
    /// Keys lie in the groups A to D and the reserve, dealt round, and not in one heap.
    pub grouped: bool,
}

impl Plan {
    /// The project of a key: dealt round.
    pub fn project_of(&self, key: usize) -> usize {
        key % self.projects
    }

    pub fn group_of(&self, key: usize) -> Group {
        // Two projects each, so that no project is in two groups.
        let groups = [Group::A, Group::B, Group::C, Group::D, Group::Router];
        if self.grouped { groups[self.project_of(key) / 2 % 5] } else { Group::Ungrouped }
    }

    pub(super) fn is_bad(&self, key: usize, now_ms: UnixMs) -> bool {
        key < self.bad_keys
            || (key < self.bad_keys + self.leaked_keys && now_ms >= START_MS + DAY_MS / 2)
    }

    /// Keys that are good to the end.
    pub(super) fn good_keys(&self) -> std::ops::Range<usize> {
        self.bad_keys + self.leaked_keys..self.keys
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub asked: u64,
    pub answered: u64,
    /// What an all-knowing pool could have answered under the share of every day.
    pub possible: u64,
    pub calls: u64,
    /// Calls that a quota or a wrong key refused.
    pub wasted: u64,
    /// The same, day by day.
    pub wasted_by_day: Vec<u64>,
    /// Calls with keys that were bad at that moment.
    pub bad_calls: u64,
    pub wrong_set_asides: u64,
    /// Hours that two keys were believed to share a project and do not, and those that they do and
    /// were not.
    pub wrong_joins: u64,
    pub missed_joins: u64,
    /// Somebody was served, with a key that an owner or vip waited for, before them.
    pub overtaken: u64,
    /// Answers by role and group of the key.
    pub by_group: BTreeMap<(i64, &'static str), u64>,
    pub kills: u64,
    /// Waiting until the answering call began, in ms: sum and count by role.
    pub waits: BTreeMap<i64, (i64, u64)>,
    /// Counter below the truth, or above it by more than can be explained.
    pub breaches: Vec<String>,
}

impl Report {
    pub fn wasted_percent(&self) -> f64 {
        100.0 * self.wasted as f64 / self.calls.max(1) as f64
    }
    pub fn given_percent(&self) -> f64 {
        100.0 * self.answered as f64 / self.possible.max(1) as f64
    }
    pub fn wait_s(&self, role: Role) -> f64 {
        let (sum, count) = self.waits.get(&role.priority()).copied().unwrap_or((0, 0));
        sum as f64 / 1_000.0 / count.max(1) as f64
    }
}
