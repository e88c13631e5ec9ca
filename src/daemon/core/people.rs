//! Owns: the loop's side of people that several boxes share: sessions that come from and go to other boxes.
//! May not: speak to Redis (a thread of its own does), decide which session counts (the engine).

use super::State;
use crate::engine::fleet::people::Word;
use crate::fleet::relay::{Tick, partition_of};
use crate::store::carried::{self, Times};
use crate::store::{Db, Result};
use crate::types::{ChatId, Now};

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
