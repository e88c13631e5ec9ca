//! The real pool over the real ledger in memory, as the daemon drives it.

use super::world::{LIMITS, Plan, Said, Strategy};
use std::collections::BTreeMap;
use svs_bot::engine::keypool::{Choice, KeySpec, Lease, Limit, Pool, PoolSettings, Want};
use svs_bot::store::{Durability, Store, ledger};
use svs_bot::types::model::{ModelFailure, Usage};
use svs_bot::types::status::KeyState;
use svs_bot::types::{Now, Role, Tier, UnixMs};

pub struct Ours {
    settings: PoolSettings,
    pool: Pool,
    store: Store,
    leases: BTreeMap<i64, Lease>,
    declared: bool,
}

impl Ours {
    pub fn new(plan: &Plan, declared: bool, now: Now) -> Self {
        let keys = (0..plan.keys)
            .map(|key| KeySpec {
                fingerprint: format!("key{key}"),
                last4: format!("{key:04}"),
                group: plan.group_of(key),
                project: declared.then(|| plan.project_of(key).to_string()),
            })
            .collect();
        let names = |range: &[usize]| range.iter().map(|at| LIMITS[*at].0.to_owned()).collect();
        let settings = PoolSettings {
            keys,
            lite: names(&[0, 1]),
            flash: names(&[2, 3]),
            pro: names(&[4, 2]),
            rpm: Limit::Auto,
            pro_rpm: Limit::Auto,
            lite_rpd: Limit::Auto,
            flash_rpd: Limit::Auto,
            pro_rpd: Limit::Auto,
            min_interval_ms: 1_000,
            daily_share: 0.9,
        };
        let mut store = Store::in_memory().unwrap();
        let rows = store.write(Durability::Process, |tx| ledger::load(tx, now)).unwrap();
        Self {
            pool: Pool::new(settings.clone(), rows, now),
            settings,
            store,
            leases: BTreeMap::new(),
            declared,
        }
    }
}

impl Strategy for Ours {
    fn pick(&mut self, role: Role, tier: Tier, exclude: &[String], now: Now, dice: u32) -> Said {
        let want = Want { role, tier, tokens_guess: 1_000, exclude };
        match self.pool.choose(&want, now, dice) {
            Choice::Use(pick) => {
                let lease = self.pool.reserve(&pick, want.tokens_guess, now);
                let said = Said::Use { key: pick.key, model: pick.model, ticket: lease.id };
                self.leases.insert(lease.id, lease);
                said
            }
            Choice::Wait { until_ms, .. } => Said::Wait(until_ms),
            Choice::Never { .. } => Said::Never,
        }
    }

    fn done(&mut self, ticket: i64, result: Result<&Usage, &ModelFailure>, now: Now) {
        let lease = self.leases.remove(&ticket).unwrap();
        let _ = self.pool.settle(lease, result, now);
    }

    fn commit(&mut self) {
        let changes = self.pool.take_changes();
        if !changes.is_empty() {
            self.store.write(Durability::Process, |tx| ledger::save(tx, &changes)).unwrap();
        }
    }

    fn restart(&mut self, now: Now) {
        self.leases.clear();
        let rows = self
            .store
            .write(Durability::Process, |tx| {
                ledger::prune(tx, now)?;
                ledger::load(tx, now)
            })
            .unwrap();
        self.pool = Pool::new(self.settings.clone(), rows, now);
    }

    fn out_until(&self, key: usize, now: Now) -> Option<UnixMs> {
        let line = self.pool.list(now).swap_remove(key);
        match line.state {
            KeyState::Ready => None,
            KeyState::Dead | KeyState::Parked => Some(UnixMs::MAX),
            KeyState::Resting | KeyState::Spent => line.until_ms,
        }
    }

    fn may_use(&self, role: Role, key: usize) -> bool {
        let group = self.settings.keys[key].group;
        self.settings.groups_of(role).contains(&group)
    }

    fn believed(&self, now: Now) -> Vec<String> {
        self.pool.list(now).into_iter().map(|view| view.project).collect()
    }

    fn counts(&self, now: Now) -> Vec<(usize, String, u64)> {
        if !self.declared {
            return Vec::new();
        }
        let lines = self.pool.quota_view(now).into_iter();
        lines.map(|line| (line.project.parse().unwrap(), line.model, line.used_today)).collect()
    }
}
