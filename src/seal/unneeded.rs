//! What lies in a state root that no build needs from an image: history, copies of directories, what interrupted work left,
//! and in the databases what was written there before.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::erase::{Located, Root};
use super::finding::{Action, Finding};
use crate::foreign;
use crate::inspect::bolt::Database;
use crate::inspect::{self, Leftovers, RecordType, StateRoot, Stopped, Unreadable, Worker};
use crate::report::seal::FindingKind;
use crate::report::words::{bytes, count};

/// Bytes of a database that are looked at together.
const CHUNK: u64 = 1 << 20;

/// Everything of that kind.
///
/// # Errors
/// When a database cannot be read.
pub(super) fn unneeded(
    path: &Path,
    root: &Root,
    state: &StateRoot,
    leftovers: &Leftovers,
    with_cache_mounts: bool,
) -> Result<Vec<Finding>, Unreadable> {
    let mut findings = Vec::new();
    findings.extend(history(path, root, state)?);
    let unforgotten = "its files were overwritten, and BuildKit did not come to forget it";
    findings.extend(state.overwritten.iter().map(|id| {
        Finding::new(FindingKind::Leftover, format!("record {id}"), unforgotten, Action::Forget(id.clone(), None))
    }));
    findings.extend((state.stopped == Stopped::NotCleanly).then(|| Finding {
        kind: FindingKind::Leftover,
        place: path.display().to_string(),
        what: "the last buildkitd did not stop cleanly: what it wrote last need not be on the disk".to_owned(),
        action: Action::Collect,
    }));
    for worker in &state.workers {
        findings.extend(records(root, worker, with_cache_mounts)?);
    }
    findings.extend(left_behind(root, leftovers)?);
    for database in inspect::databases(path)? {
        findings.extend(stale(root, &database)?);
    }
    Ok(findings)
}

fn located(root: &Root, path: &Path) -> Result<Option<Located>, Unreadable> {
    root.locate(path).map_err(|error| Unreadable::io(path, error))
}

fn history(path: &Path, root: &Root, state: &StateRoot) -> Result<Option<Finding>, Unreadable> {
    let database = inspect::history_database(path);
    let mut blobs = Vec::new();
    for blob in state.workers.iter().flat_map(Worker::history_blobs) {
        blobs.extend(located(root, &blob)?);
    }
    let below = located(root, &database)?.map(|located| located.path);
    let builds = match below.is_some() {
        true => {
            let opened = Database::open(&database).map_err(|error| Unreadable::Database(database.clone(), error))?;
            opened.root().bucket(b"_records").map_or(0, |records| records.items().count())
        }
        false => 0,
    };
    if builds == 0 && blobs.is_empty() {
        return Ok(None);
    }
    let what = format!("{} with {}: arguments, logs, provenance", count(builds, "build"), count(blobs.len(), "blob"));
    let action = Action::ForgetHistory(below.unwrap_or_default(), blobs);
    Ok(Some(Finding::new(FindingKind::History, database.display(), what, action)))
}

fn records(root: &Root, worker: &Worker, with_cache_mounts: bool) -> Result<Vec<Finding>, Unreadable> {
    let mut findings = Vec::new();
    let mut ids: Vec<&String> = worker.records.keys().collect();
    ids.sort();
    for id in ids {
        // A record that shares its data with a mutable one goes with that one.
        let Some(record) = worker.records.get(id).filter(|record| record.equal_mutable.is_none()) else { continue };
        let kind = match record.record_type {
            RecordType::LocalSource => FindingKind::LocalSource,
            RecordType::CacheMount if with_cache_mounts => FindingKind::CacheMount,
            _ => continue,
        };
        let files =
            record.snapshot_number.map(|number| located(root, &worker.snapshot_directory(number))).transpose()?;
        let action = Action::Forget(id.clone(), files.flatten());
        findings.push(Finding::new(kind, format!("record {id}"), &record.description, action));
    }
    Ok(findings)
}

