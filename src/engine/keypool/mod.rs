//! Owns: which key and model a question is asked with, until when what rests, and what of every
//! quota is used: the picture in memory and the rows that changed in it.
//! May not: see a key's text, know a clock, the database, the network or Gemini's JSON.
//! Invariant: a use is counted before it can happen and uncounted only when it cannot have happened,
//! so a counter is never below the truth.
//!
//! Blame goes to the scope that earned it (contract §5.4): validity is the key's, quota that of the
//! pair (project, model), overload the model's, and the network is nobody's.

mod bench;
mod choose;
mod fleet;
mod habit;
mod keys;
mod notice;
mod pair;
mod projects;
mod rows;
mod settings;
mod settle;
mod view;
mod window;

#[cfg(test)]
mod tests;

pub use choose::{Choice, Pick, Want};
pub use notice::Notice;
pub use rows::{ApartRow, BenchRow, Changes, DayRow, KeyRow, LedgerRows, QuotaRow, ReservationRow};
pub use settings::{KeySpec, Limit, PoolSettings};
pub use settle::{Effects, Lease, Step};

use crate::calendar::pacific_day;
use crate::types::{Group, MINUTE_MS, Now, Role, SECOND_MS, Tier, UnixMs};
use bench::{Bench, Refusal};
use keys::keys_in;
use pair::Pair;
use projects::{Apart, Spent};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long a request weighs on a per-minute limit: a minute, and what it may have been on its way.
pub const WINDOW_MS: i64 = MINUTE_MS + 2 * SECOND_MS;
/// A request whose end nobody reported counts as in flight for so long; calls end far sooner.
pub const LEASE_MS_MAX: i64 = 15 * MINUTE_MS;
/// The name under which the pause of the whole pool is stored.
pub(crate) const WHOLE_POOL: &str = "*";

/// A key with what became of it.
#[derive(Clone, Debug)]
struct Key {
    row: KeyRow,
    group: Group,
    /// The project of the settings, or `~fingerprint`.
    own_project: usize,
    /// Whether the settings name the project: then nothing is inferred.
    declared: bool,
    /// The project its use is counted on.
    project: usize,
    /// It has answered since the program started: one refusal is then worth a second look.
    worked: bool,
    /// Not looked at with a model-list call since the start or the change of settings.
    unchecked: bool,
    /// A look at it is on its way, unless `look_after_ms` has passed.
    looking: bool,
    /// No look before then.
    look_after_ms: UnixMs,
}

impl Key {
    fn is_out(&self) -> bool {
        self.row.parked || !self.row.dead.is_empty()
    }
}

/// A model in use, or one that only old rows know.
#[derive(Clone, Debug)]
struct Model {
    name: String,
    /// The weakest tier that lists it; `None` when no chain does.
    class: Option<Tier>,
    /// The built-in limits of its name.
    table: settings::Limits,
    bench: Bench,
    /// Until when projects that never used it are left alone, because others have just been told
    /// that they have none of it.
    unproven_until_ms: UnixMs,
    /// Keys without a declared project whose day it refused in a row though they had hardly used it,
    /// and until when no further one is tried: they seem to share what is used up.
    spent_in_a_row: u32,
    held_until_ms: UnixMs,
}

/// A request in flight.
#[derive(Clone, Debug)]
struct Open {
    key: usize,
    pair: usize,
    at_ms: UnixMs,
    tokens: u32,
}

/// What has to be written.
#[derive(Clone, Debug, Default)]
struct Dirty {
    keys: BTreeSet<usize>,
    aparts: BTreeSet<(usize, usize)>,
    quotas: BTreeSet<usize>,
    days: BTreeSet<usize>,
    benches: BTreeSet<usize>,
    pause: bool,
    /// Days that ended with a count not yet written.
    ended_days: Vec<DayRow>,
    reservations: BTreeMap<i64, ReservationRow>,
}

/// The pool of keys with its ledger.
#[derive(Clone, Debug)]
pub struct Pool {
    settings: PoolSettings,
    keys: Vec<Key>,
    models: Vec<Model>,
    projects: Vec<String>,
    /// By project × number of models + model.
    pairs: Vec<Pair>,
    /// Keys per group in the order a role tries them, by [`Role::priority`].
    own: Vec<Vec<Vec<usize>>>,
    reserve: Vec<usize>,
    /// Models per step of the chain, by tier, as positions in `models`.
    chains: Vec<Vec<Vec<usize>>>,
    open: BTreeMap<i64, Open>,
    last_reservation: i64,
    /// The pause of the whole pool.
    pause: Bench,
    refusals: VecDeque<Refusal>,
    /// What was seen of two keys, smaller position first: that they share no project, or may.
    apart: BTreeMap<(usize, usize), Apart>,
    /// Until that day the keys without a declared project are used unevenly.
    uneven_until_day: i64,
    /// When today's quota of a model refused a key first, by model and key.
    spent: BTreeMap<(usize, usize), Spent>,
    region_told: bool,
    dirty: Dirty,
    /// Keys that the settings do not name any more; kept so that they may come back.
    strangers: Vec<KeyRow>,
}

