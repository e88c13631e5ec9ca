//! Owns: which row of the outbox is said next, and what follows from Telegram's answer.
//! May not: know formatting.
//! Invariant: a row leaves only when Telegram has it, or says that it never will (contract §5.1).

use super::{Count, Phase, State, Step, keep};
use crate::daemon::event::{Job, Purpose, SendFailure};
use crate::store::Db;
use crate::store::outbox::{self, Kind, Sending};
use crate::store::{Result, meta, people};
use crate::types::{ChatId, HOUR_MS, MINUTE_MS, MessageId, Now, SECOND_MS, UserId};
use crate::wire::telegram::TelegramError;

/// Waits between tries: doubling from the first to the last.
const RETRY_MS_MIN: i64 = SECOND_MS;
const RETRY_MS_MAX: i64 = 2 * MINUTE_MS;
/// A part that Telegram has not taken by then is of no use to anybody.
const AGE_MS_MAX: i64 = 24 * HOUR_MS;
/// Nor is it given up before so many tries, some two hours of them: a clock leaps, and a machine is off for days,
/// while nothing is tried at all.
const AGED_ATTEMPTS_MIN: u32 = 64;
/// Refusals for which no rule is known are repeated this often before the row is set aside.
const UNKNOWN_ATTEMPTS_MAX: u32 = 8;

/// What to do with a row that did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Done,
    Later(i64),
    Plain,
    NoRich { unknown: bool },
    NoReply,
    NoTopic,
    SendInstead,
    Migrate(ChatId),
    Park(String),
    ParkChat(String),
}

impl State {
    pub(super) fn start_sending(&mut self, db: &Db, step: &mut Step, now: Now) -> Result<()> {
        #[cfg(feature = "redis")]
        if self.is_held_back(now) {
            return Ok(());
        }
        while self.live.sending.len() < super::SENDERS_MAX {
            let Some(sending) = outbox::claim(db, now.unix_ms)? else { return Ok(()) };
            self.live.sending.insert(sending.id);
            step.jobs.push(Job::Send(Box::new(sending)));
        }
        Ok(())
    }

