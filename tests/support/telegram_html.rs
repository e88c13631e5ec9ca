//! Telegram's HTML rules, written from the rules alone (api-reference A9), and what every rendered part has to
//! hold before them.
#![allow(clippy::string_slice, reason = "a parser over offsets that it found itself")]

use pulldown_cmark::{Event, Options, Parser, Tag};
use svs_bot::engine::render::{live_preview, plain_text, render, render_plain, rich_markdown};
use svs_bot::types::Part;

/// What Telegram makes of a message.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) text: String,
    pub(crate) entities: Vec<Entity>,
}

#[derive(Debug)]
pub(crate) struct Entity {
    pub(crate) tag: String,
    pub(crate) value: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

const TAGS: &[&str] = &[
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "span",
    "tg-spoiler",
    "a",
    "code",
    "pre",
    "blockquote",
    "tg-emoji",
    "tg-time",
];

/// Telegram's HTML: plain text and entities, or the server's complaint.
pub(crate) fn parse(html: &str) -> Result<Parsed, String> {
    let bytes = html.as_bytes();
    let mut parsed = Parsed::default();
    let mut open: Vec<Entity> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'&' => {
                let (text, length) = decode(&html[at..]);
                parsed.text.push_str(&text);
                at += length;
            }
            b'<' if bytes.get(at + 1) == Some(&b'/') => {
                let close = html[at..].find('>').ok_or(format!("Unclosed end tag at {at}"))? + at;
                let name = html[at + 2..close].to_ascii_lowercase();
                let mut entity = open.pop().ok_or(format!("Unexpected end tag at {at}"))?;
                if !name.is_empty() && name != entity.tag {
                    return Err(format!("Unmatched end tag at {at}, expected {}", entity.tag));
                }
                entity.end = parsed.text.len();
                if entity.start < entity.end {
                    parsed.entities.push(entity);
                }
                at = close + 1;
            }
            b'<' => {
                let (entity, next) = start_tag(html, at, parsed.text.len())?;
                open.push(entity);
                at = next;
            }
            _ => {
                let length = html[at..].chars().next().map_or(1, char::len_utf8);
                parsed.text.push_str(&html[at..at + length]);
                at += length;
            }
        }
    }
    match open.pop() {
        Some(entity) => {
            Err(format!("Can't find end tag corresponding to start tag {}", entity.tag))
        }
        None => Ok(parsed),
    }
}

fn start_tag(html: &str, at: usize, start: usize) -> Result<(Entity, usize), String> {
    let rest = &html[at + 1..];
    let end = rest.find([' ', '\n', '\t', '>']).ok_or(format!("Unclosed start tag at {at}"))?;
    let tag = rest[..end].to_ascii_lowercase();
    if !TAGS.contains(&tag.as_str()) {
        return Err(format!("Unsupported start tag {tag:?} at byte offset {at}"));
    }
    let mut value = String::new();
    let mut here = at + 1 + end;
    loop {
        here += html[here..].len() - html[here..].trim_start().len();
        match html[here..].chars().next() {
            None => return Err(format!("Unclosed start tag at {at}")),
            Some('>') => return Ok((Entity { tag, value, start, end: 0 }, here + 1)),
            Some(_) => {}
        }
        let sign = html[here..].find(['=', '>', ' ']).ok_or("Expected equal sign")?;
        let name = html[here..here + sign].to_ascii_lowercase();
        here += sign;
        if !html[here..].starts_with('=') {
            continue;
        }
        here += 1;
        if !html[here..].starts_with('"') {
            return Err(format!("unquoted attribute at {here}"));
        }
        let close = html[here + 1..].find('"').ok_or("Unclosed attribute")?;
        let mut raw = &html[here + 1..here + 1 + close];
        here += close + 2;
        if matches!(name.as_str(), "href" | "class" | "emoji-id") {
            while let Some(next) = raw.chars().next() {
                let (text, length) =
                    if next == '&' { decode(raw) } else { (next.to_string(), next.len_utf8()) };
                value.push_str(&text);
                raw = &raw[length..];
            }
        }
    }
}

/// The four named entities and numeric ones; others stay as they are.
fn decode(text: &str) -> (String, usize) {
    for (name, sign) in [("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"), ("&quot;", "\"")] {
        if text.starts_with(name) {
            return (sign.to_owned(), name.len());
        }
    }
    if let Some((number, _)) = text.strip_prefix("&#").and_then(|rest| rest.split_once(';')) {
        let code = match number.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        };
        if let Some(c) = code.and_then(char::from_u32) {
            return (c.to_string(), number.len() + 3);
        }
    }
    ("&".to_owned(), 1)
}

