//! Owns: webhook mode: when to tell Telegram our URL, what follows from how deliveries go, and what a
//! delivery becomes.
//! May not: acknowledge an update that is not committed.

use super::{Count, End, Phase, State, Step, keep, poll};
use crate::daemon::event::{Fetched, Job, SendFailure};
use crate::daemon::http::webhook::DELIVERIES_MAX;
use crate::daemon::snapshot::POLL_STALE_MS;
use crate::store::{Db, Result, inbox, meta};
use crate::types::{MINUTE_MS, Now, SECOND_MS, UnixMs};
use crate::wire::telegram::{TelegramError, WebhookInfo};

/// Between two questions how deliveries go (contract §6).
const INFO_EVERY_MS: i64 = 30 * SECOND_MS;
/// Nothing heard for so long, and Telegram cannot be reached twice in a row: nothing can be delivered or sent.
const AWAY_MS: i64 = 45 * SECOND_MS;
/// After so many times in a row that ours was gone, somebody else uses the token.
const OVERWRITTEN_MAX: u32 = 3;
/// The instant of the last delivery is written down no more often than this.
const DELIVERY_NOTED_EVERY_MS: i64 = SECOND_MS;

/// How webhook mode goes; what it has in common with polling is in [`super::Polling`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Hook {
    /// Telegram took our URL in this run.
    pub(crate) set: bool,
    /// Telegram has taken it back, for a drain.
    pub(crate) removed: bool,
    /// Ours was found gone so many times in a row.
    pub(crate) overwritten: u32,
    /// When Telegram last delivered; 0 never.
    pub(crate) last_delivery_ms: UnixMs,
    /// The last delivery error that Telegram reports; 0 none.
    pub(crate) last_error_ms: UnixMs,
    /// What of that is written down.
    noted_ms: UnixMs,
}

impl State {
    /// Whether updates are delivered instead of polled.
    pub(crate) fn is_hooked(&self) -> bool {
        self.config.webhook.is_some()
    }

    /// Whether Telegram still has to be told that no more deliveries are wanted.
    pub(super) fn must_unhook(&self) -> bool {
        // Where several boxes share them, the others still want deliveries.
        #[cfg(feature = "redis")]
        if self.shares_updates() {
            return false;
        }
        self.is_hooked() && self.live.phase == Phase::Draining && !self.live.hook.removed
    }

    /// Why deliveries do not come, where Telegram says so or nobody listens.
    pub(super) fn hook_trouble(&self) -> Option<String> {
        let hook = &self.live.hook;
        // What Telegram could not deliver to one box it delivers to the next.
        #[cfg(feature = "redis")]
        if self.shares_updates() && self.listening {
            return None;
        }
        if !self.is_hooked() || hook.last_error_ms <= hook.last_delivery_ms && self.listening {
            return None;
        }
        let why =
            if self.listening { "Telegram could not deliver" } else { "the listener is not up" };
        Some(format!("webhook: {why}"))
    }

    pub(super) fn start_hook(&mut self, step: &mut Step, now: Now) {
        let Some(webhook) = &self.config.webhook else { return };
        let polling = &mut self.live.polling;
        if polling.in_flight || polling.not_before_ms > now.unix_ms {
            return;
        }
        let job = match self.live.phase {
            Phase::Stopping { .. } => return,
            Phase::Draining if self.live.hook.removed => return,
            Phase::Draining => Job::RemoveWebhook,
            Phase::Running if self.live.hook.set => Job::WebhookInfo,
            Phase::Running => Job::SetWebhook {
                url: webhook.url.clone(),
                secret: webhook.secret.clone(),
                connections: u32::try_from(DELIVERIES_MAX).unwrap_or(1),
            },
        };
        polling.in_flight = true;
        step.jobs.push(job);
    }

