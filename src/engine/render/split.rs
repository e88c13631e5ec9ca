//! Owns: cutting flat text into parts and writing each as HTML.
//! Invariant: a part is within every limit whatever the text: the cutter looks for good places, the
//! writer holds the limits. Each stretch of text is looked at a bounded number of times.

use super::flat::{BOLD, Flat, ITALIC, STRIKE, Style, Tag, is_visible};
use super::{ENTITIES_MAX, LINKS_BYTES_MAX, PART_UNITS_MAX, escape_html, escape_into};
use crate::types::Part;
use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

/// What the cutter looks at for one part, bytes: more than the most units can take.
const WINDOW_BYTES: usize = PART_UNITS_MAX * 3 + 64;
/// A visible character longer than this (UTF-16 units) is a flood and may be cut.
const GRAPHEME_UNITS_MAX: usize = 64;

/// Cuts the text into parts and appends them; `header` goes in front of the first.
pub(super) fn split(flat: &Flat, header: Option<&str>, parts: &mut Vec<Part>) {
    let mut header = header;
    let mut at = 0;
    let mut run = 0;
    while at < flat.text.len() {
        while flat.runs.get(run).is_some_and(|(end, _)| *end <= at) {
            run += 1;
        }
        let head_units = header.map_or(0, |line| units(line) + 2);
        let cut = find_cut(flat, at, run, PART_UNITS_MAX - head_units);
        if let Some(part) = write_part(flat, at, cut.end, run, header) {
            parts.push(part);
            header = None;
        }
        at = cut.next;
    }
}

/// Length in UTF-16 units.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Where a part ends and the next begins; what lies between is white space.
#[derive(Clone, Copy)]
struct Cut {
    end: usize,
    next: usize,
}

/// The best places seen so far, later ones replacing earlier ones.
#[derive(Default)]
struct Places {
    paragraph: Option<(Cut, usize)>,
    line: Option<(Cut, usize)>,
    word: Option<(Cut, usize)>,
}

impl Places {
    /// The best place in the second half: a paragraph before a line before a word.
    fn best(&self, used: usize) -> Option<Cut> {
        [self.paragraph, self.line, self.word]
            .into_iter()
            .flatten()
            .find(|(_, units)| used / 2 <= *units)
            .map(|(cut, _)| cut)
    }
}

fn find_cut(flat: &Flat, at: usize, run: usize, room: usize) -> Cut {
    let window_end = flat.text.floor_char_boundary((at + WINDOW_BYTES).min(flat.text.len()));
    let window = flat.text.get(at..window_end).unwrap_or("");
    // Most answers fit whole: no place has to be looked for.
    if window_end == flat.text.len() && units(window) <= room {
        let mut budget = Budget::at(flat, run);
        budget.enter(window_end);
        if !budget.is_spent(true) {
            return Cut { end: window_end, next: window_end };
        }
    }
    let mut budget = Budget::at(flat, run);
    let mut places = Places::default();
    let mut used = 0;
    let mut line_ends = 0;
    for (offset, grapheme) in window.grapheme_indices(true) {
        let here = at + offset;
        let size = units(grapheme);
        let style = budget.enter(here + grapheme.len());
        if room < used + size || budget.is_spent(room / 2 <= used) {
            if GRAPHEME_UNITS_MAX < size {
                return cut_flood(here, grapheme, room - used);
            }
            if here == at {
                let next = here + grapheme.len();
                return Cut { end: next, next };
            }
            return places.best(used).unwrap_or(Cut { end: here, next: here });
        }
        used += size;
        let next = here + grapheme.len();
        note(&mut places, grapheme, style, Cut { end: here, next }, &mut line_ends, used);
    }
    Cut { end: window_end, next: window_end }
}

/// Remembers a place to cut at, if this grapheme makes one.
fn note(
    places: &mut Places,
    grapheme: &str,
    style: Style,
    cut: Cut,
    line_ends: &mut usize,
    used: usize,
) {
    match grapheme.chars().next() {
        Some('\n') => {
            *line_ends += 1;
            let end = match (*line_ends, places.line) {
                (1, _) | (_, None) => cut.end,
                (_, Some((first, _))) => first.end,
            };
            let cut = Cut { end, next: cut.next };
            if 2 <= *line_ends && style.pre == 0 {
                places.paragraph = Some((cut, used));
            }
            places.line = Some((cut, used));
        }
        Some(c) if c.is_whitespace() => places.word = Some((cut, used)),
        // No blanks between Chinese words: a clause's end is the better place.
        Some('。' | '！' | '？' | '；' | '，' | '、') => {
            *line_ends = 0;
            places.word = Some((Cut { end: cut.next, next: cut.next }, used));
        }
        _ => *line_ends = 0,
    }
}

