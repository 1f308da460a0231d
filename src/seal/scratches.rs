//! What killed runs of cachewarm left on the machine: shadows of the root, which have copies of its databases, clones,
//! and layers that were being fetched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::finding::{Action, Finding};
use super::job::Job;
use crate::inspect::Unreadable;
use crate::report::seal::FindingKind;
use crate::{fetch, scratch, shadow};

/// Where such directories may be: beside the root, in its stores, and in those of the machine for temporary files where it is ours.
fn places(job: &Job) -> Result<BTreeSet<PathBuf>, Unreadable> {
    let of_machine = match job.system.as_deref() == Some(Path::new("/")) {
        true => vec![std::env::temp_dir(), "/tmp".into(), "/var/tmp".into(), "/run".into()],
        false => Vec::new(),
    };
    let all = job.root.parent().map(Path::to_owned).into_iter().chain(fetch::stores(&job.root)?).chain(of_machine);
    let all = all.filter(|place| place.exists());
    all.map(|place| place.canonicalize().map_err(|error| Unreadable::io(&place, error))).collect()
}

/// Removes those that nobody works in.
///
/// # Errors
/// When the directories cannot be found.
pub(super) fn remove(job: &Job) -> Result<(), Unreadable> {
    places(job)?.iter().for_each(|place| scratch::sweep(place));
    Ok(())
}

/// The directories that killed runs left.
///
/// # Errors
/// When a directory cannot be read.
pub(super) fn findings(job: &Job) -> Result<Vec<Finding>, Unreadable> {
    let mut findings = Vec::new();
    for place in places(job)? {
        let unreadable = |error| Unreadable::io(&place, error);
        let left: Vec<PathBuf> =
            scratch::left_in(&place).map_err(unreadable)?.into_iter().map(|left| left.path).collect();
        for entry in std::fs::read_dir(&place).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // One without a lock that can be taken is named, and left to its owner.
            if name.starts_with(shadow::NAME) && !name.ends_with(scratch::LOCK) && !left.contains(&path) {
                let place = path.display();
                findings.push(finding(
                    &path,
                    format!("umount {place} if it is a mount, then rm -r --one-file-system {place}"),
                ));
            }
        }
        findings.extend(left.iter().map(|path| finding(path, "cachewarm seal --fix removes it".to_owned())));
    }
    Ok(findings)
}

fn finding(path: &Path, remedy: String) -> Finding {
    let what = "a directory that a killed cachewarm left";
    Finding::new(FindingKind::Leftover, path.display(), what, Action::Ask(remedy))
}
