//! Owns: JSON values that the stand-ins keep, change and compare; keys in alphabetical order.
//! May not: grow deeper than [`DEPTH_MAX`].
//!
//! Not the `json` room's values, for two reasons: a stand-in must hold a `bigint` exactly, and a
//! mistake of our parser should not be met by the same mistake on the other side of the wire.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Deepest nesting taken.
pub const DEPTH_MAX: usize = 64;

/// A JSON value that can be changed and compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Data {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number; exact to the last `bigint`, which a float is not.
    Int(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(String),
    /// Array.
    List(Vec<Data>),
    /// Object.
    Map(BTreeMap<String, Data>),
}

/// An object of the given pairs.
pub fn map<const N: usize>(pairs: [(&str, Data); N]) -> Data {
    Data::Map(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Data {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<bool> for Data {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<i64> for Data {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for Data {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}
impl From<usize> for Data {
    fn from(value: usize) -> Self {
        Self::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<Vec<Data>> for Data {
    fn from(list: Vec<Data>) -> Self {
        Self::List(list)
    }
}

static NULL: Data = Data::Null;

impl Data {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// What is wrong with it, for an error body.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "strings must be encoded in UTF-8")?;
        let mut reader = Reader { rest: text, depth: 0 };
        let value = reader.value()?;
        reader.blanks();
        if reader.rest.is_empty() { Ok(value) } else { Err("text after the end of JSON".into()) }
    }
    /// The member of that name, null when there is none.
    pub fn at(&self, key: &str) -> &Data {
        self.map().and_then(|map| map.get(key)).unwrap_or(&NULL)
    }
    /// The first member of these names: JSON of Google takes camelCase and snake_case.
    pub fn any(&self, keys: &[&str]) -> &Data {
        keys.iter().map(|key| self.at(key)).find(|value| **value != Self::Null).unwrap_or(&NULL)
    }
    /// The text, empty for anything else.
    pub fn str(&self) -> &str {
        self.text().unwrap_or_default()
    }
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
    /// The whole number, if it is one.
    pub fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }
    /// A whole number that cannot be negative, as milliseconds, counts and sizes are.
    pub fn count(&self) -> Option<u64> {
        self.int().and_then(|number| u64::try_from(number).ok())
    }
    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }
    /// The items, none for anything else.
    pub fn list(&self) -> &[Data] {
        if let Self::List(list) = self { list } else { &[] }
    }
    /// The members, if it is an object.
    pub fn map(&self) -> Option<&BTreeMap<String, Data>> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }
    /// Sets a member; nothing happens to what is no object.
    pub fn set(&mut self, key: &str, value: impl Into<Data>) {
        if let Self::Map(map) = self {
            map.insert(key.to_owned(), value.into());
        }
    }
    /// The same object with one more member.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Data>) -> Self {
        self.set(key, value);
        self
    }
    /// JSON text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
    /// Appends JSON text.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(number) => drop(write!(out, "{number}")),
            Self::Number(number) => drop(write!(out, "{number}")),
            Self::Text(text) => quote(out, text),
            Self::List(list) => {
                out.push('[');
                for (index, item) in list.iter().enumerate() {
                    if index != 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push('{');
                for (index, (key, value)) in map.iter().enumerate() {
                    if index != 0 {
                        out.push(',');
                    }
                    quote(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
    /// Order inside one column: whole numbers by size, texts by bytes.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(one), Self::Int(two)) => one.cmp(two),
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            (Self::Null, Self::Null) => Ordering::Equal,
            // PostgreSQL: nulls last.
            (Self::Null, _) => Ordering::Greater,
            (_, Self::Null) => Ordering::Less,
            (one, two) => one.render().cmp(&two.render()),
        }
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            letter if letter < ' ' => drop(write!(out, "\\u{:04x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn take(&mut self, word: &str) -> bool {
        self.blanks();
        let Some(rest) = self.rest.strip_prefix(word) else { return false };
        self.rest = rest;
        true
    }

    fn value(&mut self) -> Result<Data, String> {
        self.depth += 1;
        if DEPTH_MAX < self.depth {
            return Err("JSON is nested too deep".into());
        }
        let value = if self.take("{") {
            self.object()?
        } else if self.take("[") {
            self.array()?
        } else if self.take("\"") {
            Data::Text(self.string()?)
        } else if self.take("null") {
            Data::Null
        } else if self.take("true") {
            Data::Bool(true)
        } else if self.take("false") {
            Data::Bool(false)
        } else {
            let number = |byte: char| byte.is_ascii_digit() || "+-.eE".contains(byte);
            let end = self.rest.find(|byte| !number(byte)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at_checked(end).unwrap_or_default();
            self.rest = rest;
            match word.parse() {
                Ok(whole) => Data::Int(whole),
                Err(_) => Data::Number(word.parse().map_err(|_| "JSON value expected")?),
            }
        };
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Data, String> {
        let mut map = BTreeMap::new();
        if self.take("}") {
            return Ok(Data::Map(map));
        }
        loop {
            if !self.take("\"") {
                return Err("JSON object key expected".into());
            }
            let key = self.string()?;
            if !self.take(":") {
                return Err("':' expected in JSON object".into());
            }
            let value = self.value()?;
            map.insert(key, value);
            if self.take("}") {
                return Ok(Data::Map(map));
            }
            if !self.take(",") {
                return Err("',' expected in JSON object".into());
            }
        }
    }

    fn array(&mut self) -> Result<Data, String> {
        let mut list = Vec::new();
        if self.take("]") {
            return Ok(Data::List(list));
        }
        loop {
            list.push(self.value()?);
            if self.take("]") {
                return Ok(Data::List(list));
            }
            if !self.take(",") {
                return Err("',' expected in JSON array".into());
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            let plain = self.rest.find(['"', '\\']).ok_or("JSON string without an end")?;
            let (head, rest) = self.rest.split_at_checked(plain).unwrap_or_default();
            out.push_str(head);
            let mut letters = rest.chars();
            if letters.next() == Some('"') {
                self.rest = letters.as_str();
                return Ok(out);
            }
            let escape = letters.next();
            self.rest = letters.as_str();
            match escape {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('b') => out.push('\u{8}'),
                Some('f') => out.push('\u{c}'),
                Some(letter @ ('"' | '\\' | '/')) => out.push(letter),
                Some('u') => self.unicode(&mut out)?,
                _ => return Err("bad escape in JSON string".into()),
            }
        }
    }

    /// After `\u`: one code point, of a surrogate pair where there is one, else U+FFFD for a half.
    fn unicode(&mut self, out: &mut String) -> Result<(), String> {
        let high = self.hex4()?;
        if (0xd800..0xdc00).contains(&high) && self.rest.starts_with("\\u") {
            let before = self.rest;
            self.rest = before.get(2..).unwrap_or_default();
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                return Ok(());
            }
            self.rest = before;
        }
        out.push(char::from_u32(high).unwrap_or('\u{fffd}'));
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let (digits, rest) = self.rest.split_at_checked(4).ok_or("bad \\u in JSON string")?;
        self.rest = rest;
        u32::from_str_radix(digits, 16).map_err(|_| "bad \\u in JSON string".into())
    }
}
