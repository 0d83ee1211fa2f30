//! What travels beside every message: who triggered it, how it is traced.

use crate::{InvalidMessage, Rest, fields::Fields};

/// Tracing and correlation of a message; anything else found there is kept.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Metadata {
    /// What caused the message: `webhook`, `api`, `schedule` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<String>,
    /// The same for everything that one outside event caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The service that made the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_by: Option<String>,
    /// W3C Trace Context of the span that made the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Rest,
}

// === impl Metadata ===

impl Metadata {
    /// Metadata with only a correlation id.
    pub fn correlated(id: impl Into<String>) -> Self {
        Self {
            correlation_id: Some(id.into()),
            ..Self::default()
        }
    }

    pub(crate) fn read(mut fields: Fields) -> Result<Self, InvalidMessage> {
        let triggered_by = fields.optional("triggered_by");
        let correlation_id = fields.optional("correlation_id");
        let processed_by = fields.optional("processed_by");
        let traceparent = fields.optional("traceparent");
        let rest = fields.finish()?;
        Ok(Self {
            triggered_by,
            correlation_id,
            processed_by,
            traceparent,
            rest,
        })
    }
}
