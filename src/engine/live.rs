//! Owns: whether and when a growing answer is shown: which way, how soon, how often.
//! May not: render it, send it, or know a clock.
//! Invariant: previews take only a part of what Telegram allows a chat; the rest is the answer's.

use crate::types::{SECOND_MS, UnixMs};

/// Answers that are complete by then are sent once and never previewed.
const FIRST_AFTER_MS: i64 = SECOND_MS;
/// Least pause between two previews (api-reference A5), and what each costs in the long run: below
/// the 20 messages a minute of a group and the one a second of a person (api-reference A7).
const PRIVATE: Budget = Budget { every_ms: SECOND_MS, cost_ms: 1_200, burst_ms: 10_000 };
const SHARED: Budget = Budget { every_ms: 3 * SECOND_MS, cost_ms: 4_500, burst_ms: 15_000 };
/// Each pause is so much longer than the one before, up to the longest: text that has just begun to
/// show is watched, a long one is read at its beginning, and each call is one that the answer of
/// somebody else might need.
const PAUSE_STEP_MS: i64 = SECOND_MS / 2;
const PAUSE_MS_MAX_PRIVATE: i64 = 4 * SECOND_MS;
const PAUSE_MS_MAX_SHARED: i64 = 6 * SECOND_MS;
/// Less new text than this is not worth a call, bytes.
const GROWTH_BYTES_PRIVATE: usize = 24;
const GROWTH_BYTES_SHARED: usize = 60;
/// The longest last word that is held back, bytes.
const WORD_BYTES_MAX: usize = 256;

/// `STREAM`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Never.
    Off,
    /// By editing a message.
    Edit,
    /// By drafts, where there are drafts.
    Draft,
    /// Drafts where there are, edits elsewhere.
    Auto,
}

/// How an answer is shown while it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    None,
    /// A native draft with a Stop button; leaves nothing behind.
    Draft,
    /// A message that is edited on, at last into the answer.
    Edit,
}

/// Decides the way; `drafts` = this chat is private and its server is not known to refuse them.
pub fn way(wish: Wish, drafts: bool) -> Way {
    match wish {
        Wish::Draft | Wish::Auto if drafts => Way::Draft,
        Wish::Edit | Wish::Auto => Way::Edit,
        Wish::Off | Wish::Draft => Way::None,
    }
}

/// How often a worker tells of growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    every_ms: i64,
    pause_ms_max: i64,
    growth_bytes: usize,
}

/// The pace of a private or of a shared chat.
pub fn pace(private: bool) -> Pace {
    if private {
        Pace {
            every_ms: PRIVATE.every_ms,
            pause_ms_max: PAUSE_MS_MAX_PRIVATE,
            growth_bytes: GROWTH_BYTES_PRIVATE,
        }
    } else {
        Pace {
            every_ms: SHARED.every_ms,
            pause_ms_max: PAUSE_MS_MAX_SHARED,
            growth_bytes: GROWTH_BYTES_SHARED,
        }
    }
}

/// What was told of one answer so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    at_ms: Option<i64>,
    bytes: usize,
    /// The least pause before the next.
    pause_ms: i64,
}

impl Told {
    /// Whether `bytes` of text, `elapsed_ms` after the question was put, are worth telling; if so,
    /// they count as told.
    pub fn tell(&mut self, pace: Pace, elapsed_ms: i64, bytes: usize) -> bool {
        let due = match self.at_ms {
            None => elapsed_ms >= FIRST_AFTER_MS && bytes > 0,
            Some(at_ms) => {
                elapsed_ms - at_ms >= self.pause_ms && bytes >= self.bytes + pace.growth_bytes
            }
        };
        if due {
            let longer_ms = self.pause_ms + PAUSE_STEP_MS;
            let pause_ms = longer_ms.clamp(pace.every_ms, pace.pause_ms_max);
            *self = Self { at_ms: Some(elapsed_ms), bytes, pause_ms };
        }
        due
    }
}

/// The part of the text that is shown: an unfinished last word waits, be it half a secret.
pub fn shown(text: &str) -> &str {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.' | '/');
    let cut = text.trim_end_matches(is_word);
    let all = if text.len() - cut.len() > WORD_BYTES_MAX { text } else { cut };
    all.trim_end()
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    every_ms: i64,
    cost_ms: i64,
    burst_ms: i64,
}

/// What a chat was asked to take lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatPace {
    last_ms: UnixMs,
    /// Until when the previews so far are paid for.
    paid_ms: UnixMs,
    paused_until_ms: UnixMs,
}

impl ChatPace {
    /// Whether one more preview may go out; if so, it counts.
    pub fn take(&mut self, private: bool, now_ms: UnixMs) -> bool {
        let budget = if private { PRIVATE } else { SHARED };
        let may = self.paused_until_ms <= now_ms
            && self.last_ms + budget.every_ms <= now_ms
            && self.paid_ms - budget.burst_ms <= now_ms;
        if may {
            self.last_ms = now_ms;
            self.paid_ms = self.paid_ms.max(now_ms) + budget.cost_ms;
        }
        may
    }

