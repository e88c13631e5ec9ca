//! Owns: a reply of getUpdates split into its updates while it comes in.
//! May not: hold more than one update and a small envelope, or read what is inside.
//! Invariant: a document of any size, depth or cut costs the same bounded memory.

use super::member::{Finder, Lexer};
use std::fmt;

/// Bytes of one update that are held; Telegram's largest real ones are a few tens of KiB.
pub(super) const ELEMENT_BYTES_MAX: usize = 512 * 1024;
/// Bytes of everything beside the updates.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// A buffer larger than this is given back after the update that needed it.
const ELEMENT_BYTES_KEPT: usize = 64 * 1024;
/// What an update that was passed over weighs for the bound of a page.
const SKIPPED_BYTES: usize = 512;
/// Brackets around the members of the envelope, around the updates, around the members of an update.
const ENVELOPE_LEVEL: usize = 1;
const LIST_LEVEL: usize = 2;
const ELEMENT_LEVEL: usize = 3;

/// One element of `result`.
#[derive(Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// All its bytes.
    Whole(&'a [u8]),
    /// Larger than 512 KiB, passed over.
    TooLarge {
        /// Its number, wherever among its members it stands; `None` only where it has none.
        update_id: Option<i64>,
        /// Its size.
        bytes: usize,
    },
}

impl Element<'_> {
    /// How much it weighs for the bound of a page.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::TooLarge { .. } => SKIPPED_BYTES,
        }
    }
    /// Never: an element has at least its brackets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The reply is no page of updates.
#[derive(Debug, PartialEq, Eq)]
pub enum PageError {
    /// More than a small envelope beside the updates.
    EnvelopeTooLarge,
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more than 64 KiB beside the updates")
    }
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the envelope.
    Beside,
    /// In the list, between two updates.
    Between,
    /// In an update.
    Inside,
}

/// Fed with chunks of any size; hands each update over as it is complete. Everything but the elements
/// of the top-level `result` list is kept as the envelope, the list itself as `[]`.
#[derive(Debug)]
pub struct PageSplitter {
    envelope: Vec<u8>,
    element: Vec<u8>,
    /// Bytes of the current element, those not held included.
    element_bytes: usize,
    place: Place,
    lexer: Lexer,
    result: Finder<'static>,
    update_id: Finder<'static>,
}

impl Default for PageSplitter {
    fn default() -> Self {
        Self {
            envelope: Vec::new(),
            element: Vec::new(),
            element_bytes: 0,
            place: Place::Beside,
            lexer: Lexer::default(),
            result: Finder::new(b"result", ENVELOPE_LEVEL),
            update_id: update_id_finder(),
        }
    }
}

fn update_id_finder() -> Finder<'static> {
    Finder::new(b"update_id", ELEMENT_LEVEL)
}

impl PageSplitter {
    /// At the beginning of a reply.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The reply is no page of updates.
    pub fn feed(&mut self, chunk: &[u8], on: &mut dyn FnMut(Element<'_>)) -> Result<(), PageError> {
        // Updates are copied by the piece, not by the byte: where the current one goes on in this chunk.
        let mut from = 0;
        let mut at = 0;
        while let Some(byte) = chunk.get(at) {
            match self.place {
                Place::Beside => self.beside(*byte)?,
                Place::Between => {
                    if self.between(*byte)? {
                        from = at;
                    }
                }
                Place::Inside => {
                    at += self.words(chunk.get(at..).unwrap_or_default());
                    let Some(byte) = chunk.get(at) else { break };
                    if self.lexer.depth == ELEMENT_LEVEL {
                        self.update_id.step(*byte, &self.lexer);
                    }
                    self.lexer.step(*byte);
                    if self.lexer.depth == LIST_LEVEL {
                        self.hold(chunk.get(from..=at).unwrap_or_default());
                        self.hand_over(on);
                        self.place = Place::Between;
                    }
                }
            }
            at += 1;
        }
        if self.place == Place::Inside {
            self.hold(chunk.get(from..).unwrap_or_default());
        }
        Ok(())
    }

    /// All that was not an update.
    #[must_use]
    pub fn into_envelope(self) -> Vec<u8> {
        self.envelope
    }

    /// How many bytes from here on are only words of a string: most of an update.
    fn words(&self, rest: &[u8]) -> usize {
        if !self.lexer.is_in_words() || self.update_id.is_in_name() {
            return 0;
        }
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len())
    }

