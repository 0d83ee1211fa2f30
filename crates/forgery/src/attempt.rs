//! One attempt at one build, stage by stage.

use crate::{
    Config, buildpacks,
    checkout::Wanted,
    compose::{self, Common},
    context::Context,
    failure::{BuildFailure, Kind},
    image,
    images::{Maker, Outcome, Wish},
    logs::Log,
    pipeline::{self, Facts, Plan},
    redact::{self, Redactor},
    tools::Tools,
};
use chassis::Secret;
use contract::{
    BuildNetwork, BuildOptions, BuildQueueMessage, BuildType, CommitHash, Happening, Image, Stage, StageTime, Strategy,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{LazyLock, atomic::AtomicU32},
};
use tokio::time::Instant;

/// Whoever an attempt is made for.
pub(crate) trait Steward: Sync {
    /// Hears how it goes.
    fn tell(&self, what: Happening);

    /// Whether it is still to be made: another worker may have it by now.
    fn is_ours(&self) -> impl Future<Output = bool> + Send;
}

/// An attempt under way.
pub(crate) struct Attempt<'a, S> {
    pub(crate) tools: &'a Tools,
    pub(crate) message: &'a BuildQueueMessage,
    pub(crate) number: u32,
    pub(crate) origin: Origin,
    /// A folder for it alone, empty.
    pub(crate) workspace: &'a Path,
    pub(crate) log: Log,
    pub(crate) steward: S,
    pub(crate) times: &'a mut Vec<StageTime>,
}

/// Where the source is.
pub(crate) enum Origin {
    /// Where the message says.
    Repository,
    /// On this machine already.
    Folder(PathBuf),
}

// === impl Attempt ===

