//! Owns: how what people do comes in: written texts, files, and deliveries to a webhook, which come in any order, are
//! repeated where nobody answered or the answer was lost, and now and then come again although it was not.

use super::*;
use svs_bot::config::Webhook;
use svs_bot::types::model::MediaTrouble;
use svs_bot::wire::telegram::WebhookInfo;

/// Until an unanswered delivery is made again.
const PATIENCE_MS: i64 = 40 * SECOND_MS;
/// Longest wait before the next try.
const AGAIN_MS: i64 = 30 * SECOND_MS;
/// An update that was taken comes once more within this time.
const REPEAT_MS: i64 = 10 * MINUTE_MS;
const URL: &str = "https://bot.example.org/simulated";

/// Telegram's side of the deliveries.
#[derive(Default)]
pub struct Hook {
    /// Ours is set.
    set: bool,
    tickets: u64,
    /// Deliveries that wait for their answer: ticket and update.
    out: BTreeMap<u64, i64>,
}

pub fn webhook() -> Webhook {
    Webhook {
        url: URL.to_owned(),
        addr: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
        secret: Secret::new("simulated-secret"),
        tls: None,
    }
}

impl World {
    pub(super) fn somebody_writes(&mut self) {
        if self.healed || self.updates >= self.plan.updates_max {
            return;
        }
        // Now and then many at once.
        let burst = if self.dice.per_mille(30) { self.dice.span(5, 60) } else { 1 };
        for _ in 0..burst {
            let at_s = self.now_ms / SECOND_MS;
            let wrote = if self.plan.files && self.ways.per_mille(250) {
                people::show(&mut self.ways, &mut self.telegram, self.plan.chats, at_s)
            } else {
                vec![people::write(&mut self.dice, &mut self.telegram, self.plan.chats, at_s)]
            };
            for wrote in wrote {
                self.note(wrote.update.unsigned_abs());
                if self.plan.webhook {
                    let after_ms = self.ways.span(5, 800);
                    self.at(after_ms, Item::Deliver(wrote.update));
                }
                self.witness.wrote(wrote);
                self.updates += 1;
            }
        }
        if self.telegram.poll.is_some() {
            self.answer_poll();
        }
        let mean_ms = self.plan.hours * HOUR_MS / i64::from(self.plan.updates_max.max(1));
        let after_ms = self.dice.span(0, 2 * mean_ms);
        self.at(after_ms, Item::Writes);
    }

    pub(super) fn hook_asked(&mut self, job: &Job, out_ms: i64) -> Result<(), String> {
        if !self.plan.webhook {
            return Err("a bot that polls sets no webhook".to_owned());
        }
        let trouble = self.telegram_trouble(true);
        let result = match (job, trouble) {
            (Job::WebhookInfo, Some(failure)) => SetupResult::WebhookInfo(Err(failure)),
            (Job::WebhookInfo, None) => {
                // Somebody else uses the token, or an operator tried something.
                self.hook.set &= !self.hit(Fault::TelegramConflict, 30);
                SetupResult::WebhookInfo(Ok(WebhookInfo {
                    url: if self.hook.set { URL.to_owned() } else { String::new() },
                    pending: u32::try_from(self.telegram.waiting.len()).unwrap_or(u32::MAX),
                    last_error_s: 0,
                    last_error: String::new(),
                }))
            }
            (_, Some(failure)) => SetupResult::WebhookSet(Err(failure)),
            (_, None) => {
                self.hook.set = true;
                let lost = self.hit(Fault::TelegramLost, 25);
                SetupResult::WebhookSet(if lost {
                    Err(SendFailure::Net(cut(true)))
                } else {
                    Ok(())
                })
            }
        };
        self.back(out_ms, Event::Ready(result));
        Ok(())
    }

    fn later(&mut self, update: i64) {
        let after_ms = self.ways.span(50, AGAIN_MS);
        self.at(after_ms, Item::Deliver(update));
    }

    /// One try: it may not get there, or not even begin.
    pub(super) fn deliver(&mut self, update: i64) {
        let found = self.telegram.waiting.iter().find(|(id, _)| *id == update);
        let Some(text) = found.map(|(_, text)| text.clone()) else { return };
        let reached = self.hook.set && !self.away[0] && self.core.is_some();
        if !reached || self.hit(Fault::TelegramCut, 15) {
            return self.later(update);
        }
        self.hook.tickets += 1;
        let ticket = self.hook.tickets;
        self.hook.out.insert(ticket, update);
        self.at(PATIENCE_MS, Item::DeliveryEnds(ticket));
        self.push(&text, ticket);
    }

    /// The listener hands it to the loop.
    pub(super) fn push(&mut self, text: &str, ticket: u64) {
        let Ok(incoming) = read_update(text.as_bytes()) else { return };
        let update =
            Box::new(Fetched { id: incoming.id, incoming: Ok(incoming), raw: String::new() });
        let after_ms = self.ways.span(1, 120);
        self.back(after_ms, Event::Pushed { update, ticket });
    }

    /// Nobody said anything: the process died, or hangs.
    pub(super) fn delivery_ends(&mut self, ticket: u64) {
        if let Some(update) = self.hook.out.remove(&ticket) {
            self.later(update);
        }
    }

    /// A turn that the database refused: whoever waits is told to come again, though the loop keeps what they brought.
    pub(super) fn refuse_deliveries(&mut self) {
        for update in std::mem::take(&mut self.hook.out).into_values() {
            self.later(update);
        }
    }

    /// What the committed turn says of deliveries.
    pub(super) fn delivered(&mut self, answers: &[(u64, bool)]) -> Result<(), String> {
        for (ticket, stored) in answers {
            let Some(update) = self.hook.out.remove(ticket) else { continue };
            if !stored {
                self.later(update);
                continue;
            }
            // The answer leaves: whether it arrives or not, the update must be in the rows.
            self.witness.confirmed(self.core.as_ref(), update)?;
            if self.hit(Fault::TelegramLost, 60) {
                self.later(update);
                continue;
            }
            let at = self.telegram.waiting.iter().position(|(id, _)| *id == update);
            let Some((_, text)) = at.and_then(|at| self.telegram.waiting.remove(at)) else {
                continue;
            };
            self.telegram.confirmed += 1;
            if self.hit(Fault::TelegramLost, 40) {
                let after_ms = self.ways.span(1, REPEAT_MS);
                self.at(after_ms, Item::Repeat(text));
            }
        }
        Ok(())
    }

    /// What keeps the files of a question from reaching Gemini, which then has been asked nothing.
    pub(super) fn file_trouble(&mut self, job: &AskJob) -> Option<ModelFailure> {
        let unsent = |why: &str| ModelFailure::Network { sent: false, why: why.to_owned() };
        if job.media.is_empty() {
            return None;
        }
        if self.away[0] {
            return Some(unsent("a file from telegram: connection refused"));
        }
        if !self.hit(Fault::Files, 300) {
            return None;
        }
        Some(match self.ways.below(6) {
            0 => unsent("getFile: telegram answers 502"),
            1 => unsent("a file broke off"),
            2 => unsent("a file has another size than telegram says"),
            3 => ModelFailure::Media(MediaTrouble::Gone),
            4 => ModelFailure::Media(MediaTrouble::TooLarge),
            _ => ModelFailure::Media(MediaTrouble::Unknown),
        })
    }
}
