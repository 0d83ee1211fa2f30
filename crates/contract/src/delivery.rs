//! A webhook, made uniform by gateway: the same shape whatever forge sent it.

#[cfg(doc)]
use crate::Message;
use crate::{CloneUrl, DeliveryId, Metadata, ProjectName, Provider, QueueType, Rest, Timestamp};
use serde::ser::Error as _;

/// One authentic webhook; one JSON object on `forge:webhooks`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WebhookDelivery {
    /// The body as it was received, for replay; where one delivery tells several events, it is with the first.
    pub body: String,
    /// The forge's name for this delivery.
    pub id: DeliveryId,
    /// Which kind of forge.
    pub provider: Provider,
    /// The event as the forge names it, such as `push`.
    pub event: String,
    /// The event's action, where it has one, such as `opened`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Which lane it waits in; not written where it is the usual one, as before there were others.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub queue: QueueType,
    /// When gateway took it.
    pub received_at: Timestamp,
    /// Where it happened; absent for events that belong to no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Who caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// What happened, as far as builds are concerned.
    pub source: SourceEvent,
    /// Correlation and tracing.
    #[serde(default)]
    pub metadata: Metadata,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// The repository an event is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Repository {
    /// `org/repo`.
    pub full_name: ProjectName,
    /// Where to clone it from.
    pub clone_url: CloneUrl,
    /// Its main branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
}

/// The part of an event that can lead to builds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SourceEvent {
    /// A ref moved, appeared or went away.
    Push {
        /// The full ref.
        #[serde(rename = "ref")]
        git_ref: String,
        /// Its commit before; all zeros when it is new.
        before: String,
        /// Its commit after; all zeros when it is gone.
        after: String,
        /// True when the ref was deleted.
        deleted: bool,
        /// Message of the newest commit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A pull request changed.
    PullRequest(PullRequest),
    /// Anything else; the event's name and body say what.
    Other,
}

/// A pull request, as far as builds are concerned.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// `open` or `closed`.
    pub state: String,
    /// Whether it is a draft.
    #[serde(default)]
    pub draft: bool,
    /// The branch it comes from.
    pub head_ref: String,
    /// Its newest commit.
    pub head_sha: String,
    /// The repository it comes from; absent when that was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_repository: Option<String>,
    /// The branch it goes to.
    pub base_ref: String,
    /// That branch's commit; empty where the forge does not say (GitLab).
    pub base_sha: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_usual(queue: &QueueType) -> bool {
    *queue == QueueType::Default
}

// === impl WebhookDelivery ===

impl WebhookDelivery {
    /// A delivery that belongs to no repository yet.
    pub fn new(
        id: DeliveryId,
        provider: Provider,
        event: &str,
        received_at: Timestamp,
        source: SourceEvent,
        body: String,
    ) -> Self {
        Self {
            id,
            provider,
            received_at,
            source,
            body,
            event: event.to_owned(),
            queue: QueueType::Default,
            action: None,
            repository: None,
            sender: None,
            metadata: Metadata::default(),
            rest: Rest::new(),
        }
    }

    /// How the JSON text of a delivery begins: its body follows, as the inside of a JSON string.
    pub const BEGINNING: &str = r#"{"body":""#;

    /// The same as [`Message::to_json`] for a delivery whose body has been written already: `begun` is
    /// [`Self::BEGINNING`] and the body, escaped as the inside of a JSON string (RFC 8259, section 7). A long body
    /// is then not looked at again, nor copied where `begun` has room for what follows it. What `begun` says is not checked.
    ///
    /// # Errors
    /// When this delivery has a body of its own.
    pub fn finish(&self, mut begun: Vec<u8>) -> Result<Vec<u8>, serde_json::Error> {
        if !self.body.is_empty() {
            return Err(serde_json::Error::custom("a delivery has one body"));
        }
        let at = begun.len();
        serde_json::to_writer(&mut begun, self)?;
        begun.drain(at..at + Self::BEGINNING.len());
        Ok(begun)
    }
}

// === impl Repository ===

impl Repository {
    /// A repository by name and address.
    pub const fn new(full_name: ProjectName, clone_url: CloneUrl, default_branch: Option<String>) -> Self {
        Self {
            full_name,
            clone_url,
            default_branch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message as _;

    #[test]
    fn a_delivery_around_a_written_body_is_the_same_text() {
        let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
        let at = Timestamp::from_millis(0);
        for body in ["", "{}", "a \"quoted\"\n\\ \u{1} é"] {
            let with = |body: &str| {
                let id: DeliveryId = DeliveryId::clone(&id);
                let mut delivery = WebhookDelivery::new(
                    id,
                    Provider::Gitea,
                    "push",
                    at.clone(),
                    SourceEvent::Other,
                    body.to_owned(),
                );
                delivery.sender = Some("octocat".to_owned());
                delivery
            };
            let escaped = serde_json::to_string(body).unwrap();
            let escaped = escaped.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            let begun = format!("{}{escaped}", WebhookDelivery::BEGINNING).into_bytes();
            let text = String::from_utf8(with("").finish(begun).unwrap()).unwrap();
            assert_eq!(text, with(body).to_json().unwrap());
            assert_eq!(body.is_empty(), with(body).finish(Vec::new()).is_ok());
        }
    }
}
