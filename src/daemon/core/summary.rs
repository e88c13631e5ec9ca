//! Owns: what becomes of a conversation whose rounds are spent when the person goes on (`SUMMARISE`).
//! May not: make an answer wait, or keep anything that `/reset`, `/forget` or the end of the session
//! erases.
//!
//! The next session follows the spent one: its turns go along word for word until a summary of them
//! is there, made by a call of its own when nobody waits for an answer. When that does not work, they
//! are dropped as without the setting.

use super::along::guess_text_tokens;
use super::{Count, Phase, State, Step};
use crate::daemon::event::{AskJob, Asked, Job};
use crate::engine::keypool::{Choice, Lease, Want};
use crate::engine::persona;
use crate::store::{Db, Result, history, people};
use crate::types::model::ModelFailure;
use crate::types::{Now, Role, SECOND_MS, Tier, UnixMs};
use std::collections::BTreeMap;

/// Conversations that wait for a summary; beyond, the next question of theirs asks again.
const WANTED_MAX: usize = 64;
/// Tries of one summary.
const TRIES_MAX: u32 = 3;
/// Between two tries of any.
const AGAIN_MS: i64 = 20 * SECOND_MS;
/// Turns that are summed up; far more than any role's rounds.
const TURNS_MAX: u32 = 64;
/// Bytes of a conversation that are summed up; the oldest give way.
const TRANSCRIPT_BYTES_MAX: usize = 48_000;

/// What is known of summaries to be made; all of it is found again by the next question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summaries {
    /// Sessions, whose they are, and failed tries.
    wanted: BTreeMap<i64, (Role, u32)>,
    /// The one being made.
    in_flight: Option<(i64, Lease)>,
    /// Not before.
    due_ms: UnixMs,
}

impl State {
    /// From when on the last activity of a spent session lets the next one follow it.
    pub(super) fn follows_after_ms(&self, now: Now) -> Option<UnixMs> {
        self.config.summarise.then_some(now.unix_ms - self.policy.session_idle_ms)
    }

    /// The turns that go along with a question of this session, and the summary of what was before.
    pub(super) fn memory(
        &mut self,
        db: &Db,
        session: i64,
        rounds_max: u32,
        role: Role,
    ) -> Result<(Vec<(String, String)>, String)> {
        let own = history::of_session(db, session, rounds_max)?;
        #[cfg(feature = "redis")]
        let own = self.with_carried(db, session, rounds_max, own)?;
        let before = match session {
            0 => None,
            _ => people::before(db, session)?,
        };
        let Some(before) = before.filter(|_| self.config.summarise) else {
            return Ok((own, String::new()));
        };
        if before.follows == 0 || before.summed {
            return Ok((own, before.summary));
        }
        let wanted = &mut self.live.summaries.wanted;
        if wanted.len() < WANTED_MAX {
            wanted.entry(session).or_insert((role, 0));
        }
        let room = usize::try_from(rounds_max).unwrap_or(usize::MAX).saturating_sub(own.len());
        let room = u32::try_from(room).unwrap_or(0);
        let mut turns = history::of_session(db, before.follows, room)?;
        turns.extend(own);
        Ok((turns, before.summary))
    }

