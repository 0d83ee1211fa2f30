//! Waiting for a list, on a connection of its own, because waiting blocks it.

use crate::{Bus, Error, ErrorKind, connection::Own};
use fred::{
    clients::Client,
    interfaces::{ClientLike as _, ListInterface as _},
    types::{Value, config::Options, lists::LMoveDirection},
};
use std::time::Duration;
use tokio::time::Instant;

/// Pause after an error, so that a missing Redis is not hammered.
pub(crate) const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Waits for what comes on a list.
#[derive(Debug)]
pub(crate) struct Wait {
    bus: Bus,
    list: String,
    client: Option<Own<Client>>,
}

// === impl Wait ===

impl Wait {
    pub(crate) fn new(bus: &Bus, list: &str) -> Self {
        Self {
            bus: bus.clone(),
            list: list.to_owned(),
            client: None,
        }
    }

    /// Moves the oldest message to another list. Nothing is known after an error.
    pub(crate) async fn taken(&mut self, to: &str) -> Result<Option<Vec<u8>>, Error> {
        self.moved(to.to_owned(), LMoveDirection::Left).await
    }

    /// Waits until there is a message, which stays where it is: it is moved from the end of the list to its end.
    pub(crate) async fn come(&mut self) -> Result<bool, Error> {
        let list = self.list.clone();
        let came = self.moved(list, LMoveDirection::Right).await?;
        Ok(came.is_some())
    }

    async fn moved(&mut self, to: String, side: LMoveDirection) -> Result<Option<Vec<u8>>, Error> {
        let (block, patience) = (self.bus.lease().block(), self.bus.lease().block_patience());
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(self.bus.blocking_client().await?),
        };
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(patience),
            ..Options::default()
        };
        let begun = Instant::now();
        let moved: Result<Value, _> = client
            .with_options(&options)
            .blmove(self.list.as_str(), to, LMoveDirection::Right, side, block.as_secs_f64())
            .await;
        match moved {
            Ok(value) => Ok(value.as_bytes().map(<[u8]>::to_vec)),
            Err(_) if begun.elapsed() < patience && begun.elapsed() >= block => Ok(None), // Redis said: nothing.
            Err(error) => {
                if begun.elapsed() >= patience {
                    client.force_reconnection().await.ok(); // A black hole; a failure here shows at the next call.
                }
                let error = Error::redis(error, "take", &self.list);
                if *error.kind() == ErrorKind::OutOfMemory {
                    tokio::time::sleep(ERROR_PAUSE).await;
                    return Ok(None); // Redis lets nobody block then, but scripts still take: that is how memory gets free.
                }
                Err(error)
            }
        }
    }
}
