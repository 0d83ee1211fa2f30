//! What happens past each bound of what strangers may send, and of what a build may take.

use e2e::{Forge, QUICK, WEBHOOK_SECRET};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};
use testkit::Hook;
use tokio::time::Instant;

/// A gateway that takes little.
async fn small() -> Forge {
    Forge::start_with(
        0,
        &[("WEBHOOK_MAX_PAYLOAD_SIZE", "8kb"), ("WEBHOOK_BODY_MEMORY", "8kb")],
    )
    .await
}

fn connect(forge: &Forge) -> TcpStream {
    let stream = TcpStream::connect(forge.gateway_url().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// The head of a webhook whose body has this length.
fn head(length: usize, more: &str) -> String {
    format!(
        "POST /webhook/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
         x-github-delivery: d\r\nx-hub-signature-256: sha256={}\r\ncontent-length: {length}\r\n{more}\r\n",
        "0".repeat(64)
    )
}

/// Sends, and returns the first line of the answer; empty when there was none.
fn answer(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = [0; 512];
    let n = stream.read(&mut bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes.get(..n).unwrap()).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let forge = small().await;
    let status = answer(&mut connect(&forge), &head(8 * 1024 + 1, ""));
    assert!(status.starts_with("HTTP/1.1 413"), "{status}");
    let hook = Hook::new("push", " ".repeat(9_000), WEBHOOK_SECRET);
    assert_eq!(hook.send(&forge.gateway_url()).await.0, 413);
    let whole = Hook::new("ping", format!("{{}}{}", " ".repeat(8 * 1024 - 2)), WEBHOOK_SECRET);
    assert_eq!(
        whole.send(&forge.gateway_url()).await.0,
        200,
        "exactly the bound is taken"
    );
}

#[tokio::test]
async fn bodies_past_the_memory_for_them_are_asked_to_come_again() {
    let forge = small().await;
    let mut slow = connect(&forge);
    slow.write_all(head(8 * 1024, "").as_bytes()).unwrap();
    slow.write_all(&[b' '; 8 * 1024 - 1]).unwrap(); // What is only promised takes none.
    let ping = || Hook::new("ping", "{}".to_owned(), WEBHOOK_SECRET);
    testkit::eventually("there is no room", async || {
        (ping().send(&forge.gateway_url()).await.0 == 503).then_some(())
    })
    .await;
    drop(slow);
    testkit::eventually("there is room again", async || {
        (ping().send(&forge.gateway_url()).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_that_drips_and_a_head_that_never_ends_are_cut_off() {
    let forge = small().await;
    let (mut body, mut silent) = (connect(&forge), connect(&forge));
    silent.write_all(b"POST /webhook/github HTTP/1.1\r\nx: ").unwrap();
    let begun = Instant::now();
    let status = answer(&mut body, &format!("{}{{", head(100, "")));
    assert!(
        status.starts_with("HTTP/1.1 408") && begun.elapsed() < Duration::from_secs(12),
        "{status}"
    );
    let status = answer(&mut silent, "y");
    assert!(
        !status.contains(" 200") && begun.elapsed() < Duration::from_secs(15),
        "{status}"
    );
}

#[tokio::test]
async fn more_headers_than_anybody_needs_are_refused() {
    let forge = small().await;
    let many: String = (0..64).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let status = answer(&mut connect(&forge), &head(2, &many));
    assert!(status.starts_with("HTTP/1.1 431"), "{status}");
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_stopped_and_says_so() {
    let forge = Forge::start_with(1, &[("BUILD_TIMEOUT_SECONDS", "2")]).await;
    forge.push(&forge.repo("FROM busybox\nRUN sleep 985\n")).await;
    let build = forge.build_that_is("timed_out").await;
    assert_eq!(build["reason"], "it took longer than 2 s");
    assert_eq!(build["failure"]["kind"], "timeout");
    forge.told("build.timed_out").await;
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_page_of_builds_has_at_most_500() {
    let forge = Forge::start_with(0, &[]).await;
    forge.push(&forge.repo(QUICK)).await;
    forge.build_that_is("queued").await;
    for (limit, expected) in [("0", 1), ("1", 1), ("4294967295", 1)] {
        let page = forge.get(&format!("/v1/cicd/builds?limit={limit}")).await.unwrap();
        assert_eq!(page.as_array().unwrap().len(), expected, "{limit}");
    }
    assert!(forge.get("/v1/cicd/builds?limit=-1").await.is_none());
}
