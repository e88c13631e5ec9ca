//! Owns: JSON as values with getters, as text built straight, and as pages split while they come.
//! May not: give a document a meaning.
//! Invariant: what is handed to the parser is bounded in depth and in number of values, because a
//! tree of tinyjson's costs many times its text (budgets).

mod member;
mod page;
mod pick;
mod scan;
mod write;

pub use member::member_number;
pub use page::{Element, PageError, PageSplitter};
pub use pick::{pick, picked_i64};
pub use write::{Array, Object, quote};

use std::fmt;
use tinyjson::JsonValue;

/// Deepest nesting that is read; Telegram's and Gemini's stay below 20.
pub const DEPTH_MAX: usize = 64;
/// Most values (and keys) of one document; a full page of rows from Supabase has about half of it.
pub const VALUES_MAX: usize = 50_000;
/// Most values of a document that has no business being large: an update, an event of an answer.
pub const SMALL_VALUES_MAX: usize = 20_000;

/// A document that cannot be read, in lower-case words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError(String);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Value(JsonValue);

/// What absent members are, so that getters can be chained.
static NULL: JsonValue = JsonValue::Null;

/// Reads a document. Bytes that are no UTF-8 and lone surrogates become U+FFFD: one odd character must
/// not cost a whole page (api-reference 0).
///
/// # Errors
/// Not JSON, too deep, or too many values.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_within(bytes, VALUES_MAX)
}

/// As [`parse`], for documents that are small unless somebody means harm.
///
/// # Errors
/// Not JSON, too deep, or more than [`SMALL_VALUES_MAX`] values.
pub fn parse_small(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_within(bytes, SMALL_VALUES_MAX)
}

fn parse_within(bytes: &[u8], values_max: usize) -> Result<Value, JsonError> {
    let shape = scan::scan(bytes);
    if shape.depth > DEPTH_MAX {
        return Err(JsonError(format!("nested deeper than {DEPTH_MAX}")));
    }
    if shape.values > values_max {
        return Err(JsonError(format!("more than {values_max} values")));
    }
    let text = String::from_utf8_lossy(bytes);
    let parsed = if shape.lone_surrogate {
        scan::repair(&text).parse::<JsonValue>()
    } else {
        text.parse::<JsonValue>()
    };
    // tinyjson's own words quote the document: people's words stay out of errors.
    parsed.map(Value).map_err(|error| {
        JsonError(format!("not JSON at line {}, column {}", error.line(), error.column()))
    })
}

/// A document's text with every surrogate escape that has no partner made U+FFFD; mostly the text as it is.
pub fn repaired(text: &str) -> std::borrow::Cow<'_, str> {
    match scan::scan(text.as_bytes()).lone_surrogate {
        true => std::borrow::Cow::Owned(scan::repair(text)),
        false => std::borrow::Cow::Borrowed(text),
    }
}

/// A borrowed value with getters; absent and null are the same.
#[derive(Clone, Copy, Debug)]
pub struct Ref<'a>(&'a JsonValue);

impl Value {
    /// The whole document.
    pub fn root(&self) -> Ref<'_> {
        Ref(&self.0)
    }
    /// The member of that name, null when absent.
    pub fn at(&self, name: &str) -> Ref<'_> {
        self.root().at(name)
    }
    /// The member of that name as a document of its own.
    pub fn take(self, name: &str) -> Self {
        match self.0 {
            JsonValue::Object(mut members) => Self(members.remove(name).unwrap_or(JsonValue::Null)),
            _ => Self(JsonValue::Null),
        }
    }
}

