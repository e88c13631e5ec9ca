//! Owns: one piece of Markdown → plain text with styled runs.
//! Invariant: one pass over the parser's events; nothing is emitted before text needs it, so there
//! are no empty lines at either end.

use super::flat::{BOLD, CODE, Flat, ITALIC, STRIKE, Style};
use super::math::Keep;
use super::table::Table;
use super::{LANGUAGE_BYTES_MAX, LINK_BYTES_MAX, marks, math};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};
use std::ops::Range;

/// Indentation grows no deeper than this many list levels.
const INDENT_LEVELS_MAX: usize = 6;
/// Blanks per list level.
const INDENT: &str = "  ";
const BULLETS: [&str; 3] = ["• ", "◦ ", "▪ "];
const RULE: &str = "———";

/// Reads one piece of Markdown.
pub(super) fn flatten(markdown: &str) -> Flat {
    let source = math::protect(markdown, Keep::Text);
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer { source: &source, ..Writer::default() };
    for (event, range) in Parser::new_ext(&source, options).into_offset_iter() {
        writer.event(event, range);
    }
    marks::apply(writer.out, &writer.literal)
}

/// What must stand between the last text and the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Line,
    Paragraph,
}

/// A link or image while its text comes in.
struct Link {
    /// The id to restore.
    outer: u32,
    /// What is shown after the text where Telegram would drop the target.
    shown: Option<String>,
    /// Where the text began.
    at: usize,
}

#[derive(Default)]
struct Writer<'a> {
    source: &'a str,
    out: Flat,
    style: Style,
    depth: Depth,
    gap: Gap,
    /// Bullets or numbers that wait for their item's text, and where the last of them begins.
    markers: String,
    marker_at: usize,
    lists: Vec<Option<u64>>,
    quotes: u32,
    /// How many lists are open around the quote: its bar is indentation enough.
    quote_level: usize,
    links: Vec<Link>,
    table: Option<Table>,
    /// An open code block: whether it is shown as one, and its text so far.
    code: Option<(CodeKind, String)>,
    /// Offsets in `out` of signs that were escaped, so they are no marks.
    literal: Vec<usize>,
}

/// How often each style is open.
#[derive(Default)]
struct Depth {
    bold: u32,
    italic: u32,
    strike: u32,
    quote: u32,
}

enum CodeKind {
    Fenced(String),
    Indented,
}

