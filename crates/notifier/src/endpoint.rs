//! Where to, and signed with what.

use crate::{filter::Filter, outcome::Schedule};
use bytes::Bytes;
use chassis::Findings;
use contract::Metadata;
use reqwest::header::HeaderValue;
use seal::StandardSecret;
use serde::Deserialize;
use std::time::Duration;
use tokio::net::TcpStream;
use url::Url;
use uuid::Uuid;

/// The longest that connecting may take when it is only looked at.
const PATIENCE: Duration = Duration::from_secs(5);

/// A receiver of notifications.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    name: String,
    /// Where it is; or why nothing can be sent there.
    url: Result<Url, String>,
    signers: Vec<Signer>,
    prefix: String,
    pub(crate) schedule: Schedule,
    pub(crate) filter: Filter,
    /// Whether somebody made it who may not reach what we can reach.
    pub(crate) guarded: bool,
}

/// A secret, and until when it signs (ms since the Unix epoch), if it was replaced.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) secret: StandardSecret,
    pub(crate) until: Option<i64>,
}

/// What must be known of a notification to send it; the rest is only carried.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

/// A request, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

// === impl Head ===

impl Head {
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint; its name is derived from the URL, so that it is the same after a restart. One that cannot be used is
    /// there all the same: what is for it waits until that is put right.
    pub(crate) fn new(url: &str, signers: Vec<Signer>, prefix: &str, schedule: Schedule) -> Self {
        let name = seal::digest(url.as_bytes()).chars().take(12).collect();
        let url = match url.parse::<Url>() {
            Ok(_) if signers.is_empty() => {
                Err("it has no secret (webhook.hmac_secret), and notifications are never sent unsigned".to_owned())
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            Ok(_) => Err("its URL (webhook.url) begins neither with https:// nor with http://".to_owned()),
            Err(error) => Err(format!("its URL (webhook.url) is none: {error}")),
        };
        Self {
            name,
            url,
            signers,
            schedule,
            prefix: prefix.to_owned(),
            filter: Filter::default(),
            guarded: false,
        }
    }

    /// The same as one that was made by the API: with a name of its own, and not trusted.
    pub(crate) fn made(self, name: &str, filter: Filter) -> Self {
        Self {
            name: name.to_owned(),
            filter,
            guarded: true,
            ..self
        }
    }

    /// One of which is kept what this version cannot read: what is for it waits.
    pub(crate) fn unreadable(name: &str, why: String) -> Self {
        Self {
            name: name.to_owned(),
            url: Err(why),
            signers: Vec::new(),
            prefix: String::new(),
            schedule: Schedule::Persistent,
            filter: Filter::default(),
            guarded: true,
        }
    }

    /// Why nothing can be sent there, if so.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.url.as_ref().err().map(String::as_str)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Host and port, for logs: the whole URL may hold a token.
    pub(crate) fn host(&self) -> &str {
        self.url.as_ref().ok().and_then(Url::host_str).unwrap_or_default()
    }

    /// Looks whether it can be connected to.
    pub(crate) async fn examine(&self, findings: &mut Findings) {
        let url = match &self.url {
            Ok(url) => url,
            Err(why) => {
                let cure = "put webhook.url (WEBHOOK_URL) or webhook.hmac_secret (WEBHOOK_HMAC_SECRET) right";
                return findings.doubtful("endpoint", format!("{}: {why}", self.name), cure);
            }
        };
        let (host, port) = (self.host(), url.port_or_known_default().unwrap_or_default());
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await;
        match connected.unwrap_or_else(|_elapsed| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(_) => findings.fine("endpoint", format!("{host}:{port}")),
            Err(error) => {
                let cure =
                    "start the receiver, or put webhook.url (WEBHOOK_URL) right; deliveries wait and are tried again";
                findings.doubtful("endpoint", format!("{host}:{port}: {error}"), cure);
            }
        }
    }

    /// Signs a notification at that time (seconds since the Unix epoch), by Standard Webhooks and in the older form.
    pub(crate) fn sign(&self, head: &Head, body: Bytes, at: i64, traceparent: Option<String>) -> Option<Signed> {
        let url = self.url.as_ref().ok()?.clone();
        let id = head.event_id.to_string();
        let signers: Vec<_> = self.signers.iter().filter(|signer| signer.signs(at)).collect();
        let signatures: Vec<_> = signers
            .iter()
            .map(|signer| signer.secret.sign(&id, at, &body))
            .collect();
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            (
                "user-agent".to_owned(),
                concat!("forge-notifier/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            ("webhook-id".to_owned(), id.clone()),
            ("webhook-timestamp".to_owned(), at.to_string()),
            ("webhook-signature".to_owned(), signatures.join(" ")),
            (format!("{}-Event-Id", self.prefix), id),
            (format!("{}-Event-Type", self.prefix), head.event_type.clone()),
        ];
        if let Some(signer) = signers.first() {
            headers.push((format!("{}-Signature", self.prefix), signer.secret.sign_body(&body)));
        }
        headers.extend(traceparent.map(|text| ("traceparent".to_owned(), text)));
        // Whoever wrote the notification may have written anything; what is no header stands in the body all the same.
        headers.retain(|(_, value)| HeaderValue::from_str(value).is_ok());
        Some(Signed { url, headers, body })
    }
}

// === impl Signer ===

impl Signer {
    /// Whether it signs at that time, in seconds since the Unix epoch.
    fn signs(&self, at: i64) -> bool {
        self.until.is_none_or(|until| until > at.saturating_mul(1000))
    }
}

impl From<StandardSecret> for Signer {
    fn from(secret: StandardSecret) -> Self {
        Self { secret, until: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(text: &str) -> Signer {
        Signer::from(text.parse::<StandardSecret>().unwrap())
    }

    #[test]
    fn a_delivery_is_signed_with_every_secret_and_in_the_older_form() {
        let mut ended = signer("ended");
        ended.until = Some(1_700_000_000_000);
        let signers = vec![signer("whsec_bmV3"), signer("old"), ended];
        let endpoint = Endpoint::new("http://127.0.0.1:9/x", signers, "X-Forge", Schedule::Short);
        let body =
            Bytes::from(r#"{"eventId":"0f0e0d0c-0b0a-4908-8706-050403020100","eventType":"build.failed","more":1}"#);
        let head = Head::read(&body).unwrap();
        let signed = endpoint.sign(&head, body, 1_700_000_000, None).unwrap();
        let header = |name: &str| {
            let found = signed.headers.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.as_str()).unwrap()
        };
        let key = seal::Key::new(b"new");
        let standard = key.seal(&[b"0f0e0d0c-0b0a-4908-8706-050403020100.1700000000.", &signed.body]);
        assert_eq!(
            header("webhook-signature").split(' ').next(),
            Some(format!("v1,{}", standard.base64()).as_str())
        );
        assert_eq!(header("webhook-signature").split(' ').count(), 2);
        assert_eq!(header("X-Forge-Signature"), key.seal(&[&signed.body]).hex());
        assert_eq!(header("X-Forge-Event-Type"), "build.failed");
    }

    #[test]
    fn what_is_no_header_is_left_out_and_the_rest_is_sent() {
        let endpoint = Endpoint::new("http://h/", vec![signer("s")], "X-Forge", Schedule::Short);
        let body = Bytes::from(r#"{"eventId":"0f0e0d0c-0b0a-4908-8706-050403020100","eventType":"build\nfailed"}"#);
        let head = Head::read(&body).unwrap();
        let signed = endpoint
            .sign(&head, body, 1_700_000_000, Some("00-\n".to_owned()))
            .unwrap();
        let names: Vec<_> = signed.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            names.contains(&"webhook-signature") && !names.contains(&"traceparent"),
            "{names:?}"
        );
        assert!(!names.contains(&"X-Forge-Event-Type"), "{names:?}");
    }

    #[test]
    fn an_endpoint_that_cannot_be_used_says_why_and_is_named_all_the_same() {
        for (url, secrets, why) in [
            ("nonsense", vec![signer("s")], "is none"),
            ("ftp://h/", vec![signer("s")], "https://"),
            ("https://h/", vec![], "never sent unsigned"),
        ] {
            let endpoint = Endpoint::new(url, secrets, "X-Forge", Schedule::Short);
            assert!(endpoint.broken().unwrap().contains(why), "{url}");
            assert_eq!(endpoint.name().len(), 12);
        }
        let good = Endpoint::new("http://h/", vec![signer("s")], "X", Schedule::Short);
        assert_eq!(good.broken(), None);
    }
}
