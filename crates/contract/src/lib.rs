#![doc = include_str!("../README.md")]

mod build;
mod cancel;
mod commit;
mod delivery;
pub mod deployment;
mod event;
mod fields;
mod id;
mod log;
mod message;
mod metadata;
mod notification;
mod options;
pub mod pipeline;
mod project;
pub mod route;
mod status;
mod text;
mod time;
mod vocabulary;
pub mod worker;

pub use build::{BuildQueueMessage, PullRequestData, WebhookData};
pub use cancel::{CancelOutcome, CancelRequest};
pub use commit::{Branch, CommitHash, InvalidBranch, InvalidCommitHash};
pub use delivery::{PullRequest, Repository, SourceEvent, WebhookDelivery};
pub use deployment::{DeployConfig, Deploying, DeploymentEvent, DeploymentQueueMessage, HealthCheck, Running};
pub use event::{BuildEvent, Failure, Happening, Image, Stage, StageTime};
pub use fields::{FieldError, InvalidMessage};
pub use id::{
    BuildId, DeliveryId, DeploymentId, ImageReference, InvalidBuildId, InvalidDeliveryId, InvalidDeploymentId,
    InvalidImageReference, InvalidServiceName, ServiceName,
};
pub use log::{LogChunk, LogLine, Stream};
pub use message::Message;
pub use metadata::Metadata;
pub use notification::{Correlation, Notification, Resource};
pub use options::{
    BuildNetwork, BuildOptions, ImageTag, InvalidImageTag, InvalidPlatform, InvalidSecretName, Platform, SecretName,
};
pub use pipeline::{HostLabel, InvalidHostLabel, InvalidStepName, Pipeline, Step, StepName, StepType};
pub use project::{
    CloneUrl, InvalidCloneUrl, InvalidProjectName, InvalidRelativePath, ProjectName, RelativePath, Scheme,
};
pub use status::{BuildStatus, IllegalTransition, Terminal};
pub use time::{InvalidTimestamp, Timestamp};
pub use vocabulary::{BuildType, EventType, Priority, Provider, QueueType, Strategy, UnknownWord};
pub use worker::{WorkerReport, WorkerState};

/// Fields that this version does not know, kept so that nothing is lost on the way through.
pub type Rest = serde_json::Map<String, serde_json::Value>;
