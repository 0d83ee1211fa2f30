//! The closed vocabularies of the contract. A new word must break every consumer's build.

/// A word that is not in the vocabulary; the text lists those that are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {0}")]
pub struct UnknownWord(pub(crate) &'static str);

/// Defines an enum of fixed words with serde, `FromStr`, `as_str` and `ALL`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $list:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::vocabulary::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::vocabulary::UnknownWord($list)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// How the image is described.
    BuildType, "dockerfile, compose, pipeline", {
        /// One Dockerfile.
        Dockerfile = "dockerfile",
        /// Every service with a `build` section of a compose file.
        Compose = "compose",
        /// Steps of a pipeline file.
        Pipeline = "pipeline",
    }
}

words! {
    /// Where the build runs.
    Strategy, "local, operator, prow", {
        /// On the engine of the forgery that takes it.
        Local = "local",
        /// As a Shipwright `BuildRun` in a Kubernetes cluster.
        Operator = "operator",
        /// As a `ProwJob` in a Kubernetes cluster.
        Prow = "prow",
    }
}

words! {
    /// Which kind of event asked for the build.
    EventType, "push, pull_request, tag", {
        /// New commits on a branch.
        Push = "push",
        /// A pull request opened or changed.
        PullRequest = "pull_request",
        /// A new tag.
        Tag = "tag",
    }
}

words! {
    /// Which lane of a list a message waits in.
    Priority, "high, normal, low", {
        /// Before others.
        High = "high",
        /// The default.
        Normal = "normal",
        /// After others, but never starved.
        Low = "low",
    }
}

words! {
    /// The kind of git forge that sent a webhook.
    Provider, "github, gitlab, gitea, forgejo, bitbucket", {
        /// GitHub and GitHub Enterprise.
        Github = "github",
        /// GitLab.
        Gitlab = "gitlab",
        /// Gitea.
        Gitea = "gitea",
        /// Forgejo.
        Forgejo = "forgejo",
        /// Bitbucket.
        Bitbucket = "bitbucket",
    }
}

words! {
    /// What kind of work a webhook leads to; each kind waits in a lane of its own.
    QueueType, "default, deployment, validation, workflow, recovery", {
        /// Whatever is none of the others.
        Default = "default",
        /// New code on a branch or tag, releases.
        Deployment = "deployment",
        /// Pull requests and the checks on them.
        Validation = "validation",
        /// What people say about them: reviews, comments, installations.
        Workflow = "workflow",
        /// Asked for again, after something failed.
        Recovery = "recovery",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro derives for all vocabularies alike")]
impl Default for QueueType {
    fn default() -> Self {
        Self::Default
    }
}
