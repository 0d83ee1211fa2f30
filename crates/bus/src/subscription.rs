//! Listening to a channel.

use crate::{Bus, Error, connection::Own};
use fred::{
    clients::SubscriberClient,
    interfaces::{EventInterface as _, PubsubInterface as _},
    types::{Message, config::Server},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Messages of one channel. A channel may lose messages: what matters must also be kept elsewhere.
#[derive(Debug)]
pub struct Subscription {
    /// Held, because dropping it ends the connection.
    _client: Own<SubscriberClient>,
    messages: Receiver<Message>,
    /// Tells that the connection is there again, after it was lost.
    reconnects: Receiver<Server>,
}

/// Something came, or may have been missed.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Vec<u8>),
    /// Messages were lost, because this reader was too slow, or the connection was lost; then some may still be.
    Missed(u64),
    /// The connection has ended for ever.
    Ended,
}

impl Bus {
    /// Subscribes to a channel; returns once Redis has confirmed it.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub async fn subscribe(&self, channel: &str) -> Result<Subscription, Error> {
        let client = self.subscriber().await?;
        // Before it subscribes: what is published right after must not be missed.
        let messages = client.message_rx();
        let confirmed = client.subscribe(channel).await;
        Subscription::new(client, messages, confirmed, channel)
    }

    /// Tells whoever listens to a channel.
    ///
    /// # Errors
    /// When Redis is unreachable; then it may or may not have been told.
    pub async fn publish(&self, channel: &str, message: String) -> Result<(), Error> {
        let told: Result<u64, _> = self.client().publish(channel, message).await;
        told.map(drop)
            .map_err(|source| Error::redis(source, "publish", channel))
    }

    /// Subscribes to every channel that fits a pattern.
    pub(crate) async fn subscribe_to_all(&self, pattern: &str) -> Result<Subscription, Error> {
        let client = self.subscriber().await?;
        let messages = client.message_rx();
        let confirmed = client.psubscribe(pattern).await;
        Subscription::new(client, messages, confirmed, pattern)
    }
}

// === impl Subscription ===

impl Subscription {
    fn new(
        client: Own<SubscriberClient>,
        messages: Receiver<Message>,
        confirmed: Result<(), fred::error::Error>,
        channels: &str,
    ) -> Result<Self, Error> {
        confirmed.map_err(|source| Error::redis(source, "subscribe", channels))?;
        let reconnects = client.reconnect_rx();
        Ok(Self {
            _client: client,
            messages,
            reconnects,
        })
    }

    /// The channel of the next message; some unknown one when messages were missed, `None` at the end.
    pub(crate) async fn next_channel(&mut self) -> Option<Option<String>> {
        match self.messages.recv().await {
            Ok(message) => Some(Some(message.channel.to_string())),
            Err(RecvError::Lagged(_)) => Some(None),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next message. Cancel-safe.
    pub async fn next(&mut self) -> Heard {
        let heard = tokio::select! {
            heard = self.messages.recv() => heard,
            Ok(_) | Err(RecvError::Lagged(_)) = self.reconnects.recv() => return Heard::Missed(0),
        };
        match heard {
            Ok(message) => Heard::Message(message.value.as_bytes().unwrap_or_default().to_vec()),
            Err(RecvError::Lagged(missed)) => Heard::Missed(missed),
            Err(RecvError::Closed) => Heard::Ended,
        }
    }
}
