//! Fetching one commit into a mirror, with gix.
//!
//! A mirror is shallow: of each commit that was ever built it has the tree, and no history. What is
//! fetched next is only what the server finds to be new since then.

use super::{
    Trouble,
    credentials::{Login, is_same_server},
    exact::Exact,
    mirror::Mirror,
    ssh,
};
use crate::failure::{BuildFailure, Kind};
use bus::clock;
use contract::{CloneUrl, CommitHash, Scheme};
use gix::{
    ObjectId, Repository,
    bstr::ByteSlice as _,
    create,
    credentials::{
        helper::Action,
        protocol::{Context, Outcome},
    },
    open,
    progress::Discard,
    protocol::handshake::Ref,
    remote::{
        Direction,
        fetch::{Shallow, Tags},
        ref_map,
    },
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A commit that a mirror is to have.
#[derive(Clone)]
pub(super) struct Fetch {
    pub(super) mirror: Arc<Mirror>,
    pub(super) source: CloneUrl,
    pub(super) commit: CommitHash,
    pub(super) hints: Vec<String>,
    pub(super) ssh: String,
    /// The largest object that is read, in bytes.
    pub(super) most_bytes: u64,
}

/// Where a mirror remembers what it has: a ref per commit that was fetched, by time.
const KNOWN: &str = "refs/forge";
/// So many of them are told to the server, which sends what is new since.
const MOST_KNOWN: usize = 32;
/// A mirror with more packs than this is fetched anew: each fetch brings one, and lookups go through all of them.
const MOST_PACKS: usize = 200;
const EVERYTHING: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

// === impl Fetch ===

impl Fetch {
    /// The commit, if the mirror has it. An abbreviated name is always asked for: it may mean another one by now.
    pub(super) fn known(&self) -> Result<Option<ObjectId>, Trouble> {
        if !self.commit.is_full() || !self.mirror.repository().exists() {
            return Ok(None);
        }
        Ok(self.find(&self.open()?))
    }

    /// Fetches the commit, unless somebody else has done so by now.
    pub(super) fn run(&self, login: &Login, stop: &AtomicBool) -> Result<ObjectId, Trouble> {
        let _writer = self.mirror.write(stop)?;
        self.renew()?;
        let repository = if self.mirror.repository().exists() {
            self.open()?
        } else {
            self.create().map_err(|error| self.explain(&error))?
        };
        let known = self.commit.is_full().then(|| self.find(&repository)).flatten();
        if let Some(id) = known {
            return Ok(id);
        }
        let found = self.receive(&repository, login, stop).map_err(blame)?;
        self.remember(found)?;
        Ok(found)
    }

    /// Opens the mirror.
    pub(super) fn open(&self) -> Result<Repository, Trouble> {
        let opened = gix::open_opts(self.mirror.repository(), self.options());
        opened.map_err(|error| Trouble::Mirror(describe(&error)))
    }

    fn create(&self) -> gix::Result<Repository> {
        // Others look for it without a lock: it is there as a whole, or not at all.
        let path = self.mirror.repository();
        let young = path.with_extension(format!("{}.gone", uuid::Uuid::new_v4().simple()));
        gix::ThreadSafeRepository::init_opts(&young, create::Kind::Bare, create::Options::default(), self.options())?;
        fs::rename(&young, path).map_err(gix::Error::from_error)?;
        gix::open_opts(path, self.options())
    }

    fn options(&self) -> open::Options {
        let most_bytes = format!("gitoxide.objects.allocLimit={}", self.most_bytes);
        let ssh = format!("core.sshCommand={}", ssh::telling(&self.ssh, &self.said()));
        let overrides = [
            // Nothing but what was checked before, whatever a redirect says.
            "protocol.allow=never",
            "protocol.https.allow=always",
            "protocol.http.allow=always",
            "protocol.ssh.allow=always",
            "protocol.file.allow=always",
            "http.followRedirects=initial",
            "http.lowSpeedLimit=1000",
            "http.lowSpeedTime=60",
            "gitoxide.http.connectTimeout=10000",
            &most_bytes,
            &ssh,
        ];
        open::Options::isolated()
            .open_path_as_is(true)
            .with(gix::sec::Trust::Full)
            .config_overrides(overrides)
    }

    /// What was asked for, as a commit: the name may be that of a tag.
    fn find(&self, repository: &Repository) -> Option<ObjectId> {
        let spec = format!("{}^{{commit}}", self.commit);
        repository.rev_parse_single(spec.as_str()).ok().map(gix::Id::detach)
    }

    /// A commit alone, without history; where the server does not allow that, by way of a ref, or with everything there is.
    fn receive(&self, repository: &Repository, login: &Login, stop: &AtomicBool) -> Result<ObjectId, BuildFailure> {
        let whole = if self.commit.is_full() {
            Some(self.commit.to_string())
        } else {
            self.at_a_tip(repository, login)?
        };
        if let Some(whole) = whole {
            match self.ask_exactly(repository, login, &whole, stop) {
                Ok(()) => {}
                Err(failure) if is_final(&failure) || stop.load(Ordering::Relaxed) => return Err(failure),
                Err(failure) => tracing::debug!(%failure, "cannot fetch one commit alone"),
            }
            if let Some(id) = find_whole(repository, &whole) {
                return Ok(id);
            }
        }
        let hinted = self
            .hints
            .iter()
            .map(|hint| format!("+{hint}:refs/forge-last/{}", hint.replace('/', "-")));
        let specs: Vec<_> = EVERYTHING.into_iter().map(ToOwned::to_owned).collect();
        for hint in hinted {
            // A ref that is not there any more refuses only itself.
            let asked = self.ask(repository, login, &[hint], Shallow::undo(), stop);
            if let (Ok(()), Some(id)) = (asked, self.find(repository)) {
                return Ok(id);
            }
        }
        self.ask(repository, login, &specs, Shallow::undo(), stop)?;
        self.find(repository).ok_or_else(|| self.no_such_commit(repository))
    }

    /// The whole name of an abbreviated one, if a branch or a tag is there.
    fn at_a_tip(&self, repository: &Repository, login: &Login) -> Result<Option<String>, BuildFailure> {
        let listed = self.list(repository, login).map_err(|error| self.explain(&error))?;
        let prefix = self.commit.as_str().to_lowercase();
        let mut tips: Vec<_> = listed
            .into_iter()
            .filter(|name| name.starts_with(prefix.as_str()))
            .collect();
        tips.sort_unstable();
        tips.dedup();
        match <[String; 1]>::try_from(tips) {
            Ok([one]) => Ok(Some(one)),
            Err(_none_or_several) => Ok(None),
        }
    }

    fn list(&self, repository: &Repository, login: &Login) -> gix::Result<Vec<String>> {
        let remote = repository
            .remote_at(self.source.as_str())?
            .with_fetch_tags(Tags::None)
            .with_refspecs(EVERYTHING, Direction::Fetch)?;
        let connection = remote
            .connect(Direction::Fetch)?
            .with_credentials(answer(login, self.source.as_str()));
        let (map, _) = connection.ref_map(Discard, ref_map::Options::default())?;
        let commits = map.remote_refs.iter().filter_map(|found| match found {
            Ref::Peeled { object, .. } | Ref::Direct { object, .. } | Ref::Symbolic { object, .. } => {
                Some(object.to_string())
            }
            Ref::Unborn { .. } => None,
        });
        Ok(commits.collect())
    }

    /// One commit without history, by its full name.
    fn ask_exactly(
        &self,
        repository: &Repository,
        login: &Login,
        whole: &str,
        stop: &AtomicBool,
    ) -> Result<(), BuildFailure> {
        let asked = || {
            let exact = Exact {
                wanted: ObjectId::from_hex(whole.as_bytes())?,
                known: known(repository),
                most_bytes: self.most_bytes,
            };
            exact.fetch(repository, self.source.as_str(), login, stop)
        };
        asked().map_err(|error| self.explain(&error))
    }

    fn ask(
        &self,
        repository: &Repository,
        login: &Login,
        specs: &[String],
        shallow: Shallow,
        stop: &AtomicBool,
    ) -> Result<(), BuildFailure> {
        let asked = || -> gix::Result<()> {
            let specs = specs.iter().map(|spec| spec.as_bytes().as_bstr());
            let remote = repository
                .remote_at(self.source.as_str())?
                .with_fetch_tags(Tags::None)
                .with_refspecs(specs, Direction::Fetch)?;
            let connection = remote
                .connect(Direction::Fetch)?
                .with_credentials(answer(login, self.source.as_str()));
            let prepared = connection.prepare_fetch(Discard, ref_map::Options::default())?;
            prepared.with_shallow(shallow).receive(Discard, stop)?;
            Ok(())
        };
        asked().map_err(|error| self.explain(&error))
    }

    /// Remembers that a commit is there with all that it needs, and forgets the oldest.
    fn remember(&self, commit: ObjectId) -> io::Result<()> {
        let folder = self.mirror.repository().join(KNOWN);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{:013}", clock::now_ms())), format!("{commit}\n"))?;
        let mut known = fs::read_dir(&folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        known.sort();
        let old = known.len().saturating_sub(MOST_KNOWN);
        known.iter().take(old).try_for_each(fs::remove_file)
    }

    /// Throws the mirror away if it is in too many parts, and nobody else reads it.
    fn renew(&self) -> io::Result<()> {
        let packs = self.mirror.repository().join("objects/pack");
        let count = fs::read_dir(packs).map_or(0, |entries| {
            let is_pack = |path: &Path| path.extension().is_some_and(|extension| extension == "pack");
            entries.flatten().filter(|entry| is_pack(&entry.path())).count()
        });
        if count > MOST_PACKS {
            self.mirror.renew()
        } else {
            Ok(())
        }
    }

    /// What a program that makes connections says; there is one at a time for a mirror.
    fn said(&self) -> PathBuf {
        self.mirror.repository().join("ssh.said")
    }

    fn explain(&self, error: &gix::Error) -> BuildFailure {
        let mut text = describe(error);
        let mut is_missing = false;
        if self.source.scheme() == Scheme::Ssh {
            let last_words = ssh::last_words(&self.said());
            is_missing = ssh::is_missing(&last_words);
            text = format!("{text}: {last_words}");
        }
        let lower = without_addresses(&text).to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&["too large to fit in memory", "allocation limit"]) {
            let most = self.most_bytes / (1024 * 1024);
            let text = format!("{} has a file of more than {most} MiB (git.max_file_mib)", self.source);
            return BuildFailure::new(Kind::CloneRefused, text);
        }
        let kind = if is_missing {
            Kind::NotConfigured
        } else if says(&["host key verification failed"]) {
            text += " (the server is none of git.ssh_known_hosts)";
            Kind::CloneAuth
        } else if says(&["401", "403", "permission", "credential", "authentication"]) {
            Kind::CloneAuth
        } else if says(&[
            "404",
            "not found",
            "does not exist",
            "no such file",
            "does not appear to be a git",
        ]) {
            Kind::CloneNotFound
        } else if says(&["no space left"]) {
            Kind::DiskFull
        } else {
            Kind::CloneFailed
        };
        BuildFailure::new(kind, format!("cannot clone {}: {text}", self.source))
    }

    fn no_such_commit(&self, repository: &Repository) -> BuildFailure {
        let ambiguous = repository
            .rev_parse_single(self.commit.as_str())
            .is_err_and(|error| describe(&error).contains("ambiguous"));
        let text = if ambiguous {
            format!("{} has several commits {}; give more digits", self.source, self.commit)
        } else {
            format!("{} has no commit {}", self.source, self.commit)
        };
        BuildFailure::new(Kind::CommitNotFound, text)
    }
}

/// What an error says besides where: a port or a name may look like a status.
fn without_addresses(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !word.contains("://"));
    words.collect::<Vec<_>>().join(" ")
}