fn left_behind(root: &Root, leftovers: &Leftovers) -> Result<Vec<Finding>, Unreadable> {
    let downloads = leftovers.partial_downloads.iter().map(|download| &download.directory);
    let files = downloads
        .map(|path| (path, "a download that was not finished"))
        .chain(leftovers.stray_blobs.iter().map(|path| (path, "a blob that nothing lists")))
        .chain(leftovers.stray_directories.iter().map(|path| (path, "a snapshot that nothing lists")))
        .chain(leftovers.spoiled_databases.iter().map(|path| (path, "a database that was put aside as damaged")))
        .chain(
            leftovers
                .unfinished_copies
                .iter()
                .map(|path| (path, "a copy of a database that a compaction did not finish")),
        )
        .chain(leftovers.containers.iter().map(|path| (path, "a container that did not end")));
    let mut findings = Vec::new();
    for (path, what) in files {
        let erase = |located| Finding::new(FindingKind::Leftover, path.display(), what, Action::Erase(located));
        findings.extend(located(root, path)?.map(erase));
    }
    let what = "a snapshot that no record leads to";
    let collect = |name| Finding::new(FindingKind::Leftover, format!("snapshot {name}"), what, Action::Collect);
    findings.extend(leftovers.stray_snapshots.iter().map(collect));
    Ok(findings)
}

/// Where a database is not used and something is written all the same.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn stale(root: &Root, path: &Path) -> Result<Option<Finding>, Unreadable> {
    let Some(database) = located(root, path)? else { return Ok(None) };
    let unused = Database::unused(path).map_err(|error| Unreadable::Database(path.to_owned(), error))?;
    let written = written(path, &unused).map_err(|error| Unreadable::io(path, error))?;
    let sum: u64 = written.iter().map(|part| part.end - part.start).sum();
    let what = format!("{} of what was written there before", bytes(sum));
    let action = Action::Zero(database, written);
    Ok((sum > 0).then(|| Finding::new(FindingKind::StaleBytes, path.display(), what, action)))
}

/// Those of the parts that are not all zeros.
fn written(path: &Path, parts: &[Range<u64>]) -> io::Result<Vec<Range<u64>>> {
    let file = foreign::open_regular(path)?;
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

    #[test]
    fn everything_that_no_build_needs_is_named() {
        let root = fixture::root();
        let opened = Root::open(root.path()).unwrap();
        let worker = root.path().join("runc-overlayfs");
        std::fs::create_dir_all(worker.join("content/ingest/0a1b")).unwrap();
        std::fs::write(worker.join("content/ingest/0a1b/data"), [0; 40]).unwrap();
        std::fs::create_dir_all(worker.join("snapshots/snapshots/99/fs")).unwrap();
        let look = || {
            let state = inspect::read(root.path()).unwrap();
            let leftovers = inspect::leftovers(root.path(), &state).unwrap();
            unneeded(root.path(), &opened, &state, &leftovers, false).unwrap()
        };
        let kinds = |findings: &[Finding], kind| findings.iter().filter(|finding| finding.kind == kind).count();

        let found = look();

        assert_eq!((kinds(&found, FindingKind::LocalSource), kinds(&found, FindingKind::CacheMount)), (3, 0));
        assert!(kinds(&found, FindingKind::Leftover) >= 2, "{found:?}");
        for finding in &found {
            if let Action::Zero(path, parts) = &finding.action {
                opened.zero(path, parts).unwrap();
            }
        }
        let database = worker.join("metadata_v2.db");
        let length = database.metadata().unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&database).unwrap();
        file.set_len(length + 4096).unwrap();
        file.write_all_at(b"stale", length + 100).unwrap();
        let found = look();
        assert_eq!(kinds(&found, FindingKind::StaleBytes), 1);
        let Some(Action::Zero(path, parts)) =
            found.into_iter().find(|finding| finding.kind == FindingKind::StaleBytes).map(|finding| finding.action)
        else {
            panic!("it can be zeroed")
        };
        assert_eq!(root.path().join(path.path), database);
        assert_eq!((parts.len(), parts[0].start, parts[0].end), (1, length, length + 4096));
    }
}