impl Writer<'_> {
    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.end(tag, range),
            Event::Text(text) => {
                let before = range.start.checked_sub(1);
                let escaped = before.and_then(|at| self.source.as_bytes().get(at)) == Some(&b'\\');
                self.place();
                if escaped {
                    self.literal.push(self.out.text.len());
                }
                self.text(&text);
            }
            Event::Code(text) => {
                let style = self.style;
                self.style.flags |= CODE;
                self.text(&text);
                self.style = style;
            }
            Event::InlineHtml(text) if is_break(&text) => self.line_break(),
            Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::SoftBreak | Event::HardBreak => self.line_break(),
            Event::Rule => {
                self.separate(Gap::Paragraph);
                self.text(RULE);
                self.separate(Gap::Paragraph);
            }
            Event::TaskListMarker(done) => {
                self.markers.truncate(self.marker_at);
                self.markers.push_str(if done { "☑ " } else { "☐ " });
            }
            Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text),
            Event::FootnoteReference(text) => self.text(&text),
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>) {
        match tag {
            Tag::Heading { .. } => {
                self.separate(Gap::Paragraph);
                self.depth.bold += 1;
            }
            Tag::BlockQuote(_) => {
                self.separate(Gap::Paragraph);
                self.depth.quote += 1;
                if self.depth.quote == 1 {
                    self.quote_level = self.lists.len();
                    self.quotes += 1;
                    self.style.quote = self.quotes;
                }
            }
            Tag::CodeBlock(kind) => {
                self.separate(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
                self.code = Some((
                    match kind {
                        CodeBlockKind::Fenced(info) => CodeKind::Fenced(language(&info)),
                        CodeBlockKind::Indented => CodeKind::Indented,
                    },
                    String::new(),
                ));
            }
            Tag::List(first) => {
                self.separate(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Table(aligns) => {
                self.separate(Gap::Paragraph);
                self.table = Some(Table::new(aligns));
            }
            Tag::TableHead | Tag::TableRow => self.in_table(Table::row),
            Tag::TableCell => self.in_table(Table::cell),
            Tag::Emphasis => self.depth.italic += 1,
            Tag::Strong => self.depth.bold += 1,
            // A single tilde is `about` in Chinese, and no deletion.
            Tag::Strikethrough if !self.is_double(&range) => self.text("~"),
            Tag::Strikethrough => self.depth.strike += 1,
            Tag::Link { link_type, dest_url, .. } => self.open_link(link_type, &dest_url),
            Tag::Image { dest_url, .. } => self.open_link(LinkType::Inline, &dest_url),
            Tag::Paragraph | Tag::HtmlBlock => self.separate(match self.lists.is_empty() {
                true => Gap::Paragraph,
                false => Gap::Line,
            }),
            _ => {}
        }
        self.restyle();
    }

    fn end(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::Heading(_) => {
                self.depth.bold -= 1;
                self.separate(Gap::Paragraph);
            }
            TagEnd::BlockQuote(_) => {
                self.depth.quote -= 1;
                if self.depth.quote == 0 {
                    self.style.quote = 0;
                }
                self.separate(Gap::Paragraph);
            }
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::List(_) => {
                self.lists.pop();
                self.separate(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
            }
            TagEnd::Item => self.markers.clear(),
            TagEnd::Table => self.end_table(),
            TagEnd::Emphasis => self.depth.italic -= 1,
            TagEnd::Strong => self.depth.bold -= 1,
            TagEnd::Strikethrough if !self.is_double(&range) => self.text("~"),
            TagEnd::Strikethrough => self.depth.strike -= 1,
            TagEnd::Link | TagEnd::Image => self.close_link(),
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.separate(Gap::Paragraph),
            _ => {}
        }
        self.restyle();
    }
}

impl Writer<'_> {
    /// Asks for a gap before the next text; the widest wish wins.
    fn separate(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    /// Emits what stands before a text: the gap, the indentation, bullets.
    fn place(&mut self) {
        if self.table.is_some() || self.code.is_some() {
            return;
        }
        let gap = std::mem::take(&mut self.gap);
        let last = self.out.runs.last().map(|run| run.1);
        let fresh = last.is_none() || gap != Gap::None;
        if let Some(last) = last {
            let between = match last == self.style && self.style.flags & CODE == 0 {
                true => self.style,
                false if last.quote == self.style.quote => self.in_quote(),
                false => Style::default(),
            };
            let ends = match gap {
                Gap::None => "",
                Gap::Line => "\n",
                Gap::Paragraph => "\n\n",
            };
            self.push(ends, between);
        }
        let around = if self.depth.quote == 0 { 0 } else { self.quote_level };
        let levels = self.lists.len().saturating_sub(around);
        let levels = levels.saturating_sub(usize::from(!self.markers.is_empty()));
        if fresh && self.style.pre == 0 {
            let indent = INDENT.repeat(levels.min(INDENT_LEVELS_MAX));
            self.push(&indent, self.in_quote());
        }
        let markers = std::mem::take(&mut self.markers);
        self.marker_at = 0;
        self.push(&markers, self.in_quote());
    }

    fn in_quote(&self) -> Style {
        Style { quote: self.style.quote, ..Style::default() }
    }

    fn push(&mut self, text: &str, style: Style) {
        if !text.is_empty() {
            self.out.push(text, style);
        }
    }

    /// Emits a text where it belongs; a line end at its end is only asked for.
    fn text(&mut self, text: &str) {
        if let Some((_, code)) = &mut self.code {
            code.push_str(text);
            return;
        }
        if let Some(table) = &mut self.table {
            table.text(text);
            return;
        }
        let line = text.strip_suffix('\n').unwrap_or(text);
        if !line.is_empty() {
            self.place();
            self.push(line, self.style);
        }
        if line.len() != text.len() {
            self.separate(Gap::Line);
        }
    }

    fn line_break(&mut self) {
        match &mut self.table {
            Some(table) => table.text(" "),
            None => self.separate(Gap::Line),
        }
    }

    fn in_table(&mut self, act: fn(&mut Table)) {
        if let Some(table) = &mut self.table {
            act(table);
        }
    }

    fn item(&mut self) {
        self.separate(Gap::Line);
        self.marker_at = self.markers.len();
        let level = self.lists.len().saturating_sub(1);
        match self.lists.last_mut() {
            Some(Some(number)) => {
                self.markers.push_str(&format!("{number}. "));
                *number = number.saturating_add(1);
            }
            _ => self.markers.push_str(BULLETS.get(level % BULLETS.len()).unwrap_or(&"• ")),
        }
    }

    fn restyle(&mut self) {
        let flag = |depth: u32, flag: u8| if depth == 0 { 0 } else { flag };
        self.style.flags = flag(self.depth.bold, BOLD)
            | flag(self.depth.italic, ITALIC)
            | flag(self.depth.strike, STRIKE);
    }

    fn is_double(&self, range: &Range<usize>) -> bool {
        self.source.as_bytes().get(range.start..).is_some_and(|rest| rest.starts_with(b"~~"))
    }

    /// Emits a text as a code block of its own.
    fn pre(&mut self, text: &str, language: String) {
        self.out.langs.push(language);
        let id = u32::try_from(self.out.langs.len()).unwrap_or(u32::MAX);
        let outer = self.style;
        self.style = Style { pre: id, ..self.in_quote() };
        self.text(text);
        self.style = outer;
    }

    fn end_code(&mut self) {
        let Some((kind, code)) = self.code.take() else { return };
        let code = code.trim_end();
        // Blank lines at the start would be lost; indentation there must not.
        let blank = code.len() - code.trim_start().len();
        let skip = code.get(..blank).and_then(|head| head.rfind('\n')).map_or(0, |at| at + 1);
        let code = code.get(skip..).unwrap_or("");
        match kind {
            CodeKind::Fenced(language) => self.pre(code, language),
            CodeKind::Indented if looks_like_code(code) => self.pre(code, String::new()),
            CodeKind::Indented => self.text(code),
        }
        self.separate(Gap::Paragraph);
    }

    fn end_table(&mut self) {
        if let Some(table) = self.table.take() {
            self.pre(&table.layout(), String::new());
            self.separate(Gap::Paragraph);
        }
    }

    fn open_link(&mut self, kind: LinkType, url: &CowStr<'_>) {
        let outer = self.style.link;
        let mut shown = None;
        match target(kind, url) {
            Target::Tag(url) if outer == 0 && self.table.is_none() => {
                self.out.links.push(url);
                self.style.link = u32::try_from(self.out.links.len()).unwrap_or(u32::MAX);
            }
            Target::Text(url) => shown = Some(url),
            _ => {}
        }
        self.links.push(Link { outer, shown, at: self.out.text.len() });
    }

    fn close_link(&mut self) {
        let Some(link) = self.links.pop() else { return };
        let empty = self.out.text.len() == link.at && self.table.is_none();
        let id = usize::try_from(self.style.link).unwrap_or(0);
        if empty && link.outer != self.style.link {
            // A picture without words is still worth its address.
            if let Some(url) = id.checked_sub(1).and_then(|at| self.out.links.get(at)).cloned() {
                self.text(&url);
            }
        }
        self.style.link = link.outer;
        if let Some(url) = link.shown {
            let text = self.out.text.get(link.at..).unwrap_or("");
            match (empty, text.contains(&url)) {
                (true, _) => self.text(&url),
                (false, false) => self.text(&format!(" ({url})")),
                (false, true) => {}
            }
        }
    }
}

/// What becomes of a link's address.
pub(super) enum Target {
    /// Telegram makes a link of it.
    Tag(String),
    /// Harmless and worth reading, but dropped or bent by Telegram.
    Text(String),
    /// Not for people's fingers, or no address at all.
    Nothing,
}

/// Telegram takes `http` and `https` with a dot in the host, drops `tel:` and one-word hosts, and
/// bends `mailto:` into a web address; `tg:` could act in the reader's name.
pub(super) fn target(kind: LinkType, url: &str) -> Target {
    if matches!(kind, LinkType::Autolink | LinkType::Email) {
        return Target::Nothing;
    }
    let url = url.trim();
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{202e}');
    if LINK_BYTES_MAX < url.len() || url.contains(bad) {
        return Target::Nothing;
    }
    let Some((scheme, rest)) = url.split_once(':') else { return Target::Nothing };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => match rest.strip_prefix("//") {
            Some(rest) => match rest.split(['/', '?', '#']).next().unwrap_or("").contains('.') {
                true => Target::Tag(url.to_owned()),
                false => Target::Text(url.to_owned()),
            },
            None => Target::Nothing,
        },
        "mailto" | "tel" => Target::Text(rest.split('?').next().unwrap_or("").to_owned()),
        _ => Target::Nothing,
    }
}

/// The first word of a fence's info, if it can be a language.
pub(super) fn language(info: &str) -> String {
    let word = info.trim().split([' ', '\t', ',', '{', ':', ';']).next().unwrap_or("");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '#' | '-' | '_' | '.');
    let fits = word.len() <= LANGUAGE_BYTES_MAX && word.chars().all(plain);
    if fits { word.to_owned() } else { String::new() }
}

/// Prose that happens to be indented is more common in answers than an indented code block.
fn looks_like_code(text: &str) -> bool {
    text.contains(['{', '}', ';', '=', '<', '>', '$', '|', '\\', '#']) || text.contains("()")
}

/// `<br>` in its spellings: the one tag that models write for what it means.
pub(super) fn is_break(html: &str) -> bool {
    let inner = html.trim_start_matches('<').trim_end_matches('>').trim_end_matches('/').trim();
    inner.eq_ignore_ascii_case("br")
}
