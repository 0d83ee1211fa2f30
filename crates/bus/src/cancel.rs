//! Stopping a message, wherever it is in its life.

use crate::{Bus, Error, keys::Keys, script};
use contract::{CancelRequest, Message, route::List};

/// How long a cancelled message is remembered that was never seen.
const TOMBSTONE_SECONDS: u64 = 7 * 86_400;

/// Stops messages of one list.
#[derive(Clone, Debug)]
pub struct Canceller {
    bus: Bus,
    keys: Keys,
    channel: String,
}

/// What became of a cancel request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Nobody ran it; it has ended.
    Ended,
    /// A worker runs it and has been told, now and durably.
    Signalled,
    /// It had ended before, in this state.
    TooLate(String),
}

impl Bus {
    /// A canceller for this list, telling workers on that channel.
    pub fn canceller<T: Message>(&self, list: &List<T>, channel: &str) -> Canceller {
        Canceller {
            bus: self.clone(),
            keys: Keys::new(list),
            channel: channel.to_owned(),
        }
    }
}

// === impl Canceller ===

impl Canceller {
    /// Stops a message; `event` is told when it ends, by whoever ends it. Repeating is harmless.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn cancel(&self, request: &CancelRequest, event: &str) -> Result<Cancelled, Error> {
        let id = request.build_id.as_str();
        let text = serde_json::to_string(request).unwrap_or_default();
        let args = vec![
            request.outcome.as_str().into(),
            event.into(),
            TOMBSTONE_SECONDS.to_string().into(),
            id.into(),
            self.channel.as_str().into(),
            text.into(),
        ];
        let keys = self.keys.all(self.keys.list(), &self.keys.job(id));
        let answer = script::run(self.bus.client(), &self.bus.scripts().cancel, "cancel", keys, args).await?;
        match answer.text(0).as_str() {
            "ended" => Ok(Cancelled::Ended),
            "signalled" => Ok(Cancelled::Signalled),
            "already" => Ok(Cancelled::TooLate(answer.text(1))),
            _ => Err(answer.unexpected()),
        }
    }
}
