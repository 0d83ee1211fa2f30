//! What a commit says of other repositories that belong to it (gitmodules(5)).

use super::{Wanted, tree};
use contract::{CloneUrl, CommitHash, Scheme};
use gix::{Repository, bstr::ByteSlice as _, index::entry::Mode};
use std::path::Path;

/// A commit of another repository, as a file of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    path: String,
    commit: String,
    url: Option<String>,
    /// `update = none`: it is not wanted.
    left_out: bool,
}

/// Why a submodule is not fetched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// As git does, with a word to people.
    Ignored(String),
    Refused(String),
}

// === impl Found ===

impl Found {
    pub(super) fn of(repository: &Repository, index: &gix::index::File) -> gix::Result<Vec<Self>> {
        let links: Vec<_> = index
            .entries()
            .iter()
            .filter(|entry| entry.mode == Mode::COMMIT)
            .collect();
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let text = match index.entry_by_path(b".gitmodules".as_bstr()) {
            Some(entry) => repository.find_object(entry.id)?.data.clone(),
            None => Vec::new(),
        };
        let text = String::from_utf8_lossy(&text);
        let known = gix::config::File::try_from(text.as_ref()).unwrap_or_default(); // As without it.
        let mut found = Vec::new();
        for link in links {
            let path = link.path(index).to_str_lossy().into_owned();
            let sections = known.sections_by_name("submodule").into_iter().flatten();
            let own = sections
                .filter(|section| {
                    section
                        .value("path")
                        .is_some_and(|value| value.as_bytes() == path.as_bytes())
                })
                .last();
            let value = |key: &str| Some(own.as_ref()?.value(key)?.to_str_lossy().into_owned());
            found.push(Self {
                url: value("url"),
                left_out: value("update").as_deref() == Some("none"),
                commit: link.id.to_string(),
                path,
            });
        }
        Ok(found)
    }

    /// Where it is to be had, and where it goes.
    pub(super) fn resolve(&self, parent: &Wanted, root: &Path, schemes: &[Scheme]) -> Result<Wanted, Unfit> {
        let named = |why: &str| format!("submodule {}: {why}", self.path);
        if self.left_out {
            return Err(Unfit::Ignored(named("left out, as .gitmodules says")));
        }
        let Some(url) = &self.url else {
            return Err(Unfit::Ignored(named(".gitmodules has no URL for it; it stays empty")));
        };
        let url = if url.starts_with("./") || url.starts_with("../") {
            relative(parent.source.as_str(), url)
                .ok_or_else(|| Unfit::Refused(named("its URL leads above its host")))?
        } else {
            url.clone()
        };
        let source: CloneUrl = url
            .parse()
            .map_err(|why| Unfit::Refused(named(&format!("its URL: {why}"))))?;
        if !schemes.contains(&source.scheme()) {
            let why = format!("{:?} sources are not allowed here", source.scheme());
            return Err(Unfit::Refused(named(&why)));
        }
        if source.scheme() == Scheme::Ssh && !parent.trusted {
            let why = "it is fetched with a key of ours, which nobody may use whom we do not trust";
            return Err(Unfit::Refused(named(why)));
        }
        let commit: CommitHash = self
            .commit
            .parse()
            .map_err(|_never| Unfit::Refused(named("its commit has no name")))?;
        let worktree = parent.worktree.join(&self.path);
        if !tree::make_folder(root, &worktree) {
            return Err(Unfit::Refused(named("its path is no folder of the checkout")));
        }
        Ok(Wanted {
            source,
            commit,
            hints: Vec::new(),
            worktree,
            trusted: parent.trusted,
        })
    }
}

/// A URL relative to another, as git-submodule(1) takes them: `..` removes a part, also after a colon.
fn relative(base: &str, url: &str) -> Option<String> {
    let mut base = base.trim_end_matches('/').to_owned();
    let mut rest = url;
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            let from = base.find("://").map_or(0, |at| at + 3);
            let end = base.get(from..)?.rfind(['/', ':'])? + from;
            let colon = base.get(end..)?.starts_with(':');
            base.truncate(if colon { end + 1 } else { end });
            rest = after;
        } else {
            break;
        }
    }
    let between = if base.ends_with(':') { "" } else { "/" };
    Some(format!("{base}{between}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_urls_are_gits() {
        for (base, url, expected) in [
            ("https://h/o/r.git", "../lib.git", Some("https://h/o/lib.git")),
            ("https://h/o/r.git", "../../p/lib.git", Some("https://h/p/lib.git")),
            ("https://h/o/r.git/", "./lib.git", Some("https://h/o/r.git/lib.git")),
            ("git@h:o/r.git", "../lib.git", Some("git@h:o/lib.git")),
            ("git@h:o/r.git", "../../p/lib.git", Some("git@h:p/lib.git")),
            ("https://h/o/r.git", "../../../x/lib.git", None),
        ] {
            assert_eq!(relative(base, url).as_deref(), expected, "{base} {url}");
        }
    }

    #[test]
    fn what_leads_out_or_runs_something_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", folder.path().join("link")).unwrap();
        let parent = Wanted {
            source: "https://h/o/r.git".parse().unwrap(),
            commit: "abcd".parse().unwrap(),
            hints: Vec::new(),
            worktree: folder.path().to_owned(),
            trusted: true,
        };
        let resolve = |path: &str, url: Option<&str>| {
            let found = Found {
                path: path.to_owned(),
                commit: "a".repeat(40),
                url: url.map(ToOwned::to_owned),
                left_out: false,
            };
            found.resolve(&parent, folder.path(), &[Scheme::Https, Scheme::Ssh])
        };
        for url in [
            "ext::sh -c id",
            "file:///etc",
            "http://h/x.git",
            "--upload-pack=x",
            "/etc",
            "https://u:p@h/x",
        ] {
            assert!(matches!(resolve("lib", Some(url)), Err(Unfit::Refused(_))), "{url}");
        }
        for path in ["../lib", "link/lib", "link"] {
            assert!(
                matches!(resolve(path, Some("https://h/x.git")), Err(Unfit::Refused(_))),
                "{path}"
            );
        }
        let mut stranger = parent.clone();
        stranger.trusted = false;
        let ssh = Found {
            path: "lib".to_owned(),
            commit: "a".repeat(40),
            url: Some("git@h:o/private.git".to_owned()),
            left_out: false,
        };
        let schemes = [Scheme::Ssh];
        assert!(ssh.resolve(&parent, folder.path(), &schemes).is_ok());
        assert!(matches!(
            ssh.resolve(&stranger, folder.path(), &schemes),
            Err(Unfit::Refused(_))
        ));
        assert!(matches!(resolve("lib", None), Err(Unfit::Ignored(_))));
        assert_eq!(
            resolve("lib/a", Some("../x.git")).unwrap().source.as_str(),
            "https://h/o/x.git"
        );
    }
}
