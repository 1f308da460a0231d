//! The cache records of a worker, as `metadata_v2.db` describes them.

use std::cell::Cell;

use serde::de::DeserializeOwned;

use super::bolt::Bucket;
use super::classify::{Class, Survival};

/// What a record is for. Local sources and cache mounts are no layers.
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
    /// As BuildKit writes it.
    pub(crate) fn name(&self) -> &str {
        match self {
            RecordType::Regular => "regular",
            RecordType::Internal => "internal",
            RecordType::Frontend => "frontend",
            RecordType::LocalSource => "source.local",
            RecordType::GitCheckout => "source.git.checkout",
            RecordType::CacheMount => "exec.cachemount",
            RecordType::Other(name) => name,
        }
    }

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
    /// Bytes of that blob, wherever it is.
    pub(crate) blob_bytes: Option<u64>,
    /// The images it was fetched with, or would be.
    pub(crate) image_refs: Vec<String>,
    /// The digest of its unpacked archive.
    pub(crate) diff_id: Option<String>,
    /// The OCI chain id.
    pub(crate) chain_id: Option<String>,
    /// BuildKit's chain id over blobs and diff ids.
    pub(crate) blob_chain_id: Option<String>,
    /// When it was made, in nanoseconds since 1970.
    pub(crate) created_at: Option<i64>,
    /// When a build that ended well used it last, in nanoseconds since 1970.
    pub(crate) last_used_at: Option<i64>,
    /// How many builds that ended well used it.
    pub(crate) usage_count: i64,
    /// Fields that BuildKit cannot have written so: their bytes were damaged.
    pub(crate) damaged_fields: usize,
    /// Whether its name, or that of something it stands on, is of a BuildKit before v0.33.1.
    pub(crate) legacy: bool,
    /// Whether the content store promises its blob, and the file is missing or of another size.
    pub(crate) blob_damaged: bool,
    /// Bytes of the blob on disk; 0 when it is not there.
    pub(crate) compressed_bytes_on_disk: u64,
    /// Bytes of the unpacked files on disk; 0 when they are not there or BuildKit has not counted them yet.
    pub(crate) unpacked_bytes_on_disk: u64,
    /// Whether it has what newer BuildKits note of a layer's content beside its diff id.
    pub(super) has_identity: bool,
    pub(super) committed: bool,
    pub(super) deleted: bool,
    pub(super) blob_only: bool,
    /// What BuildKit counted, compressed and unpacked together.
    pub(super) counted_bytes: Option<u64>,
}

impl Record {
    /// Whether it is a layer (a step's result, or part of one), as opposed to a local source, a cache mount or a mutable
    /// snapshot.
    pub(crate) fn is_layer(&self) -> bool {
        !self.is_mutable() && !matches!(self.record_type, RecordType::LocalSource | RecordType::CacheMount)
    }

    /// Whether it is written in place.
    pub(crate) fn is_mutable(&self) -> bool {
        !self.committed && !self.composed
    }

    /// Whether it came with an image by its name. BuildKit describes only what it imported or made.
    pub(crate) fn is_of_image(&self) -> bool {
        self.description.is_empty() || self.description.starts_with("pulled from ")
    }

    /// Whether a build can use it now and after a restart, without fetching or unpacking it.
    pub(crate) fn is_warm(&self) -> bool {
        self.class.is_extracted() && self.survival.survives()
    }

    /// Why a build cannot use it as it is, as one sentence.
    pub(crate) fn problem(&self) -> String {
        let name = if self.description.is_empty() { &self.id } else { &self.description };
        let what = match self.class {
            Class::BlobOnly => "its blob is here and was never unpacked",
            Class::Lazy => "nothing of it is on disk",
            Class::Phantom => "it is unpacked, and BuildKit drops it at its next start because its blob is not here",
            Class::Broken => "the databases promise what is not on disk",
            Class::Deleted => "it is marked for deletion",
            Class::Mutable => "it is written in place, and cannot hold a result",
            Class::Unmaterialised => "not all it is made of is unpacked",
            Class::Extracted | Class::LocalUnfinalised => "it is extracted",
        };
        let loss = self.loss().filter(|_| self.class.is_extracted() || self.class == Class::Unmaterialised);
        format!("{name}: {what}{}", loss.map(|loss| format!(", but {loss}")).unwrap_or_default())
    }