fn find_whole(repository: &Repository, name: &str) -> Option<ObjectId> {
    let id = ObjectId::from_hex(name.as_bytes()).ok()?;
    Some(repository.find_object(id).ok()?.peel_to_commit().ok()?.id)
}

/// The commits that were fetched before.
fn known(repository: &Repository) -> Vec<ObjectId> {
    let names = fs::read_dir(repository.path().join(KNOWN))
        .into_iter()
        .flatten()
        .flatten();
    let ids = names.filter_map(|name| ObjectId::from_hex(fs::read(name.path()).ok()?.trim_ascii()).ok());
    ids.filter(|id| repository.has_object(id)).collect()
}

/// A mirror that lacks what it should have is not the server's fault.
fn blame(failure: BuildFailure) -> Trouble {
    let ours = ["object could not be found", "corrupt", "checksum mismatch"];
    if ours.iter().any(|part| failure.message.contains(part)) {
        Trouble::Mirror(failure.message)
    } else {
        Trouble::Failure(failure)
    }
}

/// Whether asking in another way would be answered the same.
fn is_final(failure: &BuildFailure) -> bool {
    matches!(
        failure.kind,
        Kind::CloneAuth | Kind::CloneNotFound | Kind::CloneRefused | Kind::DiskFull
    )
}

