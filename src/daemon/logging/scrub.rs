//! Owns: the masking of secrets in text (contract §5.6).
//! May not: print a secret, be skipped by any log line.

use crate::types::Secret;
use std::borrow::Cow;
use std::fmt;

/// A shorter secret would mask ordinary words; the settings refuse such ones where it matters.
const SECRET_CHARS_MIN: usize = 6;

/// Replaces every known secret by `…` and its last four characters.
#[derive(Default)]
pub struct Scrubber {
    /// (the secret in one of its spellings, what stands for it), longest first.
    masks: Vec<(String, String)>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} masks)", self.masks.len())
    }
}

impl Scrubber {
    /// Knows these secrets: as they are, percent-encoded as in a URL, and without the number that
    /// a bot token begins with.
    pub fn new(secrets: &[Secret]) -> Self {
        let mut masks = Vec::new();
        for secret in secrets {
            let mask = format!("…{}", secret.last4());
            let text = secret.expose();
            let mut add = |spelling: &str| {
                if spelling.chars().count() >= SECRET_CHARS_MIN {
                    masks.push((spelling.to_owned(), mask.clone()));
                }
            };
            add(text);
            add(&percent_encoded(text));
            if let Some((number, rest)) = text.split_once(':')
                && number.bytes().all(|byte| byte.is_ascii_digit())
            {
                add(rest);
            }
        }
        // A secret that is part of another must not leave the other's rest standing.
        masks.sort_by(|left, right| right.0.len().cmp(&left.0.len()).then(left.0.cmp(&right.0)));
        masks.dedup();
        Self { masks }
    }

    /// `text` without the secrets.
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for (secret, mask) in &self.masks {
            if text.contains(secret) {
                text = Cow::Owned(text.replace(secret, mask));
            }
        }
        text
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_secret_survives() {
        let secrets =
            ["123456:AbC-def_ghi", "AIzaSyLONG", "AIzaSyLONGER", "pw+with/signs", "abc", ""];
        let scrubber = Scrubber::new(&secrets.map(Secret::new));
        for (text, want) in [
            ("nothing here", "nothing here"),
            ("/bot123456:AbC-def_ghi/getMe", "/bot…_ghi/getMe"),
            ("bot123456%3AAbC-def_ghi", "bot…_ghi"),
            ("token AbC-def_ghi", "token …_ghi"),
            ("AIzaSyLONGER AIzaSyLONG", "…NGER …LONG"),
            ("p=pw%2Bwith%2Fsigns", "p=…igns"),
            ("abc is a word", "abc is a word"),
        ] {
            assert_eq!(scrubber.scrub(text), want);
        }
        assert_eq!(format!("{scrubber:?}").find("AIza"), None);
    }
}
