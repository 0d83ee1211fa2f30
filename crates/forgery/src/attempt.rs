//! One attempt at one build, stage by stage.

use crate::{
    Config,
    checkout::{Sources, Wanted},
    context::Context,
    disk::Room,
    engine::{self, Answers, Build, Engine},
    failure::{BuildFailure, Kind},
    image,
    logs::Log,
    metrics::Metrics,
    publish::{Made, Publisher},
    redact::{self, Redactor},
    registry::Registry,
    report::Report,
    roster::Roster,
    secrets::Vault,
    workspace::Workspaces,
};
use bus::{Bus, Delivery};
use chassis::Secret;
use contract::{
    BuildEvent, BuildNetwork, BuildOptions, BuildQueueMessage, BuildType, CommitHash, Happening, Image, Stage,
    StageTime, Strategy,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::LazyLock,
};
use tokio::time::Instant;

/// What every attempt works with.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) workspaces: Workspaces,
    pub(crate) sources: Sources,
    pub(crate) registry: Registry,
    pub(crate) vault: Vault,
    /// Whose images and containers these are, on an engine that others may use too.
    pub(crate) installation: String,
    pub(crate) bus: Bus,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    /// What is under way.
    pub(crate) roster: Roster,
    /// Whether there is room on the disk for more.
    pub(crate) room: Room,
}

/// An attempt under way.
pub(crate) struct Attempt<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) delivery: &'a Delivery<BuildQueueMessage>,
    pub(crate) message: &'a BuildQueueMessage,
    pub(crate) log: Log,
    pub(crate) report: &'a mut Report<BuildEvent>,
    pub(crate) times: &'a mut Vec<StageTime>,
}

// === impl Bench ===

