//! Owns: when to poll, and what follows from how a poll ended.
//! May not: confirm an update that is not committed.

use super::{Count, End, Phase, State, Step, keep};
use crate::daemon::event::{Fetched, Job, PollFailure, SendFailure, SetupResult};
use crate::store::Db;
use crate::store::{Result, inbox, meta};
use crate::types::{DAY_MS, HOUR_MS, MINUTE_MS, Now, SECOND_MS};
use crate::wire::telegram::{Conflict, TelegramError};

/// Telegram clamps longer waits to this (api-reference A2).
const POLL_TIMEOUT_S: u32 = 50;
/// Updates of one page; their texts together are bounded by the reader.
const POLL_LIMIT: u32 = 100;
/// First wait after a failed poll; doubles up to the last.
const BACKOFF_MS_MIN: i64 = SECOND_MS;
const BACKOFF_MS_MAX: i64 = MINUTE_MS;
/// The same trouble is told again after this long, then twice as long, up to the last.
const TELL_AFTER_MS_MIN: i64 = MINUTE_MS;
const TELL_AFTER_MS_MAX: i64 = HOUR_MS;
/// After so many failed polls in a row the bot is not ready; a refused token needs only one.
pub(super) const FAILURES_UNREADY: u32 = 2;
/// After so many 409s in a row somebody else is polling, and it is not our own late request.
const CONFLICTS_MAX: u32 = 3;
/// Longer than any poll, so that two pollers cannot end each other in turn for ever.
const CONFLICT_WAIT_MS: i64 = 70 * SECOND_MS;
/// After about a week without updates their numbers begin anew at random, perhaps below our offset,
/// and asking with that would confirm them unseen (api-reference A2). What was stored is long
/// confirmed by then, so asking for the oldest brings nothing twice.
const QUIET_MS: i64 = 5 * DAY_MS;

impl State {
    pub(super) fn start_polling(&mut self, step: &mut Step, now: Now) {
        if self.must_unhook() && self.live.end.is_none() {
            return self.start_hook(step, now);
        }
        if self.live.phase != Phase::Running || self.live.end.is_some() {
            return;
        }
        if !self.live.me_known
            && !self.live.me_in_flight
            && self.live.polling.not_before_ms <= now.unix_ms
        {
            self.live.me_in_flight = true;
            step.jobs.push(Job::Me);
        }
        let named = self.is_named();
        if self.is_hooked() {
            if named {
                self.start_hook(step, now);
            }
            return;
        }
        let polling = &mut self.live.polling;
        if named && !polling.in_flight && polling.not_before_ms <= now.unix_ms {
            polling.in_flight = true;
            let limit = if polling.limit == 0 { POLL_LIMIT } else { polling.limit };
            // The first poll, and the first after a failure, returns at once: whether polling works is
            // known without a long wait.
            let unsure = polling.last_ok_ms == 0 || polling.failures > 0;
            let timeout_s = if unsure { 0 } else { POLL_TIMEOUT_S };
            let quiet = polling.last_update_ms + QUIET_MS < now.unix_ms;
            let offset = if quiet { 0 } else { self.live.offset };
            step.jobs.push(Job::Poll { offset, timeout_s, limit });
        }
    }

    /// Decisions need our own name; an earlier start has left it in the rows.
    fn is_named(&self) -> bool {
        self.live.me_known || !self.policy.bot_name.is_empty()
    }

    /// Whether a poll or getMe is to be started when its time has come; what is under way wakes the
    /// loop by its end.
    pub(super) fn wants_telegram(&self) -> bool {
        let live = &self.live;
        !live.me_known && !live.me_in_flight || self.is_named() && !live.polling.in_flight
    }

    pub(super) fn polled(
        &mut self,
        db: &Db,
        result: &std::result::Result<Vec<Fetched>, PollFailure>,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        self.live.polling.in_flight = false;
        match result {
            Ok(updates) => self.page(db, updates, step, now),
            Err(failure) => {
                self.poll_failed(failure, step, now);
                Ok(())
            }
        }
    }

