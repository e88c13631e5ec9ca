//! Owns: what a growing answer looks like before it is complete.
//! Invariant: one part within the limits, never empty; work is bounded by the last stretch of the
//! source however long the answer has grown.

use super::chunk::{Fences, Place};
use super::{PART_UNITS_MAX, flat, flatten, header_line, split};
use crate::types::Part;

/// How much of the source's end is looked at, bytes: a full message in three-byte characters.
const SOURCE_BYTES_MAX: usize = 16 * 1024;
/// Stands where something is left out or not there yet.
const ELLIPSIS: &str = "…";
/// Room for the ellipsis and its line ends, UTF-16 units.
const ELLIPSIS_UNITS: usize = 3;

/// The growing answer as one part: all of it while it fits, else an ellipsis and its last stretch.
/// Formatting that is not closed yet looks as if it were. `header` as in [`super::render`].
pub fn live_preview(markdown_so_far: &str, header: Option<&str>) -> Part {
    let header = header.map(header_line).filter(|line| !line.is_empty());
    let (source, whole) = tail(markdown_so_far);
    let flat = flatten::flatten(&complete(&source));
    let mut parts = Vec::new();
    if whole {
        split::split(&flat, header.as_deref(), &mut parts);
    }
    if let (1, Some(part)) = (parts.len(), parts.pop()) {
        return part;
    }
    let head = match header {
        Some(line) if flat.text.chars().any(flat::is_visible) => format!("{line}\n\n{ELLIPSIS}"),
        Some(line) => line,
        None => ELLIPSIS.to_owned(),
    };
    let room = PART_UNITS_MAX - ELLIPSIS_UNITS - split::units(&head);
    split::last_part(&flat, room, &head).unwrap_or_else(|| Part {
        text: super::escape_html(&head),
        plain: head,
        html: true,
    })
}

/// The end of the source from a line's start, an open fence opened again, and whether it is all.
fn tail(source: &str) -> (String, bool) {
    if source.len() <= SOURCE_BYTES_MAX {
        return (source.to_owned(), true);
    }
    let at = source.ceil_char_boundary(source.len() - SOURCE_BYTES_MAX);
    let (_, rest) = source.split_at(at);
    let at =
        rest.find('\n').filter(|end| *end < SOURCE_BYTES_MAX / 2).map_or(at, |end| at + end + 1);
    let (head, rest) = source.split_at(at);
    let mut fences = Fences::default();
    for line in head.lines() {
        fences.feed(line);
    }
    let fence = fences.opener().filter(|line| line.len() <= SOURCE_BYTES_MAX / 8);
    (fence.map(|line| format!("{line}\n")).unwrap_or_default() + rest, false)
}

/// The source as it would read if the model stopped here and closed what it opened.
fn complete(source: &str) -> String {
    let mut fences = Fences::default();
    let mut place = Place::Text;
    let mut block_at = 0;
    let mut line_at = 0;
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        place = fences.feed(line);
        line_at = at;
        at += line.len();
        if place != Place::Text || line.trim().is_empty() {
            block_at = at;
        } else if line.trim_start().starts_with(['-', '*', '+', '#', '>', '|'])
            || line.trim_start().starts_with(|c: char| c.is_ascii_digit())
        {
            block_at = line_at;
        }
    }
    let (before, last) = source.split_at(line_at);
    let unfinished = !last.ends_with('\n');
    match place {
        // The first signs of the closing fence are no code.
        Place::Code
            if unfinished && !last.trim().is_empty() && last.trim().chars().all(is_fence) =>
        {
            return before.to_owned();
        }
        Place::Code | Place::Fence => return source.to_owned(),
        Place::Text => {}
    }
    // A line of signs alone may still become a list, a rule, a fence or a heading's underline.
    if unfinished && only_signs(last.trim()) {
        return before.to_owned();
    }
    let (head, block) = source.split_at(block_at.min(source.len()));
    head.to_owned() + &close(&without_open_link(block))
}

fn is_fence(c: char) -> bool {
    matches!(c, '`' | '~')
}

fn only_signs(line: &str) -> bool {
    let number =
        line.strip_suffix('.').is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
    number
        || line.chars().all(|c| {
            matches!(c, '-' | '=' | '*' | '_' | '+' | '~' | '`' | '#' | '>' | '|' | ':' | ' ')
        })
}

/// A link whose address is still on its way shows its text alone.
fn without_open_link(block: &str) -> String {
    let Some(at) = block.rfind('[') else { return block.to_owned() };
    let (head, tail) = block.split_at(at);
    let inner = tail.trim_start_matches('[');
    let text = match inner.split_once(']') {
        None => inner,
        Some((text, "" | "(")) => text,
        Some((text, rest)) if rest.starts_with('(') && !rest.contains([')', '\n']) => text,
        Some(_) => return block.to_owned(),
    };
    format!("{}{text}", head.strip_suffix('!').unwrap_or(head))
}

/// Appends the closing marks of one block that has only opening ones.
fn close(block: &str) -> String {
    let trimmed = block.trim_end();
    let body = trimmed.trim_end_matches(['*', '_', '~', '|']);
    let is_table = body.trim_start().starts_with('|') && !body.trim_start().starts_with("||");
    let body = if is_table { trimmed } else { body };
    let chars: Vec<(usize, char)> = body.char_indices().collect();
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut at = 0;
    while let Some(&(offset, c)) = chars.get(at) {
        let run = chars.iter().skip(at).take_while(|next| next.1 == c).count();
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).map(|c| c.1);
        let after = chars.get(at + run).map(|c| c.1);
        match c {
            '\\' => at += 2,
            '`' => match code_end(&chars, at + run, run) {
                Some(end) => at = end,
                // Nothing inside of code opens anything; the code itself is closed first.
                None if after.is_none() => {
                    return body.get(..offset).unwrap_or("").to_owned() + &closers(&open);
                }
                None => return format!("{body}{}{}", "`".repeat(run), closers(&open)),
            },
            '*' | '_' | '~' | '|' if !is_table => {
                turn(&mut open, c, run, before, after);
                at += run;
            }
            _ => at += run,
        }
    }
    format!("{body}{}", closers(&open))
}

/// Opens or closes emphasis by CommonMark's rule of thumb: what it leans on.
fn turn(
    open: &mut Vec<(char, usize)>,
    c: char,
    run: usize,
    before: Option<char>,
    after: Option<char>,
) {
    let solid = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let word = |x: Option<char>| c == '_' && x.is_some_and(char::is_alphanumeric);
    let mut left = run;
    if solid(before) && !word(after) {
        while let Some((_, count)) = open.last_mut().filter(|top| top.0 == c && 0 < left) {
            let taken = left.min(*count);
            left -= taken;
            *count -= taken;
            if *count == 0 {
                open.pop();
            }
        }
    }
    let countable = match c {
        '~' | '|' => left == 2,
        _ => left <= 3,
    };
    if 0 < left && left == run && countable && solid(after) && !word(before) {
        open.push((c, left));
    }
}

/// The marks that close these, innermost first.
fn closers(open: &[(char, usize)]) -> String {
    open.iter().rev().flat_map(|(c, count)| std::iter::repeat_n(*c, *count)).collect()
}

/// Where a code span that began before `from` ends.
fn code_end(chars: &[(usize, char)], from: usize, length: usize) -> Option<usize> {
    let mut at = from;
    while at < chars.len() {
        let run = chars.iter().skip(at).take_while(|next| next.1 == '`').count();
        if run == length {
            return Some(at + run);
        }
        at += run.max(1);
    }
    None
}
