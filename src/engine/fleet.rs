//! Owns: what boxes that share keys tell each other, and what one may do while it cannot ask the others.
//! May not: know Redis or a file, a clock, a key's text.
//! Invariant: the shares of all boxes add up to the limit, never to more.

#[cfg(feature = "redis")]
pub mod people;
mod verdict;

pub use verdict::{Beat, Ticket, Use, Verdict, View};

use crate::types::UnixMs;
use crate::types::model::FleetHeld as Held;
use std::collections::BTreeMap;

/// Subjects whose last news is remembered; past it the oldest name gives way.
pub const SUBJECTS_MAX: usize = 4_096;
/// Rests that end within this of each other are the same rest.
const SAME_MS: i64 = 2_000;
/// The most bytes of one piece of news; longer ones are not ours.
pub const NEWS_BYTES_MAX: usize = 1_024;
/// Nobody is told to rest for longer than this, whatever a stranger writes.
const REST_MS_MAX: i64 = 8 * crate::types::DAY_MS;

/// Where this box stands among those that were last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Boxes alive, this one included; at least 1.
    pub boxes: u32,
    /// This one's place among them, from 0.
    pub place: u32,
}

impl Standing {
    /// Alone in the world.
    pub const ALONE: Self = Self { boxes: 1, place: 0 };

    /// This box's part of a limit.
    pub fn share(self, limit: u32) -> u32 {
        let boxes = self.boxes.max(1);
        limit / boxes + u32::from(self.place < limit % boxes)
    }
}

/// What a request needs to know about its quota to be counted by all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The project, by a name that is the same on every box.
    pub project: String,
    /// The project by this box's own name.
    pub own_project: String,
    /// The model.
    pub model: String,
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Input tokens a minute.
    pub tpm: Option<u32>,
    /// Requests a day that this asker may use up.
    pub cap: Option<u32>,
    /// Input tokens, roughly.
    pub tokens: u32,
    /// This box's use within the last minute, this request included.
    pub own_minute: u32,
    /// The Pacific day by this box's clock.
    pub day: i64,
    /// This box's use on that day, this request included.
    pub own_today: u32,
    /// The same less what is in flight.
    pub own_settled: u32,
}

/// The use of a pair as it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// On which day.
    pub day: i64,
    /// By all boxes.
    pub total: u32,
    /// Of it by this one.
    pub own: u32,
}

/// Whether a box that cannot ask may send: its part of the minute, and its part of what was left of the day.
///
/// # Errors
/// What is in the way; the wait is when to ask again, not when there is room.
pub fn alone(ask: &Ask, known: Option<Known>, standing: Standing) -> Result<(), Held> {
    const LOOK_AGAIN_MS: i64 = 2_000;
    if ask.rpm.is_some_and(|rpm| ask.own_minute > standing.share(rpm)) {
        return Err(Held::Minute { wait_ms: LOOK_AGAIN_MS });
    }
    let Some(cap) = ask.cap else { return Ok(()) };
    let known = known.filter(|known| known.day == ask.day);
    let (total, own) = known.map_or((0, 0), |known| (known.total, known.own));
    let mine = own.saturating_add(standing.share(cap.saturating_sub(total)));
    // A day's end is far; the others may be back in a second.
    if ask.own_today > mine { Err(Held::Minute { wait_ms: LOOK_AGAIN_MS }) } else { Ok(()) }
}

/// Something that every box should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A key is out for good, or again in use where `why` is empty.
    Key {
        /// SHA-256 of the key, cut; the same on every box.
        hash: String,
        /// One word.
        why: String,
    },
    /// A (project, model) rests.
    Pair {
        /// As in [`Ask::project`].
        project: String,
        /// The model.
        model: String,
        /// For how long from when it is told.
        rest_ms: i64,
        /// The ledger's word.
        why: String,
    },
    /// A model rests, or the whole pool under the name `*`.
    Bench {
        /// The model.
        model: String,
        /// For how long from when it is told.
        rest_ms: i64,
        /// The ledger's word.
        why: String,
    },
}

impl News {
    /// As one line with tabs.
    pub fn to_text(&self) -> String {
        match self {
            Self::Key { hash, why } => format!("key\t{hash}\t{why}"),
            Self::Pair { project, model, rest_ms, why } => {
                format!("pair\t{project}\t{model}\t{rest_ms}\t{why}")
            }
            Self::Bench { model, rest_ms, why } => format!("bench\t{model}\t{rest_ms}\t{why}"),
        }
    }

    /// Reads what another box wrote, `ago_ms` ago; `None` for what this version does not know or what is over.
    pub fn read(text: &str, ago_ms: i64) -> Option<Self> {
        if text.len() > NEWS_BYTES_MAX {
            return None;
        }
        let left = |text: &str| -> Option<i64> {
            let rest_ms = text.parse::<i64>().ok()?.min(REST_MS_MAX).saturating_sub(ago_ms.max(0));
            (rest_ms > 0).then_some(rest_ms)
        };
        let parts: Vec<&str> = text.split('\t').collect();
        match parts.as_slice() {
            ["key", hash, why] => Some(Self::Key { hash: (*hash).into(), why: (*why).into() }),
            ["pair", project, model, rest_ms, why] => Some(Self::Pair {
                project: (*project).into(),
                model: (*model).into(),
                rest_ms: left(rest_ms)?,
                why: (*why).into(),
            }),
            ["bench", model, rest_ms, why] => Some(Self::Bench {
                model: (*model).into(),
                rest_ms: left(rest_ms)?,
                why: (*why).into(),
            }),
            _ => None,
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::Key { hash, .. } => format!("key\t{hash}"),
            Self::Pair { project, model, .. } => format!("pair\t{project}\t{model}"),
            Self::Bench { model, .. } => format!("bench\t{model}"),
        }
    }

