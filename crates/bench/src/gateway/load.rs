//! Deliveries over open connections: as fast as they are taken, or at a fixed rate.

use crate::{SECRET, body::Template};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};

/// How much is sent, and where to.
pub(crate) struct Load<'a> {
    pub(crate) port: u16,
    pub(crate) template: &'a Template,
    pub(crate) connections: usize,
    pub(crate) most: usize,
    pub(crate) lasts: Duration,
    /// So many per second; without one, the next as soon as the last is answered.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
pub(crate) struct Taken {
    within: Duration,
    /// Of each delivery, sorted.
    latencies: Vec<Duration>,
}

// === impl Load ===

impl Load<'_> {
    /// Sends deliveries numbered from `first` on; every one of them must be accepted.
    pub(crate) async fn run(&self, first: usize) -> Taken {
        let key = seal::Key::new(SECRET.as_bytes());
        let begun = Instant::now();
        let (next, latencies) = (Cell::new(0), RefCell::new(Vec::new()));
        let one = async || {
            let mut connection = connect(self.port).await;
            loop {
                let n = next.get();
                if n >= self.most || begun.elapsed() >= self.lasts {
                    break;
                }
                next.set(n + 1);
                let (body, delivery) = (self.template.body(first + n), uuid::Uuid::new_v4().to_string());
                let seal = key.seal(&[&body]).hex();
                let mut due = Instant::now();
                if let Some(rate) = self.rate {
                    // Who is late counts from when it should have been sent, or a slow answer would hide others.
                    let planned = begun + Duration::from_secs_f64(n as f64 / rate);
                    if planned > due {
                        sleep_until(planned).await;
                        due = Instant::now();
                    } else {
                        due = planned;
                    }
                }
                send(&mut connection, body, &delivery, &seal).await;
                latencies.borrow_mut().push(due.elapsed());
            }
        };
        let all = (0..self.connections).map(|_| one());
        futures_util::future::join_all(all).await;
        let within = begun.elapsed();
        let mut latencies = latencies.into_inner();
        latencies.sort_unstable();
        Taken { within, latencies }
    }
}

// === impl Taken ===

impl Taken {
    pub(crate) fn accepted(&self) -> f64 {
        self.latencies.len() as f64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.accepted() / self.within.as_secs_f64()
    }

    /// Within how many milliseconds 50, 99 and 99.9 of 100 were answered.
    pub(crate) fn percentiles_ms(&self) -> [f64; 3] {
        [500, 990, 999].map(|of_1000| {
            let place = (self.latencies.len() * of_1000 / 1_000).min(self.latencies.len() - 1);
            self.latencies[place].as_secs_f64() * 1e3
        })
    }
}

async fn connect(port: u16) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn send(connection: &mut SendRequest<Full<Bytes>>, body: Bytes, delivery: &str, seal: &str) {
    let request = Request::post("/webhook/github")
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("user-agent", "GitHub-Hookshot/044aadd")
        .header("x-github-event", "push")
        .header("x-github-delivery", delivery)
        .header("x-hub-signature-256", format!("sha256={seal}"));
    connection.ready().await.unwrap();
    let response = connection
        .send_request(request.body(Full::new(body)).unwrap())
        .await
        .unwrap();
    let status = response.status();
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{status} {}", String::from_utf8_lossy(&answer));
}
