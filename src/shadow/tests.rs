//! A shadow beside the state root of the fixture.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::*;
use crate::inspect::fixture::{CACHE, WORKER, root};
use crate::inspect::{Class, Survival, Unreadable, read};

fn verdicts(root: &Path) -> BTreeMap<String, (Class, Survival)> {
    let state = read(root).unwrap();
    let records = state.workers.iter().flat_map(|worker| worker.records.values());
    records.map(|record| (record.id.clone(), (record.class, record.survival.clone()))).collect()
}

fn shadow_of(root: &Path) -> anyhow::Result<Shadow> {
    Shadow::create(root, Place::Disk, LocalSources::Copied, &CancellationToken::new())
}

fn shadow_in(root: &Path, scratch: &Path) -> anyhow::Result<Shadow> {
    Shadow::create(root, Place::In(scratch), LocalSources::Copied, &CancellationToken::new())
}

/// Every path below a directory, with what must not change about it.
fn listing(directory: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, u64, Vec<u8>)> {
    let mut listed = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let times = (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), metadata.nlink());
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        listed.insert(path, (times.0, times.1, times.2, times.3, content));
    }
    listed
}

/// A fixture with files in the active snapshot of a local source.
fn root_with_a_local_source() -> tempfile::TempDir {
    let root = root();
    let snapshots = root.path().join("runc-overlayfs/snapshots/snapshots");
    for active in ["1", "2", "3"] {
        fs::create_dir(snapshots.join(active).join("work")).unwrap();
    }
    let source = snapshots.join("3/fs");
    fs::write(source.join("file"), "from an earlier build").unwrap();
    fs::set_permissions(source.join("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(source.join("file"), source.join("same")).unwrap();
    std::os::unix::fs::symlink("/nowhere", source.join("link")).unwrap();
    fs::write(root.path().join("history.db"), "").unwrap();
    fs::write(root.path().join("buildkitd.lock"), "").unwrap();
    root
}

#[test]
fn a_shadow_says_of_every_record_what_the_original_says() {
    let root = root();
    let shadow = shadow_of(root.path()).unwrap();
    assert_eq!(verdicts(shadow.path()), verdicts(root.path()));
    assert_eq!(read(shadow.path()).unwrap().workers[0].id.as_deref(), Some(WORKER));
    assert_eq!(fs::read(shadow.path().join("cache.db")).unwrap(), CACHE);
}

#[test]
fn what_is_finished_is_linked_and_what_can_be_written_is_copied() {
    let root = root_with_a_local_source();
    let shadow = shadow_of(root.path()).unwrap();
    let (original, copy) = (root.path().join("runc-overlayfs"), shadow.path().join("runc-overlayfs"));
    for linked in ["4", "5", "6", "7", "8"] {
        let path = Path::new("snapshots/snapshots").join(linked);
        assert_eq!(fs::read_link(copy.join(&path)).unwrap(), fs::canonicalize(original.join(&path)).unwrap());
    }
    for blob in fs::read_dir(copy.join("content/blobs/sha256")).unwrap() {
        assert!(blob.unwrap().file_type().unwrap().is_symlink());
    }
    let source = Path::new("snapshots/snapshots/3/fs");
    let (file, same) = (copy.join(source).join("file"), copy.join(source).join("same"));
    let (before, after) = (fs::metadata(original.join(source).join("file")).unwrap(), fs::metadata(&file).unwrap());
    assert_eq!((after.mode(), after.mtime(), after.mtime_nsec()), (before.mode(), before.mtime(), before.mtime_nsec()));
    assert_eq!(after.ino(), fs::metadata(same).unwrap().ino());
    assert_ne!(after.ino(), before.ino());
    assert_eq!(fs::read_link(copy.join(source).join("link")).unwrap(), Path::new("/nowhere"));
    assert!(!shadow.path().join("history.db").exists() && !shadow.path().join("buildkitd.lock").exists());
}

#[test]
fn nothing_done_to_a_shadow_reaches_the_original() {
    let root = root_with_a_local_source();
    let before = listing(root.path());
    let shadow = shadow_of(root.path()).unwrap();
    let path = shadow.path().to_owned();
    fs::write(path.join("runc-overlayfs/snapshots/snapshots/3/fs/file"), "another build").unwrap();
    fs::write(path.join("cache.db"), "").unwrap();
    drop(shadow);
    assert!(!path.exists());
    assert_eq!(listing(root.path()), before);
}

#[test]
fn a_snapshot_that_is_gone_by_the_time_it_is_linked_is_left_out() {
    let root = root();
    fs::remove_dir_all(root.path().join("runc-overlayfs/snapshots/snapshots/6")).unwrap();
    fs::remove_dir_all(root.path().join("runc-overlayfs/snapshots/snapshots/2")).unwrap();
    let shadow = shadow_of(root.path()).unwrap();
    let names = fs::read_dir(shadow.path().join("runc-overlayfs/snapshots/snapshots")).unwrap();
    assert_eq!(names.count(), 6);
}

#[test]
fn a_shadow_lies_where_it_was_asked_to_or_not_at_all() {
    let (root, scratch) = (root(), tempfile::tempdir().unwrap());
    let shadow = shadow_in(root.path(), scratch.path()).unwrap();
    assert!(shadow.path().starts_with(fs::canonicalize(scratch.path()).unwrap()));
    drop(shadow);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert!(shadow_in(root.path(), &scratch.path().join("absent")).is_err());
}

#[test]
fn a_root_that_cannot_be_shadowed_says_why_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let error = shadow_of(&scratch.path().join("absent")).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Unreadable::Missing(_))));
    let root = root();
    fs::write(root.path().join("runc-overlayfs/metadata_v2.db"), "SQLite").unwrap();
    let error = shadow_in(root.path(), scratch.path()).unwrap_err();
    assert!(error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Unreadable::Database(..)))), "{error:#}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_shadow_in_memory_is_unmounted_and_has_no_copies_of_local_sources() {
    let root = root_with_a_local_source();
    let before = listing(root.path());
    let shadow = Shadow::create(root.path(), Place::Memory, LocalSources::Emptied, &CancellationToken::new()).unwrap();
    let path = shadow.path().to_owned();
    assert!(shadow.is_in_memory(), "tests run as root, on a machine with memory");
    assert_ne!(fs::metadata(&path).unwrap().dev(), fs::metadata(root.path()).unwrap().dev());
    let source = path.join("runc-overlayfs/snapshots/snapshots/3/fs");
    assert_eq!(fs::read_dir(source).unwrap().count(), 0);
    assert_eq!(verdicts(&path), verdicts(root.path()));
    drop(shadow);
    assert!(!path.exists());
    assert_eq!(listing(root.path()), before);
}
