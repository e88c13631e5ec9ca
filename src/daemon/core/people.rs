//! Owns: the loop's side of people that several boxes share: sessions that come from and go to other boxes.
//! May not: speak to Redis (a thread of its own does), decide which session counts (the engine).

use super::{State, Step};
use crate::daemon::event::Job;
use crate::daemon::fleet::FleetJob;
use crate::daemon::relay::Settled;
use crate::engine::fleet::people::{About, Fact, Word};
use crate::fleet::relay::{Tick, partition_of};
use crate::store::carried::{self, Times};
use crate::store::{Db, Result, facts};
use crate::types::{ChatId, Now, UnixMs};

/// What was learned of people is looked for this often: a role holds on all boxes within a second.
const LEARN_EVERY_MS: i64 = 400;

impl State {
    /// What the other boxes have not been told of the sessions of a chat, or of all; and whether that is all.
    pub(super) fn session_news(
        &self,
        db: &Db,
        chat: Option<ChatId>,
        now: Now,
    ) -> Result<(Vec<Word>, bool)> {
        let held = &self.live.sharing.held;
        let holds = |chat: ChatId| held.contains(&partition_of(chat));
        let times = Times {
            idle_ms: self.policy.session_idle_ms,
            places: u32::try_from(self.policy.vip_slots).unwrap_or(u32::MAX),
        };
        carried::news(db, chat, times, now.unix_ms, &holds)
    }

    /// What was learned here of people since the last look; all that is known when Redis knows nothing.
    pub(super) fn learned(&mut self, db: &Db, now: Now) -> Result<Vec<Fact>> {
        let sharing = &mut self.live.sharing;
        if now.unix_ms - sharing.learned_ms < LEARN_EVERY_MS {
            return Ok(Vec::new());
        }
        let new = facts::news(db, sharing.learned_ms)?;
        sharing.learned_ms = now.unix_ms;
        if std::mem::take(&mut sharing.tells_all) { facts::all(db) } else { Ok(new) }
    }

    /// When to look again at what commands beside the daemon have changed.
    pub(super) fn learn_wake_ms(&self, wake_ms: UnixMs, now: Now) -> UnixMs {
        let due_ms = self.live.sharing.learned_ms + LEARN_EVERY_MS;
        if self.shares_updates() { wake_ms.min(due_ms.max(now.unix_ms + 1)) } else { wake_ms }
    }

    /// What other boxes have told of people.
    pub(super) fn facts_relayed(
        &mut self,
        db: &Db,
        tick: &Tick,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let sharing = &mut self.live.sharing;
        sharing.tells_all |= tick.emptied || tick.retell;
        if tick.facts.is_empty() {
            return Ok(());
        }
        // What was learned here first is told, whichever of two counts.
        let own = facts::news(db, sharing.learned_ms)?;
        sharing.learned_ms = now.unix_ms;
        if !own.is_empty() {
            let settled = Settled { facts: own, ..Settled::default() };
            step.jobs.push(Job::Fleet(FleetJob::Settled(settled)));
        }
        let mut heard = 0;
        for fact in &tick.facts {
            if let Some(about) = facts::hear(db, fact)? {
                heard += 1;
                if matches!(about, About::Role(_)) {
                    // The menu of a new owner has more in it.
                    self.live.commands_set = false;
                }
            }
        }
        if heard > 0 {
            log::info!(target: "relay.people", facts = heard; "{heard} roles or other facts about people came from other boxes");
            self.live.sharing.look_ms = 0;
        }
        Ok(())
    }

    /// Partitions came and went, with the sessions of their chats.
    pub(super) fn sessions_relayed(&mut self, db: &Db, tick: &Tick, now: Now) -> Result<()> {
        if tick.emptied || tick.retell {
            carried::retell(db)?;
            self.live.sharing.look_ms = 0;
        }
        let mut gone = tick.lost.clone();
        if let Some(held) = &tick.held {
            let held = held.fences.keys().copied().collect();
            // Who has lost its data knows nothing of who holds what: then the sessions stay.
            if !tick.emptied {
                gone.extend(self.live.sharing.held.difference(&held));
            }
            self.live.sharing.held = held;
        }
        if !gone.is_empty() {
            carried::leave(db, &|chat| gone.contains(&partition_of(chat)))?;
        }
        let Some((part, sessions)) = &tick.sessions else { return Ok(()) };
        carried::untell(db, &|chat| partition_of(chat) == *part)?;
        let alive_ms = now.unix_ms - self.policy.session_idle_ms;
        let mut taken = 0;
        for session in sessions {
            taken += usize::from(carried::take_over(db, session, alive_ms)?);
        }
        if taken > 0 {
            log::info!(target: "relay.sessions", partition = *part, sessions = taken; "partition {part}: {taken} conversations go on here");
        }
        self.live.sharing.look_ms = 0;
        Ok(())
    }

    /// The rounds of a session that other boxes answered, and then its own: the newest of them.
    pub(super) fn with_carried(
        &self,
        db: &Db,
        session: i64,
        rounds_max: u32,
        own: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>> {
        let room = (rounds_max as usize).saturating_sub(own.len());
        if !self.shares_updates() || session == 0 || room == 0 {
            return Ok(own);
        }
        let mut turns = carried::turns(db, session, room)?;
        turns.extend(own);
        Ok(turns)
    }
}
