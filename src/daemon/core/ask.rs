//! Owns: which question is asked next, with what, and what follows from how that ended.
//! May not: know a key's rules (the pool) or a model's errors (the wire).

use super::accept::class_of;
use super::along::{failure_words, guess_tokens, metadata, with_context};
use super::{Asked as InFlight, Count, Phase, State, Step, words};
use crate::calendar;
use crate::daemon::event::{AskJob, Asked, Job};
use crate::daemon::metrics::AnswerOutcome;
use crate::engine::keypool::{Choice, Want};
use crate::engine::live::{self, Way};
use crate::engine::persona;
use crate::engine::render;
use crate::engine::settle::{self, Next};
use crate::engine::speech::{self, Speech};
use crate::store::Db;
use crate::store::inbox::{self, Asking};
use crate::store::outbox::{self, Kind, Outgoing};
use crate::store::{Result, erase, history, meta, places};
use crate::types::model::{Finish, ModelFailure, Reply};
use crate::types::{ChatKind, Lang, MessageId, Now, Part, Role, SECOND_MS, Tier};

/// Every so many takes go to whoever has waited longest, so that nobody starves (contract §4).
const FAIR_TURN_EVERY: u64 = 8;
/// Overdue questions refused in one turn.
const OVERDUE_PER_TURN_MAX: u32 = 64;
/// Typing is shown when an answer takes longer than this; most need it, instant ones do not.
const TYPING_AFTER_MS: i64 = 400;
/// Typing lasts 5 s at Telegram (api-reference A4).
pub(super) const TYPING_EVERY_MS: i64 = 4 * SECOND_MS;
/// A wait longer than this is worth a word before it.
const TELL_WAIT_MS: i64 = 20 * SECOND_MS;
/// What a bot may download from Telegram at most (api-reference A6).
const DOWNLOAD_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// Characters of a question's memory that go along; oldest rounds give way.
const MEMORY_CHARS_MAX: usize = 200_000;

impl State {
    /// Takes questions until the workers are busy, the queue is empty or no key is free.
    pub(super) fn start_asking(&mut self, db: &Db, step: &mut Step, now: Now) -> Result<()> {
        let ending = matches!(self.live.phase, Phase::Stopping { .. }) || self.live.end.is_some();
        #[cfg(feature = "redis")]
        let ending = ending || self.is_held_back(now);
        if ending || self.hold {
            return Ok(());
        }
        self.live.blocked_until_ms.retain(|_, until_ms| *until_ms > now.unix_ms);
        let mut waiting = self.live.pending as usize > self.live.asking.len();
        while waiting && self.live.asking.len() < self.config.workers {
            waiting = match self.next_question(db, now)? {
                Some((row, class)) => {
                    self.take_up(db, row, class, step, now)?;
                    true
                }
                None => false,
            };
        }
        Ok(())
    }

    fn next_question(&mut self, db: &Db, now: Now) -> Result<Option<(i64, i64)>> {
        let oldest_first = (self.live.takes + 1).is_multiple_of(FAIR_TURN_EVERY);
        // Of one page of updates all came at the same instant: then the row tells who was first.
        let mut oldest: Option<((i64, i64), i64)> = None;
        for class in classes() {
            if self.live.blocked_until_ms.contains_key(&class) {
                continue;
            }
            let Some((row, received_ms)) = inbox::first_of_class(db, class, now.unix_ms)? else {
                continue;
            };
            if !oldest_first {
                return Ok(Some((row, class)));
            }
            if oldest.is_none_or(|(before, _)| (received_ms, row) < before) {
                oldest = Some(((received_ms, row), class));
            }
        }
        Ok(oldest.map(|((_, row), class)| (row, class)))
    }

    fn take_up(&mut self, db: &Db, row: i64, class: i64, step: &mut Step, now: Now) -> Result<()> {
        let (role, tier) = role_and_tier(class);
        let asking = inbox::load(db, row)?;
        let tried = self.live.tried.get(&row).cloned().unwrap_or_default();
        let want = Want { role, tier, tokens_guess: guess_tokens(&asking), exclude: &tried };
        let dice = self.roll();
        match self.pool.choose(&want, now, dice) {
            Choice::Use(pick) => {
                let asking = inbox::claim(db, row)?;
                let lease = self.pool.reserve(&pick, want.tokens_guess, now);
                let mut job = self.ask_job(db, &asking, &pick, role, now)?;
                let show = super::show::Show::default();
                job.cancel = std::sync::Arc::clone(&show.cancel);
                job.fleet = self.fleet_ask(&pick, &lease, role, want.tokens_guess, now);
                self.live.takes += 1;
                self.live.asking.insert(
                    row,
                    InFlight {
                        lane: asking.question.lane,
                        lease,
                        taken_ms: now.unix_ms,
                        typing_due_ms: now.unix_ms + TYPING_AFTER_MS,
                        show,
                    },
                );
                step.jobs.push(Job::Ask(Box::new(job)));
                Ok(())
            }
            // What this question was refused by is not what the class is refused by.
            Choice::Wait { .. } | Choice::Never { .. } if !tried.is_empty() => {
                self.live.tried.remove(&row);
                let due_ms = now.unix_ms + self.backoff_ms(asking.attempts.max(1));
                inbox::delay(db, row, due_ms)
            }
            Choice::Wait { until_ms, .. } => self.no_key_now(db, class, until_ms, step, now),
            Choice::Never { why } => {
                log::warn!(target: "keys.exhausted", role = role.name(); "no key can serve {}: {why}", role.name());
                self.give_up(db, &asking, &Speech::NoKeys, AnswerOutcome::Refused, step, now)
            }
        }
    }

