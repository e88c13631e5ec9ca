//! Owns: one member of an object found while its bytes go by, also in documents that no parser takes.
//! May not: hold the document.

/// How many digits a number that is looked for may have.
const NUMBER_BYTES_MAX: usize = 20;

/// Brackets and strings, byte by byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Lexer {
    pub(super) depth: usize,
    pub(super) in_string: bool,
    escaped: bool,
}

impl Lexer {
    /// In a string, where only a quote or a backslash matters.
    pub(super) fn is_in_words(&self) -> bool {
        self.in_string && !self.escaped
    }

    pub(super) fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// What the bytes of the object are just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before a name.
    Before,
    /// In a name, of which so many bytes are as wanted.
    Name(usize),
    /// In or behind another name.
    Other,
    /// Behind the wanted name.
    Wanted,
    /// In its value.
    Value,
}

/// Follows one object, given by how many brackets are open in it, to the member of one name. Names
/// with escapes are other names.
#[derive(Clone, Debug)]
pub(super) struct Finder<'a> {
    name: &'a [u8],
    level: usize,
    part: Part,
    digits: Vec<u8>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(name: &'a [u8], level: usize) -> Self {
        Self { name, level, part: Part::Before, digits: Vec::new() }
    }

    /// Takes a byte and the lexer's state before it; whether the byte is part of the wanted value.
    pub(super) fn step(&mut self, byte: u8, before: &Lexer) -> bool {
        let at_level = !before.in_string && before.depth == self.level;
        self.part = match self.part {
            Part::Before if at_level && byte == b'"' => Part::Name(0),
            Part::Before => Part::Before,
            Part::Name(matched) if byte == b'"' && matched == self.name.len() => Part::Wanted,
            Part::Name(matched) if self.name.get(matched) == Some(&byte) => Part::Name(matched + 1),
            Part::Wanted if byte == b':' => {
                self.digits.clear();
                Part::Value
            }
            Part::Wanted if byte.is_ascii_whitespace() => Part::Wanted,
            Part::Name(_) | Part::Wanted => Part::Other,
            Part::Other | Part::Value if at_level && matches!(byte, b',' | b'}') => Part::Before,
            Part::Other => Part::Other,
            Part::Value => {
                if !byte.is_ascii_whitespace() && self.digits.len() <= NUMBER_BYTES_MAX {
                    self.digits.push(byte);
                }
                return true;
            }
        };
        false
    }

    /// Whether the next bytes decide which name it is.
    pub(super) fn is_in_name(&self) -> bool {
        matches!(self.part, Part::Name(_))
    }

    /// The value, when it is a whole number.
    pub(super) fn number(&self) -> Option<i64> {
        std::str::from_utf8(&self.digits).ok()?.parse().ok()
    }
}

/// The whole number that a top-level member of that name holds, in a document that need not be JSON to
/// its end.
#[must_use]
pub fn member_number(bytes: &[u8], name: &str) -> Option<i64> {
    let mut lexer = Lexer::default();
    let mut finder = Finder::new(name.as_bytes(), 1);
    let mut found = false;
    for byte in bytes {
        let inside = finder.step(*byte, &lexer);
        if found && !inside && finder.part == Part::Before {
            break;
        }
        found |= inside;
        lexer.step(*byte);
    }
    finder.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_member_itself_is_found() {
        let cases: [(&str, Option<i64>); 10] = [
            (r#"{"update_id":9,"x":"#, Some(9)),
            (r#"{"update_id" : -9 }"#, Some(-9)),
            (r#"{"t":"update_id","update_id":8"#, Some(8)),
            (r#"{"t":"\"update_id\":6","u":{"update_id":5},"update_id":8}"#, Some(8)),
            (r#"{"xupdate_id":1,"update_idx":2,"update_i":3}"#, None),
            (r#"{"update_id":"9"}"#, None),
            (r#"{"update_id":9.5}"#, None),
            (r#"{"update_id":123456789012345678901234567890}"#, None),
            (r#"[{"update_id":9}]"#, None),
            ("", None),
        ];
        for (document, want) in cases {
            assert_eq!(member_number(document.as_bytes(), "update_id"), want, "{document}");
        }
    }
}