    fn beside(&mut self, byte: u8) -> Result<(), PageError> {
        let at_member = !self.lexer.in_string && self.lexer.depth == ENVELOPE_LEVEL;
        let in_result = self.result.step(byte, &self.lexer);
        if in_result && at_member && byte == b'[' {
            self.place = Place::Between;
        }
        self.lexer.step(byte);
        self.keep(byte)
    }

    /// Whether an update begins with this byte. Blanks, commas and bare values between say nothing.
    fn between(&mut self, byte: u8) -> Result<bool, PageError> {
        let in_string = self.lexer.in_string;
        let begins = !in_string && matches!(byte, b'{' | b'[');
        if begins {
            self.place = Place::Inside;
            self.update_id = update_id_finder();
        } else if !in_string && byte == b']' {
            self.place = Place::Beside;
            self.keep(byte)?;
        }
        self.lexer.step(byte);
        Ok(begins)
    }

    fn keep(&mut self, byte: u8) -> Result<(), PageError> {
        if self.envelope.len() >= ENVELOPE_BYTES_MAX {
            return Err(PageError::EnvelopeTooLarge);
        }
        self.envelope.push(byte);
        Ok(())
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.element_bytes = self.element_bytes.saturating_add(bytes.len());
        if self.element_bytes > ELEMENT_BYTES_MAX {
            self.element = Vec::new();
            return;
        }
        if self.element_bytes > self.element.capacity() {
            // Doubling as Vec does, but never beyond the bound.
            let room = (self.element.capacity() * 2).clamp(self.element_bytes, ELEMENT_BYTES_MAX);
            self.element.reserve_exact(room - self.element.len());
        }
        self.element.extend_from_slice(bytes);
    }

