//! Owns: a delivery's body → one update, or the reason why it is none.
//! May not: hold more than [`BYTES_MAX`] bytes of it, whatever its size.

use crate::daemon::event::Fetched;
use crate::daemon::workers::fetched;
use crate::json::{Element, PageSplitter};
use crate::types::UpdateId;
use ring::digest::{Context, SHA256};

/// Bytes of an update that is read; larger ones are set aside by their number, as when polling.
pub(super) const BYTES_MAX: usize = 512 * 1_024;

/// Takes a body in pieces.
pub(super) enum Reader {
    /// All of it is held.
    Whole(Vec<u8>),
    /// It is too long for that.
    Large(Box<Large>),
}

/// A body of which only the number is looked for, as if it were a page with one update.
pub(super) struct Large {
    splitter: PageSplitter,
    found: Option<Fetched>,
    hash: Context,
    bytes: usize,
}

impl Reader {
    /// For a body of that length.
    pub(super) fn new(length: usize) -> Self {
        if length <= BYTES_MAX {
            return Self::Whole(Vec::with_capacity(length));
        }
        let mut splitter = PageSplitter::new();
        // The frame of a page is always read.
        let _ = splitter.feed(b"{\"ok\":true,\"result\":[", &mut |_| {});
        Self::Large(Box::new(Large {
            splitter,
            found: None,
            hash: Context::new(&SHA256),
            bytes: 0,
        }))
    }

    /// The next piece.
    pub(super) fn take(&mut self, piece: &[u8]) {
        match self {
            Self::Whole(bytes) => bytes.extend_from_slice(piece),
            Self::Large(large) => large.take(piece),
        }
    }

    /// The body, where it is held.
    #[cfg(feature = "redis")]
    pub(super) fn body(&self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes.clone(),
            Self::Large(_) => Vec::new(),
        }
    }

    /// The update, or what stands for it: Telegram repeats what is not taken for as long as a day.
    pub(super) fn finish(self) -> Fetched {
        match self {
            Self::Whole(bytes) => fetched(&Element::Whole(&bytes)).unwrap_or_else(|| {
                let mut hash = Context::new(&SHA256);
                hash.update(&bytes);
                let raw = String::from_utf8_lossy(&bytes).into_owned();
                nameless(hash, "no update: it has no number".to_owned(), raw)
            }),
            Self::Large(large) => {
                let Large { found, hash, bytes, .. } = *large;
                found.unwrap_or_else(|| {
                    let why = format!("no update: {bytes} bytes without a number");
                    nameless(hash, why, String::new())
                })
            }
        }
    }
}

impl Large {
    fn take(&mut self, piece: &[u8]) {
        self.bytes += piece.len();
        self.hash.update(piece);
        let found = &mut self.found;
        // What is no page of updates leaves no update.
        let _ = self.splitter.feed(piece, &mut |element| {
            if found.is_none() {
                *found = fetched(&element);
            }
        });
    }
}

/// Known by its bytes, so that a repetition is known too; Telegram's own numbers are positive.
fn nameless(hash: Context, why: String, raw: String) -> Fetched {
    let hash = hash.finish();
    let number = hash.as_ref().iter().take(8).fold(0_i64, |all, byte| all << 8 | i64::from(*byte));
    Fetched { id: UpdateId(-1 - (number & i64::MAX)), incoming: Err(why), raw }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Fetched {
        let mut reader = Reader::new(body.len());
        for piece in body.as_bytes().chunks(8 * 1_024) {
            reader.take(piece);
        }
        reader.finish()
    }

    #[test]
    fn every_body_becomes_one_update_or_one_reason() {
        let long = "x".repeat(BYTES_MAX + 1);
        let large = format!(r#"{{"message":{{"text":"{long}"}},"update_id":8}}"#);
        let large_nameless = format!(r#"{{"message":{{"text":"{long}"}}}}"#);
        for (body, id, why) in [
            (r#"{"update_id":7,"poll":{}}"#, Some(7), None),
            (r#"{"update_id":7}  "#, Some(7), None),
            (r#"{"update_id":9,"message":5}"#, Some(9), Some("")),
            ("", None, Some("no number")),
            ("[]", None, Some("no number")),
            ("not JSON", None, Some("no number")),
            (r#"{"update_id":1},{"update_id":2}"#, Some(1), Some("")),
            (&large, Some(8), Some("larger")),
            (&large_nameless, None, Some("without a number")),
            (&long, None, Some("without a number")),
        ] {
            let shown: String = body.chars().take(60).collect();
            let got = read(body);
            match id {
                Some(id) => assert_eq!(got.id, UpdateId(id), "{shown}"),
                None => {
                    assert!(got.id.0 < 0, "{shown}");
                    assert_eq!(read(body).id, got.id, "{shown}");
                }
            }
            match why {
                None => assert!(got.incoming.is_ok(), "{shown}: {:?}", got.incoming),
                Some(why) => {
                    assert!(got.incoming.is_err_and(|got| got.contains(why)), "{shown}");
                }
            }
        }
        assert_ne!(read("a").id, read("b").id);
    }
}
