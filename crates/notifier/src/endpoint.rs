//! Where to, and signed with what.

use chassis::Findings;
use contract::{EndpointDelivery, Message as _};
use seal::StandardSecret;
use std::time::Duration;
use tokio::net::TcpStream;
use url::Url;

/// The longest that connecting may take when it is only looked at.
const PATIENCE: Duration = Duration::from_secs(5);

/// A receiver of notifications.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    name: String,
    url: Url,
    secrets: Vec<StandardSecret>,
    prefix: String,
}

/// A request, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint; its name is derived from the URL, so that it is the same after a restart.
    pub(crate) fn new(url: Url, secrets: Vec<StandardSecret>, prefix: &str) -> Self {
        let name = seal::digest(url.as_str().as_bytes()).chars().take(12).collect();
        Self {
            name,
            url,
            secrets,
            prefix: prefix.to_owned(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Host and port, for logs: the whole URL may hold a token.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Looks whether it can be connected to.
    pub(crate) async fn examine(&self, findings: &mut Findings) {
        let (host, port) = (
            self.host().to_owned(),
            self.url.port_or_known_default().unwrap_or_default(),
        );
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await;
        match connected.unwrap_or_else(|_elapsed| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(_) => findings.fine("endpoint", format!("{host}:{port}")),
            Err(error) => {
                let cure =
                    "start the receiver, or put webhook.url (WEBHOOK_URL) right; deliveries wait and are tried again";
                findings.doubtful("endpoint", format!("{host}:{port}: {error}"), cure);
            }
        }
    }

    /// Signs a delivery at that time (seconds since the Unix epoch), by Standard Webhooks and in the
    /// older form.
    pub(crate) fn sign(&self, delivery: &EndpointDelivery, at: i64, traceparent: Option<String>) -> Option<Signed> {
        let notification = &delivery.notification;
        let body = notification.to_json().ok()?;
        let id = notification.event_id.to_string();
        let signatures: Vec<_> = self
            .secrets
            .iter()
            .map(|secret| secret.sign(&id, at, body.as_bytes()))
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
            (format!("{}-Event-Type", self.prefix), notification.event_type.clone()),
        ];
        if let Some(secret) = self.secrets.first() {
            headers.push((format!("{}-Signature", self.prefix), secret.sign_body(body.as_bytes())));
        }
        headers.extend(traceparent.map(|text| ("traceparent".to_owned(), text)));
        Some(Signed {
            url: self.url.clone(),
            headers,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Notification, Resource, Timestamp};

    #[test]
    fn a_delivery_is_signed_with_every_secret_and_in_the_older_form() {
        let secrets = vec!["whsec_bmV3".parse().unwrap(), "old".parse().unwrap()];
        let endpoint = Endpoint::new("http://127.0.0.1:9/x".parse().unwrap(), secrets, "X-Forge");
        let resource = Resource {
            kind: "Build".into(),
            api_version: "forge/v1".into(),
            name: "n".into(),
            namespace: "o/r".into(),
            uid: "u".into(),
        };
        let event_id = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().unwrap();
        let notification = Notification::new(event_id, "build.failed", Timestamp::from_millis(0), resource);
        let signed = endpoint
            .sign(
                &EndpointDelivery::new(endpoint.name(), notification),
                1_700_000_000,
                None,
            )
            .unwrap();
        let header = |name: &str| {
            signed
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
                .unwrap()
        };
        let key = seal::Key::new(b"new");
        let standard = key.seal(&[
            b"0f0e0d0c-0b0a-4908-8706-050403020100.1700000000.",
            signed.body.as_bytes(),
        ]);
        assert_eq!(
            header("webhook-signature").split(' ').next(),
            Some(format!("v1,{}", standard.base64()).as_str())
        );
        assert_eq!(header("webhook-signature").split(' ').count(), 2);
        assert_eq!(header("X-Forge-Signature"), key.seal(&[signed.body.as_bytes()]).hex());
        assert_eq!(header("X-Forge-Event-Type"), "build.failed");
    }
}