    /// Nobody of this class can be asked until then: the patient wait, the others are told when.
    fn no_key_now(
        &mut self,
        db: &Db,
        class: i64,
        until_ms: i64,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let until_ms = until_ms.max(now.unix_ms + 50);
        // Whoever would have to wait longer than patience allows is told now and not later.
        let too_late_ms = until_ms - self.config.patience_ms;
        let overdue =
            inbox::overdue(db, class, too_late_ms.saturating_add(1), OVERDUE_PER_TURN_MAX)?;
        // Behind whoever is told now others come forward: they are looked at in the next turn.
        let all_patient = overdue.is_empty();
        let look_again_ms = match all_patient {
            true => until_ms.min(now.unix_ms + self.config.patience_ms),
            false => now.unix_ms + 1,
        };
        for row in overdue {
            let asking = inbox::load(db, row)?;
            let until = words::until(lang_of(&asking), until_ms, now.unix_ms);
            let speech = Speech::QuotaUntil { until: &until };
            self.give_up(db, &asking, &speech, AnswerOutcome::Refused, step, now)?;
        }
        self.live.blocked_until_ms.insert(class, look_again_ms);
        let wait_ms = until_ms - now.unix_ms;
        if all_patient && wait_ms >= TELL_WAIT_MS {
            for row in inbox::untold(db, class, OVERDUE_PER_TURN_MAX)? {
                let asking = inbox::load(db, row)?;
                inbox::set_told(db, row)?;
                let text = speech::say(
                    lang_of(&asking),
                    &Speech::WaitForKey { minutes: words::minutes(wait_ms) },
                );
                outbox::add(
                    db,
                    &answer_part(&asking, Part::plain(text), true, false),
                    now.unix_ms,
                )?;
            }
        }
        Ok(())
    }