    /// A delivery: stored as an update that was polled. One that came already changes nothing.
    pub(super) fn pushed(
        &mut self,
        db: &Db,
        update: &Fetched,
        ticket: u64,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        // Decisions need our own name. What a drain refuses waits at Telegram for whoever comes next.
        let named = self.live.me_known || !self.policy.bot_name.is_empty();
        let taken = named && self.live.phase != Phase::Draining;
        if taken {
            if let Some(row) = inbox::accept(db, update.id, now.unix_ms)? {
                self.update(db, row, update, step, now)?;
            }
            if self.live.offset != 0 {
                // Deliveries come in any order: a later poll begins with whatever is not confirmed.
                self.live.offset = 0;
                meta::set(db, keep::NEXT_OFFSET, "0")?;
            }
            if self.live.polling.last_ok_ms != 0 {
                self.live.polling.last_ok_ms = now.unix_ms;
            }
            let hook = &mut self.live.hook;
            hook.last_delivery_ms = now.unix_ms;
            if hook.noted_ms + DELIVERY_NOTED_EVERY_MS <= now.unix_ms {
                hook.noted_ms = now.unix_ms;
                meta::set(db, keep::LAST_DELIVERY, &now.unix_ms.to_string())?;
            }
        }
        step.answers.push((ticket, taken));
        Ok(())
    }

    pub(super) fn hook_set(
        &mut self,
        result: &std::result::Result<(), SendFailure>,
        step: &mut Step,
        now: Now,
    ) {
        self.live.polling.in_flight = false;
        if let Err(failure) = result {
            return self.hook_failed("setWebhook", failure, step, now);
        }
        self.live.hook.set = true;
        let overwritten = self.live.hook.overwritten;
        if overwritten == 0 {
            log::info!(target: "webhook.set", "webhook set: Telegram delivers updates to WEBHOOK_URL");
        }
        self.hook_heard(now);
        // Somebody who sets theirs again is found at the next look, not in a race with ours.
        let wait_ms = if overwritten == 0 { 0 } else { INFO_EVERY_MS };
        self.live.polling.not_before_ms = now.unix_ms + wait_ms;
    }

    pub(super) fn hook_info(
        &mut self,
        result: &std::result::Result<WebhookInfo, SendFailure>,
        step: &mut Step,
        now: Now,
    ) {
        self.live.polling.in_flight = false;
        let info = match result {
            Ok(info) => info,
            Err(failure) => return self.hook_failed("getWebhookInfo", failure, step, now),
        };
        self.live.polling.not_before_ms = now.unix_ms + INFO_EVERY_MS;
        if !self.config.webhook.as_ref().is_some_and(|webhook| webhook.is_url(&info.url)) {
            return self.hook_gone(info, now);
        }
        self.live.hook.overwritten = 0;
        self.hook_heard(now);
        let error_ms = info.last_error_s.saturating_mul(SECOND_MS);
        let hook = &mut self.live.hook;
        if error_ms > hook.last_error_ms && error_ms > hook.last_delivery_ms {
            log::warn!(
                target: "webhook.undelivered", waiting = info.pending;
                "webhook: Telegram could not deliver: {}: {} updates wait there",
                info.last_error,
                info.pending
            );
        }
        hook.last_error_ms = error_ms;
    }

    /// How taking our webhook away went, for a drain.
    pub(super) fn unhooked(&mut self, failure: Option<&SendFailure>, step: &mut Step, now: Now) {
        self.live.polling.in_flight = false;
        match failure {
            // A token that is known no more has no webhook either, nor a server that knows none.
            None
            | Some(SendFailure::Telegram(
                TelegramError::Unauthorized
                | TelegramError::NotFound
                | TelegramError::MethodUnknown,
            )) => {
                self.live.hook.removed = true;
                log::info!(target: "webhook.unset", "webhook removed: further updates wait at Telegram");
            }
            Some(failure) => self.hook_failed("deleteWebhook", failure, step, now),
        }
    }