impl<S: Steward> Attempt<'_, S> {
    /// Checks out, builds, pushes. Dropping the future stops whatever runs.
    pub(crate) async fn run(mut self) -> Result<Vec<Image>, BuildFailure> {
        self.check()?;
        let targets = self.targets()?;
        let secrets = self.tools.vault.of(self.message).await?;

        let begun = self.enter(Stage::Cloning);
        let (source, boot) = tokio::join!(self.source(), self.tools.engine.boot());
        let (worktree, commit) = source?;
        chassis::crash_point("forgery.cloned");
        self.leave(Stage::Cloning, begun, 20);

        let begun = self.enter(Stage::Preparing);
        let recipe = Recipe::find(&worktree, self.message, &self.tools.config.builders)?;
        if self.options().write_env_file {
            self.log
                .say("the environment goes into the context as .env: it may end in the layers of the image");
        }
        self.leave(Stage::Preparing, begun, 30);

        let begun = self.enter(Stage::Building);
        let log = self.log.clone();
        let maker = Maker {
            tools: self.tools,
            boot: &boot,
            message: self.message,
            attempt: self.number,
            commit: &commit,
            log: &log,
            targets: &targets,
            used: AtomicU32::new(0),
        };
        let made = self.make(recipe, &maker, &worktree, secrets).await;
        let products = boot.judge(made).await?;
        chassis::crash_point("forgery.built");
        self.leave(Stage::Building, begun, 90);
        self.publish(&maker, products).await
    }

    /// What the recipe says.
    async fn make(
        &self,
        recipe: Recipe,
        maker: &Maker<'_>,
        worktree: &Path,
        secrets: BTreeMap<String, Secret>,
    ) -> Result<Vec<Outcome>, BuildFailure> {
        match recipe {
            Recipe::Dockerfile(context) => {
                let redactor = hiding(&self.hidden(&secrets), maker.log);
                let product = maker.make(self.wish(context, secrets, &redactor)).await?;
                Ok(vec![Outcome::Made(product)])
            }
            Recipe::Compose(project) => {
                let common = Common {
                    asked: self.message,
                    maker,
                    hidden: self.hidden(&secrets),
                    secrets,
                };
                let products = compose::build(&project, common).await?;
                Ok(products.into_iter().map(Outcome::Made).collect())
            }
            Recipe::Buildpacks(builder) => {
                let hidden = self.hidden(&secrets);
                let product = buildpacks::build(maker, &builder, worktree, &hidden).await?;
                Ok(vec![Outcome::Made(product)])
            }
            Recipe::Pipeline(plan) => {
                let scene = pipeline::Scene {
                    maker,
                    worktree,
                    scratch: self.workspace,
                    facts: self.facts(&plan, maker.commit).await,
                    steward: &self.steward,
                };
                pipeline::run(&plan, scene).await
            }
        }
    }

    /// Brings what was made to where it belongs.
    async fn publish(&mut self, maker: &Maker<'_>, outcomes: Vec<Outcome>) -> Result<Vec<Image>, BuildFailure> {
        if !self.steward.is_ours().await {
            return Err(taken_over());
        }
        let made = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Made(_)));
        let pushing = made && !maker.targets.is_empty();
        let begun = pushing.then(|| self.enter(Stage::Pushing));
        let log = self.log.clone();
        let maker = Maker {
            log: &log,
            used: AtomicU32::new(0),
            ..*maker
        };
        let mut images = Vec::new();
        for outcome in outcomes {
            images.push(match outcome {
                Outcome::Made(product) => maker.publish(&product).await?,
                Outcome::Published(image) => image,
            });
        }
        if let Some(begun) = begun {
            self.leave(Stage::Pushing, begun, 100);
        }
        Ok(images)
    }

    /// What a pipeline may ask of the build; which files have changed only if it asks for that.
    async fn facts(&self, plan: &Plan, commit: &CommitHash) -> Facts {
        let before = self
            .message
            .webhook_data
            .as_ref()
            .and_then(|data| data.before.as_deref());
        let changed = match before.and_then(|before| before.parse().ok()) {
            Some(before) if plan.asks_for_paths() => {
                self.tools.sources.changed(&self.message.source, &before, commit).await
            }
            _ => None,
        };
        if changed.is_none() && plan.asks_for_paths() {
            self.log
                .say("it is not known which files have changed: every one may have");
        }
        Facts::of(self.message, changed)
    }

    /// The source, and the commit that it is of.
    async fn source(&self) -> Result<(PathBuf, CommitHash), BuildFailure> {
        let message = self.message;
        if let Origin::Folder(folder) = &self.origin {
            return Ok((folder.clone(), message.commit_hash.clone()));
        }
        self.log
            .say(format!("cloning {} at {}", message.source, message.commit_hash));
        let worktree = self.workspace.join("source");
        std::fs::create_dir(&worktree).map_err(|error| internal("cannot make a workspace", &error))?;
        let wanted = Wanted {
            source: message.source.clone(),
            commit: message.commit_hash.clone(),
            hints: hints(message),
            worktree: worktree.clone(),
            trusted: message.is_trusted(),
        };
        let done = self.tools.sources.check_out(wanted).await?;
        done.remarks.into_iter().for_each(|remark| self.log.say(remark));
        Ok((worktree, done.commit))
    }

    /// Refuses what this forgery cannot do, before it does anything.
    fn check(&self) -> Result<(), BuildFailure> {
        let refuse = |kind, text: String| Err(BuildFailure::new(kind, text));
        let config = &self.tools.config;
        if self.message.strategy != Strategy::Local {
            let text = format!(
                "strategy {} is not set up on this forgery; it takes local",
                self.message.strategy
            );
            return refuse(Kind::NotConfigured, text);
        }
        if matches!(self.origin, Origin::Repository) && !self.tools.sources.allows(&self.message.source) {
            let scheme = self.message.source.scheme();
            let text = format!("{scheme:?} sources are not allowed here; see git.allow_http and git.allow_file");
            return refuse(Kind::NotConfigured, text);
        }
        let options = self.options();
        allowed(options.network, config, self.message)?;
        if options.platforms.len() > 1 && !self.message.push_artifact() {
            let text = "an image for several platforms needs a registry that keeps it: push_artifact";
            return refuse(Kind::InvalidMessage, text.to_owned());
        }
        Ok(())
    }

    /// Where the image goes, as prefixes of its name; nowhere, if it is not to be pushed.
    fn targets(&self) -> Result<Vec<String>, BuildFailure> {
        if !self.message.push_artifact() || !self.message.is_trusted() {
            return Ok(Vec::new());
        }
        let own = self
            .message
            .nexus_repo
            .clone()
            .or_else(|| self.tools.registry.prefix.clone());
        let own =
            own.ok_or_else(|| BuildFailure::new(Kind::NotConfigured, "there is no registry to push to; set REGISTRY"))?;
        let mut targets = vec![own];
        targets.extend(self.options().registries.iter().cloned());
        Ok(targets)
    }

    fn options(&self) -> &BuildOptions {
        options(self.message)
    }

    /// The one image of a build.
    fn wish<'b>(&'b self, context: Context, secrets: BTreeMap<String, Secret>, redactor: &'b Redactor) -> Wish<'b> {
        Wish {
            context,
            target: self.message.target.as_deref(),
            args: self.message.build_args.clone().unwrap_or_default(),
            labels: BTreeMap::new(),
            options: self.options(),
            names: image::names(self.message),
            secrets,
            redactor,
            part: None,
        }
    }

    /// The secrets among what a build gets; its environment is none: it stands in the message.
    fn hidden(&self, all: &BTreeMap<String, Secret>) -> BTreeMap<String, Secret> {
        let named = self
            .options()
            .secrets
            .iter()
            .filter_map(|name| all.get_key_value(name.as_str()));
        named.map(|(name, secret)| (name.clone(), secret.clone())).collect()
    }

    fn enter(&mut self, stage: Stage) -> Instant {
        self.log = self.log.at(stage);
        self.steward.tell(Happening::Stage { stage });
        Instant::now()
    }

    fn leave(&mut self, stage: Stage, begun: Instant, percent: u8) {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.say(format!("{stage} took {ms} ms"));
        self.times.push(StageTime { stage, ms });
        self.steward.tell(Happening::Progress { percent });
    }
}

