//! A secret that seals and checks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

/// A secret key for HMAC-SHA256. Its `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub struct Key(hmac::Key);

/// The authentication code of some bytes.
#[derive(Clone, Copy, Debug)]
pub struct Seal(hmac::Tag);

// === impl Key ===

impl Key {
    /// A key of any length; forges hand out text, which is taken as it is.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Seals the concatenation of the parts.
    pub fn seal(&self, parts: &[&[u8]]) -> Seal {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        Seal(context.sign())
    }

    /// Whether `seal` belongs to the concatenation of the parts, in constant time.
    pub fn verify(&self, parts: &[&[u8]], seal: &[u8]) -> bool {
        crate::same(self.seal(parts).0.as_ref(), seal)
    }
}

// === impl Seal ===

impl Seal {
    /// As lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        bytes_to_hex(self.0.as_ref())
    }

    /// As standard base64.
    pub fn base64(&self) -> String {
        STANDARD.encode(self.0.as_ref())
    }
}

/// Lower-case hexadecimal digits.
pub fn bytes_to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| DIGITS.get(usize::from(n)).copied().map(char::from);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .flatten()
        .collect()
}

/// The bytes of hexadecimal digits of either case; `None` if they are none.
pub fn hex_to_bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// Bytes as standard base64 (RFC 4648).
pub fn bytes_to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of standard base64 with padding; `None` if it is none.
pub fn base64_to_bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 1, 2 and 3.
    #[test]
    fn the_vectors_of_rfc_4231_hold() {
        let vectors: [(&[u8], &[u8], &str); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
        ];
        for (key, data, expected) in vectors {
            assert_eq!(Key::new(key).seal(&[data]).hex(), expected);
            assert!(Key::new(key).verify(&[data], &hex_to_bytes(expected).unwrap()));
        }
    }

    #[test]
    fn a_seal_of_other_bytes_length_or_key_is_refused() {
        let key = Key::new(b"k");
        let seal = hex_to_bytes(&key.seal(&[b"body"]).hex()).unwrap();
        assert!(key.verify(&[b"bo", b"dy"], &seal));
        assert!(!key.verify(&[b"bodY"], &seal));
        assert!(!Key::new(b"other").verify(&[b"body"], &seal));
        assert!(!key.verify(&[b"body"], &seal[..31]));
        assert!(!key.verify(&[b"body"], &[]));
    }

    #[test]
    fn only_whole_hexadecimal_digits_are_bytes() {
        assert_eq!(hex_to_bytes("00fF"), Some(vec![0, 255]));
        for bad in ["0", "0g", "é0", " 00"] {
            assert_eq!(hex_to_bytes(bad), None, "{bad}");
        }
    }
}
