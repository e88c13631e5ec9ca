//! Owns: a reply of getUpdates split into its updates while it comes in.
//! May not: hold more than one update and a small envelope, or read what is inside.

use std::fmt;

/// Bytes of one update that are held; Telegram's largest real ones are a few tens of KiB.
pub(super) const ELEMENT_BYTES_MAX: usize = 512 * 1024;
/// Bytes of everything beside the updates.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an oversized update in which its number is looked for.
const HEAD_BYTES: usize = 512;

/// One element of `result`.
#[derive(Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// All its bytes.
    Whole(&'a [u8]),
    /// Larger than the bound of one update, passed over.
    TooLarge {
        /// Its number, where it stands near the beginning (Telegram writes it first).
        update_id: Option<i64>,
        /// Its size so far as known.
        bytes: usize,
    },
}

impl Element<'_> {
    /// How much it weighs for the bound of a page.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::TooLarge { .. } => HEAD_BYTES,
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

/// Fed with chunks of any size; hands each update over as it is complete. Everything but the elements
/// of the top-level `result` list is kept as the envelope, the list itself as `[]`.
#[derive(Debug, Default)]
pub struct PageSplitter {
    envelope: Vec<u8>,
    element: Vec<u8>,
    /// Bytes of the current element, those not held included.
    element_bytes: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last complete string at depth 1, to know the key `result`.
    key: Vec<u8>,
    key_is_open: bool,
    after_result_key: bool,
    in_result: bool,
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
        for byte in chunk {
            self.byte(*byte, on)?;
        }
        Ok(())
    }

    /// All that was not an update.
    #[must_use]
    pub fn into_envelope(self) -> Vec<u8> {
        self.envelope
    }

    fn byte(&mut self, byte: u8, on: &mut dyn FnMut(Element<'_>)) -> Result<(), PageError> {
        if self.in_result
            && (self.depth > 2 || matches!(byte, b'{' | b'['))
            && !self.ends_list(byte)
        {
            self.hold(byte);
            self.track(byte);
            if self.depth == 2 {
                self.hand_over(on);
            }
            return Ok(());
        }
        let was_string = self.in_string;
        self.track(byte);
        self.watch_for_result(byte, was_string);
        // Blanks and commas between updates say nothing.
        if !self.in_result || byte == b'[' {
            if self.envelope.len() >= ENVELOPE_BYTES_MAX {
                return Err(PageError::EnvelopeTooLarge);
            }
            self.envelope.push(byte);
        }
        Ok(())
    }

    fn ends_list(&self, byte: u8) -> bool {
        self.depth == 2 && byte == b']' && !self.in_string
    }

    fn hold(&mut self, byte: u8) {
        self.element_bytes += 1;
        if self.element_bytes <= ELEMENT_BYTES_MAX {
            self.element.push(byte);
        } else if self.element_bytes == ELEMENT_BYTES_MAX + 1 {
            self.element.truncate(HEAD_BYTES);
            self.element.shrink_to_fit();
        }
    }

    fn hand_over(&mut self, on: &mut dyn FnMut(Element<'_>)) {
        if self.element_bytes <= ELEMENT_BYTES_MAX {
            on(Element::Whole(&self.element));
        } else {
            let update_id = number_after(&self.element, b"\"update_id\"");
            on(Element::TooLarge { update_id, bytes: self.element_bytes });
        }
        self.element.clear();
        self.element_bytes = 0;
    }

    fn track(&mut self, byte: u8) {
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
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn watch_for_result(&mut self, byte: u8, was_string: bool) {
        if self.in_result {
            // Back at depth 1: the list has ended.
            if self.depth == 1 {
                self.in_result = false;
                self.key.clear();
            }
            return;
        }
        if self.depth == 1 && !was_string && self.in_string {
            self.key.clear();
            self.key_is_open = true;
        } else if self.key_is_open && was_string && self.in_string {
            if self.key.len() < 16 {
                self.key.push(byte);
            }
        } else if self.key_is_open && was_string {
            self.key_is_open = false;
        } else if self.depth == 1 && byte == b':' {
            self.after_result_key = self.key == b"result";
        } else if self.after_result_key && self.depth == 2 && byte == b'[' {
            self.after_result_key = false;
            self.in_result = true;
        } else if !byte.is_ascii_whitespace() {
            self.after_result_key = false;
        }
    }
}

/// The whole number that follows the first `key` in these bytes, for documents that cannot be parsed.
#[must_use]
pub fn number_after(bytes: &[u8], key: &[u8]) -> Option<i64> {
    let at = bytes.windows(key.len()).position(|window| window == key)?;
    let rest = bytes.get(at + key.len()..)?;
    let digits: Vec<u8> = rest
        .iter()
        .copied()
        .skip_while(|byte| byte.is_ascii_whitespace() || *byte == b':')
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'-')
        .collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(page: &[u8], chunk: usize) -> (Vec<String>, String) {
        let mut splitter = PageSplitter::new();
        let mut elements = Vec::new();
        for piece in page.chunks(chunk.max(1)) {
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

    #[test]
    fn updates_come_out_whole_wherever_the_chunks_are_cut() {
        let page = br#" {"ok":true, "result" : [ {"update_id":1,"m":"]}\"[{"} ,
            {"update_id":2,"a":[{"b":[]}]},{}], "result2":[1], "x":"result"}"#;
        let want = split(page, page.len());
        assert_eq!(
            want.0,
            [r#"{"update_id":1,"m":"]}\"[{"}"#, r#"{"update_id":2,"a":[{"b":[]}]}"#, "{}"]
        );
        let envelope = crate::json::parse(want.1.as_bytes()).unwrap();
        assert_eq!(envelope.at("ok").bool(), Some(true));
        assert_eq!(envelope.at("x").str(), Some("result"));
        for chunk in 1..page.len() {
            assert_eq!(split(page, chunk), want, "chunks of {chunk}");
        }
    }

    #[test]
    fn an_error_is_all_envelope() {
        let page = br#"{"ok":false,"error_code":409,"description":"result [1]"}"#;
        let (elements, envelope) = split(page, 7);
        assert!(elements.is_empty());
        assert_eq!(envelope.as_bytes(), page);
    }

    #[test]
    fn an_oversized_update_is_passed_over_and_keeps_its_number() {
        let big = "x".repeat(ELEMENT_BYTES_MAX);
        let page = format!(
            r#"{{"ok":true,"result":[{{"update_id":77,"t":"{big}"}},{{"update_id":78}}]}}"#
        );
        let (elements, _) = split(page.as_bytes(), 8_192);
        let size = ELEMENT_BYTES_MAX + r#"{"update_id":77,"t":""}"#.len();
        assert_eq!(elements, [format!("Some(77) {size}"), r#"{"update_id":78}"#.to_owned()]);
    }

    #[test]
    fn depth_costs_nothing_and_a_flood_beside_the_updates_is_refused() {
        let deep = format!(r#"{{"result":[{}]}}"#, "[".repeat(2_000_000));
        let mut splitter = PageSplitter::new();
        assert!(splitter.feed(deep.as_bytes(), &mut |_| {}).is_ok());
        let flood = "x".repeat(ENVELOPE_BYTES_MAX + 1);
        assert_eq!(
            PageSplitter::new().feed(flood.as_bytes(), &mut |_| {}),
            Err(PageError::EnvelopeTooLarge)
        );
    }
}
