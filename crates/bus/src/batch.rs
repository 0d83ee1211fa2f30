//! Many senders, few round trips: whatever waits while one round trip is under way goes with the next.

use crate::{Bus, Error, ErrorKind, Parcel, Producer, Sent};
use contract::{Message, route::List};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};

/// Sends messages for many tasks at once; cheap to clone. A message that comes alone is sent at once.
#[derive(Debug)]
pub struct Batch<T> {
    line: mpsc::Sender<Waiting>,
    /// How long a sender waits, in the line and for Redis.
    patience: Duration,
    producer: Producer<T>,
}

#[derive(Debug)]
struct Waiting {
    parcel: Parcel,
    answer: oneshot::Sender<Result<Sent, Error>>,
}

/// Most senders that wait; past it they are refused.
const LINE: usize = 4_096;
/// Most messages of a round trip.
const MOST: usize = 64;
/// With so many bytes a round trip takes no more messages: nothing else runs on Redis beside a script.
const MOST_BYTES: usize = 1 << 20;

impl Bus {
    /// A producer for this list that many tasks share, and the task that carries for it until the last clone is
    /// gone. It has two round trips under way at most: while one is answered the next is on its way.
    pub fn batch<T: Message>(&self, list: &List<T>) -> (Batch<T>, impl Future<Output = ()> + Send + use<T>) {
        let (line, waiting) = mpsc::channel(LINE);
        let waiting = Arc::new(Mutex::new(waiting));
        let (producer, patience) = (self.producer(list), self.patience());
        let carrier = || carry(producer.clone(), Arc::clone(&waiting));
        let (one, other) = (carrier(), carrier());
        let carrying = async move {
            tokio::join!(one, other);
        };
        let batch = Batch {
            line,
            patience,
            producer,
        };
        (batch, carrying)
    }
}

// === impl Batch ===

impl<T: Message> Batch<T> {
    /// Sends a message.
    ///
    /// # Errors
    /// `Full`, `Busy`, `TooLarge`, or Redis is unreachable; then it may or may not have been sent.
    pub async fn send(&self, parcel: Parcel) -> Result<Sent, Error> {
        let (answer, answered) = oneshot::channel();
        let full = |_full| {
            self.producer
                .error(ErrorKind::Busy(format!("{LINE} senders are waiting")))
        };
        self.line.try_send(Waiting { parcel, answer }).map_err(full)?;
        match timeout(self.patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(self.producer.error(ErrorKind::Unreachable)),
        }
    }
}

impl<T> Clone for Batch<T> {
    fn clone(&self) -> Self {
        Self {
            line: self.line.clone(),
            patience: self.patience,
            producer: self.producer.clone(),
        }
    }
}

/// Takes what waits, sends it, answers; again and again.
async fn carry<T: Message>(producer: Producer<T>, line: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    loop {
        let mut batch = Vec::with_capacity(MOST);
        {
            let mut line = line.lock().await;
            let Some(first) = line.recv().await else { return };
            let mut bytes = first.parcel.payload.len();
            batch.push(first);
            while batch.len() < MOST && bytes < MOST_BYTES {
                let Ok(next) = line.try_recv() else { break };
                bytes += next.parcel.payload.len();
                batch.push(next);
            }
        }
        // Who has gone away was told that it may not have been sent.
        batch.retain(|waiting| !waiting.answer.is_closed());
        let (parcels, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.parcel, w.answer)).unzip();
        if parcels.is_empty() {
            continue;
        }
        for (answer, sent) in answers.into_iter().zip(producer.send_all(parcels).await) {
            answer.send(sent).ok(); // Nobody waits any more.
        }
    }
}
