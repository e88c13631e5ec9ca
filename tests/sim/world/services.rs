//! Owns: what Telegram, Gemini and Supabase do with what arrives.

use super::*;

impl World {
    pub(super) fn poll_arrives(
        &mut self,
        life: u32,
        offset: i64,
        limit: u32,
        timeout_s: u32,
    ) -> Result<(), String> {
        if self.away[0] || self.hit(Fault::TelegramCut, 10) {
            self.back_to(life, 500, Event::Polled(Err(PollFailure::Net(cut(false)))));
            return Ok(());
        }
        // A newer poll ends an older one that still hangs (api-reference A2).
        if let Some(old) = self.telegram.poll.take() {
            let conflict = telegram::refused(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                0,
            );
            self.back_to(old.life, 5, Event::Polled(Err(PollFailure::Telegram(conflict))));
        }
        for update in self.telegram.confirm(offset) {
            self.witness.confirmed(self.core.as_ref(), update)?;
        }
        if self.hit(Fault::TelegramConflict, 8) {
            let conflict = telegram::refused(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                0,
            );
            self.back_to(life, 900, Event::Polled(Err(PollFailure::Telegram(conflict))));
            return Ok(());
        }
        if let Some(SendFailure::Telegram(error)) = self.telegram_refusal() {
            self.back_to(life, 30, Event::Polled(Err(PollFailure::Telegram(error))));
            return Ok(());
        }
        let until_ms = self.now_ms + i64::from(timeout_s) * SECOND_MS;
        self.telegram.poll = Some(Poll { life, limit, until_ms });
        if self.telegram.waiting.is_empty() && timeout_s > 0 {
            self.at(until_ms - self.now_ms, Item::PollEnds { since_ms: until_ms });
        } else {
            self.answer_poll();
        }
        Ok(())
    }

    pub(super) fn answer_poll(&mut self) {
        let Some(poll) = self.telegram.poll.take() else { return };
        let texts = self.telegram.page(poll.limit);
        let mut updates = Vec::new();
        // A page may break off; what came is good.
        let whole = if self.hit(Fault::TelegramLost, 20) {
            usize::try_from(self.dice.below(texts.len() as u64 + 1)).unwrap_or(0)
        } else {
            texts.len()
        };
        for text in texts.iter().take(whole) {
            let (id, incoming) = match read_update(text.as_bytes()) {
                Ok(incoming) => (incoming.id, Ok(incoming)),
                Err(error) => match error.update_id {
                    Some(id) => (id, Err(error.why)),
                    None => continue,
                },
            };
            updates.push(Fetched { id, incoming, raw: String::new() });
        }
        let result = if updates.is_empty() && !texts.is_empty() {
            Err(PollFailure::Net(cut(true)))
        } else {
            Ok(updates)
        };
        let after_ms = self.dice.span(5, 80);
        self.back_to(poll.life, after_ms, Event::Polled(result));
    }

    /// What keeps a call from being carried out.
    pub(super) fn telegram_trouble(&mut self, calm: bool) -> Option<SendFailure> {
        if self.away[0] || self.hit(Fault::TelegramCut, if calm { 5 } else { 15 }) {
            return Some(SendFailure::Net(cut(self.dice.per_mille(500))));
        }
        self.telegram_refusal()
    }

    pub(super) fn telegram_refusal(&mut self) -> Option<SendFailure> {
        if self.hit(Fault::TelegramPause, 10) {
            let seconds = u32::try_from(self.dice.span(1, 40)).unwrap_or(1);
            let text = format!("Too Many Requests: retry after {seconds}");
            return Some(SendFailure::Telegram(telegram::refused(429, &text, seconds)));
        }
        if self.hit(Fault::TelegramServer, 10) {
            let error = match self.dice.below(3) {
                0 => telegram::refused(500, "Internal Server Error", 0),
                1 => telegram::door(502),
                _ => telegram::door(504),
            };
            return Some(SendFailure::Telegram(error));
        }
        None
    }

    pub(super) fn send_arrives(&mut self, life: u32, sending: Box<Sending>) -> Result<(), String> {
        // Of a killed process only what had left arrives.
        if life != self.life && self.dice.per_mille(500) {
            return Ok(());
        }
        let took_ms = self.dice.span(10, 400);
        let result = match self.telegram_trouble(false) {
            Some(failure) => Err(failure),
            None => {
                let done = self.telegram.carry_out(&sending);
                let lost = self.hit(Fault::TelegramLost, 25);
                match done {
                    Done::Refused(error) => Err(SendFailure::Telegram(error)),
                    Done::New(id) => {
                        self.witness.shown(&sending, lost, self.now_ms)?;
                        Ok(MessageId(id))
                    }
                    Done::Edited(id) => {
                        self.witness.edited(&sending)?;
                        Ok(MessageId(id))
                    }
                    Done::Gone => Ok(MessageId(0)),
                }
                .and_then(|id| if lost { Err(SendFailure::Net(cut(true))) } else { Ok(id) })
            }
        };
        self.back_to(life, took_ms, Event::Sent { sending, result, took_ms });
        Ok(())
    }

    pub(super) fn ask_arrives(&mut self, life: u32, job: &AskJob) {
        if life != self.life && self.dice.per_mille(500) {
            return;
        }
        let result = if self.away[1] {
            Err(ModelFailure::Network { sent: false, why: "away".to_owned() })
        } else if let Some(trouble) = self.file_trouble(job) {
            Err(trouble)
        } else if self.hit(Fault::GeminiError, 60) {
            let said = Gemini::error(&mut self.dice, &job.model);
            gemini::read(&said, &job.model, false, &mut self.dice)
        } else {
            let project = project_of(&job.key);
            let said = match self.gemini.arrive(&project, &job.model, self.now_ms) {
                Some(refusal) => refusal,
                None => Said::Answer(people::answer(&mut self.dice, &job.text)),
            };
            let cut = self.hit(Fault::GeminiLost, 25);
            gemini::read(&said, &job.model, cut, &mut self.dice)
        };
        let took_ms =
            if result.is_ok() { self.dice.span(300, 20_000) } else { self.dice.span(50, 3_000) };
        if let (Some(_), Ok(reply)) = (job.growth, &result) {
            let chars: Vec<char> = reply.text.chars().collect();
            for n in 1..=self.dice.span(0, 3) {
                let upto = chars.len() * usize::try_from(n).unwrap_or(0) / 4;
                let text = chars.iter().take(upto).collect();
                self.back_to(life, took_ms * n / 4, Event::Grown { inbox: job.inbox, text });
            }
        }
        let asked = Asked { inbox: job.inbox, result, took_ms };
        self.back_to(life, took_ms, Event::Asked(Box::new(asked)));
    }

    pub(super) fn sync_arrives(&mut self, life: u32, request: &Request) {
        if life != self.life && self.dice.per_mille(500) {
            return;
        }
        let fault = if self.away[2] {
            Some(Fault::SupabaseAway)
        } else {
            [(Fault::SupabaseLost, 60), (Fault::SupabaseLate, 40), (Fault::SupabaseError, 60)]
                .into_iter()
                .find_map(|(fault, often)| self.hit(fault, often).then_some(fault))
        };
        let result = self.supabase.arrive(request, fault, &mut self.dice, self.now_ms);
        let after_ms = self.dice.span(10, 2_000);
        self.back_to(life, after_ms, Event::Synced(result));
    }
}
