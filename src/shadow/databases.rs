//! Copies of the databases, each consistent in itself, and the few small files beside them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::inspect::bolt::{BoltError, Image};
use crate::inspect::{Unreadable, snapshot_store};

/// Copies every database of a root, in the order in which they point to each other: beside a running daemon nothing
/// in a copy is newer than what it points to.
pub(super) fn copy(root: &Path, shadow: &Path, workers: &[(String, PathBuf)]) -> anyhow::Result<()> {
    copy_database(&root.join("cache.db"), &shadow.join("cache.db"))?;
    for (snapshotter, original) in workers {
        let worker = shadow.join(format!("runc-{snapshotter}"));
        let (store, original_store) = (snapshot_store(&worker, snapshotter), snapshot_store(original, snapshotter));
        fs::create_dir_all(&store).with_context(|| format!("could not make {}", store.display()))?;
        copy_small(&original.join("workerid"), &worker.join("workerid"))?;
        copy_database(&original.join("metadata_v2.db"), &worker.join("metadata_v2.db"))?;
        copy_database(&original.join("containerdmeta.db"), &worker.join("containerdmeta.db"))?;
        copy_database(&original_store.join("metadata.db"), &store.join("metadata.db"))?;
    }
    Ok(())
}

/// Copies a database as of its newest transaction; one that does not exist is left out.
fn copy_database(from: &Path, to: &Path) -> anyhow::Result<()> {
    let image = match Image::take(from) {
        Ok(image) => image,
        Err(BoltError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(BoltError::Io(error)) => return Err(Unreadable::io(from, error).into()),
        Err(error) => return Err(Unreadable::Database(from.to_owned(), error).into()),
    };
    let written = File::create_new(to).and_then(|mut file| {
        file.write_all(image.bytes())?;
        // bbolt maps the file up to its length, so the room it had made stays, as a hole.
        file.set_len(image.length.max(image.bytes().len() as u64))
    });
    written.with_context(|| format!("could not write {}", to.display()))
}

fn copy_small(from: &Path, to: &Path) -> anyhow::Result<()> {
    match fs::copy(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        copied => copied.map(drop).with_context(|| format!("could not copy {}", from.display())),
    }
}
