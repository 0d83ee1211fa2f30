//! What prow (or any other producer) asks of forgery: build this commit.

use crate::{
    Branch, BuildId, BuildOptions, BuildType, CloneUrl, CommitHash, EventType, InvalidMessage, Metadata, Priority,
    ProjectName, RelativePath, Rest, Strategy, Timestamp, fields::Fields,
};
use std::collections::BTreeMap;

/// The longest build that may be asked for, in seconds (a day).
const MAX_TIMEOUT_SECONDS: u32 = 86_400;

/// A build to be done; one JSON object on the list `forge:builds`.
///
/// `null` and `""` in an optional field mean "not given"; they are kept as they came, like every
/// field that this version does not know, and written out again.
///
/// # Examples
/// ```
/// use contract::{BuildQueueMessage, BuildType, Strategy};
/// let message = BuildQueueMessage::new(
///     "build-1".parse()?, "org/repo".parse()?, BuildType::Dockerfile,
///     "https://github.com/org/repo.git".parse()?, "abc123def456".parse()?, Strategy::Local,
/// );
/// assert!(!message.push_artifact());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "Rest")]
#[cfg_attr(feature = "schema", schemars(!try_from))]
#[non_exhaustive]
pub struct BuildQueueMessage {
    /// Names the build for ever; two messages with one id are one build.
    pub id: BuildId,
    /// The repository, `org/repo`.
    pub project_name: ProjectName,
    /// How the image is described.
    #[serde(rename = "type")]
    pub build_type: BuildType,
    /// Where to clone from.
    pub source: CloneUrl,
    /// The commit to build, whole or abbreviated.
    pub commit_hash: CommitHash,
    /// The branch the commit was pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// Where the build runs.
    pub strategy: Strategy,
    /// Whether the image is pushed to a registry; absent means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_artifact: Option<bool>,
    /// The event that asked for the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_data: Option<WebhookData>,
    /// Correlation and tracing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// When the message was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// A pipeline, inline, as YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Registry prefix for the image's name, such as `registry.example:8082/team`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexus_repo: Option<String>,
    /// Folder that is the build context; default the checkout's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_path: Option<RelativePath>,
    /// The Dockerfile, relative to the context; default `Dockerfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<RelativePath>,
    /// The stage of the Dockerfile to build; default the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Build arguments; never a place for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_args: Option<BTreeMap<String, String>>,
    /// Repository name of the image, without registry and tag; default `project_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ProjectName>,
    /// The lane the build waits in; default normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The longest the build may take, in seconds, 1 to 86,400; default is the builder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub timeout_seconds: Option<u32>,
    /// Whether the commit is by somebody who may use the project's secrets; absent means yes. A build that is not
    /// trusted gets no secret, and pushes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// How the image is built, as far as it differs from the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Box<BuildOptions>>,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What the git forge said about the event that asked for a build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WebhookData {
    /// Which kind of event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// The repository as the forge names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Who caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The full ref, such as `refs/heads/main`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// The ref's commit before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The ref's commit after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The pull request, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestData>,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// The pull request behind a build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PullRequestData {
    /// Its number in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `open` or `closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

// === impl BuildQueueMessage ===

impl BuildQueueMessage {
    /// A message with the required fields; everything optional is absent.
    pub fn new(
        id: BuildId,
        project_name: ProjectName,
        build_type: BuildType,
        source: CloneUrl,
        commit_hash: CommitHash,
        strategy: Strategy,
    ) -> Self {
        Self {
            id,
            project_name,
            build_type,
            source,
            commit_hash,
            strategy,
            branch: None,
            push_artifact: None,
            webhook_data: None,
            metadata: None,
            created_at: None,
            pipeline: None,
            nexus_repo: None,
            context_path: None,
            dockerfile: None,
            target: None,
            build_args: None,
            image: None,
            priority: None,
            timeout_seconds: None,
            trusted: None,
            options: None,
            rest: Rest::new(),
        }
    }

    /// Parses and validates a message.
    ///
    /// # Errors
    /// Names every field that is missing or wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        Self::read(Fields::parse(bytes)?)
    }

