//! Owns: what is not a message: housekeeping, requests of commands, stopping and draining.
//! May not: ask, send or poll.

use super::{End, Phase, State, Step, watch};
use crate::store::Db;
use crate::store::status::Published;
use crate::store::{Result, inbox, ledger, meta, outbox, people, status, sync};
use crate::types::{HOUR_MS, MINUTE_MS, Now, SECOND_MS};

/// The lowest update not yet taken in; belongs to the bot of [`BOT_ID`].
pub(crate) const NEXT_OFFSET: &str = "next_offset";
/// When Telegram last delivered to our webhook, for judging the errors that it reports.
pub(crate) const LAST_DELIVERY: &str = "webhook_delivery_ms";
/// Whose offset it is; another token starts anew.
pub(crate) const BOT_ID: &str = "bot_id";
/// The bot's username, so that a start need not wait for getMe.
pub(crate) const BOT_NAME: &str = "bot_name";
/// `1` when the bot sees all messages of its groups.
pub(crate) const PRIVACY_OFF: &str = "bot_privacy_off";
/// Which menu of commands Telegram has.
pub(crate) const MENU: &str = "menu";
/// The instant of the last synced commit, so that a synced commit has something to write.
const SYNCED_MS: &str = "synced_ms";
/// Longest wait for what is in hand after SIGTERM; systemd and the contract allow 10 s.
const STOP_WITHIN_MS: i64 = 8 * SECOND_MS;
/// Housekeeping while there is something to do, and while there is not.
const HOUSEKEEPING_EVERY_MS: i64 = MINUTE_MS;
/// Days that charts and forecasts look back.
const TALLY_DAYS: i64 = 35;
/// Sessions are forgotten so long after they ended; until then `/vip` and replies may want them.
const SESSION_KEEP_MS: i64 = HOUR_MS;
/// Turns of history that leave at once.
const PRUNE_ROWS_MAX: u32 = 1_000;

impl State {
    pub(super) fn keep_house(&mut self, db: &Db, step: &mut Step, now: Now) -> Result<()> {
        if self
            .live
            .unsynced_since_ms
            .is_some_and(|since| since + super::SYNC_AFTER_MS <= now.unix_ms)
        {
            // A transaction that writes nothing is not synced.
            meta::write(db, SYNCED_MS, &now.unix_ms.to_string())?;
        }
        if !self.live.commands_set && self.live.me_known && self.live.polling.last_ok_ms != 0 {
            self.live.commands_set = true;
            self.register_commands(db, step, now)?;
        }
        self.publish_facts(db, now)?;
        self.tally_backlog(db, now)?;
        if self.live.housekeeping_due_ms > now.unix_ms {
            return Ok(());
        }
        self.watch(db, now)?;
        meta::set(db, status::fact::SQLITE_MEMORY, &(self.measure)(db).written())?;
        meta::prune_tallies(db, now.unix_ms, TALLY_DAYS)?;
        ledger::prune(db, now)?;
        self.live.housekeeping_due_ms = now.unix_ms + HOUSEKEEPING_EVERY_MS;
        inbox::prune(db, now.unix_ms)?;
        outbox::prune(db, now.unix_ms)?;
        if self.config.keep_history_ms > 0 {
            let before_us = (now.unix_ms - self.config.keep_history_ms) * 1_000;
            sync::prune(db, before_us, self.config.supabase.is_some(), PRUNE_ROWS_MAX)?;
        }
        people::prune_sessions(db, now.unix_ms - self.policy.session_idle_ms - SESSION_KEEP_MS)?;
        Ok(())
    }

    /// What commands beside the daemon read: at once when it changes, the last poll once a minute.
    fn publish_facts(&mut self, db: &Db, now: Now) -> Result<()> {
        let facts = self.published();
        let same = Published { last_poll_ms: self.published.last_poll_ms, ..facts.clone() }
            == self.published;
        if same && self.live.housekeeping_due_ms > now.unix_ms {
            return Ok(());
        }
        status::publish(db, &facts)?;
        self.published = facts;
        Ok(())
    }

    /// Begins to stop: no new polls, no new questions.
    pub(super) fn stop(&mut self, db: &Db, now: Now) -> Result<()> {
        if matches!(self.live.phase, Phase::Stopping { .. }) {
            return Ok(());
        }
        let in_hand = self.live.asking.len() + self.live.sending.len();
        log::info!(target: "daemon.stopping", in_hand; "stopping: {in_hand} in hand");
        self.live.phase = Phase::Stopping { until_ms: now.unix_ms + STOP_WITHIN_MS };
        // A second signal ends the program at once: that too is no crash.
        watch::end(db)
    }

    /// What another program asked for through the database.
    pub(super) fn requested(&mut self, request: &str, now: Now) {
        match request {
            "drain" => {
                if self.live.phase == Phase::Running {
                    log::info!(target: "daemon.draining", "draining: nothing more is taken in, everything stored is answered");
                    self.live.phase = Phase::Draining;
                    if self.is_hooked() {
                        self.live.polling.not_before_ms = 0;
                    }
                    self.sync_now(now);
                }
            }
            "sync" => self.sync_now(now),
            "reload" => self.reload_wanted = true,
            other => {
                log::debug!(target: "request.unknown", kind = other; "nothing knows this request")
            }
        }
    }

    pub(super) fn judge_end(&mut self, db: &Db, now: Now) -> Result<()> {
        let in_hand = !self.live.asking.is_empty() || !self.live.sending.is_empty();
        match self.live.phase {
            Phase::Running => {}
            Phase::Stopping { until_ms } => {
                if until_ms <= now.unix_ms {
                    inbox::recover(db)?;
                    outbox::recover(db, now.unix_ms)?;
                    self.live.end = Some(End::Stopped);
                } else if !in_hand && self.may_finish_sending(db, now)? {
                    self.live.end = Some(End::Stopped);
                }
            }
            Phase::Draining => {
                let answered =
                    !in_hand && self.live.pending == 0 && self.may_finish_sending(db, now)?;
                if answered && !self.must_unhook() && !self.has_unsynced(db, now)? {
                    self.live.end = Some(End::Drained);
                }
            }
        }
        if self.live.end.is_some() {
            watch::end(db)?;
        }
        Ok(())
    }
}
