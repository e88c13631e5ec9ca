//! Owns: the way of an update into the rows: read, judged by the engine, queued or answered at once.
//! May not: hold rules of its own.

use super::{Count, State, Step, words};
use crate::daemon::event::Fetched;
use crate::daemon::metrics::AnswerOutcome;
use crate::engine::access;
use crate::engine::persona::clean_name;
use crate::engine::session::{self, Ask, Decision, Facts, Refusal, SessionFact, SessionMove};
use crate::engine::speech::{self, Speech};
use crate::engine::task;
use crate::engine::trigger::{self, Trigger};
use crate::store::Db;
use crate::store::Result;
use crate::store::inbox::{self, Queued};
use crate::store::outbox::{self, Kind, Outgoing};
use crate::store::people;
use crate::types::{
    ChatId, ChatKind, IncomingBody, Lane, Lang, MINUTE_MS, Message, MessageId, Now, Role,
    SECOND_MS, User, UserId,
};

/// Characters of one question; Telegram's own limit is 4096, a hostile server's is not.
const QUESTION_CHARS_MAX: usize = 65_536;
/// How long the first part of an album waits for the others.
const ALBUM_WAIT_MS: i64 = SECOND_MS;
/// Rows of the bot's own words that may wait in one chat: who asks for more while they do is not answered with more.
pub(super) const OWN_WORDS_MAX: u32 = 6;
/// So many messages with a secret wait to be removed from one chat.
const REMOVALS_MAX: u32 = 60;
/// Who has to be slowed down is told so this rarely.
const SLOW_DOWN_EVERY_MS: i64 = 60 * MINUTE_MS;
/// Files of one album (Telegram's own limit).
const ALBUM_FILES_MAX: usize = 10;

/// What a message is judged by: its place, its person, their role and language.
pub(super) struct Setting<'a> {
    pub(super) row: i64,
    pub(super) message: &'a Message,
    pub(super) user: &'a User,
    pub(super) lane: Lane,
    pub(super) role: Role,
    pub(super) lang: Lang,
    pub(super) refused_ms: i64,
}

impl State {
    pub(super) fn update(
        &mut self,
        db: &Db,
        row: i64,
        update: &Fetched,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let incoming = match &update.incoming {
            Ok(incoming) => incoming,
            Err(why) => {
                step.counts.push(Count::Update("other"));
                log::warn!(target: "update.parked", update = update.id.0; "update {} cannot be read: {why}: set aside", update.id);
                let masked = self.masker.mask(&update.raw);
                let raw = masked.as_ref().unwrap_or(&update.raw);
                return inbox::park(db, row, why, raw, now.unix_ms);
            }
        };
        step.counts.push(Count::Update(incoming.kind));
        match &incoming.body {
            IncomingBody::Message(message) => self.message(db, row, message, step, now),
            IncomingBody::Edited(message) => {
                let text = self.clean_text(message);
                inbox::edit(db, message.chat, message.id, &text).map(drop)
            }
            IncomingBody::Callback(callback) => self.callback(db, callback, step, now),
            IncomingBody::Membership { chat, can_speak } => {
                if !can_speak {
                    let parked = outbox::park_chat(
                        db,
                        *chat,
                        "the bot was removed or blocked",
                        now.unix_ms,
                    )?;
                    log::info!(
                        target: "chat.gone", chat = chat.0, parked;
                        "chat {chat}: the bot may not speak there any more; {parked} set aside"
                    );
                }
                Ok(())
            }
            IncomingBody::Stopped { chat, draft } => {
                self.stopped_by_user(db, *chat, *draft, step, now)
            }
            IncomingBody::Other => Ok(()),
        }
    }

