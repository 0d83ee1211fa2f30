//! Getting the exact commit: from a mirror that is kept between builds, into a workspace.
//!
//! ```text
//! mirror has it? ─no─▶ fetch what is missing ─▶ write the tree ─▶ submodules, each the same way ─▶ LFS files
//! ```
//!
//! A repository is untrusted: its limits are counted before anything is written, and nothing in it is run.

mod credentials;
mod exact;
mod fetch;
mod lfs;
mod limits;
mod mirror;
mod ssh;
mod submodules;
mod tree;

use crate::{
    config::Git,
    failure::{BuildFailure, Kind},
};
use contract::{CloneUrl, CommitHash, Scheme};
use credentials::Purpose;
use fetch::Fetch;
use mirror::{Mirror, Mirrors};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(crate) use credentials::{App, Credentials};
pub(crate) use limits::Limits;
pub(crate) use ssh::Ssh;

/// Where repositories come from, and how.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    mirrors: Mirrors,
    /// Where ssh finds who we are; this process's own.
    ssh: PathBuf,
    git: Git,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) source: CloneUrl,
    pub(crate) commit: CommitHash,
    /// Refs that may lead to the commit where it cannot be asked for by name.
    pub(crate) hints: Vec<String>,
    pub(crate) worktree: PathBuf,
    /// Whether submodules may be fetched with our credentials: whoever chose their URLs is trusted.
    pub(crate) trusted: bool,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct CheckedOut {
    pub(crate) commit: CommitHash,
    /// What people should know of it.
    pub(crate) remarks: Vec<String>,
}

/// Set when the waiting side is dropped, so that the blocking side ends soon.
struct Interrupt(Arc<AtomicBool>);

/// How often the size of what comes is looked at.
const LOOK: Duration = Duration::from_millis(200);

// === impl Sources ===

impl Sources {
    pub(crate) fn open(git: &Git, ssh: PathBuf) -> std::io::Result<Self> {
        Ok(Self {
            mirrors: Mirrors::open(git.mirrors.clone(), git.mirrors_budget)?,
            ssh,
            git: git.clone(),
        })
    }

    /// Whether this transport may be used.
    pub(crate) fn allows(&self, source: &CloneUrl) -> bool {
        self.git.schemes.contains(&source.scheme())
    }

    /// Removes every mirror that nobody uses; how many went.
    pub(crate) fn evict_all(&self) -> std::io::Result<usize> {
        self.mirrors.shrink(0)
    }

    /// Removes what the mirrors have too much; how many went.
    pub(crate) fn evict(&self) -> std::io::Result<usize> {
        self.mirrors.evict()
    }

    /// Fetches what is missing and writes the commit's tree; ends soon when dropped.
    pub(crate) async fn check_out(&self, wanted: Wanted) -> Result<CheckedOut, BuildFailure> {
        let time = self.git.limits.time;
        let all = tokio::time::timeout(time, self.with_submodules(wanted));
        all.await.unwrap_or_else(|_elapsed| {
            let text = format!(
                "the checkout took longer than {} s (git.timeout_seconds)",
                time.as_secs()
            );
            Err(BuildFailure::new(Kind::CloneFailed, text))
        })
    }

    /// The files that differ between two commits of a source; unknown, if its mirror does not have both.
    pub(crate) async fn changed(
        &self,
        source: &CloneUrl,
        before: &CommitHash,
        after: &CommitHash,
    ) -> Option<Vec<String>> {
        let mirror = self.mirror(source, Purpose::Build).await.ok()?;
        let (before, after) = (before.to_string(), after.to_string());
        let compared = self.blocking(None, move |_| Ok(tree::changed(mirror.repository(), &before, &after)));
        compared.await.ok().flatten()
    }

    async fn with_submodules(&self, wanted: Wanted) -> Result<CheckedOut, BuildFailure> {
        let mut budget = self.git.limits.budget();
        let (root, trusted) = (wanted.worktree.clone(), wanted.trusted);
        let mut remarks = Vec::new();
        let mut commit = None;
        let mut waiting = vec![(wanted, Purpose::Build)];
        while let Some((part, purpose)) = waiting.pop() {
            let written = self.one(&part, purpose, &mut budget).await?;
            commit.get_or_insert(written.commit);
            if !written.files.is_empty() {
                let account = self.account(&part.source, purpose).await?;
                lfs::fetch(&part.source, account, &written.files, &part.worktree, &self.git.limits).await?;
                remarks.push(format!("fetched {} files of Git LFS", written.files.len()));
            }
            if !self.git.submodules {
                continue;
            }
            for found in written.submodules {
                if !budget.another_submodule() {
                    let text = format!("there are more than {} submodules", limits::SUBMODULES);
                    return Err(BuildFailure::new(Kind::CloneRefused, text));
                }
                match found.resolve(&part, &root, &self.git.schemes) {
                    Ok(next) => {
                        let trusted = if trusted { Purpose::Build } else { Purpose::Untrusted };
                        waiting.push((next, trusted));
                    }
                    Err(submodules::Unfit::Ignored(remark)) => remarks.push(remark),
                    Err(submodules::Unfit::Refused(text)) => {
                        return Err(BuildFailure::new(Kind::CloneRefused, text));
                    }
                }
            }
        }
        let commit = commit.ok_or_else(|| BuildFailure::new(Kind::Internal, "nothing was checked out"))?;
        Ok(CheckedOut { commit, remarks })
    }

