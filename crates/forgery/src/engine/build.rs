//! Building an image with the engine's BuildKit.

use super::{
    Engine,
    session::{Answers, Session},
    unavailable,
};
use crate::{
    context::Context,
    failure::{BuildFailure, Kind},
    logs::Log,
    progress::{self, Progress},
    redact::Redactor,
};
use bollard::{
    body_try_stream,
    errors::Error,
    models::{BuildInfo, BuildInfoAux},
    query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion},
};
use contract::{BuildNetwork, BuildOptions, LogLine, Platform};
use futures_util::{Stream, StreamExt as _, stream};
use std::collections::{BTreeMap, HashMap};

/// What is to be built.
pub(crate) struct Build<'a> {
    /// What the image is called on the engine.
    pub(crate) reference: String,
    pub(crate) context: Context,
    pub(crate) target: Option<&'a str>,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) options: &'a BuildOptions,
    pub(crate) platform: Option<&'a Platform>,
    pub(crate) answers: Answers,
    pub(crate) redactor: Redactor,
}

/// Makes BuildKit write into the image what others need to take layers from it.
const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";

// === impl Build ===

impl Build<'_> {
    fn options(&self, session: &str) -> BuildImageOptions {
        let options = self.options;
        let mut args: HashMap<_, _> = self.args.clone().into_iter().collect();
        if options.inline_cache {
            args.insert(INLINE_CACHE.to_owned(), "1".to_owned());
        }
        let mut wanted = BuildImageOptionsBuilder::default()
            .t(&self.reference)
            .dockerfile(self.context.dockerfile())
            .buildargs(&args)
            .labels(&self.labels)
            .nocache(options.no_cache)
            .rm(true)
            .forcerm(true)
            .version(BuilderVersion::BuilderBuildKit)
            .session(session);
        if let Some(target) = self.target {
            wanted = wanted.target(target);
        }
        if let Some(platform) = self.platform {
            wanted = wanted.platform(platform.as_str());
        }
        if options.pull {
            wanted = wanted.pull("1");
        }
        if let Some(network) = options.network.filter(|network| *network != BuildNetwork::Default) {
            wanted = wanted.networkmode(network.as_str());
        }
        let caches: Vec<String> = options.cache_from.iter().map(ToString::to_string).collect();
        if !caches.is_empty() {
            wanted = wanted.cachefrom(&caches);
        }
        wanted.build()
    }
}

// === impl Engine ===

impl Engine {
    /// Builds an image; dropping the future stops the build. `tell` gets the lines that are for the log.
    pub(crate) async fn build(
        &self,
        build: Build<'_>,
        log: &Log,
        tell: impl FnMut(LogLine),
    ) -> Result<(), BuildFailure> {
        let session = Session::open().await?;
        let options = build.options(&session.id);
        let parts = stream::unfold(build.context.stream(), async |mut parts| {
            Some((parts.recv().await?, parts))
        });
        // Without logins of its own: it would serve them in a session of its own, which the engine refuses.
        let messages = self.docker.build_image(options, None, Some(body_try_stream(parts)));
        let answering = async {
            session.serve(build.answers).await;
            std::future::pending().await
        };
        tokio::select! {
            built = follow(Box::pin(messages), &build.redactor, log, tell) => built,
            never = answering => never,
        }
    }
}

async fn follow(
    mut messages: impl Stream<Item = Result<BuildInfo, Error>> + Unpin,
    redactor: &Redactor,
    log: &Log,
    mut tell: impl FnMut(LogLine),
) -> Result<(), BuildFailure> {
    let mut progress = Progress::new(redactor.clone());
    let mut ended = Ok(());
    while let Some(message) = messages.next().await {
        log.room().await;
        match message {
            Ok(info) => {
                if let Some(BuildInfoAux::BuildKit(status)) = info.aux {
                    let lines = progress.lines(&status, bus::clock::now_ms());
                    lines.into_iter().for_each(&mut tell);
                }
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    progress.rest(bus::clock::now_ms()).into_iter().for_each(&mut tell);
    ended.map_err(|error| {
        let failure = explain(&error, &progress);
        BuildFailure {
            message: redactor.text(&failure.message),
            ..failure
        }
    })
}

fn explain(error: &Error, progress: &Progress) -> BuildFailure {
    let text = if let Error::DockerStreamError { error } = error {
        error.clone()
    } else if let Error::DockerResponseServerError {
        status_code: 400..=499,
        message,
    } = error
    {
        message.clone()
    } else {
        return unavailable(error);
    };
    if text.contains("no space left on device") {
        return BuildFailure::new(Kind::DiskFull, "the disk of the engine is full");
    }
    let Some((step, reason)) = progress.failed() else {
        return BuildFailure::new(Kind::BuildFailed, text);
    };
    let exit_code = progress::exit_code(reason);
    let message = match exit_code {
        Some(137) => format!("{step} was killed (exit code 137): by the kernel for want of memory, as a rule"),
        Some(code) => format!("{step} failed with exit code {code}"),
        None => format!("{step} failed: {reason}"),
    };
    let kind = if exit_code == Some(137) {
        Kind::OutOfMemory
    } else {
        Kind::BuildFailed
    };
    BuildFailure {
        step: Some(step.to_owned()),
        exit_code,
        ..BuildFailure::new(kind, message)
    }
}
