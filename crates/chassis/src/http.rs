//! Serving HTTP/1.1 to people one does not trust: every wait and every size has a bound.

use crate::{Failure, Life, Policy};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// The longest a request's head may take, also on an idle connection.
    pub header_wait: Duration,
    /// Most headers of a request.
    pub headers: usize,
    /// How long open requests may go on once the service stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            header_wait: Duration::from_secs(10),
            headers: 64,
            drain: Duration::from_secs(10),
        }
    }
}

/// Pause after a failed accept: usually the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address from `host:port`, `:port`, `host` or a bare port.
///
/// # Errors
/// When there is no such address.
///
/// # Examples
/// ```
/// assert_eq!(chassis::http::address("0.0.0.0", 9100).unwrap().port(), 9100);
/// assert_eq!(chassis::http::address(":8080", 9100).unwrap().port(), 8080);
/// ```
pub fn address(text: &str, default_port: u16) -> Result<SocketAddr, std::io::Error> {
    let whole = match (text.strip_prefix(':'), text.parse::<u16>()) {
        (Some(port), _) => format!("0.0.0.0:{port}"),
        (None, Ok(port)) => format!("0.0.0.0:{port}"),
        (None, Err(_))
            if text
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok()) =>
        {
            text.to_owned()
        }
        (None, Err(_)) => format!("{text}:{default_port}"),
    };
    whole
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("there is no such address"))
}

/// Listens and serves in tasks of their own until the service stops; the address it listens on.
///
/// # Errors
/// When the address is taken.
pub async fn serve(
    name: &'static str,
    address: SocketAddr,
    routes: Router,
    limits: Limits,
    life: &Life,
) -> Result<SocketAddr, Failure> {
    let failed = |source| Failure::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(server = name, address = %bound, "listening");
    life.spawn(name, Policy::Essential, accept(listener, routes, limits, life.clone()));
    Ok(bound)
}

async fn accept(listener: TcpListener, routes: Router, limits: Limits, life: Life) {
    let stopping = life.stopping();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = stopping.cancelled() => break,
        };
        let Ok(slot) = slot else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        let (stream, peer) = match stream {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let served = connection(stream, peer, routes.clone(), limits, &graceful);
        life.spawn("connection", Policy::BestEffort, async move {
            served.await;
            drop(slot);
        });
    }
    drop(listener);
    tokio::time::timeout(limits.drain, graceful.shutdown()).await.ok(); // Who is slower is cut off.
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    limits: Limits,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    stream.set_nodelay(true).ok(); // An optimisation; without it things are merely slower.
    let service = tower::ServiceExt::map_request(
        routes,
        move |mut request: axum::http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            request.map(axum::body::Body::new)
        },
    );
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_wait)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let watched = graceful.watch(served);
    async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    }
}