impl Pool {
    /// The pool of these settings over what the ledger remembers.
    pub fn new(settings: PoolSettings, rows: LedgerRows, now: Now) -> Self {
        let mut models: Vec<String> = settings.models();
        let in_use = models.len();
        let mut projects: Vec<String> = Vec::new();
        let intern = |names: &mut Vec<String>, name: &str| -> usize {
            names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            })
        };
        let mut known: BTreeMap<String, KeyRow> =
            rows.keys.into_iter().map(|row| (row.fingerprint.clone(), row)).collect();
        let mut keys = Vec::with_capacity(settings.keys.len());
        for spec in &settings.keys {
            let own_name = spec.project.clone().unwrap_or_else(|| format!("~{}", spec.fingerprint));
            let own_project = intern(&mut projects, &own_name);
            let mut row = known.remove(&spec.fingerprint).unwrap_or_else(|| KeyRow {
                fingerprint: spec.fingerprint.clone(),
                ..KeyRow::default()
            });
            row.last4.clone_from(&spec.last4);
            row.resting_until_ms = row.resting_until_ms.min(now.unix_ms + keys::DOUBT_MS);
            let inferred = row.inferred && spec.project.is_none() && !row.project.is_empty();
            let project = if inferred { intern(&mut projects, &row.project) } else { own_project };
            if !inferred {
                row.inferred = false;
            }
            if spec.project.is_some() {
                row.project.clear();
                row.joins = 0;
            }
            keys.push(Key {
                row,
                group: spec.group,
                own_project,
                declared: spec.project.is_some(),
                project,
                worked: false,
                unchecked: true,
                looking: false,
                look_after_ms: 0,
            });
        }
        for (project, model) in rows
            .quotas
            .iter()
            .map(|row| (&row.project, &row.model))
            .chain(rows.days.iter().map(|row| (&row.project, &row.model)))
            .chain(rows.reservations.iter().map(|row| (&row.project, &row.model)))
        {
            intern(&mut projects, project);
            intern(&mut models, model);
        }
        let own = Role::ALL
            .iter()
            .map(|role| {
                settings.groups_of(*role).iter().map(|group| keys_in(&keys, *group)).collect()
            })
            .collect();
        let chains = [Tier::Lite, Tier::Flash, Tier::Pro]
            .iter()
            .map(|tier| settings::positions(&settings.chain(*tier), &models))
            .collect();
        let models: Vec<Model> = models
            .into_iter()
            .enumerate()
            .map(|(at, name)| Model {
                class: if at < in_use { settings.class_of(&name) } else { None },
                table: settings::built_in(&name),
                bench: Bench::default(),
                unproven_until_ms: 0,
                spent_in_a_row: 0,
                held_until_ms: 0,
                name,
            })
            .collect();
        let pairs = vec![Pair::default(); projects.len() * models.len()];
        let mut pool = Self {
            reserve: keys_in(&keys, Group::Router),
            own,
            chains,
            keys,
            models,
            projects,
            pairs,
            open: BTreeMap::new(),
            last_reservation: rows.last_reservation,
            pause: Bench::default(),
            refusals: VecDeque::new(),
            apart: BTreeMap::new(),
            uneven_until_day: 0,
            spent: BTreeMap::new(),
            region_told: false,
            dirty: Dirty::default(),
            strangers: known.into_values().collect(),
            settings,
        };
        pool.remember_apart(&rows.aparts);
        pool.remember_puzzles();
        pool.remember(&rows.quotas, &rows.days, &rows.reservations, &rows.benches, now);
        pool.remember_spent(now);
        pool
    }

    /// The same pool under new settings: every counter, rest and request in flight is kept.
    #[must_use]
    pub fn with_settings(self, settings: PoolSettings, now: Now) -> Self {
        let rows = self.to_rows();
        let mut pool = Self::new(settings, rows, now);
        // What is unwritten is named by position, and positions have moved: all of it is written.
        pool.dirty.reservations.clone_from(&self.dirty.reservations);
        pool.dirty.ended_days.clone_from(&self.dirty.ended_days);
        pool.dirty.keys = (0..pool.keys.len()).collect();
        pool.dirty.aparts = pool.apart.keys().copied().collect();
        pool.dirty.quotas =
            (0..pool.pairs.len()).filter(|at| pool.pair_of(*at).is_known()).collect();
        pool.dirty.days = (0..pool.pairs.len()).filter(|at| pool.pair_of(*at).day != 0).collect();
        pool.keep_memory_of(&self);
        for key in &mut pool.keys {
            let before = self.keys.iter().find(|old| old.row.fingerprint == key.row.fingerprint);
            key.unchecked = before.is_none_or(|old| old.unchecked);
        }
        pool
    }

    /// The same pool over rows read again, after a failed transaction or a command's commit.
    pub fn replace_rows(&mut self, rows: LedgerRows, now: Now) {
        let mut pool = Self::new(self.settings.clone(), rows, now);
        pool.keep_memory_of(self);
        // Numbers already handed out in a turn that failed are not handed out again.
        pool.last_reservation = pool.last_reservation.max(self.last_reservation);
        *self = pool;
    }

    /// What has changed since the last call; the caller writes it in the transaction at hand.
    pub fn take_changes(&mut self) -> Changes {
        let dirty = std::mem::take(&mut self.dirty);
        let mut changes = Changes {
            keys: dirty
                .keys
                .iter()
                .filter_map(|at| self.keys.get(*at))
                .map(|key| key.row.clone())
                .collect(),
            aparts: dirty.aparts.iter().filter_map(|pair| self.apart_row(*pair)).collect(),
            quotas: dirty.quotas.iter().filter_map(|at| self.quota_row(*at)).collect(),
            days: dirty.ended_days,
            reservations: dirty.reservations.into_values().collect(),
            benches: dirty
                .benches
                .iter()
                .filter_map(|at| self.models.get(*at))
                .map(|model| model.bench.row(&model.name))
                .collect(),
        };
        changes.days.extend(dirty.days.iter().filter_map(|at| self.day_row(*at)));
        if dirty.pause {
            changes.benches.push(self.pause.row(WHOLE_POOL));
        }
        changes
    }

    /// What is not in any row: only the process knows it.
    fn keep_memory_of(&mut self, old: &Self) {
        for key in &mut self.keys {
            if let Some(before) =
                old.keys.iter().find(|old| old.row.fingerprint == key.row.fingerprint)
            {
                key.worked = before.worked;
                key.unchecked = before.unchecked;
                key.looking = before.looking;
                key.look_after_ms = before.look_after_ms;
            }
        }
        for model in &mut self.models {
            if let Some(before) = old.models.iter().find(|old| old.name == model.name) {
                model.unproven_until_ms = before.unproven_until_ms;
                model.spent_in_a_row = before.spent_in_a_row;
                model.held_until_ms = before.held_until_ms;
                model.bench.keep_memory_of(&before.bench);
            }
        }
        self.keep_fleet_of(old);
        self.keep_spent_of(old);
        self.pause.keep_memory_of(&old.pause);
        self.region_told = old.region_told;
    }

    fn remember(
        &mut self,
        quotas: &[QuotaRow],
        days: &[DayRow],
        reservations: &[ReservationRow],
        benches: &[BenchRow],
        now: Now,
    ) {
        for row in quotas {
            if let Some(pair) = self.pair_named(&row.project, &row.model) {
                pair.load_quota(row, now.unix_ms);
            }
        }
        let today = pacific_day(now.unix_ms);
        for row in days {
            if let Some(pair) = self.pair_named(&row.project, &row.model) {
                pair.load_day(row, today);
            }
        }
        for row in reservations {
            self.last_reservation = self.last_reservation.max(row.id);
            // Where the key counts now: it may have been joined since.
            let key = self.keys.iter().position(|key| key.row.fingerprint == row.fingerprint);
            let model = self.models.iter().position(|model| model.name == row.model);
            let at = match (key.and_then(|key| self.keys.get(key)), model) {
                (Some(key), Some(model)) => Some(self.pair_at(key.project, model)),
                _ => self.pair_position(&row.project, &row.model),
            };
            let Some(at) = at else { continue };
            let Some(pair) = self.pairs.get_mut(at) else { continue };
            // One of a clock that was ahead weighs as if it were made now.
            let row = &ReservationRow { at_ms: row.at_ms.min(now.unix_ms), ..row.clone() };
            if row.at_ms > now.unix_ms - WINDOW_MS {
                pair.window.enter(row.at_ms, row.tokens, if row.settled { 0 } else { row.id });
            }
            if !row.settled && row.at_ms > now.unix_ms - LEASE_MS_MAX {
                pair.in_flight += 1;
                let open = Open {
                    key: key.unwrap_or(usize::MAX),
                    pair: at,
                    at_ms: row.at_ms,
                    tokens: row.tokens,
                };
                self.open.insert(row.id, open);
            }
        }
        for row in benches {
            if row.model == WHOLE_POOL {
                self.pause.load(row, now.unix_ms);
            } else if let Some(model) = self.models.iter_mut().find(|model| model.name == row.model)
            {
                model.bench.load(row, now.unix_ms);
            }
        }
    }

    fn to_rows(&self) -> LedgerRows {
        let mut reservations: Vec<ReservationRow> = Vec::new();
        for (at, pair) in self.pairs.iter().enumerate() {
            let Some((project, model)) = self.names_of(at) else { continue };
            for used in pair.window.all() {
                let open = self.open.get(&used.id);
                let fingerprint = open.and_then(|open| self.fingerprint(open.key));
                let row = ReservationRow {
                    id: used.id,
                    project: project.to_owned(),
                    model: model.to_owned(),
                    fingerprint: fingerprint.unwrap_or_default(),
                    at_ms: used.at_ms,
                    day: pacific_day(used.at_ms),
                    tokens: used.tokens,
                    settled: open.is_none(),
                };
                // Of several that are known together, the last row bears what all of them used.
                let other = ReservationRow { tokens: 0, ..row.clone() };
                reservations.extend(std::iter::repeat_n(other, used.count.max(1) as usize - 1));
                reservations.push(row);
            }
        }
        for (id, open) in &self.open {
            let (Some((project, model)), false) =
                (self.names_of(open.pair), reservations.iter().any(|row| row.id == *id))
            else {
                continue;
            };
            reservations.push(ReservationRow {
                id: *id,
                project: project.to_owned(),
                model: model.to_owned(),
                fingerprint: self.fingerprint(open.key).unwrap_or_default(),
                at_ms: open.at_ms,
                day: pacific_day(open.at_ms),
                tokens: open.tokens,
                settled: false,
            });
        }
        reservations.sort_by_key(|row| (row.at_ms, row.id));
        let mut benches: Vec<BenchRow> =
            self.models.iter().map(|model| model.bench.row(&model.name)).collect();
        benches.push(self.pause.row(WHOLE_POOL));
        let keys = self.keys.iter().map(|key| &key.row).chain(&self.strangers).cloned().collect();
        LedgerRows {
            keys,
            aparts: self.apart.keys().filter_map(|pair| self.apart_row(*pair)).collect(),
            quotas: (0..self.pairs.len()).filter_map(|at| self.quota_row(at)).collect(),
            days: (0..self.pairs.len())
                .filter_map(|at| self.day_row(at))
                .chain(self.pairs.iter().flat_map(Pair::ahead).cloned())
                .collect(),
            reservations,
            last_reservation: self.last_reservation,
            benches: benches.into_iter().filter(|row| row.until_ms != 0).collect(),
        }
    }

    fn fingerprint(&self, key: usize) -> Option<String> {
        self.keys.get(key).map(|key| key.row.fingerprint.clone())
    }

    /// Project and model of a pair, by their names.
    fn names_of(&self, pair: usize) -> Option<(&str, &str)> {
        let project = self.projects.get(pair.checked_div(self.models.len())?)?;
        let model = self.models.get(pair.checked_rem(self.models.len())?)?;
        Some((project, &model.name))
    }

    fn quota_row(&self, at: usize) -> Option<QuotaRow> {
        let (project, model) = self.names_of(at)?;
        Some(self.pairs.get(at)?.quota_row(project, model))
    }

    fn day_row(&self, at: usize) -> Option<DayRow> {
        let (project, model) = self.names_of(at)?;
        self.pairs.get(at)?.day_row(project, model)
    }

    fn pair_position(&self, project: &str, model: &str) -> Option<usize> {
        let project = self.projects.iter().position(|known| known == project)?;
        let model = self.models.iter().position(|known| known.name == model)?;
        Some(self.pair_at(project, model))
    }

    fn pair_named(&mut self, project: &str, model: &str) -> Option<&mut Pair> {
        let at = self.pair_position(project, model)?;
        self.pairs.get_mut(at)
    }

    fn pair_at(&self, project: usize, model: usize) -> usize {
        project * self.models.len() + model
    }

    fn pair_of(&self, at: usize) -> &Pair {
        // Every position was made by `pair_at` over the same lists.
        self.pairs.get(at).unwrap_or(&pair::NONE)
    }

    fn model_of_pair(&self, at: usize) -> usize {
        at.checked_rem(self.models.len()).unwrap_or(0)
    }

    fn project_of_pair(&self, at: usize) -> usize {
        at.checked_div(self.models.len()).unwrap_or(0)
    }
}
