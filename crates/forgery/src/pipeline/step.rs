//! One step: a script in a container, or images.

use super::{
    run::Products,
    sandbox::{Sandbox, WORKSPACE},
};
use crate::{
    artifacts,
    attempt::{Steward, allowed, options, taken_over},
    compose::{self, Common},
    context::Context,
    engine::{Exit, GRACE_SECONDS, Thing},
    failure::{BuildFailure, Kind},
    image,
    images::{Maker, Outcome, Wish},
    listen,
};
use bollard::models::{ContainerCreateBody, HealthConfig};
use contract::{
    Branch, BuildOptions, BuildQueueMessage, EventType, Pipeline, Step, StepType,
    pipeline::{Sidecar, Span},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// What every step of a pipeline works with.
pub(super) struct Stepping<'a, S> {
    pub(super) sandbox: &'a Sandbox<'a>,
    pub(super) maker: &'a Maker<'a>,
    pub(super) pipeline: &'a Pipeline,
    pub(super) products: &'a Products,
    pub(super) steward: &'a S,
}

/// The longest until a sidecar is ready, unless it says otherwise.
const READY: Duration = Duration::from_mins(1);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is tried, in nanoseconds.
const TRY_EVERY: i64 = 1_000_000_000;

/// Does a step, again if it may be; with its number, for whoever waits for several.
pub(super) async fn run<S: Steward>(
    stepping: &Stepping<'_, S>,
    n: usize,
    step: &Step,
) -> (usize, Result<(), BuildFailure>) {
    let log = stepping.maker.log;
    let mut tries = 0;
    loop {
        let begun = Instant::now();
        log.say(format!("{} begins", step.name));
        let done = stepping.maker.boot.judge(stepping.once(n, step).await).await;
        let ms = begun.elapsed().as_millis();
        match done {
            Ok(()) => {
                log.say(format!("{} took {ms} ms", step.name));
                return (n, Ok(()));
            }
            Err(failure) if tries < step.retries && may_help(failure.kind) => {
                tries += 1;
                log.say(format!("{failure}; trying again, {tries} of {}", step.retries));
            }
            Err(failure) => {
                log.say(format!("{failure} (after {ms} ms)"));
                return (n, Err(named(failure, step)));
            }
        }
    }
}

/// Whether a step that failed so may end well when it is done again.
const fn may_help(kind: Kind) -> bool {
    use Kind::{BuildFailed, OutOfMemory, PullFailed, PushFailed, Timeout};
    matches!(kind, BuildFailed | OutOfMemory | PullFailed | PushFailed | Timeout)
}

/// Says which step it was.
fn named(mut failure: BuildFailure, step: &Step) -> BuildFailure {
    failure.step = Some(match failure.step {
        Some(inner) => format!("{}: {inner}", step.name),
        None => step.name.to_string(),
    });
    failure
}

// === impl Stepping ===

