//! Random tokens, digests, and comparing without telling how much was right.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};

/// A token of 256 random bits as URL-safe text; `None` when the system has no randomness to give.
pub fn token() -> Option<String> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256, as hexadecimal digits: what is stored in place of a token.
pub fn digest(bytes: &[u8]) -> String {
    crate::bytes_to_hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// SHA-256 of what comes in parts (FIPS 180-4).
#[derive(Clone)]
pub struct Digest(ring::digest::Context);

impl Digest {
    /// Takes the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all parts, as hexadecimal digits.
    pub fn hex(self) -> String {
        crate::bytes_to_hex(self.0.finish().as_ref())
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digest").finish_non_exhaustive()
    }
}

/// Whether two byte strings are equal, in time that depends on their lengths alone.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |differ, (x, y)| std::hint::black_box(differ | (x ^ y)))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_digests_follow_fips_180() {
        assert_ne!(token(), token());
        assert_eq!(
            digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let mut parts = Digest::default();
        parts.update(b"a");
        parts.update(b"bc");
        assert_eq!(parts.hex(), digest(b"abc"));
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"abc", b"ab"));
    }
}
