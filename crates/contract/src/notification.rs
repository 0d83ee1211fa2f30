//! What others are told: a lifecycle event, ready to be sent out.

use crate::{Metadata, Rest, Timestamp};
use uuid::Uuid;

/// A lifecycle event; one JSON object on `forge:notifications`, and the body of outbound webhooks.
///
/// Receivers de-duplicate by `eventId`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Notification {
    /// Names the event for ever.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub event_id: Uuid,
    /// What happened, such as `build.succeeded`.
    pub event_type: String,
    /// The same for who wants to know no more: the kind of the resource with `Created`, `Updated`, `Deleted` or
    /// `StatusChanged`, such as `BuildStatusChanged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_class: Option<String>,
    /// When.
    pub timestamp: Timestamp,
    /// Version of this shape.
    pub schema_version: String,
    /// Grows with each change of the resource.
    pub version: u64,
    /// Grows with each notification about the resource.
    pub sequence_hint: u64,
    /// What it happened to.
    pub resource: Resource,
    /// What it belongs to.
    #[serde(default)]
    pub correlation: Correlation,
    /// The fields that changed, for updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_delta: Option<serde_json::Value>,
    /// The state after it: status, image, digest, reason …
    #[serde(default)]
    pub data: Rest,
    /// Tracing.
    #[serde(default)]
    pub metadata: Metadata,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What a notification is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// `Build`, `Project`, …
    pub kind: String,
    /// `forge/v1`.
    pub api_version: String,
    /// For people.
    pub name: String,
    /// The project it belongs to.
    pub namespace: String,
    /// Names it for ever.
    pub uid: String,
}

/// What a notification belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Correlation {
    /// The project.
    #[serde(default, rename = "projectUUID", skip_serializing_if = "Option::is_none")]
    pub project_uuid: Option<String>,
    /// The service within the project.
    #[serde(default, rename = "applicationUUID", skip_serializing_if = "Option::is_none")]
    pub application_uuid: Option<String>,
    /// The deployment.
    #[serde(default, rename = "deploymentUUID", skip_serializing_if = "Option::is_none")]
    pub deployment_uuid: Option<String>,
    /// The same for everything that one outside event caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

// === impl Notification ===

impl Notification {
    /// A notification in the current schema version, with nothing optional.
    pub fn new(event_id: Uuid, event_type: impl Into<String>, timestamp: Timestamp, resource: Resource) -> Self {
        let event_type = event_type.into();
        Self {
            event_id,
            timestamp,
            event_class: Some(class(&resource.kind, &event_type)),
            resource,
            event_type,
            schema_version: "1".to_owned(),
            version: 1,
            sequence_hint: 1,
            correlation: Correlation::default(),
            spec_delta: None,
            data: Rest::new(),
            metadata: Metadata::default(),
            rest: Rest::new(),
        }
    }
}

/// What comes into being is created; whatever else happens to it changes its status.
fn class(kind: &str, event_type: &str) -> String {
    let change = event_type.rsplit('.').next().unwrap_or_default();
    let word = match change {
        "created" | "queued" | "opened" | "pushed" => "Created",
        "updated" => "Updated",
        "deleted" => "Deleted",
        _ => "StatusChanged",
    };
    format!("{kind}{word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_of_a_class() {
        for (kind, event_type, expected) in [
            ("Build", "build.queued", "BuildCreated"),
            ("Build", "build.succeeded", "BuildStatusChanged"),
            ("Project", "project.created", "ProjectCreated"),
            ("Service", "service.updated", "ServiceUpdated"),
            ("Endpoint", "endpoint.deleted", "EndpointDeleted"),
            ("Odd", "", "OddStatusChanged"),
        ] {
            assert_eq!(class(kind, event_type), expected);
        }
    }
}
