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
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"abc", b"ab"));
    }
}
