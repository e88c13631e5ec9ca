//! Owns: the loop's side of updates that several boxes share: taking them in, finding out what is settled.
//! May not: speak to Redis (a thread of its own does), settle what is not answered and said.
//! Invariant: while it is not known that this box still holds its partitions, it asks and says nothing.

use super::{Core, Phase, State, Step};
use crate::daemon::event::{Asked, Job};
use crate::daemon::fleet::FleetJob;
use crate::daemon::relay::{Relayed, Settled, chat_of};
use crate::fleet::relay::{HOLD_MS, Held};
use crate::store::relay;
use crate::store::{Db, Durability, Result, carried, facts, inbox, meta};
use crate::types::model::ModelFailure;
use crate::types::{ChatId, Now, SECOND_MS, UnixMs};
use std::collections::BTreeSet;

/// Under this name stands what this box holds.
const HELD: &str = "relay_held";
/// All chats are looked at this often; in between those where something happened.
const LOOK_EVERY_MS: i64 = 5 * SECOND_MS;
/// While it waits for Redis the loop looks again after this.
pub(super) const HOLD_LOOK_MS: i64 = 100;

/// What the loop knows of shared updates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sharing {
    /// When Redis was last heard, as the shell saw it; `None` where updates are not shared.
    pub(crate) heard_ms: Option<UnixMs>,
    pub(super) touched: BTreeSet<ChatId>,
    pub(super) look_ms: UnixMs,
    /// Partitions that this box holds.
    pub(super) held: BTreeSet<usize>,
    /// When it was last looked what was learned of people; 0 never.
    pub(super) learned_ms: UnixMs,
    /// Redis knows nothing: all that is known is to be told.
    pub(super) tells_all: bool,
}

impl Core {
    /// Makes ready to share updates: what an earlier process held.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn share_updates(&mut self, now: Now) -> Result<Held> {
        self.state.live.sharing.heard_ms = Some(0);
        let held = self.store.write(Durability::Process, |tx| {
            relay::prepare(tx)?;
            carried::prepare(tx)?;
            facts::prepare(tx, now.unix_ms)?;
            Ok(meta::get(tx, HELD)?.map(|text| Held::read(&text)).unwrap_or_default())
        })?;
        self.state.live.sharing.held = held.fences.keys().copied().collect();
        self.state.live.sharing.tells_all = true;
        Ok(held)
    }

    /// When Redis was last heard.
    pub fn observe_relay(&mut self, heard_ms: UnixMs) {
        self.state.live.sharing.heard_ms = Some(heard_ms);
    }

    /// Whether this box should take its part.
    pub fn takes_updates(&self) -> bool {
        let live = &self.state.live;
        let named = live.me_known || !self.state.policy.bot_name.is_empty();
        named && live.phase == Phase::Running && live.end.is_none()
    }

    /// What is settled at the end, for a last word to Redis.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn settled_updates(&mut self, now: Now) -> Result<Settled> {
        let Self { store, state } = self;
        store.write(Durability::Process, |tx| {
            for chat in relay::open_chats(tx)? {
                relay::settle(tx, chat)?;
            }
            let (words, _) = state.session_news(tx, None, now)?;
            let facts = facts::news(tx, state.live.sharing.learned_ms)?;
            Ok(Settled { entries: relay::settled(tx)?, words, facts })
        })
    }
}

impl State {
    /// Whether updates of this bot are shared with other boxes.
    pub(super) fn shares_updates(&self) -> bool {
        self.live.sharing.heard_ms.is_some()
    }

    /// Whether somebody else may hold what is in hand here: this process has slept, or has just begun.
    pub(super) fn is_held_back(&self, now: Now) -> bool {
        self.live.sharing.heard_ms.is_some_and(|heard_ms| now.unix_ms - heard_ms > HOLD_MS)
    }

    /// Something may be settled in this chat.
    pub(super) fn touch(&mut self, chat: ChatId) {
        if self.shares_updates() {
            self.live.sharing.touched.insert(chat);
        }
    }

