//! Owns: keeping LaTeX fragments as they are: what stands between `\(` `\)`, `\[` `\]`, `$$` `$$` or
//! `$` `$` gets a backslash before each ASCII sign, so that Markdown reads it as plain text.
//! Invariant: nothing in code is touched; linear time.

use super::chunk::{Fences, Place};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The longest `$…$` on one line, bytes: prices must not swallow a paragraph.
const INLINE_BYTES_MAX: usize = 300;

/// What mathematics becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Text that reads as it was written.
    Text,
    /// `$…$` and `$$…$$`, for readers that draw formulas.
    Dollars,
}

/// The Markdown with its mathematics protected.
pub(super) fn protect(markdown: &str, keep: Keep) -> Cow<'_, str> {
    if !(markdown.contains('$') || markdown.contains("\\(") || markdown.contains("\\[")) {
        return Cow::Borrowed(markdown);
    }
    let mut out = String::with_capacity(markdown.len() + markdown.len() / 4);
    let mut fences = Fences::default();
    let mut paragraph_at = 0;
    let mut at = 0;
    for line in markdown.split_inclusive('\n') {
        let place = fences.feed(line);
        if place != Place::Text || line.trim().is_empty() {
            protect_paragraph(markdown.get(paragraph_at..at).unwrap_or(""), keep, &mut out);
            out.push_str(line);
            paragraph_at = at + line.len();
        }
        at += line.len();
    }
    protect_paragraph(markdown.get(paragraph_at..).unwrap_or(""), keep, &mut out);
    Cow::Owned(out)
}

/// One run of lines without a blank line or a fence between them.
fn protect_paragraph(text: &str, keep: Keep, out: &mut String) {
    let closers = code_closers(text);
    let mut finder = Finder { text, cached: BTreeMap::new() };
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        let math_end = match byte {
            b'`' => {
                let run = run_length(bytes, at);
                at = closers.get(&at).copied().unwrap_or(at + run);
                continue;
            }
            b'\\' => match bytes.get(at + 1) {
                Some(b'(') => finder.next("\\)", at + 2).map(|end| end + 2),
                Some(b'[') => finder.next("\\]", at + 2).map(|end| end + 2),
                _ => {
                    at += 2;
                    continue;
                }
            },
            b'$' if bytes.get(at + 1) == Some(&b'$') => {
                finder.next("$$", at + 2).filter(|end| at + 2 < *end).map(|end| end + 2)
            }
            b'$' => inline_end(text, at),
            _ => None,
        };
        match math_end {
            Some(end) => {
                out.push_str(text.get(copied..at).unwrap_or(""));
                let formula = text.get(at..end).unwrap_or("");
                match keep {
                    Keep::Text => escape_signs(formula, out),
                    Keep::Dollars => out.push_str(&dollars(formula)),
                }
                copied = end;
                at = end;
            }
            None if byte == b'\\' => at += 2,
            None => at += 1,
        }
    }
    out.push_str(text.get(copied..).unwrap_or(""));
}

/// The formula between dollar signs, on one line.
fn dollars(formula: &str) -> Cow<'_, str> {
    let inner = |open, close| formula.strip_prefix(open)?.strip_suffix(close).map(str::trim);
    let found = inner("\\(", "\\)").map(|body| ("$", body));
    let found = found.or_else(|| inner("\\[", "\\]").map(|body| ("$$", body)));
    match found {
        Some((mark, body)) if !body.is_empty() && !body.contains('$') => {
            Cow::Owned(format!("{mark}{}{mark}", body.replace('\n', " ")))
        }
        _ => Cow::Borrowed(formula),
    }
}

/// Puts a backslash before every ASCII sign.
fn escape_signs(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Where the `$…$` that opens here ends, if it looks like mathematics and not like money.
fn inline_end(text: &str, at: usize) -> Option<usize> {
    let window_end = text.floor_char_boundary((at + 1 + INLINE_BYTES_MAX).min(text.len()));
    let window = text.get(at + 1..window_end)?;
    let (inner, _) = window.split_once('$').filter(|(inner, _)| !inner.contains(['\n', '`']))?;
    let length = inner.len();
    let after = text.get(at + 2 + length..).and_then(|rest| rest.chars().next());
    let tight = !inner.is_empty() && inner.trim() == inner;
    let mathy = inner.contains(['\\', '^', '_', '=', '{', '+', '*', '/', '<', '>', '|'])
        || inner.chars().count() <= 2;
    let closed = !after.is_some_and(|c| c.is_ascii_alphanumeric());
    (tight && mathy && closed).then_some(at + 2 + length)
}

/// For each run of backticks that opens a code span, the offset after the span.
fn code_closers(text: &str) -> BTreeMap<usize, usize> {
    let bytes = text.as_bytes();
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.find('`')) {
        let start = at + next;
        let length = run_length(bytes, start);
        runs.push((start, length));
        at = start + length;
    }
    let mut next_of = BTreeMap::new();
    let mut closers = BTreeMap::new();
    for (start, length) in runs.into_iter().rev() {
        if let Some(end) = next_of.insert(length, start + length) {
            closers.insert(start, end);
        }
    }
    closers
}

/// How often the byte at this offset repeats.
fn run_length(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or(&[]);
    rest.iter().take_while(|byte| Some(*byte) == rest.first()).count()
}

/// Finds the next of a mark; searches never go over the same stretch twice.
struct Finder<'a> {
    text: &'a str,
    cached: BTreeMap<&'static str, Option<usize>>,
}

impl Finder<'_> {
    fn next(&mut self, mark: &'static str, from: usize) -> Option<usize> {
        match self.cached.get(mark) {
            Some(None) => return None,
            Some(Some(at)) if from <= *at => return Some(*at),
            _ => {}
        }
        let found = self.text.get(from..).and_then(|rest| rest.find(mark)).map(|at| from + at);
        self.cached.insert(mark, found);
        found
    }
}
