//! Owns: finding texts that have the shape of a secret, or are one of ours, and hiding them.
//! May not: know where a text comes from or goes.
//! Invariant: what is taken out lies inside one run of text that JSON writes as it is, so raw JSON
//! stays JSON and UTF-8 stays UTF-8. Linear time in the text.

use crate::types::Secret;

/// A configured secret shorter than this is not searched for: it would hide ordinary words.
const SECRET_BYTES_MIN: usize = 8;
/// What stands for the hidden part.
const ELLIPSIS: &str = "…";
/// Characters that stay visible (contract §5.6).
const SHOWN_CHARS: usize = 4;

/// Hides what has the shape of a secret; none, and no allocation, when there is nothing to hide.
/// Takes plain text or raw JSON.
pub fn mask(text: &str) -> Option<String> {
    hide(text, shapes(text))
}

/// [`mask`] that also knows the exact secrets of the settings.
#[derive(Clone)]
pub struct Masker {
    /// Each as it stands in plain text and, where that differs, in JSON.
    needles: Vec<Secret>,
    /// Which bytes a needle begins with.
    begins: [bool; 256],
}

impl Default for Masker {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Masker {
    /// Takes the secrets to look for; ones too short to be told from words are left out.
    pub fn new(secrets: &[&str]) -> Self {
        let mut needles = Vec::new();
        for secret in secrets.iter().filter(|secret| SECRET_BYTES_MIN <= secret.len()) {
            needles.push(Secret::new(*secret));
            if !is_plain(secret) {
                needles.push(Secret::new(secret.replace('\\', "\\\\").replace('"', "\\\"")));
            }
        }
        let mut begins = [false; 256];
        for byte in needles.iter().filter_map(|needle| needle.expose().bytes().next()) {
            if let Some(begins) = begins.get_mut(usize::from(byte)) {
                *begins = true;
            }
        }
        Self { needles, begins }
    }

    /// Hides shapes and exact secrets; none when there is nothing to hide.
    pub fn mask(&self, text: &str) -> Option<String> {
        let mut hits = shapes(text);
        // One walk for all of them: most bytes begin no secret.
        for (at, byte) in text.bytes().enumerate() {
            if !self.begins.get(usize::from(byte)).is_some_and(|begins| *begins) {
                continue;
            }
            let rest = text.get(at..).unwrap_or_default();
            let found = self.needles.iter().map(Secret::expose);
            hits.extend(found.filter(|needle| rest.starts_with(needle)).map(|needle| Hit {
                at,
                end: at + needle.len(),
                shown: is_plain(needle),
            }));
        }
        hide(text, hits)
    }
}

/// Whether JSON writes it as it is, so that it may be cut anywhere.
fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| c == '"' || c == '\\' || c.is_control())
}

/// A stretch to hide; `shown` = its last characters may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    at: usize,
    end: usize,
    shown: bool,
}

fn hide(text: &str, mut hits: Vec<Hit>) -> Option<String> {
    if hits.is_empty() {
        return None;
    }
    hits.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut hits = hits.into_iter().peekable();
    while let Some(mut hit) = hits.next() {
        while let Some(next) = hits.next_if(|next| next.at < hit.end) {
            hit = Hit { at: hit.at, end: hit.end.max(next.end), shown: hit.shown && next.shown };
        }
        out.push_str(text.get(copied..hit.at)?);
        out.push_str(ELLIPSIS);
        let secret = text.get(hit.at..hit.end)?;
        if hit.shown {
            let hidden = secret.chars().count().saturating_sub(SHOWN_CHARS);
            out.extend(secret.chars().skip(hidden));
        }
        copied = hit.end;
    }
    out.push_str(text.get(copied..)?);
    Some(out)
}

/// Every stretch that looks like a secret, in order, none overlapping.
fn shapes(text: &str) -> Vec<Hit> {
    let mut scan = Scan { bytes: text.as_bytes(), word: (0, 0), token: (0, None) };
    let mut hits = Vec::new();
    let mut at = 0;
    while let Some(byte) = scan.bytes.get(at).copied() {
        let end = match byte {
            b'A' => scan.prefixed(at, b"AIza", 30).or_else(|| scan.dotted(at)),
            b's' => scan.prefixed(at, b"sb_secret_", 10).or_else(|| scan.sk(at)),
            b'e' => scan.jwt(at),
            b'0'..=b'9' => {
                let digits = scan.count(at, |byte| byte.is_ascii_digit());
                match scan.bot_token(at, digits) {
                    Some(end) => Some(end),
                    None => {
                        at += digits;
                        continue;
                    }
                }
            }
            _ => None,
        };
        match end {
            Some(end) => {
                hits.push(Hit { at, end, shown: true });
                at = end;
            }
            None => at += 1,
        }
    }
    hits
}

/// Reads shapes; remembers where runs end, so that none is walked twice.
struct Scan<'a> {
    bytes: &'a [u8],
    /// The run of word bytes looked at last.
    word: (usize, usize),
    /// The end of the first run of the last would-be JWT, and where that token ends.
    token: (usize, Option<usize>),
}

