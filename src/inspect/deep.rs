//! Whether all bytes are as they were recorded: blobs are hashed, the files of committed snapshots counted, and compared
//! with the blob they were unpacked from where it is here.
//!
//! Of other snapshots the databases keep only how many files there are and what they took on disk when it was committed.
//! The first is the same on every file system. The second is not, so it is believed to the byte only where most snapshots
//! agree with it; and blocks that list a file's blocks may have come or gone since.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use serde::Serialize;
use sha2::{Digest, Sha256, Sha512};

use super::contents::{Contents, compare_with_blob};
use super::root::StateRoot;
use super::snapshots::SnapshotKind;
use super::usage::{Usage, usage};
use super::worker::Worker;
use crate::{digest, foreign};

/// Bytes read at once; what a core's cache holds.
const CHUNK: usize = 256 * 1024;
/// What a directory takes on one file system and need not on another, in bytes.
const DIRECTORY: u64 = 4096;

/// What reading all bytes showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Deep {
    /// Blobs that were hashed.
    pub(crate) blobs: usize,
    /// Their bytes.
    pub(crate) blob_bytes: u64,
    /// Snapshots whose files were counted.
    pub(crate) snapshots: usize,
    /// Those of them whose files were compared with those in their blobs, to the byte.
    pub(crate) compared: usize,
    /// Their files, directories included.
    pub(crate) files: u64,
    /// Bytes their files take on disk.
    pub(crate) unpacked_bytes: u64,
    /// What is not as it was recorded.
    pub(crate) faults: Vec<Fault>,
}

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Fault {
    /// The worker's directory.
    pub(crate) worker: String,
    /// The digest of the blob it is about, if it is about one.
    pub(crate) blob: Option<String>,
    /// The number of the snapshot it is about, if it is about one.
    pub(crate) snapshot: Option<u64>,
    /// What is wrong with it.
    pub(crate) what: String,
}

/// How far the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of blobs and snapshots that were looked at.
    pub(crate) bytes: u64,
    /// All there are.
    pub(crate) total: u64,
}

/// One thing to look at.
enum Task<'s> {
    Blob { worker: usize, digest: &'s str, size: u64, path: PathBuf },
    Snapshot { worker: usize, number: u64, recorded: Recorded, path: PathBuf, blob: Option<(&'s str, PathBuf)> },
}

#[derive(Debug, Clone, Copy)]
struct Recorded {
    inodes: u64,
    bytes: u64,
}

/// The digest of the blob that files were compared with, and what that showed, or why it could not be done.
type Compared = (String, Result<Contents, String>);

/// What a thread tells.
enum Finding {
    Read(u64),
    Blob { worker: usize, digest: String, bytes: u64, problem: Option<String> },
    Snapshot { worker: usize, number: u64, recorded: Recorded, found: Usage, contents: Option<Box<Compared>> },
}

/// Reads everything, on so many threads. `told` hears how far it is and says whether to go on.
pub(crate) fn deep(state: &StateRoot, threads: usize, mut told: impl FnMut(Progress) -> bool) -> Deep {
    let tasks = tasks(state);
    let total = tasks.iter().map(Task::bytes).sum();
    let next = AtomicUsize::new(0);
    let (sender, findings) = mpsc::sync_channel(threads * 4);
    let mut read = 0;
    let mut collected = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (tasks, next, sender) = (&tasks, &next, sender.clone());
            scope.spawn(move || {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens any more: it was told to stop.
                    if task.look(&sender).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for finding in findings {
            match finding {
                Finding::Read(bytes) => read += bytes,
                finding => collected.push(finding),
            }
            if !told(Progress { bytes: read, total }) {
                return;
            }
        }
    });
    judged(collected, state)
}

/// Largest first, so that no long one is left alone at the end.
fn tasks(state: &StateRoot) -> Vec<Task<'_>> {
    let mut tasks = Vec::new();
    for (number, worker) in state.workers.iter().enumerate() {
        let blobs = worker.blobs.listed();
        tasks.extend(blobs.map(|(digest, size, path)| Task::Blob { worker: number, digest, size, path }));
        let unpacked = unpacked(worker);
        let committed = worker.snapshots.all().filter(|row| row.kind == SnapshotKind::Committed && !row.remote);
        tasks.extend(committed.map(|row| Task::Snapshot {
            worker: number,
            number: row.number,
            recorded: Recorded { inodes: row.inodes, bytes: row.bytes },
            path: worker.files_of(row.number),
            blob: unpacked.get(&row.number).cloned(),
        }));
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.bytes()));
    tasks
}

/// The blobs that snapshots were unpacked from, or packed into, by the snapshots' numbers.
fn unpacked(worker: &Worker) -> HashMap<u64, (&str, PathBuf)> {
    // What merges or subtracts others has their files, by one blob each.
    let records = worker.records.values().filter(|record| record.is_layer() && !record.composed);
    let here = records.filter(|record| record.compressed_bytes_on_disk > 0);
    here.filter_map(|record| {
        let digest = record.blob.as_deref()?;
        Some((record.snapshot_number?, (digest, worker.blob_path(digest)?)))
    })
    .collect()
}