/// Cuts a flood of combining characters wherever a character ends.
fn cut_flood(at: usize, grapheme: &str, room: usize) -> Cut {
    let mut used = 0;
    let mut end = at;
    for c in grapheme.chars() {
        used += c.len_utf16();
        if room < used && end != at {
            break;
        }
        end += c.len_utf8();
        if room <= used {
            break;
        }
    }
    Cut { end, next: end }
}

/// Open tags, outermost first, and what has been spent on them.
#[derive(Default)]
struct Stack {
    open: Vec<Tag>,
    opened: usize,
    link_bytes: usize,
}

/// What a change of style asks of the output, in order: so many closed, these opened.
impl Stack {
    /// Goes over to a style; tells every tag that closes (false) or opens (true).
    fn go(&mut self, flat: &Flat, style: Style, hold: bool, tell: &mut dyn FnMut(Tag, bool)) {
        let wanted = |tag: &Tag| style.tags().any(|other| other == *tag);
        let mut keep = self.open.iter().take_while(|tag| wanted(tag)).count();
        let blocky = |tag: &Tag| matches!(tag, Tag::Quote(_) | Tag::Pre(_) | Tag::Code);
        let kept = self.open.get(..keep).unwrap_or(&[]);
        if style.tags().any(|tag| blocky(&tag) && !kept.contains(&tag)) {
            keep = kept.iter().take_while(|tag| blocky(tag)).count();
        }
        while keep < self.open.len() {
            if let Some(tag) = self.open.pop() {
                tell(tag, false);
            }
        }
        for tag in style.tags() {
            if self.open.contains(&tag) {
                continue;
            }
            let bytes = link_cost(flat, tag);
            let over = ENTITIES_MAX <= self.opened || LINKS_BYTES_MAX < self.link_bytes + bytes;
            if hold && over {
                continue;
            }
            self.opened += 1;
            self.link_bytes += bytes;
            self.open.push(tag);
            tell(tag, true);
        }
    }
}

/// Bytes that a link's target takes in the output.
fn link_cost(flat: &Flat, tag: Tag) -> usize {
    let Tag::Link(id) = tag else { return 0 };
    let url = indexed(&flat.links, id);
    url.bytes().map(|byte| if matches!(byte, b'&' | b'<' | b'>' | b'"') { 6 } else { 1 }).sum()
}

/// The entry of a 1-based id.
fn indexed(list: &[String], id: u32) -> &str {
    let at = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
    at.and_then(|at| list.get(at)).map_or("", String::as_str)
}

/// Follows the runs beside the cutter and counts what they would cost.
struct Budget<'a> {
    flat: &'a Flat,
    run: usize,
    entered: Option<usize>,
    stack: Stack,
}

impl<'a> Budget<'a> {
    fn at(flat: &'a Flat, run: usize) -> Self {
        Self { flat, run, entered: None, stack: Stack::default() }
    }

    /// Enters every run that begins before `end`; gives the style of the last one.
    fn enter(&mut self, end: usize) -> Style {
        loop {
            let Some((run_end, style)) = self.flat.runs.get(self.run).copied() else {
                return Style::default();
            };
            if self.entered != Some(self.run) {
                self.stack.go(self.flat, style, false, &mut |_, _| {});
                self.entered = Some(self.run);
            }
            if end <= run_end {
                return style;
            }
            self.run += 1;
        }
    }

    /// Whether a part should end here: formatting past the count is only worth a new part when
    /// this one is half full, or an answer of nothing but formatting would be a flood of messages.
    fn is_spent(&self, half_full: bool) -> bool {
        LINKS_BYTES_MAX < self.stack.link_bytes || (half_full && ENTITIES_MAX < self.stack.opened)
    }
}

