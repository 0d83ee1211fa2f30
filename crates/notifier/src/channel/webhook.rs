//! A signed webhook, by Standard Webhooks (<https://www.standardwebhooks.com>) and in the form of older senders.

use super::Telling;
use crate::{
    client::{self, Request},
    endpoint::Head,
    outcome::Reply,
};
use bytes::Bytes;
use reqwest::{Method, header::HeaderValue};
use seal::StandardSecret;
use url::Url;

/// A receiver of webhooks.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    url: Url,
    signers: Vec<Signer>,
    prefix: String,
}

/// A secret, and until when it signs (ms since the Unix epoch), if it was replaced.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) secret: StandardSecret,
    pub(crate) until: Option<i64>,
}

// === impl Webhook ===

impl Webhook {
    /// # Errors
    /// Why nothing can be sent there.
    pub(crate) fn new(url: &str, signers: Vec<Signer>, prefix: &str) -> Result<Self, String> {
        let url = match url.parse::<Url>() {
            Ok(_) if signers.is_empty() => {
                return Err(
                    "it has no secret (webhook.hmac_secret), and notifications are never sent unsigned".to_owned(),
                );
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            Ok(_) => return Err("its URL (webhook.url) begins neither with https:// nor with http://".to_owned()),
            Err(error) => return Err(format!("its URL (webhook.url) is none: {error}")),
        };
        let prefix = prefix.to_owned();
        Ok(Self { url, signers, prefix })
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    pub(super) async fn tell(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let (body, traceparent) = (telling.payload.clone(), telling.traceparent.clone());
        let signed = self.sign(telling.head, body, telling.now, traceparent);
        Ok(client::exchange(telling.client, signed).await?.into())
    }

    /// Signs a notification at that time (seconds since the Unix epoch).
    fn sign(&self, head: &Head, body: Bytes, at: i64, traceparent: Option<String>) -> Request {
        let id = head.event_id.to_string();
        let signers: Vec<_> = self.signers.iter().filter(|signer| signer.signs(at)).collect();
        let signatures: Vec<_> = signers
            .iter()
            .map(|signer| signer.secret.sign(&id, at, &body))
            .collect();
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), client::AGENT.to_owned()),
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
        let url = self.url.clone();
        Request {
            method: Method::POST,
            url,
            headers,
            body,
            patience: client::WHOLE,
            most_read: client::MOST_READ,
        }
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
        let webhook = Webhook::new("http://127.0.0.1:9/x", signers, "X-Forge").unwrap();
        let body =
            Bytes::from(r#"{"eventId":"0f0e0d0c-0b0a-4908-8706-050403020100","eventType":"build.failed","more":1}"#);
        let head = Head::read(&body).unwrap();
        let signed = webhook.sign(&head, body, 1_700_000_000, None);
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
        let webhook = Webhook::new("http://h/", vec![signer("s")], "X-Forge").unwrap();
        let body = Bytes::from(r#"{"eventId":"0f0e0d0c-0b0a-4908-8706-050403020100","eventType":"build\nfailed"}"#);
        let head = Head::read(&body).unwrap();
        let signed = webhook.sign(&head, body, 1_700_000_000, Some("00-\n".to_owned()));
        let names: Vec<_> = signed.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            names.contains(&"webhook-signature") && !names.contains(&"traceparent"),
            "{names:?}"
        );
        assert!(!names.contains(&"X-Forge-Event-Type"), "{names:?}");
    }

    #[test]
    fn what_cannot_be_sent_to_says_why() {
        for (url, secrets, why) in [
            ("nonsense", vec![signer("s")], "is none"),
            ("ftp://h/", vec![signer("s")], "https://"),
            ("https://h/", vec![], "never sent unsigned"),
        ] {
            assert!(
                Webhook::new(url, secrets, "X-Forge").unwrap_err().contains(why),
                "{url}"
            );
        }
    }
}
