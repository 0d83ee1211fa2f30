//! The build context: the checkout as a tar stream, less what `.dockerignore` leaves out.

use crate::{
    failure::{BuildFailure, Kind},
    ignore::Ignore,
    secrets::dotenv,
};
use bytes::Bytes;
use contract::BuildQueueMessage;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// What is sent to the engine.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    folder: PathBuf,
    dockerfile: String,
    ignore: Ignore,
    /// What goes into the context as `.env`, in place of what is there.
    env_file: Option<String>,
}

/// Left out when a checkout brings no rules of its own: history and credentials, nothing else.
const USUAL: &str = ".git\n.netrc\n.git-credentials\n";
const ENV_FILE: &str = ".env";
/// Parts of the stream that may wait for the engine.
const PARTS: usize = 16;
const PART: usize = 64 * 1024;

// === impl Context ===

impl Context {
    /// Finds context and Dockerfile within the checkout; nothing leads out of it.
    pub(crate) fn find(checkout: &Path, message: &BuildQueueMessage) -> Result<Self, BuildFailure> {
        let path = message.context_path.as_ref().map_or(".", |path| path.as_str());
        let folder = confined(checkout, &checkout.join(path));
        let folder = folder.filter(|folder| folder.is_dir()).ok_or_else(|| {
            BuildFailure::new(
                Kind::InvalidMessage,
                format!("the repository has no folder {path} for the build context"),
            )
        })?;
        let dockerfile = message.dockerfile.as_ref().map_or("Dockerfile", |path| path.as_str());
        let file = confined(&folder, &folder.join(dockerfile)).filter(|file| file.is_file());
        if file.is_none() {
            let text = format!("there is no {dockerfile} in {path}");
            return Err(BuildFailure::new(Kind::DockerfileMissing, text));
        }
        let rules = [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()];
        let rules = rules.iter().find_map(|name| confined(&folder, &folder.join(name)));
        let rules = match rules.map(fs::read_to_string) {
            Some(Ok(text)) => text,
            Some(Err(error)) => return Err(BuildFailure::new(Kind::BuildFailed, format!(".dockerignore: {error}"))),
            None => USUAL.to_owned(),
        };
        let ignore = Ignore::parse(&rules)
            .map_err(|error| BuildFailure::new(Kind::BuildFailed, format!(".dockerignore: {error}")))?;
        let options = message.options.as_ref();
        let env_file = options.filter(|options| options.write_env_file && !options.environment.is_empty());
        Ok(Self {
            env_file: env_file.map(|options| dotenv(&options.environment)),
            folder,
            dockerfile: dockerfile.to_owned(),
            ignore,
        })
    }

    /// The Dockerfile's path within the context.
    pub(crate) fn dockerfile(&self) -> &str {
        &self.dockerfile
    }

    /// Streams the context; ends early when the receiver is dropped.
    pub(crate) fn stream(self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(PARTS);
        drop(tokio::task::spawn_blocking(move || {
            let mut pipe = io::BufWriter::with_capacity(PART, Pipe(sender.clone()));
            if let Err(error) = self.write(&mut pipe) {
                sender.blocking_send(Err(error)).ok(); // The receiver is gone when the build was stopped.
            }
        }));
        receiver
    }

    fn write(&self, to: &mut impl io::Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(to);
        tar.follow_symlinks(false);
        self.add_folder(&mut tar, "")?;
        if let Some(text) = &self.env_file {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(text.len()).unwrap_or_default());
            header.set_mode(0o600);
            tar.append_data(&mut header, ENV_FILE, text.as_bytes())?;
        }
        tar.into_inner()?.flush()
    }

    fn add_folder<W: io::Write>(&self, tar: &mut tar::Builder<W>, below: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(self.folder.join(below))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name); // The same checkout gives the same stream.
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = if below.is_empty() {
                name.to_owned()
            } else {
                format!("{below}/{name}")
            };
            let folder = entry.file_type()?.is_dir();
            if path == ENV_FILE && self.env_file.is_some() {
                continue; // Whatever it is: a link would not be followed.
            }
            let excluded = self.ignore.excludes(&path) && !self.is_needed(&path);
            if !excluded {
                add(tar, &entry.path(), &path)?;
            }
            if folder && (!excluded || !self.ignore.is_final() || self.dockerfile.starts_with(&format!("{path}/"))) {
                self.add_folder(tar, &path)?;
            }
        }
        Ok(())
    }

    /// The engine needs these whatever the rules say.
    fn is_needed(&self, path: &str) -> bool {
        path == self.dockerfile || path == ".dockerignore"
    }
}

/// Adds one entry without time and owner, so that caches hit.
fn add<W: io::Write>(tar: &mut tar::Builder<W>, file: &Path, path: &str) -> io::Result<()> {
    let metadata = fs::symlink_metadata(file)?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata_in_mode(&metadata, tar::HeaderMode::Deterministic);
    header.set_mtime(0);
    if metadata.is_symlink() {
        header.set_size(0);
        return tar.append_link(&mut header, path, fs::read_link(file)?);
    }
    if metadata.is_dir() {
        return tar.append_data(&mut header, path, io::empty());
    }
    if metadata.is_file() {
        return tar.append_data(&mut header, path, fs::File::open(file)?);
    }
    Ok(()) // Sockets and devices are not sent.
}

/// The real path, if it exists and lies within the folder.
fn confined(folder: &Path, path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    real.starts_with(folder.canonicalize().ok()?).then_some(real)
}

struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Pipe {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(part)));
        sent.map_err(|_closed| io::ErrorKind::BrokenPipe)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{BuildType, Strategy};

    fn message() -> BuildQueueMessage {
        let url = "https://h/o/r.git".parse().unwrap();
        BuildQueueMessage::new(
            "b".parse().unwrap(),
            "o/r".parse().unwrap(),
            BuildType::Dockerfile,
            url,
            "abcd".parse().unwrap(),
            Strategy::Local,
        )
    }

    #[test]
    fn the_stream_holds_what_the_rules_leave_and_links_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("sub/deep")).unwrap();
        for (name, text) in [
            ("Dockerfile", "FROM x"),
            (".dockerignore", "*\n!sub/deep/kept\n"),
            ("secret", "s"),
            ("sub/deep/kept", "k"),
            ("sub/x", "x"),
        ] {
            fs::write(at(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", at("sub/deep/kept-link")).unwrap();
        let context = Context::find(folder.path(), &message()).unwrap();
        let mut bytes = Vec::new();
        context.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let paths: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths, [".dockerignore", "Dockerfile", "sub/deep/kept"]);
    }

    #[test]
    fn nothing_leads_out_of_the_checkout() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("Dockerfile")).unwrap();
        let mut wanted = message();
        assert_eq!(
            Context::find(folder.path(), &wanted).unwrap_err().kind,
            Kind::DockerfileMissing
        );
        wanted.context_path = Some("link".parse().unwrap());
        assert_eq!(
            Context::find(folder.path(), &wanted).unwrap_err().kind,
            Kind::InvalidMessage
        );
    }
}
