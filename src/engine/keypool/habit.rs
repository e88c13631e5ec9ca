//! Owns: joining keys that were used up together day after day, where counts explain nothing.
//! May not: touch keys whose project is declared, or believe it longer than `projects.rs` says.

use super::Pool;
use super::bench::Refusal;
use super::notice::Notice;
use super::pair::Moment;
use super::projects::{APART_MAX, Apart, SLACK, SLACK_ONE_IN};

/// On so many days two keys were used up together before that alone joins them.
const TOGETHER_DAYS: u32 = 3;

impl Pool {
    /// Where somebody else uses the quotas too, counts explain nothing. But of two projects that end
    /// apart one is answered after the other's end: two keys that were used up together on several
    /// days, and never so, are one project.
    pub(super) fn join_by_habit(
        &mut self,
        key: usize,
        refusal: &Refusal,
        moment: Moment,
    ) -> Vec<Notice> {
        let project = self.project_of_pair(refusal.pair);
        let model = self.model_of_pair(refusal.pair);
        let count_of = |pool: &Self, project| {
            u64::from(pool.pair_of(pool.pair_at(project, model)).used_on(moment.day))
        };
        let limit = refusal.limit.filter(|_| refusal.day).map(u64::from);
        let Some(limit) = limit.filter(|_| self.is_inferable(project)) else { return Vec::new() };
        let own = count_of(self, project);
        if own >= limit - limit / SLACK_ONE_IN {
            return Vec::new();
        }
        let spent =
            self.spent.range((model, 0)..=(model, usize::MAX)).map(|((_, other), _)| *other);
        let others: Vec<usize> = spent.filter(|other| *other != key).collect();
        let mut best: Option<(u32, usize)> = None;
        for other in others {
            let Some(theirs) = self.keys.get(other).map(|key| key.project) else { continue };
            if theirs == project || !self.may_share(project, theirs) {
                continue;
            }
            let pair = (key.min(other), key.max(other));
            if !self.apart.contains_key(&pair) && self.apart.len() >= APART_MAX {
                continue;
            }
            let seen = self.apart.entry(pair).or_insert(Apart { day: 0, together: 0 });
            if seen.day < moment.day {
                *seen = Apart { day: moment.day, together: seen.together.saturating_add(1) };
                self.dirty.aparts.insert(pair);
            }
            let together = seen.together;
            let fits = own + count_of(self, theirs) <= limit + SLACK + limit / SLACK_ONE_IN;
            if together >= TOGETHER_DAYS && fits && best.is_none_or(|best| best.0 < together) {
                best = Some((together, theirs));
            }
        }
        best.map(|(_, into)| self.join(project, into, moment.day)).unwrap_or_default()
    }
}
