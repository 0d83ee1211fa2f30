//! How a delivery proves that it comes from the forge.

use seal::{Key, StandardSecret};

/// What a delivery carries to prove itself.
#[derive(Debug)]
pub(crate) enum Proof {
    /// HMAC-SHA256 of the body.
    Seal(Vec<u8>),
    /// The secret itself.
    Token(Vec<u8>),
    /// The Standard Webhooks form: seals of id, time and body.
    Standard { id: String, at: String, seals: String },
}

/// A secret in every form in which a forge may use it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    key: Key,
    token: chassis::Secret,
    standard: Option<StandardSecret>,
}

/// How far the time of a delivery may be from ours, in seconds (Standard Webhooks 1.0).
const APART: u64 = 300;

// === impl Proof ===

impl Proof {
    /// From hexadecimal digits; `None` when they are none of a SHA-256.
    pub(crate) fn seal(hex: &str) -> Option<Self> {
        let bytes = seal::hex_to_bytes(hex).filter(|bytes| bytes.len() == 32)?;
        Some(Self::Seal(bytes))
    }

    /// Whether this secret made it, in time that tells nothing about the secret.
    pub(crate) fn is_by(&self, known: &Known, body: &[u8], now_ms: i64) -> bool {
        match self {
            Self::Seal(seal) => known.key.verify(&[body], seal),
            Self::Token(token) => seal::same(token, known.token.expose().as_bytes()),
            Self::Standard { id, at, seals } => {
                let recent = at.parse::<i64>().is_ok_and(|at| (now_ms / 1_000).abs_diff(at) <= APART);
                recent
                    && known
                        .standard
                        .as_ref()
                        .is_some_and(|secret| secret.verify(id, at, body, seals))
            }
        }
    }

    /// What is the same for the same bytes under another delivery id. GitLab's bodies have nothing in them that
    /// tells one push from the same push later, so they have none.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        match self {
            Self::Seal(seal) => Some(seal::bytes_to_hex(seal)),
            Self::Token(_) | Self::Standard { .. } => None,
        }
    }
}

// === impl Known ===

impl Known {
    /// `None` for an empty secret, which would let everybody in.
    pub(crate) fn new(secret: &chassis::Secret) -> Option<Self> {
        let text = secret.expose();
        (!text.is_empty()).then(|| Self {
            key: Key::new(text.as_bytes()),
            token: secret.clone(),
            standard: text.parse().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Known {
        Known::new(&text.parse().unwrap()).unwrap()
    }

    /// GitHub's "Validating webhook deliveries".
    #[test]
    fn the_vector_of_github_holds() {
        let proof = Proof::seal("757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17").unwrap();
        let secret = known("It's a Secret to Everybody");
        assert!(proof.is_by(&secret, b"Hello, World!", 0));
        assert!(!proof.is_by(&secret, b"Hello, World?", 0));
        assert!(!proof.is_by(&known("It's a Secret to Nobody"), b"Hello, World!", 0));
    }

    #[test]
    fn a_seal_of_other_length_is_none() {
        for text in ["", "00", "zz", &"0".repeat(62), &"0".repeat(66)] {
            assert!(Proof::seal(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_must_be_the_whole_secret() {
        let proof = |text: &str| Proof::Token(text.as_bytes().to_vec());
        assert!(proof("s3cret").is_by(&known("s3cret"), b"", 0));
        for wrong in ["", "s3cre", "s3crets", "S3CRET"] {
            assert!(!proof(wrong).is_by(&known("s3cret"), b"", 0), "{wrong}");
        }
    }

    /// The specification's own vector.
    #[test]
    fn the_standard_form_holds_for_five_minutes() {
        let proof = Proof::Standard {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            at: "1614265330".to_owned(),
            seals: "v2,xx v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
        };
        let (secret, body) = (
            known("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            br#"{"test": 2432232314}"#,
        );
        let at = |seconds: i64| proof.is_by(&secret, body, (1_614_265_330 + seconds) * 1_000);
        assert!(at(0) && at(300) && at(-300));
        assert!(!at(301) && !at(-301));
        assert!(!proof.is_by(&secret, b"{}", 1_614_265_330_000));
    }
}
