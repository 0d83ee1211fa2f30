//! Serving HTTP/1.1 to people one does not trust: every wait and every size has a bound.

use crate::{Failure, Life, Policy, tls::Tls};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

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

/// What is served, and how.
#[derive(Clone)]
struct Server {
    routes: Router,
    limits: Limits,
    tls: Option<Tls>,
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Most bytes of a request's head; 431 past it.
const HEAD_BYTES: usize = 64 * 1024;
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
/// let error = chassis::http::address("99999", 9100).unwrap_err();
/// assert_eq!(error.to_string(), "\"99999\" is no port: expected 0 to 65535");
/// ```
pub fn address(text: &str, default_port: u16) -> Result<SocketAddr, std::io::Error> {
    let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
    if !text.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err() {
        return Err(std::io::Error::other(format!(
            "{port:?} is no port: expected 0 to 65535"
        )));
    }
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
        .to_socket_addrs()
        .map_err(|error| std::io::Error::other(format!("{text:?} is no address, and no port: {error}")))?
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
    listen(
        name,
        address,
        Server {
            routes,
            limits,
            tls: None,
        },
        life,
    )
    .await
}

/// The same over TLS.
///
/// # Errors
/// When the address is taken.
pub async fn serve_tls(
    name: &'static str,
    address: SocketAddr,
    routes: Router,
    limits: Limits,
    tls: Tls,
    life: &Life,
) -> Result<SocketAddr, Failure> {
    let tls = Some(tls);
    listen(name, address, Server { routes, limits, tls }, life).await
}

async fn listen(name: &'static str, address: SocketAddr, server: Server, life: &Life) -> Result<SocketAddr, Failure> {
    let failed = |source| Failure::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(server = name, address = %bound, "listening");
    life.spawn(name, Policy::Essential, accept(listener, server, life.clone()));
    Ok(bound)
}

async fn accept(listener: TcpListener, server: Server, life: Life) {
    let stopping = life.stopping();
    let limits = server.limits;
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
        let (server, watcher, stopping) = (server.clone(), graceful.watcher(), life.stopping());
        life.spawn("connection", Policy::BestEffort, async move {
            let served = async {
                let begun = tokio::select! {
                    begun = server.begin(stream) => begun,
                    () = stopping.cancelled() => Err("the service stops".into()),
                };
                server.serve(begun?, peer, watcher).await
            };
            if let Err(error) = served.await {
                tracing::debug!(error, %peer, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    timeout(limits.drain, graceful.shutdown()).await.ok(); // Who is slower is cut off.
}

// === impl Server ===

impl Server {
    /// Waits for the first bytes, and through the handshake if there is one. Until then a connection costs next
    /// to nothing: no buffers.
    async fn begin(&self, stream: TcpStream) -> Result<Box<dyn Stream>, String> {
        stream.set_nodelay(true).ok(); // An optimisation; without it things are merely slower.
        let handshake = async {
            stream.readable().await?;
            let Some(tls) = &self.tls else {
                return Ok::<Box<dyn Stream>, std::io::Error>(Box::new(stream));
            };
            let config = Arc::clone(&tls.borrow());
            Ok(Box::new(TlsAcceptor::from(config).accept(stream).await?))
        };
        let begun = timeout(self.limits.header_wait, handshake).await;
        begun
            .map_err(|_elapsed| "nothing came".to_owned())?
            .map_err(|error| error.to_string())
    }

    async fn serve(self, stream: Box<dyn Stream>, peer: SocketAddr, watcher: Watcher) -> Result<(), String> {
        let with_peer = move |mut request: axum::http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            request.map(axum::body::Body::new)
        };
        let service = tower::ServiceExt::map_request(self.routes, with_peer);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_wait)
            .max_headers(self.limits.headers)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        watcher.watch(served).await.map_err(|error| error.to_string())
    }
}
