//! What a warm run promised: what the build is made of, which records hold it, on which builder. Written only by a run
//! that ended warm, so that whoever reads it later can hold a state root, or another build, against it.
//!
//! Build arguments are in it where a step uses them; keyed hashes stand for secrets ([`marks`]).

mod describe;
mod file;
mod fingerprints;
mod marks;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::buildkit::{Label, OperationKind};

pub(crate) use describe::Served;
pub(crate) use file::unseal;
pub(crate) use fingerprints::{Files, Source};
pub(crate) use marks::{Key, Likeness, Marks, compare, is_key, key_file, masked};

/// The version of the format.
pub(crate) const SCHEMA: u32 = 1;

/// Where a warm run leaves its manifest unless told otherwise.
pub(crate) const USUAL: &str = "/var/lib/cachewarm/manifest.json";

/// The promise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Manifest {
    /// The version of the format.
    pub(crate) schema: u32,
    /// cachewarm's version.
    pub(crate) version: String,
    /// The commit it was built from, that commit's date, and what it was built for; empty in manifests of before.
    #[serde(default)]
    pub(crate) build: String,
    /// When it was made, in UTC.
    pub(crate) created_at: String,
    /// What BuildKit said of itself.
    pub(crate) buildkit_version: String,
    /// The id of the worker whose state root it was.
    #[serde(default)]
    pub(crate) worker_id: String,
    /// The snapshotter of that worker, when its root could be read.
    #[serde(default)]
    pub(crate) snapshotter: Option<String>,
    /// The repository without credentials, or the directory.
    pub(crate) source: String,
    /// The commit, when it is known.
    pub(crate) commit: Option<String>,
    /// The images of the `# syntax=` frontends, with their digests.
    #[serde(default)]
    pub(crate) frontends: Vec<String>,
    /// `sha256:…` of the source policy's file, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_policy: Option<String>,
    /// The donors: reference and digest.
    pub(crate) donors: Vec<(String, Option<String>)>,
    /// Hits among the steps, 0 to 1.
    pub(crate) hit_rate: f64,
    /// Layers that were found extracted, those of frontends aside.
    #[serde(default)]
    pub(crate) layers: usize,
    /// Bytes of their compressed blobs on disk.
    #[serde(default)]
    pub(crate) bytes_compressed: u64,
    /// Bytes of them unpacked on disk.
    #[serde(default)]
    pub(crate) bytes_unpacked: u64,
    /// What the build is made of, each after what it is made from: steps, images, directories of ours.
    pub(crate) steps: Vec<Step>,
    /// The directories of ours, as the build saw them.
    #[serde(default)]
    pub(crate) contexts: Vec<Context>,
    /// Files that changed while they were built: nobody knows what of them BuildKit was sent. Not written down.
    #[serde(skip)]
    pub(crate) changed: Vec<String>,
    /// The ids of the cache records that were found extracted: the layers of all steps and of frontends.
    pub(crate) records: Vec<String>,
}

/// One vertex of the LLB graph.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Step {
    /// The LLB vertex digest. It changes with every run for what is made from a directory of ours.
    pub(crate) digest: String,
    /// As BuildKit shows it.
    pub(crate) name: String,
    /// What it does.
    #[serde(default = "unknown")]
    pub(crate) kind: OperationKind,
    /// Whether every build runs it anew.
    #[serde(default)]
    pub(crate) always_runs: bool,
    /// The targets whose graph has it.
    pub(crate) targets: Vec<String>,
    /// What makes its cache key apart from its inputs: `command`, `env NAME`, `mount /path`, `copy 1 source`, …
    #[serde(default)]
    pub(crate) key: BTreeMap<String, String>,
    /// What it is made from.
    #[serde(default)]
    pub(crate) inputs: Vec<Input>,
    /// Which of the manifest's contexts it is, if it is a directory of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<usize>,
}

/// One input of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Input {
    /// Its place among the manifest's steps.
    pub(crate) step: usize,
    /// The paths in it whose content counts; none where the whole result counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) paths: Vec<String>,
}

/// A directory of ours, as a build sees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Context {
    /// The name BuildKit asks for: `context`, or that of a named context.
    pub(crate) name: String,
    /// Patterns of the entries that are left out (`.dockerignore`).
    pub(crate) excluded: Vec<String>,
    /// Its entries, a line each, parents first: [`Files`] reads them.
    pub(crate) entries: Vec<String>,
    /// Entries beyond the most that are written down.
    pub(crate) left_out: usize,
}

fn unknown() -> OperationKind {
    OperationKind::Other
}

impl Manifest {
    /// A manifest of now that promises nothing yet.
    pub(crate) fn new() -> Manifest {
        Manifest {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: env!("CACHEWARM_BUILD").to_owned(),
            created_at: jiff::Timestamp::now().to_string(),
            ..Manifest::default()
        }
    }

    /// Whether it says what its steps are made of, which the first version of cachewarm did not write down.
    pub(crate) fn is_comparable(&self) -> bool {
        self.steps.is_empty() || self.steps.iter().any(|step| !step.key.is_empty())
    }

    /// The marks by which this build can be compared with another that is described now: those with the key that lies beside
    /// the manifest in the file `path`.
    ///
    /// # Errors
    /// Explained: a key that cannot be read.
    pub(crate) fn marks(&self, path: &Path) -> anyhow::Result<Marks> {
        if self.texts().any(marks::is_unsalted) {
            return Ok(Marks::Unsalted);
        }
        Ok(Key::beside(path)?.map_or(Marks::Masked, Marks::Keyed))
    }

    /// The texts that may have marks in them.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let keys = self.steps.iter().flat_map(|step| step.key.iter().flat_map(|(name, value)| [name, value]));
        let paths = self.steps.iter().flat_map(|step| &step.inputs).flat_map(|input| &input.paths);
        keys.chain(paths).map(String::as_str)
    }
}

impl Step {
    /// Its name taken apart.
    pub(crate) fn label(&self) -> Label<'_> {
        Label::of(&self.name)
    }
}