    /// Whether an asked question asks for no more: it was left to another box, or never left this one.
    pub(super) fn is_over(&self, db: &Db, asked: &Asked) -> Result<bool> {
        if self.shares_updates() && !relay::is_asked(db, asked.inbox)? {
            return Ok(true);
        }
        let held = matches!(asked.result, Err(ModelFailure::Held(_)));
        if held {
            inbox::put_back_uncounted(db, asked.inbox, 0)?;
        }
        Ok(held)
    }

    /// A look at Redis brought something.
    pub(super) fn relayed(
        &mut self,
        db: &Db,
        relayed: &Relayed,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let tick = &relayed.tick;
        if tick.emptied {
            log::warn!(target: "relay.emptied", "redis has lost its data: what was taken in is finished here");
            relay::forget_all(db)?;
        }
        for part in &tick.lost {
            let rows = relay::abandon(db, *part, now.unix_ms)?;
            log::warn!(target: "relay.lost", partition = *part, rows; "partition {part} is another box's now: {rows} updates are left to it");
        }
        self.sessions_relayed(db, tick, now)?;
        self.facts_relayed(db, tick, step, now)?;
        self.places_relayed(db, tick, step, now)?;
        if !tick.lost.is_empty() {
            self.live.pending = inbox::pending(db)?;
        }
        for part in &tick.wanted {
            let left = relay::hand_over(db, *part, now.unix_ms)?;
            if !left.is_empty() {
                self.live.pending = inbox::pending(db)?;
                step.jobs.push(Job::Fleet(FleetJob::LetGo(left)));
            }
        }
        if let Some(held) = &tick.held {
            meta::set(db, HELD, &held.to_text())?;
        }
        relay::forget(db, &tick.told)?;
        let mut again = Vec::new();
        for (entry, update) in tick.entries.iter().zip(&relayed.update) {
            let id = (entry.part, entry.id.as_str());
            let chat = chat_of(update).unwrap_or_default();
            match relay::known(db, id)? {
                Some(true) => again.push((entry.part, entry.id.clone())),
                Some(false) => {}
                None => match inbox::accept(db, update.id, now.unix_ms)? {
                    Some(row) => {
                        relay::add(db, id, row, chat, false)?;
                        self.update(db, row, update, step, now)?;
                        self.touch(chat);
                    }
                    // Taken in before, under another entry.
                    None => {
                        relay::add(db, id, 0, chat, true)?;
                        again.push((entry.part, entry.id.clone()));
                    }
                },
            }
        }
        if !tick.entries.is_empty() {
            self.live.hook.last_delivery_ms = now.unix_ms;
        }
        tell(Settled { entries: again, ..Settled::default() }, step);
        Ok(())
    }

    /// What has become settled in this turn.
    pub(super) fn settle_relayed(&mut self, db: &Db, step: &mut Step, now: Now) -> Result<()> {
        if !self.shares_updates() {
            return Ok(());
        }
        let sharing = &mut self.live.sharing;
        let chats = std::mem::take(&mut sharing.touched);
        let all = sharing.look_ms <= now.unix_ms;
        let mut settled = Settled { facts: self.learned(db, now)?, ..Settled::default() };
        let open = if all { relay::open_chats(db)? } else { Vec::new() };
        for chat in chats.iter().chain(&open) {
            settled.entries.extend(relay::settle(db, *chat)?);
        }
        if all {
            let (words, whole) = self.session_news(db, None, now)?;
            settled.words = words;
            self.live.sharing.look_ms =
                now.unix_ms + if whole { LOOK_EVERY_MS } else { HOLD_LOOK_MS };
        } else {
            for chat in chats {
                // With what is settled of it, so that nobody continues what is asked once more.
                if !relay::is_open(db, chat)? {
                    settled.words.extend(self.session_news(db, Some(chat), now)?.0);
                }
            }
        }
        tell(settled, step);
        Ok(())
    }
}

fn tell(settled: Settled, step: &mut Step) {
    if !settled.is_empty() {
        step.jobs.push(Job::Fleet(FleetJob::Settled(settled)));
    }
}