    fn ask_job(
        &mut self,
        db: &Db,
        asking: &Asking,
        pick: &crate::engine::keypool::Pick,
        role: Role,
        now: Now,
    ) -> Result<AskJob> {
        let question = &asking.question;
        // The round being asked is not yet in the history.
        let (mut turns, summary) = self.memory(db, question.session, question.rounds_max, role)?;
        let mut room = MEMORY_CHARS_MAX;
        turns.reverse();
        turns.retain(|(asked, answered)| {
            let size = asked.len() + answered.len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        turns.reverse();
        let lang = lang_of(asking);
        let date = calendar::date_text(calendar::utc_day(now.unix_ms));
        let mut system = persona::system_prompt(
            self.config.system_prompt.as_deref(),
            self.config.owner_system_prompt.as_deref(),
            &persona::Facts {
                role,
                chat_kind: if question.addressed {
                    ChatKind::Supergroup
                } else {
                    ChatKind::Private
                },
                name: &question.name,
                round: (question.round > 0).then_some((question.round, question.rounds_max)),
                date: &date,
            },
        );
        persona::add_summary(&mut system, &summary, lang);
        Ok(AskJob {
            inbox: asking.id,
            key: self.key_secrets.get(pick.key).cloned().unwrap_or_default(),
            model: pick.model.clone(),
            system,
            turns,
            text: with_context(&question.context, &question.text, lang),
            media: question.media.clone(),
            media_max_bytes: self.policy.media_max_bytes,
            stream: self.config.stream != crate::config::StreamSetting::Off,
            growth: (self.way(question.lane.chat) != Way::None)
                .then(|| live::pace(question.lane.chat.0 > 0)),
            cancel: std::sync::Arc::default(),
            timeout_ms: u64::try_from(self.config.answer_timeout_ms).unwrap_or(60_000),
            role,
            fleet: None,
        })
    }

    /// Looks at keys in doubt, and typing for questions that take their time.
    pub(super) fn start_calls(&mut self, step: &mut Step, now: Now) {
        for key in self.pool.needs_check(now) {
            if let Some(secret) = self.key_secrets.get(key) {
                step.jobs.push(Job::CheckKey { secret: secret.clone() });
            }
        }
        for asked in self.live.asking.values_mut() {
            if asked.typing_due_ms <= now.unix_ms && self.live.calls < super::CALLS_MAX {
                asked.typing_due_ms = now.unix_ms + TYPING_EVERY_MS;
                self.live.calls += 1;
                step.jobs.push(Job::Call {
                    purpose: crate::daemon::event::Purpose::Typing(asked.lane),
                    request: crate::wire::telegram::send_chat_action(asked.lane, "typing"),
                });
            }
        }
    }

    pub(super) fn asked(
        &mut self,
        db: &Db,
        asked: &Asked,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        if asked.inbox < 0 {
            return self.summarised(db, asked, step, now);
        }
        let Some(in_flight) = self.live.asking.remove(&asked.inbox) else { return Ok(()) };
        let asking = inbox::load(db, asked.inbox)?;
        let model = in_flight.lease.model.clone();
        let effects = match &asked.result {
            Ok(reply) => self.pool.settle(in_flight.lease, Ok(&reply.usage), now),
            Err(failure) => self.pool.settle(in_flight.lease, Err(failure), now),
        };
        self.notices(db, &effects.notices, now)?;
        self.heard_gemini(db, asked.result.as_ref().err(), now)?;
        let outcome = asked.result.as_ref().err().map_or("ok", ModelFailure::label);
        #[cfg(feature = "redis")]
        if self.is_over(db, asked)? {
            return Ok(());
        }
        if !matches!(asked.result, Err(ModelFailure::Media(_))) {
            step.counts.push(Count::Gemini { model: model.clone(), outcome });
        }
        match &asked.result {
            Ok(reply) => self.answered(db, &asking, reply, asked.took_ms, step, now),
            Err(failure) => self.not_answered(db, &asking, failure, &model, step, now),
        }
    }

    fn answered(
        &mut self,
        db: &Db,
        asking: &Asking,
        reply: &Reply,
        took_ms: i64,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let question = &asking.question;
        let text = self.masker.mask(&reply.text).unwrap_or_else(|| reply.text.clone());
        let rich = self.rich(asking, &text);
        let is_rich = rich.is_some();
        let mut parts = rich
            .map_or_else(|| render::render(&text, header(asking).as_deref()), |part| vec![part]);
        let note = match reply.finish {
            Finish::Stop | Finish::Stopped => None,
            Finish::TooLong | Finish::MaxTokens => Some(Speech::CutShort),
            Finish::Blocked(_) => Some(Speech::StoppedByFilter),
        };
        if let Some(note) = note {
            parts.push(Part::plain(speech::say(lang_of(asking), &note)));
        }
        let left_out = inbox::left_out(db, asking.id)?;
        if left_out > 0 {
            let limit = words::size(self.policy.media_max_bytes.min(DOWNLOAD_BYTES_MAX));
            let note = Speech::MediaLeftOut { files: left_out, limit: &limit };
            parts.push(Part::plain(speech::say(lang_of(asking), &note)));
        }
        let count = parts.len();
        for (n, part) in parts.into_iter().enumerate() {
            let mut what = answer_part(asking, part, n == 0, n + 1 == count);
            what.model_ms = took_ms;
            if n == 0 {
                edit_on(&mut what, asking);
                if is_rich {
                    what.kind = Kind::Rich;
                }
            }
            outbox::add(db, &what, now.unix_ms)?;
        }
        let turn = history::Turn {
            session: question.session,
            chat: question.lane.chat,
            topic: question.lane.topic,
            user: question.user,
            username: &question.name,
            message: &question.text,
            response: &text,
            model: &reply.model,
            metadata: &metadata(asking),
            created_us: now.unix_ms * 1_000,
        };
        // Who asked to be forgotten meanwhile gets the answer, and no new row.
        if !erase::is_forgotten(db, question.user, asking.received_ms)? {
            history::add(db, &turn)?;
        }
        if question.session != 0 {
            places::touch_session(db, question.session, self.places(now), now.unix_ms)?;
        }
        let tokens = (i64::from(reply.usage.input), i64::from(reply.usage.output));
        meta::tally(db, now.unix_ms, "answers", 1)?;
        meta::tally(db, now.unix_ms, "tokens_in", tokens.0)?;
        meta::tally(db, now.unix_ms, "tokens_out", tokens.1)?;
        meta::tally(db, now.unix_ms, "answer_ms", now.unix_ms - asking.received_ms)?;
        step.counts.push(Count::Tokens {
            model: reply.model.clone(),
            input: reply.usage.input,
            output: reply.usage.output,
        });
        step.counts.push(Count::Answer(role_of(asking), AnswerOutcome::Answered));
        self.finished(db, asking, now)
    }

    fn not_answered(
        &mut self,
        db: &Db,
        asking: &Asking,
        failure: &ModelFailure,
        model: &str,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let waited_ms = now.unix_ms - asking.received_ms;
        log::debug!(
            target: "answer.retried", inbox = asking.id, attempts = asking.attempts;
            "question {}: {} from {model}, attempt {}",
            asking.id,
            failure.label(),
            asking.attempts
        );
        if let ModelFailure::BadRequest { why } = failure {
            log::warn!(target: "answer.refused", inbox = asking.id; "question {}: gemini refuses the request: {why}", asking.id);
        }
        match settle::next(failure, asking.attempts, waited_ms, self.config.patience_ms) {
            Next::Elsewhere => {
                self.not_there_again(asking.id, failure, model);
                inbox::put_back(db, asking.id, 0)
            }
            Next::Later { after_ms } => {
                self.not_there_again(asking.id, failure, model);
                let after_ms = self.jitter_ms(after_ms);
                inbox::put_back(db, asking.id, now.unix_ms + after_ms)
            }
            Next::GiveUp(reason) => {
                let limit = words::size(self.policy.media_max_bytes.min(DOWNLOAD_BYTES_MAX));
                let (speech, outcome) = failure_words(&reason, &limit);
                self.give_up(db, asking, &speech, outcome, step, now)
            }
        }
    }

    /// The question goes to another model next, when this one is why it failed.
    fn not_there_again(&mut self, row: i64, failure: &ModelFailure, model: &str) {
        if !settle::blames_model(failure) {
            return;
        }
        let tried = self.live.tried.entry(row).or_default();
        if !tried.iter().any(|known| known == model) {
            tried.push(model.to_owned());
        }
    }

    /// Ends a question with an honest text instead of an answer; its round does not count.
    pub(super) fn give_up(
        &mut self,
        db: &Db,
        asking: &Asking,
        speech: &Speech<'_>,
        outcome: AnswerOutcome,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let text = speech::say(lang_of(asking), speech);
        let mut what = answer_part(asking, Part::plain(text), true, true);
        edit_on(&mut what, asking);
        outbox::add(db, &what, now.unix_ms)?;
        if asking.question.session != 0 {
            places::give_round_back(db, asking.question.session, self.places(now))?;
        }
        meta::tally(db, now.unix_ms, outcome.name(), 1)?;
        step.counts.push(Count::Answer(role_of(asking), outcome));
        self.finished(db, asking, now)
    }

    fn finished(&mut self, db: &Db, asking: &Asking, now: Now) -> Result<()> {
        self.live.pending = self.live.pending.saturating_sub(1);
        self.live.tried.remove(&asking.id);
        let next = inbox::finish(db, asking.id, asking.question.lane, now.unix_ms)?;
        // Who comes forward is told as well when it will take long.
        next.map(|class| self.live.blocked_until_ms.remove(&class));
        Ok(())
    }
}

fn classes() -> impl Iterator<Item = i64> {
    Role::ALL
        .into_iter()
        .flat_map(|role| [Tier::Pro, Tier::Flash, Tier::Lite].map(|tier| class_of(role, tier)))
}

fn role_and_tier(class: i64) -> (Role, Tier) {
    let role =
        Role::ALL.into_iter().find(|role| role.priority() == class / 4).unwrap_or(Role::Guest);
    let tier = match class % 4 {
        2 => Tier::Pro,
        1 => Tier::Flash,
        _ => Tier::Lite,
    };
    (role, tier)
}

fn role_of(asking: &Asking) -> Role {
    Role::from_name(&asking.role).unwrap_or(Role::Guest)
}

fn lang_of(asking: &Asking) -> Lang {
    if asking.lang == words::code(Lang::En) { Lang::En } else { Lang::Zh }
}

pub(super) fn header(asking: &Asking) -> Option<String> {
    let question = &asking.question;
    let name = persona::clean_name(&question.name);
    question.addressed.then(|| match question.round {
        0 => format!("@{name}"),
        round => format!("@{name}, {round}/{}", question.rounds_max),
    })
}

fn answer_part(asking: &Asking, part: Part, first: bool, last: bool) -> Outgoing {
    let question = &asking.question;
    Outgoing {
        lane: question.lane,
        inbox: asking.id,
        kind: Kind::Send,
        text: part.text,
        plain: part.plain,
        html: part.html,
        markup: String::new(),
        reply_to: if first && question.addressed { question.message } else { MessageId(0) },
        message: MessageId(0),
        silent: false,
        received_ms: if last { asking.received_ms } else { 0 },
        model_ms: 0,
        last,
    }
}

/// What was shown while it grew becomes the answer.
fn edit_on(what: &mut Outgoing, asking: &Asking) {
    if asking.preview != MessageId(0) {
        what.kind = Kind::Edit;
        what.message = asking.preview;
    }
}
