//! Owns: the text of a rich message (api-reference A5): the model's Markdown written anew, so that
//! every sign of it means the same to any parser and no HTML is left.
//! Invariant: outside of code and mathematics no `<` and no unescaped sign of the author's remains;
//! code stands between fences longer than any inside.

use super::flat::needs_cleaning;
use super::flatten::{Target, is_break, language, target};
use super::lean;
use super::math::{self, Keep};
use pulldown_cmark::{
    Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd,
};

/// Telegram's bound on the whole text, characters.
const RICH_CHARS_MAX: usize = 32_768;
/// Ours on blocks, below Telegram's 500; list items and rows count too.
const BLOCKS_MAX: usize = 400;
/// Ours on nesting, below Telegram's 16.
const DEPTH_MAX: usize = 12;
/// Telegram's bound on columns.
const COLUMNS_MAX: usize = 20;

/// The Markdown for a rich message, or none where Telegram's limits send the answer the HTML way.
pub fn rich_markdown(markdown: &str) -> Option<String> {
    if RICH_CHARS_MAX * 4 < markdown.len() {
        return None;
    }
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH;
    let source = math::protect(markdown, Keep::Dollars);
    let source = lean::lean(&source);
    let mut writer = Writer { at_start: true, ..Writer::default() };
    for (event, range) in Parser::new_ext(&source, options).into_offset_iter() {
        let double = source.as_bytes().get(range.start..)?.starts_with(b"~~");
        writer.event(event, double);
        let deep = DEPTH_MAX < writer.prefixes.len();
        if deep || writer.too_wide || BLOCKS_MAX < writer.blocks || writer.is_too_long() {
            return None;
        }
    }
    let text = writer.out.trim_end();
    let fits = text.chars().count() <= RICH_CHARS_MAX;
    (fits && text.chars().any(super::flat::is_visible)).then(|| text.to_owned())
}