impl Task<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Task::Blob { size, .. } => *size,
            Task::Snapshot { recorded, .. } => recorded.bytes,
        }
    }

    fn look(&self, sender: &mpsc::SyncSender<Finding>) -> Result<(), mpsc::SendError<Finding>> {
        match self {
            Task::Blob { worker, digest, size, path } => {
                let mut telling = Telling { sender, left: *size, stopped: None };
                let mut bytes = 0;
                let outcome = hash(path, digest, |read| {
                    bytes += read;
                    telling.goes_on(read)
                });
                let problem = match outcome {
                    Err(error) => Some(format!("it could not be read: {error}")),
                    Ok(_) if bytes != *size => Some(format!("it has {bytes} bytes instead of {size}")),
                    Ok(found) if found != *digest => Some(format!("its content is that of {found}")),
                    Ok(_) => None,
                };
                telling.end(Finding::Blob { worker: *worker, digest: (*digest).to_owned(), bytes, problem })
            }
            Task::Snapshot { worker, number, recorded, path, blob } => {
                let found = usage(path);
                let mut telling = Telling { sender, left: recorded.bytes, stopped: None };
                let contents = blob.as_ref().and_then(|(digest, blob)| {
                    let compared = compare_with_blob(path, blob, |bytes| telling.goes_on(bytes));
                    let compared =
                        compared.map_err(|error| format!("its files could not be compared with {digest}: {error}"));
                    Some(Box::new(((*digest).to_owned(), compared.transpose()?)))
                });
                let (worker, number, recorded) = (*worker, *number, *recorded);
                telling.end(Finding::Snapshot { worker, number, recorded, found, contents })
            }
        }
    }
}

/// Tells how far one task is, until nobody listens any more.
struct Telling<'t> {
    sender: &'t mpsc::SyncSender<Finding>,
    /// Bytes of it that were not told yet.
    left: u64,
    stopped: Option<mpsc::SendError<Finding>>,
}

impl Telling<'_> {
    /// Tells of bytes that were read; whether to go on.
    fn goes_on(&mut self, bytes: u64) -> bool {
        let told = bytes.min(self.left);
        self.left -= told;
        self.stopped = self.sender.send(Finding::Read(told)).err();
        self.stopped.is_none()
    }

    /// Tells what was found, unless it was stopped. What is missing of it was looked at as well.
    fn end(self, finding: Finding) -> Result<(), mpsc::SendError<Finding>> {
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        self.sender.send(Finding::Read(self.left))?;
        self.sender.send(finding)
    }
}

/// The digest of a file's content, by the algorithm of the digest it should have.
fn hash(path: &Path, digest: &str, read: impl FnMut(u64) -> bool) -> std::io::Result<String> {
    match digest.split_once(':') {
        Some(("sha256", _)) => hash_with::<Sha256>("sha256", path, read),
        Some(("sha512", _)) => hash_with::<Sha512>("sha512", path, read),
        _ => Err(std::io::Error::other("its digest is of an unknown kind")),
    }
}

fn hash_with<D: Digest>(name: &str, path: &Path, mut read: impl FnMut(u64) -> bool) -> std::io::Result<String> {
    let mut file = foreign::open_regular(path)?;
    let mut hasher = D::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 || !read(length as u64) {
            break;
        }
        hasher.update(&chunk[..length]);
    }
    Ok(digest::written(name, &hasher.finalize()))
}

fn judged(mut findings: Vec<Finding>, state: &StateRoot) -> Deep {
    let mut deep = Deep::default();
    let (mut same, mut other) = (0_usize, 0_usize);
    for finding in &findings {
        if let Finding::Snapshot { recorded, found, .. } = finding {
            *if recorded.bytes == found.bytes { &mut same } else { &mut other } += 1;
        }
    }
    let to_the_byte = same > other;
    let name = |worker: usize| format!("runc-{}", state.workers[worker].snapshotter);
    // A snapshot is judged by its blob, and that has to be sound.
    findings.sort_by_key(|finding| matches!(finding, Finding::Snapshot { .. }));
    for finding in findings {
        match finding {
            Finding::Read(_) => {}
            Finding::Blob { worker, digest, bytes, problem } => {
                deep.blobs += 1;
                deep.blob_bytes += bytes;
                let fault = |what| Fault { worker: name(worker), blob: Some(digest), snapshot: None, what };
                deep.faults.extend(problem.map(fault));
            }
            Finding::Snapshot { worker, number, recorded, found, contents } => {
                // What differs from a damaged blob may be as it should be.
                let worker = name(worker);
                let is_of = |fault: &Fault, blob: &str| fault.worker == worker && fault.blob.as_deref() == Some(blob);
                let is_sound = |blob: &str| !deep.faults.iter().any(|fault| is_of(fault, blob));
                let contents = contents.filter(|compared| is_sound(&compared.0)).map(|compared| compared.1);
                deep.snapshots += 1;
                deep.compared += usize::from(matches!(contents, Some(Ok(_))));
                deep.files += found.inodes;
                deep.unpacked_bytes += found.bytes;
                let fault = |what| Fault { worker, blob: None, snapshot: Some(number), what };
                deep.faults.extend(difference(recorded, found, to_the_byte, contents).map(fault));
            }
        }
    }
    deep.faults.sort();
    deep
}