impl<S: Steward> Stepping<'_, S> {
    async fn once(&self, n: usize, step: &Step) -> Result<(), BuildFailure> {
        allowed(step.network, &self.maker.tools.config, self.maker.message)?;
        let done = async {
            match step.step_type {
                StepType::Run => self.script(n, step).await,
                StepType::Build => self.build(n, step).await,
                StepType::Compose => self.compose(n, step).await,
                StepType::Push => self.push().await,
            }
        };
        match step.timeout {
            // A script sees to it by itself: its container is asked to end.
            Some(Span(limit)) if step.step_type != StepType::Run => tokio::time::timeout(limit, done)
                .await
                .unwrap_or_else(|_elapsed| Err(late(step, limit))),
            _ => done.await,
        }
    }

    /// Runs the script; whatever was started for it is gone afterwards.
    async fn script(&self, n: usize, step: &Step) -> Result<(), BuildFailure> {
        let mut made = Vec::new();
        let running = self.script_in(n, step, &mut made);
        let done = match step.timeout {
            None => running.await,
            Some(Span(limit)) => match tokio::time::timeout(limit, running).await {
                Ok(done) => done,
                Err(_elapsed) => Err(late(step, limit)),
            },
        };
        let engine = &self.maker.tools.engine;
        let timed_out = done.as_ref().is_err_and(|failure| failure.kind == Kind::Timeout);
        for thing in made.iter().rev() {
            if let (Thing::Container(id), true) = (thing, timed_out) {
                engine.stop(id, GRACE_SECONDS).await.ok(); // Whatever it answers: it is removed next.
            }
            engine.try_to_remove(thing).await;
        }
        done
    }

    async fn script_in(&self, n: usize, step: &Step, made: &mut Vec<Thing>) -> Result<(), BuildFailure> {
        let sandbox = self.sandbox;
        let image = step.image.as_ref().or(self.pipeline.image.as_ref());
        let image = image.map_or("", |image| image.as_str());
        sandbox.fetch(image).await?;
        let network = sandbox.network(n, step).await?;
        if !step.services.is_empty() {
            made.push(Thing::Network(network.clone()));
        }
        for sidecar in &step.services {
            self.start_beside(sidecar, &network, made).await?;
        }
        let script = step.script.as_ref().map_or("", |script| &script.0);
        let env = self.environment(step);
        let container = sandbox.container(step, image, script, env, &network).await?;
        made.push(Thing::Container(container.clone()));
        let (engine, name) = (&self.maker.tools.engine, step.name.as_str());
        let exit = listen::run(engine, &container, name, self.maker.log, &sandbox.redactor).await?;
        let mut kept = Ok(());
        for path in &step.artifacts {
            // Reports are wanted most when something failed.
            let one = artifacts::keep(self.maker, step.name.as_str(), &container, WORKSPACE, path.as_str()).await;
            kept = kept.and(one);
        }
        match exit {
            Exit { code: 0, .. } => kept,
            Exit {
                out_of_memory: true, ..
            } => {
                let limit = self.maker.tools.config.steps.memory_mib;
                let text = format!(
                    "{} was killed for want of memory: it may have {limit} MiB (steps.memory_mib)",
                    step.name
                );
                Err(BuildFailure::new(Kind::OutOfMemory, text))
            }
            Exit { code, .. } => Err(BuildFailure {
                exit_code: Some(code),
                ..BuildFailure::new(Kind::BuildFailed, format!("{} failed with exit code {code}", step.name))
            }),
        }
    }

    /// Starts a sidecar and waits until it is ready.
    async fn start_beside(&self, sidecar: &Sidecar, network: &str, made: &mut Vec<Thing>) -> Result<(), BuildFailure> {
        let engine = &self.maker.tools.engine;
        let image = sidecar.image.as_str();
        self.sandbox.fetch(image).await?;
        let try_it = |command: &String| HealthConfig {
            test: Some(vec!["CMD-SHELL".to_owned(), command.clone()]),
            interval: Some(TRY_EVERY),
            timeout: Some(TRY_EVERY * 5),
            retries: Some(1),
            ..HealthConfig::default()
        };
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            env: Some(pairs(sidecar.env.iter())),
            cmd: (!sidecar.command.is_empty()).then(|| sidecar.command.clone()),
            healthcheck: sidecar.ready.as_ref().map(try_it),
            ..ContainerCreateBody::default()
        };
        let container = self.sandbox.beside(sidecar.name.as_str(), network, body).await?;
        made.push(Thing::Container(container.clone()));
        engine.begin(&container).await?;
        let limit = sidecar.timeout.map_or(READY, |Span(limit)| limit);
        let until = Instant::now() + limit;
        let failed = loop {
            let state = engine.state(&container).await?;
            match (state.ended, state.health) {
                (Some(code), _) => break format!("ended with exit code {code}"),
                (None, None | Some(Ok(()))) => return Ok(()),
                (None, Some(Err(answer))) if Instant::now() >= until => {
                    break format!("was not ready after {} s: {answer}", limit.as_secs());
                }
                (None, Some(Err(_))) => tokio::time::sleep(LOOK).await,
            }
        };
        let last = engine.last_words(&container).await;
        let text = self
            .sandbox
            .redactor
            .text(&format!("the service {} {failed}{last}", sidecar.name));
        Err(BuildFailure::new(Kind::BuildFailed, text))
    }

    /// What a script finds in its environment; later ones win.
    fn environment(&self, step: &Step) -> Vec<String> {
        let own = own(self.maker, step.name.as_str());
        let asked = &options(self.maker.message).environment;
        let mut all = BTreeMap::new();
        for (name, value) in own.iter().chain(asked).chain(&self.pipeline.env).chain(&step.env) {
            all.insert(name.clone(), value.clone());
        }
        for (name, secret) in self.sandbox.secrets(step) {
            all.insert(name, secret.expose().trim_end_matches('\n').to_owned());
        }
        pairs(all.iter())
    }

    /// Builds an image from a Dockerfile.
    async fn build(&self, n: usize, step: &Step) -> Result<(), BuildFailure> {
        let message = self.maker.message;
        let source = self.sandbox.source(n).await?;
        let asked = self.as_asked(step);
        let context = Context::find(&source, &asked)?;
        let builds = self
            .pipeline
            .steps
            .iter()
            .filter(|step| step.step_type == StepType::Build);
        let own = image::repository(message);
        let repository = match step.repository() {
            // An image is the project's own, whatever a repository calls it.
            Some(name) if name.as_str() == own || name.as_str().starts_with(&format!("{own}/")) => name.to_string(),
            Some(name) => format!("{own}/{name}"),
            None if builds.count() == 1 => own.to_owned(),
            None => format!("{own}/{}", step.name),
        };
        let options = options(&asked);
        let wish = Wish {
            context,
            target: step.target.as_deref().or(message.target.as_deref()),
            args: asked.build_args.clone().unwrap_or_default(),
            labels: BTreeMap::new(),
            options,
            names: image::named(&asked, &repository),
            secrets: self.build_secrets(step).await?,
            redactor: &self.sandbox.redactor,
            part: Some(step.name.as_str()),
        };
        let product = self.maker.make(wish).await?;
        self.products.add(n, Outcome::Made(product));
        self.sandbox.forget(n).await;
        Ok(())
    }

    /// Builds the images of a compose file.
    async fn compose(&self, n: usize, step: &Step) -> Result<(), BuildFailure> {
        let source = self.sandbox.source(n).await?;
        let asked = self.as_asked(step);
        let project = compose::Project::find(&source, &asked)?;
        let common = Common {
            asked: &asked,
            maker: self.maker,
            secrets: self.build_secrets(step).await?,
            hidden: self.sandbox.hidden().clone(),
        };
        for product in compose::build(&project, common).await? {
            self.products.add(n, Outcome::Made(product));
        }
        self.sandbox.forget(n).await;
        Ok(())
    }

    /// Pushes every image that was built so far.
    async fn push(&self) -> Result<(), BuildFailure> {
        if self.maker.targets.is_empty() {
            self.maker
                .log
                .say("nothing is pushed: this build is not asked to (push_artifact), or its source is not trusted");
            return Ok(());
        }
        if !self.steward.is_ours().await {
            return Err(taken_over());
        }
        while let Some((place, product)) = self.products.next() {
            let image = self.maker.publish(&product).await?;
            self.products.published(place, image);
        }
        Ok(())
    }

    /// The secrets of an image: those that the step names, and what every image of this build gets.
    async fn build_secrets(&self, step: &Step) -> Result<BTreeMap<String, chassis::Secret>, BuildFailure> {
        let mut secrets = self.maker.tools.vault.of(self.maker.message).await?;
        secrets.extend(self.sandbox.secrets(step));
        Ok(secrets)
    }

    /// The message as it would be if it asked for this step alone.
    fn as_asked(&self, step: &Step) -> BuildQueueMessage {
        let mut asked = self.maker.message.clone();
        if step.context.is_some() {
            asked.context_path.clone_from(&step.context);
        }
        if step.dockerfile.is_some() {
            asked.dockerfile.clone_from(&step.dockerfile);
        }
        asked.build_args.get_or_insert_default().extend(step.args.clone());
        let mut options: BuildOptions = options(self.maker.message).clone();
        if !step.files.is_empty() {
            options.compose_files.clone_from(&step.files);
        }
        if !step.profiles.is_empty() {
            options.compose_profiles.clone_from(&step.profiles);
        }
        options.tags.extend(step.tags.iter().cloned());
        options.network = step.network.or(options.network);
        asked.options = Some(Box::new(options));
        asked
    }
}

