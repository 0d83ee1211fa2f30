//! Who we are to git servers that are spoken to over SSH, and which of them we know.

use chassis::Secret;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// What there is to make connections of `ssh` with.
#[derive(Clone, Debug)]
pub(crate) struct Ssh {
    /// The program, and what it is given in any case.
    pub(crate) command: String,
    /// A private key, as `ssh-keygen` writes it.
    pub(crate) key: Option<Secret>,
    /// Lines of `known_hosts` (`ssh-keyscan`); those of the system, if there are none.
    pub(crate) known: Option<String>,
}

/// So much of what the program says is looked at, in bytes, and so many lines of that are told.
const MOST_SAID: usize = 500;
const LAST: usize = 3;
/// It may say no more than this, in blocks of 512 bytes.
const MOST_BLOCKS: usize = 128;

// === impl Ssh ===

impl Ssh {
    /// The whole command; what it reads is written in a folder where nobody else reads it, for which the program looks.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(super) fn prepare(&self, folder: &Path) -> io::Result<String> {
        let mut words = vec![self.command.clone()];
        if let Some(key) = &self.key {
            let path = keep(folder, "key", &format!("{}\n", key.expose().trim_end()))?;
            words.extend(["-o IdentitiesOnly=yes -i".to_owned(), quoted(&path)]);
        }
        if let Some(known) = &self.known {
            let path = keep(folder, "known_hosts", known)?;
            let servers = quoted_as("UserKnownHostsFile", &path);
            words.extend(["-o StrictHostKeyChecking=yes -o".to_owned(), servers]);
        }
        Ok(words.join(" "))
    }
}

/// Another build may read it at this moment.
fn keep(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(name);
    let young = folder.join(format!("{name}.{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&young)?;
    file.write_all(text.as_bytes())?;
    fs::rename(young, &path)?;
    Ok(path)
}

/// The command, with what it says of its own in a file, as gix only hears what the server says. Whoever says too much, as
/// a server may by way of it, is ended.
pub(super) fn telling(command: &str, said: &Path) -> String {
    format!("ulimit -f {MOST_BLOCKS}; {command} 2>{}", quoted(said))
}

/// Whether the shell says that there is no such program.
pub(super) fn is_missing(last_words: &str) -> bool {
    last_words.starts_with("sh: ") && last_words.ends_with("not found")
}

/// The end of what it said: the program's own last words, or those of the server.
pub(super) fn last_words(said: &Path) -> String {
    let text = fs::read(said).unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(text.len().saturating_sub(MOST_SAID)..).unwrap_or_default());
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines
        .get(lines.len().saturating_sub(LAST)..)
        .unwrap_or_default()
        .join(" ")
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// The same as an option of `ssh`, which takes spaces for ends of names unless they are in quotes of its own.
fn quoted_as(option: &str, path: &Path) -> String {
    format!("{option}='\"{}\"'", path.to_string_lossy().replace('\'', r"'\''"))
}
