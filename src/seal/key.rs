//! The key of the manifest's hashes: whoever has both can try values for the secrets of the build, so no image has the key.
//!
//! It lies outside the state root. Only a regular file with one name and the content of a key that cachewarm made is removed;
//! a link is not followed, and what cannot be looked at is a finding.

use std::io;
use std::path::{Path, PathBuf};

use super::erase::{Located, Root};
use super::finding::{Action, Finding};
use super::job::Job;
use crate::document::folder;
use crate::failure::{Explain, Kind};
use crate::manifest;
use crate::report::seal::FindingKind;

/// The most bytes that the file of a key has.
const LARGEST: u64 = 1024;

/// The key as a thing that no image may have; none where there is no manifest, no such file, or one that is not ours.
pub(super) fn finding(job: &Job) -> Option<Finding> {
    let path = manifest::key_file(job.manifest.as_deref()?);
    let (kind, what, action) = match look(&path).transpose()? {
        Ok((folder, located)) => {
            (FindingKind::Secret, "the key of the manifest's hashes".to_owned(), Action::EraseKey(folder, located))
        }
        Err(error) => {
            let remedy = "no image may have the key of the manifest's hashes: remove it, or accept it with --ignore";
            (FindingKind::Unread, error.to_string(), Action::Ask(remedy.to_owned()))
        }
    };
    // As the kernel has it, so that --ignore can name it.
    let place =
        std::fs::canonicalize(folder(&path)).map_or(path.clone(), |it| it.join(path.file_name().unwrap_or_default()));
    Some(Finding::new(kind, place.display(), what, action))
}

fn look(path: &Path) -> io::Result<Option<(PathBuf, Located)>> {
    let folder = std::fs::canonicalize(folder(path))?;
    let beside = Root::open(&folder)?;
    let Some(located) = beside.locate(&folder.join(path.file_name().unwrap_or_default()))? else { return Ok(None) };
    let Some(content) = beside.read(&located, LARGEST)? else { return Ok(None) };
    Ok(manifest::is_key(&content).then_some((folder, located)))
}

/// Overwrites the key and removes it, if it is still the file that was looked at.
///
/// # Errors
/// Explained: when it cannot be removed.
pub(super) fn erase(folder: &Path, located: &Located) -> anyhow::Result<()> {
    Root::open(folder).and_then(|beside| beside.erase(located)).explain(
        Kind::Environment,
        format!("could not remove {}, the key of the manifest's hashes", folder.join(&located.path).display()),
        "run as root, or remove it",
    )
}
