//! The report of `check`: what lies in a state root. It has the fields of a warm run's that mean something without one.

use serde::Serialize;

use super::{Builder, Donor, Facts, Head, Layers, Phase, Reported, TargetSummary, Transfer, text};

pub(crate) use crate::inspect::{Deep, Fault, PartialDownload};

/// What a state root holds.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CheckReport {
    #[serde(flatten)]
    pub(crate) head: Head,
    /// No builder was asked; the state root that was read.
    pub(crate) builder: Builder,
    /// The donors it was held against.
    pub(crate) donors: Vec<CoveredDonor>,
    /// Always empty: no build was looked at.
    pub(crate) targets: Vec<TargetSummary>,
    /// All layers of all workers, those of frontends apart.
    pub(crate) layers: Layers,
    /// The layers of `# syntax=` frontends.
    pub(crate) frontends: Layers,
    /// Always nothing.
    pub(crate) transfer: Transfer,
    /// How long each phase took.
    pub(crate) phases: Vec<Phase>,
    /// Always absent: there were no steps to hit.
    pub(crate) hit_rate: Option<f64>,
    /// The daemon that will use the root, and what it makes of layers that others wrote.
    pub(crate) used_by: UsedBy,
    /// What was required, and what was found.
    pub(crate) requirements: Vec<Requirement>,
    /// Whether nothing was written while the root was read. If something was, a daemon is at work: each file is
    /// consistent in itself, not with the others.
    pub(crate) steady: bool,
    /// The workers, one for each snapshotter that was ever used.
    pub(crate) workers: Vec<Worker>,
    /// What the solver remembers (`cache.db`).
    pub(crate) cache: Cache,
    /// What interrupted work left behind.
    pub(crate) leftovers: Leftovers,
    /// What the first garbage collection would evict.
    pub(crate) gc: Gc,
    /// What reading all bytes showed; absent without `--deep`.
    pub(crate) deep: Option<Deep>,
    /// What became of a warm run's promise; absent without `--manifest`.
    pub(crate) manifest: Option<Promise>,
    /// Every record, parents before what lies on them where there is an order.
    pub(crate) records: Vec<Record>,
}

impl Reported for CheckReport {
    fn head(&self) -> &Head {
        &self.head
    }

    fn text(&self) -> String {
        text::check(self)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            head: &self.head,
            source: None,
            builder: &self.builder,
            donors: &[],
            steps: &[],
            layers: Some(&self.layers),
            transfer: &self.transfer,
            phases: &self.phases,
            hit_rate: self.hit_rate,
        }
    }
}

/// The daemon that will use a root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct UsedBy {
    /// Its version; empty when none was found, and the newest known one stands for it.
    pub(crate) buildkit_version: String,
    /// Where it was found: `--used-by`, a path, `buildkitd in PATH`, a socket, `the manifest` or `nowhere`.
    pub(crate) found: String,
    /// Whether it was named, and not only found.
    pub(crate) named: bool,
    /// Who wrote the root, as far as its databases tell: `one before v0.33.1`, `v0.34.0 or later`.
    pub(crate) writers: Vec<String>,
    /// How the last daemon stopped: `clean`, `not-clean`, `running`, or `unknown` of one before v0.34.
    pub(crate) stopped: &'static str,
    /// Layers behind results that it unpacks again in builds that import a cache.
    pub(crate) unpacked_again: usize,
    /// Bytes of their unpacked files.
    pub(crate) unpacked_again_bytes: u64,
}

/// One `--require`, or its default.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Requirement {
    /// `extracted`, `survives`, `kept`, `reused`, `donor` or `manifest`.
    pub(crate) name: String,
    /// The least share, 0 to 1.
    pub(crate) least: f64,
    /// How many there are.
    pub(crate) of: usize,
    /// How many of them are as required.
    pub(crate) found: usize,
    /// Whether that is enough.
    pub(crate) met: bool,
}

/// A donor, and what of it is in the root.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CoveredDonor {
    /// The donor.
    #[serde(flatten)]
    pub(crate) donor: Donor,
    /// Its layers counted by what the root has of them.
    pub(crate) coverage: Coverage,
    /// Bytes of the unpacked files of those that are `legacy`.
    pub(crate) unpacked_again_bytes: u64,
    /// Its layers one by one, in the order of its manifest.
    pub(crate) covered: Vec<CoveredLayer>,
}

/// A donor's layers, counted by what the root has of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Coverage {
    /// All of them.
    pub(crate) total: usize,
    /// Extracted, and survive a restart.
    pub(crate) extracted: usize,
    /// Extracted under a name by which the daemon that will use the root does not find it: it unpacks it again.
    pub(crate) legacy: usize,
    /// Only the compressed blob is there.
    pub(crate) blob_only: usize,
    /// Matched, and nothing is there.
    pub(crate) lazy: usize,
    /// Looks extracted, and BuildKit drops it at its next start.
    pub(crate) phantom: usize,
    /// The databases promise what is not on disk.
    pub(crate) broken: usize,
    /// There, and a restart drops it with a layer below it.
    pub(crate) doomed: usize,
    /// The root does not know it.
    pub(crate) absent: usize,
}

/// One layer of a donor.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CoveredLayer {
    /// The digest of its compressed blob.
    pub(crate) digest: String,
    /// Its compressed bytes.
    pub(crate) size: u64,
    /// The digest of its unpacked archive.
    pub(crate) diff_id: String,
    /// The OCI chain id.
    pub(crate) chain_id: String,
    /// BuildKit's chain id over blobs.
    pub(crate) blob_chain_id: String,
    /// `extracted`, `legacy`, `blob-only`, `lazy`, `phantom`, `broken`, `doomed` or `absent`.
    pub(crate) state: &'static str,
    /// The record behind it, if there is one.
    pub(crate) record: Option<String>,
    /// Bytes of its unpacked files, if they are there and are unpacked again.
    #[serde(skip)]
    pub(crate) unpacked_again: Option<u64>,
}

