//! Owns: the one line on a terminal that says how far long work is.
//! May not: write where nobody watches, or more often than an eye can follow.

use std::fmt::Arguments;
use std::io::Write;

/// Shortest time between two lines.
const PACE_MS: i64 = 200;

/// A line that is written over again and again, and wiped away in the end.
pub(super) struct Progress {
    watched: bool,
    next_ms: i64,
    is_shown: bool,
}

impl Progress {
    /// `watched`: a person sees what is written.
    pub(super) fn new(watched: bool) -> Self {
        Self { watched, next_ms: i64::MIN, is_shown: false }
    }

    /// Shows `line`, unless one was just shown. The cursor stays at its begin, so that whatever is
    /// printed next stands on a line of its own.
    pub(super) fn show(&mut self, now_ms: i64, line: Arguments<'_>, to: &mut dyn Write) {
        // A clock that steps back must not silence it for long.
        if !self.watched || (now_ms < self.next_ms && self.next_ms - now_ms <= PACE_MS) {
            return;
        }
        self.next_ms = now_ms.saturating_add(PACE_MS);
        self.is_shown = true;
        // A terminal that went away is no reason to stop.
        let _ = write!(to, "\x1b[K{line}\r").and_then(|()| to.flush());
    }

    /// Wipes it away.
    pub(super) fn end(&self, to: &mut dyn Write) {
        if self.is_shown {
            let _ = write!(to, "\x1b[K").and_then(|()| to.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_now_and_then_to_who_watches_and_is_wiped_away() {
        let cases: [(bool, &[i64], &str); 4] = [
            (false, &[0, 1_000], ""),
            (true, &[], ""),
            (true, &[0, 199, 200], "\x1b[K0\r\x1b[K200\r\x1b[K"),
            // The clock steps back.
            (true, &[10_000, 5], "\x1b[K10000\r\x1b[K5\r\x1b[K"),
        ];
        for (watched, times, wanted) in cases {
            let (mut progress, mut out) = (Progress::new(watched), Vec::new());
            for now_ms in times {
                progress.show(*now_ms, format_args!("{now_ms}"), &mut out);
            }
            progress.end(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
    }
}
