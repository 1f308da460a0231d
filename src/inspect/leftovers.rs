//! What interrupted work left behind in a state root. Most of it is harmless; some of it is taken up again.
//!
//! Whether a daemon runs is asked of the kernel's list of locks: taking the lock to find out, even for a moment, could
//! keep a daemon from starting.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::root::StateRoot;
use super::worker::Worker;

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
    /// `buildkitd.lock`.
    pub(crate) lock: Lock,
}

/// A download that was not finished; the next one goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartialDownload {
    /// Its directory.
    pub(crate) directory: PathBuf,
    /// What the content store calls it; the digest is in it.
    pub(crate) reference: String,
    /// Bytes that are here.
    pub(crate) bytes: u64,
    /// Bytes it will have, when that is known.
    pub(crate) expected: Option<u64>,
}

/// The daemon's lock on the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Lock {
    /// There is none.
    #[default]
    Absent,
    /// A daemon on this machine holds it: its process id, as far as it can be seen from here.
    Held(Option<u32>),
    /// Left by a daemon that was killed, or held on another machine; harmless.
    Stale,
}

/// The file that a daemon locks while it has a root.
pub(crate) fn lock_file(root: &Path) -> PathBuf {
    root.join("buildkitd.lock")
}

/// Who holds the lock of a root.
pub(crate) fn held_by(root: &Path) -> Lock {
    lock(&lock_file(root))
}

/// Looks for leftovers. What cannot be read is passed over: none of it decides whether a root is warm.
pub(crate) fn leftovers(root: &Path, state: &StateRoot) -> Leftovers {
    let mut found = Leftovers { lock: held_by(root), ..Leftovers::default() };
    for worker in &state.workers {
        // What a missing database lists is nobody's only by its looks.
        if !worker.missing.is_empty() {
            continue;
        }
        let content = worker.blobs.directory();
        found.partial_downloads.extend(entries(&content.join("ingest")).filter_map(|entry| partial(&entry.path())));
        stray_blobs(worker, content, &mut found);
        stray_snapshots(worker, &mut found);
        // Its own files there are no directories.
        let bundles = entries(&worker.directory.join("executor")).map(|entry| entry.path());
        found.containers.extend(bundles.filter(|bundle| bundle.is_dir() && !bundle.is_symlink()));
        found.spoiled_databases.extend(spoiled(&worker.directory));
    }
    found.spoiled_databases.extend(spoiled(root));
    found.partial_downloads.sort_by(|a, b| a.reference.cmp(&b.reference));
    found.stray_snapshots.sort();
    found.spoiled_databases.sort();
    found
}

fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

fn name(entry: &DirEntry) -> Option<String> {
    entry.file_name().into_string().ok()
}

/// containerd's `plugins/content/local`: a directory with `data`, `ref`, and once it is known `total`.
fn partial(directory: &Path) -> Option<PartialDownload> {
    let data = directory.join("data").metadata().ok()?;
    let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
    // The name of the namespace and of the lease stand in front.
    let reference = text("ref").unwrap_or_default();
    let expected = text("total").and_then(|total| total.trim().parse::<u64>().ok());
    Some(PartialDownload {
        directory: directory.to_owned(),
        reference,
        bytes: data.len(),
        expected: expected.filter(|total| *total > 0),
    })
}

fn stray_blobs(worker: &Worker, content: &Path, found: &mut Leftovers) {
    for entry in entries(&content.join("blobs/sha256")) {
        let listed = name(&entry).is_some_and(|name| worker.blobs.lists(&format!("sha256:{name}")));
        if !listed && let Ok(file) = entry.metadata() {
            found.stray_blobs.push(entry.path());
            found.stray_blob_bytes += file.len();
        }
    }
}

fn stray_snapshots(worker: &Worker, found: &mut Leftovers) {
    let used: HashSet<&str> = worker.records.values().map(|record| record.snapshot.as_str()).collect();
    // A mount of a record's snapshot has its name, and `-view`.
    let is_used = |name: &str| used.contains(name.strip_suffix("-view").unwrap_or(name));
    found.stray_snapshots.extend(worker.snapshots.besides(is_used).into_iter().map(|(name, _)| name.to_owned()));
    let known: HashSet<u64> = worker.snapshots.all().map(|snapshot| snapshot.number).collect();
    let numbers = entries(&worker.snapshots_directory());
    let is_stray = |entry: &DirEntry| {
        let number = name(entry).and_then(|name| name.parse().ok());
        number.is_some_and(|number| !known.contains(&number))
    };
    found.stray_directories.extend(numbers.filter(is_stray).map(|entry| entry.path()));
}

/// BuildKit renames a database it cannot open to `NAME.db.ID.bak`.
fn spoiled(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let is_spoiled = |entry: &DirEntry| name(entry).is_some_and(|name| name.contains(".db.") && name.ends_with(".bak"));
    entries(directory).filter(is_spoiled).map(|entry| entry.path())
}

fn lock(path: &Path) -> Lock {
    let Ok(file) = path.metadata() else { return Lock::Absent };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    match locks.lines().find(|line| is_of(line, file.dev(), file.ino())) {
        // A process of another namespace has the number 0, one of a remote machine a negative one.
        Some(line) => Lock::Held(line.split_whitespace().nth(4).and_then(|id| id.parse().ok()).filter(|id| *id > 0)),
        None => Lock::Stale,
    }
}

/// Whether a line of `/proc/locks` is about a file: its sixth field is MAJOR:MINOR:INODE, the first two in hex.
fn is_of(line: &str, device: u64, inode: u64) -> bool {
    let mut parts = line.split_whitespace().nth(5).unwrap_or_default().split(':');
    let mut number = |radix| u64::from_str_radix(parts.next()?, radix).ok();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (number(16), number(16), number(10)) == (Some(major.into()), Some(minor.into()), Some(inode))
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
        let found = leftovers(root.path(), &read(root.path()).unwrap());
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
        fs::create_dir_all(worker.join("executor/k3j")).unwrap();
        fs::write(worker.join("executor/hosts"), "").unwrap();
        File::create(root.path().join("buildkitd.lock")).unwrap();

        let found = leftovers(root.path(), &read(root.path()).unwrap());

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
        let spoiled = vec![root.path().join("cache.db.k3j.bak")];
        assert_eq!((found.spoiled_databases, found.lock), (spoiled, Lock::Stale));
    }

    #[test]
    fn a_held_lock_is_seen_without_being_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("buildkitd.lock");
        let file = File::create(&path).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(lock(&path), Lock::Held(Some(std::process::id())));
        drop(file);
        assert_eq!(lock(&path), Lock::Stale);
    }

    #[test]
    fn a_line_that_is_no_lock_is_about_no_file() {
        for line in ["", "1: FLOCK", "1: -> FLOCK ADVISORY WRITE 1 x:y:z 0 EOF", "1: FLOCK ADVISORY WRITE 1 1:2 0 EOF"]
        {
            assert!(!is_of(line, 0, 0), "{line}");
        }
    }
}
