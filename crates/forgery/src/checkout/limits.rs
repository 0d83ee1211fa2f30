//! How much a repository may bring.

use crate::failure::{BuildFailure, Kind};
use std::{fs, path::Path, time::Duration};

/// Most submodules of a build, those of submodules included.
pub(super) const SUBMODULES: usize = 128;

/// What a checkout may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// What may be fetched of a repository at once, and what its files may have together, in bytes.
    pub(crate) bytes: u64,
    /// Most files.
    pub(crate) files: usize,
    /// The largest file, in bytes; it is held in memory.
    pub(crate) file: u64,
    /// The longest that all of it may take.
    pub(crate) time: Duration,
}

/// What is left of the limits for one checkout, its submodules included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    limits: Limits,
    bytes: u64,
    files: usize,
    submodules: usize,
}

// === impl Limits ===

impl Limits {
    pub(super) const fn budget(self) -> Budget {
        Budget {
            limits: self,
            bytes: 0,
            files: 0,
            submodules: 0,
        }
    }

    pub(super) fn too_large(&self) -> BuildFailure {
        let text = format!(
            "the repository has more than {} MiB (git.max_mib)",
            self.bytes / (1024 * 1024)
        );
        BuildFailure::new(Kind::CloneRefused, text)
    }
}

// === impl Budget ===

impl Budget {
    /// Whether one more submodule may come.
    pub(super) const fn another_submodule(&mut self) -> bool {
        self.submodules += 1;
        self.submodules <= SUBMODULES
    }

    /// Counts so many files.
    pub(super) fn files(&mut self, files: usize) -> Result<(), BuildFailure> {
        self.files += files;
        if self.files <= self.limits.files {
            return Ok(());
        }
        let text = format!("there are more than {} files (git.max_files)", self.limits.files);
        Err(BuildFailure::new(Kind::CloneRefused, text))
    }

    /// Counts a file of so many bytes.
    pub(super) fn bytes(&mut self, path: &str, bytes: u64) -> Result<(), BuildFailure> {
        if bytes > self.limits.file {
            let most = self.limits.file / (1024 * 1024);
            let text = format!("{path} has more than {most} MiB (git.max_file_mib)");
            return Err(BuildFailure::new(Kind::CloneRefused, text));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(self.limits.too_large());
        }
        Ok(())
    }
}

/// The bytes of all files below a folder; what goes meanwhile is not counted.
pub(super) fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size_of(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_checkout_brings_is_counted() {
        let limits = Limits {
            bytes: 100,
            files: 3,
            file: 60,
            time: Duration::ZERO,
        };
        let mut budget = limits.budget();
        assert!(budget.files(2).is_ok() && budget.files(1).is_ok() && budget.files(1).is_err());
        assert!(budget.bytes("a", 61).is_err() && budget.bytes("a", 60).is_ok());
        assert!(budget.bytes("b", 40).is_ok() && budget.bytes("c", 1).is_err());
        assert!((0..SUBMODULES).all(|_| budget.another_submodule()) && !budget.another_submodule());
    }
}
