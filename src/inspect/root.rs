//! The state root as a whole: its workers.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::bolt::{Database, Version};
use super::snapshots::snapshot_store;
use super::solver::Solver;
use super::traces::{self, Stopped};
use super::worker::{Worker, database};
use super::{Unreadable, overwritten};
use crate::era::Traces;

/// A state root as it lies on disk.
#[derive(Debug)]
pub(crate) struct StateRoot {
    /// Where it lies.
    pub(crate) directory: PathBuf,
    /// Its OCI workers, one for each snapshotter that was ever used.
    pub(crate) workers: Vec<Worker>,
    /// The cache keys, and the records they lead to.
    pub(crate) solver: Solver,
    /// The records that are there and whose files an interrupted `seal --fix` has overwritten with zeros.
    pub(crate) overwritten: Vec<String>,
    /// How the last daemon stopped.
    pub(crate) stopped: Stopped,
    /// What different BuildKits left.
    pub(crate) traces: Traces,
    /// Whether nothing was committed while it was read. If not, a daemon is at work, and what looks broken or dangling
    /// may only have moved on between two files.
    pub(crate) steady: bool,
}

impl StateRoot {
    /// The databases that are not there though the root was used. What they list looks like nobody's, so that nothing of such
    /// a root may be removed.
    pub(crate) fn missing(&self) -> Vec<PathBuf> {
        let cache = (!self.workers.is_empty() && !self.solver.present).then(|| self.directory.join("cache.db"));
        cache.into_iter().chain(self.workers.iter().flat_map(|worker| worker.missing.iter().cloned())).collect()
    }

    /// What the databases alone do not show and no warm root has: missing databases, overwritten records, and lost blobs of
    /// images. A sentence each.
    pub(crate) fn losses(&self) -> Vec<String> {
        let missing = self
            .missing()
            .into_iter()
            .map(|path| format!("{} is missing: put it back, or start with an empty state root", path.display()));
        let overwritten = self.overwritten.iter().map(|id| {
            format!(
                "seal was interrupted after it had overwritten the files of the record {id}: run `cachewarm seal --fix` again, \
                 or start with an empty state root"
            )
        });
        let lost = self.workers.iter().flat_map(Worker::lost_blobs);
        let lost = lost
            .map(|blob| format!("the blob {blob} of an image is missing or cut short: start with an empty state root"));
        missing.chain(overwritten).chain(lost).collect()
    }

    /// The worker of that id.
    pub(crate) fn worker_with_id(&self, id: &str) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.id.as_deref() == Some(id))
    }
}

/// How often a root is read in the hope of a pause between two commits.
const READS: usize = 3;

/// Reads a state root; again, a few times, when a daemon commits to it meanwhile.
pub(crate) fn read(root: &Path) -> Result<StateRoot, Unreadable> {
    let directories = worker_directories(root)?;
    let mut read = 0;
    loop {
        read += 1;
        let before = versions(root, &directories);
        let pace = if read == READS { Pace::InOrder } else { Pace::AtOnce };
        let state = read_once(root, &directories, pace)?;
        let steady = versions(root, &directories) == before;
        if steady || read == READS {
            return Ok(StateRoot { steady, ..state });
        }
    }
}

/// The databases of a root that tell what is in it, whether they are there or not.
fn telling(root: &Path, workers: &[(String, PathBuf)]) -> Vec<PathBuf> {
    let of_worker = |(snapshotter, directory): &(String, PathBuf)| {
        let store = snapshot_store(directory, snapshotter);
        [directory.join("metadata_v2.db"), directory.join("containerdmeta.db"), store.join("metadata.db")]
    };
    std::iter::once(root.join("cache.db")).chain(workers.iter().flat_map(of_worker)).collect()
}

/// The database of a root's history of builds, whether it is there or not.
pub(crate) fn history_database(root: &Path) -> PathBuf {
    root.join("history.db")
}

/// All databases that are in a root, that of its history too.
pub(crate) fn databases(root: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let mut all = telling(root, &worker_directories(root)?);
    all.push(history_database(root));
    all.retain(|path| path.is_file());
    Ok(all)
}

/// Which state each database is in; absent where there is none to be read.
fn versions(root: &Path, workers: &[(String, PathBuf)]) -> Vec<Option<Version>> {
    telling(root, workers).iter().map(|path| Database::version(path).ok()).collect()
}

/// In which order databases are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// All at the same time, which is faster. What one says of another may be older or newer than that one.
    AtOnce,
    /// In the order in which they point to each other: beside a daemon at work what a key leads to, or a record needs,
    /// was there before the key or the record was.
    InOrder,
}

impl Pace {
    /// Runs two readings; the first one first, unless there is no hurry.
    pub(super) fn both<A: Send, B>(self, first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
        match self {
            Pace::InOrder => {
                let first = first();
                (first, second())
            }
            Pace::AtOnce => both(first, second),
        }
    }
}

/// Does two things at the same time.
pub(crate) fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}

fn read_once(root: &Path, directories: &[(String, PathBuf)], pace: Pace) -> Result<StateRoot, Unreadable> {
    let solver = || Ok(Solver::read(database(&root.join("cache.db"))?.as_ref()));
    let workers = || {
        let workers = directories.iter().map(|(snapshotter, directory)| Worker::read_at(directory, snapshotter, pace));
        workers.collect::<Result<Vec<_>, _>>()
    };
    let (solver, workers) = pace.both(solver, workers);
    let (solver, workers) = (solver?, workers?);
    let overwritten = overwritten::left(root, &workers)?;
    let stopped = traces::stopped(root)?;
    let traces = traces::traces(&workers, stopped);
    Ok(StateRoot { directory: root.to_owned(), solver, workers, overwritten, stopped, traces, steady: false })
}

/// The OCI workers of a state root: snapshotter and directory, in the order of their names. Anything that is not the
/// root of a buildkitd with an OCI worker is refused by name.
pub(crate) fn worker_directories(root: &Path) -> Result<Vec<(String, PathBuf)>, Unreadable> {
    let mut workers = Vec::new();
    let mut has_containerd_worker = false;
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(Unreadable::NotARoot(root.to_owned()));
        }
        Err(error) => return Err(Unreadable::io(root, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| Unreadable::io(root, error))?;
        let name = entry.file_name();
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        if let Some(snapshotter) = name.to_str().and_then(|name| name.strip_prefix("runc-")) {
            workers.push((snapshotter.to_owned(), path));
        } else if is_prefix(&name, "containerd-") {
            has_containerd_worker = true;
        }
    }
    if !workers.is_empty() {
        workers.sort();
        return Ok(workers);
    }
    let has = |path: &str| root.join(path).exists();
    if has_containerd_worker {
        return Err(Unreadable::ContainerdWorker(root.to_owned()));
    }
    // dockerd's data directory, or the `buildkit` in it.
    let data_of_dockerd = has("buildkit") && (has("image") || has("containers") || has("engine-id"));
    if data_of_dockerd || has("containerdmeta.db") || has("snapshots.db") {
        return Err(Unreadable::Dockerd(root.to_owned()));
    }
    // A daemon makes its databases before its worker.
    if has("cache.db") { Ok(workers) } else { Err(Unreadable::NotARoot(root.to_owned())) }
}

fn is_prefix(name: &OsStr, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}