/// What is wrong with a snapshot's files, if anything is. `contents` tell of those that were compared, or why they were not.
fn difference(
    recorded: Recorded,
    found: Usage,
    to_the_byte: bool,
    contents: Option<Result<Contents, String>>,
) -> Option<String> {
    if found.unread > 0 {
        return Some(format!("{} of its files or directories could not be read", found.unread));
    }
    if found.inodes != recorded.inodes {
        return Some(format!("it has {} files and directories instead of {}", found.inodes, recorded.inodes));
    }
    match contents {
        Some(Ok(contents)) => return contents.fault(),
        Some(Err(error)) => return Some(error),
        None => {}
    }
    // Writing back may add blocks that list a file's blocks; taking some away loses content, as far as one can tell.
    // Where the sizes are those of another file system, only a loss that no file system explains is one.
    let (missing, added) = (recorded.bytes.saturating_sub(found.bytes), found.bytes.saturating_sub(recorded.bytes));
    let (may_miss, may_add) = match to_the_byte {
        true => (0, recorded.bytes / 64 + 16 * DIRECTORY),
        false => (recorded.bytes / 2 + found.directories * DIRECTORY, u64::MAX),
    };
    (missing > may_miss || added > may_add)
        .then(|| format!("its files take {} bytes on disk instead of {}", found.bytes, recorded.bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::inspect::fixture::root;
    use crate::inspect::read;

    const RECORDED: Recorded = Recorded { inodes: 4, bytes: 81_920 };
    const FOUND: Usage = Usage { inodes: 4, directories: 2, bytes: 81_920, unread: 0 };

    #[test]
    fn sizes_count_to_the_byte_only_where_they_are_of_this_file_system() {
        let fault = |found: Usage, to_the_byte| difference(RECORDED, found, to_the_byte, None).is_some();
        assert!(!fault(FOUND, true) && !fault(FOUND, false));
        for to_the_byte in [true, false] {
            assert!(fault(Usage { inodes: 3, ..FOUND }, to_the_byte));
            assert!(fault(Usage { unread: 1, ..FOUND }, to_the_byte));
            assert!(fault(Usage { bytes: 4096, ..FOUND }, to_the_byte));
        }
        let short = Usage { bytes: 81_920 - 4096, ..FOUND };
        assert!(fault(short, true) && !fault(short, false));
        let long = Usage { bytes: 81_920 + 8192, ..FOUND };
        assert!(!fault(long, true) && !fault(long, false));
    }

    #[test]
    fn files_that_are_those_of_the_archive_are_right_whatever_their_size_on_disk() {
        let short = Usage { bytes: 81_920 - 4096, ..FOUND };
        let mut contents = Contents { compared: 3, ..Contents::default() };
        assert_eq!(difference(RECORDED, short, true, Some(Ok(contents.clone()))), None);
        assert!(difference(RECORDED, Usage { inodes: 5, ..short }, true, Some(Ok(contents.clone()))).is_some());
        contents.wrong.insert("a/b".into(), "is not there".into());
        assert_eq!(difference(RECORDED, FOUND, true, Some(Ok(contents))).unwrap(), "its a/b is not there");
        let unread = Err("it could not be read".to_owned());
        assert_eq!(difference(RECORDED, FOUND, true, Some(unread)).unwrap(), "it could not be read");
    }

    #[test]
    fn every_blob_is_hashed_and_every_snapshot_counted() {
        let root = root();
        let state = read(root.path()).unwrap();
        let mut last = Progress { bytes: 0, total: 0 };
        let found = deep(&state, 2, |progress| {
            last = progress;
            true
        });
        // The fixture's blobs and layers are empty stand-ins.
        let blobs = found.faults.iter().filter(|fault| fault.blob.is_some()).count();
        assert_eq!((found.blobs, blobs, last.bytes), (found.blobs, found.blobs, last.total));
        assert!(found.faults.iter().any(|fault| fault.what.contains("files and directories instead of")));
        assert!(found.faults.iter().any(|fault| fault.what.starts_with("its content is that of sha256:")));
    }

    #[test]
    fn a_reader_that_is_told_to_stop_stops() {
        let root = root();
        let state = read(root.path()).unwrap();
        let mut words = 0;
        deep(&state, 2, |_| {
            words += 1;
            false
        });
        assert_eq!(words, 1);
    }

    #[test]
    fn a_digest_is_made_by_its_own_algorithm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "abc").unwrap();
        let of = |digest: &str| hash(&path, digest, |_| true);
        let sha256 = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of("sha256:").unwrap(), sha256);
        assert!(of("sha512:").unwrap().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
        assert!(of("md5:").is_err() && of("").is_err());
    }
}
