//! The least that a delivery takes: a seal and a request on an open connection. Nothing waits anywhere, nothing is kept.

use crate::{AT_ONCE, SECRET, sender};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{net::TcpStream, task::JoinSet};

/// Delivers so many to a port.
pub(crate) async fn run(port: u16, number: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut loops = JoinSet::new();
    for _ in 0..AT_ONCE {
        let next = Arc::clone(&next);
        loops.spawn(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let secret: seal::StandardSecret = SECRET.parse().unwrap();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= number {
                    break;
                }
                let (id, body) = sender::notification(n);
                let at = 1_700_000_000;
                let request = Request::post("/")
                    .header("host", "127.0.0.1")
                    .header("content-type", "application/json")
                    .header("webhook-id", &id)
                    .header("webhook-timestamp", at)
                    .header("webhook-signature", secret.sign(&id, at, body.as_bytes()))
                    .body(Full::new(Bytes::from(body)))
                    .unwrap();
                requests.ready().await.unwrap();
                let answer = requests.send_request(request).await.unwrap();
                assert!(answer.status().is_success());
                answer.into_body().collect().await.unwrap();
            }
        });
    }
    loops.join_all().await;
    std::future::pending::<()>().await; // What it took is still read.
}