    pub(super) fn sent(
        &mut self,
        db: &Db,
        sending: &Sending,
        result: &std::result::Result<MessageId, SendFailure>,
        took_ms: i64,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        self.live.sending.remove(&sending.id);
        let chat = sending.what.lane.chat;
        #[cfg(feature = "redis")]
        self.touch(chat);
        let next = match result {
            Ok(_) => Next::Done,
            Err(failure) => {
                if let SendFailure::Telegram(TelegramError::RetryAfter { seconds }) = failure {
                    self.pause_shows(chat, i64::from(*seconds) * SECOND_MS, now);
                }
                step.counts.push(Count::TelegramError(match failure {
                    SendFailure::Telegram(error) => Some(error.code()),
                    SendFailure::Net(_) => None,
                }));
                next(failure, sending, now)
            }
        };
        match next {
            Next::Done => {
                self.delivered(sending, took_ms, step, now);
                outbox::done(db, sending.id, chat)
            }
            Next::Later(after_ms) => {
                let due_ms = now.unix_ms + self.jitter_ms(after_ms);
                outbox::later(db, sending.id, due_ms)
            }
            Next::Plain => {
                log::warn!(
                    target: "send.plain", message = sending.id;
                    "message {}: telegram refuses the formatting: sent as plain text",
                    sending.id
                );
                outbox::strip_formatting(db, sending.id)
            }
            Next::NoRich { unknown } => self.without_rich(db, sending, unknown, now),
            Next::NoReply => outbox::loosen(db, sending.id, true),
            Next::NoTopic => outbox::loosen(db, sending.id, false),
            Next::SendInstead => outbox::edit_becomes_send(db, sending.id),
            Next::Migrate(to) => {
                log::info!(target: "chat.migrated", from = chat.0, to = to.0; "group {chat} became supergroup {to}: what waits goes along");
                crate::store::inbox::migrate_chat(db, chat, to)?;
                people::migrate_chat(db, chat, to)?;
                outbox::migrate_chat(db, chat, to)?;
                outbox::later(db, sending.id, now.unix_ms)
            }
            Next::Park(why) => {
                log::warn!(target: "send.parked", message = sending.id, chat = chat.0; "message {} to chat {chat}: {why}: set aside", sending.id);
                outbox::park(db, sending.id, chat, &why, now.unix_ms)
            }
            Next::ParkChat(why) => {
                log::info!(target: "chat.gone", chat = chat.0; "chat {chat}: {why}: what waits for it is set aside");
                if chat.0 > 0 {
                    people::set_unreachable(db, UserId(chat.0))?;
                }
                outbox::park_chat(db, chat, &why, now.unix_ms).map(drop)
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ms")]
    fn delivered(&self, sending: &Sending, took_ms: i64, step: &mut Step, now: Now) {
        if !sending.what.last || sending.what.received_ms == 0 {
            return;
        }
        let all_ms = (now.unix_ms - sending.what.received_ms).max(0);
        let added_ms = (all_ms - sending.what.model_ms - took_ms).max(0);
        step.counts.push(Count::Latency {
            seconds: all_ms as f64 / 1_000.0,
            added_seconds: added_ms as f64 / 1_000.0,
        });
    }

    pub(super) fn called(
        &mut self,
        db: &Db,
        purpose: Purpose,
        result: &std::result::Result<(), SendFailure>,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        self.call_ended(purpose);
        self.live.presses.start(step);
        let Err(failure) = result else { return Ok(()) };
        if let SendFailure::Telegram(error) = failure {
            step.counts.push(Count::TelegramError(Some(error.code())));
            if let (Purpose::Typing(lane), TelegramError::RetryAfter { seconds }) = (purpose, error)
            {
                // Typing shares the chat's flood budget: leave what is left to the answer.
                let until_ms = now.unix_ms + i64::from(*seconds) * SECOND_MS;
                for asked in
                    self.live.asking.values_mut().filter(|asked| asked.lane.chat == lane.chat)
                {
                    asked.typing_due_ms = asked.typing_due_ms.max(until_ms);
                }
            }
        }
        log::debug!(target: "call.failed", "{purpose:?}: {failure:?}");
        if purpose == Purpose::Commands {
            // Telegram does not have the whole menu: the next start sends it again.
            meta::set(db, keep::MENU, "")?;
        }
        Ok(())
    }

    pub(super) fn call_ended(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Callback(user) => self.live.presses.answered(user),
            _ => self.live.calls = self.live.calls.saturating_sub(1),
        }
    }

    /// Whether a row could be sent at this very moment.
    pub(super) fn may_finish_sending(&self, db: &Db, now: Now) -> Result<bool> {
        match self.live.phase {
            Phase::Stopping { .. } => outbox::has_due(db, now.unix_ms).map(|due| !due),
            _ => Ok(outbox::pending(db)? == 0),
        }
    }
}

fn next(failure: &SendFailure, sending: &Sending, now: Now) -> Next {
    let error = match failure {
        SendFailure::Net(_) => return later_or_park(sending, now, "telegram cannot be reached"),
        SendFailure::Telegram(error) => error,
    };
    match error {
        // What cannot be removed stays; nobody waits for it.
        TelegramError::Muted { .. } | TelegramError::Other { .. }
            if sending.what.kind == Kind::Delete =>
        {
            Next::Done
        }
        TelegramError::RetryAfter { seconds } => {
            Next::Later(i64::from(*seconds).max(1) * SECOND_MS)
        }
        TelegramError::Migrated(to) if *to != sending.what.lane.chat => Next::Migrate(*to),
        TelegramError::CantParse if sending.what.html => Next::Plain,
        TelegramError::TooLong if sending.what.html => Next::Plain,
        TelegramError::NotModified => Next::Done,
        error if sending.what.kind == Kind::Rich && refuses_rich(error) => {
            // An old server sees an edit without text.
            let unknown = matches!(
                error,
                TelegramError::MethodUnknown | TelegramError::NotFound | TelegramError::EmptyText
            );
            Next::NoRich { unknown }
        }
        TelegramError::EditGone
            if sending.what.message != MessageId(0) && sending.what.kind != Kind::Delete =>
        {
            Next::SendInstead
        }
        TelegramError::EditGone if sending.what.kind == Kind::Delete => Next::Done,
        TelegramError::ReplyGone if sending.what.reply_to != MessageId(0) => Next::NoReply,
        TelegramError::ThreadGone if sending.what.lane.topic.0 != 0 => Next::NoTopic,
        TelegramError::ChatGone { why }
        | TelegramError::UserGone { why }
        | TelegramError::Muted { why } => Next::ParkChat(why.clone()),
        TelegramError::Unauthorized | TelegramError::NotFound => Next::Later(MINUTE_MS),
        TelegramError::Server { .. }
        | TelegramError::NotJson { .. }
        | TelegramError::Conflict(_) => {
            later_or_park(sending, now, "telegram had no answer for a day")
        }
        other if sending.attempts >= UNKNOWN_ATTEMPTS_MAX => Next::Park(other.to_string()),
        TelegramError::Other { code, .. } if !(400..500).contains(code) => {
            later_or_park(sending, now, "telegram had no answer for a day")
        }
        other => Next::Park(other.to_string()),
    }
}

/// Refusals that another format may mend.
fn refuses_rich(error: &TelegramError) -> bool {
    matches!(
        error,
        TelegramError::MethodUnknown
            | TelegramError::NotFound
            | TelegramError::CantParse
            | TelegramError::TooLong
            | TelegramError::EmptyText
            | TelegramError::Other { code: 400..=499, .. }
    )
}

fn later_or_park(sending: &Sending, now: Now, why: &str) -> Next {
    if now.unix_ms - sending.created_ms > AGE_MS_MAX && sending.attempts >= AGED_ATTEMPTS_MIN {
        return Next::Park(why.to_owned());
    }
    Next::Later((RETRY_MS_MIN << sending.attempts.saturating_sub(1).min(16)).min(RETRY_MS_MAX))
}