    fn message(
        &mut self,
        db: &Db,
        row: i64,
        message: &Message,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        if let Some(to) = message.migrate_to {
            return migrate_chat(db, message.chat, to);
        }
        let Some(user) = message.from.as_ref().filter(|_| access::is_from_a_person(message)) else {
            return Ok(());
        };
        if !session::is_content(message) {
            return Ok(());
        }
        let lane = Lane { chat: message.chat, topic: message.topic };
        let trigger = trigger::trigger(&self.policy, message);
        let stored = people::session_of(db, lane, user.id)?;
        let joins_album = self.join_album(db, message, user.id, now)?;
        // What other people say to each other costs one look-up and leaves no trace.
        if joins_album
            || (matches!(trigger, Trigger::None | Trigger::OthersCommand) && stored.is_none())
        {
            return Ok(());
        }
        let granted = people::grant_of(db, user.id, now.unix_ms)?;
        let own_role = access::role_of(&self.policy, user.id, granted);
        let refused_ms = people::seen(db, user, now.unix_ms)?.refused_ms;
        let setting = Setting {
            row,
            message,
            user,
            lane,
            role: access::role_of_message(message, own_role),
            lang: self.lang_of_code(user.language_code.as_deref()),
            refused_ms,
        };
        if self.masker.mask(&message.text).is_some() {
            self.secret_in_chat(db, &setting, now)?;
        }
        if let Trigger::Command { name, args, addressed } = &trigger {
            return self.command(db, &setting, name, args, *addressed, now);
        }
        self.question(db, &setting, &trigger, stored.as_ref(), step, now)
    }

    fn question(
        &mut self,
        db: &Db,
        setting: &Setting<'_>,
        trigger: &Trigger,
        stored: Option<&people::Session>,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let facts = self.facts(db, setting, stored, now)?;
        match session::decide(&self.policy, &facts, setting.message, trigger, now) {
            Decision::Ignore => Ok(()),
            Decision::Knock => self.knock(db, setting, now),
            Decision::Refuse(_) if self.slows_down(db, setting, now)? => Ok(()),
            Decision::Refuse(refusal) => {
                step.counts.push(Count::Answer(setting.role, AnswerOutcome::Refused));
                people::set_refused(db, setting.user.id, now.unix_ms)?;
                let text = self.refusal_text(db, refusal, setting, now)?;
                self.say(db, setting, &text, now)
            }
            Decision::Join(waiting) => {
                inbox::append_text(db, waiting, &self.clean_text(setting.message))
            }
            Decision::Ask(ask) => {
                #[cfg(feature = "redis")]
                let place = self.place_wanted(db, setting, &ask, now)?;
                self.queue(db, setting, &ask, now)?;
                #[cfg(feature = "redis")]
                self.ask_for_place(db, place, step, now)?;
                Ok(())
            }
        }
    }

    fn facts(
        &self,
        db: &Db,
        setting: &Setting<'_>,
        stored: Option<&people::Session>,
        now: Now,
    ) -> Result<Facts> {
        let group = setting.message.chat_kind != ChatKind::Private;
        let slots = if group {
            people::slots(db, now.unix_ms - self.policy.session_idle_ms)?
                .into_iter()
                .map(|session| session.id)
                .filter(|id| stored.is_none_or(|own| own.id != *id))
                .collect()
        } else {
            Vec::new()
        };
        let joinable = if self.policy.join_window_ms > 0 && setting.message.media.is_none() {
            inbox::last_waiting(db, setting.lane)?
                .filter(|(_, user, received_ms, behind)| {
                    *behind
                        && *user == setting.user.id
                        && received_ms.saturating_add(self.policy.join_window_ms) >= now.unix_ms
                })
                .map(|(id, ..)| id)
        } else {
            None
        };
        // One group takes half of the queue at most: whoever has sent it a crowd, others are served.
        let (mut pending, share) = (self.live.pending, self.policy.queue_max.div_ceil(2));
        if group && pending >= share {
            let theirs = inbox::pending_in(db, setting.lane.chat, share)?;
            pending = if theirs < share { pending } else { pending.max(self.policy.queue_max) };
        }
        Ok(Facts {
            role: setting.role,
            refused_ms: setting.refused_ms,
            session: stored.map(|session| SessionFact {
                id: session.id,
                rounds: session.rounds,
                last_ms: session.last_ms,
            }),
            slots,
            pending,
            pending_of_user: inbox::pending_of(db, setting.user.id, self.policy.user_queue_max)?,
            joinable,
        })
    }

