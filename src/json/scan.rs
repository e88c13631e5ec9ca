//! Owns: a look at a document's shape before it is parsed, and the repair of lone surrogates.
//! May not: judge whether it is JSON.

/// What one pass over the bytes tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) depth: usize,
    pub(super) values: usize,
    pub(super) lone_surrogate: bool,
}

/// Reads the shape: brackets and commas outside strings, surrogate escapes inside them.
pub(super) fn scan(bytes: &[u8]) -> Shape {
    let mut shape = Shape { values: 1, ..Shape::default() };
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut high_open = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match (in_string, byte) {
            (true, b'\\') => match escape(bytes.get(at..).unwrap_or_default()) {
                Some(unit) => {
                    let (high, low) =
                        ((0xD800..0xDC00).contains(&unit), (0xDC00..0xE000).contains(&unit));
                    shape.lone_surrogate |= if low { !high_open } else { high_open };
                    high_open = high;
                    at += 5;
                }
                None => {
                    shape.lone_surrogate |= high_open;
                    high_open = false;
                    at += 1;
                }
            },
            (true, other) => {
                shape.lone_surrogate |= high_open;
                high_open = false;
                in_string = *other != b'"';
            }
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => {
                depth += 1;
                shape.values += 1;
                shape.depth = shape.depth.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (false, b',' | b':') => shape.values += 1,
            (false, _) => {}
        }
    }
    shape
}

/// Where the value ends with which `bytes` begin: behind its last quote or bracket, or where no scalar goes on. `None`
/// where there is none, it is cut, or `depth_max` brackets are open at once.
pub(super) fn end_of_value(bytes: &[u8], depth_max: usize) -> Option<usize> {
    let first = bytes.first()?;
    if !matches!(first, b'"' | b'{' | b'[') {
        let ends = |byte: &u8| {
            matches!(byte, b',' | b':' | b'}' | b']' | b'"') || byte.is_ascii_whitespace()
        };
        return Some(bytes.iter().position(ends).unwrap_or(bytes.len())).filter(|end| *end > 0);
    }
    // A bit for each open bracket, 1 for `{`: what closes must be what was opened.
    let (mut open, mut depth, mut in_string, mut escaped) = (0_u128, 0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => continue,
            b'{' | b'[' if depth >= depth_max => return None,
            b'{' | b'[' => {
                open = open << 1 | u128::from(*byte == b'{');
                depth += 1;
            }
            b'}' | b']' if (open & 1 == 1) != (*byte == b'}') => return None,
            b'}' | b']' => {
                open >>= 1;
                depth = depth.checked_sub(1)?;
            }
            _ => continue,
        }
        if depth == 0 && !in_string {
            return Some(at + 1);
        }
    }
    None
}

/// The UTF-16 unit of a `u` escape whose backslash was just read.
fn escape(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The same text with every surrogate escape that has no partner made U+FFFD.
pub(super) fn repair(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escaped) = rest.split_at(at);
        out.push_str(before);
        let after = escaped.strip_prefix('\\').unwrap_or_default();
        let length = match escape(after.as_bytes()) {
            Some(unit) if (0xD800..0xDC00).contains(&unit) => {
                let next = after.get(5..).and_then(|next| next.strip_prefix('\\'));
                let low = next.and_then(|next| escape(next.as_bytes()));
                if low.is_some_and(|low| (0xDC00..0xE000).contains(&low)) { 12 } else { 0 }
            }
            Some(unit) if (0xDC00..0xE000).contains(&unit) => 0,
            Some(_) => 6,
            // An escaped character is passed over whole, so that `\\u` is not taken for an escape.
            None => 1 + after.chars().next().map_or(0, char::len_utf8),
        };
        if length == 0 {
            out.push_str("\\ufffd");
        }
        let (kept, left) = escaped.split_at(if length == 0 { 6 } else { length });
        if length != 0 {
            out.push_str(kept);
        }
        rest = left;
    }
    out.push_str(rest);
    out
}