    fn hand_over(&mut self, on: &mut dyn FnMut(Element<'_>)) {
        if self.element_bytes <= ELEMENT_BYTES_MAX {
            on(Element::Whole(&self.element));
        } else {
            let update_id = self.update_id.number();
            on(Element::TooLarge { update_id, bytes: self.element_bytes });
        }
        self.element.clear();
        if self.element.capacity() > ELEMENT_BYTES_KEPT {
            self.element = Vec::new();
        }
        self.element_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_at(page: &[u8], cuts: &mut dyn FnMut() -> usize) -> (Vec<String>, String) {
        let mut splitter = PageSplitter::new();
        let mut elements = Vec::new();
        let mut rest = page;
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(cuts().clamp(1, rest.len()));
            rest = left;
            splitter
                .feed(piece, &mut |element| {
                    elements.push(match element {
                        Element::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                        Element::TooLarge { update_id, bytes } => format!("{update_id:?} {bytes}"),
                    });
                })
                .unwrap();
        }
        (elements, String::from_utf8(splitter.into_envelope()).unwrap())
    }

    fn split(page: &[u8], chunk: usize) -> (Vec<String>, String) {
        split_at(page, &mut || chunk)
    }

    const PAGE: &[u8] = br#" {"ok":true, "result" : [ {"update_id":1,"m":"]}\"[{\\"} , "{[", 7,
        {"update_id":2,"a":[{"b":[]}]},{}], "result2":[1], "x":"result", "parameters":{"result":[{}]}}"#;

    #[test]
    fn updates_come_out_whole_wherever_the_chunks_are_cut() {
        let want = split(PAGE, PAGE.len());
        assert_eq!(
            want.0,
            [r#"{"update_id":1,"m":"]}\"[{\\"}"#, r#"{"update_id":2,"a":[{"b":[]}]}"#, "{}"]
        );
        let envelope = crate::json::parse(want.1.as_bytes()).unwrap();
        assert_eq!(envelope.at("ok").bool(), Some(true));
        assert_eq!(envelope.at("x").str(), Some("result"));
        assert_eq!(envelope.at("parameters").at("result").list().count(), 1);
        for chunk in 1..PAGE.len() {
            assert_eq!(split(PAGE, chunk), want, "chunks of {chunk}");
            let mut first = chunk;
            let two = split_at(PAGE, &mut || std::mem::replace(&mut first, PAGE.len()));
            assert_eq!(two, want, "cut in two at {chunk}");
        }
    }

    #[test]
    fn made_up_updates_come_out_as_they_went_in() {
        let mut dice = crate::json::tests::Dice::new(7);
        for round in 0..200 {
            let updates: Vec<String> = (0..dice.below(5))
                .map(|_| format!(r#"{{"update_id":1,"v":{}}}"#, dice.json(4)))
                .collect();
            let list = updates.join(" ,\n");
            let page = match round % 2 {
                0 => format!(r#"{{"ok":true,"result":[{list}]}}"#),
                _ => format!(r#"{{"a":{},"result":[ {list} ],"ok":true}}"#, dice.json(3)),
            };
            let (elements, envelope) = split_at(page.as_bytes(), &mut || dice.below(20));
            assert_eq!(elements, updates, "{page}");
            assert!(crate::json::parse(envelope.as_bytes()).unwrap().at("ok").bool().is_some());
        }
    }

    #[test]
    fn an_error_is_all_envelope() {
        let pages: [&[u8]; 3] = [
            br#"{"ok":false,"error_code":409,"description":"result [1]"}"#,
            br#"{"ok":true,"result":{"result":[{}]}}"#,
            b"<html>[1]</html>",
        ];
        for page in pages {
            let (elements, envelope) = split(page, 7);
            assert!(elements.is_empty());
            assert_eq!(envelope.as_bytes(), page);
        }
    }

    #[test]
    fn an_oversized_update_is_passed_over_and_keeps_its_number_wherever_it_stands() {
        let big = "x".repeat(ELEMENT_BYTES_MAX);
        let lure = r#"{"update_id":66,"t":"update_id"}"#;
        let cases = [
            (format!(r#"{{"update_id":77,"t":"{big}"}}"#), "Some(77)"),
            (format!(r#"{{"t":"{big}","x":{lure},"update_id" : -77 }}"#), "Some(-77)"),
            (format!(r#"{{"t":"\"update_id\":66 {big}","l":[{lure}]}}"#), "None"),
        ];
        for (update, number) in cases {
            let page = format!(r#"{{"ok":true,"result":[{update},{{"update_id":78}}]}}"#);
            for chunk in [8_192, 997, page.len()] {
                let (elements, _) = split(page.as_bytes(), chunk);
                let size = update.len();
                assert_eq!(elements, [format!("{number} {size}"), r#"{"update_id":78}"#.into()]);
            }
        }
    }

    #[test]
    fn memory_stays_bounded_whatever_comes() {
        let deep = "[".repeat(64 * 1024);
        let mut splitter = PageSplitter::new();
        splitter.feed(br#"{"result":["#, &mut |_| {}).unwrap();
        for _ in 0..32 {
            assert!(splitter.feed(deep.as_bytes(), &mut |_| {}).is_ok());
            assert!(splitter.element.capacity() <= ELEMENT_BYTES_MAX);
        }
        let flood = "x".repeat(ENVELOPE_BYTES_MAX + 1);
        assert_eq!(
            PageSplitter::new().feed(flood.as_bytes(), &mut |_| {}),
            Err(PageError::EnvelopeTooLarge)
        );
    }
}
