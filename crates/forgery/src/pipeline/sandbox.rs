//! What the containers of one pipeline share: a volume with the source, a network, limits.
//!
//! Nothing of this machine is in it: the engine may be another one.

use crate::{
    attempt::{hiding, internal},
    config::Steps,
    context::{Parts, stream_of},
    engine::{BUILD, CACHE, IMAGE_BUILD, Thing, unavailable},
    failure::{BuildFailure, Kind},
    images::Maker,
    redact::Redactor,
};
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    NetworkingConfig,
};
use bytes::Bytes;
use chassis::Secret;
use contract::{BuildNetwork, Pipeline, SecretName, Step};
use futures_util::StreamExt as _;
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::sync::{OnceCell, mpsc};

/// Where the containers of one pipeline run.
pub(super) struct Sandbox<'a> {
    pub(super) maker: &'a Maker<'a>,
    pub(super) redactor: Redactor,
    secrets: BTreeMap<String, Secret>,
    worktree: &'a Path,
    scratch: &'a Path,
    /// Tells what is of this attempt from what is of others.
    id: String,
    /// One that a script runs in.
    image: OnceCell<String>,
    volume: OnceCell<String>,
    filled: OnceCell<()>,
    bridge: OnceCell<String>,
    /// A script has run, so the volume may have more than the source.
    touched: AtomicBool,
}

/// Where the source is in every container.
pub(super) const WORKSPACE: &str = "/workspace";
/// What scripts may do as root of their container: install packages, change owners, listen. None of it reaches the host;
/// what the engine would give besides (raw sockets, devices, the audit log, file capabilities) is not.
const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
];
/// Parts of a stream that may wait.
const PARTS: usize = 16;

// === impl Sandbox ===

impl<'a> Sandbox<'a> {
    pub(super) async fn new(
        maker: &'a Maker<'a>,
        worktree: &'a Path,
        scratch: &'a Path,
        pipeline: &Pipeline,
    ) -> Result<Self, BuildFailure> {
        let asked = maker.message.options.iter().flat_map(|options| &options.secrets);
        let names: Vec<SecretName> = asked
            .chain(pipeline.steps.iter().flat_map(|step| &step.secrets))
            .cloned()
            .collect();
        if !names.is_empty() && !maker.message.is_trusted() {
            maker
                .log
                .say("the source of this build is not trusted: its steps get no secrets");
        }
        let secrets = maker.tools.vault.named(maker.message, &names).await?;
        Ok(Self {
            redactor: hiding(&secrets, maker.log),
            secrets,
            worktree,
            scratch,
            id: uuid::Uuid::new_v4().simple().to_string(),
            image: OnceCell::new(),
            volume: OnceCell::new(),
            filled: OnceCell::new(),
            bridge: OnceCell::new(),
            touched: AtomicBool::new(false),
            maker,
        })
    }

    /// The secrets of every step.
    pub(super) const fn hidden(&self) -> &BTreeMap<String, Secret> {
        &self.secrets
    }

    /// The secrets that a step names, if this build gets any.
    pub(super) fn secrets(&self, step: &Step) -> BTreeMap<String, Secret> {
        let named = step
            .secrets
            .iter()
            .filter_map(|name| self.secrets.get_key_value(name.as_str()));
        named.map(|(name, secret)| (name.clone(), secret.clone())).collect()
    }

    /// Sees to it that an image is on the engine.
    pub(super) async fn fetch(&self, image: &str) -> Result<(), BuildFailure> {
        let engine = &self.maker.tools.engine;
        if let Ok(found) = engine.docker.inspect_image(image).await {
            let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
            if labels.contains_key(IMAGE_BUILD) && !self.maker.message.is_trusted() {
                let text = format!("{image} was built here: it is not for builds that are not trusted");
                return Err(BuildFailure::new(Kind::PullDenied, text));
            }
            return Ok(());
        }
        self.maker.log.say(format!("pulling {image}"));
        let registry = self.maker.message.is_trusted().then_some(&self.maker.tools.registry);
        engine.pull(image, registry).await
    }

