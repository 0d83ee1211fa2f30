//! A receiver of webhooks with moods, that remembers what came, not how.

use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Kind,
    /// After a second.
    Slow,
    /// With 500.
    Failing,
    /// Not at all.
    Hanging,
    /// By closing the connection in the middle.
    Rude,
    /// With 410, always.
    Gone,
}

/// What came about builds: by build and type of event, the ids under which it was accepted.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) accepted: HashMap<String, HashMap<String, Vec<String>>>,
    /// Builds of which a last event was accepted.
    pub(crate) ended: usize,
    pub(crate) requests: u64,
    pub(crate) unsigned: u64,
}

/// A receiver.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    pub(crate) heard: Arc<Mutex<Heard>>,
    mood: watch::Sender<Mood>,
}

/// The types of events by which a build ends.
pub(crate) const LAST: &[&str] = &[
    "build.succeeded",
    "build.failed",
    "build.cancelled",
    "build.superseded",
    "build.timed_out",
    "build.lost",
];
const SLOW: Duration = Duration::from_secs(1);

// === impl Receiver ===

impl Receiver {
    pub(crate) async fn start(secret: &'static str, mood: Mood) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (mood, watched) = watch::channel(mood);
        let shared = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, watched) = (Arc::clone(&shared), watched.clone());
                tokio::spawn(async move { serve(stream, secret, &shared, watched).await });
            }
        });
        Self { url, heard, mood }
    }

    pub(crate) fn become_(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// How many builds have ended, as far as was told.
    pub(crate) fn ended(&self) -> usize {
        self.heard.lock().unwrap().ended
    }
}

async fn serve(mut stream: TcpStream, secret: &str, heard: &Mutex<Heard>, mut mood: watch::Receiver<Mood>) {
    let mut bytes = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut bytes).await {
        heard.lock().unwrap().requests += 1;
        let now = *mood.borrow_and_update();
        let answer = match now {
            Mood::Hanging => {
                // Until the mood changes; the sender gives up long before, or gets its answer late.
                mood.changed().await.ok();
                "HTTP/1.1 503 Late\r\ncontent-length: 0\r\n\r\n"
            }
            Mood::Rude => {
                stream.write_all(b"HTTP/1.1 2").await.ok();
                return;
            }
            Mood::Failing => "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",
            Mood::Gone => "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n",
            Mood::Slow | Mood::Kind => {
                if now == Mood::Slow {
                    tokio::time::sleep(SLOW).await;
                }
                remember(&mut heard.lock().unwrap(), secret, &head, &body);
                "HTTP/1.1 204 Thanks\r\n\r\n"
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn remember(heard: &mut Heard, secret: &str, head: &str, body: &[u8]) {
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
            .next()
            .unwrap_or_default()
    };
    let id = header("webhook-id");
    let signed = [id.as_bytes(), b".", header("webhook-timestamp").as_bytes(), b".", body];
    let signature = header("webhook-signature")
        .strip_prefix("v1,")
        .and_then(seal::base64_to_bytes);
    if !signature.is_some_and(|signature| seal::Key::new(secret.as_bytes()).verify(&signed, &signature)) {
        heard.unsigned += 1;
        return;
    }
    let event: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&event["eventType"]);
    let of_build = heard.accepted.entry(text(&event["resource"]["uid"])).or_default();
    let is_last = LAST.contains(&kind.as_str());
    let ended_before = LAST.iter().any(|last| of_build.contains_key(*last));
    of_build.entry(kind).or_default().push(id.to_owned());
    if is_last && !ended_before {
        heard.ended += 1;
    }
}

/// The next request's head and body; `None` at the end of the connection.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let whole = end + 4 + length.unwrap_or(0_usize);
            if bytes.len() >= whole {
                let rest = bytes.split_off(whole);
                let body = bytes.split_off(end + 4);
                *bytes = rest;
                return Some((head, body));
            }
        }
        let mut part = [0; 8192];
        let n = stream.read(&mut part).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&part[..n]);
    }
}
