//! A receiver of webhooks that checks signatures, and fails on cue.

use crate::{Certificate, tls::TlsListener};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
    serve::Listener,
};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A webhook that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: serde_json::Value,
    /// The body as it came.
    pub text: String,
    /// Whether its Standard Webhooks signature is right.
    pub verified: bool,
    /// What was answered.
    pub status: u16,
}

/// A receiver.
#[derive(Debug)]
pub struct Sink {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    secret: String,
    received: Mutex<Vec<Received>>,
    answers: Mutex<VecDeque<u16>>,
    tell: Option<fn(&Received)>,
}

impl Sink {
    /// Listens on a free port.
    pub async fn start(secret: &str) -> Self {
        Self::serve("127.0.0.1:0", secret, None).await
    }

    /// Listens at an address; `tell` is called with each webhook.
    pub async fn serve(address: &str, secret: &str, tell: Option<fn(&Received)>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self::listen(listener, "http", secret, tell)
    }

    /// Listens on a free port with TLS; who connects needs the other certificate, if any.
    pub async fn start_tls(secret: &str, own: &Certificate, clients: Option<&Certificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::listen(TlsListener::new(listener, own, clients), "https", secret, None)
    }

    fn listen<L>(listener: L, scheme: &'static str, secret: &str, tell: Option<fn(&Received)>) -> Self
    where
        L: Listener<Addr = SocketAddr>,
    {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            secret: secret.to_owned(),
            received: Mutex::default(),
            answers: Mutex::default(),
            tell,
        });
        let routes = Router::new().route("/", post(receive)).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let url = format!("{scheme}://{address}/");
        Self { url, shared, task }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The next requests get these answers; all later ones 200.
    pub fn answer(&self, statuses: &[u16]) {
        self.shared.answers.lock().unwrap().extend(statuses);
    }

    /// From now on all get 200.
    pub fn answer_no_more(&self) {
        self.shared.answers.lock().unwrap().clear();
    }

    /// Everything that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits for ever.
    pub async fn forever(&mut self) {
        (&mut self.task).await.ok();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Received {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let status = shared.answers.lock().unwrap().pop_front().unwrap_or(200);
    let received = Received {
        body: serde_json::from_slice(&body).unwrap_or_default(),
        text: String::from_utf8_lossy(&body).into_owned(),
        verified: verify(&shared.secret, &headers, &body),
        headers,
        status,
    };
    if let Some(tell) = shared.tell {
        tell(&received);
    }
    shared.received.lock().unwrap().push(received);
    StatusCode::from_u16(status).unwrap()
}

/// As Standard Webhooks says, from the specification rather than by our own signing code.
fn verify(secret: &str, headers: &[(String, String)], body: &[u8]) -> bool {
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => seal::base64_to_bytes(encoded).unwrap_or_default(),
        None => secret.as_bytes().to_vec(),
    };
    let signed = [
        header("webhook-id").as_bytes(),
        b".",
        header("webhook-timestamp").as_bytes(),
        b".",
        body,
    ];
    let signatures = header("webhook-signature")
        .split(' ')
        .filter_map(|s| seal::base64_to_bytes(s.strip_prefix("v1,")?));
    signatures
        .into_iter()
        .any(|signature| seal::Key::new(&key).verify(&signed, &signature))
}