    /// A container for a script, with the source in it.
    pub(super) async fn container(
        &self,
        step: &Step,
        image: &str,
        script: &str,
        env: Vec<String>,
        network: &str,
    ) -> Result<String, BuildFailure> {
        let mut mounts = vec![mount(self.volume().await?, WORKSPACE)];
        for cache in &step.cache {
            mounts.push(mount(self.cache(cache.name.as_str()).await?, &cache.path));
        }
        let mut host = self.host(network);
        host.mounts = Some(mounts);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec!["sh".to_owned(), "-ec".to_owned()]),
            cmd: Some(vec![script.to_owned()]),
            env: Some(env),
            working_dir: Some(WORKSPACE.to_owned()),
            labels: Some(self.maker.own_labels()),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let container = self.maker.tools.engine.make_container(None, body).await?;
        let filled = self.filled.get_or_try_init(|| async {
            let source = stream_of(self.worktree.to_owned(), "");
            self.maker.tools.engine.upload(&container, WORKSPACE, source).await
        });
        filled.await?;
        self.image.set(image.to_owned()).ok(); // Any will do.
        self.touched.store(true, Ordering::Relaxed);
        Ok(container)
    }

    /// A container beside a script; `body` says what it runs.
    pub(super) async fn beside(
        &self,
        name: &str,
        network: &str,
        body: ContainerCreateBody,
    ) -> Result<String, BuildFailure> {
        let aliases = EndpointSettings {
            aliases: Some(vec![name.to_owned()]),
            ..EndpointSettings::default()
        };
        let mut host = self.host(network);
        // What it prints is looked at when it does not get ready.
        let size = HashMap::from([("max-size".to_owned(), "1m".to_owned())]);
        host.log_config = Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(size),
        });
        let body = ContainerCreateBody {
            labels: Some(self.maker.own_labels()),
            host_config: Some(host),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network.to_owned(), aliases)])),
            }),
            ..body
        };
        self.maker.tools.engine.make_container(None, body).await
    }

    /// The network of a step: its own, if it has sidecars, whose names are for it alone.
    pub(super) async fn network(&self, n: usize, step: &Step) -> Result<String, BuildFailure> {
        if step.network == Some(BuildNetwork::None) && step.services.is_empty() {
            return Ok("none".to_owned());
        }
        if step.network == Some(BuildNetwork::Host) {
            return Ok("host".to_owned());
        }
        let isolated = self.limits().isolated || step.network == Some(BuildNetwork::None);
        let engine = &self.maker.tools.engine;
        if step.services.is_empty() {
            let made = self.bridge.get_or_try_init(|| async {
                let name = format!("forge-{}", self.id);
                engine
                    .make_bridge(&name, &self.maker.own_labels(), isolated)
                    .await
                    .map(|()| name)
            });
            return made.await.cloned();
        }
        let name = format!("forge-{}-{n}", self.id);
        engine.make_bridge(&name, &self.maker.own_labels(), isolated).await?;
        Ok(name)
    }

    /// The source as it is by now: with what scripts have made of it.
    pub(super) async fn source(&self, n: usize) -> Result<PathBuf, BuildFailure> {
        if !self.touched.load(Ordering::Relaxed) {
            return Ok(self.worktree.to_owned());
        }
        let folder = self.scratch.join(format!("step-{n}"));
        let into = folder.join(WORKSPACE.trim_start_matches('/'));
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(internal("cannot empty a workspace", &error));
            }
            _ => {} // A repetition of the step finds what it left.
        }
        let bystander = self.bystander().await?;
        let taken = self.take_out(&bystander, WORKSPACE, &folder).await;
        self.maker
            .tools
            .engine
            .try_to_remove(&Thing::Container(bystander))
            .await;
        taken.map(|()| into)
    }

    /// Removes what was taken out for a step; what stays goes with the workspace.
    pub(super) async fn forget(&self, n: usize) {
        tokio::fs::remove_dir_all(self.scratch.join(format!("step-{n}")))
            .await
            .ok();
    }

    /// A container that never runs, to reach the volume by.
    async fn bystander(&self) -> Result<String, BuildFailure> {
        let mut host = self.host("none");
        host.mounts = Some(vec![mount(self.volume().await?, WORKSPACE)]);
        let body = ContainerCreateBody {
            image: self.image.get().cloned(),
            cmd: Some(vec!["never".to_owned()]),
            labels: Some(self.maker.own_labels()),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        self.maker.tools.engine.make_container(None, body).await
    }

    /// Writes what is at a path of a container into a folder here, as far as a repository may have it.
    async fn take_out(&self, container: &str, path: &str, into: &Path) -> Result<(), BuildFailure> {
        let (sender, receiver) = mpsc::channel::<Bytes>(PARTS);
        let (folder, most) = (into.to_owned(), self.maker.tools.config.git.limits.files);
        let unpacking = tokio::task::spawn_blocking(move || unpack(Parts::new(receiver), &folder, most));
        let mut parts = Box::pin(self.maker.tools.engine.download(container, path));
        let mut left = self.maker.tools.config.git.limits.bytes;
        let mut failed = None;
        while let Some(part) = parts.next().await {
            let part = match part {
                Ok(part) => part,
                Err(error) => {
                    failed = Some(unavailable(&error));
                    break;
                }
            };
            let Some(rest) = left.checked_sub(part.len() as u64) else {
                let text = "the workspace has become larger than a repository may be (git.max_mib)";
                failed = Some(BuildFailure::new(Kind::BuildFailed, text));
                break;
            };
            left = rest;
            if sender.send(part).await.is_err() {
                break; // Unpacking failed; it says why.
            }
        }
        drop(sender);
        let unpacked = unpacking.await;
        match (failed, unpacked) {
            (Some(failure), _) => Err(failure),
            (None, Ok(Ok(()))) => Ok(()),
            (None, Ok(Err(error))) if error.kind() == io::ErrorKind::StorageFull => {
                Err(internal("cannot unpack the workspace", &error))
            }
            // Whatever else is wrong with it, a script has made it so.
            (None, Ok(Err(error))) => {
                let text = format!("cannot take the workspace out of its volume: {error}");
                Err(BuildFailure::new(Kind::BuildFailed, text))
            }
            (None, Err(error)) => Err(BuildFailure::new(Kind::Internal, format!("unpacking broke: {error}"))),
        }
    }

    async fn volume(&self) -> Result<&str, BuildFailure> {
        let made = self.volume.get_or_try_init(|| async {
            let name = format!("forge-{}", self.id);
            self.maker
                .tools
                .engine
                .make_volume(&name, &self.maker.own_labels())
                .await
                .map(|()| name)
        });
        made.await.map(String::as_str)
    }

    /// The volume of a cache: of the same project, branch and trust, so that nobody fills that of others.
    async fn cache(&self, name: &str) -> Result<String, BuildFailure> {
        let message = self.maker.message;
        let branch = message.branch.as_ref().map_or("", |branch| branch.as_str());
        let data = message.webhook_data.as_ref();
        let pull = data.and_then(|data| data.pull_request.as_ref()?.number);
        let whose = match (message.is_trusted(), pull) {
            (true, _) => "trusted".to_owned(),
            (false, Some(number)) => format!("pull {number}"),
            (false, None) => format!("build {}", message.id),
        };
        let tools = self.maker.tools;
        let key = [
            &*tools.installation,
            message.project_name.as_str(),
            branch,
            &whose,
            name,
        ]
        .join("\n");
        let digest = seal::digest(key.as_bytes());
        let volume = format!("forge-cache-{}", digest.get(..32).unwrap_or(&digest));
        let mut labels = self.maker.own_labels();
        if message.is_trusted() || pull.is_some() {
            // It outlives the build. That of a stranger who can never come back to it does not.
            labels.remove(BUILD);
            labels.insert(CACHE.to_owned(), name.to_owned());
        }
        tools.engine.make_volume(&volume, &labels).await?;
        Ok(volume)
    }

    fn limits(&self) -> &Steps {
        &self.maker.tools.config.steps
    }

    /// What every container of a pipeline may do: little.
    fn host(&self, network: &str) -> HostConfig {
        HostConfig {
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(ToOwned::to_owned).to_vec()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            network_mode: Some(network.to_owned()),
            // A shell that is the first process would hear no signal, and bury nobody.
            init: Some(true),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            ..self.limits().host_config()
        }
    }
}