impl<'a> Ref<'a> {
    /// The member of that name, null when absent.
    pub fn at(self, name: &str) -> Ref<'a> {
        match self.0 {
            JsonValue::Object(members) => Ref(members.get(name).unwrap_or(&NULL)),
            _ => Ref(&NULL),
        }
    }
    /// Whether there is nothing.
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }
    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.is_object()
    }
    /// Whether it is a list.
    pub fn is_list(self) -> bool {
        self.0.is_array()
    }
    /// Text.
    pub fn str(self) -> Option<&'a str> {
        match self.0 {
            JsonValue::String(text) => Some(text),
            _ => None,
        }
    }
    /// A whole number that a double carries exactly.
    #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53, checked here")]
    pub fn i64(self) -> Option<i64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self.0 {
            JsonValue::Number(n) if n.fract() == 0.0 && n.abs() <= EXACT => Some(*n as i64),
            _ => None,
        }
    }
    /// A number.
    pub fn f64(self) -> Option<f64> {
        match self.0 {
            JsonValue::Number(n) => Some(*n),
            _ => None,
        }
    }
    /// A whole number that is not negative, cut at what a `u32` holds.
    pub fn u32(self) -> Option<u32> {
        self.i64().filter(|n| *n >= 0).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }
    /// True or false.
    pub fn bool(self) -> Option<bool> {
        match self.0 {
            JsonValue::Boolean(value) => Some(*value),
            _ => None,
        }
    }
    /// The elements of a list; none when it is no list.
    pub fn list(self) -> impl Iterator<Item = Ref<'a>> {
        let items: &[JsonValue] = match self.0 {
            JsonValue::Array(items) => items,
            _ => &[],
        };
        items.iter().map(Ref)
    }
    /// The names of an object's members, sorted.
    pub fn names(self) -> Vec<&'a str> {
        let JsonValue::Object(members) = self.0 else { return Vec::new() };
        let mut names: Vec<&str> = members.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
    /// Its text as JSON.
    pub fn to_text(self) -> String {
        self.0.stringify().unwrap_or_default()
    }
    /// What kind it is, for errors.
    pub fn kind(self) -> &'static str {
        match self.0 {
            JsonValue::Null => "nothing",
            JsonValue::Boolean(_) => "boolean",
            JsonValue::Number(_) => "number",
            JsonValue::String(_) => "text",
            JsonValue::Array(_) => "list",
            JsonValue::Object(_) => "object",
        }
    }
    /// A required whole number; the error names its path.
    ///
    /// # Errors
    /// Missing, or something else.
    pub fn need_i64(self, path: &str) -> Result<i64, JsonError> {
        self.i64().ok_or_else(|| self.wrong(path, "whole number"))
    }
    /// A required text; the error names its path.
    ///
    /// # Errors
    /// Missing, or something else.
    pub fn need_str(self, path: &str) -> Result<&'a str, JsonError> {
        self.str().ok_or_else(|| self.wrong(path, "text"))
    }
    fn wrong(self, path: &str, want: &str) -> JsonError {
        JsonError(match self.0 {
            JsonValue::Null => format!("{path}: missing"),
            _ => format!("{path}: got {}, want {want}", self.kind()),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small fixed sequence of throws, so that a failing case can be thrown again.
    pub(crate) struct Dice(u64);

    impl Dice {
        pub(crate) fn new(seed: u64) -> Self {
            Self(seed)
        }
        /// Below `sides`; 0 when there are none.
        pub(crate) fn below(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
        }
        /// Some document, with whatever is hard inside.
        pub(crate) fn json(&mut self, depth: usize) -> String {
            const WORDS: [&str; 8] =
                ["", "]}", "[{", "a\"b", "\\", "result", "update_id", "\u{0}\u{2028}😀\n"];
            let mut out = String::new();
            match self.below(if depth == 0 { 3 } else { 5 }) {
                0 => out.push_str(["null", "true", "-1.5e3", "0"][self.below(4)]),
                1 | 2 => quote(&mut out, WORDS[self.below(WORDS.len())]),
                3 => {
                    let items: Vec<_> = (0..self.below(4)).map(|_| self.json(depth - 1)).collect();
                    out = format!("[{}]", items.join(", "));
                }
                _ => {
                    let mut members = Vec::new();
                    for at in 0..self.below(4) {
                        let name = format!("{}{at}", WORDS[self.below(WORDS.len())]);
                        let mut quoted = String::new();
                        quote(&mut quoted, &name);
                        members.push(format!("{quoted} :{}", self.json(depth - 1)));
                    }
                    out = format!("{{{}}}", members.join(","));
                }
            }
            out
        }
    }

    #[test]
    fn getters_name_the_path_of_what_is_wrong() {
        let value = parse(br#"{"a":{"b":"x","n":5,"f":1.5,"big":1e300},"l":[1,2]}"#).unwrap();
        assert_eq!(value.at("a").at("b").str(), Some("x"));
        assert_eq!(value.at("a").at("n").i64(), Some(5));
        assert_eq!(value.at("a").at("f").i64(), None);
        assert_eq!(value.at("a").at("big").i64(), None);
        assert_eq!(value.at("l").list().filter_map(Ref::i64).sum::<i64>(), 3);
        let wrong = value.at("a").at("b").need_i64("a.b").unwrap_err();
        assert_eq!(wrong.to_string(), "a.b: got text, want whole number");
        assert_eq!(value.at("z").need_str("z").unwrap_err().to_string(), "z: missing");
    }

    #[test]
    fn one_odd_character_does_not_cost_the_document() {
        let cases: [(&[u8], &str); 9] = [
            (br#"{"t":"a\ud83db"}"#, "a\u{fffd}b"),
            (br#"{"t":"a\ud83d\ude00b"}"#, "a😀b"),
            (br#"{"t":"\ude00"}"#, "\u{fffd}"),
            (br#"{"t":"\\ud83d"}"#, "\\ud83d"),
            (b"{\"t\":\"a\xffb\"}", "a\u{fffd}b"),
            (br#"{"t":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀"),
            (br#"{"t":"\ud83d\n\ude00\ude00"}"#, "\u{fffd}\n\u{fffd}\u{fffd}"),
            ("{\"t\":\"\\ude00é\\\\\"}".as_bytes(), "\u{fffd}é\\"),
            (b"{\"t\":\"\xed\xa0\xbd\"}", "\u{fffd}\u{fffd}\u{fffd}"),
        ];
        for (bytes, want) in cases {
            assert_eq!(parse(bytes).unwrap().at("t").str(), Some(want), "{want:?}");
        }
    }

    #[test]
    fn broken_bytes_never_panic() {
        let mut dice = Dice::new(3);
        for _ in 0..2_000 {
            let mut bytes = dice.json(4).into_bytes();
            assert!(parse(&bytes).is_ok(), "{}", String::from_utf8_lossy(&bytes));
            for _ in 0..=dice.below(3) {
                let at = dice.below(bytes.len());
                bytes[at] = b"\\\"ud8{[,]}:\xff0"[dice.below(13)];
            }
            let _ = parse(&bytes);
            bytes.truncate(dice.below(bytes.len()));
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn hostile_documents_are_refused_before_they_are_built() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()).unwrap_err().to_string(), "nested deeper than 64");
        let wide = format!("[{}1]", "1,".repeat(VALUES_MAX));
        assert_eq!(parse(wide.as_bytes()).unwrap_err().to_string(), "more than 50000 values");
        let small = format!("[{}1]", "1,".repeat(SMALL_VALUES_MAX));
        assert!(parse(small.as_bytes()).is_ok());
        assert!(parse_small(small.as_bytes()).is_err());
        assert!(
            parse(b"{\"secret words").unwrap_err().to_string().starts_with("not JSON at line 1")
        );
    }
}
