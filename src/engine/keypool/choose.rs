//! Owns: the choice of key and model for one question, or the instant it is worth asking again.
//! May not: change anything.
//!
//! The order (contract §2): the models of the wanted tier, first over all groups of the role, then,
//! when those are spent, over the reserve; then the same for the tier below. Inside a group the key
//! with most left of today, ties by dice (with a handicap while it is being found out which keys
//! share a project: `projects.rs`). A pause of a second or two of the role's own keys is
//! waited for before the reserve or a weaker model is taken. Whoever is neither owner nor vip steps
//! down a tier before a model's day ends, not after: the last fifth (premium: tenth) of a pair is
//! used only when nothing below is left.

use super::pair::{Blocked, Moment, Pair, Reason};
use super::{Key, Pool};
use crate::types::{MINUTE_MS, Now, Role, SECOND_MS, Tier, UnixMs};

/// A wait for one's own key that is shorter than this is better than the reserve or a weaker model.
pub(super) const SHORT_WAIT_MS: i64 = 1_500;
/// The part of a pair's day, one in so many, that is saved for later while a weaker model is open.
const SAVED_ONE_IN: u32 = 5;
const SAVED_ONE_IN_PREMIUM: u32 = 10;
/// Rather than wait longer, a pair is tried that another project's refusal speaks against.
const GAMBLE_WAIT_MS: i64 = MINUTE_MS;
/// Waiting for less makes no sense to anybody.
const WAIT_MS_MIN: i64 = 50;

/// What a question needs.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Whose it is.
    pub role: Role,
    /// How strong a model it deserves.
    pub tier: Tier,
    /// Input tokens, roughly.
    pub tokens_guess: u32,
    /// Models that have already failed for this question.
    pub exclude: &'a [String],
}

/// A key and a model that may be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Position in the settings' keys, from 0.
    pub key: usize,
    /// To ask for.
    pub model: String,
    pub(super) pair: usize,
}

/// What can be done for a question now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Ask with this.
    Use(Pick),
    /// Nothing is free before then.
    Wait {
        /// The soonest instant worth another try.
        until_ms: UnixMs,
        /// For the log.
        why: &'static str,
    },
    /// Waiting will not help; the operator can.
    Never {
        /// For the log.
        why: &'static str,
    },
}

/// The best candidate so far, and why the others are none.
struct Search {
    /// Rank, dice, key, model, pair.
    best: Option<(i64, u32, usize, usize, usize)>,
    until_ms: UnixMs,
    why: &'static str,
    any_key: bool,
    any_open: bool,
    /// The soonest end of a key's pause between two uses, where nothing else was in the way.
    interval_until_ms: UnixMs,
    /// Something was left alone only to save it.
    saved: bool,
    /// Pairs that were never used are good enough, though another project has none of the model.
    gamble: bool,
    /// Such a pair was left alone.
    unproven: bool,
}

impl Search {
    fn wait(&mut self, until_ms: UnixMs, why: &'static str) {
        if until_ms < self.until_ms {
            self.until_ms = until_ms;
            self.why = why;
        }
    }
}

impl Pool {
    /// Chooses for a question; `dice` decides between equals. Costs microseconds, changes nothing.
    pub fn choose(&self, want: &Want<'_>, now: Now, dice: u32) -> Choice {
        if self.pause.until_ms > now.unix_ms {
            return Choice::Wait { until_ms: self.pause.until_ms, why: "the whole pool pauses" };
        }
        let moment = Moment::of(now);
        let mut search = Search {
            best: None,
            until_ms: UnixMs::MAX,
            why: "",
            any_key: false,
            any_open: false,
            interval_until_ms: UnixMs::MAX,
            saved: false,
            gamble: false,
            unproven: false,
        };
        for saving in [true, false] {
            if let Some(choice) = self.pass(want, moment, dice, saving, &mut search) {
                return choice;
            }
            if !search.saved {
                break;
            }
        }
        // A refusal costs less than a person sent away.
        let hopeless = !search.any_open || search.until_ms > now.unix_ms + GAMBLE_WAIT_MS;
        if search.unproven && hopeless {
            search.gamble = true;
            if let Some(choice) = self.pass(want, moment, dice, false, &mut search) {
                return choice;
            }
        }
        if search.until_ms != UnixMs::MAX && search.any_open {
            let until_ms = search.until_ms.max(now.unix_ms + WAIT_MS_MIN);
            return Choice::Wait { until_ms, why: search.why };
        }
        let why = match (search.any_key, want.exclude.is_empty()) {
            (false, _) => "no key of this role's groups is alive",
            (true, false) => "every model has failed for this question",
            (true, true) => "no model is open to this role's keys",
        };
        Choice::Never { why }
    }

