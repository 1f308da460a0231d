//! What lies in a state root that no build needs from an image: history, copies of directories, what interrupted work left,
//! and in the databases what was written there before.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::doomed;
use super::finding::{Cure, Finding};
use crate::inspect::bolt::Database;
use crate::inspect::{self, Leftovers, RecordType, StateRoot, Unreadable, Worker};
use crate::report::seal::FindingKind;
use crate::report::words::{bytes, count};
use crate::shadow;

/// Bytes of a database that are looked at together.
const CHUNK: u64 = 1 << 20;

/// Everything of that kind.
///
/// # Errors
/// When a database cannot be read.
pub(super) fn luggage(
    root: &Path,
    state: &StateRoot,
    leftovers: &Leftovers,
    with_cache_mounts: bool,
) -> Result<Vec<Finding>, Unreadable> {
    let mut findings = Vec::new();
    findings.extend(history(root, state)?);
    findings.extend(doomed::left(root, state).into_iter().map(|id| Finding {
        kind: FindingKind::Leftover,
        place: format!("record {id}"),
        what: "its files were overwritten, and BuildKit did not come to forget it".to_owned(),
        cure: Cure::Forget(id, None),
    }));
    findings.extend(beside(root));
    for worker in &state.workers {
        findings.extend(records(worker, with_cache_mounts));
    }
    findings.extend(left_behind(leftovers));
    for path in inspect::databases(root)? {
        findings.extend(stale(&path)?);
    }
    Ok(findings)
}

fn history(root: &Path, state: &StateRoot) -> Result<Option<Finding>, Unreadable> {
    let path = inspect::history_database(root);
    let blobs: Vec<PathBuf> = state.workers.iter().flat_map(Worker::history_blobs).collect();
    let builds = match path.is_file() {
        true => {
            let database = Database::open(&path).map_err(|error| Unreadable::Database(path.clone(), error))?;
            database.root().bucket(b"_records").map_or(0, |records| records.items().count())
        }
        false => 0,
    };
    let finding = Finding {
        kind: FindingKind::History,
        place: path.display().to_string(),
        what: format!("{} with {}: arguments, logs, provenance", count(builds, "build"), count(blobs.len(), "blob")),
        cure: Cure::ForgetHistory(path, blobs.clone()),
    };
    Ok((builds > 0 || !blobs.is_empty()).then_some(finding))
}

fn records(worker: &Worker, with_cache_mounts: bool) -> impl Iterator<Item = Finding> {
    let mut ids: Vec<&String> = worker.records.keys().collect();
    ids.sort();
    ids.into_iter().filter_map(move |id| {
        // What shares its data with a mutable record goes with that one.
        let record = worker.records.get(id).filter(|record| record.equal_mutable.is_none())?;
        let kind = match record.record_type {
            RecordType::LocalSource => FindingKind::LocalSource,
            RecordType::CacheMount if with_cache_mounts => FindingKind::CacheMount,
            _ => return None,
        };
        let files = record.snapshot_number.map(|number| worker.snapshot_directory(number));
        Some(Finding {
            kind,
            place: format!("record {id}"),
            what: record.description.clone(),
            cure: Cure::Forget(id.clone(), files),
        })
    })
}

/// Shadows of the root that a cachewarm which was killed left beside it.
fn beside(root: &Path) -> Vec<Finding> {
    let entries = root.parent().and_then(|above| std::fs::read_dir(above).ok()).into_iter().flatten().flatten();
    let shadows = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(shadow::NAME));
    let finding = |path: PathBuf| Finding {
        kind: FindingKind::Leftover,
        place: path.display().to_string(),
        what: "a shadow of the root".to_owned(),
        cure: Cure::Erase(path),
    };
    shadows.map(|entry| finding(entry.path())).collect()
}

