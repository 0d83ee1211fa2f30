//! Getting the exact commit: fetched by gix into a bare repository, written into the workspace.

use crate::failure::{BuildFailure, Kind};
use chassis::Secret;
use contract::{CloneUrl, CommitHash};
use gix::{
    clone::PrepareFetch,
    create,
    credentials::{helper::Action, protocol::Outcome},
    open,
    progress::Discard,
    remote::fetch::Shallow,
    sec::identity::Account,
};
use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Who we are at which git server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    hosts: Vec<(String, String, Secret)>,
}

/// What to fetch, and where to put it.
#[derive(Debug)]
pub(crate) struct Checkout {
    pub(crate) source: CloneUrl,
    pub(crate) commit: CommitHash,
    pub(crate) repository: PathBuf,
    pub(crate) worktree: PathBuf,
    pub(crate) credentials: Credentials,
}

/// Set when the waiting side is dropped, so that the blocking side ends soon.
struct Interrupt(Arc<AtomicBool>);

// === impl Credentials ===

impl Credentials {
    /// Parses lines of `https://user:token@host`.
    pub(crate) fn parse(lines: &str) -> Result<Self, &'static str> {
        let mut credentials = Self::default();
        for line in lines
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let rest = line.strip_prefix("https://").or_else(|| line.strip_prefix("http://"));
            let parts = rest.and_then(|rest| rest.trim_end_matches('/').rsplit_once('@'));
            let login = parts.and_then(|(login, host)| Some((login.split_once(':')?, host)));
            let ((user, token), host) = login.ok_or("expected lines of https://user:token@host")?;
            let Ok(token) = token.parse();
            credentials.add(host, user, token);
        }
        Ok(credentials)
    }

    pub(crate) fn add(&mut self, host: &str, user: &str, token: Secret) {
        self.hosts.push((host.to_owned(), user.to_owned(), token));
    }

    /// The account for a URL, by host and port.
    fn account(&self, source: &CloneUrl) -> Option<Account> {
        let host = source.as_str().split_once("://")?.1.split('/').next()?;
        let (_, user, token) = self.hosts.iter().find(|(known, _, _)| known == host)?;
        Some(Account {
            username: user.clone(),
            password: token.expose().to_owned(),
            oauth_refresh_token: None,
        })
    }
}

// === impl Checkout ===

impl Checkout {
    /// Fetches and writes; ends soon when dropped. The whole name of the commit.
    pub(crate) async fn run(self) -> Result<CommitHash, BuildFailure> {
        let flag = Arc::new(AtomicBool::new(false));
        let guard = Interrupt(Arc::clone(&flag));
        let done = tokio::task::spawn_blocking(move || self.fetch_and_write(&flag)).await;
        drop(guard);
        done.map_err(|error| BuildFailure::new(Kind::Internal, format!("the checkout broke: {error}")))?
    }

    fn fetch_and_write(&self, stop: &AtomicBool) -> Result<CommitHash, BuildFailure> {
        let repository = self.fetch(stop)?;
        let id = repository
            .rev_parse_single(format!("{}^{{commit}}", self.commit).as_str())
            .map_err(|_unknown| self.no_such_commit())?
            .detach();
        write(&repository, id, &self.worktree, stop).map_err(|error| self.explain(&error))?;
        if stop.load(Ordering::Relaxed) {
            return Err(BuildFailure::new(Kind::CloneFailed, "the checkout was interrupted"));
        }
        id.to_string().parse().map_err(|_impossible| self.no_such_commit())
    }

    /// A whole name is fetched alone, without history; where the server forbids that, and for an
    /// abbreviated one, everything is fetched.
    fn fetch(&self, stop: &AtomicBool) -> Result<gix::Repository, BuildFailure> {
        if self.commit.is_full() {
            let alone = self.prepare().and_then(|prepare| {
                prepare
                    .with_shallow(Shallow::DepthAtRemote(NonZeroU32::MIN))
                    .with_revision(Some(self.commit.as_str()))?
                    .fetch_only(Discard, stop)
            });
            match alone {
                Ok((repository, _)) => return Ok(repository),
                Err(error) => {
                    let failure = self.explain(&error);
                    if matches!(failure.kind, Kind::CloneAuth | Kind::CloneNotFound) || stop.load(Ordering::Relaxed) {
                        return Err(failure);
                    }
                    tracing::debug!(error = describe(&error), "cannot fetch one commit alone");
                }
            }
            std::fs::remove_dir_all(&self.repository).ok(); // Absent, unless the attempt above left something.
        }
        let everything = self.prepare().and_then(|mut prepare| prepare.fetch_only(Discard, stop));
        everything
            .map(|(repository, _)| repository)
            .map_err(|error| self.explain(&error))
    }

