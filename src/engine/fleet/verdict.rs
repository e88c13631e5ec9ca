//! Owns: the words between a box and what counts for all boxes: verdicts, tickets, beats, how it stands.
//! May not: know whether that is Redis or a file.

use super::News;
use crate::types::model::FleetHeld as Held;

/// What this box used of one (project, model) by its own ledger; what is in flight is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// As in [`Ask::project`](super::Ask::project).
    pub project: String,
    /// The model.
    pub model: String,
    /// The Pacific day by this box's clock.
    pub day: i64,
    /// Requests on that day.
    pub today: u32,
    /// Requests within the last minute.
    pub minute: u32,
    /// Their input tokens.
    pub minute_tokens: u32,
}

/// What may be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it: all boxes have counted it.
    Counted {
        /// For settling how it ended.
        ticket: Ticket,
        /// Requests of all boxes today.
        total: u32,
    },
    /// Send it: the others cannot be asked, and this is within the box's own share.
    Alone,
    /// Do not send it.
    Held {
        /// Why.
        held: Held,
        /// Requests of all boxes today, where known.
        total: Option<u32>,
    },
}

/// A request counted by all boxes; the texts are of whoever counted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Where the minute is counted.
    pub window: String,
    /// Where the day is counted.
    pub day: String,
    /// Which of those that are counted there.
    pub member: String,
    /// Input tokens as guessed.
    pub tokens: u32,
}

/// What a beat brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// From other boxes.
    pub news: Vec<News>,
    /// What is shared is there again, or began anew: this box's use should be reported.
    pub report: bool,
}

/// How the fleet stands, for people and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// This box's name among them.
    pub id: String,
    /// What is shared can be used.
    pub up: bool,
    /// Why not; empty when it does.
    pub trouble: String,
    /// Boxes alive when last seen.
    pub boxes: u32,
    /// Requests counted by all.
    pub counted: u64,
    /// Requests held back because the fleet has used up the minute or the day.
    pub held: u64,
    /// Requests sent on the box's own share.
    pub alone: u64,
    /// Commands sent to Redis, or transactions on the shared file.
    pub commands: u64,
    /// Requests of ours that the others did not know of when it came back.
    pub drift: u64,
    /// This machine's clock less Redis'; 0 within one machine.
    pub clock_ahead_ms: i64,
}
