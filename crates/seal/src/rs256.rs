//! JSON Web Tokens signed with RSA (RFC 7515; RFC 7518, section 3.3).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use std::fmt;

/// A private key that signs.
pub struct SigningKey(RsaKeyPair);

/// The text is no private key of RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a private RSA key of 2,048 bits or more, as PEM")]
pub struct InvalidKey;

/// How every such token begins.
const HEAD: &[u8] = br#"{"alg":"RS256","typ":"JWT"}"#;
/// In seconds.
const APP_GOOD_FOR: i64 = 300;
const APP_SKEW: i64 = 60;

// === impl SigningKey ===

impl SigningKey {
    /// A key as PEM (RFC 7468), PKCS #1 or PKCS #8.
    ///
    /// # Errors
    /// When it is none, or one of less than 2,048 bits.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_not_pem| InvalidKey)?;
        let pair = match &key {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(_) | _ => return Err(InvalidKey),
        };
        pair.map(Self).map_err(|_rejected| InvalidKey)
    }

    /// What a GitHub App says who it is by, to ask for tokens of its installations: good for five minutes from `now`, in
    /// seconds since the Unix epoch, where GitHub takes ten at most, and begun a minute ago, as it advises for clocks that
    /// are not together. `None` when the system has no randomness to give.
    ///
    /// <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app>
    pub fn app_token(&self, app: &str, now: i64) -> Option<String> {
        let claims = serde_json::json!({"iss": app, "iat": now - APP_SKEW, "exp": now + APP_GOOD_FOR});
        self.token(&claims.to_string())
    }

    /// A token that says this, which is JSON; `None` when the system has no randomness to give.
    fn token(&self, claims: &str) -> Option<String> {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let said = format!("{}.{}", encode(HEAD), encode(claims.as_bytes()));
        let mut signature = vec![0; self.0.public().modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(&RSA_PKCS1_SHA256, &random, said.as_bytes(), &mut signature)
            .ok()?;
        Some(format!("{said}.{}", encode(&signature)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use std::process::Command;

    fn pem(more: &[&str]) -> String {
        let output = Command::new("openssl").arg("genrsa").args(more).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_token_is_signed_by_its_key() {
        for pem in [pem(&["-traditional", "2048"]), pem(&["2048"])] {
            let key = SigningKey::from_pem(&pem).unwrap();
            let token = key.token(r#"{"iss":"1"}"#).unwrap();
            let (said, signature) = token.rsplit_once('.').unwrap();
            let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.0.public().as_ref().to_vec());
            public.verify(said.as_bytes(), &signature).unwrap();
            public.verify(b"something else", &signature).unwrap_err();
            let (head, claims) = said.split_once('.').unwrap();
            assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(head).unwrap(), HEAD);
            assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap(), br#"{"iss":"1"}"#);
        }
    }

    #[test]
    fn an_app_says_who_it_is_for_less_than_ten_minutes() {
        let key = SigningKey::from_pem(&pem(&["2048"])).unwrap();
        let token = key.app_token("Iv1.\"x", 1_700_000_000).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        let expected = serde_json::json!({"iss": "Iv1.\"x", "iat": 1_699_999_940, "exp": 1_700_000_300});
        assert_eq!(claims, expected);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in [
            "",
            "a key",
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            assert_eq!(SigningKey::from_pem(bad).unwrap_err(), InvalidKey, "{bad}");
        }
        assert_eq!(SigningKey::from_pem(&pem(&["1024"])).unwrap_err(), InvalidKey);
    }
}