    /// Telegram asked for a pause: what it allows next belongs to the answer.
    pub fn pause(&mut self, pause_ms: i64, now_ms: UnixMs) {
        self.paused_until_ms = self.paused_until_ms.max(now_ms.saturating_add(pause_ms));
    }

    /// Whether nothing of this matters any more.
    pub fn is_over(&self, now_ms: UnixMs) -> bool {
        self.paused_until_ms.max(self.paid_ms).max(self.last_ms + SHARED.every_ms) <= now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_where_they_work_edits_where_they_are_wished() {
        let cases = [
            (Wish::Off, Way::None, Way::None),
            (Wish::Edit, Way::Edit, Way::Edit),
            (Wish::Draft, Way::Draft, Way::None),
            (Wish::Auto, Way::Draft, Way::Edit),
        ];
        for (wish, with_drafts, without) in cases {
            assert_eq!(way(wish, true), with_drafts, "{wish:?}");
            assert_eq!(way(wish, false), without, "{wish:?}");
        }
    }

    /// Feeds (elapsed ms, bytes so far) and collects the instants that are told.
    fn told(private: bool, growth: &[(i64, usize)]) -> Vec<i64> {
        let mut told = Told::default();
        let tell = |(at_ms, bytes): &&(i64, usize)| told.tell(pace(private), *at_ms, *bytes);
        growth.iter().filter(tell).map(|(at_ms, _)| *at_ms).collect()
    }

    #[test]
    fn a_fast_answer_is_never_told_and_a_slow_one_by_time_and_growth() {
        assert!(told(true, &[(100, 50), (900, 4_000)]).is_empty());
        assert_eq!(
            told(true, &[(100, 50), (1_000, 60), (1_900, 500), (2_000, 600)]),
            [1_000, 2_000]
        );
        assert_eq!(told(true, &[(1_000, 60), (2_000, 70), (3_000, 90)]), [1_000, 3_000]);
        assert_eq!(told(false, &[(1_000, 60), (3_000, 999), (4_000, 999)]), [1_000, 4_000]);
        assert_eq!(told(true, &[(1_500, 0), (1_600, 1)]), [1_600]);
    }

    #[test]
    fn the_pauses_grow_with_the_answer() {
        let growth: Vec<_> =
            (0_u16..300).map(|n| (i64::from(n) * 100, 1_000 * usize::from(n))).collect();
        assert_eq!(
            told(true, &growth),
            [1_000, 2_000, 3_500, 5_500, 8_000, 11_000, 14_500, 18_500, 22_500, 26_500]
        );
        assert_eq!(told(false, &growth), [1_000, 4_000, 7_500, 11_500, 16_000, 21_000, 26_500]);
    }

    #[test]
    fn a_minute_of_previews_leaves_room_for_the_answer() {
        // Telegram takes 60 a minute from a person's chat and 20 from a group (api-reference A7).
        for (private, most) in [(true, 59), (false, 17)] {
            let mut chat = ChatPace::default();
            let start_ms = 1_800_000_000_000;
            let count = (0..60_000).filter(|ms| chat.take(private, start_ms + ms)).count();
            assert!(count <= most && count > most / 2, "{count}");
        }
        // Answers that grow fast, one beginning every eight seconds: what each would tell, and what
        // the chat takes of it.
        for (private, most) in [(true, 45), (false, 17)] {
            let mut chat = ChatPace::default();
            let mut answers = [Told::default(); 6];
            let (mut told, mut taken) = (0, 0);
            for ms in (0..60_000_i64).step_by(50) {
                for (begun_ms, answer) in (0_i64..).step_by(8_000).zip(&mut answers) {
                    let bytes = usize::try_from((ms - begun_ms).max(0)).unwrap();
                    if answer.tell(pace(private), ms - begun_ms, bytes) {
                        told += 1;
                        taken += usize::from(chat.take(private, 1_800_000_000_000 + ms));
                    }
                }
            }
            assert!(taken < told, "{taken} of {told}: the chat says no at times");
            assert!((most / 2..=most).contains(&taken), "{taken} of {told}");
        }
    }

    #[test]
    fn a_pause_that_telegram_asks_for_is_kept() {
        let mut chat = ChatPace::default();
        assert!(chat.take(true, 100_000));
        chat.pause(5_000, 100_000);
        chat.pause(2_000, 100_000);
        assert!(!chat.take(true, 104_999) && chat.take(true, 105_000));
        assert!(!chat.is_over(105_500) && chat.is_over(120_000));
    }

    #[test]
    fn the_last_word_waits_until_it_is_complete() {
        let cases = [
            ("Hello wor", "Hello"),
            ("Hello world ", "Hello world"),
            ("key AIzaSyABC", "key"),
            ("你好世", "你好世"),
            ("word", ""),
        ];
        for (text, want) in cases {
            assert_eq!(shown(text), want);
        }
        let long = "x".repeat(300);
        assert_eq!(shown(&long), long);
    }
}
