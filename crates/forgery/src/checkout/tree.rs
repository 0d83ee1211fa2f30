//! Writing a commit's tree into an empty folder: counted first, then written.

use super::{Trouble, fetch::describe, lfs, limits::Budget, submodules::Found};
use crate::failure::{BuildFailure, Kind};
use contract::CommitHash;
use gix::{ObjectId, Repository, bstr::ByteSlice as _, index::entry::Mode, progress::Discard};
use std::{
    collections::HashMap,
    path::{Component, Path},
    sync::atomic::{AtomicBool, Ordering},
};

/// What was written, and what it asks for besides.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) commit: CommitHash,
    pub(super) submodules: Vec<Found>,
    /// Files whose content is in Git LFS.
    pub(super) files: Vec<lfs::Pointer>,
}

/// Writes the tree of a commit into a folder that is empty.
pub(super) fn write(
    repository: &Repository,
    commit: ObjectId,
    into: &Path,
    budget: &mut Budget,
    stop: &AtomicBool,
) -> Result<Written, Trouble> {
    let damaged = |error: gix::Error| Trouble::Mirror(describe(&error));
    let tree = repository.find_commit(commit).and_then(|commit| commit.tree_id());
    let tree = tree.map_err(damaged)?;
    let mut index = match repository.index_from_tree(&tree) {
        Ok(index) => index,
        Err(error) => return Err(unfit(&error)),
    };
    budget.files(index.entries().len())?;
    let files = measure(repository, &index, budget)?;
    let submodules = Found::of(repository, &index).map_err(damaged)?;

    let attributes = gix::worktree::stack::state::attributes::Source::IdMapping;
    let mut options = repository.checkout_options(attributes).map_err(damaged)?;
    options.destination_is_initially_empty = true;
    let objects = repository
        .objects
        .clone()
        .into_arc()
        .map_err(|error| Trouble::Mirror(error.to_string()))?;
    let written = gix::worktree::state::checkout(&mut index, into, objects, &Discard, &Discard, stop, options);
    let outcome = written.map_err(|error| unfit(&error))?;
    if stop.load(Ordering::Relaxed) {
        // An interrupted checkout says nothing.
        return Err(BuildFailure::new(Kind::CloneFailed, "the checkout was interrupted").into());
    }
    if let Some(error) = outcome.errors.first() {
        return Err(refused(&format!("{}: {}", error.path, error.error)));
    }
    if let Some(collision) = outcome.collisions.first() {
        return Err(refused(&format!("{} is there twice", collision.path)));
    }
    let commit = commit.to_string().parse();
    let commit = commit.map_err(|_never| BuildFailure::new(Kind::Internal, "a commit without a name"))?;
    Ok(Written {
        commit,
        submodules,
        files,
    })
}

/// The files that differ between two commits, if both are there.
pub(super) fn changed(repository: &Path, before: &str, after: &str) -> Option<Vec<String>> {
    let repository = gix::open(repository).ok()?;
    let files = |commit: &str| -> Option<HashMap<String, (ObjectId, Mode)>> {
        let commit = repository
            .find_commit(ObjectId::from_hex(commit.as_bytes()).ok()?)
            .ok()?;
        let index = repository.index_from_tree(&commit.tree_id().ok()?).ok()?;
        let entries = index.entries().iter();
        Some(
            entries
                .map(|entry| (entry.path(&index).to_str_lossy().into_owned(), (entry.id, entry.mode)))
                .collect(),
        )
    };
    let (before, mut after) = (files(before)?, files(after)?);
    let mut changed = Vec::new();
    for (path, file) in before {
        if after.remove(&path) != Some(file) {
            changed.push(path);
        }
    }
    changed.extend(after.into_keys());
    Some(changed)
}

/// Counts what the files would take, before they take it; and finds those that Git LFS keeps.
fn measure(
    repository: &Repository,
    index: &gix::index::File,
    budget: &mut Budget,
) -> Result<Vec<lfs::Pointer>, Trouble> {
    let mut sizes: HashMap<ObjectId, u64> = HashMap::new();
    let mut small = Vec::new();
    let mut attributes = Vec::new();
    for entry in index.entries().iter().filter(|entry| entry.mode != Mode::COMMIT) {
        let path = entry.path(index);
        let size = match sizes.get(&entry.id) {
            Some(size) => *size,
            None => repository
                .find_header(entry.id)
                .map_err(|error| Trouble::Mirror(describe(&error)))?
                .size(),
        };
        sizes.insert(entry.id, size);
        budget.bytes(&path.to_str_lossy(), size)?;
        if path.rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes") {
            attributes.push(entry.id);
        } else if (lfs::SMALLEST..=lfs::LARGEST).contains(&size)
            && matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE)
        {
            small.push((entry.id, path));
        }
    }
    let read = |id| {
        repository
            .find_object(id)
            .map_err(|error| Trouble::Mirror(describe(&error)))
    };
    let mut used = false;
    for id in attributes {
        used |= read(id)?.data.contains_str("filter=lfs");
    }
    let mut pointers = Vec::new();
    if used {
        for (id, path) in small {
            let pointer = lfs::Pointer::parse(&read(id)?.data, &path.to_str_lossy());
            if let Some(pointer) = pointer {
                budget.bytes(&pointer.path, pointer.size)?;
                pointers.push(pointer);
            }
        }
    }
    Ok(pointers)
}

/// A tree that git would not write either, or that is not there as a whole.
fn unfit(error: &gix::Error) -> Trouble {
    let text = describe(error);
    if text.contains("No space left") {
        return BuildFailure::new(Kind::DiskFull, "the disk of the work folder is full").into();
    }
    if ["could not be found", "not found"]
        .iter()
        .any(|part| text.contains(part))
    {
        return Trouble::Mirror(text);
    }
    refused(&text)
}

fn refused(text: &str) -> Trouble {
    if text.contains("No space left") {
        return BuildFailure::new(Kind::DiskFull, "the disk of the work folder is full").into();
    }
    BuildFailure::new(Kind::CloneRefused, format!("the commit cannot be written: {text}")).into()
}

/// Makes a folder below another, by way of folders alone: a link on the way is not followed. Whether it is there now.
pub(super) fn make_folder(root: &Path, folder: &Path) -> bool {
    let Ok(below) = folder.strip_prefix(root) else {
        return false;
    };
    let mut at = root.to_owned();
    below.components().all(|part| {
        at.push(part);
        let is_folder = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        matches!(part, Component::Normal(_)) && (is_folder(&at) || std::fs::create_dir(&at).is_ok())
    })
}