/// A line of plain text (`@name, 2/5`) in front of a rich message; none of its signs marks anything up.
pub fn rich_header(header: &str) -> String {
    let mut out = String::with_capacity(header.len() + 2);
    for c in super::header_line(header).chars() {
        if "\\`*_[]<>#|~$!&=".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out + "\n\n"
}

#[derive(Default)]
struct Writer {
    out: String,
    /// What every line begins with, and its length before each open quote or item.
    prefix: String,
    prefixes: Vec<usize>,
    /// Whether the cursor stands where a block may begin without a gap.
    at_start: bool,
    blocks: usize,
    /// The next number of each open list, and whether it has an item yet.
    lists: Vec<(Option<u64>, bool)>,
    links: Vec<Option<String>>,
    code: Option<(String, String)>,
    in_table: bool,
    too_wide: bool,
    aligns: Vec<Alignment>,
}

impl Writer {
    fn event(&mut self, event: Event<'_>, double: bool) {
        match event {
            Event::Start(tag) => self.start(tag, double),
            Event::End(tag) => self.end(tag, double),
            Event::Text(text) => match &mut self.code {
                Some((_, code)) => code.push_str(&text),
                None => self.text(&text),
            },
            Event::Code(text) => self.inline_code(&text),
            Event::InlineMath(text) => self.math("$", &text),
            Event::DisplayMath(text) => self.math("$$", &text),
            Event::InlineHtml(text) if is_break(&text) => self.line_break(),
            Event::Html(text) | Event::InlineHtml(text) | Event::FootnoteReference(text) => {
                self.text(&text);
            }
            Event::SoftBreak | Event::HardBreak => self.line_break(),
            Event::Rule => {
                self.block();
                self.out.push_str("---");
            }
            Event::TaskListMarker(done) => self.out.push_str(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>, double: bool) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.block(),
            Tag::Heading { level, .. } => {
                self.block();
                self.out.push_str(hashes(level));
            }
            Tag::BlockQuote(_) => {
                self.block();
                self.nest("> ");
            }
            Tag::CodeBlock(kind) => {
                self.block();
                let name = match kind {
                    CodeBlockKind::Fenced(info) => language(&info),
                    CodeBlockKind::Indented => String::new(),
                };
                self.code = Some((name, String::new()));
            }
            Tag::List(first) => self.lists.push((first, false)),
            Tag::Item => self.item(),
            Tag::Table(aligns) => {
                self.block();
                self.in_table = true;
                self.too_wide |= COLUMNS_MAX < aligns.len();
                self.aligns = aligns;
            }
            Tag::TableHead => self.out.push('|'),
            Tag::TableRow => {
                self.blocks += 1;
                self.line();
                self.out.push('|');
            }
            Tag::TableCell => self.out.push(' '),
            Tag::Emphasis => self.out.push('*'),
            Tag::Strong => self.out.push_str("**"),
            Tag::Strikethrough => self.out.push_str(if double { "~~" } else { "\\~" }),
            Tag::Link { link_type, dest_url, .. } => self.link(link_type, &dest_url),
            // A picture is fetched by Telegram and shown; an address of the model's is only offered.
            Tag::Image { dest_url, .. } => self.link(LinkType::Inline, &dest_url),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, double: bool) {
        match tag {
            TagEnd::BlockQuote(_) | TagEnd::Item => {
                self.prefix.truncate(self.prefixes.pop().unwrap_or(0));
                self.at_start = false;
            }
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::TableHead => {
                self.line();
                self.out.push('|');
                for align in &self.aligns {
                    self.out.push_str(match align {
                        Alignment::None => " --- |",
                        Alignment::Left => " :-- |",
                        Alignment::Center => " :-: |",
                        Alignment::Right => " --: |",
                    });
                }
            }
            TagEnd::Table => self.in_table = false,
            TagEnd::TableCell => self.out.push_str(" |"),
            TagEnd::Emphasis => self.out.push('*'),
            TagEnd::Strong => self.out.push_str("**"),
            TagEnd::Strikethrough => self.out.push_str(if double { "~~" } else { "\\~" }),
            TagEnd::Link | TagEnd::Image => {
                if let Some(Some(end)) = self.links.pop() {
                    self.out.push_str(&end);
                }
            }
            _ => {}
        }
    }

    fn is_too_long(&self) -> bool {
        // Each character takes four bytes at most.
        let code = self.code.as_ref().map_or(0, |code| code.1.len());
        RICH_CHARS_MAX * 4 < self.out.len() + code
    }

    /// Begins a line.
    fn line(&mut self) {
        self.out.push('\n');
        self.out.push_str(&self.prefix);
    }

    /// Begins a block, an empty line before it unless it is the first of its place.
    fn block(&mut self) {
        self.blocks += 1;
        if !std::mem::take(&mut self.at_start) {
            self.line();
            self.line();
        }
    }

    /// Goes into a quote or an item.
    fn nest(&mut self, mark: &str) {
        self.out.push_str(mark);
        self.prefixes.push(self.prefix.len());
        if mark.starts_with('>') {
            self.prefix.push_str(mark);
        } else {
            self.prefix.extend(std::iter::repeat_n(' ', mark.len()));
        }
        self.at_start = true;
    }

    fn item(&mut self) {
        let nested = 1 < self.lists.len();
        let mut mark = "- ".to_owned();
        let mut first = true;
        if let Some((number, begun)) = self.lists.last_mut() {
            first = !std::mem::replace(begun, true);
            if let Some(number) = number {
                mark = format!("{number}. ");
                *number = number.saturating_add(1);
            }
        }
        if first && !nested {
            self.block();
        } else {
            self.blocks += 1;
            if !std::mem::take(&mut self.at_start) {
                self.line();
            }
        }
        self.nest(&mark);
    }

    fn line_break(&mut self) {
        if self.in_table { self.out.push(' ') } else { self.line() }
    }

    /// Text of the author: every sign that could mean something is taken its meaning.
    fn text(&mut self, text: &str) {
        self.at_start = false;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut before = ' ';
        for c in text.chars() {
            match c {
                '\n' => self.line_break(),
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '.' | ')' if !before.is_ascii_digit() => self.out.push(c),
                ',' | ';' | ':' | '\'' | '"' | '?' | '/' | '%' | '@' => self.out.push(c),
                c if needs_cleaning(c) => self.out.push(' '),
                c => {
                    if c.is_ascii_punctuation() {
                        self.out.push('\\');
                    }
                    self.out.push(c);
                }
            }
            before = c;
        }
    }

    fn math(&mut self, mark: &str, text: &str) {
        let risky = |c: char| matches!(c, '`' | '<' | '&' | '$') || needs_cleaning(c);
        // Where mathematics is not known, a link in it would be one, and so would a bracket in it with a link's end.
        let links = text.contains("](")
            || text.contains('\n')
            || (!self.links.is_empty() && text.contains(['[', ']']));
        if text.contains(risky) || links || (self.in_table && text.contains('|')) {
            self.text(mark);
            self.text(text);
            self.text(mark);
        } else {
            self.at_start = false;
            self.out.push_str(mark);
            self.out.push_str(text);
            self.out.push_str(mark);
        }
    }

    fn inline_code(&mut self, text: &str) {
        self.at_start = false;
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = if self.in_table { text.replace('|', "\\|") } else { text };
        let fence = "`".repeat(longest_run(&text) + 1);
        let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
        for piece in [fence.as_str(), pad, &text, pad, &fence] {
            self.out.push_str(piece);
        }
    }

    fn end_code(&mut self) {
        let Some((name, mut code)) = self.code.take() else { return };
        // Before the fence is measured: a sign between two backticks would keep them apart.
        code.retain(|c| matches!(c, '\t' | '\n') || !needs_cleaning(c));
        let fence = "`".repeat(longest_run(&code).max(2) + 1);
        self.out.push_str(&fence);
        self.out.push_str(&name);
        for line in code.trim_end().lines() {
            self.line();
            self.out.push_str(line);
            if self.is_too_long() {
                return;
            }
        }
        self.line();
        self.out.push_str(&fence);
    }

    fn link(&mut self, kind: LinkType, url: &CowStr<'_>) {
        let inside = self.links.iter().any(Option::is_some);
        let end = match target(kind, url) {
            Target::Tag(url) if !inside => {
                self.at_start = false;
                self.out.push('[');
                Some(format!("]({})", encoded(&url)))
            }
            _ => None,
        };
        self.links.push(end);
    }
}

/// The address without any sign that could end it or begin something else.
fn encoded(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '(' | ')' | '<' | '>' | '\\' | '"' | '\'' | '`' | '[' | ']' | '*' | '|' | '$' => {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn hashes(level: HeadingLevel) -> &'static str {
    match level {
        HeadingLevel::H1 => "# ",
        HeadingLevel::H2 => "## ",
        HeadingLevel::H3 => "### ",
        HeadingLevel::H4 => "#### ",
        HeadingLevel::H5 => "##### ",
        HeadingLevel::H6 => "###### ",
    }
}