    /// Asks for one summary when no question waits and a worker is free.
    pub(super) fn start_summary(&mut self, db: &Db, step: &mut Step, now: Now) -> Result<()> {
        let asking = self.live.asking.len();
        let busy = self.live.phase != Phase::Running
            || self.live.end.is_some()
            || self.hold
            || self.live.summaries.in_flight.is_some()
            || self.live.summaries.due_ms > now.unix_ms
            || asking >= self.config.workers
            || self.live.pending as usize > asking;
        let first = self.live.summaries.wanted.first_key_value();
        let Some((session, (role, _))) = first.map(|(id, what)| (*id, *what)).filter(|_| !busy)
        else {
            return Ok(());
        };
        let before = people::before(db, session)?.filter(|before| !before.summed);
        let Some(before) = before else {
            // Reset, forgotten or over.
            self.live.summaries.wanted.remove(&session);
            return Ok(());
        };
        let text =
            transcript(&before.summary, &history::of_session(db, before.follows, TURNS_MAX)?);
        if text.is_empty() {
            self.live.summaries.wanted.remove(&session);
            return people::set_summary(db, session, &before.summary);
        }
        let tokens_guess = guess_text_tokens(&text);
        let want = Want { role, tier: Tier::Lite, tokens_guess, exclude: &[] };
        let dice = self.roll();
        self.live.summaries.due_ms = now.unix_ms + AGAIN_MS;
        let Choice::Use(pick) = self.pool.choose(&want, now, dice) else { return Ok(()) };
        let lease = self.pool.reserve(&pick, tokens_guess, now);
        let fleet = self.fleet_ask(&pick, &lease, role, tokens_guess, now);
        step.jobs.push(Job::Ask(Box::new(AskJob {
            inbox: -session,
            key: self.key_secrets.get(pick.key).cloned().unwrap_or_default(),
            model: pick.model,
            system: persona::summary_prompt().to_owned(),
            turns: Vec::new(),
            text,
            media: Vec::new(),
            media_max_bytes: 0,
            stream: false,
            growth: None,
            cancel: std::sync::Arc::default(),
            timeout_ms: u64::try_from(self.config.answer_timeout_ms).unwrap_or(60_000),
            role,
            fleet,
        })));
        self.live.summaries.in_flight = Some((session, lease));
        Ok(())
    }

    /// A summary is there, or not.
    pub(super) fn summarised(
        &mut self,
        db: &Db,
        asked: &Asked,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let Some((session, lease)) = self.live.summaries.in_flight.take() else { return Ok(()) };
        let model = lease.model.clone();
        let settled = asked.result.as_ref().map(|reply| &reply.usage);
        let effects = self.pool.settle(lease, settled, now);
        self.notices(db, &effects.notices, now)?;
        let outcome = asked.result.as_ref().err().map_or("ok", ModelFailure::label);
        step.counts.push(Count::Gemini { model: model.clone(), outcome });
        let wanted = &mut self.live.summaries.wanted;
        match &asked.result {
            Ok(reply) => {
                wanted.remove(&session);
                self.live.summaries.due_ms = now.unix_ms;
                let text = self.masker.mask(&reply.text).unwrap_or_else(|| reply.text.clone());
                let text: String = text.chars().take(persona::SUMMARY_CHARS_MAX).collect();
                let (input, output) = (reply.usage.input, reply.usage.output);
                step.counts.push(Count::Tokens { model, input, output });
                people::set_summary(db, session, text.trim())
            }
            Err(failure) => {
                log::debug!(target: "summary.failed", session; "session {session}: no summary: {}", failure.label());
                let tries = wanted.get_mut(&session).map_or(TRIES_MAX, |(_, tries)| {
                    *tries += 1;
                    *tries
                });
                if tries < TRIES_MAX {
                    return Ok(());
                }
                wanted.remove(&session);
                // What was summed up before is still true.
                let before = people::before(db, session)?.unwrap_or_default();
                people::set_summary(db, session, &before.summary)
            }
        }
    }
}

/// The conversation as one text, newest kept; empty when there is nothing.
fn transcript(summary: &str, turns: &[(String, String)]) -> String {
    let mut kept = Vec::new();
    let mut room = TRANSCRIPT_BYTES_MAX;
    for (asked, answered) in turns.iter().rev() {
        let Some(left) = room.checked_sub(asked.len() + answered.len()) else { break };
        room = left;
        kept.push(format!("Person: {asked}\nBot: {answered}\n"));
    }
    if kept.is_empty() {
        return String::new();
    }
    if !summary.is_empty() {
        kept.push(format!("Before: {summary}\n"));
    }
    kept.reverse();
    kept.join("\n")
}