/// One worker.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Worker {
    /// Its id; absent when the file `workerid` is lost, and with it every result.
    pub(crate) id: Option<String>,
    /// Its snapshotter.
    pub(crate) snapshotter: String,
    /// All its records, also those that are not layers.
    pub(crate) records: usize,
    /// Its layers, those of frontends included.
    pub(crate) layers: Layers,
}

/// What the solver remembers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Cache {
    /// Whether there is a `cache.db`.
    pub(crate) present: bool,
    /// Cache keys.
    pub(crate) keys: usize,
    /// Links between keys.
    pub(crate) links: usize,
    /// Results, over all keys.
    pub(crate) results: usize,
    /// Results that need no record: empty ones.
    pub(crate) scratch: usize,
    /// Results whose record does not exist; normal after local sources and garbage collection.
    pub(crate) dangling: usize,
    /// Results of workers that are not in the root; the next start removes them.
    pub(crate) unknown_worker: usize,
    /// Layers that hold at least one result.
    pub(crate) records: usize,
    /// Entries that BuildKit cannot have written so.
    pub(crate) damaged: usize,
}

/// What interrupted work left behind.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Leftovers {
    /// Downloads that were not finished; the next one goes on from them.
    pub(crate) partial_downloads: Vec<PartialDownload>,
    /// Snapshots that were being unpacked, or that nothing leads to.
    pub(crate) stray_snapshots: Vec<String>,
    /// Directories of snapshots that the snapshotter does not know.
    pub(crate) stray_directories: usize,
    /// Blobs on disk that the content store does not list.
    pub(crate) stray_blobs: usize,
    /// Their bytes.
    pub(crate) stray_bytes: u64,
    /// Databases that BuildKit found damaged and put aside.
    pub(crate) spoiled_databases: Vec<String>,
    /// Copies of databases that a compaction did not finish, and of its notes.
    pub(crate) unfinished_copies: Vec<String>,
    /// `absent`, `held` by a running daemon, or `stale`: left by one that was killed, and harmless.
    pub(crate) lock: &'static str,
}

/// What the first garbage collection of a daemon would do on this disk.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Gc {
    /// Whether the daemon collects at all.
    pub(crate) enabled: bool,
    /// The configuration it was forecast by; absent for BuildKit's default policy.
    pub(crate) config: Option<String>,
    /// Bytes of the disk.
    pub(crate) disk_bytes: u64,
    /// Bytes of it that are free.
    pub(crate) disk_free_bytes: u64,
    /// What BuildKit counts: compressed and unpacked bytes of all records.
    pub(crate) total_bytes: u64,
    /// Bytes that would go.
    pub(crate) evicted_bytes: u64,
    /// Layers that would go.
    pub(crate) evicted_layers: usize,
    /// Records that would go, first to last.
    pub(crate) evicted: Vec<String>,
    /// Which setting makes them go.
    pub(crate) limit: Option<String>,
    /// Which setting would keep them.
    pub(crate) advice: Option<String>,
}

/// What became of a warm run's promise.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Promise {
    /// The manifest.
    pub(crate) file: String,
    /// When it was made.
    pub(crate) created_at: String,
    /// The commit it is of, when that is known.
    pub(crate) commit: Option<String>,
    /// The layers it promises.
    pub(crate) records: usize,
    /// How many of them are extracted, and survive a restart.
    pub(crate) extracted: usize,
    /// The ids of the others.
    pub(crate) absent: Vec<String>,
}

/// One record.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Record {
    /// Its id.
    pub(crate) id: String,
    /// The snapshotter of its worker.
    pub(crate) snapshotter: String,
    /// `extracted`, `blob-only`, `lazy`, `phantom`, `broken`, `mutable`, `unmaterialised` or `deleted`.
    pub(crate) class: &'static str,
    /// Whether the next start of buildkitd keeps it.
    pub(crate) survives: bool,
    /// Why not.
    pub(crate) loss: Option<String>,
    /// Whether nothing is lost with it, because its content is here under another record.
    pub(crate) spare: bool,
    /// Whether it is a layer: not a local source, a checkout, a cache mount or something mutable.
    pub(crate) layer: bool,
    /// `regular`, `internal`, `frontend`, `source.local`, `source.git.checkout`, `exec.cachemount`.
    pub(crate) record_type: String,
    /// What BuildKit says it is.
    pub(crate) description: String,
    /// The records it builds on.
    pub(crate) parents: Vec<String>,
    /// How many cache keys it is the result of.
    pub(crate) results: usize,
    /// The digest of its compressed blob.
    pub(crate) blob: Option<String>,
    /// The digest of its unpacked archive.
    pub(crate) diff_id: Option<String>,
    /// The OCI chain id.
    pub(crate) chain_id: Option<String>,
    /// The number of its snapshot's directory.
    pub(crate) snapshot: Option<u64>,
    /// Bytes of its blob on disk.
    pub(crate) bytes_compressed: u64,
    /// Bytes of its unpacked files on disk.
    pub(crate) bytes_unpacked: u64,
    /// When it was made.
    pub(crate) created_at: Option<String>,
    /// When it was used last; absent when no build that used it ended well.
    pub(crate) last_used_at: Option<String>,
    /// How often it was used.
    pub(crate) usage_count: u64,
    /// Whether the first garbage collection would evict it.
    pub(crate) evicted: bool,
}
