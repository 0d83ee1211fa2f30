//! What is built of a repository, and when.

mod patterns;
mod schedule;

use contract::{
    BuildOptions, BuildQueueMessage, BuildType, DeployConfig, EventType, Priority, ProjectName, RelativePath, Strategy,
};
use patterns::Patterns;
pub(crate) use schedule::Schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One thing that is built of a repository.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) id: i64,
    pub(crate) project_id: i64,
    pub(crate) name: String,
    pub(crate) recipe: Recipe,
    pub(crate) created_at: i64,
    /// Since when its recipe is so.
    pub(crate) changed_at: i64,
}

/// What a service is built of and when. Everything has a default; an unknown field is a mistake.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Recipe {
    /// How the image is described; a Dockerfile by default.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) build_type: Option<BuildType>,
    /// Where builds run; on forgery's own engine by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strategy: Option<Strategy>,
    /// As in a build message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context_path: Option<RelativePath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dockerfile: Option<RelativePath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) build_args: BTreeMap<String, String>,
    /// Name of the image, without registry and tag; by default that of the repository, and of the service below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ProjectName>,
    /// Prefix of the image's name: the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<Priority>,
    /// 1 to 86,400.
    #[schemars(range(min = 1, max = 86_400))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_seconds: Option<u32>,
    /// As in a build message.
    #[serde(skip_serializing_if = "BuildOptions::is_usual")]
    pub(crate) options: BuildOptions,
    /// Which events lead to builds; all of them by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<EventType>,
    /// Which branches, for pull requests those they go to.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub(crate) branches: Patterns,
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub(crate) tags: Patterns,
    /// Only pushes that change one of these files; where a forge does not say what changed, it is built.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub(crate) paths: Patterns,
    /// Whether drafts of pull requests are built.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drafts: bool,
    /// What becomes of pull requests from forks.
    #[serde(skip_serializing_if = "Forks::is_usual")]
    pub(crate) forks: Forks,
    /// Whether what was pushed and built is run at once; not by default, and never what a pull request brings.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) auto_deploy: bool,
    /// How it is run.
    #[serde(skip_serializing_if = "is_usual")]
    pub(crate) deploy: DeployConfig,
    /// When it is built by the clock, besides.
    #[schemars(length(max = 10))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) schedules: Vec<Schedule>,
    /// What becomes of older builds; by default those of the main branch are all built, in all else the newest wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<Concurrency>,
}

/// What becomes of a pull request from a fork: code of somebody who may be anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Forks {
    /// It is not built.
    Ignore,
    /// It waits until somebody approves this very commit.
    #[default]
    Approve,
    /// It is built at once, without secrets, and its image is neither pushed nor deployed.
    BuildWithoutSecrets,
}

/// What becomes of older builds of the same branch or pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Concurrency {
    /// They are stopped: only the newest is of interest.
    Supersede,
    /// They go on, and the new one waits its turn.
    Queue,
    /// Those that run go on, those that wait are dropped.
    SkipIntermediate,
}

/// An event, as far as services care.
#[derive(Clone, Debug)]
pub(crate) struct Occasion<'a> {
    pub(crate) kind: EventType,
    /// The branch, the tag, or the branch that a pull request goes to.
    pub(crate) name: &'a str,
    pub(crate) draft: bool,
    /// Files that changed, where the forge says so.
    pub(crate) changed: Option<&'a [String]>,
}

/// Most schedules of a service.
const MOST_SCHEDULES: usize = 10;

/// The service of a repository that nobody has configured.
pub(crate) const USUAL: &str = "default";

fn is_usual(config: &DeployConfig) -> bool {
    *config == DeployConfig::default()
}

// === impl Service ===

impl Service {
    /// The one of a repository that nobody has configured.
    pub(crate) fn usual() -> Self {
        Self {
            id: 0,
            project_id: 0,
            name: USUAL.to_owned(),
            recipe: Recipe::default(),
            created_at: 0,
            changed_at: 0,
        }
    }
}

// === impl Forks ===

impl Forks {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Recipe ===

impl Recipe {
    /// What is wrong with it, beyond its form.
    pub(crate) fn mistake(&self) -> Option<String> {
        if self
            .timeout_seconds
            .is_some_and(|seconds| !(1..=86_400).contains(&seconds))
        {
            return Some("timeout_seconds: expected 1 to 86400".to_owned());
        }
        if self.schedules.len() > MOST_SCHEDULES {
            return Some(format!("schedules: expected at most {MOST_SCHEDULES}"));
        }
        if let Some(unknown) = self.options.rest.keys().next() {
            return Some(format!("options: unknown field `{unknown}`"));
        }
        self.deploy.mistake().map(|mistake| format!("deploy.{mistake}"))
    }

