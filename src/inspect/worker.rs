//! A worker: its records with what was found behind each, and the ways to find one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Unreadable;
use super::blobs::{Blob, Blobs};
use super::bolt::{BoltError, Bucket, Database};
use super::classify::{Backing, Class, Facts, Survival, class, survivals};
use super::legacy;
use super::records::{Record, RecordType};
use super::root::Pace;
use super::snapshots::{self, Snapshot, SnapshotKind, Snapshots, files_directory, snapshot_store};
use super::usage::usage;
use crate::foreign;

/// What one snapshotter of buildkitd's OCI worker keeps.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its id, which results name; absent when the file `workerid` is lost.
    pub(crate) id: Option<String>,
    /// Its snapshotter.
    pub(crate) snapshotter: String,
    /// All records by id.
    pub(crate) records: HashMap<String, Record>,
    /// Ids of records whose content is still held though the databases have no such record: it was lost, not removed.
    pub(crate) lost: HashSet<String>,
    /// Databases that are not there though the worker was used: what they list looks like nobody's.
    pub(crate) missing: Vec<PathBuf>,
    pub(super) directory: PathBuf,
    pub(super) snapshots: Snapshots,
    pub(super) blobs: Blobs,
    by_chain_id: HashMap<String, Vec<String>>,
    by_blob_chain_id: HashMap<String, Vec<String>>,
}

/// A record with all its ancestors.
#[derive(Debug)]
pub(crate) struct Chain<'w> {
    /// The record and its ancestors, each once, nearest first.
    pub(crate) records: Vec<&'w Record>,
    /// Ancestors that do not exist.
    pub(crate) missing: Vec<&'w str>,
}

impl Worker {
    /// Blobs that are no record's, such as manifests and configurations of images, and that are listed and not there. A build
    /// that needs one fails.
    pub(super) fn lost_blobs(&self) -> Vec<&str> {
        let of_records: HashSet<&str> = self.records.values().filter_map(|record| record.blob.as_deref()).collect();
        let mut lost: Vec<&str> = self.blobs.damaged().filter(|digest| !of_records.contains(digest)).collect();
        lost.sort_unstable();
        lost
    }

    /// Reads the databases of a worker that is looked at by itself.
    pub(crate) fn read(directory: &Path, snapshotter: &str) -> Result<Worker, Unreadable> {
        Worker::read_at(directory, snapshotter, Pace::AtOnce)
    }

    /// Reads a worker's databases.
    pub(super) fn read_at(directory: &Path, snapshotter: &str, pace: Pace) -> Result<Worker, Unreadable> {
        let store = snapshot_store(directory, snapshotter);
        let records = || Ok(records(database(&directory.join("metadata_v2.db"))?.as_ref()));
        // Of leases only the names count, and they are most of the file. Sound they have to be like everything else:
        // a daemon does not start on a torn one.
        let containerd = || opened(&directory.join("containerdmeta.db"), |path| Database::open_but(path, b"leases"));
        let rows = || snapshots::rows(database(&store.join("metadata.db"))?.as_ref(), &store, snapshotter);
        let (records, (containerd, rows)) = pace.both(records, || pace.both(containerd, rows));
        let (records, containerd, rows): (HashMap<_, _>, _, _) = (records?, containerd?, rows?);
        let namespaces = containerd.as_ref().and_then(|containerd| containerd.root().path(["v1"]));
        let namespace = namespaces.and_then(|namespaces| namespaces.bucket(b"buildkit"));
        let snapshots = Snapshots::read(namespace, rows, snapshotter);
        let blobs = Blobs::read(namespaces, directory.join("content"));
        let mut worker = Worker {
            id: worker_id(&directory.join("workerid"))?,
            snapshotter: snapshotter.to_owned(),
            missing: missing(directory, &store)?,
            lost: namespace.map(|namespace| lost(namespace, &records)).unwrap_or_default(),
            records,
            directory: directory.to_owned(),
            snapshots,
            blobs,
            by_chain_id: HashMap::new(),
            by_blob_chain_id: HashMap::new(),
        };
        legacy::mark(&mut worker.records);
        worker.classify();
        worker.decide_survival();
        worker.index();
        Ok(worker)
    }