/// What counts when texts are compared: white space at cuts and signs that show nothing may go.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ad}'
                | '\u{34f}' | '\u{2800}' | '\u{3164}' | '\u{e0000}'..='\u{e0fff}'
                | '\u{fff0}'..='\u{fffc}' | '\u{e000}'..='\u{f8ff}')
    };
    text.chars().filter(|c| !hidden(*c)).collect()
}

/// One part; panics with `why`.
pub(crate) fn judge(part: &Part, why: &str) {
    let parsed = match parse(&part.text) {
        Ok(parsed) => parsed,
        Err(error) => panic!("{why}: Bad Request: can't parse entities: {error}\n{}", part.text),
    };
    assert_eq!(parsed.text, part.plain, "{why}: the formatted and the plain text differ");
    assert!(part.plain.encode_utf16().count() <= 4096, "{why}: message is too long");
    assert!(part.text.len() <= 32_768, "{why}: text is too long");
    let count = parsed.entities.iter().filter(|e| !e.value.starts_with("language-")).count();
    assert!(count <= 100, "{why}: {count} entities");
    assert!(!visible(&part.plain).is_empty(), "{why}: text must be non-empty");
    assert!(!part.plain.contains(['\r', '\0', '\u{202e}']), "{why}: signs that the server drops");
    let links: usize = parsed.entities.iter().map(|entity| entity.value.len()).sum();
    assert!(links <= 8 * 1024, "{why}: ENTITIES_TOO_LONG");
    for (index, entity) in parsed.entities.iter().enumerate() {
        if entity.tag == "a" {
            let url = entity.value.to_ascii_lowercase();
            assert!(url.starts_with("http://") || url.starts_with("https://"), "{why}: {url}");
        }
        // Inner entities close, and so are listed, before the outer ones.
        for inner in &parsed.entities[..index] {
            let inside = entity.start <= inner.start && inner.end <= entity.end;
            match entity.tag.as_str() {
                "pre" if inside => assert!(
                    inner.tag == "code" && inner.value.starts_with("language-"),
                    "{why}: {} inside pre",
                    inner.tag
                ),
                "code" if inside => panic!("{why}: {} inside code", inner.tag),
                "blockquote" if inside => assert_ne!(inner.tag, "blockquote", "{why}"),
                "b" | "i" | "s" | "a" | "tg-spoiler" if inside => assert!(
                    !matches!(inner.tag.as_str(), "pre" | "code" | "blockquote"),
                    "{why}: {} inside {}",
                    inner.tag,
                    entity.tag
                ),
                _ => {}
            }
        }
    }
}

/// Renders in every way and judges all that comes of it; panics with `why`.
pub(crate) fn check(markdown: &str, why: &str) {
    let parts = render(markdown, None);
    let mut joined = String::new();
    for part in &parts {
        judge(part, why);
        joined.push_str(&part.plain);
    }
    let whole = visible(&plain_text(markdown));
    assert!(visible(&joined) == whole, "{why}: the parts say something else");
    let titled = render(markdown, Some("@<b>&, 2/5"));
    assert!(titled[0].plain.starts_with("@<b>&, 2/5"), "{why}");
    titled.iter().for_each(|part| judge(part, why));
    judge(&live_preview(markdown, Some("@x, 1/3")), why);
    judge(&live_preview(markdown, None), why);
    judge_rich(markdown, why);
    let plain: String = render_plain(markdown).iter().map(|part| part.plain.as_str()).collect();
    assert!(visible(&plain) == visible(markdown), "{why}: a notice says something else");
}

/// A rich message read by a Markdown parser again, with and without the extensions Telegram may
/// know, holds no HTML, no picture and no link but to the web.
fn judge_rich(markdown: &str, why: &str) {
    let Some(rich) = rich_markdown(markdown) else { return };
    assert!(rich.chars().count() <= 32_768, "{why}");
    for options in [Options::empty(), Options::all()] {
        for event in Parser::new_ext(&rich, options) {
            match event {
                Event::Html(html) | Event::InlineHtml(html) => panic!("{why}: HTML {html}\n{rich}"),
                Event::Start(Tag::Image { dest_url, .. }) => panic!("{why}: picture {dest_url}"),
                Event::Start(Tag::Link { dest_url, .. }) => {
                    assert!(dest_url.to_ascii_lowercase().starts_with("http"), "{why}: {dest_url}");
                }
                _ => {}
            }
        }
    }
}
