//! Links to the layers and blobs of the original, and copies of what a build may write in place.

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Seek};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use super::LocalSources;
use crate::child;
use crate::foreign;
use crate::inspect::{Record, RecordType, SnapshotKind, Worker, files_directory, snapshot_store};

/// Directories given to one `cp`, so that its arguments stay short.
const COPIED_AT_ONCE: usize = 100;
/// Files come and go below a running daemon; then a copy is taken again.
const COPY_ATTEMPTS: usize = 3;
/// Bytes of what `cp` says that are read.
const MOST_WORDS: u64 = 1 << 20;

/// What becomes of a snapshot's directory in the shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    Link,
    Copy,
    Empty,
}

fn treatment(kind: SnapshotKind, is_emptied: bool) -> Treatment {
    match kind {
        SnapshotKind::Committed | SnapshotKind::View => Treatment::Link,
        SnapshotKind::Active if is_emptied => Treatment::Empty,
        SnapshotKind::Active => Treatment::Copy,
    }
}

/// Fills a worker of the shadow whose databases are there already: they say what is finished and what is not.
pub(super) fn link_worker(
    original: &Path,
    worker: &Path,
    snapshotter: &str,
    local_sources: LocalSources,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let known = Worker::read(worker, snapshotter)?;
    let is_emptied = |record: &&Record| match record.record_type {
        RecordType::CacheMount => true,
        RecordType::LocalSource => local_sources == LocalSources::Emptied,
        _ => false,
    };
    let emptied: HashSet<u64> =
        known.records.values().filter(is_emptied).filter_map(|record| record.snapshot_number).collect();
    let from = snapshot_store(original, snapshotter).join("snapshots");
    let to = snapshot_store(worker, snapshotter).join("snapshots");
    make_directory(&to)?;
    let mut copied = Vec::new();
    for snapshot in known.snapshots() {
        let name = snapshot.number.to_string();
        let source = from.join(&name);
        match treatment(snapshot.kind, emptied.contains(&snapshot.number)) {
            // Beside a running daemon a snapshot may be gone by now; then it is missing here as well.
            _ if !source.is_dir() => {}
            Treatment::Link => link(&source, &to.join(&name))?,
            Treatment::Copy => copied.push(source),
            Treatment::Empty => copy_empty(&source, &to.join(&name), snapshotter)?,
        }
    }
    for sources in copied.chunks(COPIED_AT_ONCE) {
        copy(sources, &to, cancel)?;
    }
    link_blobs(&original.join("content"), &worker.join("content"))?;
    Ok(())
}

/// Links every finished blob; partial downloads stay behind.
fn link_blobs(from: &Path, to: &Path) -> anyhow::Result<()> {
    make_directory(&to.join("ingest"))?;
    for algorithm in entries(&from.join("blobs"))? {
        let blobs = to.join("blobs").join(algorithm.file_name().unwrap_or_default());
        make_directory(&blobs)?;
        for blob in entries(&algorithm)? {
            if let Some(name) = blob.file_name() {
                link(&blob, &blobs.join(name))?;
            }
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    listed.with_context(|| format!("could not list {}", directory.display()))
}

fn make_directory(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("could not make {}", path.display()))
}

fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    symlink(from, to).with_context(|| format!("could not link {}", to.display()))
}

/// Copies directories with everything that matters to overlayfs and to BuildKit's checksums: modes, owners, times,
/// extended attributes, hard links, devices, links as links.
fn copy(sources: &[PathBuf], into: &Path, cancel: &CancellationToken) -> anyhow::Result<()> {
    let mut attempt = 1;
    loop {
        // What a running daemon removed meanwhile need not be copied.
        let present: Vec<&PathBuf> = sources.iter().filter(|source| source.is_dir()).collect();
        if present.is_empty() {
            return Ok(());
        }
        let mut command = child::command("cp");
        command.args(["-a", "--reflink=auto", "--"]).args(&present).arg(into).stdin(Stdio::null());
        let mut said = tempfile::tempfile().context("making a file for what cp says")?;
        command.stdout(Stdio::null()).stderr(said.try_clone().context("making a file for what cp says")?);
        let mut copying = command.spawn().context("could not run cp")?;
        let ended = child::wait_unless(&mut copying, || cancel.is_cancelled()).context("waiting for cp")?;
        let Some(status) = ended else { bail!("the copy was interrupted") };
        if status.success() {
            return Ok(());
        }
        for name in sources.iter().filter_map(|source| source.file_name()) {
            remove_partial(&into.join(name))?;
        }
        if attempt == COPY_ATTEMPTS {
            said.rewind()?;
            let said = String::from_utf8_lossy(&foreign::read(said, MOST_WORDS)?).into_owned();
            bail!("could not copy local sources of earlier builds: {}", said.lines().next().unwrap_or("cp failed"));
        }
        attempt += 1;
    }
}

fn remove_partial(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes the directory of a snapshot without what is in it. Its root keeps mode and owner, for the steps that mount a
/// cache rely on them.
fn copy_empty(source: &Path, to: &Path, snapshotter: &str) -> anyhow::Result<()> {
    copy_directory(source, to)?;
    let files = files_directory(source, snapshotter);
    if let (true, Some(name)) = (files != source, files.file_name()) {
        copy_directory(&files, &to.join(name))?;
        copy_directory(&source.join("work"), &to.join("work"))?;
    }
    Ok(())
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = fs::symlink_metadata(from).and_then(|metadata| {
        fs::create_dir(to)?;
        chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
        fs::set_permissions(to, metadata.permissions())
    });
    copied.with_context(|| format!("could not make a directory like {}", from.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_is_written_in_place_is_not_linked() {
        assert_eq!(treatment(SnapshotKind::Committed, false), Treatment::Link);
        assert_eq!(treatment(SnapshotKind::View, false), Treatment::Link);
        assert_eq!(treatment(SnapshotKind::Active, false), Treatment::Copy);
        assert_eq!(treatment(SnapshotKind::Active, true), Treatment::Empty);
    }

    #[test]
    fn a_cache_mount_starts_empty_with_the_mode_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let (source, to) = (folder.path().join("7"), folder.path().join("copy"));
        fs::create_dir_all(source.join("fs")).unwrap();
        fs::create_dir_all(source.join("work/work")).unwrap();
        fs::write(source.join("fs/huge"), "…").unwrap();
        fs::set_permissions(source.join("fs"), fs::Permissions::from_mode(0o1777)).unwrap();
        copy_empty(&source, &to, "overlayfs").unwrap();
        assert_eq!(fs::metadata(to.join("fs")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(entries(&to).unwrap().len(), 2);
        assert_eq!(entries(&to.join("fs")).unwrap().len() + entries(&to.join("work")).unwrap().len(), 0);

        let native = folder.path().join("native");
        copy_empty(&source, &native, "native").unwrap();
        assert_eq!(entries(&native).unwrap().len(), 0);
    }
}
