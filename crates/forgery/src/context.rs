//! The build context: the checkout as a tar stream, less what `.dockerignore` leaves out.

use crate::{
    attempt::options,
    failure::{BuildFailure, Kind},
    ignore::Ignore,
    secrets::dotenv,
};
use bytes::Bytes;
use contract::{BuildQueueMessage, RelativePath};
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
    /// Files that are not in the folder, or in place of those that are.
    own: Vec<(String, String)>,
}

/// Left out when a checkout brings no rules of its own: history and credentials, nothing else.
const USUAL: &str = ".git\n.netrc\n.git-credentials\n";
/// Who may change a file that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modes {
    /// As git has it.
    Git,
    /// Everybody.
    Open,
}

const ENV_FILE: &str = ".env";
/// Parts of the stream that may wait for the engine.
const PARTS: usize = 16;
const PART: usize = 64 * 1024;

// === impl Context ===

impl Context {
    /// Finds context and Dockerfile within the checkout; nothing leads out of it.
    pub(crate) fn find(checkout: &Path, message: &BuildQueueMessage) -> Result<Self, BuildFailure> {
        let path = message.context_path.as_ref().map_or(".", |path| path.as_str());
        let folder = checkout.join(path);
        let mut context = Self::of(
            checkout,
            &folder,
            message.dockerfile.as_ref().map(RelativePath::as_str),
            None,
        )?;
        let options = options(message);
        if options.write_env_file && !options.environment.is_empty() {
            context.own.push((ENV_FILE.to_owned(), dotenv(&options.environment)));
        }
        Ok(context)
    }

    /// A folder within another, with one of its Dockerfiles, or with one that is not in it.
    pub(crate) fn of(
        root: &Path,
        folder: &Path,
        dockerfile: Option<&str>,
        own: Option<String>,
    ) -> Result<Self, BuildFailure> {
        let path = folder.strip_prefix(root).unwrap_or(folder).display();
        let found = confined(root, folder).filter(|folder| folder.is_dir());
        let folder = found.ok_or_else(|| {
            let text = format!("the repository has no folder {path} for the build context");
            BuildFailure::new(Kind::InvalidMessage, text)
        })?;
        let dockerfile = dockerfile.unwrap_or("Dockerfile");
        let file = confined(&folder, &folder.join(dockerfile)).filter(|file| file.is_file());
        if file.is_none() && own.is_none() {
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
        Ok(Self {
            own: own.map(|text| (dockerfile.to_owned(), text)).into_iter().collect(),
            folder,
            dockerfile: dockerfile.to_owned(),
            ignore,
        })
    }

    /// Nothing but a Dockerfile.
    pub(crate) fn generated(dockerfile: String) -> Self {
        Self {
            folder: PathBuf::new(),
            dockerfile: "Dockerfile".to_owned(),
            ignore: Ignore::default(),
            own: vec![("Dockerfile".to_owned(), dockerfile)],
        }
    }

    /// The Dockerfile's path within the context.
    pub(crate) fn dockerfile(&self) -> &str {
        &self.dockerfile
    }

    /// Streams the context; ends early when the receiver is dropped.
    pub(crate) fn stream(self) -> mpsc::Receiver<io::Result<Bytes>> {
        stream(move |pipe| self.write(pipe))
    }

    fn write(&self, to: &mut impl io::Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(to);
        tar.follow_symlinks(false);
        if !self.folder.as_os_str().is_empty() {
            self.add_folder(&mut tar, Path::new(""))?;
        }
        for (name, text) in &self.own {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(text.len()).unwrap_or_default());
            header.set_mode(0o600);
            tar.append_data(&mut header, name, text.as_bytes())?;
        }
        tar.into_inner()?.flush()
    }

