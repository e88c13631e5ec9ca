//! Owns: Telegram's HTML parser as the Bot API server has it (api-reference A9).
//! May not: repair anything: what Telegram refuses is refused, in Telegram's words.
//! Invariant: offsets and lengths are UTF-16 code units, offsets in errors are bytes.

/// A span of formatting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Telegram's name of the kind.
    pub kind: &'static str,
    /// First UTF-16 unit.
    pub offset: usize,
    /// UTF-16 units.
    pub length: usize,
    /// `url`, `language`, `custom_emoji_id` or the mentioned user's id.
    pub argument: String,
}

struct OpenTag {
    name: String,
    argument: String,
    offset: usize,
    begin: usize,
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
    text: Vec<u8>,
    units: usize,
    half_pair: bool,
    spans: Vec<Span>,
    open: Vec<OpenTag>,
}

const TAGS: [&str; 17] = [
    "a",
    "b",
    "strong",
    "i",
    "em",
    "s",
    "strike",
    "del",
    "u",
    "ins",
    "tg-spoiler",
    "tg-emoji",
    "span",
    "pre",
    "code",
    "blockquote",
    "tg-time",
];

/// Plain text and spans of `html`.
///
/// # Errors
/// What Telegram writes after `Bad Request: can't parse entities: `.
pub fn parse(html: &str) -> Result<(String, Vec<Span>), String> {
    let mut parser = Parser {
        input: html.as_bytes(),
        at: 0,
        text: Vec::with_capacity(html.len()),
        units: 0,
        half_pair: false,
        spans: Vec::new(),
        open: Vec::new(),
    };
    parser.run()?;
    let mut spans = parser.spans;
    for span in &mut spans {
        if span.kind == "code" {
            span.argument.clear();
        }
    }
    spans.sort_by_key(|span| (span.offset, usize::MAX - span.length));
    Ok((String::from_utf8_lossy(&parser.text).into_owned(), spans))
}