    fn state(&self, now_ms: UnixMs) -> (UnixMs, &str) {
        match self {
            Self::Key { why, .. } => (0, why),
            Self::Pair { rest_ms, why, .. } | Self::Bench { rest_ms, why, .. } => {
                (now_ms.saturating_add(*rest_ms), why)
            }
        }
    }
}

/// What was last told or heard of each subject, so that nothing is told back.
#[derive(Clone, Debug, Default)]
pub struct Gossip {
    last: BTreeMap<String, (UnixMs, String)>,
}

impl Gossip {
    /// Notes what was heard or told; whether it was new.
    pub fn note(&mut self, news: &News, now_ms: UnixMs) -> bool {
        let subject = news.subject();
        let (until_ms, why) = news.state(now_ms);
        let fresh = match self.last.get(&subject) {
            Some((known_ms, known)) => {
                known != why || known_ms.saturating_sub(until_ms).abs() > SAME_MS
            }
            // That a key is well is no news of one that never was ill.
            None => !matches!(news, News::Key { why, .. } if why.is_empty()),
        };
        if fresh {
            if self.last.len() >= SUBJECTS_MAX && !self.last.contains_key(&subject) {
                self.last.pop_first();
            }
            self.last.insert(subject, (until_ms, why.to_owned()));
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rpm: u32, cap: u32, own_minute: u32, own_today: u32) -> Ask {
        Ask {
            project: "p".into(),
            own_project: "p".into(),
            model: "m".into(),
            rpm: Some(rpm),
            tpm: None,
            cap: Some(cap),
            tokens: 1,
            own_minute,
            day: 1,
            own_today,
            own_settled: own_today - 1,
        }
    }

    #[test]
    fn the_shares_of_all_boxes_are_the_limit() {
        for limit in [0, 1, 5, 15, 20, 499, 500] {
            for boxes in 1..=9 {
                let shares = (0..boxes).map(|place| Standing { boxes, place }.share(limit));
                assert_eq!(shares.sum::<u32>(), limit, "{limit} {boxes}");
            }
        }
    }

    #[test]
    fn a_box_that_cannot_ask_takes_its_part_and_no_more() {
        let known = |total, own| Some(Known { day: 1, total, own });
        let of = |boxes, place| Standing { boxes, place };
        for (what, ask, known, standing, want) in [
            ("its part of the minute", ask(5, 20, 2, 1), None, of(3, 1), true),
            ("one more than that", ask(5, 20, 3, 1), None, of(3, 1), false),
            ("its part of what was left", ask(5, 20, 1, 9), known(16, 7), of(2, 0), true),
            ("one more than that", ask(5, 20, 1, 10), known(16, 7), of(2, 0), false),
            ("nothing was left", ask(5, 20, 1, 8), known(20, 7), of(2, 0), false),
            (
                "yesterday's word",
                ask(5, 20, 1, 10),
                Some(Known { day: 0, total: 20, own: 0 }),
                of(2, 0),
                true,
            ),
        ] {
            assert_eq!(alone(&ask, known, standing).is_ok(), want, "{what}");
        }
    }

    #[test]
    fn news_reads_as_it_was_written_less_the_time_on_its_way() {
        let pair = |rest_ms| News::Pair {
            project: "p".into(),
            model: "m".into(),
            rest_ms,
            why: "minute".into(),
        };
        let bench = |rest_ms| News::Bench { model: "m".into(), rest_ms, why: "overloaded".into() };
        let key = News::Key { hash: "0a".into(), why: "leaked".into() };
        for (told, ago_ms, heard) in [
            (key.clone(), 9_000_000, Some(key.clone())),
            (pair(5_000), 1_000, Some(pair(4_000))),
            (pair(5_000), -1_000, Some(pair(5_000))),
            (pair(5_000), 5_000, None),
            (bench(i64::MAX), 0, Some(bench(REST_MS_MAX))),
        ] {
            assert_eq!(News::read(&told.to_text(), ago_ms), heard, "{told:?}");
        }
        let long = "x".repeat(NEWS_BYTES_MAX + 1);
        for text in ["", "key\ta", "pair\tp\tm\tx\tminute", "other\ta\tb", long.as_str()] {
            assert_eq!(News::read(text, 0), None, "{text}");
        }
    }

    #[test]
    fn nothing_is_told_back() {
        let rest = |rest_ms| News::Bench { model: "m".into(), rest_ms, why: "overloaded".into() };
        let key = |why: &str| News::Key { hash: "0a".into(), why: why.into() };
        let mut gossip = Gossip::default();
        for (what, news, now_ms, fresh) in [
            ("a key that is well", key(""), 0, false),
            ("a dead key", key("leaked"), 0, true),
            ("the same again", key("leaked"), 9, false),
            ("the key is well again", key(""), 10, true),
            ("a bench", rest(30_000), 0, true),
            ("the same bench a second later", rest(29_000), 1_000, false),
            ("a longer one", rest(60_000), 1_000, true),
        ] {
            assert_eq!(gossip.note(&news, now_ms), fresh, "{what}");
        }
    }
}
