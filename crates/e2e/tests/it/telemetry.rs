//! One trace from the webhook to the outbound notification, shown by a receiver of OTLP.

use e2e::{Forge, QUICK};
use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
};

/// Receives OTLP over HTTP: every request's body, as it came.
struct Receiver {
    port: u16,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    while let Some(body) = request(&mut stream) {
                        shared.lock().unwrap().push(body);
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                            .unwrap();
                    }
                });
            }
        });
        Self { port, bodies }
    }
}

/// One request's body; `None` at the end of the connection.
fn request(stream: &mut std::net::TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length: usize = head
            .split("content-length: ")
            .nth(1)?
            .split("\r\n")
            .next()?
            .parse()
            .ok()?;
        if bytes.len() >= end + 4 + length {
            return Some(bytes[end + 4..end + 4 + length].to_vec());
        }
    }
}

/// The services whose exported spans contain this trace id (16 bytes in OTLP's protobuf form).
fn services(bodies: &[Vec<u8>], trace: &[u8]) -> BTreeSet<&'static str> {
    let contains = |body: &[u8], part: &[u8]| body.windows(part.len()).any(|window| window == part);
    let all = ["gateway", "prow", "forgery", "notifier"];
    let with_trace = bodies.iter().filter(|body| contains(body, trace));
    with_trace
        .flat_map(|body| all.into_iter().filter(|name| contains(body, name.as_bytes())))
        .collect()
}

#[tokio::test]
async fn one_trace_runs_from_the_webhook_to_the_outbound_notification() {
    let receiver = Receiver::start();
    let endpoint = format!("http://127.0.0.1:{}", receiver.port);
    let forge = Forge::start_with(1, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    forge.push(&forge.repo(QUICK)).await;
    let told = forge.told("build.succeeded").await;
    let traceparent = told.header("traceparent").to_owned();
    let trace = traceparent
        .split('-')
        .nth(1)
        .unwrap_or_else(|| panic!("no trace: {traceparent:?}"));
    let bytes: Vec<u8> = (0..32)
        .step_by(2)
        .map(|n| u8::from_str_radix(trace.get(n..n + 2).unwrap(), 16).unwrap())
        .collect();
    testkit::eventually("spans of all four services with that trace id", async || {
        (services(&receiver.bodies.lock().unwrap(), &bytes).len() == 4).then_some(())
    })
    .await;
}