/// How the images are described.
enum Recipe {
    Dockerfile(Context),
    Compose(compose::Project),
    /// By what is found in the source; with this builder image.
    Buildpacks(String),
    Pipeline(Box<Plan>),
}

// === impl Recipe ===

impl Recipe {
    fn find(worktree: &Path, message: &BuildQueueMessage, builders: &[String]) -> Result<Self, BuildFailure> {
        match message.build_type {
            BuildType::Dockerfile => match Context::find(worktree, message) {
                Err(missing) if missing.kind == Kind::DockerfileMissing && options(message).buildpacks => {
                    buildpacks::choose(options(message).builder.as_ref(), builders).map(Self::Buildpacks)
                }
                found => Ok(Self::Dockerfile(found?)),
            },
            BuildType::Compose => compose::Project::find(worktree, message).map(Self::Compose),
            BuildType::Pipeline => Plan::find(worktree, message).map(Box::new).map(Self::Pipeline),
        }
    }
}

/// What a message says of how its image is built.
pub(crate) fn options(message: &BuildQueueMessage) -> &BuildOptions {
    static USUAL: LazyLock<BuildOptions> = LazyLock::new(BuildOptions::default);
    message.options.as_deref().unwrap_or(&USUAL)
}

/// Hides these secrets; says which ones are too short for that.
pub(crate) fn hiding<'a>(secrets: impl IntoIterator<Item = (&'a String, &'a Secret)>, log: &Log) -> Redactor {
    let (redactor, short) = Redactor::new(secrets);
    for name in short {
        let text = format!(
            "the secret {name} has less than {} characters; it is not hidden in the log",
            redact::SHORTEST
        );
        log.say(text);
    }
    redactor
}

/// Refuses a network that a build may not use.
pub(crate) fn allowed(
    network: Option<BuildNetwork>,
    config: &Config,
    message: &BuildQueueMessage,
) -> Result<(), BuildFailure> {
    if network == Some(BuildNetwork::Host) && !(config.host_network && message.is_trusted()) {
        let text = "builds may not use the network of the engine's host here; see allow_host_network";
        return Err(BuildFailure::new(Kind::NotConfigured, text));
    }
    Ok(())
}

/// Whoever has it now may have pushed already; what they reported must stay true.
pub(crate) fn taken_over() -> BuildFailure {
    BuildFailure::new(Kind::Internal, "another worker has taken the build over")
}

/// Refs that may lead to the commit, where a server gives none by name.
fn hints(message: &BuildQueueMessage) -> Vec<String> {
    let data = message.webhook_data.as_ref();
    let number = data
        .and_then(|data| data.pull_request.as_ref())
        .and_then(|pull| pull.number);
    let of_pull = number.map(|number| {
        [
            format!("refs/pull/{number}/head"),
            format!("refs/merge-requests/{number}/head"),
        ]
    });
    let of_branch = message.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    of_branch.into_iter().chain(of_pull.into_iter().flatten()).collect()
}

pub(crate) fn internal(what: &str, error: &std::io::Error) -> BuildFailure {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    BuildFailure::new(
        if full { Kind::DiskFull } else { Kind::Internal },
        format!("{what}: {error}"),
    )
}
