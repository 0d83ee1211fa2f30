//! What strangers may try. Whatever it is: an answer that is true, nothing on the list, others still served.

use e2e::{Gateway, WEBHOOK_SECRET, push};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};
use testkit::eventually;
use tokio::time::Instant;

/// Sends bytes as they are; everything that comes back until the other side closes, or nothing more comes.
fn raw(gateway: &Gateway, bytes: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(bytes).ok(); // It may have answered before it has read all.
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..n]);
        if answer.ends_with(b"}") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or_default()
}

/// A signed request for one body, with these headers besides.
fn request(more: &str, body: &str) -> String {
    head(more, body) + body
}

/// The head of it, signed for that body.
fn head(more: &str, body: &str) -> String {
    let seal = seal::Key::new(WEBHOOK_SECRET.as_bytes()).seal(&[body.as_bytes()]).hex();
    format!(
        "POST /webhook/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
         x-github-delivery: d\r\nx-hub-signature-256: sha256={seal}\r\n{more}\r\n"
    )
}

const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn bodies_that_are_not_what_they_claim_are_refused_with_the_reason() {
    let gateway = Gateway::start(&[]).await;
    let deep = format!(r#"{{"ref":{}1{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
    let doubled = push(1).replacen('{', r#"{"ref": "refs/heads/other", "#, 1);
    let long_ref = push(1).replace("refs/heads/main", &format!("refs/heads/{}", "x".repeat(2_000)));
    for (event, body, why) in [
        ("push", "", "body: EOF"),
        ("push", "{", "body: EOF"),
        ("push", "[]", "body: invalid"),
        ("push", "null", "body: invalid"),
        ("push", r#"{"a": NaN}"#, "body: expected value"),
        ("push", r#"{"a": Infinity}"#, "body: expected value"),
        ("push", r#"{"a": 0x10}"#, "body: expected"),
        ("push", "{\"a\": \"\u{1}\"}", "body: control character"),
        ("push", &deep, "body: nested deeper than 64"),
        ("push", &doubled, "body: duplicate field `ref`"),
        ("push", &long_ref, "ref: is required"),
        ("push", r#"{"ref": "refs/heads/x"}"#, "before: is required"),
        ("pull_request", &push(1), "body"),
        ("status", &push(1), "sha: is required in status events"),
        ("create", &push(1), "ref_type: is required in create events"),
        ("installation", &push(1), "installation: is required"),
    ] {
        let answer = gateway.github(event, body).await;
        if event == "pull_request" {
            assert_eq!(
                answer.body["status"], "ignored",
                "no action, no pull request: {}",
                answer.text
            );
            continue;
        }
        assert_eq!(answer.status, 422, "{event} {:.60}: {}", body, answer.text);
        let told = answer.body["details"].to_string();
        assert!(told.contains(why), "{event} {body:.60}: {told}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let broken = String::from_utf8_lossy(&[b'"', 0xff, b'"']).into_owned();
    assert_eq!(gateway.github("push", &broken).await.status, 422);
    let mut bytes = push(1).into_bytes();
    bytes[20] = 0xff;
    let seal = seal::Key::new(WEBHOOK_SECRET.as_bytes()).seal(&[&bytes]).hex();
    let seal = format!("sha256={seal}");
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-github-delivery", "utf8"),
        ("x-hub-signature-256", &seal),
    ];
    let answer = gateway.send("/webhook/github", &headers, bytes).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(gateway.all_taken().is_empty());
    assert_eq!(gateway.github("push", &push(7)).await.status, 202);
}

#[tokio::test]
async fn a_signature_that_is_wrong_empty_absent_doubled_or_weak_proves_nothing() {
    let gateway = Gateway::start(&[]).await;
    let body = push(1);
    let good = seal::Key::new(WEBHOOK_SECRET.as_bytes()).seal(&[body.as_bytes()]).hex();
    let good = format!("sha256={good}");
    let other = good.replace('a', "b");
    for signatures in [
        &[][..],
        &[("x-hub-signature-256", "")],
        &[("x-hub-signature-256", "sha256=")],
        &[("x-hub-signature-256", "sha256=zz")],
        &[("x-hub-signature-256", other.as_str())],
        &[("x-hub-signature-256", good.trim_start_matches("sha256="))],
        &[
            ("x-hub-signature-256", good.as_str()),
            ("x-hub-signature-256", other.as_str()),
        ],
        &[("x-hub-signature", good.as_str())],
        &[
            ("x-hub-signature-256", other.as_str()),
            ("x-hub-signature", good.as_str()),
        ],
    ] {
        let more: Vec<_> = signatures
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let more = more.concat();
        let text = format!(
            "POST /webhook/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
             x-github-delivery: d\r\n{more}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(&gateway, text.as_bytes(), SOON);
        assert_eq!(status(&answer), 401, "{signatures:?}: {answer}");
        assert!(answer.contains("the signature is missing or wrong"), "{answer}");
    }
    assert!(gateway.all_taken().is_empty());
}

#[tokio::test]
async fn the_same_bytes_under_another_delivery_id_are_a_duplicate() {
    let gateway = Gateway::start(&[]).await;
    let body = push(1);
    assert_eq!(gateway.github("push", &body).await.status, 202);
    let again = gateway.github("push", &body).await;
    assert_eq!((again.status, again.body["status"].as_str()), (200, Some("duplicate")));
    assert_eq!(gateway.all_taken().len(), 1);
}

#[tokio::test]
async fn requests_that_two_readers_could_read_differently_are_refused() {
    let gateway = Gateway::start(&[]).await;
    let body = push(1);
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (what, text) in [
        (
            "two lengths",
            request(&format!("content-length: {length}\r\ncontent-length: 3\r\n"), &body),
        ),
        (
            "a list of lengths",
            request(&format!("content-length: {length}, 3\r\n"), &body),
        ),
        (
            "a signed length",
            request(&format!("content-length: +{length}\r\n"), &body),
        ),
        (
            "another coding",
            head("transfer-encoding: xchunked\r\n", &body) + &chunked,
        ),
        (
            "a coding after chunked",
            head("transfer-encoding: chunked, identity\r\n", &body) + &chunked,
        ),
        (
            "a folded header",
            request(&format!("content-length: {length}\r\nx: a\r\n b\r\n"), &body),
        ),
        (
            "a space before the colon",
            request(&format!("content-length : {length}\r\n"), &body),
        ),
        (
            "a bad chunk",
            head("transfer-encoding: chunked\r\n", &body) + &chunked.replacen(&format!("{length:x}"), "zz", 1),
        ),
    ] {
        let answer = raw(&gateway, text.as_bytes(), SOON);
        assert_eq!(status(&answer), 400, "{what}: {answer}");
        assert!(gateway.all_taken().is_empty(), "{what}");
    }
    let plain = head("transfer-encoding: chunked\r\n", &body) + &chunked;
    assert_eq!(
        status(&raw(&gateway, plain.as_bytes(), SOON)),
        202,
        "chunks alone are fine"
    );
    // RFC 9112, section 6.3: the coding wins over the length, whoever wrote both.
    let (body, both) = (push(2), "content-length: 3\r\ntransfer-encoding: chunked\r\n");
    let head = head(both, &body).replace("delivery: d", "delivery: e");
    let text = head + &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(status(&raw(&gateway, text.as_bytes(), SOON)), 202);
    assert_eq!(gateway.all_taken().len(), 2);
}

#[tokio::test]
async fn compressed_bodies_other_types_and_floods_of_headers_are_refused() {
    let gateway = Gateway::start(&[]).await;
    let body = push(1);
    let length = format!("content-length: {}\r\n", body.len());
    let bomb = request(&format!("{length}content-encoding: gzip\r\n"), &body);
    assert_eq!(status(&raw(&gateway, bomb.as_bytes(), SOON)), 415);
    let form = request(&length, &body).replace("application/json", "application/x-www-form-urlencoded");
    assert_eq!(status(&raw(&gateway, form.as_bytes(), SOON)), 415);
    let many = "x: y\r\n".repeat(200);
    assert_eq!(status(&raw(&gateway, request(&many, &body).as_bytes(), SOON)), 431);
    let long = format!("x: {}\r\n", "y".repeat(200_000));
    assert_eq!(status(&raw(&gateway, request(&long, &body).as_bytes(), SOON)), 431);
    let many_bytes = request("content-length: 26214401\r\n", "");
    assert_eq!(
        status(&raw(&gateway, many_bytes.as_bytes(), SOON)),
        413,
        "25 MiB and a byte"
    );
    assert!(gateway.all_taken().is_empty());
    let whole = format!("{}{}", push(2), " ".repeat(25 * 1024 * 1024 - push(2).len()));
    assert_eq!(gateway.github("push", &whole).await.status, 202, "25 MiB");
}

#[tokio::test]
async fn who_sends_nothing_or_half_a_head_or_a_promise_is_cut_off_and_keeps_nobody_out() {
    let gateway = Gateway::start(&[("WEBHOOK_BODY_MEMORY", "25mb")]).await;
    let promise = request("content-length: 26214400\r\n", "{");
    let hold = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let begun = Instant::now();
    let mut idle: Vec<_> = (0..20).map(|_| hold(b"")).collect();
    idle.extend((0..20).map(|_| hold(b"POST /webhook/github HTTP/1.1\r\nhost")));
    let promised: Vec<_> = (0..20).map(|_| hold(promise.as_bytes())).collect();
    assert_eq!(
        gateway.github("push", &push(1)).await.status,
        202,
        "twenty promises of 25 MiB hold nothing"
    );
    for stream in &mut idle {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
    }
    for mut stream in promised {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out_and_cost_little() {
    let gateway = Gateway::start(&[]).await;
    let before = gateway.process.memory_kib();
    let mut idle = Vec::new();
    for _ in 0..10_000 {
        let stream = TcpStream::connect(gateway.address());
        idle.push(stream.unwrap_or_else(|error| panic!("{error} after {}; ulimit -n is too low", idle.len())));
    }
    let begun = Instant::now();
    assert_eq!(gateway.github("push", &push(1)).await.status, 202);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let each = (gateway.process.memory_kib() - before) * 1024 / 10_000;
    // 7 kB, and more for those that a busy machine opened so long ago that they were told 408.
    assert!(each < 12_288, "{each} bytes each");
    drop(idle);
    eventually("they are gone", async || {
        (gateway.github("ping", "{}").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_past_the_bound_wait_until_others_close() {
    let gateway = Gateway::start(&[("WEBHOOK_MAX_CONNECTIONS", "2")]).await;
    let idle: Vec<_> = (0..2).map(|_| TcpStream::connect(gateway.address()).unwrap()).collect();
    tokio::time::sleep(Duration::from_millis(300)).await; // Until both were accepted.
    let mut waiting = TcpStream::connect(gateway.address()).unwrap();
    waiting
        .write_all(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut answer = [0; 12];
    assert!(waiting.read_exact(&mut answer).is_err(), "there is no room");
    drop(idle);
    waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