    /// The soonest instant, `now` included, at which any question of this role, or of any, can be
    /// asked; `None` when waiting will not help.
    pub fn next_wake(&self, role: Option<Role>, now: Now) -> Option<UnixMs> {
        let roles = Role::ALL.into_iter().filter(|known| role.is_none_or(|role| role == *known));
        let wants = roles.flat_map(|role| {
            [Tier::Lite, Tier::Flash, Tier::Pro].map(|tier| Want {
                role,
                tier,
                tokens_guess: 1,
                exclude: &[],
            })
        });
        wants
            .filter_map(|want| match self.choose(&want, now, 0) {
                Choice::Use(_) => Some(now.unix_ms),
                Choice::Wait { until_ms, .. } => Some(until_ms),
                Choice::Never { .. } => None,
            })
            .min()
    }

    fn pass(
        &self,
        want: &Want<'_>,
        moment: Moment,
        dice: u32,
        saving: bool,
        search: &mut Search,
    ) -> Option<Choice> {
        let position = usize::try_from(want.role.priority()).unwrap_or(usize::MAX);
        let own = self.own.get(position)?;
        let reserve: &[usize] =
            if matches!(want.role, Role::Guest | Role::Blocked) { &[] } else { &self.reserve };
        let chain = self.chains.get(tier_position(want.tier))?;
        for (at, models) in chain.iter().enumerate() {
            let last_step = chain.iter().skip(at + 1).all(Vec::is_empty);
            let saving = saving && !last_step;
            for model in models {
                for group in own {
                    self.search(want, moment, dice, group, *model, saving, search);
                    if let Some(pick) = self.found(search) {
                        return Some(Choice::Use(pick));
                    }
                }
            }
            if search.interval_until_ms <= moment.now_ms + SHORT_WAIT_MS {
                let until_ms = search.interval_until_ms;
                return Some(Choice::Wait { until_ms, why: "the keys pause between two uses" });
            }
            for model in models {
                self.search(want, moment, dice, reserve, *model, saving, search);
                if let Some(pick) = self.found(search) {
                    return Some(Choice::Use(pick));
                }
            }
        }
        None
    }

    fn found(&self, search: &Search) -> Option<Pick> {
        let (_, _, key, model, pair) = search.best?;
        Some(Pick { key, model: self.models.get(model)?.name.clone(), pair })
    }

