//! Owns: going on when one event cannot be stored, whatever else a turn does.
//! May not: drop what could be stored, or confirm an update that is not on the disk.
//! Invariant: whatever an event left in flight is free again afterwards.

use super::{Core, Event, State, Step, keep};
use crate::daemon::event::{Asked, Fetched, SetupResult};
use crate::daemon::metrics::AnswerOutcome;
use crate::engine::speech::Speech;
use crate::store::{Durability, Result, Store, inbox, meta, outbox};
use crate::types::{MINUTE_MS, Now};
use std::collections::VecDeque;

/// Another try of what only the database's refusal stands against.
const AGAIN_MS: i64 = MINUTE_MS;

impl Core {
    /// Takes the foremost event out when it alone is refused; `why` is what the database said.
    /// Anything else stays: then the turn's other work is at fault, and waiting may mend it.
    pub(super) fn leave_out_poison(&mut self, events: &mut VecDeque<Event>, why: &str, now: Now) {
        let Self { store, state } = self;
        let Some(event) = events.front().filter(|event| is_poison(store, state, event, now)) else {
            return;
        };
        log::error!(target: "event.dropped", kind = event.kind(); "{} cannot be stored: {why}: left out", event.kind());
        match events.pop_front() {
            Some(Event::Polled(Ok(updates))) if updates.len() > 1 => {
                // One of them is to blame: each is judged by itself.
                for update in updates.into_iter().rev() {
                    events.push_front(Event::Polled(Ok(vec![update])));
                }
            }
            Some(event) => {
                if let Err(error) = leave_out(store, state, event, why, now) {
                    log::error!(target: "event.dropped", "nor can that be noted: {error}: it is repeated after a restart");
                }
            }
            None => {}
        }
    }
}

/// Whether the database refuses what this event alone would write.
fn is_poison(store: &mut Store, state: &mut State, event: &Event, now: Now) -> bool {
    let saved = state.live.clone();
    let mut step = Step::default();
    let result = store.try_out(|tx| state.apply(tx, event, &mut step, now));
    state.live = saved;
    state.sync_run = None;
    result.is_err_and(|error| error.blames_data())
}

fn leave_out(
    store: &mut Store,
    state: &mut State,
    event: Event,
    why: &str,
    now: Now,
) -> Result<()> {
    let hooked = state.is_hooked();
    let live = &mut state.live;
    match event {
        Event::Polled(page) => {
            live.polling.in_flight = false;
            live.polling.not_before_ms = now.unix_ms + AGAIN_MS;
            match page.ok().and_then(|updates| updates.into_iter().next()) {
                Some(update) => {
                    let next = update.id.0.saturating_add(1);
                    park_update(store, state, &update, Some(next), why, now)
                }
                None => Ok(()),
            }
        }
        Event::Pushed { update, ticket } => {
            let parked = park_update(store, state, &update, None, why, now);
            state.settled.push((ticket, parked.is_ok()));
            parked
        }
        Event::Asked(asked) => apologise(store, state, &asked, now),
        Event::Previewed { inbox, .. } => {
            live.calls = live.calls.saturating_sub(1);
            match live.asking.get_mut(&inbox).and_then(|asked| asked.show.give_up()) {
                Some(asked) => apologise(store, state, &asked, now),
                None => Ok(()),
            }
        }
        Event::Sent { sending, .. } => {
            live.sending.remove(&sending.id);
            let chat = sending.what.lane.chat;
            store.write(Durability::Process, |tx| {
                outbox::park(tx, sending.id, chat, why, now.unix_ms)
            })
        }
        Event::Called { purpose, .. } => {
            state.call_ended(purpose);
            Ok(())
        }
        Event::Ready(done) => {
            live.me_in_flight &= !matches!(done, SetupResult::Me(_));
            // In webhook mode every other call about getting ready is the one under way.
            live.polling.in_flight &= !hooked || matches!(done, SetupResult::Me(_));
            live.polling.not_before_ms = now.unix_ms + AGAIN_MS;
            Ok(())
        }
        Event::Synced(_) => {
            live.sync_in_flight = false;
            live.sync_due_ms = now.unix_ms + AGAIN_MS;
            Ok(())
        }
        Event::KeyChecked { .. }
        | Event::Grown { .. }
        | Event::Stop
        | Event::Reload
        | Event::Reloaded(_) => Ok(()),
        Event::Fleet(_) => Ok(()),
        #[cfg(feature = "redis")]
        Event::Relayed(relayed) => {
            relayed.update.iter().zip(&relayed.tick.entries).try_for_each(|(update, entry)| {
                park_update(store, state, update, None, why, now)?;
                store.write(Durability::Disk, |tx| {
                    let id = (entry.part, entry.id.as_str());
                    crate::store::relay::add(tx, id, 0, crate::types::ChatId(0), true)
                })
            })
        }
    }
}

/// Nothing but its number and the reason is kept, and then it may be confirmed: for a polled one by
/// asking for the `next`.
fn park_update(
    store: &mut Store,
    state: &mut State,
    update: &Fetched,
    next: Option<i64>,
    why: &str,
    now: Now,
) -> Result<()> {
    store.write(Durability::Disk, |tx| {
        if let Some(row) = inbox::accept(tx, update.id, now.unix_ms)? {
            inbox::park(tx, row, why, "", now.unix_ms)?;
        }
        match next {
            Some(next) => meta::set(tx, keep::NEXT_OFFSET, &next.to_string()),
            None => Ok(()),
        }
    })?;
    if let Some(next) = next {
        state.live.offset = next;
        state.live.polling.not_before_ms = 0;
    }
    Ok(())
}

/// The answer is lost; its question is not left without a word.
fn apologise(store: &mut Store, state: &mut State, asked: &Asked, now: Now) -> Result<()> {
    state.live.asking.remove(&asked.inbox);
    let mut step = Step::default();
    store.write(Durability::Process, |tx| {
        let asking = inbox::load(tx, asked.inbox)?;
        state.give_up(
            tx,
            &asking,
            &Speech::Failed { what: "database" },
            AnswerOutcome::Failed,
            &mut step,
            now,
        )
    })
}
