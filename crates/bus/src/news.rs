//! One subscription to the channels of all logs, that wakes whoever reads one of them.

use crate::{Bus, Error, Subscription};
use contract::route;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};

/// Wakes readers; made when the first one comes.
#[derive(Debug)]
pub(crate) struct News {
    readers: Readers,
    task: JoinHandle<()>,
}

/// A reader's place among those who are woken.
#[derive(Debug)]
pub(crate) struct Wake {
    notify: Arc<Notify>,
}

type Readers = Arc<Mutex<HashMap<String, Vec<Weak<Notify>>>>>;

// === impl News ===

impl News {
    pub(crate) async fn start(bus: &Bus) -> Result<Self, Error> {
        let heard = bus.subscribe_to_all(&format!("{}*", route::LOGS)).await?;
        let readers = Readers::default();
        let task = spawn(tell(heard, Arc::clone(&readers)));
        Ok(Self { readers, task })
    }

    /// Wakes for the log on this channel, from now on until it is dropped.
    pub(crate) fn of(&self, channel: &str) -> Wake {
        let notify = Arc::new(Notify::new());
        let mut readers = lock(&self.readers);
        // Who has left is struck off here, so the table is as long as there are readers, about.
        readers.retain(|_, waiting| waiting.iter().any(|reader| reader.strong_count() > 0));
        let waiting = readers.entry(channel.to_owned()).or_default();
        waiting.retain(|reader| reader.strong_count() > 0);
        waiting.push(Arc::downgrade(&notify));
        Wake { notify }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Wake ===

impl Wake {
    /// Waits for news, at most so long: a channel may lose messages.
    pub(crate) async fn within(&self, patience: Duration) {
        tokio::time::timeout(patience, self.notify.notified()).await.ok(); // Either way it is time to look.
    }
}

async fn tell(mut heard: Subscription, readers: Readers) {
    while let Some(channel) = heard.next_channel().await {
        let readers = lock(&readers);
        let woken = match &channel {
            Some(channel) => readers.get(channel).into_iter().collect::<Vec<_>>(),
            None => readers.values().collect(), // Some were missed, nobody knows which.
        };
        for reader in woken.into_iter().flatten().filter_map(Weak::upgrade) {
            reader.notify_one();
        }
    }
}

fn lock(readers: &Readers) -> MutexGuard<'_, HashMap<String, Vec<Weak<Notify>>>> {
    readers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "ends with the bus that it belongs to")]
fn spawn(future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(future)
}