fn late(step: &Step, limit: Duration) -> BuildFailure {
    let text = format!("{} took longer than {} s", step.name, limit.as_secs());
    BuildFailure::new(Kind::Timeout, text)
}

fn pairs<'a>(all: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<String> {
    all.map(|(name, value)| format!("{name}={value}")).collect()
}

/// What every script is told of its build.
fn own(maker: &Maker<'_>, step: &str) -> BTreeMap<String, String> {
    let Maker {
        message,
        attempt,
        commit,
        ..
    } = *maker;
    let data = message.webhook_data.as_ref();
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let number = data.and_then(|data| data.pull_request.as_ref()?.number);
    BTreeMap::from([
        ("CI".to_owned(), "true".to_owned()),
        ("FORGE".to_owned(), "true".to_owned()),
        ("FORGE_BUILD_ID".to_owned(), message.id.to_string()),
        ("FORGE_PROJECT".to_owned(), message.project_name.to_string()),
        ("FORGE_COMMIT".to_owned(), commit.to_string()),
        (
            "FORGE_BRANCH".to_owned(),
            text(message.branch.as_ref().map(Branch::as_str)),
        ),
        (
            "FORGE_REF".to_owned(),
            text(data.and_then(|data| data.git_ref.as_deref())),
        ),
        (
            "FORGE_EVENT".to_owned(),
            text(data.and_then(|data| data.event_type).map(EventType::as_str)),
        ),
        (
            "FORGE_PULL_REQUEST".to_owned(),
            number.map(|number| number.to_string()).unwrap_or_default(),
        ),
        ("FORGE_ATTEMPT".to_owned(), attempt.to_string()),
        ("FORGE_STEP".to_owned(), step.to_owned()),
        ("FORGE_WORKSPACE".to_owned(), WORKSPACE.to_owned()),
    ])
}
