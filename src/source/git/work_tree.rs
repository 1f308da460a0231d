//! What a git work tree tracks, and which commit it is at. Reads only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use git2::{DiffOptions, ErrorCode, Index, Repository};

use crate::source::modes::Recorded;

/// What git knows of a directory.
#[derive(Debug)]
pub(in crate::source) struct WorkTree {
    /// The work tree's root, absolute and without symbolic links.
    pub(in crate::source) root: PathBuf,
    /// HEAD, when there is one and git trusts the repository.
    pub(in crate::source) commit: Option<String>,
    /// Whether tracked files differ from HEAD; submodules are not looked into.
    pub(in crate::source) dirty: Option<bool>,
    /// What it tracks, checked-out submodules included.
    pub(in crate::source) recorded: Recorded,
}

/// The work tree a directory lies in, if it lies in one.
///
/// # Errors
/// When there is one that cannot be read, such as one with an index format libgit2 does not know.
pub(in crate::source) fn work_tree(directory: &Path) -> anyhow::Result<Option<WorkTree>> {
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
    let commit = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
    let dirty = commit.as_ref().and_then(|commit| {
        let mut options = DiffOptions::new();
        options.ignore_submodules(true).skip_binary_check(true);
        let tree = commit.tree().ok()?;
        let changes = repository.diff_tree_to_workdir_with_index(Some(&tree), Some(&mut options)).ok()?;
        Some(changes.deltas().len() > 0)
    });
    let commit = commit.map(|commit| commit.id().to_string());
    Ok(Some(WorkTree { root, commit, dirty, recorded }))
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
fn untrusted(directory: &Path) -> anyhow::Result<Option<WorkTree>> {
    let directory = fs::canonicalize(directory)?;
    for root in directory.ancestors() {
        let git = root.join(".git");
        if git.is_dir() {
            let mut recorded = Recorded::default();
            record_index(&Index::open(&git.join("index"))?, b"", &mut recorded);
            return Ok(Some(WorkTree { root: root.to_owned(), commit: None, dirty: None, recorded }));
        }
    }
    Ok(None)
}
