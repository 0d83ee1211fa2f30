//! Seals of outbound webhooks as the Standard Webhooks specification defines them.

use crate::Key;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::rand::SecureRandom as _;

/// A signing secret; `whsec_<base64>` as in the specification, or any other text as it is.
///
/// Source: Standard Webhooks 1.0, <https://www.standardwebhooks.com>.
///
/// # Examples
/// ```
/// let secret: seal::StandardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
/// assert_eq!(
///     secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
///     "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
/// );
/// # Ok::<(), seal::InvalidSecret>(())
/// ```
#[derive(Clone, Debug)]
pub struct StandardSecret {
    key: Key,
}

/// The text cannot be a signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected whsec_ and base64, or any other text that is not empty")]
#[non_exhaustive]
pub struct InvalidSecret;

// === impl StandardSecret ===

impl StandardSecret {
    /// A new secret of 256 random bits, as `whsec_<base64>`; `None` when the system has no randomness to give.
    pub fn random() -> Option<String> {
        let mut bytes = [0_u8; 32];
        ring::rand::SystemRandom::new().fill(&mut bytes).ok()?;
        Some(format!("whsec_{}", STANDARD.encode(bytes)))
    }

    /// The value of `webhook-signature` for a message; `at` is in seconds since the Unix epoch.
    pub fn sign(&self, id: &str, at: i64, body: &[u8]) -> String {
        self.seal(id, &at.to_string(), body)
    }

    fn seal(&self, id: &str, at: &str, body: &[u8]) -> String {
        let parts = [id.as_bytes(), b".", at.as_bytes(), b".", body];
        format!("v1,{}", self.key.seal(&parts).base64())
    }

    /// Whether one of the seals, as they stand in `webhook-signature`, is ours; in constant time for each.
    /// The caller checks the time.
    pub fn verify(&self, id: &str, at: &str, body: &[u8], seals: &str) -> bool {
        let ours = self.seal(id, at, body);
        seals
            .split(' ')
            .any(|seal| crate::same(seal.as_bytes(), ours.as_bytes()))
    }

    /// The hexadecimal seal of the body alone, for receivers of the older form.
    pub fn sign_body(&self, body: &[u8]) -> String {
        self.key.seal(&[body]).hex()
    }
}

impl std::str::FromStr for StandardSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let secret = match text.strip_prefix("whsec_") {
            Some(encoded) => STANDARD.decode(encoded).ok().ok_or(InvalidSecret)?,
            None => text.as_bytes().to_vec(),
        };
        if secret.is_empty() {
            Err(InvalidSecret)
        } else {
            Ok(Self { key: Key::new(&secret) })
        }
    }
}
