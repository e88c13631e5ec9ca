//! Owns: JSON as values with getters, as text built straight, and as pages split while they come.
//! May not: give a document a meaning.
//! Invariant: what is handed to the parser is bounded in depth and in number of values, because a
//! tree of tinyjson's costs many times its text (budgets).

mod page;
mod scan;
mod write;

pub use page::{Element, PageError, PageSplitter, number_after};
pub use write::{Array, Object, quote};

use std::fmt;
use tinyjson::JsonValue;

/// Deepest nesting that is read; Telegram's and Gemini's stay below 20.
pub const DEPTH_MAX: usize = 64;
/// Most values (and keys) of one document.
pub const VALUES_MAX: usize = 50_000;

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
    let shape = scan::scan(bytes);
    if shape.depth > DEPTH_MAX {
        return Err(JsonError(format!("nested deeper than {DEPTH_MAX}")));
    }
    if shape.values > VALUES_MAX {
        return Err(JsonError(format!("more than {VALUES_MAX} values")));
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
mod tests {
    use super::*;

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
        let cases: [(&[u8], &str); 5] = [
            (br#"{"t":"a\ud83db"}"#, "a\u{fffd}b"),
            (br#"{"t":"a\ud83d\ude00b"}"#, "a😀b"),
            (br#"{"t":"\ude00"}"#, "\u{fffd}"),
            (br#"{"t":"\\ud83d"}"#, "\\ud83d"),
            (b"{\"t\":\"a\xffb\"}", "a\u{fffd}b"),
        ];
        for (bytes, want) in cases {
            assert_eq!(parse(bytes).unwrap().at("t").str(), Some(want), "{want:?}");
        }
    }

    #[test]
    fn hostile_documents_are_refused_before_they_are_built() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()).unwrap_err().to_string(), "nested deeper than 64");
        let wide = format!("[{}1]", "1,".repeat(VALUES_MAX));
        assert_eq!(parse(wide.as_bytes()).unwrap_err().to_string(), "more than 50000 values");
        assert!(
            parse(b"{\"secret words").unwrap_err().to_string().starts_with("not JSON at line 1")
        );
    }
}
