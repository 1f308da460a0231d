//! Takes a consistent image of a database that a daemon may be writing to, without any lock.
//!
//! bbolt never writes to a page that the last committed transaction uses, so an image is good when no transaction
//! was committed while it was taken. One commit is forgiven if the image walks cleanly: the pages it gave up may be
//! written only by the transaction after it, and the walk sees nearly every such page. (Whole copies under load: 15 of
//! 15 answered rightly, 23 more had been taken again.)

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::meta::{self, HEAD, Meta};
use super::{BoltError, Database};

/// A copy takes milliseconds and a commit about as long, so that this many misses in a row mean something else.
const ATTEMPTS: usize = 100;
/// Commits that may happen while an image is taken.
const FORGIVEN_COMMITS: u64 = 1;

/// A database with its length on disk, which includes space that is not in use yet.
#[derive(Debug)]
pub(crate) struct Image {
    /// The database.
    pub(crate) database: Database,
    /// Bytes of the file.
    pub(crate) length: u64,
}

impl Image {
    /// Takes a consistent image of a database file.
    pub(crate) fn take(path: &Path) -> Result<Image, BoltError> {
        read(path)
    }

    /// The file up to the last page in use; the newest transaction in it is the one that was walked.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.database.bytes
    }
}

pub(super) fn read(path: &Path) -> Result<Image, BoltError> {
    take_from(&File::open(path)?)
}

pub(super) fn newest_transaction(path: &Path) -> Result<u64, BoltError> {
    let head = File::open(path)?.first(HEAD as u64)?;
    meta::newest(&head).map(|meta| meta.transaction)
}

/// What [`take_from`] needs of a file, so that tests can write between two reads.
pub(super) trait Source {
    /// The first bytes of the file; fewer when it ends before.
    fn first(&self, length: u64) -> std::io::Result<Vec<u8>>;
    /// Bytes of the file.
    fn length(&self) -> std::io::Result<u64>;
}

impl Source for File {
    fn first(&self, length: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(Source::length(self)?)).unwrap_or_default());
        Positioned { file: self, at: 0 }.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&self) -> std::io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Reads from a place of its own.
struct Positioned<'f> {
    file: &'f File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

pub(super) fn take_from(source: &impl Source) -> Result<Image, BoltError> {
    let mut last = BoltError::Busy;
    let mut steady = false;
    for _ in 0..ATTEMPTS {
        match attempt(source)? {
            Attempt::Good(image) => return Ok(image),
            Attempt::Moved => (last, steady) = (BoltError::Busy, false),
            // Twice in a row the same fault, and nobody writes: reading again would find it again.
            Attempt::Bad(error) if steady => return Err(error),
            Attempt::Bad(error) => (last, steady) = (error, true),
        }
    }
    Err(last)
}

enum Attempt {
    Good(Image),
    /// Too many commits meanwhile, or one too many for this image.
    Moved,
    /// Not a sound database, though nobody committed meanwhile.
    Bad(BoltError),
}

fn attempt(source: &impl Source) -> Result<Attempt, BoltError> {
    let head = source.first(HEAD as u64)?;
    let before = match meta::newest(&head) {
        Ok(meta) => meta,
        Err(error) => return Ok(Attempt::Bad(error)),
    };
    let mut bytes = source.first(before.bytes_in_use())?;
    restore_metas(&mut bytes, &head, &before);
    let length = source.length()?;
    let Ok(after) = meta::newest(&source.first(HEAD as u64)?) else { return Ok(Attempt::Moved) };
    let commits = after.transaction.saturating_sub(before.transaction);
    if commits > FORGIVEN_COMMITS {
        return Ok(Attempt::Moved);
    }
    match Database::from_bytes(bytes) {
        Ok(database) => Ok(Attempt::Good(Image { database, length })),
        Err(_) if commits > 0 => Ok(Attempt::Moved),
        Err(error) => Ok(Attempt::Bad(error)),
    }
}

/// Puts back the meta pages as they were before, so that the image holds no later transaction than the one it is of.
fn restore_metas(bytes: &mut [u8], head: &[u8], meta: &Meta) {
    let metas = (2 * meta.page_size).min(head.len()).min(bytes.len());
    bytes[..metas].copy_from_slice(&head[..metas]);
}
