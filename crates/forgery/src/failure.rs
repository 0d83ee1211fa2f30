//! Why a build failed: a stable code, a sentence, and whose fault it is.

use contract::Failure;

/// Stable codes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The message asks for something that cannot be done.
    InvalidMessage,
    /// This forgery has not the secret that the build names.
    SecretMissing,
    /// This forgery is not set up for it.
    NotConfigured,
    /// The git server refused the credentials.
    CloneAuth,
    /// There is no such repository.
    CloneNotFound,
    /// The git server could not be reached.
    CloneFailed,
    /// The repository is not such as is built: too large, or made to harm.
    CloneRefused,
    /// The repository has no such commit.
    CommitNotFound,
    /// There is no Dockerfile where it should be.
    DockerfileMissing,
    /// The pipeline is none, or cannot be carried out.
    PipelineInvalid,
    /// The compose file is none, or has what cannot be built.
    ComposeInvalid,
    /// A step of the build failed.
    BuildFailed,
    /// The registry refused.
    PushDenied,
    /// The registry does not take the image, whoever brings it.
    PushRefused,
    /// The registry could not be reached.
    PushFailed,
    /// The registry refused to give an image.
    PullDenied,
    /// The registry could not be reached.
    PullFailed,
    /// There is no such image.
    ImageNotFound,
    /// A container cannot be started as it is asked for.
    StartFailed,
    /// A container started and does not work.
    Unhealthy,
    /// It took too long.
    Timeout,
    /// The kernel killed a step for want of memory.
    OutOfMemory,
    /// The disk is full.
    DiskFull,
    /// The engine could not be reached, or gave up.
    EngineUnavailable,
    /// Something in forgery itself.
    Internal,
}

/// The longest message of a failure, in bytes: it must fit every message that carries it.
const LONGEST: usize = 4 * 1024;

/// A failed build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct BuildFailure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) step: Option<String>,
    pub(crate) exit_code: Option<i64>,
}

// === impl Kind ===

impl Kind {
    /// The code.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::InvalidMessage => "invalid_message",
            Self::SecretMissing => "secret_missing",
            Self::NotConfigured => "not_configured",
            Self::CloneAuth => "clone_auth",
            Self::CloneNotFound => "clone_not_found",
            Self::CloneFailed => "clone_failed",
            Self::CloneRefused => "clone_refused",
            Self::CommitNotFound => "commit_not_found",
            Self::DockerfileMissing => "dockerfile_missing",
            Self::PipelineInvalid => "pipeline_invalid",
            Self::ComposeInvalid => "compose_invalid",
            Self::BuildFailed => "build_failed",
            Self::PushDenied => "push_denied",
            Self::PushRefused => "push_refused",
            Self::PushFailed => "push_failed",
            Self::PullDenied => "pull_denied",
            Self::PullFailed => "pull_failed",
            Self::ImageNotFound => "image_not_found",
            Self::StartFailed => "start_failed",
            Self::Unhealthy => "unhealthy",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out_of_memory",
            Self::DiskFull => "disk_full",
            Self::EngineUnavailable => "engine_unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether trying again can help: only when the infrastructure failed, not the build.
    pub(crate) const fn is_infrastructure(self) -> bool {
        matches!(
            self,
            Self::CloneFailed
                | Self::PushFailed
                | Self::PullFailed
                | Self::DiskFull
                | Self::EngineUnavailable
                | Self::Internal
        )
    }
}

// === impl BuildFailure ===

impl BuildFailure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: cut(message.into()),
            step: None,
            exit_code: None,
        }
    }

    /// The failure as events carry it.
    pub(crate) fn to_contract(&self) -> Failure {
        let mut failure = Failure::new(self.kind.word(), &*self.message);
        failure.step.clone_from(&self.step);
        failure.exit_code = self.exit_code;
        failure
    }
}

/// Keeps the beginning, which says what failed, and says that it was cut.
fn cut(mut message: String) -> String {
    if message.len() > LONGEST {
        message.truncate(message.floor_char_boundary(LONGEST));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let failure = BuildFailure::new(Kind::BuildFailed, "é".repeat(LONGEST));
        assert!(failure.message.len() <= LONGEST + 3 && failure.message.ends_with("é…"));
        assert_eq!(BuildFailure::new(Kind::BuildFailed, "short").message, "short");
    }
}