/// Writes one part, white space at its ends left out; none if there is nothing to see.
fn write_part(
    flat: &Flat,
    start: usize,
    end: usize,
    run: usize,
    header: Option<&str>,
) -> Option<Part> {
    let (start, end) = trim(flat, start, end, run);
    let body = flat.text.get(start..end)?;
    if !body.chars().any(is_visible) {
        return None;
    }
    let head = header.map(|line| format!("{line}\n\n")).unwrap_or_default();
    let mut html = String::with_capacity(head.len() + body.len() + body.len() / 8 + 16);
    escape_into(&mut html, &head);
    let mut stack = Stack::default();
    let mut at = start;
    for (run_end, style) in flat.runs.get(run..).unwrap_or(&[]) {
        let stop = (*run_end).min(end);
        if at < stop {
            stack.go(flat, *style, true, &mut |tag, opens| write_tag(flat, tag, opens, &mut html));
            escape_into(&mut html, flat.text.get(at..stop).unwrap_or(""));
            at = stop;
        }
        if end <= *run_end {
            break;
        }
    }
    stack.go(flat, Style::default(), true, &mut |tag, opens| {
        write_tag(flat, tag, opens, &mut html);
    });
    Some(Part { text: html, plain: head + body, html: true })
}

/// Takes white space off both ends, but keeps the indentation of code at the start.
fn trim(flat: &Flat, start: usize, end: usize, run: usize) -> (usize, usize) {
    let body = flat.text.get(start..end).unwrap_or("");
    let in_code = flat.runs.get(run).is_some_and(|(_, style)| style.pre != 0);
    let head = match in_code {
        true => body.trim_start_matches('\n'),
        false => body.trim_start(),
    };
    let skipped = body.len() - head.len();
    (start + skipped, start + skipped + head.trim_end().len())
}

fn write_tag(flat: &Flat, tag: Tag, opens: bool, out: &mut String) {
    let (open, close) = match tag {
        Tag::Quote(_) => ("<blockquote>", "</blockquote>"),
        Tag::Code => ("<code>", "</code>"),
        Tag::Flag(BOLD) => ("<b>", "</b>"),
        Tag::Flag(ITALIC) => ("<i>", "</i>"),
        Tag::Flag(STRIKE) => ("<s>", "</s>"),
        Tag::Flag(_) => ("<tg-spoiler>", "</tg-spoiler>"),
        Tag::Pre(id) => {
            let language = indexed(&flat.langs, id);
            match (language.is_empty(), opens) {
                (true, _) => ("<pre>", "</pre>"),
                (false, true) => {
                    out.push_str("<pre><code class=\"language-");
                    out.push_str(language);
                    ("\">", "")
                }
                (false, false) => ("", "</code></pre>"),
            }
        }
        Tag::Link(id) => {
            if opens {
                out.push_str("<a href=\"");
                out.push_str(&escape_html(indexed(&flat.links, id)));
            }
            ("\">", "</a>")
        }
    };
    out.push_str(if opens { open } else { close });
}

/// The last stretch of the text that fits into `room` UTF-16 units, from a line's start where one is
/// near, after `head` and a blank line.
pub(super) fn last_part(flat: &Flat, room: usize, head: &str) -> Option<Part> {
    let mut used = 0;
    let mut start = flat.text.len();
    for (at, c) in flat.text.char_indices().rev() {
        used += c.len_utf16();
        if room < used {
            break;
        }
        start = at;
    }
    if 0 < start {
        let (_, rest) = flat.text.split_at(start);
        let near = |at: &usize| *at < rest.len() / 4;
        let line = rest.find('\n').filter(near).map(|at| at + 1);
        let word = || rest.find(char::is_whitespace).filter(near);
        let sign = || {
            let mut cursor = GraphemeCursor::new(start, flat.text.len(), true);
            cursor.is_boundary(&flat.text, 0).ok().filter(|clean| !clean)?;
            let next = rest.grapheme_indices(true).nth(1)?.0;
            (next < GRAPHEME_UNITS_MAX).then_some(next)
        };
        start += line.or_else(word).or_else(sign).unwrap_or(0);
    }
    let run = flat.runs.partition_point(|(end, _)| *end <= start);
    write_part(flat, start, flat.text.len(), run, Some(head))
}
