//! Owns: plain text with styled runs, and which characters of it Telegram keeps.
//! Invariant: runs are in order, end at character boundaries and cover the text exactly; two
//! neighbours differ.

/// Bold.
pub(super) const BOLD: u8 = 1;
/// Italic.
pub(super) const ITALIC: u8 = 2;
/// Struck through.
pub(super) const STRIKE: u8 = 4;
/// Hidden until tapped.
pub(super) const SPOILER: u8 = 8;
/// Inline code.
pub(super) const CODE: u8 = 16;

/// How a run looks. The ids tell neighbours of one kind apart; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// `BOLD` … `CODE`.
    pub(super) flags: u8,
    /// Which block quote.
    pub(super) quote: u32,
    /// Which code block; `langs` holds its language at this index less one.
    pub(super) pre: u32,
    /// Which link; `links` holds its target at this index less one.
    pub(super) link: u32,
}

/// One tag around a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// `<blockquote>`
    Quote(u32),
    /// `<pre>`
    Pre(u32),
    /// `<code>`
    Code,
    /// `<a href>`
    Link(u32),
    /// `<b>`, `<i>`, `<s>`, `<tg-spoiler>` by flag.
    Flag(u8),
}

impl Style {
    /// The tags of this style, outermost first, as Telegram lets them nest (api-reference A9): code
    /// holds nothing and stands at most in a quote; where code and link meet, the link is worth more.
    pub(super) fn tags(self) -> impl Iterator<Item = Tag> {
        let quote = (self.quote != 0).then_some(Tag::Quote(self.quote));
        let pre = (self.pre != 0).then_some(Tag::Pre(self.pre));
        let link = (self.link != 0 && self.pre == 0).then_some(Tag::Link(self.link));
        let code = self.flags & CODE != 0 && self.pre == 0 && self.link == 0;
        let bare = self.pre == 0 && !code;
        let flags = [BOLD, ITALIC, STRIKE, SPOILER]
            .into_iter()
            .filter(move |flag| bare && self.flags & flag != 0)
            .map(Tag::Flag);
        quote.into_iter().chain(pre).chain(code.then_some(Tag::Code)).chain(link).chain(flags)
    }
}

/// Plain text with styles.
#[derive(Clone, Debug, Default)]
pub(super) struct Flat {
    /// The text as people read it.
    pub(super) text: String,
    /// End (byte offset) and style of each run.
    pub(super) runs: Vec<(usize, Style)>,
    /// Languages of code blocks, empty for none.
    pub(super) langs: Vec<String>,
    /// Targets of links.
    pub(super) links: Vec<String>,
}

impl Flat {
    /// Appends text in one style, cleaned of what Telegram would not keep.
    pub(super) fn push(&mut self, text: &str, style: Style) {
        let mut rest = text;
        while let Some(at) = rest.find(needs_cleaning) {
            let (clean, tail) = rest.split_at(at);
            self.text.push_str(clean);
            let mut chars = tail.chars();
            match chars.next() {
                Some('\t') if style.pre != 0 => self.text.push_str("    "),
                Some('\u{2028}' | '\u{2029}') => self.text.push('\n'),
                // Carriage returns and overrides of direction, which could escape their place.
                Some('\r' | '\u{202a}'..='\u{202e}') | None => {}
                Some(_) => self.text.push(' '),
            }
            rest = chars.as_str();
        }
        self.text.push_str(rest);
        self.cover(style);
    }

    /// Gives the uncovered end of the text this style.
    fn cover(&mut self, style: Style) {
        let end = self.text.len();
        match self.runs.last_mut() {
            Some((last, same)) if *same == style => *last = end,
            Some((last, _)) if *last == end => {}
            None if end == 0 => {}
            _ => self.runs.push((end, style)),
        }
    }
}

/// Control characters become blanks at the server; direction overrides and line separators vanish.
pub(super) fn needs_cleaning(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{2028}'..='\u{202e}')
}

/// Whether a character shows anything by itself; a message of others is refused as empty.
pub(super) fn is_visible(c: char) -> bool {
    !(c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{e0fff}'))
}