/// Gives the login to whoever the connection goes to; nothing is asked of anybody, and nothing is stored.
pub(super) fn answer(login: &Login, source: &str) -> impl FnMut(Action) -> gix::Result<Option<Outcome>> + 'static {
    let (account, source) = (login.account(), source.to_owned());
    move |action| {
        Ok(match (action, account.clone()) {
            // Whoever it was that asks: a server may have sent us somewhere else.
            (Action::Get(context), Some(identity)) if is_of(&context, &source) => Some(Outcome {
                identity,
                next: gix::credentials::helper::NextAction::from(context),
            }),
            _ => None,
        })
    }
}

fn is_of(context: &Context, source: &str) -> bool {
    let url = context.url.as_ref().map(|url| url.to_str_lossy());
    url.is_some_and(|url| is_same_server(&url, source))
}

/// The whole chain of an error in one line.
pub(super) fn describe(error: &gix::Error) -> String {
    let mut parts: Vec<String> = error.iter_errors().map(ToString::to_string).collect();
    parts.dedup();
    parts.join(": ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_nothing_about_what_went_wrong() {
        let text = "Received HTTP status 404: for url (http://127.0.0.1:40151/e2e/credential.git/info/refs?service=x)";
        assert_eq!(without_addresses(text), "Received HTTP status 404: for url");
    }
}