    fn classify(&mut self) {
        // A record that is not finalised has its data in its mutable record's snapshot, and is for what that one is for.
        let twins: HashMap<String, (String, RecordType)> = self
            .records
            .values()
            .filter_map(|record| self.records.get(record.equal_mutable.as_ref()?))
            .map(|mutable| (mutable.id.clone(), (mutable.snapshot.clone(), mutable.record_type.clone())))
            .collect();
        for record in self.records.values_mut() {
            let own = self.snapshots.named(&record.snapshot);
            let twin = record.equal_mutable.as_ref().map(|id| twins.get(id));
            let blob = record.blob.as_deref().map_or(Blob::Absent, |digest| self.blobs.state(digest));
            record.class = class(&Facts {
                deleted: record.deleted,
                committed: record.committed,
                composed: record.composed,
                blob_only: record.blob_only,
                blob,
                backing: backing(own),
                equal_mutable: twin.map(|twin| backing(twin.and_then(|(name, _)| self.snapshots.named(name)))),
            });
            if let (RecordType::Regular, Some(Some((_, record_type)))) = (&record.record_type, twin) {
                record.record_type = record_type.clone();
            }
            let holder = match record.class {
                Class::LocalUnfinalised => twin.flatten().and_then(|(name, _)| self.snapshots.named(name)),
                _ => own,
            };
            record.blob_damaged = blob == Blob::Damaged;
            record.compressed_bytes_on_disk = if let Blob::Present(bytes) = blob { bytes } else { 0 };
            record.snapshot_number = holder.map(|snapshot| snapshot.number);
            record.unpacked_bytes_on_disk = match holder {
                Some(snapshot) if !snapshot.on_disk || snapshot.remote => 0,
                Some(snapshot) if snapshot.kind == SnapshotKind::Committed => snapshot.bytes,
                // Nobody noted the size of a writable snapshot but BuildKit, when it was asked for disk usage.
                Some(_) => record.counted_bytes.unwrap_or_default().saturating_sub(record.compressed_bytes_on_disk),
                None => 0,
            };
        }
    }

    fn decide_survival(&mut self) {
        let known: HashMap<&str, (Class, &[String])> = self
            .records
            .values()
            .map(|record| (record.id.as_str(), (record.class, record.parents.as_slice())))
            .collect();
        let lost: Vec<(String, Survival)> = survivals(&known)
            .into_iter()
            .filter(|(_, survival)| !survival.survives())
            .map(|(id, survival)| (id.to_owned(), survival))
            .collect();
        for (id, survival) in lost {
            if let Some(record) = self.records.get_mut(&id) {
                record.survival = survival;
            }
        }
    }

    fn index(&mut self) {
        for record in self.records.values() {
            if let Some(chain_id) = &record.chain_id {
                self.by_chain_id.entry(chain_id.clone()).or_default().push(record.id.clone());
            }
            if let Some(chain_id) = &record.blob_chain_id {
                self.by_blob_chain_id.entry(chain_id.clone()).or_default().push(record.id.clone());
            }
        }
    }

