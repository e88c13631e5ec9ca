//! Owns: Gemini as the simulator plays it: answers as streams, its errors, and quotas it counts itself.

use crate::plan::Dice;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use svs_bot::calendar;
use svs_bot::standin::gemini::failure;
use svs_bot::types::MINUTE_MS;
use svs_bot::types::model::{ModelFailure, Reply};
use svs_bot::wire::gemini::{self, Reader};

/// Requests of a minute and of a day, per project and model.
const RPM: usize = 10;
const RPD: u64 = 400;

/// Errors by the short names of the stand-in; those of a key come rarely, as keys do not heal.
const ERRORS: [&str; 8] = [
    "overloaded",
    "high_demand",
    "internal",
    "deadline",
    "gateway",
    "no_details",
    "bad_request",
    "tokens",
];

#[derive(Default)]
pub struct Gemini {
    minute: BTreeMap<(String, String), VecDeque<i64>>,
    day: BTreeMap<(i64, String, String), u64>,
    /// What was counted in all, per project and model.
    pub counted: BTreeMap<(String, String), u64>,
}

/// What the server says.
pub enum Said {
    /// 200 and this text.
    Answer(String),
    /// A refusal.
    Refusal { status: u16, body: Vec<u8> },
}

impl Gemini {
    /// One request arrives: counted, or refused by the quota.
    pub fn arrive(&mut self, project: &str, model: &str, now_ms: i64) -> Option<Said> {
        let pair = (project.to_owned(), model.to_owned());
        let minute = self.minute.entry(pair.clone()).or_default();
        while minute.front().is_some_and(|at| at + MINUTE_MS <= now_ms) {
            minute.pop_front();
        }
        let day = calendar::pacific_day(now_ms);
        let today = self.day.entry((day, pair.0.clone(), pair.1.clone())).or_default();
        let kind = if RPD <= *today {
            "per_day"
        } else if RPM <= minute.len() {
            "per_minute"
        } else {
            minute.push_back(now_ms);
            *today += 1;
            *self.counted.entry(pair).or_default() += 1;
            return None;
        };
        Some(refusal(kind, model))
    }

    pub fn error(dice: &mut Dice, model: &str) -> Said {
        refusal(dice.pick(&ERRORS), model)
    }
}

fn refusal(kind: &str, model: &str) -> Said {
    let failure = failure(kind, model, 12);
    let body = match failure.body.text() {
        Some(page) => page.as_bytes().to_vec(),
        None => failure.body.render().into_bytes(),
    };
    Said::Refusal { status: failure.status, body }
}

/// Reads what the server said as a worker does; `cut` ends the stream in the middle.
pub fn read(said: &Said, model: &str, cut: bool, dice: &mut Dice) -> Result<Reply, ModelFailure> {
    let text = match said {
        Said::Refusal { status, body } => return Err(gemini::classify(*status, body, None)),
        Said::Answer(text) => text,
    };
    let mut reader = Reader::new(model);
    let chars: Vec<char> = text.chars().collect();
    let piece = 1 + usize::try_from(dice.below(400)).unwrap_or(0) + chars.len() / 8;
    let pieces = chars.chunks(piece);
    let count = pieces.len();
    for (n, piece) in pieces.enumerate() {
        if cut && n + 1 == count {
            break;
        }
        let piece: String = piece.iter().collect();
        let mut words = String::new();
        svs_bot::json::quote(&mut words, &piece);
        let finish = if n + 1 == count { ",\"finishReason\":\"STOP\"" } else { "" };
        let event = format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":{words}}}],\"role\":\"model\"}}{finish},\"index\":0}}],\
             \"usageMetadata\":{{\"promptTokenCount\":9,\"candidatesTokenCount\":7,\"totalTokenCount\":16}}}}\r\n\r\n"
        );
        for chunk in event.as_bytes().chunks(97) {
            if reader.feed(chunk) == ControlFlow::Break(()) {
                return reader.finish();
            }
        }
    }
    if cut && !reader.is_complete() {
        return Err(ModelFailure::Network { sent: true, why: "cut".to_owned() });
    }
    reader.finish()
}
