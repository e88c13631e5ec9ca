//! Owns: what a pressed button does, and in which order those who pressed are answered.
//! May not: word anything (speech).
//! Invariant: however often somebody presses, one answer of theirs is under way or waits.

use super::accept::OWN_WORDS_MAX;
use super::talk::{FORGET_NO, FORGET_YES};
use super::{CALLBACKS_MAX, State, Step};
use crate::daemon::event::{Job, Purpose};
use crate::engine::access;
use crate::engine::speech::{self, Speech};
use crate::store::outbox::{self, Outgoing};
use crate::store::{Db, Result, erase, people};
use crate::types::{Callback, Lane, Now, Role, TopicId, UserId};
use crate::wire::Request;
use crate::wire::telegram;
use std::collections::{BTreeSet, VecDeque};

/// People who wait for an answer to their press; more get none, and Telegram takes their wheel away.
const WAITING_MAX: usize = 64;

/// Who has pressed a button and is not answered yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presses {
    under_way: BTreeSet<UserId>,
    waiting: VecDeque<(UserId, Request)>,
}

impl Presses {
    /// The answer for this person has arrived, or never will.
    pub(super) fn answered(&mut self, user: UserId) {
        self.under_way.remove(&user);
    }

    pub(super) fn count(&self) -> usize {
        self.under_way.len() + self.waiting.len()
    }

    /// Of one person only the first of many presses is kept: the others are the same finger.
    fn add(&mut self, user: UserId, answer: impl FnOnce() -> Request) {
        let is_known =
            self.under_way.contains(&user) || self.waiting.iter().any(|(other, _)| *other == user);
        if !is_known && self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((user, answer()));
        }
    }

    pub(super) fn start(&mut self, step: &mut Step) {
        while self.under_way.len() < CALLBACKS_MAX {
            let Some((user, request)) = self.waiting.pop_front() else { return };
            self.under_way.insert(user);
            step.jobs.push(Job::Call { purpose: Purpose::Callback(user), request });
        }
    }
}

impl State {
    /// A pressed button: answered at once, whatever it was.
    pub(super) fn callback(
        &mut self,
        db: &Db,
        pressed: &Callback,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let lang = self.lang_of_code(pressed.from.language_code.as_deref());
        let granted = people::grant_of(db, pressed.from.id, now.unix_ms)?;
        let role = access::role_of(&self.policy, pressed.from.id, granted);
        let own_chat = pressed.chat.0 == pressed.from.id.0;
        let reply = match pressed.data.as_str() {
            FORGET_YES if own_chat && erase::is_all_forgotten(db, pressed.from.id)? => {
                Some(speech::say(lang, &Speech::ForgetDone { rows: 0 }))
            }
            FORGET_YES if own_chat => {
                let rows = erase::forget(db, pressed.from.id, now.unix_ms)?;
                Some(speech::say(lang, &Speech::ForgetDone { rows: rows as u64 }))
            }
            FORGET_NO if own_chat => Some(speech::say(lang, &Speech::ForgetCancelled)),
            data if role == Role::Owner && own_chat => self.let_in(db, data, lang, now)?,
            _ => None,
        };
        // A button of a message that is decided, or of nobody's here.
        let toast = match reply {
            Some(_) => String::new(),
            None => speech::say(lang, &Speech::ButtonOld),
        };
        // Pressed again and again, the same would be written again and again.
        let has_room = outbox::notices(db, pressed.chat, OWN_WORDS_MAX)? < OWN_WORDS_MAX;
        if let Some(text) = reply.filter(|_| has_room) {
            let lane = Lane { chat: pressed.chat, topic: TopicId(0) };
            let what = Outgoing {
                kind: outbox::Kind::Edit,
                message: pressed.message,
                ..Outgoing::notice(lane, text)
            };
            outbox::add(db, &what, now.unix_ms)?;
        }
        let presses = &mut self.live.presses;
        presses.add(pressed.from.id, || telegram::answer_callback(&pressed.id, &toast));
        presses.start(step);
        Ok(())
    }
}