fn left_behind(leftovers: &Leftovers) -> Vec<Finding> {
    let finding = |path: &PathBuf, what: &str| Finding {
        kind: FindingKind::Leftover,
        place: path.display().to_string(),
        what: what.to_owned(),
        cure: Cure::Erase(path.clone()),
    };
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(
        leftovers.partial_downloads.iter().map(|it| finding(&it.directory, "a download that was not finished")),
    );
    findings.extend(leftovers.stray_blobs.iter().map(|path| finding(path, "a blob that nothing lists")));
    findings.extend(leftovers.stray_directories.iter().map(|path| finding(path, "a snapshot that nothing lists")));
    findings.extend(
        leftovers.spoiled_databases.iter().map(|path| finding(path, "a database that was put aside as damaged")),
    );
    findings.extend(leftovers.containers.iter().map(|path| finding(path, "a container that did not end")));
    findings.extend(leftovers.stray_snapshots.iter().map(|name| Finding {
        kind: FindingKind::Leftover,
        place: format!("snapshot {name}"),
        what: "a snapshot that no record leads to".to_owned(),
        cure: Cure::Collect,
    }));
    findings
}

/// Where a database is not used and something is written all the same.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn stale(path: &Path) -> Result<Option<Finding>, Unreadable> {
    let unused = Database::unused(path).map_err(|error| Unreadable::Database(path.to_owned(), error))?;
    let written = written(path, &unused).map_err(|error| Unreadable::io(path, error))?;
    let sum: u64 = written.iter().map(|part| part.end - part.start).sum();
    Ok((sum > 0).then(|| Finding {
        kind: FindingKind::StaleBytes,
        place: path.display().to_string(),
        what: format!("{} of what was written there before", bytes(sum)),
        cure: Cure::Zero(path.to_owned(), written),
    }))
}

/// Those of the parts that are not all zeros.
fn written(path: &Path, parts: &[Range<u64>]) -> io::Result<Vec<Range<u64>>> {
    let file = File::open(path)?;
    let mut written = Vec::new();
    let mut chunk = vec![0; CHUNK as usize];
    for part in parts {
        let mut at = part.start;
        let mut is_zero = true;
        while at < part.end && is_zero {
            let piece = &mut chunk[..(part.end - at).min(CHUNK) as usize];
            file.read_exact_at(piece, at)?;
            is_zero = piece.iter().all(|byte| *byte == 0);
            at += piece.len() as u64;
        }
        if !is_zero {
            written.push(part.clone());
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::fixture;
    use crate::seal::erase;

    #[test]
    fn everything_that_no_build_needs_is_named() {
        let root = fixture::root();
        let worker = root.path().join("runc-overlayfs");
        std::fs::create_dir_all(worker.join("content/ingest/0a1b")).unwrap();
        std::fs::write(worker.join("content/ingest/0a1b/data"), [0; 40]).unwrap();
        std::fs::create_dir_all(worker.join("snapshots/snapshots/99/fs")).unwrap();
        let look = || {
            let state = inspect::read(root.path()).unwrap();
            let leftovers = inspect::leftovers(root.path(), &state);
            luggage(root.path(), &state, &leftovers, false).unwrap()
        };
        let kinds = |findings: &[Finding], kind| findings.iter().filter(|finding| finding.kind == kind).count();

        let found = look();

        assert_eq!((kinds(&found, FindingKind::LocalSource), kinds(&found, FindingKind::CacheMount)), (3, 0));
        assert!(kinds(&found, FindingKind::Leftover) >= 2, "{found:?}");
        for finding in &found {
            if let Cure::Zero(path, parts) = &finding.cure {
                let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                erase::zero(&file, parts).unwrap();
            }
        }
        let database = worker.join("metadata_v2.db");
        let length = database.metadata().unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&database).unwrap();
        file.set_len(length + 4096).unwrap();
        file.write_all_at(b"stale", length + 100).unwrap();
        let found = look();
        assert_eq!(kinds(&found, FindingKind::StaleBytes), 1);
        let Some(Cure::Zero(path, parts)) =
            found.into_iter().find(|finding| finding.kind == FindingKind::StaleBytes).map(|finding| finding.cure)
        else {
            panic!("it can be zeroed")
        };
        assert_eq!(path, database);
        assert_eq!((parts.len(), parts[0].start, parts[0].end), (1, length, length + 4096));
    }
}
