//! Owns: the requests of one pair that weigh on its limits of a minute.
//! May not: know limits or clocks, or let go of a request before its minute is over.
//! Invariant: what is said of many settled requests together is never less than what each would say.

use super::WINDOW_MS;
use crate::types::{SECOND_MS, UnixMs};
use std::collections::VecDeque;

/// Requests remembered per pair for the per-minute limits: the highest rate the bot goes to.
pub(super) const REQUESTS_MAX: usize = 2_048;
/// So many are remembered one by one. Beyond that the settled ones of a second weigh together, until the last of
/// them leaves: a pair then holds some hundred entries and not a minute's requests.
const APART_MAX: usize = 32;
const TOGETHER_MS: i64 = SECOND_MS;
/// Room is taken in steps, not doubled.
const ROOM_STEP: usize = 16;

/// A request, or settled ones of the same second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// When the last of them was counted.
    pub(super) at_ms: UnixMs,
    /// Of all of them.
    pub(super) tokens: u32,
    pub(super) count: u32,
    /// 0: settled.
    pub(super) id: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Window(VecDeque<Used>);

impl Window {
    pub(super) const EMPTY: Self = Self(VecDeque::new());

    /// All that was not yet forgotten, the oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Used> {
        self.0.iter()
    }

    /// What weighs now, the oldest first.
    pub(super) fn live(&self, now_ms: UnixMs) -> impl Iterator<Item = &Used> {
        self.0.iter().filter(move |used| used.at_ms > now_ms - WINDOW_MS)
    }

    /// Requests that weigh now.
    pub(super) fn count(&self, now_ms: UnixMs) -> usize {
        self.live(now_ms).map(|used| used.count as usize).sum()
    }

    /// When so many of the oldest have left.
    pub(super) fn leaves(&self, many: usize, now_ms: UnixMs) -> Option<UnixMs> {
        let mut left = 0;
        self.live(now_ms)
            .find(|used| {
                left += used.count as usize;
                left >= many
            })
            .map(|used| used.at_ms + WINDOW_MS)
    }

    /// Counts a request; 0 is the id of one that is settled.
    pub(super) fn enter(&mut self, at_ms: UnixMs, tokens: u32, id: i64) {
        self.trim(at_ms);
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(ROOM_STEP);
        }
        self.0.push_back(Used { at_ms, tokens, count: 1, id });
        if id == 0 {
            self.join(self.0.len() - 1);
        }
    }

    /// Forgets what no longer weighs, and the oldest beyond the bound.
    pub(super) fn trim(&mut self, now_ms: UnixMs) {
        while self.0.len() > REQUESTS_MAX
            || self.0.front().is_some_and(|used| used.at_ms <= now_ms - WINDOW_MS)
        {
            self.0.pop_front();
        }
    }

    /// The request is over and used so many tokens.
    pub(super) fn settle(&mut self, id: i64, tokens: u32) {
        if let Some(at) = self.0.iter().rposition(|used| used.id == id && id != 0)
            && let Some(used) = self.0.get_mut(at)
        {
            (used.tokens, used.id) = (tokens, 0);
            // What was settled before the one that it follows has no neighbour until now.
            self.join(at + 1);
            self.join(at);
        }
    }

    /// The request was never made.
    pub(super) fn leave(&mut self, id: i64) {
        if let Some(at) = self.0.iter().rposition(|used| used.id == id && id != 0) {
            self.0.remove(at);
            self.join(at);
        }
    }

    /// Takes over what another has.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        let mut all: Vec<Used> = self.0.drain(..).chain(other.0.drain(..)).collect();
        all.sort_by_key(|used| (used.at_ms, used.id));
        self.0 = all.into();
        for at in (1..self.0.len()).rev() {
            self.join(at);
        }
    }

    /// Puts an entry together with the one before it, where both are settled, of one second, and there are many.
    fn join(&mut self, at: usize) {
        if self.0.len() <= APART_MAX {
            return;
        }
        let Some(before) = at.checked_sub(1).and_then(|at| self.0.get(at)).copied() else { return };
        let Some(used) = self.0.get_mut(at) else { return };
        let is_settled = before.id == 0 && used.id == 0;
        if is_settled && before.at_ms.div_euclid(TOGETHER_MS) == used.at_ms.div_euclid(TOGETHER_MS)
        {
            used.at_ms = used.at_ms.max(before.at_ms);
            used.tokens = used.tokens.saturating_add(before.tokens);
            used.count = used.count.saturating_add(before.count);
            self.0.remove(at - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nanorand::{Rng, WyRand};

    /// Every request by itself: when, tokens, id while it is under way.
    type Plain = Vec<(UnixMs, u32, i64)>;

    #[test]
    fn a_window_never_says_less_than_its_requests_and_lets_go_within_a_second() {
        for (seed, pace_ms) in [(1, 3), (2, 40), (3, 700), (4, 2_500)] {
            let mut dice = WyRand::new_seed(seed);
            let (mut window, mut plain) = (Window::default(), Plain::new());
            let mut now_ms = 1_000_000;
            let mut most = 0;
            for id in 1..6_000 {
                now_ms += dice.generate_range(0..=pace_ms);
                plain.retain(|it| it.0 > now_ms - WINDOW_MS - TOGETHER_MS);
                // As the pool does: no more than the bound is ever counted.
                if window.count(now_ms) < REQUESTS_MAX {
                    window.enter(now_ms, 10, id);
                    plain.push((now_ms, 10, id));
                }
                let flying: Vec<i64> = plain.iter().map(|it| it.2).filter(|id| *id != 0).collect();
                if flying.len() > 5
                    && let Some(done) = flying.get(dice.generate_range(0..flying.len()))
                {
                    if dice.generate_range(0..10) == 0 {
                        window.leave(*done);
                        plain.retain(|it| it.2 != *done);
                    } else {
                        let tokens = dice.generate_range(0..500);
                        window.settle(*done, tokens);
                        let it = plain.iter_mut().find(|it| it.2 == *done).unwrap();
                        (it.1, it.2) = (tokens, 0);
                    }
                }
                let of = |since_ms| {
                    let live = plain.iter().filter(move |it| it.0 > since_ms);
                    live.fold((0, 0), |sum, it| (sum.0 + 1, sum.1 + u64::from(it.1)))
                };
                let exact = of(now_ms - WINDOW_MS);
                let late = of(now_ms - WINDOW_MS - TOGETHER_MS);
                let told = window.live(now_ms).fold((0, 0), |sum, used| {
                    (sum.0 + used.count as usize, sum.1 + u64::from(used.tokens))
                });
                assert_eq!(told.0, window.count(now_ms));
                assert!(exact.0 <= told.0 && told.0 <= late.0, "{exact:?} {told:?} {late:?}");
                assert!(exact.1 <= told.1 && told.1 <= late.1, "{exact:?} {told:?} {late:?}");
                most = most.max(window.0.len());
                if told.0 <= APART_MAX && window.0.iter().all(|used| used.count == 1) {
                    assert_eq!(told, exact, "a few are known one by one");
                }
            }
            assert!(most <= APART_MAX + 61 + 2 * 8, "{most} entries at one in {pace_ms} ms");
            assert!(window.0.capacity() <= 7 * ROOM_STEP, "{}", window.0.capacity());
        }
    }

    #[test]
    fn the_oldest_leave_first_however_they_are_put_together() {
        let mut window = Window::default();
        for id in 1..=40 {
            window.enter(1_000 + id, 1, id);
            window.settle(id, 2);
        }
        assert_eq!((window.count(2_000), window.all().count()), (40, APART_MAX));
        assert_eq!(window.leaves(1, 2_000), Some(1_001 + WINDOW_MS));
        assert_eq!(window.leaves(31, 2_000), Some(1_031 + WINDOW_MS));
        assert_eq!(window.leaves(32, 2_000), Some(1_040 + WINDOW_MS), "nine weigh together");
        assert_eq!(window.leaves(40, 2_000), Some(1_040 + WINDOW_MS));
        assert_eq!(window.leaves(41, 2_000), None);
        let mut other = Window::default();
        other.enter(1_020, 7, 99);
        window.absorb(&mut other);
        assert_eq!((window.count(2_000), other.count(2_000)), (41, 0));
        window.leave(99);
        assert_eq!(window.count(2_000), 40);
        window.trim(1_020 + WINDOW_MS);
        assert_eq!(window.count(1_020 + WINDOW_MS), 20);
    }
}
