//! The HTTP client: no redirects, no proxies, every wait bounded.

use crate::{
    guard::Guard,
    outcome::{Reply, retry_after},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::{
    Client, ClientBuilder, Method,
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};
use std::{sync::Arc, time::Duration};
use url::Url;

const CONNECT: Duration = Duration::from_secs(5);
/// A webhook may take so long, answer included.
pub(crate) const WHOLE: Duration = Duration::from_secs(20);
/// So much of a webhook's answer is read.
pub(crate) const MOST_READ: usize = 16 * 1024;
/// Who we say we are.
pub(crate) const AGENT: &str = concat!("forge-notifier/", env!("CARGO_PKG_VERSION"));

/// Clients for endpoints; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    /// For those of the operator's own configuration.
    pub(crate) free: Client,
    /// For those that were made by the API.
    pub(crate) guarded: Client,
}

// === impl Clients ===

impl Clients {
    pub(crate) fn new(guard: &Guard) -> Result<Self, reqwest::Error> {
        Ok(Self {
            free: usual(None).build()?,
            guarded: usual(Some(guard)).build()?,
        })
    }
}

/// A client as all are; with a guard it reaches only what that lets it.
pub(crate) fn usual(guard: Option<&Guard>) -> ClientBuilder {
    let building = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(WHOLE)
        .redirect(redirect::Policy::none())
        .no_proxy();
    match guard {
        Some(guard) => building.dns_resolver(Arc::new(guard.clone())),
        None => building,
    }
}

/// A request, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// How long it may take, answer included.
    pub(crate) patience: Duration,
    /// How much of the answer is read; the rest is of no interest.
    pub(crate) most_read: usize,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long we are asked to wait.
    pub(crate) retry_after: Option<Duration>,
    /// When what may be asked of it is enough again, in the way of GitHub or of Linear, if it is used up.
    pub(crate) reset_after: Option<Duration>,
    /// The beginning of the body.
    pub(crate) body: String,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Status(answer.status, answer.retry_after, answer.body)
    }
}

/// Sends a request.
///
/// # Errors
/// The reply that it is when there is none.
pub(crate) async fn exchange(client: &Client, request: Request) -> Result<Answer, Reply> {
    let (patience, most_read) = (request.patience, request.most_read);
    let mut building = client
        .request(request.method, request.url)
        .body(request.body)
        .timeout(patience);
    for (name, value) in request.headers {
        building = building.header(name, value);
    }
    let unfit =
        |error: reqwest::Error| Reply::Unfit(format!("it cannot be sent: {}", chassis::chain(&error.without_url())));
    let nothing = |error: reqwest::Error| Reply::Nothing(format!("no reply: {}", chassis::chain(&error.without_url())));
    let request = building.build().map_err(unfit)?;
    let response = client.execute(request).await.map_err(nothing)?;
    let status = response.status().as_u16();
    let now = u64::try_from(bus::clock::now_ms() / 1000).unwrap_or_default();
    let text = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = text.and_then(|text| retry_after(text, now));
    let reset_after = reset_after(response.headers(), now);
    let mut body = response.bytes_stream();
    let mut read = Vec::new();
    while let Some(Ok(part)) = body.next().await {
        read.extend(part.iter().take(most_read.saturating_sub(read.len())));
        if read.len() >= most_read {
            break;
        }
    }
    Ok(Answer {
        status,
        retry_after,
        reset_after,
        body: String::from_utf8_lossy(&read).into_owned(),
    })
}

fn reset_after(headers: &HeaderMap, now: u64) -> Option<Duration> {
    let number = |name| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    // GitHub counts in seconds; Linear in milliseconds.
    if number("x-ratelimit-remaining") == Some(0) {
        let left = number("x-ratelimit-reset")?.saturating_sub(now);
        return (left > 0).then(|| Duration::from_secs(left));
    }
    let left = number("x-ratelimit-requests-reset")?.saturating_sub(now * 1_000);
    let used_up = number("x-ratelimit-requests-remaining") == Some(0);
    (used_up && left > 0).then(|| Duration::from_millis(left))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests spawn freely")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpSocket, TcpStream},
        time::{Instant, timeout},
    };

    /// A receiver that answers every connection with these parts, again and again the last one, and counts what
    /// it could send.
    async fn receiver(head: String, more: &'static [u8]) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4_096];
                let _read = stream.read(&mut request).await.unwrap();
                stream.write_all(head.as_bytes()).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                while !more.is_empty() && stream.write_all(more).await.is_ok() {
                    count.fetch_add(more.len(), Ordering::Relaxed);
                }
            }
        });
        (url, sent)
    }

    async fn post(url: &str) -> Reply {
        testkit::crypto();
        let request = Request {
            method: Method::POST,
            url: url.parse().unwrap(),
            headers: Vec::new(),
            body: "{}".into(),
            patience: WHOLE,
            most_read: MOST_READ,
        };
        let exchanged = exchange(&usual(None).build().unwrap(), request).await;
        exchanged.map_or_else(|reply| reply, Reply::from)
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (elsewhere, asked) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(), b"").await;
        let head = format!("HTTP/1.1 307 Moved\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        let (url, _) = receiver(head, b"").await;
        assert_eq!(post(&url).await, Reply::Status(307, None, String::new()));
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        assert_eq!(post(&elsewhere).await, Reply::Status(200, None, String::new()));
    }

    #[tokio::test]
    async fn of_a_reply_without_end_only_the_beginning_is_read() {
        const PART: &[u8] = &[b'x'; 64 * 1_024];
        let (url, sent) = receiver("HTTP/1.1 200 OK\r\nretry-after: 7\r\n\r\n".to_owned(), PART).await;
        let seven = Some(Duration::from_secs(7));
        assert_eq!(post(&url).await, Reply::Status(200, seven, "x".repeat(MOST_READ)));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let sent = sent.load(Ordering::Relaxed);
        assert!(
            sent < 16 * 1_024 * 1_024,
            "{sent}: what the kernel's buffers take, and no more"
        );
    }

    #[tokio::test]
    async fn a_receiver_that_says_nothing_is_left_after_20_seconds() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begun = Instant::now();
        let reply = post(&format!("http://{}/", silent.local_addr().unwrap())).await;
        assert!(matches!(reply, Reply::Nothing(_)), "{reply:?}");
        assert!((WHOLE..WHOLE * 2).contains(&begun.elapsed()));
    }

    #[tokio::test]
    async fn a_receiver_that_cannot_be_connected_to_is_left_after_5_seconds() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap(); // Nobody accepts: after the first ones the kernel answers no more.
        let address = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        let begun = Instant::now();
        let reply = post(&format!("http://{address}/")).await;
        assert!(matches!(reply, Reply::Nothing(_)), "{reply:?}");
        assert!((CONNECT..WHOLE).contains(&begun.elapsed()));
        drop(waiting);
    }
}
