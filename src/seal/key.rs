//! The key of the manifest's hashes: whoever has both can try values for the secrets of the build, so no image has the key.

use std::path::{Path, PathBuf};

use super::erase::Root;
use super::finding::{Cure, Finding};
use super::job::Job;
use crate::document::folder;
use crate::failure::{Explain, Kind};
use crate::manifest;
use crate::report::seal::FindingKind;

/// Where the key lies, as the kernel has its path; none where there is no manifest or no key.
fn place(job: &Job) -> Option<PathBuf> {
    job.manifest.as_deref().map(manifest::key_file).and_then(|key| std::fs::canonicalize(key).ok())
}

/// The key as a thing that no image may have.
pub(super) fn finding(job: &Job) -> Option<Finding> {
    Some(Finding {
        kind: FindingKind::Secret,
        place: place(job)?.display().to_string(),
        what: "the key of the manifest's hashes".to_owned(),
        cure: Cure::EraseKey,
    })
}

/// Overwrites the key and removes it.
///
/// # Errors
/// Explained: when it cannot be removed.
pub(super) fn erase(job: &Job) -> anyhow::Result<()> {
    let Some(key) = place(job) else { return Ok(()) };
    let erased = |key: &Path| {
        let beside = Root::open(folder(key))?;
        beside.locate(key)?.map_or(Ok(()), |located| beside.erase(&located))
    };
    erased(&key).explain(
        Kind::Environment,
        format!("could not remove {}, the key of the manifest's hashes", key.display()),
        "run as root, or remove it",
    )
}
