//! The cache records of a worker, as `metadata_v2.db` describes them.

use serde::de::DeserializeOwned;

use super::bolt::Bucket;
use super::classify::{Class, Survival};

/// What a record is for. Only [`RecordType::Regular`], `Internal` and `Frontend` ones are layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordType {
    /// A layer of a build.
    Regular,
    /// Made by BuildKit for itself.
    Internal,
    /// A layer of a frontend's image.
    Frontend,
    /// What a client sent of a local directory.
    LocalSource,
    /// A git checkout.
    GitCheckout,
    /// A cache mount.
    CacheMount,
    /// A type of a BuildKit we do not know.
    Other(String),
}

impl RecordType {
    fn named(name: Option<String>) -> RecordType {
        match name.as_deref() {
            None | Some("" | "regular") => RecordType::Regular,
            Some("internal") => RecordType::Internal,
            Some("frontend") => RecordType::Frontend,
            Some("source.local") => RecordType::LocalSource,
            Some("source.git.checkout") => RecordType::GitCheckout,
            Some("exec.cachemount") => RecordType::CacheMount,
            Some(other) => RecordType::Other(other.to_owned()),
        }
    }
}

/// A record of BuildKit's cache, with what was found behind it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Its id.
    pub(crate) id: String,
    /// What lies behind it.
    pub(crate) class: Class,
    /// Whether the next start of buildkitd keeps it.
    pub(crate) survival: Survival,
    /// What it is for.
    pub(crate) record_type: RecordType,
    /// What BuildKit says it is: a step's name, `imported sha256:…`, `pulled from …`.
    pub(crate) description: String,
    /// The records it builds on: the layer below, or those it merges, or the lower and upper side of a diff.
    pub(crate) parents: Vec<String>,
    /// Whether it merges or subtracts its parents instead of lying on one.
    pub(crate) composed: bool,
    /// The mutable record that holds its data until it is finalised.
    pub(crate) equal_mutable: Option<String>,
    /// BuildKit's name of its snapshot.
    pub(crate) snapshot: String,
    /// The number of its snapshot's directory, if it has one.
    pub(crate) snapshot_number: Option<u64>,
    /// The digest of its compressed blob.
    pub(crate) blob: Option<String>,
    /// The OCI chain id.
    pub(crate) chain_id: Option<String>,
    /// Bytes of the blob on disk; 0 when it is not there.
    pub(crate) compressed_bytes_on_disk: u64,
    /// Bytes of the unpacked files on disk; 0 when they are not there or BuildKit has not counted them yet.
    pub(crate) unpacked_bytes_on_disk: u64,
    pub(super) committed: bool,
    pub(super) deleted: bool,
    pub(super) blob_only: bool,
    /// What BuildKit counted, compressed and unpacked together.
    pub(super) counted_bytes: Option<u64>,
}

impl Record {
    /// Whether it is a layer, as opposed to a local source, a checkout, a cache mount or a mutable snapshot.
    pub(crate) fn is_layer(&self) -> bool {
        (self.committed || self.composed)
            && !matches!(self.record_type, RecordType::LocalSource | RecordType::GitCheckout | RecordType::CacheMount)
    }

    /// Whether a build can use it now and after a restart, without fetching or unpacking it.
    pub(crate) fn is_warm(&self) -> bool {
        self.class.is_extracted() && self.survival.survives()
    }

    /// Reads what the database says; what lies on disk is filled in by the worker. A root has tens of thousands of
    /// fields, so each is looked at once.
    pub(super) fn read(id: &str, fields: Bucket<'_>) -> Record {
        let mut record = Record::empty(id);
        let (mut layer_parent, mut merged, mut lower, mut upper) = (None, Vec::new(), None, None);
        for (name, stored) in fields.values() {
            match name {
                b"snapshot.committed" => record.committed = value(stored).unwrap_or_default(),
                b"snapshot.size" => record.counted_bytes = bytes(stored),
                b"cache.parent" => layer_parent = text(stored),
                b"cache.mergeParents" => merged = value(stored).unwrap_or_default(),
                b"cache.lowerDiffParent" => lower = text(stored),
                b"cache.upperDiffParent" => upper = text(stored),
                b"cache.snapshot" => record.snapshot = text(stored).unwrap_or(record.snapshot),
                b"cache.equalMutable" => record.equal_mutable = text(stored),
                b"cache.blob" => record.blob = text(stored),
                b"cache.chainID" => record.chain_id = text(stored),
                b"cache.blobonly" => record.blob_only = value(stored).unwrap_or_default(),
                b"cache.deleted" => record.deleted = value(stored).unwrap_or_default(),
                b"cache.description" => record.description = text(stored).unwrap_or_default(),
                b"cache.recordType" => record.record_type = RecordType::named(text(stored)),
                _ => {}
            }
        }
        // BuildKit looks at the other kinds only when there is no layer parent (`parentsOf`).
        record.parents = layer_parent.map_or_else(Vec::new, |parent| vec![parent]);
        if record.parents.is_empty() {
            record.parents = merged;
            record.parents.extend([lower, upper].into_iter().flatten());
            record.composed = !record.parents.is_empty();
        }
        record
    }

    fn empty(id: &str) -> Record {
        Record {
            id: id.to_owned(),
            class: Class::Broken,
            survival: Survival::Survives,
            record_type: RecordType::Regular,
            description: String::new(),
            parents: Vec::new(),
            composed: false,
            equal_mutable: None,
            snapshot: id.to_owned(),
            snapshot_number: None,
            blob: None,
            chain_id: None,
            compressed_bytes_on_disk: 0,
            unpacked_bytes_on_disk: 0,
            committed: false,
            deleted: false,
            blob_only: false,
            counted_bytes: None,
        }
    }
}

/// The value of a field; one that does not have the type counts as absent, as it does for BuildKit.
fn value<T: DeserializeOwned>(stored: &[u8]) -> Option<T> {
    #[derive(serde::Deserialize)]
    struct Stored<T> {
        value: T,
    }
    let stored: Stored<T> = serde_json::from_slice(stored).ok()?;
    Some(stored.value)
}

fn text(stored: &[u8]) -> Option<String> {
    value::<String>(stored).filter(|text| !text.is_empty())
}

fn bytes(stored: &[u8]) -> Option<u64> {
    value::<i64>(stored).and_then(|bytes| u64::try_from(bytes).ok())
}
