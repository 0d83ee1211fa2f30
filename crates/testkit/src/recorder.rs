//! A server that answers as it is told to, and remembers what it was asked.

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: HeaderMap,
    /// Its body, if that is JSON.
    pub body: Value,
}

/// What is answered: a status, headers, a body.
pub type Reply = (u16, Vec<(&'static str, String)>, Value);

/// The server.
#[derive(Debug)]
pub struct Recorder {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

type Answer = Arc<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

#[derive(Clone)]
struct Shared {
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Answer,
    pause: Duration,
}

impl Recorder {
    /// Listens on a free port; `answer` gets each request, and how many came before it.
    pub async fn start(answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::that_takes(Duration::ZERO, answer).await
    }

    /// The same, and each answer takes so long.
    pub async fn that_takes(pause: Duration, answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::default());
        let shared = Shared {
            asked: Arc::clone(&asked),
            answer: Arc::new(answer),
            pause,
        };
        let app = Router::new().fallback(record).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, task }
    }

    /// Its base URL, with a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

async fn record(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    let asked = Asked {
        method: method.to_string(),
        path: uri.to_string(),
        body: serde_json::from_slice(&body.unwrap_or_else(|_| Bytes::new())).unwrap_or_default(),
        headers,
    };
    let (status, headers, body) = {
        let mut all = shared.asked.lock().unwrap();
        let answer = (shared.answer)(&asked, all.len());
        all.push(asked);
        answer
    };
    tokio::time::sleep(shared.pause).await;
    let mut response = (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
