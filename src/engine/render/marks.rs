//! Owns: marks that CommonMark leaves in the text: `||spoilers||`, and `**bold**` or `~~struck~~`
//! that Chinese punctuation beside the mark keeps the parser from seeing.
//! Invariant: a pair stands on one line, outside of code; one linear pass each way.

use super::flat::{BOLD, CODE, Flat, SPOILER, STRIKE, Style};

/// A mark in the text.
struct Mark {
    at: usize,
    flag: u8,
    opens: bool,
    closes: bool,
}

/// Applies the pairs of marks and takes them out of the text. `literal` are the byte offsets of
/// signs that the author escaped, in order.
pub(super) fn apply(flat: Flat, literal: &[usize]) -> Flat {
    if !["||", "**", "~~"].iter().any(|mark| flat.text.contains(mark)) {
        return flat;
    }
    let pairs = pair(&flat.text, &find(&flat, literal));
    if pairs.is_empty() {
        return flat;
    }
    let Flat { text, runs, langs, links } = flat;
    let mut out = Flat { text: String::with_capacity(text.len()), runs: Vec::new(), langs, links };
    let mut cuts = pairs.into_iter().peekable();
    let mut flags = 0;
    let mut at = 0;
    for (end, style) in runs {
        while let Some((cut, flag)) = cuts.next_if(|cut| cut.0 < end) {
            push(&mut out, text.get(at..cut), style, flags);
            flags ^= flag;
            at = cut + 2;
        }
        push(&mut out, text.get(at..end), style, flags);
        at = at.max(end);
    }
    out
}

fn push(out: &mut Flat, text: Option<&str>, style: Style, flags: u8) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(text, Style { flags: style.flags | flags, ..style });
    }
}

/// Every mark that may count, in order.
fn find(flat: &Flat, literal: &[usize]) -> Vec<Mark> {
    let bytes = flat.text.as_bytes();
    let mut literal = literal.iter().copied().peekable();
    let mut marks = Vec::new();
    let mut start = 0;
    for &(end, style) in &flat.runs {
        let mut at = start;
        start = end;
        if style.pre != 0 || style.flags & CODE != 0 {
            continue;
        }
        while let Some(byte) = bytes.get(at).copied().filter(|_| at < end) {
            let flag = match byte {
                b'|' => SPOILER,
                b'*' => BOLD,
                b'~' => STRIKE,
                _ => {
                    at += 1;
                    continue;
                }
            };
            let rest = bytes.get(at..end).unwrap_or(&[]);
            let run = rest.iter().take_while(|next| **next == byte).count();
            while literal.next_if(|offset| *offset < at).is_some() {}
            let escaped = literal.peek().is_some_and(|offset| *offset < at + run);
            if run == 2 && !escaped {
                marks.push(mark(&flat.text, at, flag));
            }
            at += run;
        }
    }
    marks
}

/// What a mark may do, from what stands beside it.
fn mark(text: &str, at: usize, flag: u8) -> Mark {
    let before = text.get(..at).and_then(|head| head.chars().next_back());
    let after = text.get(at + 2..).and_then(|tail| tail.chars().next());
    let solid = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    // `a||b` is a program's or, and not the start of a secret.
    let strict = flag == SPOILER;
    Mark {
        at,
        flag,
        opens: solid(after) && !(strict && word(before)),
        closes: solid(before) && !(strict && word(after)),
    }
}

/// Offsets and flags of the marks that found a partner on their line, in order.
fn pair(text: &str, marks: &[Mark]) -> Vec<(usize, u8)> {
    let mut pairs = Vec::new();
    let mut open: [Option<&Mark>; 3] = [None; 3];
    let mut seen = 0;
    for mark in marks {
        let gap = text.get(seen..mark.at).unwrap_or("");
        seen = mark.at;
        if gap.contains('\n') {
            open = [None; 3];
        }
        let [bold, strike, spoiler] = &mut open;
        let slot = match mark.flag {
            BOLD => bold,
            STRIKE => strike,
            _ => spoiler,
        };
        match *slot {
            Some(start) if mark.closes && start.at + 2 < mark.at => {
                pairs.push((start.at, mark.flag));
                pairs.push((mark.at, mark.flag));
                *slot = None;
            }
            _ if mark.opens => *slot = Some(mark),
            _ => {}
        }
    }
    pairs.sort_unstable();
    pairs
}
