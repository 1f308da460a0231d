//! The marker of a machine that was sealed: a small file that whoever makes the image reads, and that is part of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;

use super::job::Job;
use crate::failure::{Explain, Kind};
use crate::inspect::bolt::Database;
use crate::inspect::{self, Unreadable};
use crate::manifest::Manifest;
use crate::report::check::CheckReport;
use crate::{digest, document};

/// What is written.
#[derive(Debug, Serialize)]
pub(super) struct Marker {
    /// The version of the format: 1.
    schema: u32,
    /// When it was sealed, in UTC.
    sealed_at: String,
    /// cachewarm's version.
    version: &'static str,
    /// The commit it was built from, that commit's date, and what it was built for.
    build: &'static str,
    /// What the BuildKit said of itself that warmed it, if there is a manifest.
    buildkit_version: Option<String>,
    /// Who wrote the root, as far as its databases tell: `v0.34.0 or later`.
    writers: Vec<String>,
    /// The state root.
    root: String,
    /// The newest transaction of each database of the root, by its path below the root: another number shows that the root
    /// has changed since.
    transactions: BTreeMap<String, u64>,
    /// What was built, when it is known.
    commit: Option<String>,
    /// The digest of the manifest's file.
    manifest_digest: Option<String>,
    /// Hits among the steps of the warm run, 0 to 1.
    hit_rate: Option<f64>,
    /// Layers that hold results, all of them extracted.
    layers: usize,
    /// Their bytes on disk, compressed and unpacked.
    bytes: u64,
}

impl Marker {
    /// Describes the root and the machine as they are now.
    ///
    /// # Errors
    /// Explained: when the manifest or a database cannot be read.
    pub(super) fn new(job: &Job, promise: Option<&Manifest>, checked: &CheckReport) -> anyhow::Result<Marker> {
        let manifest = job.manifest.as_deref().map(fs::read).transpose();
        let manifest = manifest.explain(
            Kind::Environment,
            "could not read the manifest",
            "seal again when nobody writes to it",
        )?;
        let mut transactions = BTreeMap::new();
        for path in inspect::databases(&job.root).map_err(|error| error.of_root(&job.root))? {
            let newest = Database::version(&path)
                .map_err(|error| Unreadable::Database(path.clone(), error).of_root(&job.root))?;
            transactions
                .insert(path.strip_prefix(&job.root).unwrap_or(&path).display().to_string(), newest.transaction);
        }
        Ok(Marker {
            schema: 1,
            sealed_at: jiff::Timestamp::now().to_string(),
            version: env!("CARGO_PKG_VERSION"),
            build: env!("CACHEWARM_BUILD"),
            buildkit_version: promise.map(|it| it.buildkit_version.clone()),
            writers: checked.used_by.writers.clone(),
            root: job.root.display().to_string(),
            transactions,
            commit: promise.and_then(|it| it.commit.clone()),
            manifest_digest: manifest.map(digest::sha256),
            hit_rate: promise.map(|it| it.hit_rate),
            layers: checked.layers.extracted,
            bytes: checked.layers.bytes_compressed + checked.layers.bytes_unpacked,
        })
    }

    /// Writes it in one piece or not at all.
    ///
    /// # Errors
    /// Explained: when the file cannot be written.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        document::write(path, self, 0o644).explain(
            Kind::Environment,
            format!("could not write the marker {}", path.display()),
            "name a file you may write with --marker, or write none with --marker none",
        )
    }
}

/// Removes the marker of an earlier run: nobody may take it for ours.
///
/// # Errors
/// Explained: when it is there and cannot be removed.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).explain(
            Kind::Environment,
            format!("could not remove the marker {} of an earlier run", path.display()),
            "remove it, or name another file with --marker",
        ),
        _ => Ok(()),
    }
}
