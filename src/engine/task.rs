//! Owns: which model tier a message deserves.
//! May not: choose a key or ask a model.

use crate::types::{Role, Tier};

/// Which tier a question of this person deserves, judged from the message alone.
pub fn tier(_text: &str, _has_media: bool, _role: Role, _group: bool) -> Tier {
    Tier::Lite
}
