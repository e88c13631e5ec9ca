//! Whatever the model says, Telegram takes every part, and the parts together say the same.
//!
//! The judge is a parser of Telegram's HTML written for this test from the rules alone (api-reference
//! A9), not from the renderer.
#![allow(clippy::string_slice, reason = "a parser over offsets that it found itself")]

use nanorand::{Rng, WyRand};
use pulldown_cmark::{Event, Options, Parser, Tag};
use svs_bot::engine::render::{live_preview, plain_text, render, render_plain, rich_markdown};
use svs_bot::types::Part;

/// What Telegram makes of a message.
#[derive(Debug, Default)]
struct Parsed {
    text: String,
    entities: Vec<Entity>,
}

#[derive(Debug)]
struct Entity {
    tag: String,
    value: String,
    start: usize,
    end: usize,
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
fn parse(html: &str) -> Result<Parsed, String> {
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

fn judge(part: &Part, why: &str) {
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

fn check(markdown: &str, why: &str) {
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

const PIECES: &[&str] = &[
    "*",
    "**",
    "***",
    "_",
    "__",
    "~~",
    "~",
    "`",
    "``",
    "```",
    "```rust\n",
    "~~~\n",
    "||",
    "|",
    "\n",
    "\n\n",
    "\n\n\n",
    " ",
    "  ",
    "    ",
    "\t",
    "- ",
    "* ",
    "1. ",
    "999999999. ",
    "> ",
    ">> ",
    "# ",
    "###### ",
    "---\n",
    "===\n",
    "[",
    "](",
    ")",
    "](https://ex.org/a?b=1&c=2)",
    "](tg://user?id=1)",
    "](javascript:alert(1))",
    "![",
    "]",
    "[a](https://e.co)",
    "[ref]: https://ref.org/x\n",
    "[ref]",
    "<",
    ">",
    "</",
    "<b>",
    "</b>",
    "<tg-button>",
    "<br>",
    "<script>alert(1)</script>",
    "<!-- x -->",
    "<a href=\"tg://x\">",
    "<https://auto.link>",
    "&",
    "&amp;",
    "&lt;",
    "&#60;",
    "&#x202e;",
    "&nbsp;",
    "\\",
    "\\*",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "$",
    "$$",
    "$x_1^2$",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n",
    "|-|-|\n",
    "- [ ] ",
    "- [x] ",
    "word",
    "Hello, world!",
    "你好，世界。",
    "“引号”",
    "中文",
    "العربية",
    "עברית",
    "👨‍👩‍👧‍👦",
    "🇩🇪🇫🇷",
    "🏳️‍🌈",
    "e\u{301}",
    "\u{300}\u{301}\u{302}",
    "\u{200b}",
    "\u{200d}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{0}",
    "\r\n",
    "\u{7}",
    "\u{10ffff}",
    "\u{fffd}",
    "a||b",
    "0",
    ".",
    "\"",
    "'",
    "=",
    "+",
    "C++",
    "x < y && y > z",
    "@name",
    "/cmd",
    "#tag",
];

fn soup(dice: &mut WyRand) -> String {
    let pieces = [3, 30, 300, 1500][dice.generate_range(0_usize..4)];
    let few = 1 + dice.generate_range(0_usize..PIECES.len());
    let from = dice.generate_range(0_usize..PIECES.len());
    let mut text = String::new();
    for _ in 0..pieces {
        let pick = (from + dice.generate_range(0..few)) % PIECES.len();
        let times = if dice.generate_range(0_u32..40) == 0 { 60 } else { 1 };
        for _ in 0..times {
            text.push_str(PIECES[pick]);
        }
        if dice.generate_range(0_u32..6) == 0 {
            text.extend(char::from_u32(dice.generate_range(0_u32..0x11_0000)));
        }
    }
    text
}

#[test]
fn soups_of_markdown_and_unicode_are_taken_whole() {
    for seed in 0..120_u64 {
        let text = soup(&mut WyRand::new_seed(seed));
        check(&text, &format!("seed {seed}"));
    }
}

#[test]
fn floods_are_taken_whole_in_linear_time() {
    let of = |unit: &str, size: usize| unit.repeat(size / unit.len());
    let nested: String = (0..300).map(|depth| format!("{}- x\n", "  ".repeat(depth))).collect();
    let cases = [
        ("backticks", of("`", 80_000)),
        ("backticks of growing length", (1..600).map(|n| "`".repeat(n) + " ").collect()),
        ("quotes on one line", of(">", 10_000) + " x"),
        ("quotes on many lines", of(">>>>>>>>>>>>>>>>>>>> x\n", 50_000)),
        ("lazy quotes", of(">", 2_000) + &of("x\n", 60_000)),
        ("stars", of("*", 80_000)),
        ("stars and words", of("*a **b ", 50_000)),
        ("closed stars", of("*a*b", 50_000)),
        ("brackets", of("[", 50_000)),
        ("images", of("![a](", 50_000)),
        ("links", of("[a](https://e.co/x) ", 80_000)),
        (
            "a much used reference",
            format!("[r]: https://e.co/{}\n\n{}", of("y", 1900), of("[r] ", 20_000)),
        ),
        ("bullets on one line", of("- ", 60_000) + "x"),
        ("nested bullets", nested),
        ("combining signs", format!("a{}", of("\u{301}", 80_000))),
        ("joiners", of("\u{200d}", 80_000)),
        ("joined emoji", of("👨\u{200d}", 50_000)),
        ("flags", of("🇩", 50_000)),
        ("spoilers", of("||a", 50_000)),
        ("open tags", of("<a", 50_000)),
        ("comments", of("<!-- ", 50_000)),
        ("dollars", of("$x_", 50_000)),
        ("backslashes", of("\\(", 50_000)),
        (
            "a wide table",
            format!("|{}\n|{}\n{}", of("a|", 4_000), of("-|", 4_000), of("|\n", 60_000)),
        ),
        ("one long cell", format!("|{}|b|\n|-|-|\n{}", of("w", 5_000), of("|a|b|\n", 50_000))),
        ("ampersands", of("&", 50_000)),
        ("an endless word", of("字", 50_000)),
        ("tabs in code", format!("```\n{}", of("\t", 80_000))),
        ("newlines", of("\n", 80_000)),
        ("definitions", (0..5000).map(|n| format!("[{n}]: /x\n")).collect()),
    ];
    for (name, text) in cases {
        check(&text, name);
    }
    for unit in ["`", "\u{301}", "*a*", "[a](", "> "] {
        render(&of(unit, 1_000_000), None).iter().for_each(|part| judge(part, unit));
    }
}

#[test]
fn the_judge_knows_bad_html() {
    for bad in
        ["<b>x", "a < b", "<p>x</p>", "<b><i>x</b></i>", "x</b>", "<br/>", "<a href=\"x>", "a <"]
    {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let parsed = parse("<b>a&lt;&#65;&nbsp;</b>").unwrap();
    assert_eq!((parsed.text.as_str(), parsed.entities.len()), ("a<A&nbsp;", 1));
}