    fn page(&mut self, db: &Db, updates: &[Fetched], step: &mut Step, now: Now) -> Result<()> {
        let polling = &mut self.live.polling;
        if !polling.trouble.is_empty() {
            let (times, lasted_ms) = (polling.failures, now.unix_ms - polling.trouble_ms);
            log::info!(target: "poll.recovered", times, lasted_ms; "polling works again");
            polling.trouble.clear();
        }
        polling.failures = 0;
        polling.unready = false;
        polling.conflicts = 0;
        polling.limit = 0;
        polling.not_before_ms = 0;
        polling.last_ok_ms = now.unix_ms;
        if self.live.phase != Phase::Running {
            // Not stored, so not confirmed: whoever polls next gets them.
            return Ok(());
        }
        for update in updates {
            if let Some(row) = inbox::accept(db, update.id, now.unix_ms)? {
                self.update(db, row, update, step, now)?;
            }
            self.live.offset = update.id.0.saturating_add(1);
        }
        if !updates.is_empty() {
            self.live.polling.last_update_ms = now.unix_ms;
            meta::set(db, keep::NEXT_OFFSET, &self.live.offset.to_string())?;
        }
        Ok(())
    }

    fn poll_failed(&mut self, failure: &PollFailure, step: &mut Step, now: Now) {
        let first_contact = self.live.polling.last_ok_ms == 0;
        self.live.polling.failures = self.live.polling.failures.saturating_add(1);
        let backoff_ms = self.backoff_ms(self.live.polling.failures);
        let (wait_ms, trouble) = match failure {
            PollFailure::Telegram(error) => {
                step.counts.push(Count::TelegramError(Some(error.code())));
                match error {
                    TelegramError::Unauthorized | TelegramError::NotFound if first_contact => {
                        self.live.end = Some(End::TokenRefused(token_refused()));
                        return;
                    }
                    TelegramError::Unauthorized | TelegramError::NotFound => {
                        self.live.polling.unready = true;
                        (MINUTE_MS, token_refused())
                    }
                    TelegramError::RetryAfter { seconds } => {
                        (i64::from(*seconds) * SECOND_MS, "telegram asks for a pause".to_owned())
                    }
                    TelegramError::Conflict(kind) => self.conflict(*kind, step, now),
                    other => (backoff_ms, format!("telegram: {other}")),
                }
            }
            PollFailure::Net(error) => {
                step.counts.push(Count::TelegramError(None));
                (backoff_ms, format!("telegram: {}", error.text))
            }
            PollFailure::Unreadable(why) => {
                // One update of the page is to blame: find it alone, or get past it in a whole page.
                self.live.polling.limit = u32::from(self.live.polling.limit != 1);
                (backoff_ms, format!("telegram: a page of updates cannot be read: {why}"))
            }
        };
        let polling = &mut self.live.polling;
        polling.unready |= polling.failures >= FAILURES_UNREADY;
        if polling.trouble.is_empty() {
            polling.trouble_ms = now.unix_ms;
        }
        // A new trouble at once, the same one again ever more rarely.
        let is_new = polling.trouble != trouble;
        if is_new || polling.told_ms + polling.tell_after_ms <= now.unix_ms {
            let again_ms = (polling.tell_after_ms * 2).min(TELL_AFTER_MS_MAX);
            polling.tell_after_ms = if is_new { TELL_AFTER_MS_MIN } else { again_ms };
            polling.told_ms = now.unix_ms;
            let wait_s = wait_ms.max(SECOND_MS) / SECOND_MS;
            if polling.conflicts >= CONFLICTS_MAX {
                log::error!(
                    target: "poll.conflict", times = polling.conflicts;
                    "{trouble}; next try in {wait_s} s"
                );
            } else {
                log::warn!(
                    target: "poll.failed", times = polling.failures;
                    "{trouble}; next try in {wait_s} s"
                );
            }
            polling.trouble = trouble;
        }
        polling.not_before_ms = now.unix_ms + wait_ms;
    }

