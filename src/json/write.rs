//! Owns: JSON text built straight into a string, without a tree.
//! May not: produce anything that is not JSON.

use std::fmt::Write;

/// Appends `text` as a JSON string.
pub fn quote(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    // Bytes and not characters are looked at: nearly all of them are copied in long runs.
    while let Some((plain, tail)) =
        next_escape(rest.as_bytes()).and_then(|at| rest.split_at_checked(at))
    {
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some(c) if needs_escape(c) => escape(out, c),
            Some(c) => out.push(c),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Where the first byte stands that [`may_need_escape`]. Eight are looked at together: texts are long, and a
/// synchronisation writes all of them.
fn next_escape(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = escapes_in(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let inside = tail.iter().position(|byte| may_need_escape(*byte))?;
    Some(words.len() * 8 + inside)
}

/// The high bit of the first of eight bytes that [`may_need_escape`], the lowest being the first; bits above it
/// mean nothing, since a byte that is found borrows from the next. 0 where there is none.
fn escapes_in(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Bytes of `value` that are smaller than `than`, which is at most 128.
    let below = |value: u64, than: u64| value.wrapping_sub(ONES * than) & !value & HIGH;
    let is = |byte: u64| below(word ^ (ONES * byte), 1);
    below(word, 0x20) | is(0x22) | is(0x5c) | is(0x7f) | is(0xe2)
}

/// Appends a whole number.
pub fn integer(out: &mut String, number: i64) {
    let mut digits = [b'0'; 20];
    let (mut left, mut count) = (number.unsigned_abs(), 0);
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        count += 1;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push('-');
    }
    let digits = digits.get(digits.len() - count..).unwrap_or_default();
    out.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// Whether a character that [`needs_escape`] may begin with this byte; 0xE2 begins the line ends of JavaScript.
fn may_need_escape(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f | 0xe2)
}

/// Beyond what JSON asks for, the line ends of JavaScript and DEL: logs and pages show these texts too.
fn needs_escape(c: char) -> bool {
    c < ' ' || matches!(c, '"' | '\\' | '\u{7f}' | '\u{2028}' | '\u{2029}')
}

fn escape(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
}

/// An object being written; it ends when it is dropped. Absent members are simply not written:
/// Telegram takes null for the text "null" (api-reference A1).
pub struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }
    fn name(&mut self, name: &str) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        quote(self.out, name);
        self.out.push(':');
        self.out
    }
    /// A text.
    pub fn str(&mut self, name: &str, value: &str) -> &mut Self {
        quote(self.name(name), value);
        self
    }
    /// A text, or nothing at all.
    pub fn opt_str(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.str(name, value);
        }
        self
    }
    /// A whole number.
    pub fn int(&mut self, name: &str, value: i64) -> &mut Self {
        integer(self.name(name), value);
        self
    }
    /// True or false.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.name(name).push_str(if value { "true" } else { "false" });
        self
    }
    /// Text that is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Self {
        self.name(name).push_str(json);
        self
    }
    /// An object inside.
    pub fn object(&mut self, name: &str) -> Object<'_> {
        Object::new(self.name(name))
    }
    /// A list inside.
    pub fn array(&mut self, name: &str) -> Array<'_> {
        Array::new(self.name(name))
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push('}');
    }
}

/// A list being written; it ends when it is dropped.
pub struct Array<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Array<'a> {
    /// Begins a list.
    pub fn new(out: &'a mut String) -> Self {
        out.push('[');
        Self { out, first: true }
    }
    fn next(&mut self) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out
    }
    /// A text.
    pub fn str(&mut self, value: &str) -> &mut Self {
        quote(self.next(), value);
        self
    }
    /// A whole number.
    pub fn int(&mut self, value: i64) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = write!(self.next(), "{value}");
        self
    }
    /// An object inside.
    pub fn object(&mut self) -> Object<'_> {
        Object::new(self.next())
    }
    /// A list inside.
    pub fn array(&mut self) -> Array<'_> {
        Array::new(self.next())
    }
}

impl Drop for Array<'_> {
    fn drop(&mut self) {
        self.out.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let nasty = "a\"\\\n\t\u{0}\u{7f}\u{2028}😀 </script>";
        let mut out = String::new();
        {
            let mut object = Object::new(&mut out);
            object.str("t", nasty).int("n", -5).bool("b", true);
            object.array("l").int(1).str("x");
            object.object("o").raw("r", "[1]");
        }
        let value = crate::json::parse(out.as_bytes()).unwrap();
        assert_eq!(value.at("t").str(), Some(nasty));
        assert_eq!(value.at("n").i64(), Some(-5));
        assert_eq!(value.at("l").list().count(), 2);
        assert_eq!(value.at("o").at("r").list().count(), 1);
    }

    #[test]
    fn every_character_survives_and_none_breaks_a_line() {
        let chars = (0..0x3000).chain([0xFFFD, 0xFFFE, 0x1_F600, 0x10_FFFF]);
        for c in chars.filter_map(char::from_u32) {
            for text in [format!("{c}"), format!("a{c}b{c}")] {
                let mut out = String::new();
                quote(&mut out, &text);
                assert!(!out.contains(['\n', '\r', '\u{2028}', '\u{2029}', '\u{0}']));
                let value = crate::json::parse(out.as_bytes()).unwrap();
                assert_eq!(value.root().str(), Some(text.as_str()), "{:x}", u32::from(c));
            }
        }
    }

    #[test]
    fn what_needs_an_escape_is_seen_wherever_it_stands() {
        for odd in 0..=u8::MAX {
            for fill in [b'a', 0x80, 0xe3, 0xff, 0x23, 0x21, odd ^ 1] {
                for at in 0..19 {
                    let mut bytes = [fill; 19];
                    bytes[at] = odd;
                    let wanted = bytes.iter().position(|byte| may_need_escape(*byte));
                    assert_eq!(next_escape(&bytes), wanted, "{odd:x} at {at} among {fill:x}");
                }
            }
        }
    }

    #[test]
    fn whole_numbers_are_written_as_rust_writes_them() {
        for number in [0, 7, -7, 10, -1_000, 4_503_599_627_370_497, i64::MAX, i64::MIN] {
            let mut out = String::new();
            integer(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }

    #[test]
    fn what_is_absent_is_not_written() {
        let mut out = String::new();
        Object::new(&mut out).opt_str("a", None).opt_str("b", Some("")).opt_str("c", None);
        assert_eq!(out, r#"{"b":""}"#);
    }
}