    fn queue(&mut self, db: &Db, setting: &Setting<'_>, ask: &Ask, now: Now) -> Result<()> {
        let message = setting.message;
        let session = match ask.session {
            SessionMove::None => 0,
            SessionMove::Continue(id) => {
                people::take_round(db, id, ask.rounds_max, now.unix_ms)?;
                id
            }
            SessionMove::Open { slot, evict } => {
                if let Some(oldest) = evict {
                    people::end_session(db, oldest)?;
                }
                let name = &clean_name(setting.user.name());
                people::open_session(
                    db,
                    setting.lane,
                    setting.user.id,
                    name,
                    slot,
                    ask.rounds_max,
                    self.follows_after_ms(now),
                    now.unix_ms,
                )?
            }
        };
        if let Some(keyword) = &ask.register {
            people::register(db, setting.user, message.chat, keyword, now.unix_ms * 1_000)?;
        }
        if setting.refused_ms != 0 {
            people::set_refused(db, setting.user.id, 0)?;
        }
        let text = self.clean_text(message);
        let tier = task::tier(&text, message.media.is_some(), setting.role, ask.addressed);
        let question = Queued {
            lane: setting.lane,
            message: message.id,
            user: setting.user.id,
            class: class_of(setting.role, tier),
            session,
            round: ask.round,
            rounds_max: ask.rounds_max,
            role: setting.role.name(),
            name: setting.user.name().to_owned(),
            lang: words::code(setting.lang),
            text,
            context: self.masker.mask(&ask.context).unwrap_or_else(|| ask.context.clone()),
            album: message.album.clone().unwrap_or_default(),
            addressed: ask.addressed,
            media: message.media.clone().into_iter().collect(),
        };
        inbox::enqueue(db, setting.row, &question)?;
        if message.album.is_some() {
            inbox::delay(db, setting.row, now.unix_ms + ALBUM_WAIT_MS)?;
        }
        self.live.pending += 1;
        // Also while no key is free: whoever comes now is told how long it will take.
        self.live.blocked_until_ms.remove(&question.class);
        Ok(())
    }

    /// The further parts of an album belong to the question that its first part became.
    fn join_album(&self, db: &Db, message: &Message, user: UserId, now: Now) -> Result<bool> {
        let (Some(album), Some(media)) = (&message.album, &message.media) else { return Ok(false) };
        let Some((row, files)) = inbox::waiting_album(db, message.chat, user, album)? else {
            return Ok(false);
        };
        if files < ALBUM_FILES_MAX && media.size <= self.policy.media_max_bytes {
            inbox::add_media(db, row, files, media)?;
        } else {
            inbox::leave_out(db, row)?;
        }
        let text = self.clean_text(message);
        if !text.is_empty() {
            inbox::append_text(db, row, &text)?;
        }
        inbox::delay(db, row, now.unix_ms + ALBUM_WAIT_MS)?;
        Ok(true)
    }

    /// The question as it is stored: bounded, without the mention, secrets masked (contract §5.6).
    pub(super) fn clean_text(&self, message: &Message) -> String {
        let mut text = trigger::question_text(&self.policy, message);
        if let Some((end, _)) = text.char_indices().nth(QUESTION_CHARS_MAX) {
            text.truncate(end);
        }
        self.masker.mask(&text).unwrap_or(text)
    }