impl Parser<'_> {
    /// The byte at a place, 0 past the end, which counts as a blank as in Telegram's parser.
    fn byte(&self, at: usize) -> u8 {
        self.input.get(at).copied().unwrap_or(0)
    }

    fn run(&mut self) -> Result<(), String> {
        while self.at < self.input.len() {
            let byte = self.byte(self.at);
            if byte == b'&'
                && let Some((code, next)) = self.character_reference(self.at)
            {
                self.units += 1 + usize::from(0xffff < code);
                self.push_code(code);
                self.at = next;
            } else if byte == b'<' {
                let begin = self.at;
                self.at += 1;
                if self.byte(self.at) == b'/' {
                    self.end_tag(begin)?;
                } else {
                    self.start_tag(begin)?;
                }
                self.at += 1;
            } else {
                // A continuation byte adds no unit, a four-byte character adds two.
                self.units += usize::from(byte & 0xc0 != 0x80) + usize::from(0xf0 <= byte);
                self.text.push(byte);
                self.at += 1;
            }
        }
        if let Some(open) = self.open.last() {
            let name = &open.name;
            return Err(format!("Can't find end tag corresponding to start tag \"{name}\""));
        }
        if self.half_pair {
            return Err("Text contains invalid Unicode characters after decoding HTML entities, \
                        check for unmatched surrogate code units"
                .into());
        }
        Ok(())
    }

    fn push_code(&mut self, code: u32) {
        match char::from_u32(code) {
            Some(letter) => {
                self.text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => self.half_pair = true,
        }
    }

    /// The code point of `&…;` at a place and where the text goes on; none: literal text.
    fn character_reference(&self, begin: usize) -> Option<(u32, usize)> {
        let mut at = begin + 1;
        let code = if self.byte(at) == b'#' {
            at += 1;
            let hex = self.byte(at) == b'x';
            at += usize::from(hex);
            let radix = if hex { 16 } else { 10 };
            let mut code = 0_u32;
            while let Some(digit) = char::from(self.byte(at)).to_digit(radix) {
                code = code.wrapping_mul(radix).wrapping_add(digit);
                at += 1;
            }
            if code == 0 || 0x10_ffff <= code || begin + 10 <= at {
                return None;
            }
            code
        } else {
            while self.byte(at).is_ascii_alphabetic() {
                at += 1;
            }
            match self.input.get(begin + 1..at)? {
                b"lt" => u32::from('<'),
                b"gt" => u32::from('>'),
                b"amp" => u32::from('&'),
                b"quot" => u32::from('"'),
                _ => return None,
            }
        };
        Some((code, at + usize::from(self.byte(at) == b';')))
    }

    fn word(&self, from: usize, to: usize) -> String {
        String::from_utf8_lossy(self.input.get(from..to).unwrap_or_default()).into_owned()
    }

    fn skip_blanks(&mut self) {
        while self.at < self.input.len() && is_blank(self.byte(self.at)) {
            self.at += 1;
        }
    }

    fn start_tag(&mut self, begin: usize) -> Result<(), String> {
        while !is_blank(self.byte(self.at)) && self.byte(self.at) != b'>' {
            self.at += 1;
        }
        if self.byte(self.at) == 0 {
            return Err(format!("Unclosed start tag at byte offset {begin}"));
        }
        let name = self.word(begin + 1, self.at).to_ascii_lowercase();
        if !TAGS.contains(&name.as_str()) {
            return Err(format!("Unsupported start tag \"{name}\" at byte offset {begin}"));
        }
        let mut argument = String::new();
        while self.byte(self.at) != b'>' {
            self.skip_blanks();
            if self.byte(self.at) == b'>' {
                break;
            }
            let (key, value) = self.attribute(&name, begin)?;
            match (name.as_str(), key.as_str()) {
                ("a", "href") | ("tg-emoji", "emoji-id") | ("tg-time", "unix") => argument = value,
                ("code", "class") => {
                    if let Some(language) = value.strip_prefix("language-") {
                        argument = language.into();
                    }
                }
                ("span", "class") => {
                    if let Some(kind) = value.strip_prefix("tg-") {
                        argument = kind.into();
                    }
                }
                ("blockquote", "expandable") => argument = "1".into(),
                _ => {}
            }
        }
        if name == "span" && argument != "spoiler" {
            return Err(format!(
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset {begin}"
            ));
        }
        let (offset, begin) = (self.units, self.text.len());
        self.open.push(OpenTag { name, argument, offset, begin });
        Ok(())
    }

    fn attribute(&mut self, tag: &str, begin: usize) -> Result<(String, String), String> {
        let from = self.at;
        while !is_blank(self.byte(self.at))
            && !matches!(self.byte(self.at), b'=' | b'>' | b'/' | b'"' | b'\'')
        {
            self.at += 1;
        }
        let key = self.word(from, self.at);
        if key.is_empty() {
            let at = format!("in the tag \"{tag}\" at byte offset {begin}");
            return Err(format!("Empty attribute name {at}"));
        }
        self.skip_blanks();
        if self.byte(self.at) == 0 {
            return Err(format!("Unclosed start tag \"{tag}\" at byte offset {begin}"));
        }
        if self.byte(self.at) != b'=' {
            return Ok((key, String::new()));
        }
        self.at += 1;
        self.skip_blanks();
        let quote = self.byte(self.at);
        if quote == 0 {
            return Err(format!("Unclosed start tag \"{tag}\" at byte offset {begin}"));
        }
        let value = if matches!(quote, b'\'' | b'"') {
            self.at += 1;
            self.quoted(quote)
        } else {
            let from = self.at;
            while matches!(self.byte(self.at), b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-')
            {
                self.at += 1;
            }
            if !is_blank(self.byte(self.at)) && self.byte(self.at) != b'>' {
                return Err(format!("Unexpected end of name token at byte offset {from}"));
            }
            self.word(from, self.at).to_ascii_lowercase()
        };
        if self.byte(self.at) == 0 {
            return Err(format!("Unclosed start tag at byte offset {begin}"));
        }
        Ok((key, value))
    }

    fn quoted(&mut self, quote: u8) -> String {
        let mut value = Vec::new();
        while self.at < self.input.len() && self.byte(self.at) != quote {
            if let Some((code, next)) = Some(self.at)
                .filter(|at| self.byte(*at) == b'&')
                .and_then(|at| self.character_reference(at))
                && let Some(letter) = char::from_u32(code)
            {
                value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                self.at = next;
            } else {
                value.push(self.byte(self.at));
                self.at += 1;
            }
        }
        if self.byte(self.at) == quote {
            self.at += 1;
        }
        String::from_utf8_lossy(&value).into_owned()
    }

    fn end_tag(&mut self, begin: usize) -> Result<(), String> {
        let Some(open) = self.open.pop() else {
            return Err(format!("Unexpected end tag at byte offset {begin}"));
        };
        while !is_blank(self.byte(self.at)) && self.byte(self.at) != b'>' {
            self.at += 1;
        }
        let found = self.word(begin + 2, self.at).to_ascii_lowercase();
        self.skip_blanks();
        if self.byte(self.at) != b'>' {
            return Err(format!("Unclosed end tag at byte offset {begin}"));
        }
        if !found.is_empty() && found != open.name {
            let expected = open.name;
            return Err(format!(
                "Unmatched end tag at byte offset {begin}, expected \"</{expected}>\", found \"</{found}>\""
            ));
        }
        if open.offset < self.units { self.close(open) } else { Ok(()) }
    }

    /// Turns a closed, non-empty element into its span.
    fn close(&mut self, open: OpenTag) -> Result<(), String> {
        let (offset, length) = (open.offset, self.units - open.offset);
        let mut argument = open.argument;
        let twin = self.spans.last_mut().filter(|it| it.offset == offset && it.length == length);
        let kind = match open.name.as_str() {
            "i" | "em" => "italic",
            "b" | "strong" => "bold",
            "s" | "strike" | "del" => "strikethrough",
            "u" | "ins" => "underline",
            "tg-spoiler" | "span" => "spoiler",
            "blockquote" if argument.is_empty() => "blockquote",
            "blockquote" => "expandable_blockquote",
            "tg-time" if argument.parse::<i64>().is_ok() => "date_time",
            "tg-time" => return Ok(()),
            "tg-emoji" if argument.parse().is_ok_and(|id: i64| id != 0) => "custom_emoji",
            "tg-emoji" => return Err("Invalid custom emoji identifier specified".into()),
            "pre" => match twin {
                Some(code) if code.kind == "code" && !code.argument.is_empty() => {
                    code.kind = "pre";
                    return Ok(());
                }
                _ => "pre",
            },
            "code" => match twin {
                Some(pre) if pre.kind == "pre" && !argument.is_empty() => {
                    pre.argument = argument;
                    return Ok(());
                }
                _ => "code",
            },
            _ => {
                if argument.is_empty() {
                    let bytes = self.text.get(open.begin..).unwrap_or_default();
                    argument = String::from_utf8_lossy(bytes).into_owned();
                }
                if let Some(user) = argument.strip_prefix("tg://user?id=") {
                    argument = user.into();
                    "text_mention"
                } else if let Some(url) = checked_link(&argument) {
                    argument = url;
                    "text_link"
                } else {
                    return Ok(());
                }
            }
        };
        if kind == "expandable_blockquote" {
            argument.clear();
        }
        self.spans.push(Span { kind, offset, length, argument });
        Ok(())
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0 | 0x0b)
}

/// The link as Telegram keeps it, none where it silently drops it.
fn checked_link(link: &str) -> Option<String> {
    let link = link.trim();
    let (scheme, rest) = match link.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => ("http".into(), link),
    };
    if matches!(scheme.as_str(), "tg" | "ton" | "tonsite") {
        return (!rest.is_empty()).then(|| format!("{scheme}://{rest}"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at_checked(end)?;
    let bare = host.rsplit('@').next().unwrap_or_default();
    let name = bare.split(':').next().unwrap_or_default();
    let good = name.contains('.') && !name.starts_with('.') && !name.ends_with('.');
    if !matches!(scheme.as_str(), "http" | "https") || !good || name.contains([' ', '\n']) {
        return None;
    }
    let slash = if tail.starts_with('/') { "" } else { "/" };
    Some(format!("{scheme}://{}{slash}{tail}", host.to_lowercase()))
}