    fn prepare(&self) -> gix::Result<PrepareFetch> {
        let account = self.credentials.account(&self.source);
        let overrides = [
            // Nothing but what was checked before, whatever a redirect or a submodule says.
            "protocol.allow=never",
            "protocol.https.allow=always",
            "protocol.http.allow=always",
            "protocol.ssh.allow=always",
            "protocol.file.allow=always",
            "http.followRedirects=initial",
            "http.lowSpeedLimit=1000",
            "http.lowSpeedTime=60",
            "gitoxide.http.connectTimeout=10000",
        ];
        let source = self.source.as_str();
        let options = open::Options::isolated().config_overrides(overrides);
        let prepare = PrepareFetch::new(
            source,
            &self.repository,
            create::Kind::Bare,
            create::Options::default(),
            options,
        )?;
        Ok(prepare.configure_connection(move |connection| {
            let account = account.clone();
            connection.set_credentials(move |action| {
                Ok(match (action, account.clone()) {
                    (Action::Get(context), Some(identity)) => Some(Outcome {
                        identity,
                        next: gix::credentials::helper::NextAction::from(context),
                    }),
                    _ => None,
                })
            });
            Ok(())
        }))
    }

    fn explain(&self, error: &gix::Error) -> BuildFailure {
        let text = describe(error);
        let lower = text.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let kind = if says(&["401", "403", "permission", "credential", "authentication"]) {
            Kind::CloneAuth
        } else if says(&["404", "not found", "does not exist", "no such file"]) {
            Kind::CloneNotFound
        } else if says(&["no space left"]) {
            Kind::DiskFull
        } else {
            Kind::CloneFailed
        };
        BuildFailure::new(kind, format!("cannot clone {}: {text}", self.source))
    }

    fn no_such_commit(&self) -> BuildFailure {
        BuildFailure::new(
            Kind::CommitNotFound,
            format!("{} has no commit {}", self.source, self.commit),
        )
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes a commit's tree into an empty folder.
fn write(repository: &gix::Repository, commit: gix::ObjectId, into: &Path, stop: &AtomicBool) -> gix::Result<()> {
    let tree = repository.find_commit(commit)?.tree_id()?;
    let mut index = repository.index_from_tree(&tree)?;
    let mut options = repository.checkout_options(gix::worktree::stack::state::attributes::Source::IdMapping)?;
    options.destination_is_initially_empty = true;
    let objects = repository.objects.clone().into_arc().map_err(gix::Error::from_error)?;
    let outcome = gix::worktree::state::checkout(&mut index, into, objects, &Discard, &Discard, stop, options)?;
    match (outcome.errors.first(), outcome.collisions.first()) {
        (None, None) => Ok(()),
        (Some(error), _) => Err(gix::Error::from_error(std::io::Error::other(format!(
            "{}: {}",
            error.path, error.error
        )))),
        (None, Some(collision)) => Err(gix::Error::from_error(std::io::Error::other(format!(
            "{} collides",
            collision.path
        )))),
    }
}

/// The whole chain of an error in one line.
fn describe(error: &gix::Error) -> String {
    let mut parts: Vec<String> = error.iter_errors().map(ToString::to_string).collect();
    parts.dedup();
    parts.join(": ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_host_and_port() {
        let credentials =
            Credentials::parse("# c\nhttps://me:t0ken@git.example:8443\n\nhttp://u:p@127.0.0.1:80/\n").unwrap();
        let user = |url: &str| {
            credentials
                .account(&url.parse().unwrap())
                .map(|a| format!("{}:{}", a.username, a.password))
        };
        assert_eq!(user("https://git.example:8443/o/r.git").as_deref(), Some("me:t0ken"));
        assert_eq!(user("http://127.0.0.1:80/o/r.git").as_deref(), Some("u:p"));
        assert_eq!(user("https://git.example/o/r.git"), None);
        for bad in ["https://host", "user:token@host", "https://token@host"] {
            assert!(Credentials::parse(bad).is_err(), "{bad}");
        }
    }
}
