//! Owns: the loop's side of people that several boxes share: sessions that come from and go to other boxes.
//! May not: speak to Redis (a thread of its own does), decide which session counts (the engine).

use super::accept::Setting;
use super::{State, Step, words};
use crate::daemon::event::Job;
use crate::daemon::fleet::FleetJob;
use crate::daemon::metrics::AnswerOutcome;
use crate::daemon::relay::Settled;
use crate::engine::fleet::people::{About, Fact, PlaceAsk, Word};
use crate::engine::session::{Ask, SessionMove};
use crate::engine::speech::Speech;
use crate::fleet::relay::{Tick, partition_of};
use crate::store::carried::{self, Times};
use crate::store::{Db, Result, facts, inbox, people};
use crate::types::{ChatId, Now, Role, SECOND_MS, UnixMs};

/// What was learned of people is looked for this often: a role holds on all boxes within a second.
const LEARN_EVERY_MS: i64 = 400;
/// So long a question waits to hear of its place.
const PLACE_WITHIN_MS: i64 = 2_500;

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

    /// What is to be asked of all boxes before a group session begins.
    pub(super) fn place_wanted(
        &self,
        db: &Db,
        at: &Setting<'_>,
        ask: &Ask,
        now: Now,
    ) -> Result<Option<PlaceAsk>> {
        let SessionMove::Open { slot: true, evict } = ask.session else { return Ok(None) };
        if !self.shares_updates() {
            return Ok(None);
        }
        let gone = match evict {
            Some(oldest) => carried::whose(db, oldest)?,
            None => None,
        };
        Ok(Some(PlaceAsk {
            inbox: at.row,
            lane: at.lane,
            user: at.user.id,
            until_ms: now.unix_ms + self.policy.session_idle_ms,
            places: self.config.vip_slots,
            evicts: at.role == Role::Owner,
            gone,
        }))
    }

    /// The question waits until it is known that there is a place; where nobody can say, what this box knows counts.
    pub(super) fn ask_for_place(
        &self,
        db: &Db,
        place: Option<PlaceAsk>,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        inbox::delay(db, place.inbox, now.unix_ms + PLACE_WITHIN_MS)?;
        step.jobs.push(Job::Fleet(FleetJob::Place(place)));
        Ok(())
    }

    /// What became of a place that was asked for, and of places that were lost.
    pub(super) fn places_relayed(
        &mut self,
        db: &Db,
        tick: &Tick,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        for (lane, user) in &tick.unplaced {
            if let Some(session) = people::session_of(db, *lane, *user)? {
                log::info!(target: "relay.place", chat = lane.chat.0; "a group session ends: its place is another's");
                people::end_session(db, session.id)?;
            }
        }
        let Some(said) = tick.place else { return Ok(()) };
        let waiting = carried::waiting_with(db, said.inbox)?;
        let Some(first) = waiting.first() else { return Ok(()) };
        let asking = inbox::load(db, *first)?;
        if said.granted != Some(false) {
            // An album waits for its parts as well.
            let due_ms = now.unix_ms + if asking.question.album.is_empty() { 0 } else { SECOND_MS };
            return inbox::delay(db, said.inbox, due_ms);
        }
        people::end_session(db, asking.question.session)?;
        people::set_refused(db, asking.question.user, now.unix_ms)?;
        let next_free_min = Some(words::minutes(said.wait_ms));
        for row in waiting {
            let asking = inbox::load(db, row)?;
            let full = Speech::VipFull { slots: self.config.vip_slots, next_free_min };
            self.give_up(db, &asking, &full, AnswerOutcome::Refused, step, now)?;
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