    fn refusal_text(
        &self,
        db: &Db,
        refusal: Refusal,
        setting: &Setting<'_>,
        now: Now,
    ) -> Result<String> {
        let limit = words::size(self.policy.media_max_bytes);
        let speech = match refusal {
            Refusal::NotAllowedHere => Speech::NotAllowedHere { chat: setting.lane.chat },
            Refusal::QueueFull => Speech::QueueFull,
            Refusal::UserQueueFull => Speech::UserQueueFull { waiting: self.policy.user_queue_max },
            Refusal::SlotsFull => Speech::VipFull {
                slots: self.config.vip_slots,
                next_free_min: Some(self.next_slot_minutes(db, now)?),
            },
            Refusal::NothingToAnswer => Speech::NothingToAnswer,
            Refusal::MediaTooLarge => Speech::MediaTooLarge { limit: &limit },
            Refusal::MediaUnknown => Speech::MediaUnknown,
            Refusal::MediaOff => Speech::MediaOff,
        };
        Ok(speech::say(setting.lang, &speech))
    }

    /// Something shaped like a key was written into the chat: it is never stored, the message goes
    /// where the bot may remove it, and the person is told to replace the key.
    fn secret_in_chat(&self, db: &Db, setting: &Setting<'_>, now: Now) -> Result<()> {
        let waiting = outbox::notices(db, setting.lane.chat, REMOVALS_MAX)?;
        if waiting >= REMOVALS_MAX {
            return Ok(());
        }
        let remove = Outgoing {
            kind: Kind::Delete,
            message: setting.message.id,
            ..Outgoing::notice(setting.lane, String::new())
        };
        outbox::add(db, &remove, now.unix_ms)?;
        if waiting >= OWN_WORDS_MAX {
            return Ok(());
        }
        let told = Outgoing::notice(setting.lane, speech::say(setting.lang, &Speech::SecretMasked));
        outbox::add(db, &told, now.unix_ms).map(drop)
    }

    /// Whether so much of the bot's own words waits in this chat already that no more may be added: a flood of
    /// commands or of what is refused. Where it is one person's chat, they are told once.
    pub(super) fn slows_down(&self, db: &Db, at: &Setting<'_>, now: Now) -> Result<bool> {
        let private = at.message.chat_kind == ChatKind::Private;
        let waiting = outbox::notices(db, at.lane.chat, OWN_WORDS_MAX)?;
        if waiting + 1 < OWN_WORDS_MAX || private && at.role == Role::Owner {
            return Ok(false);
        }
        let told_lately = at.refused_ms != 0 && at.refused_ms + SLOW_DOWN_EVERY_MS > now.unix_ms;
        if private && waiting < OWN_WORDS_MAX && !told_lately {
            people::set_refused(db, at.user.id, now.unix_ms)?;
            self.say(db, at, &speech::say(at.lang, &Speech::SlowDown), now)?;
        }
        Ok(true)
    }

    /// When the slot that has been quiet longest falls free, in minutes, rounded up.
    pub(super) fn next_slot_minutes(&self, db: &Db, now: Now) -> Result<u32> {
        let slots = people::slots(db, now.unix_ms - self.policy.session_idle_ms)?;
        let free_ms = slots
            .iter()
            .map(|session| session.last_ms + self.policy.session_idle_ms - now.unix_ms)
            .min()
            .unwrap_or(0);
        Ok(words::minutes(free_ms))
    }

    /// Answers a message with a plain text of the bot's own.
    pub(super) fn say(&self, db: &Db, setting: &Setting<'_>, text: &str, now: Now) -> Result<()> {
        let group = setting.message.chat_kind != ChatKind::Private;
        let what = Outgoing {
            reply_to: if group { setting.message.id } else { MessageId(0) },
            ..Outgoing::notice(setting.lane, text.to_owned())
        };
        outbox::add(db, &what, now.unix_ms).map(drop)
    }
}

/// What the queue is served by: role first, then tier.
pub(super) fn class_of(role: Role, tier: crate::types::Tier) -> i64 {
    role.priority() * 4 + tier as i64
}

fn migrate_chat(db: &Db, from: ChatId, to: ChatId) -> Result<()> {
    log::info!(target: "chat.migrated", from = from.0, to = to.0; "group {from} became supergroup {to}: what waits goes along");
    inbox::migrate_chat(db, from, to)?;
    outbox::migrate_chat(db, from, to)?;
    people::migrate_chat(db, from, to)
}