    /// The records with this content, in any compression; a chain id is OCI's, over the diff ids of all layers.
    pub(crate) fn records_by_chain_id<'w>(&'w self, id: &str) -> impl Iterator<Item = &'w Record> + use<'w> {
        self.by_chain_id.get(id).into_iter().flatten().filter_map(|id| self.records.get(id))
    }

    /// The records with this content in this compression; a blob chain id is BuildKit's, over blobs and diff ids.
    pub(crate) fn records_by_blob_chain_id<'w>(&'w self, id: &str) -> impl Iterator<Item = &'w Record> + use<'w> {
        self.by_blob_chain_id.get(id).into_iter().flatten().filter_map(|id| self.records.get(id))
    }

    /// The record under which the same content is extracted as well, compressed in another way: a donor's and an image's.
    /// BuildKit unpacks it once, for both; the one without a blob is dropped at the next start, the layer stays.
    pub(crate) fn warm_twin(&self, record: &Record) -> Option<&Record> {
        let phantom = Some(record).filter(|record| record.class == Class::Phantom)?;
        self.records_by_chain_id(phantom.chain_id.as_deref()?).find(|twin| twin.id != record.id && twin.is_warm())
    }

    /// A record with all its ancestors; only `missing` has something when there is no such record.
    pub(crate) fn chain<'w>(&'w self, id: &'w str) -> Chain<'w> {
        let mut chain = Chain { records: Vec::new(), missing: Vec::new() };
        let (mut seen, mut next) = (HashSet::from([id]), std::collections::VecDeque::from([id]));
        while let Some(id) = next.pop_front() {
            match self.records.get(id) {
                None => chain.missing.push(id),
                Some(record) => {
                    chain.records.push(record);
                    next.extend(record.parents.iter().map(String::as_str).filter(|parent| seen.insert(parent)));
                }
            }
        }
        chain
    }

    /// Bytes a blob takes with its variants in other compressions, as the content store lists them.
    pub(super) fn blob_bytes(&self, digest: &str) -> u64 {
        self.blobs.bytes_with_variants(digest)
    }

    /// Bytes the unpacked files of a record take; those of a writable snapshot are counted here and now.
    pub(super) fn unpacked_bytes(&self, record: &Record) -> u64 {
        let twin = record.equal_mutable.as_ref().and_then(|id| self.records.get(id));
        let snapshot = self.snapshots.named(&twin.unwrap_or(record).snapshot);
        match snapshot {
            Some(snapshot) if snapshot.kind == SnapshotKind::Committed => snapshot.bytes,
            Some(snapshot) if snapshot.on_disk => usage(&self.files_of(snapshot.number)).bytes,
            _ => 0,
        }
    }

    /// Where the files of a snapshot lie.
    pub(crate) fn files_of(&self, number: u64) -> PathBuf {
        files_directory(&self.snapshot_directory(number), &self.snapshotter)
    }

    /// The blobs of BuildKit's history, which no layer needs.
    pub(crate) fn history_blobs(&self) -> impl Iterator<Item = PathBuf> {
        self.blobs.of_history()
    }

    /// Where the directories of snapshots are, which have their numbers as names.
    pub(super) fn snapshots_directory(&self) -> PathBuf {
        snapshot_store(&self.directory, &self.snapshotter).join("snapshots")
    }

    /// Where the directory of a snapshot is: its files, and what the snapshotter keeps beside them.
    pub(crate) fn snapshot_directory(&self, number: u64) -> PathBuf {
        self.snapshots_directory().join(number.to_string())
    }

    /// Where the blob of a record is, whether it is there or not.
    pub(crate) fn blob_path(&self, digest: &str) -> Option<PathBuf> {
        self.blobs.path(digest)
    }

    /// All snapshots of the snapshotter, also those without a record.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.all()
    }
}

/// What lies on disk behind everything that was solved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Layers"))]
pub(crate) struct Tally {
    /// Layers (cache records) in the chains of all solved results.
    pub(crate) total: usize,
    /// Extracted, and survive a restart.
    pub(crate) extracted: usize,
    /// Only the compressed blob is there.
    pub(crate) blob_only: usize,
    /// Nothing is there.
    pub(crate) lazy: usize,
    /// Looks extracted, and BuildKit drops it at its next start.
    pub(crate) phantom: usize,
    /// The databases promise what is not on disk.
    pub(crate) broken: usize,
    /// There, and a restart drops it with a layer below it that is not.
    pub(crate) doomed: usize,
    /// Merges and diffs that BuildKit has not put together, which takes no network.
    pub(crate) unmaterialised: usize,
    /// Bytes of the compressed blobs on disk.
    pub(crate) bytes_compressed: u64,
    /// Bytes of the unpacked layers on disk.
    pub(crate) bytes_unpacked: u64,
}

