//! Runs without Redis: whose they are, and what those have left that were killed.
//!
//! A run holds the lock of a file that is named after its build. The kernel frees it when the run dies, and the next one
//! on this machine removes what is left of it.

use crate::{failure::BuildFailure, tools::Tools, workspace::is_free};
use contract::BuildId;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Whose things on the engine these are.
pub(crate) const INSTALLATION: &str = "run";
/// Where the files are, in the work folder.
const FOLDER: &str = "runs";

/// A run under way.
#[derive(Debug)]
pub(crate) struct Run {
    build: BuildId,
    file: PathBuf,
    /// Held, not read.
    _lock: File,
}

// === impl Run ===

impl Run {
    /// # Errors
    /// When the work folder cannot be written.
    pub(crate) fn begin(work_dir: &Path, build: BuildId) -> io::Result<Self> {
        let folder = work_dir.join(FOLDER);
        fs::create_dir_all(&folder)?;
        // Locked before anybody can take it for one that a dead run has left.
        let (young, file) = (folder.join(format!(".{build}")), folder.join(build.as_str()));
        let lock = File::create(&young)?;
        lock.try_lock().map_err(io::Error::other)?;
        fs::rename(young, &file)?;
        Ok(Self {
            build,
            file,
            _lock: lock,
        })
    }

    /// Removes all of it from the engine.
    ///
    /// # Errors
    /// When the engine fails; then the next run does it.
    pub(crate) async fn end(self, tools: &Tools) -> Result<(), BuildFailure> {
        if clear(tools, &self.build).await? == 0 {
            fs::remove_file(&self.file).ok();
        }
        Ok(())
    }
}

/// Removes what dead runs of this machine have left.
pub(crate) async fn clear_dead(tools: &Tools) {
    let files = fs::read_dir(tools.config.work_dir.join(FOLDER)).into_iter().flatten();
    for file in files.flatten().map(|entry| entry.path()) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|name| !name.starts_with('.')); // Just being made.
        let build = name.and_then(|name| name.parse::<BuildId>().ok());
        let (Some(build), true) = (build, is_free(&file)) else {
            continue;
        };
        tracing::info!(%build, "removing what a run has left that was killed");
        match clear(tools, &build).await {
            Ok(0) => drop(fs::remove_file(file)),
            Ok(left) => tracing::warn!(%build, left, "not everything can be removed"),
            Err(error) => tracing::warn!(%build, %error, "it cannot be removed"),
        }
    }
}

/// How much is left.
async fn clear(tools: &Tools, build: &BuildId) -> Result<usize, BuildFailure> {
    tools.engine.untag_all(INSTALLATION, build, 1).await;
    tools.engine.sweep(INSTALLATION, build.as_str(), 1).await
}
