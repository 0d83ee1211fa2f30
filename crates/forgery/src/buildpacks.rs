//! Images without a Dockerfile: Cloud Native Buildpacks, by the lifecycle's `creator` in a builder image.
//!
//! <https://github.com/buildpacks/spec/blob/main/platform.md>. The creator gets the engine's socket and so everything that
//! the engine may do: only builder images that the operator has named are used. What buildpacks themselves run, it runs as
//! the builder's user.

use crate::{
    attempt::{hiding, internal, options},
    context::{Context, confined, stream_of},
    engine::Thing,
    failure::{BuildFailure, Kind},
    image,
    images::{Maker, Product, Wish},
    listen,
    redact::Redactor,
};
use bollard::models::{ContainerCreateBody, HostConfig, ImageInspect};
use bytes::Bytes;
use chassis::Secret;
use contract::ImageReference;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// What we know of a builder image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Builder {
    run_image: String,
    user: String,
    group: String,
    /// The newest version of the platform API that both know.
    api: String,
}

/// Where the lifecycle is, in every builder image.
const CREATOR: &str = "/cnb/lifecycle/creator";
const METADATA: &str = "io.buildpacks.builder.metadata";
/// Versions of the platform API that this file speaks, oldest first.
const APIS: [&str; 5] = ["0.10", "0.11", "0.12", "0.13", "0.14"];
const SOCKET: &str = "/var/run/docker.sock";
const WORKSPACE: &str = "/workspace";
/// Repository of images that are not labelled yet.
const UNLABELLED: &str = "forge-buildpacks";
/// What a process listens on unless it is told otherwise.
const PORT: (&str, &str) = ("PORT", "8080");

/// Where an installation's images are until they have labels; their tags are names of containers.
pub(crate) fn unlabelled(installation: &str) -> String {
    format!("{UNLABELLED}/{installation}")
}

/// The builder image to use, if it may be.
pub(crate) fn choose(asked: Option<&ImageReference>, allowed: &[String]) -> Result<String, BuildFailure> {
    let refuse = |text: String| Err(BuildFailure::new(Kind::NotConfigured, text));
    match (asked.map(ImageReference::as_str), allowed.first()) {
        (None, Some(first)) => Ok(first.clone()),
        (Some(asked), _) if allowed.iter().any(|known| known == asked) => Ok(asked.to_owned()),
        (Some(asked), _) => refuse(format!(
            "the builder image {asked} is none that may be used here; see buildpacks.builders"
        )),
        (None, None) => refuse("there is no builder image of buildpacks; set buildpacks.builders".to_owned()),
    }
}

/// Builds an image of whatever the source is.
pub(crate) async fn build(
    maker: &Maker<'_>,
    image: &str,
    worktree: &Path,
    secrets: &BTreeMap<String, Secret>,
) -> Result<Product, BuildFailure> {
    if !maker.message.is_trusted() {
        // What runs beside the socket is code of the repository, too.
        let text = "buildpacks are for trusted sources: their lifecycle has the engine's socket";
        return Err(BuildFailure::new(Kind::NotConfigured, text));
    }
    let redactor = &hiding(secrets, maker.log);
    let engine = &maker.tools.engine;
    maker.log.say(format!(
        "there is no Dockerfile: building with the buildpacks of {image}"
    ));
    let builder = inspect(maker, image).await?;
    let name = format!("{UNLABELLED}-{}", uuid::Uuid::new_v4().simple());
    let unlabelled = format!("{}:{name}", unlabelled(&maker.tools.installation));
    let body = body(maker, &builder, image, &unlabelled);
    let container = engine.make_container(Some(&name), body).await?;
    // The builder image need not have the folder.
    let folder = folder(maker, worktree);
    let built = async {
        engine
            .upload(&container, "/", stream_of(folder, WORKSPACE.trim_start_matches('/')))
            .await?;
        engine.upload(&container, "/", environment(maker, secrets)?).await?;
        create(maker, &container, redactor).await?;
        // The lifecycle gives no labels of ours to an image; a build of nothing does.
        let dockerfile = format!("FROM {unlabelled}\n");
        maker
            .make(Wish {
                context: Context::generated(dockerfile),
                target: None,
                args: BTreeMap::new(),
                labels: BTreeMap::new(),
                options: &contract::BuildOptions::default(),
                names: image::names(maker.message),
                secrets: BTreeMap::new(),
                redactor,
                part: None,
            })
            .await
    };
    let built = built.await;
    // As long as the container is there, nobody takes the name away.
    engine.untag(&unlabelled).await;
    engine.try_to_remove(&Thing::Container(container)).await;
    built
}

/// The part of the source that the image is of.
fn folder(maker: &Maker<'_>, worktree: &Path) -> PathBuf {
    let path = maker.message.context_path.as_ref().map_or(".", |path| path.as_str());
    confined(worktree, &worktree.join(path)).unwrap_or_else(|| worktree.to_owned())
}

/// Learns what is to be known of a builder image, and fetches what it needs.
async fn inspect(maker: &Maker<'_>, image: &str) -> Result<Builder, BuildFailure> {
    let tools = maker.tools;
    if tools.engine.docker.inspect_image(image).await.is_err() {
        maker.log.say(format!("pulling {image}"));
        tools.engine.pull(image, Some(&tools.registry)).await?;
    }
    let found = tools.engine.docker.inspect_image(image).await;
    let found = found.map_err(|error| crate::engine::unavailable(&error))?;
    let builder = Builder::read(&found)
        .map_err(|text| BuildFailure::new(Kind::NotConfigured, format!("{image} is no builder image: {text}")))?;
    if tools.engine.docker.inspect_image(&builder.run_image).await.is_err() {
        maker.log.say(format!("pulling {}", builder.run_image));
        tools.engine.pull(&builder.run_image, Some(&tools.registry)).await?;
    }
    Ok(builder)
}

