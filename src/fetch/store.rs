//! A builder's content store, where blobs are put beside a daemon that uses it.
//!
//! **Invariant:** a file gets a blob's name when its digest was compared and its bytes are on disk, and the directory is
//! written out after that. Until then it lies in a directory of ours in the same file system, which no run outlives.
//! Layout: `plugins/content/local` of containerd.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustix::fs::{CWD, FallocateFlags, Gid, Mode, OFlags, Uid, fallocate, fchown, fstat, fsync, mkdirat, renameat};

use crate::beneath;
use crate::digest::is_digest;
use crate::scratch::Scratch;

/// What our directory in a store is called.
const NAME: &str = ".cachewarm-fetch-";
/// The modes of a blob: nobody writes to it.
const MODE: u32 = 0o444;

/// A content store that blobs can be put into.
#[derive(Debug)]
pub(crate) struct Store {
    /// The directory of the blobs.
    blobs: OwnedFd,
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
    /// The store in the directory `content` of a root, which may belong to somebody else: no link is followed on the way to it,
    /// and none out of it. What killed runs left there goes.
    ///
    /// # Errors
    /// When it cannot be written to, or is not all on one file system.
    pub(crate) fn open(root: &Path, content: &Path) -> anyhow::Result<Store> {
        let what = || format!("could not write to {}", content.display());
        let within = content.strip_prefix(root).with_context(what)?;
        let root = beneath::directory(root).with_context(what)?;
        let directory = beneath::open(&root, within, OFlags::RDONLY | OFlags::DIRECTORY).with_context(what)?;
        let owner = fstat(&directory).with_context(what)?;
        let owner = (owner.st_uid, owner.st_gid);
        let blobs = blobs(&directory, owner).with_context(what)?;
        let scratch = Scratch::new_in(content, NAME)?;
        let inside = scratch.path().metadata().with_context(what)?.dev();
        ensure!(inside == fstat(&blobs).with_context(what)?.st_dev, "{} is on several file systems", content.display());
        Ok(Store { blobs, owner, scratch })
    }

    /// The file that lies where a blob of this size belongs, if there is one of that size.
    pub(super) fn found(&self, digest: &str, size: u64) -> Option<File> {
        let file = beneath::open(&self.blobs, Path::new(name(digest)?), OFlags::RDONLY | OFlags::NONBLOCK);
        let file = File::from(file.ok()?);
        file.metadata().is_ok_and(|found| found.is_file() && found.len() == size).then_some(file)
    }

    /// Room for a blob that is to come.
    ///
    /// # Errors
    /// Also when the disk has no room for it.
    pub(super) fn incoming(&self, digest: &str, size: u64) -> io::Result<Incoming> {
        let path = self.scratch.path().join(name(digest).ok_or(io::ErrorKind::InvalidInput)?);
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
        let name = name(digest).ok_or(io::ErrorKind::InvalidInput)?;
        let file = &incoming.file;
        file.set_len(size)?;
        let found = file.metadata()?;
        let (user, group) = self.owner;
        if (found.uid(), found.gid()) != (user, group) {
            fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.sync_all()?;
        renameat(CWD, &incoming.path, &self.blobs, name)?;
        Ok(fsync(&self.blobs)?)
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

/// The directory of the blobs, made where nobody has put one there yet.
fn blobs(content: &OwnedFd, (user, group): (u32, u32)) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    for path in ["blobs", "blobs/sha256"] {
        if let Err(error) = beneath::open(content, Path::new(path), flags)
            && beneath::is_absent(&error)
        {
            mkdirat(content, path, Mode::from_raw_mode(0o755))?;
            let made = beneath::open(content, Path::new(path), flags)?;
            fchown(&made, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
    }
    beneath::open(content, Path::new("blobs/sha256"), flags)
}

/// What a blob's file is called; nothing where the store has no place for such a digest.
fn name(digest: &str) -> Option<&str> {
    digest.strip_prefix("sha256:").filter(|_| is_digest(digest))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_blob_is_there_when_it_was_placed_and_leaves_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let content = root.path().join("runc-overlayfs/content");
        fs::create_dir_all(&content).unwrap();
        let store = Store::open(root.path(), &content).unwrap();
        let digest = crate::digest::sha256(b"blob");
        drop(store.incoming(&digest, 4).unwrap());
        assert!(store.found(&digest, 4).is_none());
        let incoming = store.incoming(&digest, 4).unwrap();
        Incoming::write(&incoming.file, b"blob", 0).unwrap();
        store.place(&incoming, &digest, 4).unwrap();
        drop(incoming);
        let placed = content.join("blobs/sha256").join(&digest[7..]);
        assert_eq!((fs::read(&placed).unwrap(), placed.metadata().unwrap().mode() & 0o7777), (b"blob".to_vec(), MODE));
        assert!(store.found(&digest, 4).is_some() && store.found(&digest, 5).is_none());
        for odd in ["sha512:00", "sha256:../../../etc/passwd", ""] {
            assert!(store.incoming(odd, 1).is_err(), "{odd}");
        }
        drop(store);
        assert_eq!(fs::read_dir(&content).unwrap().count(), 1);
    }

    #[test]
    fn a_link_leads_nowhere() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let content = root.path().join("content");
        symlink(elsewhere.path(), &content).unwrap();
        assert!(Store::open(root.path(), &content).is_err());
        fs::remove_file(&content).unwrap();
        fs::create_dir(&content).unwrap();
        symlink(elsewhere.path(), content.join("blobs")).unwrap();
        assert!(Store::open(root.path(), &content).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
