//! What every message on a list has in common.

use crate::{
    BuildEvent, BuildQueueMessage, DeploymentEvent, DeploymentQueueMessage, InvalidMessage, Metadata, Notification,
    Priority, WebhookDelivery, WorkerReport,
};
use serde::{Serialize, de::DeserializeOwned, ser::Error as _};

mod sealed {
    #[expect(unnameable_types, reason = "that is what seals the trait")]
    pub trait Sealed {}
}

/// A message that may travel on a [`crate::route::List`]. Only the contract defines messages.
pub trait Message: sealed::Sealed + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Names the message for ever: the same id twice is the same message.
    fn id(&self) -> String;

    /// Tracing and correlation, if the message has any.
    fn metadata(&self) -> Option<&Metadata>;

    /// The metadata, to be filled in; made if there is none.
    fn metadata_mut(&mut self) -> &mut Metadata;

    /// Which lane of its list it waits in; the list itself when it has no such lane.
    fn lane(&self) -> &'static str {
        ""
    }

    /// Parses and validates.
    ///
    /// # Errors
    /// Names the field and the reason.
    fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        serde_json::from_slice(bytes).map_err(InvalidMessage::from)
    }

    /// The JSON text that goes onto the list.
    ///
    /// # Errors
    /// Never for the contract's own types; serde's signature allows it.
    fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = Vec::with_capacity(self.size_hint());
        serde_json::to_writer(&mut text, self)?;
        String::from_utf8(text).map_err(serde_json::Error::custom)
    }

    /// About how many bytes its JSON text has; a good guess saves copies of a text that grows.
    fn size_hint(&self) -> usize {
        512
    }
}

macro_rules! message {
    ($name:ident, |$this:ident| $id:expr $(, $more:item)*) => {
        impl sealed::Sealed for $name {}

        impl Message for $name {
            fn id(&self) -> String {
                let $this = self;
                $id
            }

            $($more)*

            fn metadata(&self) -> Option<&Metadata> {
                Some(&self.metadata)
            }

            fn metadata_mut(&mut self) -> &mut Metadata {
                &mut self.metadata
            }
        }
    };
}

message!(
    WebhookDelivery,
    |this| this.id.to_string(),
    fn lane(&self) -> &'static str {
        self.queue.as_str()
    },
    fn size_hint(&self) -> usize {
        self.body.len() / 4 * 5 + 2_048 // A fifth of its body are quotation marks.
    }
);
message!(BuildEvent, |this| this.key());
message!(DeploymentQueueMessage, |this| this.id.to_string());
message!(DeploymentEvent, |this| this.key());
message!(WorkerReport, |this| this.key());
message!(Notification, |this| this.event_id.to_string());

impl sealed::Sealed for BuildQueueMessage {}

impl Message for BuildQueueMessage {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn lane(&self) -> &'static str {
        self.priority.unwrap_or(Priority::Normal).as_str()
    }

    fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    fn metadata_mut(&mut self) -> &mut Metadata {
        self.rest.shift_remove("metadata"); // An explicit null, kept until now.
        self.metadata.get_or_insert_default()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        Self::parse(bytes)
    }
}
