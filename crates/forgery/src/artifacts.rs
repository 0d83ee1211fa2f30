//! Files that steps leave for people: kept on this machine, as tar files.
//!
//! `<artifacts.dir>/<project>/<build>/<step>/<path>.tar`; a later attempt replaces what an earlier one kept.

use crate::{
    attempt::internal,
    engine::unavailable,
    failure::{BuildFailure, Kind},
    images::Maker,
};
use bollard::errors::Error;
use futures_util::StreamExt as _;
use std::{io, path::Path, time::Duration};
use tokio::{fs, io::AsyncWriteExt as _};

/// The largest artifact, in bytes.
const LARGEST: u64 = 1024 * 1024 * 1024;
/// The longest part of a path that is kept in a name.
const LONGEST_NAME: usize = 100;
const DAY: Duration = Duration::from_hours(24);

/// Keeps what is at a path of a container; what is not there is said, and is no failure.
pub(crate) async fn keep(
    maker: &Maker<'_>,
    step: &str,
    container: &str,
    workspace: &str,
    path: &str,
) -> Result<(), BuildFailure> {
    let Some(folder) = &maker.tools.config.artifacts else {
        let text = "this forgery keeps no artifacts; see artifacts.dir";
        return Err(BuildFailure::new(Kind::NotConfigured, text));
    };
    let failed = |error: io::Error| internal("cannot keep an artifact", &error);
    let folder = folder
        .join(maker.message.project_name.as_str())
        .join(plain(maker.message.id.as_str()))
        .join(plain(step));
    fs::create_dir_all(&folder).await.map_err(failed)?;
    let (file, part) = (
        folder.join(format!("{}.tar", plain(path))),
        folder.join(format!("{}.part", plain(path))),
    );
    let mut parts = Box::pin(maker.tools.engine.download(container, &format!("{workspace}/{path}")));
    let mut to = fs::File::create(&part).await.map_err(failed)?;
    let mut size = 0_u64;
    while let Some(next) = parts.next().await {
        let next = match next {
            Ok(next) => next,
            // 500: a part of the path is a file.
            Err(Error::DockerResponseServerError {
                status_code: 404 | 500, ..
            }) => {
                fs::remove_file(&part).await.map_err(failed)?;
                maker.log.say(format!("{step} has left no {path}"));
                return Ok(());
            }
            Err(error) => return Err(unavailable(&error)),
        };
        size += next.len() as u64;
        if size > LARGEST {
            fs::remove_file(&part).await.map_err(failed)?;
            let text = format!("the artifact {path} has more than {} MiB", LARGEST / (1024 * 1024));
            return Err(BuildFailure::new(Kind::BuildFailed, text));
        }
        to.write_all(&next).await.map_err(failed)?;
    }
    to.flush().await.map_err(failed)?;
    fs::rename(&part, &file).await.map_err(failed)?;
    maker
        .log
        .say(format!("kept {path} as {} ({size} bytes)", file.display()));
    Ok(())
}

/// Removes what was kept longer than so many days ago; how many builds it was of.
#[expect(
    clippy::disallowed_methods,
    reason = "times of files are what they are compared with"
)]
pub(crate) fn forget(folder: &Path, days: u32) -> io::Result<usize> {
    let Some(limit) = std::time::SystemTime::now().checked_sub(DAY * days) else {
        return Ok(0);
    };
    let mut gone = 0;
    for owner in folders(folder)? {
        for project in folders(&owner)? {
            for build in folders(&project)? {
                if std::fs::metadata(&build)?.modified()? < limit {
                    std::fs::remove_dir_all(&build)?;
                    gone += 1;
                }
            }
        }
    }
    Ok(gone)
}

fn folders(of: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let entries = match std::fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.collect::<io::Result<Vec<_>>>()?,
    };
    Ok(entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect())
}

/// A name that leads nowhere else.
fn plain(text: &str) -> String {
    let one = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let text = text.trim_matches('/');
    let name: String = text.chars().take(LONGEST_NAME).map(one).collect();
    if name.trim_matches('.').is_empty() {
        return "all".to_owned();
    }
    if name == text {
        return name;
    }
    // Names that are spelt alike here stay apart.
    let digest = seal::digest(text.as_bytes());
    format!("{name}-{}", digest.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else_and_stay_apart() {
        for (text, begins) in [
            ("report.xml", "report.xml"),
            ("target/report", "target-report-"),
            ("..", "all"),
            (".", "all"),
        ] {
            assert!(plain(text).starts_with(begins), "{text}: {}", plain(text));
        }
        assert_ne!(plain("a/b"), plain("a-b"));
        assert!(plain(&"x/".repeat(300)).len() < 128);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        for build in ["old", "new"] {
            std::fs::create_dir_all(folder.path().join("org/repo").join(build)).unwrap();
        }
        let old = std::fs::File::open(folder.path().join("org/repo/old")).unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(forget(folder.path(), 30).unwrap(), 1);
        assert!(folder.path().join("org/repo/new").exists() && !folder.path().join("org/repo/old").exists());
        assert_eq!(forget(&folder.path().join("none"), 30).unwrap(), 0);
    }
}
