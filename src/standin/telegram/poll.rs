//! Owns: getUpdates and the webhook's switches (api-reference A2, A3, A11).
//! May not: hold the lock while it waits.

use super::http::lock;
use super::params::Params;
use super::state::State;
use super::{Answer, Data, Inner, Refusal, map};
use std::sync::PoisonError;
use std::time::Duration;

/// The server's own clamp of `timeout`.
const POLL_S_MAX: i64 = 50;
/// A page ends near this size.
const PAGE_BYTES_MAX: usize = 4 << 20;
const TERMINATED: &str = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
const WEBHOOK_ACTIVE: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";

/// What is remembered between polls.
#[derive(Default)]
pub(super) struct Poll {
    /// Grows with each poll; a waiting one that is no longer the newest is told so.
    newest: u64,
    last_offset: Option<i64>,
    last_ms: i64,
    /// When the very first poll came.
    pub(super) first_ms: Option<i64>,
    /// All polls ever.
    pub(super) total: u64,
    /// Polls refused with 409.
    pub(super) conflicts: u64,
}

impl Inner {
    pub(super) fn get_updates(&self, params: &Params) -> Answer {
        let offset = params.int("offset", 0, i64::MIN, i64::MAX);
        let mut limit = usize::try_from(params.int("limit", 100, 1, 100)).unwrap_or(100);
        let mut timeout_s = params.int("timeout", 0, 0, POLL_S_MAX);
        let now_ms = (self.options.clock)();
        let mut state = lock(&self.state);
        state.poll.first_ms.get_or_insert(now_ms);
        state.poll.total += 1;
        if !state.webhook.is_empty() {
            state.poll.conflicts += 1;
            return Err(Refusal::new(409, WEBHOOK_ACTIVE));
        }
        state.allow(params);
        state.poll.newest += 1;
        let mine = state.poll.newest;
        // The older poll, if one waits, learns that it is no longer alone.
        self.changed.notify_all();
        // A hot loop punishes itself (api-reference A2).
        if state.poll.last_offset == Some(offset) {
            let since_ms = now_ms - state.poll.last_ms;
            if timeout_s < 3 && (0..3_000).contains(&since_ms) {
                timeout_s = 3;
            }
            if (0..500).contains(&since_ms) {
                limit = 1;
            }
        }
        state.poll.last_offset = Some(offset);
        state.poll.last_ms = now_ms;
        state.confirm(offset);
        let wait = Duration::from_secs(u64::try_from(timeout_s).unwrap_or(0));
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, wait, |it| {
                it.updates.is_empty()
                    && it.poll.newest == mine
                    && it.webhook.is_empty()
                    && !it.ending
            })
            .unwrap_or_else(PoisonError::into_inner);
        if !state.webhook.is_empty() {
            state.poll.conflicts += 1;
            return Err(Refusal::new(409, "Conflict: terminated by setWebhook request"));
        }
        if state.poll.newest != mine {
            state.poll.conflicts += 1;
            return Err(Refusal::new(409, TERMINATED));
        }
        Ok(state.page(limit))
    }
}

impl State {
    /// Deletes what the offset confirms.
    fn confirm(&mut self, offset: i64) {
        if offset < 0 {
            let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            let forget = self.updates.len().saturating_sub(keep);
            self.updates.drain(..forget);
        } else if 0 < offset {
            let confirmed = self.updates.iter().take_while(|update| update.id < offset).count();
            self.updates.drain(..confirmed);
        }
    }

    fn page(&self, limit: usize) -> String {
        let mut out = String::from("[");
        for (index, update) in self.updates.iter().take(limit).enumerate() {
            if index != 0 {
                if PAGE_BYTES_MAX < out.len() + update.json.len() {
                    break;
                }
                out.push(',');
            }
            out.push_str(&update.json);
        }
        out.push(']');
        out
    }

    /// `allowed_updates` is sticky: absent or unreadable changes nothing.
    fn allow(&mut self, params: &Params) {
        if let Data::List(names) = params.json("allowed_updates") {
            self.allowed = names.iter().filter_map(Data::text).map(str::to_owned).collect();
        }
    }

    pub(super) fn set_webhook(&mut self, params: &Params) -> Answer {
        let url = params.get("url");
        if !url.is_empty() && !url.starts_with("https://") {
            let text = "bad webhook: An HTTPS URL must be provided for webhook";
            return Err(Refusal::bad(text));
        }
        self.allow(params);
        if self.webhook != url {
            self.webhook_error = (0, String::new());
        }
        self.webhook = url.to_owned();
        self.webhook_secret = params.get("secret_token").to_owned();
        self.webhook_connections = params.int("max_connections", 40, 1, 100);
        self.webhook_hits += 1;
        self.drop_pending(params);
        Ok("true".into())
    }

    pub(super) fn delete_webhook(&mut self, params: &Params) -> Answer {
        self.webhook.clear();
        self.drop_pending(params);
        Ok("true".into())
    }

    fn drop_pending(&mut self, params: &Params) {
        if params.is_true("drop_pending_updates") {
            self.updates.clear();
        }
    }

    pub(super) fn webhook_info(&self) -> Data {
        let mut info = map([
            ("url", self.webhook.as_str().into()),
            ("has_custom_certificate", false.into()),
            ("pending_update_count", self.updates.len().into()),
        ]);
        if !self.webhook.is_empty() {
            info.set("max_connections", self.webhook_connections);
        }
        if self.webhook_error.0 != 0 {
            info.set("last_error_date", self.webhook_error.0);
            info.set("last_error_message", self.webhook_error.1.as_str());
        }
        if !self.allowed.is_empty() {
            let names: Vec<Data> = self.allowed.iter().map(|name| name.as_str().into()).collect();
            info.set("allowed_updates", names);
        }
        info
    }
}
