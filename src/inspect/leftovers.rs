//! What interrupted work left behind in a state root. Most of it is harmless; some of it is taken up again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::root::StateRoot;
use super::unreadable::Unreadable;
use super::worker::Worker;
use crate::foreign;
use crate::locks::{self, Lock};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    /// Downloads that were not finished.
    pub(crate) partial_downloads: Vec<PartialDownload>,
    /// Snapshots that no record leads to, by BuildKit's name; `extract-…` ones were being unpacked.
    pub(crate) stray_snapshots: Vec<String>,
    /// Directories of snapshots that the snapshotter does not know.
    pub(crate) stray_directories: Vec<PathBuf>,
    /// Files of blobs that the content store does not list.
    pub(crate) stray_blobs: Vec<PathBuf>,
    /// Their bytes.
    pub(crate) stray_blob_bytes: u64,
    /// What the executor keeps of containers that did not end: their arguments and variables are in it.
    pub(crate) containers: Vec<PathBuf>,
    /// Databases that BuildKit found damaged and put aside.
    pub(crate) spoiled_databases: Vec<PathBuf>,
    /// Copies of databases that a compaction did not finish, and of its notes.
    pub(crate) unfinished_copies: Vec<PathBuf>,
    /// `buildkitd.lock`.
    pub(crate) lock: Lock,
}

/// A download that was not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PartialDownload {
    /// Its directory.
    #[serde(skip)]
    pub(crate) directory: PathBuf,
    /// What containerd calls it; the digest is in it.
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    /// Bytes that are here.
    pub(crate) bytes: u64,
    /// Bytes it will have, when that is known.
    pub(crate) expected: Option<u64>,
}

/// The file that a daemon locks while it has a root.
pub(crate) fn lock_file(root: &Path) -> PathBuf {
    root.join("buildkitd.lock")
}

/// Who holds the lock of a root.
///
/// # Errors
/// When that cannot be seen.
pub(crate) fn held_by(root: &Path) -> Result<Lock, Unreadable> {
    let lock = lock_file(root);
    locks::held_by(&lock).map_err(|error| Unreadable::io(&lock, error))
}

/// Looks for leftovers.
///
/// # Errors
/// When a directory or a file cannot be looked at. What goes away meanwhile is no leftover.
pub(crate) fn leftovers(root: &Path, state: &StateRoot) -> Result<Leftovers, Unreadable> {
    let mut found = Leftovers { lock: held_by(root)?, ..Leftovers::default() };
    for worker in &state.workers {
        // What a missing database lists is nobody's only by its looks.
        if !worker.missing.is_empty() {
            continue;
        }
        let content = worker.blobs.directory();
        for (directory, _) in entries(&content.join("ingest"))? {
            found.partial_downloads.extend(partial(&directory)?);
        }
        stray_blobs(worker, content, &mut found)?;
        stray_snapshots(worker, &mut found)?;
        // Its own files there are no directories.
        let bundles = entries(&worker.directory.join("executor"))?;
        found.containers.extend(bundles.into_iter().filter(|(_, file)| file.is_dir()).map(|(path, _)| path));
        found.spoiled_databases.extend(spoiled(&worker.directory)?);
        found.unfinished_copies.extend(unfinished(&worker.directory)?);
    }
    found.spoiled_databases.extend(spoiled(root)?);
    found.unfinished_copies.extend(unfinished(root)?);
    found.partial_downloads.sort_by(|a, b| a.reference.cmp(&b.reference));
    found.stray_snapshots.sort();
    found.spoiled_databases.sort();
    found.unfinished_copies.sort();
    Ok(found)
}

/// What is in a directory, links as such; nothing where there is no directory.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, Metadata)>, Unreadable> {
    let mut found = Vec::new();
    for entry in Unreadable::unless_absent(directory, fs::read_dir(directory))?.into_iter().flatten() {
        let path = entry.map_err(|error| Unreadable::io(directory, error))?.path();
        if let Some(file) = Unreadable::unless_absent(&path, path.symlink_metadata())? {
            found.push((path, file));
        }
    }
    Ok(found)
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// containerd's `plugins/content/local`: a directory with `data`, `ref`, and once it is known `total`.
fn partial(directory: &Path) -> Result<Option<PartialDownload>, Unreadable> {
    let data = directory.join("data");
    let Some(data) = Unreadable::unless_absent(&data, data.symlink_metadata())? else { return Ok(None) };
    let read = |path: &Path| foreign::open_regular(path).and_then(io::read_to_string);
    let text = |name: &str| Unreadable::unless_absent(&directory.join(name), read(&directory.join(name)));
    // The name of the namespace and of the lease stand in front.
    let reference = text("ref")?.unwrap_or_default();
    let expected = text("total")?.and_then(|total| total.trim().parse::<u64>().ok());
    Ok(Some(PartialDownload {
        directory: directory.to_owned(),
        reference,
        bytes: data.len(),
        expected: expected.filter(|total| *total > 0),
    }))
}

