//! Owns: fingerprints of secrets, random bytes for codes, comparison in constant time.
//! May not: name any room but `types`; keep or print a secret.
//! Invariant: a fingerprint says nothing about the secret to whoever lacks the salt and the secret.

use crate::types::Secret;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use std::fmt::Write;

/// Bytes of a fingerprint: enough that fifty keys never collide.
pub const FINGERPRINT_BYTES: usize = 16;
/// Bytes of an installation's salt and of a pairing code (128 bits, contract §2).
pub const RANDOM_BYTES: usize = 16;

/// The operating system gave no randomness.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRandomness;

impl std::fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("random numbers: the operating system gives none: is /dev/urandom readable?")
    }
}

impl std::error::Error for NoRandomness {}

/// How a secret is known in the database: hex of the first 16 bytes of SHA-256 over salt and text.
pub fn fingerprint(salt: &str, secret: &Secret) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt.as_bytes());
    // A byte that no salt (hex) holds keeps salt and text apart.
    context.update(&[0]);
    context.update(secret.expose().as_bytes());
    let hash = context.finish();
    hex(hash.as_ref().get(..FINGERPRINT_BYTES).unwrap_or_default())
}

/// Fresh bytes of the operating system.
///
/// # Errors
/// The operating system has none.
pub fn random_bytes() -> Result<[u8; RANDOM_BYTES], NoRandomness> {
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Whether two texts are equal, in a time that tells nothing about where they differ.
pub fn equal(left: &str, right: &str) -> bool {
    // Comparing tags instead of texts hides the lengths too.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"svs-bot compare");
    hmac::verify(&key, right.as_bytes(), hmac::sign(&key, left.as_bytes()).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_salt_and_secret_and_nothing_else() {
        let of = |salt: &str, key: &str| fingerprint(salt, &Secret::new(key));
        assert_eq!(of("a", "key"), of("a", "key"));
        assert_ne!(of("a", "key"), of("b", "key"));
        assert_ne!(of("a", "key"), of("a", "kez"));
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("a", "key").len(), 2 * FINGERPRINT_BYTES);
        // SHA-256 of "s", NUL, "k", cut after 16 bytes.
        assert_eq!(of("s", "k"), "85e238288c85c3282f1ecb482daf3d8f");
    }

    #[test]
    fn random_bytes_do_not_repeat() {
        assert_ne!(random_bytes().unwrap(), random_bytes().unwrap());
    }

    #[test]
    fn texts_are_equal_only_when_every_byte_is() {
        for (left, right, want) in [
            ("", "", true),
            ("abc", "abc", true),
            ("abc", "abd", false),
            ("abc", "abcd", false),
            ("", "a", false),
        ] {
            assert_eq!(equal(left, right), want, "{left:?} {right:?}");
        }
    }
}