// === impl Builder ===

impl Builder {
    fn read(image: &ImageInspect) -> Result<Self, String> {
        let config = image.config.clone().unwrap_or_default();
        let label = config.labels.unwrap_or_default().remove(METADATA);
        let label = label.ok_or_else(|| format!("it has no label {METADATA}"))?;
        let metadata: Value = serde_json::from_str(&label).map_err(|error| format!("{METADATA}: {error}"))?;
        let text = |path: &str| metadata.pointer(path).and_then(Value::as_str).map(ToOwned::to_owned);
        let variables = config.env.unwrap_or_default();
        let variable = |name: &str| {
            let value = variables
                .iter()
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map(ToOwned::to_owned)
        };
        let run_image = text("/images/0/image")
            .or_else(|| text("/stack/runImage/image"))
            .or_else(|| variable("CNB_RUN_IMAGE"));
        let known = metadata
            .pointer("/lifecycle/apis/platform/supported")
            .and_then(Value::as_array);
        let known: Vec<_> = known.into_iter().flatten().filter_map(Value::as_str).collect();
        let api = APIS
            .iter()
            .rev()
            .find(|api| known.is_empty() && **api == "0.12" || known.contains(*api));
        Ok(Self {
            run_image: run_image.ok_or("it names no run image")?,
            user: variable("CNB_USER_ID").ok_or("it has no CNB_USER_ID")?,
            group: variable("CNB_GROUP_ID").ok_or("it has no CNB_GROUP_ID")?,
            api: (*api.ok_or_else(|| format!("its platform APIs are {}", known.join(", ")))?).to_owned(),
        })
    }
}

fn body(maker: &Maker<'_>, builder: &Builder, image: &str, wanted: &str) -> ContainerCreateBody {
    let limits = &maker.tools.config.steps;
    let flags = [
        format!("-app={WORKSPACE}"),
        "-layers=/layers".to_owned(),
        "-platform=/platform".to_owned(),
        "-daemon".to_owned(),
        format!("-run-image={}", builder.run_image),
        format!("-uid={}", builder.user),
        format!("-gid={}", builder.group),
        wanted.to_owned(),
    ];
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec![CREATOR.to_owned()]),
        cmd: Some(flags.to_vec()),
        user: Some("0:0".to_owned()),
        env: Some(vec![format!("CNB_PLATFORM_API={}", builder.api)]),
        working_dir: Some("/".to_owned()),
        labels: Some(maker.own_labels()),
        host_config: Some(HostConfig {
            binds: Some(vec![format!("{SOCKET}:{SOCKET}")]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..limits.host_config()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The variables of the build, as the platform gives them to buildpacks: a file each.
fn environment(
    maker: &Maker<'_>,
    secrets: &BTreeMap<String, Secret>,
) -> Result<mpsc::Receiver<io::Result<Bytes>>, BuildFailure> {
    let options = options(maker.message);
    let mut all = BTreeMap::from([(PORT.0.to_owned(), PORT.1.to_owned())]);
    all.extend(options.environment.clone());
    all.extend(maker.message.build_args.clone().unwrap_or_default());
    all.extend(
        secrets
            .iter()
            .map(|(name, secret)| (name.clone(), secret.expose().to_owned())),
    );
    let mut tar = tar::Builder::new(Vec::new());
    for (name, value) in all {
        let mut header = tar::Header::new_gnu();
        header.set_size(value.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("platform/env/{name}"), value.as_bytes())
            .map_err(|error| BuildFailure::new(Kind::InvalidMessage, format!("the variable {name}: {error}")))?;
    }
    let bytes = tar
        .into_inner()
        .map_err(|error| internal("cannot pack variables", &error))?;
    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(Ok(bytes.into())).ok(); // There is room for one.
    Ok(receiver)
}

/// Runs the creator to its end.
async fn create(maker: &Maker<'_>, container: &str, redactor: &Redactor) -> Result<(), BuildFailure> {
    let exit = listen::run(&maker.tools.engine, container, "buildpacks", maker.log, redactor).await;
    let code = exit?.code;
    // Platform interface specification, "Exit Codes".
    let why = match code {
        0 => return Ok(()),
        11 => "the builder's lifecycle does not speak our platform API",
        20 => "no buildpack of the builder knows how to build this",
        21 => "a buildpack failed to look at the source",
        51 => "a buildpack failed to build",
        60..=69 => "the image could not be written",
        _ => "the buildpacks failed",
    };
    Err(BuildFailure {
        exit_code: Some(code),
        ..BuildFailure::new(Kind::BuildFailed, format!("{why} (exit code {code})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_builder_images_that_the_operator_named_are_used() {
        let allowed = ["a/b:1".to_owned(), "c".to_owned()];
        let asked = |text: &str| Some(text.parse::<ImageReference>().unwrap());
        assert_eq!(choose(None, &allowed).unwrap(), "a/b:1");
        assert_eq!(choose(asked("c").as_ref(), &allowed).unwrap(), "c");
        for (asked, allowed) in [(asked("d"), &allowed[..]), (None, &[])] {
            let failure = choose(asked.as_ref(), allowed).unwrap_err();
            assert!(failure.message.contains("buildpacks.builders"), "{failure}");
        }
    }
}