fn stray_blobs(worker: &Worker, content: &Path, found: &mut Leftovers) -> Result<(), Unreadable> {
    for (path, file) in entries(&content.join("blobs/sha256"))? {
        if !worker.blobs.lists(&format!("sha256:{}", name(&path))) {
            found.stray_blobs.push(path);
            found.stray_blob_bytes += file.len();
        }
    }
    Ok(())
}

fn stray_snapshots(worker: &Worker, found: &mut Leftovers) -> Result<(), Unreadable> {
    let used: HashSet<&str> = worker.records.values().map(|record| record.snapshot.as_str()).collect();
    // A mount of a record's snapshot has its name, and `-view`.
    let is_used = |name: &str| used.contains(name.strip_suffix("-view").unwrap_or(name));
    found.stray_snapshots.extend(worker.snapshots.besides(is_used).into_iter().map(|(name, _)| name.to_owned()));
    let known: HashSet<u64> = worker.snapshots.all().map(|snapshot| snapshot.number).collect();
    let numbers = entries(&worker.snapshots_directory())?.into_iter().map(|(path, _)| path);
    let is_stray = |path: &PathBuf| name(path).parse().is_ok_and(|number| !known.contains(&number));
    found.stray_directories.extend(numbers.filter(is_stray));
    Ok(())
}

/// BuildKit renames a database it cannot open to `NAME.db.ID.bak`.
fn spoiled(directory: &Path) -> Result<impl Iterator<Item = PathBuf> + use<>, Unreadable> {
    let is_spoiled = |path: &PathBuf| name(path).contains(".db.") && name(path).ends_with(".bak");
    Ok(entries(directory)?.into_iter().map(|(path, _)| path).filter(is_spoiled))
}

/// BuildKit v0.34 and later compacts a database into `NAME.db.compact`, and writes its notes through `.compact-state-ID`. The
/// notes themselves, `NAME.db.compact-state`, are to stay.
fn unfinished(directory: &Path) -> Result<impl Iterator<Item = PathBuf> + use<>, Unreadable> {
    let is_unfinished =
        |path: &PathBuf| name(path).ends_with(".db.compact") || name(path).starts_with(".compact-state-");
    Ok(entries(directory)?.into_iter().map(|(path, _)| path).filter(is_unfinished))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::inspect::fixture::root;
    use crate::inspect::read;

    #[test]
    fn a_root_that_was_left_in_good_order_has_none() {
        let root = root();
        let found = leftovers(root.path(), &read(root.path()).unwrap()).unwrap();
        assert_eq!(found.lock, Lock::Absent);
        assert_eq!((found.partial_downloads, found.stray_blobs, found.stray_directories), (vec![], vec![], vec![]));
    }

    #[test]
    fn everything_that_interrupted_work_leaves_is_named() {
        let root = root();
        let worker = root.path().join("runc-overlayfs");
        let ingest = worker.join("content/ingest/0a1b");
        fs::create_dir_all(&ingest).unwrap();
        fs::write(ingest.join("data"), [0; 40]).unwrap();
        fs::write(ingest.join("ref"), "buildkit/7/layer-sha256:aa").unwrap();
        fs::write(ingest.join("total"), "100").unwrap();
        fs::write(worker.join("content/blobs/sha256").join("ff".repeat(32)), [0; 9]).unwrap();
        fs::create_dir_all(worker.join("snapshots/snapshots/99/fs")).unwrap();
        fs::write(root.path().join("cache.db.k3j.bak"), "x").unwrap();
        fs::write(worker.join("metadata_v2.db.compact"), "x").unwrap();
        fs::write(root.path().join(".compact-state-12"), "{}").unwrap();
        fs::write(root.path().join("cache.db.compact-state"), "{}").unwrap();
        fs::create_dir_all(worker.join("executor/k3j")).unwrap();
        fs::write(worker.join("executor/hosts"), "").unwrap();
        File::create(root.path().join("buildkitd.lock")).unwrap();

        let found = leftovers(root.path(), &read(root.path()).unwrap()).unwrap();

        let download = PartialDownload {
            directory: ingest,
            reference: "buildkit/7/layer-sha256:aa".into(),
            bytes: 40,
            expected: Some(100),
        };
        assert_eq!(found.partial_downloads, [download]);
        assert_eq!(found.containers, [worker.join("executor/k3j")]);
        let counts = (found.stray_blobs.len(), found.stray_blob_bytes, found.stray_directories.len());
        assert_eq!(counts, (1, 9, 1));
        let copies = [root.path().join(".compact-state-12"), worker.join("metadata_v2.db.compact")];
        assert_eq!(found.unfinished_copies, copies);
        let spoiled = vec![root.path().join("cache.db.k3j.bak")];
        assert_eq!((found.spoiled_databases, found.lock), (spoiled, Lock::Stale));
    }

    /// Root reads every directory, so that a file stands where a directory belongs to a list of locks.
    #[test]
    fn what_cannot_be_looked_at_is_an_error() {
        let root = root();
        let state = read(root.path()).unwrap();
        let executor = root.path().join("runc-overlayfs/executor");
        let _ = fs::remove_dir_all(&executor);
        std::os::unix::fs::symlink(&executor, &executor).unwrap();
        assert!(leftovers(root.path(), &state).is_err());
    }
}
