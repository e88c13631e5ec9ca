//! Owns: the loop's side of the fleet: what goes out with a request, what comes in from other boxes.
//! May not: speak to the others (a worker and the thread that beats do).

use super::{State, Step};
use crate::daemon::event::Job;
use crate::daemon::fleet::{FleetEvent, FleetJob, shared_name};
use crate::engine::fleet::{Ask, News};
use crate::engine::keypool::{Changes, Lease, Pick};
use crate::types::{Now, Role};

impl State {
    /// What a worker has to ask of the fleet before it sends; `None` for a box of its own.
    pub(super) fn fleet_ask(
        &self,
        pick: &Pick,
        lease: &Lease,
        role: Role,
        tokens: u32,
        now: Now,
    ) -> Option<Ask> {
        if !self.config.shares_keys() {
            return None;
        }
        let shared = |at: usize| self.key_secrets.get(at).map(shared_name).unwrap_or_default();
        Some(self.pool.fleet_ask(pick, lease, role, tokens, &shared, now))
    }

    /// Something came from the fleet.
    pub(super) fn fleet(&mut self, event: &FleetEvent, step: &mut Step, now: Now) {
        let shared = |at: usize| self.key_secrets.get(at).map(shared_name).unwrap_or_default();
        match event {
            FleetEvent::Used { project, model, day, total } => {
                self.pool.fleet_used(project, model, *day, *total);
            }
            FleetEvent::News(all) => {
                for news in all {
                    if self.gossip.note(news, now.unix_ms) {
                        self.pool.fleet_heard(news, &shared, now);
                    }
                }
                // Whoever waited for a key may wait for less or for more now.
                if !all.is_empty() {
                    self.live.blocked_until_ms.clear();
                }
            }
            FleetEvent::Report => {
                let uses = self.pool.fleet_uses(&shared, now);
                if !uses.is_empty() {
                    step.jobs.push(Job::Fleet(FleetJob::Report(uses)));
                }
            }
        }
    }

    /// Tells the others what this turn taught.
    pub(super) fn fleet_news(&mut self, changes: &Changes, step: &mut Step, now: Now) {
        if !self.config.shares_keys() {
            return;
        }
        let shared = |at: usize| self.key_secrets.get(at).map(shared_name).unwrap_or_default();
        let all = self.pool.fleet_news(changes, &shared, now);
        let mut fresh: Vec<News> = Vec::new();
        for news in all {
            if self.gossip.note(&news, now.unix_ms) {
                fresh.push(news);
            }
        }
        if !fresh.is_empty() {
            step.jobs.push(Job::Fleet(FleetJob::Tell(fresh)));
        }
    }
}