impl Tally {
    /// Counts records of one worker, each once; those that are not layers are left out.
    pub(crate) fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Tally {
        let mut tally = Tally::default();
        let (mut ids, mut blobs, mut snapshots) = (HashSet::new(), HashSet::new(), HashSet::new());
        for record in records {
            if !record.is_layer() || !ids.insert(&record.id) {
                continue;
            }
            tally.total += 1;
            let kept = record.survival.survives();
            *match record.class {
                Class::Extracted | Class::LocalUnfinalised if kept => &mut tally.extracted,
                Class::Unmaterialised if kept => &mut tally.unmaterialised,
                Class::BlobOnly if kept => &mut tally.blob_only,
                Class::Extracted | Class::LocalUnfinalised | Class::Unmaterialised | Class::BlobOnly => {
                    &mut tally.doomed
                }
                Class::Lazy => &mut tally.lazy,
                Class::Phantom => &mut tally.phantom,
                Class::Broken | Class::Deleted | Class::Mutable => &mut tally.broken,
            } += 1;
            if record.blob.as_ref().is_some_and(|blob| blobs.insert(blob)) {
                tally.bytes_compressed += record.compressed_bytes_on_disk;
            }
            if record.snapshot_number.is_some_and(|number| snapshots.insert(number)) {
                tally.bytes_unpacked += record.unpacked_bytes_on_disk;
            }
        }
        tally
    }
}

fn records(metadata: Option<&Database>) -> HashMap<String, Record> {
    let main = metadata.and_then(|metadata| metadata.root().path(["_main"]));
    let records = main.into_iter().flat_map(Bucket::buckets).map(|(id, fields)| {
        let id = String::from_utf8_lossy(id).into_owned();
        (id.clone(), Record::read(&id, fields))
    });
    records.collect()
}

/// The databases of a worker that are not there. A daemon makes two of them at its start, so that a worker with one of them, a
/// blob or a snapshot has lost the others; the snapshotter makes its own with the first snapshot.
fn missing(directory: &Path, store: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let of_snapshotter = store.join("metadata.db");
    let all = [directory.join("metadata_v2.db"), directory.join("containerdmeta.db"), of_snapshotter.clone()];
    let mut missing = Vec::new();
    for path in &all {
        if Unreadable::unless_absent(path, std::fs::symlink_metadata(path))?.is_none() {
            missing.push(path.clone());
        }
    }
    let has_a_database = missing.len() < all.len();
    let is_filled = |path: PathBuf| {
        let entries = Unreadable::unless_absent(&path, std::fs::read_dir(&path))?;
        Ok(entries.is_some_and(|mut entries| entries.next().is_some()))
    };
    let (has_blobs, has_snapshots) =
        (is_filled(directory.join("content/blobs/sha256"))?, is_filled(store.join("snapshots"))?);
    if !has_snapshots {
        missing.retain(|path| *path != of_snapshotter);
    }
    let was_used = has_blobs || has_snapshots || has_a_database;
    Ok(if was_used { missing } else { Vec::new() })
}

/// A record's content is held by a lease of the record's id; BuildKit makes and removes the two together. Other leases
/// have other names, with a dash in them.
fn lost(namespace: Bucket<'_>, records: &HashMap<String, Record>) -> HashSet<String> {
    let leases = namespace.bucket(b"leases").into_iter().flat_map(Bucket::buckets);
    let ids = leases.filter_map(|(id, _)| std::str::from_utf8(id).ok());
    ids.filter(|id| !id.contains('-') && !records.contains_key(*id)).map(str::to_owned).collect()
}

fn backing(snapshot: Option<&Snapshot>) -> Backing {
    match snapshot {
        Some(Snapshot { on_disk: true, kind: SnapshotKind::Committed, remote: true, .. }) => Backing::Remote,
        Some(Snapshot { on_disk: true, kind: SnapshotKind::Committed, .. }) => Backing::Committed,
        Some(Snapshot { on_disk: true, .. }) => Backing::Writable,
        _ => Backing::Absent,
    }
}

/// Opens a database of the root; one that was never made is absent, not an error.
pub(super) fn database(path: &Path) -> Result<Option<Database>, Unreadable> {
    opened(path, Database::open)
}

fn opened(
    path: &Path,
    open: impl FnOnce(&Path) -> Result<Database, BoltError>,
) -> Result<Option<Database>, Unreadable> {
    match open(path) {
        Ok(database) => Ok(Some(database)),
        Err(BoltError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(BoltError::Io(error)) => Err(Unreadable::io(path, error)),
        Err(error) => Err(Unreadable::Database(path.to_owned(), error)),
    }
}

fn worker_id(path: &Path) -> Result<Option<String>, Unreadable> {
    match foreign::open_regular(path).and_then(std::io::read_to_string) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unreadable::io(path, error)),
    }
}