    /// Somebody took our webhook away or set another: it is set again, at once and then at every look.
    fn hook_gone(&mut self, info: &WebhookInfo, now: Now) {
        let hook = &mut self.live.hook;
        hook.set = false;
        hook.overwritten = hook.overwritten.saturating_add(1);
        let what = if info.url.is_empty() { "removed" } else { "replaced by another" };
        if hook.overwritten.is_power_of_two() {
            log::warn!(target: "webhook.replaced", waiting = info.pending; "webhook: ours was {what}, {} updates wait: it is set again", info.pending);
        }
        let polling = &mut self.live.polling;
        polling.not_before_ms = now.unix_ms;
        if hook.overwritten >= OVERWRITTEN_MAX {
            polling.unready = true;
            polling.trouble =
                "webhook: it is taken away again and again: another program uses this \
                               token: stop the other one or give this one its own token"
                    .to_owned();
        }
    }

    fn hook_heard(&mut self, now: Now) {
        let hook = &self.live.hook;
        let polling = &mut self.live.polling;
        polling.last_ok_ms = now.unix_ms;
        polling.failures = 0;
        if hook.overwritten < OVERWRITTEN_MAX {
            if !polling.trouble.is_empty() {
                log::info!(target: "webhook.recovered", "webhook: Telegram answers again");
            }
            polling.trouble.clear();
            polling.unready = false;
        }
    }

    pub(super) fn hook_failed(
        &mut self,
        method: &str,
        failure: &SendFailure,
        step: &mut Step,
        now: Now,
    ) {
        let first_contact = self.live.polling.last_ok_ms == 0;
        self.live.polling.failures = self.live.polling.failures.saturating_add(1);
        let backoff_ms = self.backoff_ms(self.live.polling.failures);
        let is_set = self.live.hook.set;
        let refused = match failure {
            SendFailure::Telegram(TelegramError::Unauthorized) => true,
            // A token that was good for setWebhook is known: then it is the method that is not.
            SendFailure::Telegram(TelegramError::NotFound) => !is_set,
            _ => false,
        };
        let (wait_ms, trouble) = match failure {
            _ if refused && first_contact && self.live.phase == Phase::Running => {
                self.live.end = Some(End::TokenRefused(poll::token_refused()));
                return;
            }
            SendFailure::Telegram(error) => {
                step.counts.push(Count::TelegramError(Some(error.code())));
                match error {
                    TelegramError::Unauthorized => (MINUTE_MS, poll::token_refused()),
                    TelegramError::RetryAfter { seconds } => {
                        (i64::from(*seconds) * SECOND_MS, "telegram asks for a pause".to_owned())
                    }
                    other => (backoff_ms, format!("telegram: {method}: {other}")),
                }
            }
            SendFailure::Net(error) => {
                step.counts.push(Count::TelegramError(None));
                (backoff_ms, format!("telegram: {method}: {}", error.text))
            }
        };
        let polling = &mut self.live.polling;
        // Deliveries may go on while only the question about them fails, and are a sign of life too.
        let is_out_of_reach =
            matches!(failure, SendFailure::Net(_)) && polling.failures >= poll::FAILURES_UNREADY;
        let patience_ms = if is_out_of_reach { AWAY_MS } else { POLL_STALE_MS };
        let stale = now.unix_ms - polling.last_ok_ms > patience_ms && is_away(failure);
        polling.unready |=
            refused || !is_set && polling.failures >= poll::FAILURES_UNREADY || is_set && stale;
        if polling.trouble != trouble {
            log::warn!(target: "webhook.failed", "{trouble}; next try in {} s", wait_ms.max(SECOND_MS) / SECOND_MS);
            polling.trouble = trouble;
        }
        polling.not_before_ms = now.unix_ms + wait_ms;
    }
}

/// Nobody is there, or nobody who can answer.
fn is_away(failure: &SendFailure) -> bool {
    matches!(
        failure,
        SendFailure::Net(_)
            | SendFailure::Telegram(TelegramError::Server { .. } | TelegramError::NotJson { .. })
    )
}
