//! Owns: what follows for a question from how asking ended: elsewhere, later, or an honest end.
//! May not: send, store, or judge keys (the pool does).

use crate::types::SECOND_MS;
use crate::types::model::{MediaTrouble, ModelFailure, Window};

/// Tries of one question over all keys and models; past them something is wrong that waiting will not mend.
pub const ATTEMPTS_MAX: u32 = 24;
/// Calls whose outcome is unknown cost quota each time: so many and no more.
const UNCERTAIN_ATTEMPTS_MAX: u32 = 3;
/// An answer without words is asked for once more.
const EMPTY_ATTEMPTS_MAX: u32 = 2;
/// Waits between tries that may help: doubling from the first to the last.
const LATER_MS_MIN: i64 = SECOND_MS;
const LATER_MS_MAX: i64 = 30 * SECOND_MS;

/// What to do with the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once, with what the pool now offers.
    Elsewhere,
    /// After a wait.
    Later {
        /// Least wait.
        after_ms: i64,
    },
    /// With an honest text.
    GiveUp(GiveUp),
}

/// Why a question ends without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Refused by the model's safety rules, for this reason.
    Safety(String),
    /// The model had nothing to say, twice.
    Empty,
    /// Too long for the model.
    TooLong,
    /// A file of the question could not be passed on.
    Media(MediaTrouble),
    /// Gemini does not serve this host's country.
    Region,
    /// The request was refused as such.
    Refused,
    /// It did not work in the time that patience allows.
    Trouble,
}

/// Whether the model, not the key, is what the question should go elsewhere from: also one that did
/// not answer in time, which another may well do.
pub fn blames_model(failure: &ModelFailure) -> bool {
    matches!(
        failure,
        ModelFailure::Overloaded
            | ModelFailure::Internal
            | ModelFailure::ModelUnknown
            | ModelFailure::Network { sent: true, .. }
    )
}

/// Decides from the failure, the tries so far (this one counted) and the wait so far.
pub fn next(failure: &ModelFailure, attempts: u32, waited_ms: i64, patience_ms: i64) -> Next {
    let trouble = Next::GiveUp(GiveUp::Trouble);
    let later = || {
        let after_ms = (LATER_MS_MIN << attempts.saturating_sub(1).min(10)).min(LATER_MS_MAX);
        if waited_ms.saturating_add(after_ms) > patience_ms || attempts >= ATTEMPTS_MAX {
            Next::GiveUp(GiveUp::Trouble)
        } else {
            Next::Later { after_ms }
        }
    };
    match failure {
        // No attempt at all: the pool knows by now where there is room and when.
        ModelFailure::Held(_) => Next::Elsewhere,
        ModelFailure::Safety { reason, .. } => Next::GiveUp(GiveUp::Safety(reason.clone())),
        ModelFailure::BadRequest { .. } => Next::GiveUp(GiveUp::Refused),
        ModelFailure::TooLarge => Next::GiveUp(GiveUp::TooLong),
        ModelFailure::Media(trouble) => Next::GiveUp(GiveUp::Media(*trouble)),
        ModelFailure::Region => Next::GiveUp(GiveUp::Region),
        ModelFailure::Empty { .. } if attempts >= EMPTY_ATTEMPTS_MAX => Next::GiveUp(GiveUp::Empty),
        _ if attempts >= ATTEMPTS_MAX => trouble,
        ModelFailure::Empty { .. }
        | ModelFailure::BadKey { .. }
        | ModelFailure::ModelClosed
        | ModelFailure::ModelUnknown => Next::Elsewhere,
        // The pool knows by now what rests; a guess without numbers wants some air.
        ModelFailure::Quota(hit) if hit.window == Window::Unknown => later(),
        ModelFailure::Quota(_) => Next::Elsewhere,
        ModelFailure::Overloaded | ModelFailure::Internal if attempts <= 4 => Next::Elsewhere,
        ModelFailure::Overloaded | ModelFailure::Internal => later(),
        ModelFailure::Network { sent: true, .. } if attempts >= UNCERTAIN_ATTEMPTS_MAX => trouble,
        ModelFailure::Network { .. } => later(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::model::{QuotaHit, Usage};

    const PATIENCE_MS: i64 = 300_000;

    fn check(failure: ModelFailure, attempts: u32, waited_ms: i64, want: Next) {
        assert_eq!(
            next(&failure, attempts, waited_ms, PATIENCE_MS),
            want,
            "{failure:?} {attempts}"
        );
    }

    fn network(sent: bool) -> ModelFailure {
        ModelFailure::Network { sent, why: String::new() }
    }

    #[test]
    fn what_repeating_cannot_mend_ends_at_once() {
        check(ModelFailure::BadRequest { why: String::new() }, 1, 0, Next::GiveUp(GiveUp::Refused));
        check(ModelFailure::TooLarge, 1, 0, Next::GiveUp(GiveUp::TooLong));
        let gone = ModelFailure::Media(MediaTrouble::Gone);
        check(gone, 1, 0, Next::GiveUp(GiveUp::Media(MediaTrouble::Gone)));
        check(ModelFailure::Region, 1, 0, Next::GiveUp(GiveUp::Region));
        let safety = ModelFailure::Safety { reason: "SAFETY".into(), usage: Usage::default() };
        check(safety, 1, 0, Next::GiveUp(GiveUp::Safety("SAFETY".into())));
    }

    #[test]
    fn what_another_key_or_model_may_mend_goes_elsewhere() {
        check(ModelFailure::BadKey { why: "invalid" }, 1, 0, Next::Elsewhere);
        check(ModelFailure::Overloaded, 2, 0, Next::Elsewhere);
        check(ModelFailure::Overloaded, 5, 0, Next::Later { after_ms: 16_000 });
        let hit = QuotaHit {
            window: Window::Day,
            tokens: false,
            limit: None,
            retry_ms: None,
            learned: Vec::new(),
        };
        check(ModelFailure::Quota(hit.clone()), 7, 0, Next::Elsewhere);
        let unknown = QuotaHit { window: Window::Unknown, ..hit };
        check(ModelFailure::Quota(unknown), 1, 0, Next::Later { after_ms: 1_000 });
    }

    #[test]
    fn the_network_is_waited_for_as_long_as_patience_lasts() {
        check(network(false), 1, 0, Next::Later { after_ms: 1_000 });
        check(network(false), 12, 200_000, Next::Later { after_ms: 30_000 });
        check(network(false), 12, 290_000, Next::GiveUp(GiveUp::Trouble));
        check(network(true), 3, 0, Next::GiveUp(GiveUp::Trouble));
    }

    #[test]
    fn an_empty_answer_is_asked_for_twice_and_nothing_for_ever() {
        check(ModelFailure::Empty { usage: Usage::default() }, 1, 0, Next::Elsewhere);
        check(ModelFailure::Empty { usage: Usage::default() }, 2, 0, Next::GiveUp(GiveUp::Empty));
        check(ModelFailure::ModelClosed, ATTEMPTS_MAX, 0, Next::GiveUp(GiveUp::Trouble));
    }
}
