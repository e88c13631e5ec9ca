//! Owns: moving `**` over a punctuation mark where CommonMark would not see it beside a Chinese
//! word: `**问：**怎么` becomes `**问**：怎么`, which every parser reads as meant.
//! Invariant: only the order of a mark and its neighbours changes, never in code; linear time.

use super::chunk::{Fences, Place};
use std::borrow::Cow;

/// Punctuation that a mark may change places with at once, at most.
const MOVED_CHARS_MAX: usize = 4;

/// The Markdown with such marks moved.
pub(super) fn lean(markdown: &str) -> Cow<'_, str> {
    if !markdown.contains("**") || markdown.is_ascii() {
        return Cow::Borrowed(markdown);
    }
    let mut out = String::with_capacity(markdown.len());
    let mut fences = Fences::default();
    for line in markdown.split_inclusive('\n') {
        match fences.feed(line) {
            Place::Text if line.contains("**") => lean_line(line, &mut out),
            _ => out.push_str(line),
        }
    }
    Cow::Owned(out)
}

fn lean_line(line: &str, out: &mut String) {
    let mut opens = true;
    let mut code = false;
    let mut rest = line;
    while let Some(at) = rest.find(['*', '`', '\\']) {
        let (text, tail) = rest.split_at(at);
        out.push_str(text);
        let sign = tail.chars().next().unwrap_or('*');
        let run = match sign {
            // The sign and what it escapes.
            '\\' => tail.chars().take(2).map(char::len_utf8).sum(),
            _ => tail.bytes().take_while(|byte| char::from(*byte) == sign).count(),
        };
        let (mark, after) = tail.split_at(run);
        rest = after;
        code ^= sign == '`';
        if sign != '*' || run != 2 || code {
            out.push_str(mark);
            continue;
        }
        if opens {
            rest = open(mark, after, out);
        } else {
            close(mark, after, out);
        }
        opens = !opens;
    }
    out.push_str(rest);
}

/// Writes an opening mark, after the punctuation where a word stands before it.
fn open<'a>(mark: &str, after: &'a str, out: &mut String) -> &'a str {
    let length: usize =
        after.chars().take_while(|c| moves(*c)).take(MOVED_CHARS_MAX).map(char::len_utf8).sum();
    let (moved, rest) = after.split_at(length);
    if out.ends_with(char::is_alphanumeric) && rest.starts_with(char::is_alphanumeric) {
        out.push_str(moved);
        out.push_str(mark);
        return rest;
    }
    out.push_str(mark);
    after
}

/// Writes a closing mark, before the punctuation where a word stands after it.
fn close(mark: &str, after: &str, out: &mut String) {
    let length: usize =
        out.chars().rev().take_while(|c| moves(*c)).take(MOVED_CHARS_MAX).map(char::len_utf8).sum();
    let moved = out.split_off(out.len() - length);
    if after.starts_with(char::is_alphanumeric) && out.ends_with(char::is_alphanumeric) {
        out.push_str(mark);
        out.push_str(&moved);
    } else {
        out.push_str(&moved);
        out.push_str(mark);
    }
}

/// Signs without a meaning in Markdown.
fn moves(c: char) -> bool {
    matches!(c, '.' | ',' | ':' | ';' | '?' | '"' | '\'')
        || (!c.is_ascii() && !c.is_alphanumeric() && !c.is_whitespace() && !c.is_control())
}