    fn add_folder<W: io::Write>(&self, tar: &mut tar::Builder<W>, below: &Path) -> io::Result<()> {
        let mut entries = fs::read_dir(self.folder.join(below))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name); // The same checkout gives the same stream.
        for entry in entries {
            let path = below.join(entry.file_name());
            let text = path.to_string_lossy(); // Rules are text; names need not be.
            let folder = entry.file_type()?.is_dir();
            if self.own.iter().any(|(own, _)| *own == text) {
                continue; // Whatever it is: a link would not be followed.
            }
            let excluded = self.ignore.excludes(&text) && !self.is_needed(&text);
            if !excluded {
                add(tar, &entry.path(), &path, Modes::Git)?;
            }
            if folder && (!excluded || !self.ignore.is_final() || self.dockerfile.starts_with(&format!("{text}/"))) {
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
fn add<W: io::Write>(tar: &mut tar::Builder<W>, file: &Path, path: &Path, modes: Modes) -> io::Result<()> {
    let metadata = fs::symlink_metadata(file)?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata_in_mode(&metadata, tar::HeaderMode::Deterministic);
    header.set_mtime(0);
    if modes == Modes::Open {
        let mode = header.mode()?;
        header.set_mode(if mode & 0o100 == 0 { 0o666 } else { 0o777 });
    }
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
pub(crate) fn confined(folder: &Path, path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    real.starts_with(folder.canonicalize().ok()?).then_some(real)
}

/// Streams a folder as it is, under another name, for containers: whoever runs in them may change it.
pub(crate) fn stream_of(folder: PathBuf, name: &'static str) -> mpsc::Receiver<io::Result<Bytes>> {
    stream(move |pipe| {
        let mut tar = tar::Builder::new(pipe);
        tar.follow_symlinks(false);
        // What git ignores is left out of a work tree of git; a checkout is none.
        let mut walk = ignore::WalkBuilder::new(&folder);
        walk.hidden(false)
            .parents(false)
            .ignore(false)
            .git_global(false)
            .sort_by_file_name(Ord::cmp);
        let walk = walk.filter_entry(|entry| entry.file_name() != ".git").build();
        for entry in walk.filter_map(Result::ok) {
            let path = Path::new(name).join(entry.path().strip_prefix(&folder).unwrap_or_else(|_never| entry.path()));
            if !path.as_os_str().is_empty() {
                add(&mut tar, entry.path(), &path, Modes::Open)?;
            }
        }
        io::Write::flush(tar.into_inner()?)
    })
}

/// Runs a writer on a thread of its own, and streams what it writes.
fn stream(
    write: impl FnOnce(&mut io::BufWriter<Pipe>) -> io::Result<()> + Send + 'static,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(PARTS);
    drop(tokio::task::spawn_blocking(move || {
        let mut pipe = io::BufWriter::with_capacity(PART, Pipe(sender.clone()));
        if let Err(error) = write(&mut pipe) {
            sender.blocking_send(Err(error)).ok(); // The receiver is gone when the build was stopped.
        }
    }));
    receiver
}

/// Reads what comes in parts, on a thread that may block.
pub(crate) struct Parts {
    parts: mpsc::Receiver<Bytes>,
    now: Bytes,
}

impl Parts {
    pub(crate) const fn new(parts: mpsc::Receiver<Bytes>) -> Self {
        Self {
            parts,
            now: Bytes::new(),
        }
    }
}

impl io::Read for Parts {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.parts.blocking_recv() {
                Some(next) => self.now = next,
                None => return Ok(0),
            }
        }
        io::Read::read(&mut bytes::Buf::reader(&mut self.now), into)
    }
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
    fn a_file_whose_name_is_no_text_is_sent_like_others() {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Dockerfile"), "FROM x").unwrap();
        let odd = std::ffi::OsString::from_vec(b"caf\xe9".to_vec());
        fs::create_dir(folder.path().join(&odd)).unwrap();
        fs::write(folder.path().join(&odd).join("a"), "b").unwrap();
        let mut bytes = Vec::new();
        let context = Context::find(folder.path(), &message()).unwrap();
        context.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut paths = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned());
        assert!(paths.any(|path| path.as_os_str().as_bytes() == b"caf\xe9/a"));
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
