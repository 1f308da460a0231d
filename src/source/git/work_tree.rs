//! What git tracks in a work tree, and what was changed in it. Reads only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use git2::{AttrCheckFlags, Delta, DiffOptions, ErrorCode, Index, IndexEntryExtendedFlag, Repository};

use crate::source::modes::Recorded;

/// How a work tree differs from its commit; submodules are not looked into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Tracked files that are others, or gone.
    pub(crate) changed: usize,
    /// Files that are not tracked nor ignored; a directory of such files is one.
    pub(crate) untracked: usize,
}

/// How the work tree that a directory lies in differs from its commit; none where libgit2 cannot tell, or git does not
/// trust the repository.
pub(in crate::source) fn changes(directory: &Path) -> Option<Changes> {
    let repository = Repository::discover(directory).ok()?;
    let tree = repository.head().ok()?.peel_to_tree().ok()?;
    let mut options = DiffOptions::new();
    options.ignore_submodules(true).skip_binary_check(true).include_untracked(true);
    let differences = repository.diff_tree_to_workdir_with_index(Some(&tree), Some(&mut options)).ok()?;
    let index = repository.index().ok()?;
    let is_left_out = |path: &Path| {
        index
            .get_path(path, 0)
            .is_some_and(|entry| entry.flags_extended & IndexEntryExtendedFlag::SKIP_WORKTREE.bits() != 0)
    };
    let mut changes = Changes::default();
    for delta in differences.deltas() {
        match delta.status() {
            Delta::Untracked => changes.untracked += 1,
            // A sparse checkout does not have it.
            Delta::Deleted if delta.old_file().path().is_some_and(is_left_out) => {}
            // What a filter writes to disk is something else than what is recorded, and we run none to compare.
            _ if delta.new_file().path().is_some_and(|path| is_filtered(&repository, path)) => {}
            _ => changes.changed += 1,
        }
    }
    Some(changes)
}

fn is_filtered(repository: &Repository, path: &Path) -> bool {
    repository.get_attr(path, "filter", AttrCheckFlags::FILE_THEN_INDEX).is_ok_and(|filter| filter.is_some())
}

/// The root of the work tree that a directory lies in, absolute and without symbolic links, and what it tracks, checked-out
/// submodules included; none when it lies in no work tree.
///
/// # Errors
/// When there is one that cannot be read, such as one with an index format libgit2 does not know.
pub(in crate::source) fn tracked(directory: &Path) -> anyhow::Result<Option<(PathBuf, Recorded)>> {
    let repository = match Repository::discover(directory) {
        Ok(repository) => repository,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) if error.code() == ErrorCode::Owner => return untrusted(directory),
        Err(error) => return Err(error.into()),
    };
    let Some(root) = repository.workdir() else { return Ok(None) };
    let root = fs::canonicalize(root).with_context(|| format!("{}", root.display()))?;
    let mut recorded = Recorded::default();
    record(&repository, b"", &mut recorded)?;
    record_submodules(&repository, &root, b"", &mut recorded)?;
    Ok(Some((root, recorded)))
}

/// Adds what a repository's index tracks; `prefix` is where its work tree lies (`lib/`), or empty.
pub(super) fn record(repository: &Repository, prefix: &[u8], recorded: &mut Recorded) -> anyhow::Result<()> {
    record_index(&repository.index()?, prefix, recorded);
    Ok(())
}

fn record_index(index: &Index, prefix: &[u8], recorded: &mut Recorded) {
    for entry in index.iter() {
        recorded.add(prefix, &entry.path, entry.mode);
    }
}

/// Adds what the submodules track that are checked out.
fn record_submodules(
    repository: &Repository,
    root: &Path,
    prefix: &[u8],
    recorded: &mut Recorded,
) -> anyhow::Result<()> {
    for entry in repository.index()?.iter().filter(|entry| entry.mode == 0o160_000) {
        let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
        let below = root.join(path);
        // Without a `.git` of its own it is not checked out, and opening it would find the outer repository.
        if !below.join(".git").exists() {
            continue;
        }
        let Ok(inner) = Repository::open(&below) else { continue };
        let prefix = [prefix, &entry.path, b"/"].concat();
        record(&inner, &prefix, recorded)?;
        record_submodules(&inner, &below, &prefix, recorded)?;
    }
    Ok(())
}

/// A repository of another user: its configuration is not read, as git rules it, but its index can be.
fn untrusted(directory: &Path) -> anyhow::Result<Option<(PathBuf, Recorded)>> {
    let directory = fs::canonicalize(directory)?;
    for root in directory.ancestors() {
        let git = root.join(".git");
        if git.is_dir() {
            let mut recorded = Recorded::default();
            record_index(&Index::open(&git.join("index"))?, b"", &mut recorded);
            return Ok(Some((root.to_owned(), recorded)));
        }
    }
    Ok(None)
}