    /// Whether the image is to be pushed.
    pub fn push_artifact(&self) -> bool {
        self.push_artifact.unwrap_or(false)
    }

    /// Whether the build may use the project's secrets.
    pub fn is_trusted(&self) -> bool {
        self.trusted.unwrap_or(true)
    }

    /// What correlates this build with the event behind it, if anything does.
    pub fn correlation_id(&self) -> Option<&str> {
        self.metadata.as_ref()?.correlation_id.as_deref()
    }

    fn read(mut fields: Fields) -> Result<Self, InvalidMessage> {
        let f = &mut fields;
        let id = f.required("id");
        let project_name = f.required("project_name");
        let build_type = f.required("type");
        let source = f.required("source");
        let commit_hash = f.required("commit_hash");
        let strategy = f.required("strategy");
        let branch = f.optional("branch");
        let push_artifact = f.value("push_artifact");
        let webhook_data = f.object("webhook_data", WebhookData::read);
        let metadata = f.object("metadata", Metadata::read);
        let created_at = f.optional("created_at");
        let pipeline = f.optional("pipeline");
        let nexus_repo = f.optional("nexus_repo");
        let context_path = f.optional("context_path");
        let dockerfile = f.optional("dockerfile");
        let target = f.optional("target");
        let build_args = f.value("build_args");
        let image = f.optional("image");
        let priority = f.optional("priority");
        let timeout_seconds = timeout(f);
        let trusted = f.value("trusted");
        let options = f.value("options");
        let rest = fields.finish()?;
        let (Some(id), Some(project_name), Some(build_type), Some(source), Some(commit_hash), Some(strategy)) =
            (id, project_name, build_type, source, commit_hash, strategy)
        else {
            return Err(InvalidMessage::whole("a required field is missing"));
        };
        Ok(Self {
            id,
            project_name,
            build_type,
            source,
            commit_hash,
            branch,
            strategy,
            push_artifact,
            webhook_data,
            metadata,
            created_at,
            pipeline,
            nexus_repo,
            context_path,
            dockerfile,
            target,
            build_args,
            image,
            priority,
            timeout_seconds,
            trusted,
            options,
            rest,
        })
    }
}

fn timeout(fields: &mut Fields) -> Option<u32> {
    let seconds: u32 = fields.value("timeout_seconds")?;
    if (1..=MAX_TIMEOUT_SECONDS).contains(&seconds) {
        return Some(seconds);
    }
    fields.refuse("timeout_seconds", "expected 1 to 86400 seconds")
}

impl TryFrom<Rest> for BuildQueueMessage {
    type Error = InvalidMessage;

    fn try_from(map: Rest) -> Result<Self, Self::Error> {
        Self::read(Fields::new(map))
    }
}

// === impl WebhookData ===

impl WebhookData {
    /// Data about an event of this kind, with everything else absent.
    pub fn new(event_type: EventType) -> Self {
        Self {
            event_type: Some(event_type),
            repository: None,
            sender: None,
            git_ref: None,
            before: None,
            after: None,
            pull_request: None,
            rest: Rest::new(),
        }
    }

    fn read(mut f: Fields) -> Result<Self, InvalidMessage> {
        let mut data = Self {
            event_type: f.optional("event_type"),
            repository: f.optional("repository"),
            sender: f.optional("sender"),
            git_ref: f.optional("ref"),
            before: f.optional("before"),
            after: f.optional("after"),
            pull_request: f.object("pull_request", PullRequestData::read),
            rest: Rest::new(),
        };
        data.rest = f.finish()?;
        Ok(data)
    }
}

// === impl PullRequestData ===

impl PullRequestData {
    /// A pull request as builds carry it.
    pub fn new(number: u64, title: impl Into<String>, state: impl Into<String>) -> Self {
        Self {
            number: Some(number),
            title: Some(title.into()),
            state: Some(state.into()),
            rest: Rest::new(),
        }
    }

    fn read(mut f: Fields) -> Result<Self, InvalidMessage> {
        let number = f.value("number");
        let title = f.optional("title");
        let state = f.optional("state");
        let rest = f.finish()?;
        Ok(Self {
            number,
            title,
            state,
            rest,
        })
    }
}
