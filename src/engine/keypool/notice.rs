//! Owns: what the pool has to say to its operator, in English for the log.
//! May not: say more of a key than its number, group and last four characters.

use crate::types::{Group, UnixMs};
use std::fmt;

/// Something the owner should be told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A key is out until the operator acts.
    KeyDead {
        /// From 1.
        n: u32,
        /// Where it was listed.
        group: Group,
        /// All that may be shown.
        last4: String,
        /// One word.
        why: String,
    },
    /// Many projects were refused at once without cause: the whole pool pauses.
    Storm {
        /// Until then.
        until_ms: UnixMs,
    },
    /// Nobody knows a model of this name.
    ModelUnknown {
        /// As set.
        model: String,
    },
    /// A key seems to share its project with another.
    Joined {
        /// From 1.
        n: u32,
        /// The other's number, from 1.
        with: u32,
    },
    /// A key that seemed to share its project with another turned out not to.
    Parted {
        /// From 1.
        n: u32,
        /// The other's number, from 1.
        with: u32,
    },
    /// Gemini does not serve the country of this host.
    Region,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyDead { n, group, last4, why } => {
                write!(f, "key {n} ({} …{last4}) is refused: {why}: replace it", group.label())
            }
            Self::Storm { .. } => f.write_str("many projects were refused at once: all keys pause"),
            Self::ModelUnknown { model } => {
                write!(f, "model {model} is not known to gemini: correct the MODEL_ settings")
            }
            Self::Joined { n, with } => {
                write!(f, "key {n} seems to share its project with key {with}")
            }
            Self::Parted { n, with } => {
                write!(f, "key {n} does not share its project with key {with}, as it had seemed")
            }
            Self::Region => f.write_str("gemini does not serve the country of this machine"),
        }
    }
}