    #[expect(clippy::too_many_arguments, reason = "one inner loop, split off to be read")]
    fn search(
        &self,
        want: &Want<'_>,
        moment: Moment,
        dice: u32,
        keys: &[usize],
        model: usize,
        saving: bool,
        search: &mut Search,
    ) {
        let Some(known) = self.models.get(model) else { return };
        let excluded = want.exclude.contains(&known.name);
        for at in keys {
            let Some(key) = self.keys.get(*at).filter(|key| !key.is_out()) else { continue };
            search.any_key = true;
            if excluded {
                continue;
            }
            let pair_at = self.pair_at(key.project, model);
            let pair = self.pair_of(pair_at);
            if known.bench.until_ms > moment.now_ms {
                search.any_open |= known.bench.reason != "unknown";
                search.wait(known.bench.until_ms, "the model is overloaded");
                continue;
            }
            if known.held_until_ms > moment.now_ms && !key.declared {
                search.any_open = true;
                search
                    .wait(known.held_until_ms, "keys that seem to share it were used up for today");
                continue;
            }
            if known.unproven_until_ms > moment.now_ms && !pair.is_proven() && !search.gamble {
                search.unproven = true;
                continue;
            }
            match self.usable(key, pair, model, want, moment) {
                Ok(left) if saving && self.is_saved(pair, model, want.role, left) => {
                    search.saved = true
                }
                Ok(left) => {
                    search.any_open = true;
                    let ready_ms = self.ready_ms(key, moment.now_ms);
                    if ready_ms > moment.now_ms {
                        search.interval_until_ms = search.interval_until_ms.min(ready_ms);
                        search.wait(ready_ms, "the keys pause between two uses");
                        continue;
                    }
                    let rank = self.rank(key, model, pair, left, moment.day);
                    let order = (rank, scatter(dice, *at), *at, model, pair_at);
                    if search.best.is_none_or(|best| (best.0, best.1) < (order.0, order.1)) {
                        search.best = Some(order);
                    }
                }
                Err(blocked) => {
                    search.any_open |= !blocked.reason.is_state();
                    search.wait(blocked.until_ms, blocked.reason.hold().text());
                }
            }
        }
    }

    fn usable(
        &self,
        key: &Key,
        pair: &Pair,
        model: usize,
        want: &Want<'_>,
        moment: Moment,
    ) -> Result<u32, Blocked> {
        if key.row.resting_until_ms > moment.now_ms {
            return Err(Blocked { until_ms: key.row.resting_until_ms, reason: Reason::Guess });
        }
        // A state is tried again when its time is over, one request at a time.
        if pair.reason.is_state() && pair.in_flight > 0 {
            return Err(Blocked { until_ms: moment.now_ms + SECOND_MS, reason: pair.reason });
        }
        let limits = self.limits_of(pair, model);
        let cap = limits.rpd.map(|rpd| self.settings.share_of(rpd, want.role));
        pair.left(limits, cap, want.tokens_guess, moment)
    }

    /// The highest is used next: what is left today, less a handicap while it is not known which
    /// keys share a project.
    fn rank(&self, key: &Key, model: usize, pair: &Pair, left: u32, day: i64) -> i64 {
        let percent = self.handicap_percent(key, model, day);
        i64::from(left) - i64::from(pair.used_on(day)) * percent / 100
    }

    pub(super) fn ready_ms(&self, key: &Key, now_ms: UnixMs) -> UnixMs {
        // A clock that was ahead before the restart must not silence the key.
        if key.row.last_used_ms == 0 || key.row.last_used_ms > now_ms {
            return 0;
        }
        key.row.last_used_ms.saturating_add(self.settings.min_interval_ms)
    }

    pub(super) fn is_saved(&self, pair: &Pair, model: usize, role: Role, left: u32) -> bool {
        let one_in = match role {
            Role::Owner | Role::Vip => return false,
            Role::Premium => SAVED_ONE_IN_PREMIUM,
            _ => SAVED_ONE_IN,
        };
        let Some(rpd) = self.limits_of(pair, model).rpd else { return false };
        left <= self.settings.share_of(rpd, role) / one_in
    }

    pub(super) fn limits_of(&self, pair: &Pair, model: usize) -> super::settings::Limits {
        let Some(model) = self.models.get(model) else { return super::settings::Limits::default() };
        let table = model.table;
        let Some(class) = model.class else { return pair.learned };
        super::settings::Limits {
            rpm: self.settings.rpm_of(class).or_known(pair.learned.rpm, table.rpm),
            tpm: pair.learned.tpm.or(table.tpm),
            rpd: self.settings.rpd_of(class).or_known(pair.learned.rpd, table.rpd),
        }
    }
}

pub(super) fn tier_position(tier: Tier) -> usize {
    match tier {
        Tier::Lite => 0,
        Tier::Flash => 1,
        Tier::Pro => 2,
    }
}

/// A different order of the keys for every roll.
pub(super) fn scatter(dice: u32, at: usize) -> u32 {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let mut x = dice ^ at.wrapping_mul(0x9E37_79B9);
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}