    pub(crate) const fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// As it is stored and shown; `{}` is the usual one.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether an event leads to a build of this service.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn wants(&self, occasion: &Occasion<'_>) -> Result<(), String> {
        let Occasion { kind, name, .. } = occasion;
        if !self.events.is_empty() && !self.events.contains(kind) {
            return Err(format!("it is not built for {kind} events"));
        }
        let (what, patterns) = match kind {
            EventType::Tag => ("tag", &self.tags),
            EventType::Push | EventType::PullRequest => ("branch", &self.branches),
        };
        if !patterns.match_name(name) {
            return Err(format!("it is not built for the {what} {name}"));
        }
        if occasion.draft && !self.drafts {
            return Err("it is not built for drafts".to_owned());
        }
        match occasion.changed {
            Some(changed) if !changed.iter().any(|path| self.paths.match_name(path)) && !self.paths.is_empty() => {
                Err("none of its files changed".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What becomes of older builds of this branch or pull request.
    pub(crate) fn concurrency(&self, is_main_branch: bool) -> Concurrency {
        let usual = if is_main_branch {
            Concurrency::Queue
        } else {
            Concurrency::Supersede
        };
        self.concurrency.unwrap_or(usual)
    }

    /// Writes what it says into the message of a build.
    pub(crate) fn apply(&self, service: &str, message: &mut BuildQueueMessage) {
        message.build_type = self.build_type.unwrap_or(message.build_type);
        message.strategy = self.strategy.unwrap_or(message.strategy);
        message.context_path.clone_from(&self.context_path);
        message.dockerfile.clone_from(&self.dockerfile);
        message.target.clone_from(&self.target);
        message.build_args = (!self.build_args.is_empty()).then(|| self.build_args.clone());
        let own = || format!("{}/{service}", message.project_name).parse().ok();
        let usual = if service == USUAL { None } else { own() };
        message.image = self.image.clone().or(usual);
        message.nexus_repo.clone_from(&self.registry);
        message.priority = self.priority;
        message.timeout_seconds = self.timeout_seconds;
        message.options = (!self.options.is_usual()).then(|| Box::new(self.options.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(json: &str) -> Recipe {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_event_is_wanted_by_kind_name_draft_and_files() {
        let changed = ["api/src/main.rs".to_owned(), "README.md".to_owned()];
        let push = |name: &'static str| Occasion {
            kind: EventType::Push,
            name,
            draft: false,
            changed: Some(&changed),
        };
        let tag = |name: &'static str| Occasion {
            kind: EventType::Tag,
            changed: None,
            ..push(name)
        };
        let pull = |draft| Occasion {
            kind: EventType::PullRequest,
            draft,
            changed: None,
            ..push("main")
        };
        for (json, occasion, expected) in [
            ("{}", push("x"), ""),
            ("{}", tag("v1"), ""),
            ("{}", pull(false), ""),
            ("{}", pull(true), "it is not built for drafts"),
            (r#"{"drafts": true}"#, pull(true), ""),
            (
                r#"{"events": ["tag"]}"#,
                push("main"),
                "it is not built for push events",
            ),
            (r#"{"events": ["tag"]}"#, tag("v1"), ""),
            (
                r#"{"branches": ["main"]}"#,
                push("feature/x"),
                "it is not built for the branch feature/x",
            ),
            (r#"{"branches": ["main"]}"#, pull(false), ""),
            (r#"{"branches": ["main"]}"#, tag("v1"), ""),
            (
                r#"{"tags": ["v*"]}"#,
                tag("latest"),
                "it is not built for the tag latest",
            ),
            (r#"{"paths": ["api/**"]}"#, push("main"), ""),
            (r#"{"paths": ["web/**"]}"#, push("main"), "none of its files changed"),
            (
                r#"{"paths": ["**", "!api/**", "!*.md"]}"#,
                push("main"),
                "none of its files changed",
            ),
            (r#"{"paths": ["web/**"]}"#, tag("v1"), ""),
        ] {
            let told = recipe(json).wants(&occasion).err().unwrap_or_default();
            assert_eq!(told, expected, "{json} {occasion:?}");
        }
    }

    #[test]
    fn a_recipe_says_what_is_wrong_with_it() {
        for (json, expected) in [
            (r#"{"dockerfle": "x"}"#, "unknown field `dockerfle`"),
            (r#"{"context_path": "../x"}"#, "expected a relative path"),
            (r#"{"branches": ["/(/"]}"#, "/(/: "),
            (r#"{"branches": ["a{"]}"#, "a{: "),
            (r#"{"forks": "build"}"#, "unknown variant `build`"),
            (
                r#"{"schedules": [{"cron": "61 * * * *", "git_ref": "main"}]}"#,
                "cron: ",
            ),
        ] {
            let error = serde_json::from_str::<Recipe>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
        assert_eq!(
            recipe(r#"{"timeout_seconds": 0}"#).mistake().unwrap(),
            "timeout_seconds: expected 1 to 86400"
        );
    }

    #[test]
    fn a_recipe_is_written_as_it_was_read() {
        let json = r#"{"type":"compose","branches":["main","!x/**","/^release-[0-9]+$/"],"drafts":true,"forks":"ignore","concurrency":"skip_intermediate"}"#;
        assert_eq!(serde_json::to_string(&recipe(json)).unwrap(), json);
        assert_eq!(recipe("{}"), Recipe::default());
    }
}
