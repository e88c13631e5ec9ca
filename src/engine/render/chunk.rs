//! Owns: cutting a source too long to be parsed at once into pieces at line ends, and knowing at
//! each line whether it stands in a fenced code block.
//! Invariant: a piece is at most `CHUNK_BYTES_MAX` long plus one reopened fence line.

use std::borrow::Cow;

/// What is parsed at once, bytes; a parser's tree is a large multiple of it.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// The part of a fence line that is worth repeating, bytes.
const FENCE_BYTES_MAX: usize = 64;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Ordinary text.
    Text,
    /// The first or last line of a fenced block.
    Fence,
    /// Inside of a fenced block.
    Code,
}

/// Follows fences line by line, near enough to CommonMark: inside lists and quotes too.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences<'a> {
    open: Option<(u8, usize, &'a str)>,
}

impl<'a> Fences<'a> {
    /// Takes the next line and says where it stands.
    pub(super) fn feed(&mut self, line: &'a str) -> Place {
        let bare = line.trim_start_matches([' ', '\t', '>']).trim_end();
        let bare = match self.open {
            None => after_marker(bare),
            Some(_) => bare,
        };
        let mark = bare.bytes().next().filter(|byte| matches!(byte, b'`' | b'~'));
        let count = mark.map_or(0, |mark| bare.bytes().take_while(|byte| *byte == mark).count());
        match (self.open, mark) {
            (Some((open, least, _)), Some(mark))
                if mark == open && least <= count && count == bare.len() =>
            {
                self.open = None;
                Place::Fence
            }
            (Some(_), _) => Place::Code,
            (None, Some(mark)) if 3 <= count => {
                let info = bare.get(count..).unwrap_or("");
                if mark == b'`' && info.contains('`') {
                    return Place::Text;
                }
                self.open = Some((mark, count, bare));
                Place::Fence
            }
            (None, _) => Place::Text,
        }
    }

    /// The line that opened the block we are in.
    pub(super) fn opener(&self) -> Option<&'a str> {
        self.open.map(|open| open.2)
    }
}

/// The line without a bullet or number: a fence may stand right after one.
fn after_marker(line: &str) -> &str {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.strip_prefix(['-', '*', '+', '.', ')']) {
        Some(rest) if rest.starts_with(' ') => rest.trim_start(),
        _ => line,
    }
}

/// Pieces of Markdown; a fence that a cut goes through is opened again.
pub(super) fn chunks(markdown: &str) -> Vec<Cow<'_, str>> {
    let mut pieces = Vec::new();
    let mut fences = Fences::default();
    for piece in plain_chunks(markdown) {
        let reopen = fences.opener().filter(|line| line.len() <= FENCE_BYTES_MAX);
        pieces.push(match reopen {
            Some(line) => Cow::Owned(format!("{line}\n{piece}")),
            None => Cow::Borrowed(piece),
        });
        for line in piece.lines() {
            fences.feed(line);
        }
    }
    pieces
}

/// Pieces of a plain text, cut after a line end in the second half of each where there is one.
pub(super) fn plain_chunks(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while CHUNK_BYTES_MAX < rest.len() {
        let end = rest.floor_char_boundary(CHUNK_BYTES_MAX);
        let (head, _) = rest.split_at(end);
        let cut = head.rfind('\n').map(|at| at + 1).filter(|at| end / 2 <= *at).unwrap_or(end);
        let (piece, tail) = rest.split_at(cut);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}