impl Bench {
    /// What the image of an attempt is called on the engine.
    pub(crate) fn local(&self, delivery: &Delivery<BuildQueueMessage>) -> String {
        image::local(&self.installation, &delivery.message().id, delivery.attempt())
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    /// Checks out, builds, pushes. Dropping the future stops whatever runs.
    pub(crate) async fn run(mut self) -> Result<Image, BuildFailure> {
        #[cfg(feature = "rehearsal")]
        if let Some(play) = crate::rehearsal::Play::of(&self.bench.config, self.delivery) {
            let workspace = self.bench.workspaces.make();
            let workspace = workspace.map_err(|error| internal("cannot make a workspace", &error))?;
            return play.run(self.delivery, &self.log, workspace).await;
        }
        self.check()?;
        let targets = self.targets()?;
        let secrets = self.bench.vault.of(self.message).await?;
        let workspace = self.bench.workspaces.make();
        let workspace = workspace.map_err(|error| internal("cannot make a workspace", &error))?;
        let worktree = workspace.path().join("source");
        std::fs::create_dir(&worktree).map_err(|error| internal("cannot make a workspace", &error))?;

        let begun = self.enter(Stage::Cloning);
        self.log.say(format!(
            "cloning {} at {}",
            self.message.source, self.message.commit_hash
        ));
        let commit = self.check_out(&worktree).await?;
        chassis::crash_point("forgery.cloned");
        self.leave(Stage::Cloning, begun, 20);

        let begun = self.enter(Stage::Preparing);
        let context = Context::find(&worktree, self.message)?;
        if self.options().write_env_file {
            self.log
                .say("the environment goes into the context as .env: it may end in the layers of the image");
        }
        let names = image::names(self.message);
        self.leave(Stage::Preparing, begun, 30);

        let begun = self.enter(Stage::Building);
        let images = self.build(&context, &commit, secrets).await?;
        let (id, size) = self.bench.engine.inspect(&self.bench.local(self.delivery)).await?;
        chassis::crash_point("forgery.built");
        self.leave(Stage::Building, begun, 90);

        if !self.delivery.is_ours().await {
            // Whoever has it now may have pushed already; what they reported must stay true.
            return Err(BuildFailure::new(
                Kind::Internal,
                "another worker has taken the build over",
            ));
        }
        if targets.is_empty() {
            let repository = names.repository(None);
            for tag in &names.tags {
                self.bench
                    .engine
                    .tag(&self.bench.local(self.delivery), &repository, tag)
                    .await?;
            }
            return Ok(Image::new(names.reference(&repository), id, false, size));
        }
        let begun = self.enter(Stage::Pushing);
        let publisher = Publisher {
            engine: &self.bench.engine,
            registry: &self.bench.registry,
            log: &self.log,
            keep: self.bench.config.keep_images,
        };
        let mut pushed = None;
        for target in &targets {
            let repository = names.repository(Some(target));
            let digest = publisher.publish(&images, &repository, &names.tags).await?;
            pushed.get_or_insert_with(|| Image::new(names.reference(&repository), digest, true, size));
        }
        self.leave(Stage::Pushing, begun, 100);
        pushed.ok_or_else(|| BuildFailure::new(Kind::Internal, "there was nowhere to push to"))
    }

    async fn check_out(&self, worktree: &Path) -> Result<CommitHash, BuildFailure> {
        let wanted = Wanted {
            source: self.message.source.clone(),
            commit: self.message.commit_hash.clone(),
            hints: hints(self.message),
            worktree: worktree.to_owned(),
            trusted: self.message.is_trusted(),
        };
        let done = self.bench.sources.check_out(wanted).await?;
        done.remarks.into_iter().for_each(|remark| self.log.say(remark));
        Ok(done.commit)
    }

    /// Refuses what this forgery cannot do, before it does anything.
    fn check(&self) -> Result<(), BuildFailure> {
        let refuse = |kind, text: String| Err(BuildFailure::new(kind, text));
        let config = &self.bench.config;
        if self.message.strategy != Strategy::Local {
            let text = format!(
                "strategy {} is not set up on this forgery; it takes local",
                self.message.strategy
            );
            return refuse(Kind::NotConfigured, text);
        }
        if self.message.build_type != BuildType::Dockerfile {
            let text = format!("builds of type {} are not supported yet", self.message.build_type);
            return refuse(Kind::NotConfigured, text);
        }
        if !self.bench.sources.allows(&self.message.source) {
            let scheme = self.message.source.scheme();
            let text = format!("{scheme:?} sources are not allowed here; see git.allow_http and git.allow_file");
            return refuse(Kind::NotConfigured, text);
        }
        let options = self.options();
        if options.network == Some(BuildNetwork::Host) && !(config.host_network && self.message.is_trusted()) {
            let text = "builds may not use the network of the engine's host here; see allow_host_network";
            return refuse(Kind::NotConfigured, text.to_owned());
        }
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
            .or_else(|| self.bench.registry.prefix.clone());
        let own =
            own.ok_or_else(|| BuildFailure::new(Kind::NotConfigured, "there is no registry to push to; set REGISTRY"))?;
        let mut targets = vec![own];
        targets.extend(self.options().registries.iter().cloned());
        Ok(targets)
    }

    fn options(&self) -> &BuildOptions {
        static USUAL: LazyLock<BuildOptions> = LazyLock::new(BuildOptions::default);
        self.message.options.as_deref().unwrap_or(&USUAL)
    }

    /// Builds the image, or one for each platform that is asked for.
    async fn build(
        &self,
        context: &Context,
        commit: &CommitHash,
        secrets: BTreeMap<String, Secret>,
    ) -> Result<Vec<Made>, BuildFailure> {
        let (message, options) = (self.message, self.options());
        let redactor = self.redactor(&secrets);
        let answers = Answers {
            secrets,
            registry: message.is_trusted().then(|| self.bench.registry.clone()),
        };
        let first = self.bench.local(self.delivery);
        let several = options.platforms.len() > 1;
        let mut platforms: Vec<_> = options.platforms.iter().map(Some).collect();
        if platforms.is_empty() {
            platforms.push(None);
        }
        let mut images = Vec::new();
        for (n, platform) in platforms.into_iter().enumerate() {
            if let Some(platform) = platform.filter(|_| several) {
                self.log.say(format!("building for {platform}"));
            }
            let local = if n == 0 { first.clone() } else { format!("{first}.{n}") };
            let build = Build {
                reference: local.clone(),
                target: message.target.as_deref(),
                args: message.build_args.clone().unwrap_or_default(),
                labels: self.labels(commit),
                context: context.clone(),
                options,
                platform,
                answers: answers.clone(),
                redactor: redactor.clone(),
            };
            self.bench.engine.build(build, |line| self.log.line(line)).await?;
            images.push(Made {
                local,
                platform: platform.cloned(),
            });
        }
        Ok(images)
    }

    /// Hides the secrets; the environment is none: it stands in the message.
    fn redactor(&self, secrets: &BTreeMap<String, Secret>) -> Redactor {
        let named = |name: &&String| {
            self.options()
                .secrets
                .iter()
                .any(|known| known.as_str() == name.as_str())
        };
        let hidden = secrets.iter().filter(|(name, _)| named(name));
        let (redactor, short) = Redactor::new(hidden);
        for name in short {
            let text = format!(
                "the secret {name} has less than {} characters; it is not hidden in the log",
                redact::SHORTEST
            );
            self.log.say(text);
        }
        redactor
    }

    /// Labels of the image (OCI image specification, "Annotations"); those that say whose it is win.
    fn labels(&self, commit: &CommitHash) -> HashMap<String, String> {
        let message = self.message;
        let own = [
            ("org.opencontainers.image.source", Some(message.source.to_string())),
            ("org.opencontainers.image.revision", Some(commit.to_string())),
            (
                "org.opencontainers.image.created",
                message.created_at.as_ref().map(ToString::to_string),
            ),
            ("org.opencontainers.image.version", self.version()),
        ];
        let fixed = [
            (engine::IMAGE_BUILD, Some(message.id.to_string())),
            (engine::IMAGE_INSTALLATION, Some(self.bench.installation.clone())),
            ("forge.project", Some(message.project_name.to_string())),
        ];
        let named = |labels: Vec<(&'static str, Option<String>)>| {
            labels
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        };
        let mut labels: HashMap<_, _> = named(own.to_vec()).collect();
        labels.extend(self.options().labels.clone());
        labels.extend(named(fixed.to_vec()));
        labels
    }

    /// The tag that was pushed, if it was one.
    fn version(&self) -> Option<String> {
        let git_ref = self.message.webhook_data.as_ref()?.git_ref.as_deref()?;
        git_ref.strip_prefix("refs/tags/").map(ToOwned::to_owned)
    }

    fn enter(&mut self, stage: Stage) -> Instant {
        self.log = self.log.at(stage);
        self.report.tell(Happening::Stage { stage });
        Instant::now()
    }

    fn leave(&mut self, stage: Stage, begun: Instant, percent: u8) {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.say(format!("{stage} took {ms} ms"));
        self.times.push(StageTime { stage, ms });
        self.report.tell(Happening::Progress { percent });
    }
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
