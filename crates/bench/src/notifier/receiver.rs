//! A receiver that takes everything, and counts.

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, time::Instant};

/// A receiver.
pub(crate) struct Receiver {
    port: u16,
    came: watch::Receiver<usize>,
    shared: Arc<Shared>,
}

struct Shared {
    status: u16,
    count: watch::Sender<usize>,
    /// When what comes now was sent, and how long each took.
    times: Mutex<(Option<Instant>, Vec<Duration>)>,
}

// === impl Receiver ===

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::that_answers(200).await
    }

    pub(crate) async fn that_answers(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (count, came) = watch::channel(0);
        let times = Mutex::default();
        let shared = Arc::new(Shared { status, count, times });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { port, came, shared }
    }

    /// How many have come.
    pub(crate) fn came(&self) -> usize {
        *self.came.borrow()
    }

    /// What comes from now on was sent at that time.
    pub(crate) fn sent(&self, at: Instant) {
        self.shared.times.lock().unwrap().0 = Some(at);
    }

    /// How long each took of which it was said when it was sent.
    pub(crate) fn took(&self) -> Vec<Duration> {
        self.shared.times.lock().unwrap().1.clone()
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Waits until so many have come.
    pub(crate) async fn has(&self, number: usize) {
        self.came.clone().wait_for(|came| *came >= number).await.unwrap();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _peer)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let shared = Arc::clone(&shared);
                async move {
                    request.into_body().collect().await.unwrap();
                    shared.note();
                    let answer = Response::builder().status(shared.status);
                    Ok::<_, Infallible>(answer.body(Empty::<bytes::Bytes>::new()).unwrap())
                }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            served.await.ok(); // Whoever delivers hangs up.
        });
    }
}

// === impl Shared ===

impl Shared {
    fn note(&self) {
        {
            let mut times = self.times.lock().unwrap();
            if let Some(sent) = times.0 {
                times.1.push(sent.elapsed());
            }
        }
        self.count.send_modify(|count| *count += 1);
    }
}
