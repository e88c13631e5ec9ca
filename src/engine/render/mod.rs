//! Owns: model text → Telegram-safe parts within limits (api-reference A4, A9).
//! May not: know Telegram's JSON, or decide when something is sent.
//! Invariant: text is flattened to plain text with styled runs first, and cut and tagged after:
//! the joined `plain` of all parts is the plain text of the answer, up to white space and invisible
//! characters at cuts. Time is linear in the input, nothing recurses, memory is bounded by chunks.

mod chunk;
mod flat;
mod flatten;
mod lean;
mod live;

mod marks;
mod math;
mod rich;

mod split;
mod table;

pub use live::live_preview;
pub use rich::{rich_header, rich_markdown};

use crate::types::Part;
use flat::{Flat, Style};

/// Telegram's own bound on the text of a message after parsing, UTF-16 units (api-reference A4).
pub const MESSAGE_UNITS_MAX: usize = 4096;
/// Our bound on one part, UTF-16 units: a little below, for what the bot may add at the end.
pub const PART_UNITS_MAX: usize = 4000;
/// Telegram's bound on the raw text with markup, bytes (api-reference A4).
pub const RAW_BYTES_MAX: usize = 32_768;
/// Formatting spans in one part; Telegram ignores those past about a hundred (api-reference A4).
pub const ENTITIES_MAX: usize = 100;
/// Bytes of escaped link targets in one part, below the server's budget of about 9 KB.
pub const LINKS_BYTES_MAX: usize = 6 * 1024;
/// Bytes of one link target; a longer one is shown as its text alone.
pub const LINK_BYTES_MAX: usize = 2048;
/// Bytes of the name of a code block's language.
pub const LANGUAGE_BYTES_MAX: usize = 18;
/// The longest header, in characters; the rest is cut off.
pub const HEADER_CHARS_MAX: usize = 128;

/// The longest escape of one UTF-16 unit (`&amp;`) and the longest pair of tags but for a link's target.
const ESCAPE_BYTES_MAX: usize = 5;
const TAGS_BYTES_MAX: usize = 60;
const _: () = assert!(PART_UNITS_MAX <= MESSAGE_UNITS_MAX);
const _: () = assert!(
    PART_UNITS_MAX * ESCAPE_BYTES_MAX + LINKS_BYTES_MAX + ENTITIES_MAX * TAGS_BYTES_MAX
        <= RAW_BYTES_MAX
);

/// Turns the model's Markdown into parts for Telegram, in order. `header` (`@name, 2/5`) stands in
/// front of the first part as plain text with a blank line after it. An answer without any visible
/// character gives the header alone, or nothing at all where there is none.
pub fn render(markdown: &str, header: Option<&str>) -> Vec<Part> {
    let header = header.map(header_line).filter(|line| !line.is_empty());
    let mut parts = Vec::new();
    let mut first = header.as_deref();
    for piece in chunk::chunks(markdown) {
        let flat = flatten::flatten(&piece);
        split::split(&flat, first, &mut parts);
        if !parts.is_empty() {
            first = None;
        }
    }
    if let Some(line) = first {
        parts.push(Part { text: escape_html(line), plain: line.to_owned(), html: true });
    }
    parts
}

/// Cuts a text of the bot itself into parts without any markup (`html` is false, `text` = `plain`).
pub fn render_plain(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in chunk::plain_chunks(text) {
        let mut flat = Flat::default();
        flat.push(piece, Style::default());
        split::split(&flat, None, &mut parts);
    }
    for part in &mut parts {
        part.text.clone_from(&part.plain);
        part.html = false;
    }
    parts
}

/// The plain text that the parts of `render` hold together: what a person reads.
pub fn plain_text(markdown: &str) -> String {
    let mut all = String::new();
    for piece in chunk::chunks(markdown) {
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(&flatten::flatten(&piece).text);
    }
    all
}

/// The text with `<`, `>`, `&` and `"` escaped, safe inside a tag's content or a quoted attribute.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(&mut out, text);
    out
}

/// Appends the escaped text, copying clean stretches whole.
fn escape_into(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>', '&', '"']) {
        let (clean, tail) = rest.split_at(at);
        out.push_str(clean);
        let mut chars = tail.chars();
        out.push_str(match chars.next() {
            Some('<') => "&lt;",
            Some('>') => "&gt;",
            Some('&') => "&amp;",
            _ => "&quot;",
        });
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// One line of visible text, of bounded length.
fn header_line(header: &str) -> String {
    let mut flat = Flat::default();
    flat.push(&header.replace(['\n', '\r'], " "), Style::default());
    let line: String = flat.text.trim().chars().take(HEADER_CHARS_MAX).collect();
    if line.chars().any(flat::is_visible) { line } else { String::new() }
}

#[cfg(test)]
mod tests;
