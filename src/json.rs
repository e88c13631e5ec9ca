//! Owns: JSON values and their writing; stands in until the room of that name arrives.
#![allow(missing_docs, reason = "stand-in")]
use std::fmt::Write as _;
pub type Value = tinyjson::JsonValue;
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    text.parse().map_err(|error: tinyjson::JsonParseError| error.to_string())
}
pub trait Get {
    fn at(&self, key: &str) -> Option<&Value>;
    fn str(&self) -> Option<&str>;
    fn i64(&self) -> Option<i64>;
    fn list(&self) -> Option<&[Value]>;
    fn text(&self) -> String;
}
impl Get for Value {
    fn at(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(map) => map.get(key),
            _ => None,
        }
    }
    fn str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
    #[allow(clippy::cast_possible_truncation, reason = "stand-in")]
    fn i64(&self) -> Option<i64> {
        match self {
            Value::Number(number) => Some(*number as i64),
            _ => None,
        }
    }
    fn list(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }
    fn text(&self) -> String {
        self.stringify().unwrap_or_default()
    }
}
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(from..at).unwrap_or_default());
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        from = at + 1;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out.push('"');
}