    /// Why the next start drops it, if it does.
    pub(crate) fn loss(&self) -> Option<String> {
        match &self.survival {
            Survival::Survives => None,
            Survival::Lost { record, loss } if *record == self.id => {
                Some(format!("a restart drops it: it {}", loss.words()))
            }
            Survival::Lost { record, loss } => Some(format!("a restart drops it, because {record} {}", loss.words())),
        }
    }

    /// Reads what the database says; what lies on disk is filled in by the worker. A root has tens of thousands of
    /// fields, so each is looked at once.
    pub(super) fn read(id: &str, fields: Bucket<'_>) -> Record {
        let mut record = Record::empty(id);
        let (mut layer_parent, mut merged, mut lower, mut upper) = (None, Vec::new(), None, None);
        for (name, stored) in fields.values() {
            let field = Field { stored, damaged: Cell::new(false) };
            match name {
                b"snapshot.committed" => record.committed = field.value().unwrap_or_default(),
                b"snapshot.size" => record.counted_bytes = field.value::<i64>().and_then(|it| u64::try_from(it).ok()),
                b"cache.parent" => layer_parent = field.text(),
                b"cache.mergeParents" => merged = field.value().unwrap_or_default(),
                b"cache.lowerDiffParent" => lower = field.text(),
                b"cache.upperDiffParent" => upper = field.text(),
                b"cache.snapshot" => record.snapshot = field.text().unwrap_or(record.snapshot),
                b"cache.equalMutable" => record.equal_mutable = field.text(),
                b"cache.blob" => record.blob = field.text(),
                b"cache.blobsize" => {
                    record.blob_bytes = field.value::<i64>().and_then(|it| u64::try_from(it).ok());
                }
                b"cache.imageRefs" => record.image_refs = field.value().unwrap_or_default(),
                b"cache.diffID" => record.diff_id = field.text(),
                b"cache.chainID" => record.chain_id = field.text(),
                b"cache.blobChainID" => record.blob_chain_id = field.text(),
                b"cache.layerIdentity" => record.has_identity = field.text().is_some(),
                b"cache.blobonly" => record.blob_only = field.value().unwrap_or_default(),
                b"cache.deleted" => record.deleted = field.value().unwrap_or_default(),
                b"cache.description" => record.description = field.text().unwrap_or_default(),
                b"cache.recordType" => record.record_type = RecordType::named(field.text()),
                b"cache.createdAt" => record.created_at = field.value(),
                b"cache.lastUsedAt" => record.last_used_at = field.value(),
                b"cache.usageCount" => record.usage_count = field.value().unwrap_or_default(),
                // One that is no JSON at all keeps buildkitd from starting, whatever it is for.
                _ => drop(field.value::<serde::de::IgnoredAny>()),
            }
            record.damaged_fields += usize::from(field.damaged.get());
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

    pub(super) fn empty(id: &str) -> Record {
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
            blob_bytes: None,
            image_refs: Vec::new(),
            diff_id: None,
            chain_id: None,
            blob_chain_id: None,
            created_at: None,
            last_used_at: None,
            usage_count: 0,
            damaged_fields: 0,
            legacy: false,
            has_identity: false,
            blob_damaged: false,
            compressed_bytes_on_disk: 0,
            unpacked_bytes_on_disk: 0,
            committed: false,
            deleted: false,
            blob_only: false,
            counted_bytes: None,
        }
    }
}

/// One stored field. A value that does not have the type it should counts as absent, as it does for BuildKit.
struct Field<'d> {
    stored: &'d [u8],
    damaged: Cell<bool>,
}

impl Field<'_> {
    fn value<T: DeserializeOwned>(&self) -> Option<T> {
        #[derive(serde::Deserialize)]
        struct Stored<T> {
            value: T,
        }
        // BuildKit clears a field by storing nothing in it.
        if self.stored.is_empty() {
            return None;
        }
        let stored: Result<Stored<T>, _> = serde_json::from_slice(self.stored);
        self.damaged.set(stored.is_err());
        stored.ok().map(|stored| stored.value)
    }

    fn text(&self) -> Option<String> {
        self.value::<String>().filter(|text| !text.is_empty())
    }
}
