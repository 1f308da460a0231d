//! A builder's content store, where blobs are put beside a daemon that uses it.
//!
//! **Invariant:** a file gets a blob's name when its digest was compared and its bytes are on disk, and the directory is
//! written out after that. Until then it lies in a directory of ours in the same file system, which no run outlives.
//! Layout: `plugins/content/local` of containerd.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustix::fs::{FallocateFlags, Gid, Uid, fallocate, fchown};

use crate::digest::is_digest;
use crate::foreign;
use crate::scratch::Scratch;

/// What our directory in a store is called.
const NAME: &str = ".cachewarm-fetch-";
/// The modes of a blob: nobody writes to it.
const MODE: u32 = 0o444;

/// A content store that blobs can be put into.
#[derive(Debug)]
pub(crate) struct Store {
    blobs: PathBuf,
    owner: (u32, u32),
    scratch: Scratch,
}

/// A blob that comes. Dropping it removes what has come.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) file: Arc<File>,
    path: PathBuf,
}

impl Store {
    /// The store in this directory; what killed runs left there goes.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(crate) fn open(content: &Path) -> anyhow::Result<Store> {
        let what = || format!("could not write to {}", content.display());
        let found = content.metadata().with_context(what)?;
        let scratch = Scratch::new_in(content, NAME)?;
        let blobs = content.join("blobs/sha256");
        if !blobs.is_dir() {
            fs::create_dir_all(&blobs).with_context(what)?;
            for made in [content.join("blobs"), blobs.clone()] {
                std::os::unix::fs::chown(&made, Some(found.uid()), Some(found.gid())).with_context(what)?;
            }
        }
        let inside = scratch.path().metadata().with_context(what)?;
        anyhow::ensure!(
            inside.dev() == blobs.metadata().with_context(what)?.dev(),
            "{} is on another file system than {}",
            blobs.display(),
            content.display()
        );
        Ok(Store { blobs, owner: (found.uid(), found.gid()), scratch })
    }

    /// Where a blob belongs; nowhere when the store has no place for such a digest.
    pub(super) fn path(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:").filter(|_| is_digest(digest))?;
        Some(self.blobs.join(hex))
    }

    /// The file that lies where a blob of this size belongs, if there is one of that size.
    pub(super) fn found(&self, digest: &str, size: u64) -> Option<File> {
        let file = foreign::open_regular(&self.path(digest)?).ok()?;
        file.metadata().is_ok_and(|found| found.len() == size).then_some(file)
    }

    /// Room for a blob that is to come.
    ///
    /// # Errors
    /// Also when the disk has no room for it.
    pub(super) fn incoming(&self, digest: &str, size: u64) -> io::Result<Incoming> {
        let name = digest.rsplit(':').next().unwrap_or_default();
        let path = self.scratch.path().join(name);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        let incoming = Incoming { file: Arc::new(file), path };
        match fallocate(&incoming.file, FallocateFlags::empty(), 0, size.max(1)) {
            Err(error) if error == rustix::io::Errno::OPNOTSUPP => {}
            outcome => outcome?,
        }
        Ok(incoming)
    }

    /// Puts a blob in its place, whose digest was compared.
    ///
    /// # Errors
    /// When it is not certain to be on disk.
    pub(super) fn place(&self, incoming: &Incoming, digest: &str, size: u64) -> io::Result<()> {
        let target = self.path(digest).ok_or(io::ErrorKind::InvalidInput)?;
        let file = &incoming.file;
        file.set_len(size)?;
        let found = file.metadata()?;
        let (user, group) = self.owner;
        if (found.uid(), found.gid()) != (user, group) {
            fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.sync_all()?;
        fs::rename(&incoming.path, &target)?;
        File::open(&self.blobs)?.sync_all()
    }
}

impl Incoming {
    /// Writes bytes where they belong.
    pub(super) fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Absent when it was put in its place.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_there_when_it_was_placed_and_leaves_nothing_else() {
        let content = tempfile::tempdir().unwrap();
        let store = Store::open(content.path()).unwrap();
        let digest = crate::digest::sha256(b"blob");
        drop(store.incoming(&digest, 4).unwrap());
        assert!(store.found(&digest, 4).is_none());
        let incoming = store.incoming(&digest, 4).unwrap();
        Incoming::write(&incoming.file, b"blob", 0).unwrap();
        store.place(&incoming, &digest, 4).unwrap();
        drop(incoming);
        let placed = store.path(&digest).unwrap();
        assert_eq!((fs::read(&placed).unwrap(), placed.metadata().unwrap().mode() & 0o7777), (b"blob".to_vec(), MODE));
        assert!(store.found(&digest, 4).is_some() && store.found(&digest, 5).is_none());
        assert_eq!(store.path("sha512:00"), None);
        drop(store);
        assert_eq!(fs::read_dir(content.path()).unwrap().count(), 1);
    }
}