fn mount(volume: impl Into<String>, path: &str) -> Mount {
    Mount {
        target: Some(path.to_owned()),
        source: Some(volume.into()),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Unpacks files, folders and links; devices and pipes are nothing that an image is built from.
fn unpack(from: impl io::Read, into: &Path, most: usize) -> io::Result<()> {
    fs::create_dir_all(into)?;
    let mut archive = tar::Archive::new(from);
    for (n, entry) in archive.entries()?.enumerate() {
        if n > most {
            return Err(io::Error::other(format!(
                "there are more than {most} files (git.max_files)"
            )));
        }
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link()) {
            continue;
        }
        // What would lead out is refused.
        if entry.unpack_in(into)? && (kind.is_file() || kind.is_dir()) {
            // Whoever made it may have left it such that not even we could read or remove it.
            let mode = entry.header().mode()? & 0o777 | if kind.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(into.join(entry.path()?), fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_can_be_removed_and_leads_nowhere_else() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: tar::EntryType, mode: u32, link: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(0);
            if link.is_empty() {
                tar.append_data(&mut header, path, io::empty()).unwrap();
            } else {
                tar.append_link(&mut header, path, link).unwrap();
            }
        };
        add("workspace/closed", tar::EntryType::Directory, 0, "");
        add("workspace/closed/file", tar::EntryType::Regular, 0, "");
        add("workspace/pipe", tar::EntryType::Fifo, 0o644, "");
        add("workspace/out", tar::EntryType::Symlink, 0o777, "/tmp");
        add("workspace/out/forge-escaped", tar::EntryType::Regular, 0o644, "");
        let bytes = tar.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let refused = unpack(&bytes[..], folder.path(), 10);
        assert!(refused.is_err() || !Path::new("/tmp/forge-escaped").exists());
        let mode =
            |path: &str| fs::symlink_metadata(folder.path().join(path)).map(|found| found.permissions().mode() & 0o777);
        assert_eq!(
            (
                mode("workspace/closed").unwrap(),
                mode("workspace/closed/file").unwrap()
            ),
            (0o700, 0o600)
        );
        assert!(mode("workspace/pipe").is_err());
        assert!(
            unpack(&bytes[..], folder.path(), 1)
                .unwrap_err()
                .to_string()
                .contains("git.max_files")
        );
    }
}
