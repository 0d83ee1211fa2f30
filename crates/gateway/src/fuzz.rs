//! What reads strangers' bytes, opened for `crates/gateway/fuzz` and for nobody else.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how something broken is told"
)]

use crate::{
    address::{self, Cidr, Networks},
    json, provider,
    secrets::Secrets,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use chassis::Secret;
use contract::{DeliveryId, Message as _, Provider, Timestamp, WebhookDelivery};

/// Reads a body as an event of a forge. The first byte chooses the forge, the first line names the event.
pub fn body(data: &[u8]) {
    let Some((provider, data)) = provider_of(data) else {
        return;
    };
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (event, body) = data.split_at(line);
    if let Ok(event) = str::from_utf8(event) {
        read(provider, event, body);
    }
}

/// Whatever goes on must come out of a list as it went in.
fn read(provider: Provider, event: &str, body: &[u8]) {
    let name = provider::owner_or_repository(provider, body);
    let Ok(text) = std::str::from_utf8(body) else {
        return; // As the gateway does.
    };
    scan(text);
    provider::wants_what_it_reads(provider, event, text);
    let Ok(provider::Reading::Relevant(relevant)) = provider::read(provider, event, text) else {
        return;
    };
    let mut begun = Some(relevant.begun);
    let id: DeliveryId = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().expect("an id");
    for found in relevant.events {
        let at = Timestamp::from_millis(0);
        let mut webhook = WebhookDelivery::new(id.clone(), provider, event, at, found.source, String::new());
        if let Some(repository) = &found.repository {
            assert_eq!(
                name.as_deref(),
                Some(repository.full_name.as_str()),
                "secrets are chosen by the same name"
            );
        }
        webhook.action = found.action;
        webhook.repository = found.repository;
        webhook.sender = found.sender;
        let first = begun.take();
        let expected = if first.is_some() { text } else { "" };
        let begun = first.unwrap_or_else(|| WebhookDelivery::BEGINNING.into());
        let message = webhook.finish(begun).expect("a message is JSON");
        let read = WebhookDelivery::from_bytes(&message).expect("prow can read it");
        expected.clone_into(&mut webhook.body);
        assert_eq!(read, webhook);
    }
}

/// The look at a body takes what serde takes, but for its depth, and writes what serde writes.
fn scan(text: &str) {
    let expected = serde_json::from_str::<serde::de::IgnoredAny>(text);
    match json::scan(text, "", |_name| true) {
        Ok(document) => {
            assert!(expected.is_ok());
            let escaped = serde_json::to_string(text).expect("a string is JSON");
            let quoted = [b"\"", &*document.escaped, b"\""].concat();
            assert_eq!(quoted, escaped.as_bytes());
        }
        Err(error) => assert!(expected.is_err() || error.starts_with("nested")),
    }
}

/// Reads a block of header lines as a forge's, which the first byte chooses, and asks it who sends.
pub fn head(data: &[u8]) {
    let Some((provider, lines)) = provider_of(data) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    provider::head(provider, &headers).ok();
    let proxies: Vec<Cidr> = ["127.0.0.0/8", "10.0.0.0/8"]
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let proxies = Networks::new(proxies);
    let peer = std::net::IpAddr::from([127, 0, 0, 1]);
    let client = address::client(peer, &headers, &proxies, address::ProxyHeader::Forwarded);
    assert!(client == peer || headers.contains_key("forwarded"));
}

/// Reads a file of secrets.
pub fn secrets(text: &str) {
    let Ok(usual) = "the-usual-secret".parse::<Secret>();
    if let Ok(secrets) = Secrets::new(&[usual], Some(text)) {
        assert!(secrets.len() > 0, "a file takes away none");
        secrets.of(Provider::Github, Some("Acme/Shop"));
    }
}

fn provider_of(data: &[u8]) -> Option<(Provider, &[u8])> {
    let (choice, data) = data.split_first()?;
    let provider = Provider::ALL.get(usize::from(*choice) % Provider::ALL.len())?;
    Some((*provider, data))
}

#[cfg(test)]
mod tests {
    /// What was learnt, and what once broke something.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).unwrap();
        let all: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(!all.is_empty());
        all
    }

    #[test]
    fn nothing_of_the_corpus_breaks_anything() {
        for body in corpus("body") {
            super::body(&body);
        }
        for head in corpus("head") {
            super::head(&head);
        }
        for text in corpus("secrets") {
            super::secrets(str::from_utf8(&text).unwrap());
        }
    }
}
