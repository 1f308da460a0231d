//! What a build is going to fetch, read from the root: the records in use that are known and not there.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::buildkit::RecordInUse;
use crate::inspect::{self, Class, Record, Unreadable, Worker};
use crate::locks::Lock;

/// Where a worker keeps its blobs.
const CONTENT: &str = "content";

/// A blob that BuildKit knows of and does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LazyBlob {
    /// Its digest.
    pub(crate) digest: String,
    /// Its bytes, where BuildKit has noted that.
    pub(crate) size: Option<u64>,
    /// The digest of what it unpacks to.
    pub(crate) diff_id: Option<String>,
    /// The images it is part of.
    pub(crate) image_refs: Vec<String>,
}

/// What was found in the root of a daemon.
#[derive(Debug)]
pub(crate) struct Lazy {
    /// Its content store.
    pub(crate) content: PathBuf,
    /// The blobs to fetch, each once.
    pub(crate) blobs: Vec<LazyBlob>,
}

/// Looks for the blobs that the records `used` by the worker `worker_id` need, with everything they lie on.
///
/// A record that was found a moment ago has an id that nobody else knows: that it is in this root's databases tells that this is
/// the root the daemon writes to, and no copy of it.
///
/// # Errors
/// When the root cannot be read, is not that of the worker, or nobody holds it.
pub(crate) fn lazy(root: &Path, worker_id: &str, used: &[RecordInUse]) -> anyhow::Result<Lazy> {
    let of_root = |unreadable: Unreadable| anyhow::anyhow!("{unreadable}");
    if !matches!(inspect::held_by(root).map_err(of_root)?, Lock::Held(_)) {
        bail!("no daemon of this machine holds {}", root.display());
    }
    for (snapshotter, directory) in inspect::worker_directories(root).map_err(of_root)? {
        let worker = Worker::read(&directory, &snapshotter).map_err(of_root)?;
        if worker.id.as_deref() == Some(worker_id) {
            return Ok(Lazy { content: directory.join(CONTENT), blobs: blobs(&worker, used) });
        }
    }
    bail!("{} is not the root of this builder", root.display())
}

/// The content stores of a root, in which killed runs may have left something.
///
/// # Errors
/// When the root cannot be read.
pub(crate) fn stores(root: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let workers = inspect::worker_directories(root)?.into_iter();
    Ok(workers.map(|(_, directory)| directory.join(CONTENT)).filter(|store| store.is_dir()).collect())
}

fn blobs(worker: &Worker, used: &[RecordInUse]) -> Vec<LazyBlob> {
    let mut found: BTreeMap<String, LazyBlob> = BTreeMap::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for record in used {
        for record in worker.chain(&record.id).records {
            if seen.insert(&record.id)
                && let Some(blob) = wanted(record)
            {
                found.entry(blob.digest.clone()).or_insert(blob);
            }
        }
    }
    found.into_values().collect()
}

fn wanted(record: &Record) -> Option<LazyBlob> {
    let digest = record.blob.clone().filter(|_| record.class == Class::Lazy && record.is_layer())?;
    Some(LazyBlob {
        digest,
        size: record.blob_bytes,
        diff_id: record.diff_id.clone(),
        image_refs: record.image_refs.clone(),
    })
}