impl Scan<'_> {
    fn count(&self, at: usize, kind: fn(&u8) -> bool) -> usize {
        self.bytes.get(at..).unwrap_or(&[]).iter().take_while(|byte| kind(byte)).count()
    }

    /// Where the run of `A-Za-z0-9_-` at this offset ends.
    fn word_end(&mut self, at: usize) -> usize {
        if !(self.word.0 <= at && at < self.word.1) {
            self.word = (at, at + self.count(at, is_word));
        }
        self.word.1
    }

    fn starts(&self, at: usize, prefix: &[u8]) -> bool {
        self.bytes.get(at..).is_some_and(|rest| rest.starts_with(prefix))
    }

    /// Whether a word begins here: also right after `\n` and its like, as JSON writes them.
    fn begins(&self, at: usize) -> bool {
        let back = |n: usize| at.checked_sub(n).and_then(|at| self.bytes.get(at)).copied();
        let escape = matches!(back(1), Some(b'n' | b'r' | b't')) && back(2) == Some(b'\\');
        escape || !back(1).is_some_and(|byte| is_word(&byte))
    }

    fn prefixed(&mut self, at: usize, prefix: &[u8], least: usize) -> Option<usize> {
        let body = at + prefix.len();
        self.starts(at, prefix).then(|| self.word_end(at)).filter(|end| body + least <= *end)
    }

    /// `AQ.` and a run: the newer Gemini keys.
    fn dotted(&mut self, at: usize) -> Option<usize> {
        let body = at + 3;
        (self.starts(at, b"AQ.") && self.begins(at))
            .then(|| body + self.count(body, is_word))
            .filter(|end| body + 20 <= *end)
    }

    /// `sk-` and a run with a digit in it, which `risk-` and long hyphened words have not.
    fn sk(&mut self, at: usize) -> Option<usize> {
        if !(self.starts(at, b"sk-") && self.begins(at)) {
            return None;
        }
        let end = self.prefixed(at, b"sk-", 20)?;
        self.bytes.get(at..end)?.iter().any(u8::is_ascii_digit).then_some(end)
    }

    /// Three runs with dots between them, the first beginning like `{"` in base64.
    fn jwt(&mut self, at: usize) -> Option<usize> {
        if !self.starts(at, b"eyJ") {
            return None;
        }
        let first = self.word_end(at);
        if self.token.0 != first {
            let second = first + 1 + self.count(first + 1, is_word);
            let third = second + 1 + self.count(second + 1, is_word);
            let dots =
                self.bytes.get(first) == Some(&b'.') && self.bytes.get(second) == Some(&b'.');
            let long = first + 9 <= second && second + 9 <= third;
            self.token = (first, (dots && long).then_some(third));
        }
        self.token.1.filter(|_| at + 11 <= first)
    }

    /// `123456:` and a run: a bot's token.
    fn bot_token(&mut self, at: usize, digits: usize) -> Option<usize> {
        let body = at + digits + 1;
        let colon = self.bytes.get(at + digits) == Some(&b':');
        (colon && (6..=12).contains(&digits))
            .then(|| body + self.count(body, is_word))
            .filter(|end| body + 30 <= *end)
    }
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::{Masker, mask};

    const RUN: &str = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-x9Zq";

    fn check(text: &str, masked: &str) {
        assert_eq!(mask(text).as_deref().unwrap_or(text), masked, "{text}");
    }

    #[test]
    fn every_shape_is_hidden_but_for_its_end() {
        check(&format!("t 123456789:{RUN}!"), "t …x9Zq!");
        check(&format!("https://h/bot123456789:{RUN}/getMe"), "https://h/bot…x9Zq/getMe");
        check(&format!("key=AIza{RUN}"), "key=…x9Zq");
        check(&format!("（AQ.{RUN}）"), "（…x9Zq）");
        check(&format!("sb_secret_{RUN} sk-{RUN}"), "…x9Zq …x9Zq");
        check("eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJlSGVyZQ.", "…VyZQ.");
    }

    #[test]
    fn raw_json_stays_json() {
        check(
            &format!(r#"{{"text":"\nAIza{RUN}\n\"sk-{RUN}\""}}"#),
            r#"{"text":"\n…x9Zq\n\"…x9Zq\""}"#,
        );
    }

    #[test]
    fn ordinary_words_stay() {
        for text in [
            "12:30, 1234567:short",
            "a risk-assessment-of-some-length-and-more",
            "task-0123456789012345678901234567",
            "the FAQ.abcdefghijklmnopqrstuvwxyz0",
            "AIza is a prefix",
            "eyJ.eyJ.eyJ",
            "eyJhbGciOiJIUzI1NiJ9.short.x",
            "1234567890123456:AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
        ] {
            assert_eq!(mask(text), None, "{text}");
        }
    }

    #[test]
    fn secrets_of_the_settings_are_hidden_whatever_their_shape() {
        let masker = Masker::new(&["correct horse 电池", "short", "quo\"te\\12345"]);
        let check =
            |text: &str, masked: &str| assert_eq!(masker.mask(text).as_deref(), Some(masked));
        check("is correct horse 电池!", "is …e 电池!");
        check(r#"{"t":"quo\"te\\12345"}"#, r#"{"t":"…"}"#);
        assert_eq!(masker.mask("short"), None);
    }

    #[test]
    fn floods_of_half_shapes_take_linear_time() {
        for unit in [
            "eyJ",
            "eyJ.",
            "AIz",
            "AQ.",
            "1:",
            "sk-",
            "sb_secret_",
            "AIza",
            "eyJaaaaaaaaa.eyJaaaaaaaaa.",
        ] {
            let flood = unit.repeat(1_000_000 / unit.len());
            // Quadratic work here would not end within the patience of any test run.
            let masked = mask(&flood);
            assert!(masked.is_none_or(|masked| masked.len() < flood.len()), "{unit}");
        }
    }
}
