//! Receivers as they come: behind TLS of all kinds, slow, broken off, or answering whatever they like.

use e2e::{Notifier, PATIENCE};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use testkit::{Certificate, Sink, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Waits until a delivery was tried that often; its last attempt.
async fn tried(notifier: &Notifier, event: &str, endpoint: &str, times: usize) -> Value {
    within(PATIENCE, "it was tried", async || {
        let found = notifier.get(&format!("/v1/deliveries/{event}/{endpoint}")).await;
        let attempts = found["attempts"].as_array()?;
        (attempts.len() >= times).then(|| attempts.last().unwrap().clone())
    })
    .await
}

async fn only_endpoint(notifier: &Notifier) -> String {
    notifier.endpoints().await[0]["id"].as_str().unwrap().to_owned()
}

/// A receiver that does this with each connection after it has read a request there, and how many came before; its URL.
#[expect(clippy::disallowed_methods, reason = "ends with the test")]
async fn receiver<F>(with: impl Fn(TcpStream, usize) -> F + Clone + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let before = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (with, before) = (with.clone(), Arc::clone(&before));
            tokio::spawn(async move {
                let mut request = [0; 8_192];
                // A client may connect, and then not need the connection.
                if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    with(stream, before.fetch_add(1, Ordering::Relaxed)).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_endpoint_may_have_a_ca_and_a_client_certificate_of_its_own() {
    let (server, client, other) = (
        Certificate::of_localhost(),
        Certificate::of_localhost(),
        Certificate::of_localhost(),
    );
    let sink = Sink::start_tls("s", &server, Some(&client)).await;
    let notifier = Notifier::start(&[], &[("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8")]).await;
    let make = async |tls: Value| notifier.make(json!({"url": sink.url(), "tls": tls})).await;
    let both = json!({"ca": server.pem(), "certificate": client.pem(), "key": client.key_pem()});
    let (status, right) = make(both).await;
    assert_eq!(status, 201, "{right}");
    let (_, unknown) = make(json!({"ca": server.pem()})).await;
    let (_, stranger) = make(json!({"ca": other.pem(), "certificate": client.pem(), "key": client.key_pem()})).await;
    let (_, usual) = make(json!({})).await;
    let event = notifier.tell("build.succeeded");
    let of = |made: &Value| made["id"].as_str().unwrap().to_owned();
    assert_eq!(tried(&notifier, &event, &of(&right), 1).await["status"], 200);
    for (made, why) in [
        (&unknown, "CertificateRequired"),
        (&stranger, "invalid peer certificate"),
        (&usual, "invalid peer certificate"),
    ] {
        let attempt = tried(&notifier, &event, &of(made), 1).await;
        assert!(attempt["error"].as_str().unwrap().contains(why), "{attempt}");
    }
    let of_builds = sink
        .received()
        .into_iter()
        .filter(|told| told.body["resource"]["kind"] == "Build");
    assert_eq!(of_builds.count(), 1);
    let shown = notifier.get(&format!("/v1/endpoints/{}", of(&right))).await;
    assert_eq!(shown["wanted"]["tls"]["ca"], json!(server.pem()));
    assert!(!shown.to_string().contains("PRIVATE KEY"), "{shown}");
    for (odd, why) in [
        (json!({"ca": "nonsense"}), "tls.ca"),
        (json!({"certificate": client.pem()}), "needs its key"),
        (
            json!({"certificate": client.pem(), "key": "nonsense"}),
            "tls.certificate",
        ),
        (json!({"cas": ""}), "tls.cas"),
    ] {
        let (status, said) = make(odd).await;
        assert!(
            status == 422 && said["detail"].as_str().unwrap().contains(why),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_operators_own_receivers_may_have_their_ca_and_want_a_certificate_too() {
    let (server, client) = (Certificate::of_localhost(), Certificate::of_localhost());
    let sink = Sink::start_tls(Notifier::SECRET, &server, Some(&client)).await;
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let (ca, certificate, key) = (text(server.path()), text(client.path()), text(client.key()));
    let settings = [
        ("WEBHOOK_CA_FILE", ca.as_str()),
        ("WEBHOOK_CLIENT_CERTIFICATE_FILE", &certificate),
        ("WEBHOOK_CLIENT_KEY_FILE", &key),
    ];
    let notifier = Notifier::start(&[&sink.url()], &settings).await;
    let event = notifier.tell("build.succeeded");
    let attempt = tried(&notifier, &event, &only_endpoint(&notifier).await, 1).await;
    assert_eq!(attempt["status"], 200, "{attempt}");
    assert!(sink.received()[0].verified);
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused_although_who_signed_it_is_trusted() {
    let server = Certificate::expired();
    let sink = Sink::start_tls("s", &server, None).await;
    let ca = server.path().to_string_lossy().into_owned();
    let notifier = Notifier::start(&[&sink.url()], &[("WEBHOOK_CA_FILE", &ca)]).await;
    let event = notifier.tell("build.succeeded");
    let attempt = tried(&notifier, &event, &only_endpoint(&notifier).await, 1).await;
    let error = attempt["error"].as_str().unwrap();
    assert!(error.contains("expired") || error.contains("Expired"), "{error}");
    assert!(sink.received().is_empty());
}

#[tokio::test]
async fn what_is_no_tls_at_all_fails_with_a_word_and_is_tried_again() {
    let url = receiver(async |mut stream, _| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .ok();
    })
    .await;
    let notifier = Notifier::start(&[&url.replace("http:", "https:")], &[]).await;
    let event = notifier.tell("build.succeeded");
    let attempt = tried(&notifier, &event, &only_endpoint(&notifier).await, 2).await;
    assert!(
        attempt["error"].as_str().unwrap().contains("corrupt message"),
        "{attempt}"
    );
}

#[tokio::test]
async fn who_breaks_off_gets_it_again_and_who_answers_anything_good_has_it() {
    // A reset, an end without an answer, half of an answer; then each good status that is not 200.
    let url = receiver(async |mut stream, n| match n {
        0 => stream.set_zero_linger().unwrap(),
        1 => {}
        2 => {
            stream.write_all(b"HTTP/1.1 200 O").await.ok();
        }
        n => {
            let status = ["201 Created", "202 Accepted", "204 No Content"][n % 3];
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await;
    let notifier = Notifier::start(&[&url], &[]).await;
    let endpoint = only_endpoint(&notifier).await;
    let event = notifier.tell("build.succeeded");
    let last = tried(&notifier, &event, &endpoint, 4).await;
    assert_eq!(last["status"], 201, "{last}");
    for _ in 0..3 {
        let event = notifier.tell("build.succeeded");
        let status = tried(&notifier, &event, &endpoint, 1).await["status"].as_u64().unwrap();
        assert!((201..=204).contains(&status), "{status}");
    }
}

#[tokio::test]
async fn who_answers_drop_by_drop_is_left_when_the_time_is_over() {
    let url = receiver(async |mut stream, _| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await
            .ok();
        while stream.write_all(b".").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    })
    .await;
    let notifier = Notifier::start(&[&url], &[]).await;
    let event = notifier.tell("build.succeeded");
    let attempt = tried(&notifier, &event, &only_endpoint(&notifier).await, 1).await;
    // The status came, and nothing more is needed.
    assert_eq!(attempt["status"], 200, "{attempt}");
    let ms = attempt["ms"].as_u64().unwrap();
    assert!((19_000..25_000).contains(&ms), "{ms}");
}