    /// One repository: fetched if it has to be, and written. A damaged mirror is thrown away, once.
    async fn one(
        &self,
        part: &Wanted,
        purpose: Purpose,
        budget: &mut limits::Budget,
    ) -> Result<tree::Written, BuildFailure> {
        let mirror = self.mirror(&part.source, purpose).await?;
        match self.from(&mirror, part, purpose, budget).await {
            Err(Trouble::Mirror(error)) => {
                tracing::warn!(error, source = %part.source, "a mirror is damaged; it is fetched anew");
                drop(mirror);
                self.mirrors.forget(&part.source, purpose);
                clear(&part.worktree);
                let mirror = self.mirror(&part.source, purpose).await?;
                self.from(&mirror, part, purpose, budget).await
            }
            done => done,
        }
        .map_err(Trouble::into_failure)
    }

    async fn from(
        &self,
        mirror: &Arc<Mirror>,
        part: &Wanted,
        purpose: Purpose,
        budget: &mut limits::Budget,
    ) -> Result<tree::Written, Trouble> {
        let ssh = match part.source.scheme() {
            Scheme::Ssh => self.git.ssh.prepare(&self.ssh)?,
            Scheme::Https | Scheme::Http | Scheme::File => String::new(),
        };
        let fetch = Fetch {
            mirror: Arc::clone(mirror),
            source: part.source.clone(),
            commit: part.commit.clone(),
            hints: part.hints.clone(),
            ssh,
            most_bytes: self.git.limits.file,
        };
        let known = {
            let fetch = fetch.clone();
            self.blocking(None, move |_| fetch.known()).await?
        };
        let id = if let Some(id) = known {
            id
        } else {
            let account = self.account(&part.source, purpose).await?;
            let watched = mirror.repository().join("objects/pack");
            let fetch = fetch.clone();
            self.blocking(Some(watched), move |stop| fetch.run(&account, stop))
                .await?
        };
        let (into, had) = (part.worktree.clone(), *budget);
        let (written, left) = self
            .blocking(None, move |stop| {
                let mut left = had;
                let repository = fetch.open()?;
                tree::write(&repository, id, &into, &mut left, stop).map(|written| (written, left))
            })
            .await?;
        *budget = left;
        Ok(written)
    }

    async fn mirror(&self, source: &CloneUrl, purpose: Purpose) -> Result<Arc<Mirror>, BuildFailure> {
        let (mirrors, source) = (self.mirrors.clone(), source.clone());
        let opened = self
            .blocking(None, move |stop| Ok(mirrors.of(&source, purpose, stop)?))
            .await;
        Ok(Arc::new(opened.map_err(Trouble::into_failure)?))
    }

    async fn account(&self, source: &CloneUrl, purpose: Purpose) -> Result<credentials::Login, BuildFailure> {
        self.git.credentials.login(source, purpose).await
    }

    /// Runs what blocks; it is interrupted when nobody waits for it any more, and when the folder that it fills grows by
    /// more than a repository may have.
    async fn blocking<T: Send + 'static>(
        &self,
        watched: Option<PathBuf>,
        work: impl FnOnce(&AtomicBool) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let flag = Arc::new(AtomicBool::new(false));
        let guard = Interrupt(Arc::clone(&flag));
        let before = watched.as_deref().map_or(0, limits::size_of);
        let mut work = tokio::task::spawn_blocking(move || work(&flag));
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = watched.as_deref().map_or(0, limits::size_of);
            if now.saturating_sub(before) > self.git.limits.bytes {
                guard.0.store(true, Ordering::Relaxed);
                drop(work.await); // However it ended, it was too much.
                return Err(Trouble::Failure(self.git.limits.too_large()));
            }
        };
        drop(guard);
        done.unwrap_or_else(|error| {
            let text = format!("the checkout broke: {error}");
            Err(Trouble::Failure(BuildFailure::new(Kind::Internal, text)))
        })
    }
}

/// Why a part of a checkout was not done.
#[derive(Debug)]
enum Trouble {
    /// It is the mirror's fault: another one may do.
    Mirror(String),
    Failure(BuildFailure),
}

// === impl Trouble ===

impl Trouble {
    fn into_failure(self) -> BuildFailure {
        match self {
            Self::Mirror(text) => BuildFailure::new(Kind::Internal, format!("the mirror cannot be read: {text}")),
            Self::Failure(failure) => failure,
        }
    }
}

impl From<BuildFailure> for Trouble {
    fn from(failure: BuildFailure) -> Self {
        Self::Failure(failure)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Failure(crate::attempt::internal("mirror", &error))
    }
}

// === impl Interrupt ===

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Empties a folder; what cannot be removed shows when it is written again.
fn clear(folder: &Path) {
    std::fs::remove_dir_all(folder).ok();
    std::fs::create_dir_all(folder).ok();
}

#[cfg(test)]
mod tests;
