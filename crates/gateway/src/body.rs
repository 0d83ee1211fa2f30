//! Bodies: within their bounds of size, time and memory, whoever sends them.

use crate::reject::Rejection;
use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Reads bodies into a bounded memory.
#[derive(Debug)]
pub(crate) struct Bodies {
    longest: usize,
    /// What bodies take, in units of [`UNIT`].
    memory: Semaphore,
}

/// A body, and the memory that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Whole<'a> {
    pub(crate) bytes: Vec<u8>,
    held: SemaphorePermit<'a>,
}

/// The longest a body may take, drip by drip or at once.
const WAIT: Duration = Duration::from_secs(8);
/// Memory is counted in these.
const UNIT: usize = 1_024;

// === impl Whole ===

impl<'a> Whole<'a> {
    /// For what was made of it.
    pub(crate) fn into_permit(self) -> SemaphorePermit<'a> {
        self.held
    }
}

// === impl Bodies ===

impl Bodies {
    pub(crate) fn new(longest: usize, memory: usize) -> Self {
        Self {
            longest,
            memory: Semaphore::new((memory / UNIT).clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// Reads a body. What is announced counts against its bound, but only what has come takes memory: a promise
    /// of much keeps nobody else out.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Whole<'_>, Rejection> {
        let announced = headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.longest) {
            return Err(Rejection::TooLarge("body", self.longest));
        }
        let read = self.collect(body, announced.unwrap_or_default());
        timeout(WAIT, read).await.unwrap_or(Err(Rejection::TooSlow))
    }

    async fn collect(&self, mut body: Body, announced: usize) -> Result<Whole<'_>, Rejection> {
        let most = if announced == 0 { self.longest } else { announced };
        let mut bytes = Vec::new();
        let mut held = self.hold_more(0, 0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_broken| Rejection::Unreadable)?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > self.longest.saturating_sub(bytes.len()) {
                return Err(Rejection::TooLarge("body", self.longest));
            }
            let needed = bytes.len() + data.len();
            if needed > bytes.capacity() {
                // Twice what has come, so that many small parts are not moved again and again.
                let wanted = needed.max((needed * 2).min(most));
                held.merge(self.hold_more(bytes.capacity(), wanted)?);
                bytes.reserve_exact(wanted - bytes.len());
            }
            bytes.extend_from_slice(&data);
            if body.is_end_stream() {
                break;
            }
        }
        Ok(Whole { bytes, held })
    }

    /// What a buffer of `wanted` bytes takes beyond one of `had`.
    fn hold_more(&self, had: usize, wanted: usize) -> Result<SemaphorePermit<'_>, Rejection> {
        let units = wanted.div_ceil(UNIT) - had.div_ceil(UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.memory.try_acquire_many(units).map_err(|_full| Rejection::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;

    fn announced(length: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, length.parse().unwrap())])
    }

    fn in_parts(part: usize, count: usize) -> Body {
        let parts = std::iter::repeat_n(Bytes::from(vec![b'x'; part]), count);
        Body::from_stream(futures_util::stream::iter(parts.map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn memory_is_taken_by_what_has_come_and_given_back() {
        let bodies = Bodies::new(1 << 20, 1 << 20);
        // Thousands who promise much and send nothing keep nobody out.
        let mut held = Vec::new();
        for _ in 0..5_000 {
            held.push(bodies.collect(Body::empty(), 1 << 20).await.unwrap());
        }
        assert_eq!(bodies.memory.available_permits(), 1_024);
        // Nor does who sends a body byte by byte without saying how long it will be.
        held.push(bodies.collect(in_parts(1, 3_000), 0).await.unwrap());
        assert!(bodies.memory.available_permits() >= 1_024 - 6);
        let whole = bodies.read(&announced("300000"), in_parts(1_000, 300)).await.unwrap();
        assert_eq!(whole.bytes.len(), 300_000);
        let refused = bodies.read(&announced("900000"), in_parts(1_000, 900)).await;
        assert!(matches!(refused, Err(Rejection::Busy)));
        drop((whole, held));
        assert!(bodies.read(&announced("900000"), in_parts(1_000, 900)).await.is_ok());
        assert_eq!(bodies.memory.available_permits(), 1_024);
    }

    #[tokio::test]
    async fn a_body_is_too_large_by_what_it_announces_and_by_what_comes() {
        let bodies = Bodies::new(1_000, 1 << 20);
        let refused = bodies.read(&announced("1001"), Body::empty()).await;
        assert!(matches!(refused, Err(Rejection::TooLarge("body", 1_000))));
        let refused = bodies.read(&HeaderMap::new(), in_parts(100, 11)).await;
        assert!(matches!(refused, Err(Rejection::TooLarge("body", 1_000))));
        assert_eq!(
            bodies
                .read(&HeaderMap::new(), in_parts(100, 10))
                .await
                .unwrap()
                .bytes
                .len(),
            1_000
        );
    }
}