    fn conflict(&mut self, kind: Conflict, step: &mut Step, now: Now) -> (i64, String) {
        let polling = &mut self.live.polling;
        polling.conflicts = polling.conflicts.saturating_add(1);
        polling.conflict_last_ms = now.unix_ms;
        if kind == Conflict::WebhookActive {
            step.jobs.push(Job::RemoveWebhook);
            return (2 * SECOND_MS, "telegram: a webhook is set: it is being removed".to_owned());
        }
        if polling.conflicts < CONFLICTS_MAX {
            // Our own poll of a moment ago may still be held there.
            return (3 * SECOND_MS, "telegram: another poll was just open".to_owned());
        }
        polling.unready = true;
        let cause = "telegram: 409 again and again: another program polls with this token: stop the \
                     other one (an old bot, a second box) or give this one its own token";
        (CONFLICT_WAIT_MS, cause.to_owned())
    }

    pub(super) fn backoff_ms(&mut self, failures: u32) -> i64 {
        let base_ms = BACKOFF_MS_MIN
            .checked_shl(failures.saturating_sub(1).min(16))
            .unwrap_or(BACKOFF_MS_MAX)
            .min(BACKOFF_MS_MAX);
        self.jitter_ms(base_ms)
    }

    pub(super) fn ready(
        &mut self,
        db: &Db,
        result: &SetupResult,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        match result {
            SetupResult::Me(Ok((me, privacy_off))) => {
                self.live.me_in_flight = false;
                self.live.me_known = true;
                self.policy.bot = me.id;
                self.policy.bot_name = me.username.clone().unwrap_or_default();
                meta::set(db, keep::BOT_NAME, &self.policy.bot_name)?;
                meta::set(db, keep::PRIVACY_OFF, if *privacy_off { "1" } else { "0" })?;
                log::info!(
                    target: "bot.known", bot = self.policy.bot_name.as_str(), id = me.id.0;
                    "this is @{} (id {})", self.policy.bot_name, me.id
                );
            }
            SetupResult::Me(Err(failure)) => {
                self.live.me_in_flight = false;
                // Before a first getMe nothing polls: its failures are the only word of a network or
                // a name service that is not there yet. Later the poll beside it speaks.
                if self.policy.bot_name.is_empty() {
                    let failure = match failure {
                        SendFailure::Telegram(error) => PollFailure::Telegram(error.clone()),
                        SendFailure::Net(error) => PollFailure::Net(error.clone()),
                    };
                    self.poll_failed(&failure, step, now);
                    return Ok(());
                }
                let refused = matches!(
                    failure,
                    SendFailure::Telegram(TelegramError::Unauthorized | TelegramError::NotFound)
                );
                if refused && self.live.polling.last_ok_ms == 0 {
                    self.live.end = Some(End::TokenRefused(token_refused()));
                }
                let wait_ms = self.backoff_ms(1);
                let polling = &mut self.live.polling;
                polling.not_before_ms = polling.not_before_ms.max(now.unix_ms + wait_ms);
            }
            SetupResult::WebhookSet(result) => self.hook_set(result, step, now),
            SetupResult::WebhookInfo(result) => self.hook_info(result, step, now),
            SetupResult::WebhookGone(result) if self.must_unhook() => {
                self.unhooked(result.as_ref().err(), step, now);
            }
            SetupResult::WebhookGone(Ok(was_set)) => {
                if *was_set {
                    log::warn!(target: "webhook.removed", "a webhook was set: removed, its waiting updates are kept");
                }
                self.live.polling.not_before_ms = 0;
            }
            SetupResult::WebhookGone(Err(_)) => {
                self.live.polling.not_before_ms = now.unix_ms + self.backoff_ms(2);
            }
        }
        Ok(())
    }
}

pub(super) fn token_refused() -> String {
    "TELEGRAM_BOT_TOKEN: telegram does not know this token: take the one that BotFather shows"
        .to_owned()
}
