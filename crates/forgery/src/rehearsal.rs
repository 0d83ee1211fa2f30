//! Builds that build nothing, for the chaos harness, which needs thousands. Not in what is shipped.
//!
//! A source `https://rehearsal.invalid/<outcome>/<milliseconds>/<name>.git` is rehearsed if
//! `rehearsal.dir` is set: it waits, then does what `<outcome>` says. Its effect is a file per build in
//! `images`, replaced at once, as a registry replaces a tag; while it runs there is a file in `running`.

use crate::{
    Config,
    attempt::internal,
    failure::{BuildFailure, Kind},
    logs::Log,
};
use bus::Delivery;
use contract::{BuildQueueMessage, Image};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is rehearsed.
pub(crate) struct Play {
    folder: PathBuf,
    outcome: String,
    pause: Duration,
}

/// Says that a build runs, and where.
struct Running(PathBuf);

const HOST: &str = "https://rehearsal.invalid/";

// === impl Play ===

impl Play {
    pub(crate) fn of(config: &Config, delivery: &Delivery<BuildQueueMessage>) -> Option<Self> {
        let folder = config.rehearsal.clone()?;
        let mut parts = delivery.message().source.as_str().strip_prefix(HOST)?.split('/');
        let outcome = parts.next()?.to_owned();
        let pause = Duration::from_millis(parts.next()?.parse().ok()?);
        Some(Self { folder, outcome, pause })
    }

    pub(crate) async fn run(
        self,
        delivery: &Delivery<BuildQueueMessage>,
        log: &Log,
        workspace: &Path,
    ) -> Result<Image, BuildFailure> {
        let broken = |error: io::Error| internal("cannot rehearse", &error);
        let id = delivery.message().id.as_str();
        let name = format!("{id}+{}+{}", delivery.attempt(), std::process::id());
        let _running = Running::begin(&self.folder, &name).map_err(broken)?;
        fs::write(workspace.join("source"), vec![0; 256 * 1024]).map_err(broken)?;
        log.say(format!("rehearsing attempt {}", delivery.attempt()));
        tokio::time::sleep(self.pause).await;
        log.say("rehearsed");
        match self.outcome.as_str() {
            "fail" => Err(BuildFailure::new(Kind::BuildFailed, "as it was told to")),
            "flaky" if delivery.failures() == 0 => Err(BuildFailure::new(Kind::CloneFailed, "as it was told to")),
            #[expect(clippy::panic, reason = "what is rehearsed is a bug")]
            "panic" => panic!("as it was told to"),
            _ if !delivery.is_ours().await => Err(BuildFailure::new(Kind::Internal, "another worker has it")),
            _ => {
                let digest = format!("sha256:{:0>64}", uuid::Uuid::new_v4().simple());
                let part = workspace.join("image");
                fs::write(&part, &digest).map_err(broken)?;
                let image = self.folder.join("images").join(id);
                publish(&part, &image).map_err(broken)?;
                chassis::crash_point("forgery.rehearsed");
                Ok(Image::new(format!("rehearsal/{id}"), digest, true, None))
            }
        }
    }
}

/// Moves a file to where others see it, in one step, from another file system too.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let beside = to.with_extension(uuid::Uuid::new_v4().simple().to_string());
    fs::copy(from, &beside)?;
    fs::rename(beside, to)
}

// === impl Running ===

impl Running {
    fn begin(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join("running").join(name);
        fs::create_dir_all(folder.join("running"))?;
        fs::create_dir_all(folder.join("images"))?;
        fs::write(&path, "")?;
        Ok(Self(path))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok(); // What stays is seen, and that is what it is for.
    }
}
