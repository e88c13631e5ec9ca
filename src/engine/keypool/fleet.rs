//! Owns: the pool as one of several: what it asks of all boxes, tells them, and takes from them.
//! May not: know how they are asked; take another's word for more than rests, dead keys and counts.

use super::pair::{Moment, Reason};
use super::{Changes, Lease, Pick, Pool, WHOLE_POOL};
use crate::engine::fleet::{Ask, News, Use};
use crate::types::model::FleetHeld as Held;
use crate::types::{Now, Role, SECOND_MS};

/// A day that is over by the others' clock and not by ours, or the other way round, is asked about again after this.
const OTHER_DAY_MS: i64 = 30 * SECOND_MS;

impl Pool {
    /// The quota of a request just reserved. `shared` names a key the same way on every box.
    pub fn fleet_ask(
        &self,
        pick: &Pick,
        lease: &Lease,
        role: Role,
        tokens: u32,
        shared: &dyn Fn(usize) -> String,
        now: Now,
    ) -> Ask {
        let moment = Moment::of(now);
        let model = self.model_of_pair(pick.pair);
        let project = self.keys.get(lease.key).map_or(0, |key| key.project);
        let pair = self.pair_of(self.pair_at(project, model));
        let limits = self.limits_of(pair, model);
        Ask {
            project: self.shared_name(project, shared),
            own_project: self.projects.get(project).cloned().unwrap_or_default(),
            model: lease.model.clone(),
            rpm: limits.rpm,
            tpm: limits.tpm,
            cap: limits.rpd.map(|rpd| self.settings.share_of(rpd, role)),
            tokens,
            own_minute: pair.count(false, moment),
            day: moment.day,
            own_today: pair.used,
            own_settled: pair.used.saturating_sub(pair.in_flight),
        }
    }

    /// Requests of all boxes on a pair today.
    pub fn fleet_used(&mut self, own_project: &str, model: &str, day: i64, total: u32) {
        if let Some(pair) = self.pair_named(own_project, model) {
            pair.fleet = (day, total);
        }
    }

    /// What changed that others should know.
    pub fn fleet_news(
        &self,
        changes: &Changes,
        shared: &dyn Fn(usize) -> String,
        now: Now,
    ) -> Vec<News> {
        let mut news = Vec::new();
        for row in &changes.keys {
            let at = self.keys.iter().position(|key| key.row.fingerprint == row.fingerprint);
            news.extend(at.map(|at| News::Key { hash: shared(at), why: row.dead.clone() }));
        }
        // The minute and the day are counted by all; what else a refusal taught is news.
        for row in changes.quotas.iter().filter(|row| row.until_ms > now.unix_ms) {
            let project = self.projects.iter().position(|name| *name == row.project);
            news.extend(project.map(|project| News::Pair {
                project: self.shared_name(project, shared),
                model: row.model.clone(),
                rest_ms: row.until_ms - now.unix_ms,
                why: row.reason.clone(),
            }));
        }
        for row in changes.benches.iter().filter(|row| row.until_ms > now.unix_ms) {
            news.push(News::Bench {
                model: row.model.clone(),
                rest_ms: row.until_ms - now.unix_ms,
                why: row.reason.clone(),
            });
        }
        news
    }

    /// Takes over what another box learned.
    pub fn fleet_heard(&mut self, news: &News, shared: &dyn Fn(usize) -> String, now: Now) {
        match news {
            News::Key { hash, why } => {
                for at in 0..self.keys.len() {
                    if shared(at) != *hash {
                        continue;
                    }
                    let Some(key) = self.keys.get_mut(at) else { continue };
                    if key.row.dead.is_empty() != why.is_empty() {
                        key.row.dead =
                            why.chars().filter(char::is_ascii_lowercase).take(16).collect();
                        key.row.dead_ms = now.unix_ms;
                        self.dirty.keys.insert(at);
                    }
                }
            }
            News::Pair { project, model, rest_ms, why } => {
                let until_ms = now.unix_ms.saturating_add(*rest_ms);
                for known in 0..self.projects.len() {
                    if self.shared_name(known, shared) != *project {
                        continue;
                    }
                    let Some(model) = self.models.iter().position(|it| it.name == *model) else {
                        continue;
                    };
                    self.fleet_rest(self.pair_at(known, model), until_ms, Reason::from_name(why));
                }
            }
            News::Bench { model, rest_ms, why } => {
                let until_ms = now.unix_ms.saturating_add(*rest_ms);
                if model == WHOLE_POOL {
                    self.dirty.pause |= self.pause.sit_until(until_ms, why);
                } else if let Some(at) = self.models.iter().position(|it| it.name == *model)
                    && let Some(known) = self.models.get_mut(at)
                    && known.bench.sit_until(until_ms, why)
                {
                    self.dirty.benches.insert(at);
                }
            }
        }
    }

    /// The settled use of every pair today and in the last minute, by the names that all boxes share.
    pub fn fleet_uses(&self, shared: &dyn Fn(usize) -> String, now: Now) -> Vec<Use> {
        let moment = Moment::of(now);
        let mut uses = Vec::new();
        for (at, pair) in self.pairs.iter().enumerate() {
            let settled = pair.used.saturating_sub(pair.in_flight);
            if pair.day == moment.day
                && settled > 0
                && let Some((_, model)) = self.names_of(at)
            {
                let over = || pair.window.live(now.unix_ms).filter(|used| used.id == 0);
                uses.push(Use {
                    project: self.shared_name(self.project_of_pair(at), shared),
                    model: model.to_owned(),
                    day: moment.day,
                    today: settled,
                    minute: over().map(|used| used.count).fold(0, u32::saturating_add),
                    minute_tokens: over().map(|used| used.tokens).fold(0, u32::saturating_add),
                });
            }
        }
        uses
    }

    /// What all boxes used is in no row.
    pub(super) fn keep_fleet_of(&mut self, old: &Self) {
        for at in 0..old.pairs.len() {
            let fleet = old.pair_of(at).fleet;
            if let Some((project, model)) = old.names_of(at)
                && let Some(pair) = self.pair_named(project, model)
            {
                pair.fleet = fleet;
            }
        }
    }

    /// The fleet has no room for a request: its pair rests until there is some.
    pub(super) fn fleet_held(&mut self, at: usize, held: Held, moment: Moment) {
        let until_ms = match held {
            Held::Minute { wait_ms } => moment.now_ms.saturating_add(wait_ms),
            // The count of all boxes says so already, for whoever it is true.
            Held::Day if self.pair_of(at).fleet.0 == moment.day => return,
            Held::Day => moment.now_ms + OTHER_DAY_MS,
        };
        self.fleet_rest(at, until_ms, Reason::Minute);
    }

    fn fleet_rest(&mut self, at: usize, until_ms: i64, reason: Reason) {
        if let Some(pair) = self.pairs.get_mut(at)
            && until_ms > pair.until_ms
        {
            // No refusal of our own: the next one begins its back-off at the beginning.
            pair.until_ms = until_ms;
            pair.reason = reason;
            pair.guessed = false;
            self.dirty.quotas.insert(at);
        }
    }

    /// A declared project by its name, any other by the key it is named after.
    fn shared_name(&self, project: usize, shared: &dyn Fn(usize) -> String) -> String {
        let name = self.projects.get(project).map_or("", String::as_str);
        let named_after = name.strip_prefix('~').and_then(|fingerprint| {
            self.keys.iter().position(|key| key.row.fingerprint == fingerprint)
        });
        match named_after {
            Some(key) => format!("k.{}", shared(key)),
            None => format!("p.{name}"),
        }
    }
}
