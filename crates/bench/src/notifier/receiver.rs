//! A receiver that takes everything, and counts.

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, sync::Arc};
use tokio::{net::TcpListener, sync::watch};

/// A receiver.
pub(crate) struct Receiver {
    port: u16,
    came: watch::Receiver<usize>,
}

// === impl Receiver ===

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (count, came) = watch::channel(0);
        tokio::spawn(serve(listener, Arc::new(count)));
        Self { port, came }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Waits until so many have come.
    pub(crate) async fn has(&self, number: usize) {
        self.came.clone().wait_for(|came| *came >= number).await.unwrap();
    }
}

async fn serve(listener: TcpListener, count: Arc<watch::Sender<usize>>) {
    while let Ok((stream, _peer)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let count = Arc::clone(&count);
                async move {
                    request.into_body().collect().await.unwrap();
                    count.send_modify(|count| *count += 1);
                    Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
                }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            served.await.ok(); // Whoever delivers hangs up.
        });
    }
}
