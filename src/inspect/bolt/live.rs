//! Reads a database that a daemon may be writing to, without any lock: page by page, or as an image of the whole file.
//!
//! bbolt never writes to a page that the last committed transaction uses, so what was read is good when no transaction
//! was committed meanwhile. One commit is forgiven if the image walks cleanly: the pages it gave up may be
//! written only by the transaction after it, and the walk sees nearly every such page. (Whole copies under load: 15 of
//! 15 answered rightly, 23 more had been taken again.)

use std::fs::{File, Metadata};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::meta::{self, HEAD, Meta};
use super::pages::Pages;
use super::{BoltError, Database, walk};
use crate::foreign::open_regular;

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
        current(path, |file| take_from(file))
    }

    /// The file up to the last page in use; the newest transaction in it is the one that was walked.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.database.bytes
    }
}

/// A state of a database file: nobody wrote to it, and no other file took its place, while that stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    /// The number of its newest transaction.
    pub(crate) transaction: u64,
}

/// Reads a database file, keeping nothing of the buckets in the buckets of the name `shallow`.
pub(super) fn open(path: &Path, shallow: Option<&'static [u8]>) -> Result<Database, BoltError> {
    current(path, |file| {
        // The pages are asked for in the order of the tree, which is not that of the disk.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::WillNeed);
        page_by_page(file, shallow)
    })
}

/// Looks at a file until it is known to have been the one of that name all the while. BuildKit puts a compacted copy in the
/// place of a database, whose transactions count from the beginning again.
pub(super) fn current<T>(path: &Path, mut look: impl FnMut(&File) -> Result<T, BoltError>) -> Result<T, BoltError> {
    for _ in 0..ATTEMPTS {
        let file = open_regular(path)?;
        let found = look(&file);
        if identity(&file.metadata()?) == identity(&path.metadata()?) {
            return found;
        }
    }
    Err(BoltError::Busy)
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Reads a database page by page.
pub(super) fn page_by_page(source: &dyn Source, shallow: Option<&'static [u8]>) -> Result<Database, BoltError> {
    settled(source, |source, meta, _| Database::walked(Pages::of(source, meta)?, meta, shallow))
}

/// The parts of a file that its newest transaction does not use.
pub(super) fn unused(path: &Path) -> Result<Vec<Range<u64>>, BoltError> {
    current(path, unused_of)
}

fn unused_of(file: &File) -> Result<Vec<Range<u64>>, BoltError> {
    settled(file, |source, meta, _| {
        let size = meta.page_size as u64;
        let numbers = walk::unused(Pages::of(source, meta)?, meta)?;
        let pages = numbers.into_iter().map(|number| number * size..(number + 1) * size);
        let rest = meta.bytes_in_use()..source.length()?;
        let mut parts: Vec<Range<u64>> = Vec::new();
        for part in pages.chain([rest].into_iter().filter(|rest| !rest.is_empty())) {
            match parts.last_mut() {
                Some(last) if last.end == part.start => last.end = part.end,
                _ => parts.push(part),
            }
        }
        Ok(parts)
    })
}

pub(super) fn version(path: &Path) -> Result<Version, BoltError> {
    let file = open_regular(path)?;
    let (device, inode) = identity(&file.metadata()?);
    let transaction = meta::newest(&file.first(HEAD as u64)?)?.transaction;
    Ok(Version { device, inode, transaction })
}

pub(super) fn freelists(path: &Path) -> Result<[Option<bool>; 2], BoltError> {
    Ok(meta::freelists(&open_regular(path)?.first(HEAD as u64)?))
}

/// What a reader needs of a file, so that tests can write between two reads.
pub(super) trait Source {
    /// The first bytes of the file; fewer when it ends before.
    fn first(&self, length: u64) -> std::io::Result<Vec<u8>>;
    /// Fills a buffer from a place of the file; an error when the file ends before.
    fn read(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()>;
    /// Bytes of the file.
    fn length(&self) -> std::io::Result<u64>;
}

impl Source for File {
    fn first(&self, length: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(Source::length(self)?)).unwrap_or_default());
        Positioned { file: self, at: 0 }.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn length(&self) -> std::io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A file that nobody writes to.
#[cfg(any(test, fuzzing))]
pub(super) struct Still(pub(super) Vec<u8>);

#[cfg(any(test, fuzzing))]
impl Source for Still {
    fn first(&self, length: u64) -> std::io::Result<Vec<u8>> {
        Ok(self.0[..self.0.len().min(length as usize)].to_vec())
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let found = self.0.get(at as usize..at as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> std::io::Result<u64> {
        Ok(self.0.len() as u64)
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

pub(super) fn take_from(source: &dyn Source) -> Result<Image, BoltError> {
    settled(source, |source, meta, head| {
        let mut bytes = source.first(meta.bytes_in_use())?;
        restore_metas(&mut bytes, head, meta);
        let length = source.length()?;
        Ok(Image { database: Database::from_bytes(bytes)?, length })
    })
}

/// Looks at the newest transaction until it is known to have been the newest one all the while, or nearly.
fn settled<T>(
    source: &dyn Source,
    look: impl Fn(&dyn Source, &Meta, &[u8]) -> Result<T, BoltError>,
) -> Result<T, BoltError> {
    let mut last = BoltError::Busy;
    let mut steady = false;
    for _ in 0..ATTEMPTS {
        match attempt(source, &look)? {
            Attempt::Good(found) => return Ok(found),
            Attempt::Moved => (last, steady) = (BoltError::Busy, false),
            // Twice in a row the same fault, and nobody writes: reading again would find it again.
            Attempt::Bad(error) if steady => return Err(error),
            Attempt::Bad(error) => (last, steady) = (error, true),
        }
    }
    Err(last)
}

enum Attempt<T> {
    Good(T),
    /// Too many commits meanwhile, or one too many for this look.
    Moved,
    /// Not a sound database, though nobody committed meanwhile.
    Bad(BoltError),
}

fn attempt<T>(
    source: &dyn Source,
    look: impl Fn(&dyn Source, &Meta, &[u8]) -> Result<T, BoltError>,
) -> Result<Attempt<T>, BoltError> {
    let head = source.first(HEAD as u64)?;
    let before = match meta::newest(&head) {
        Ok(meta) => meta,
        Err(error) => return Ok(Attempt::Bad(error)),
    };
    let found = look(source, &before, &head);
    let Ok(after) = meta::newest(&source.first(HEAD as u64)?) else { return Ok(Attempt::Moved) };
    let commits = after.transaction.saturating_sub(before.transaction);
    match found {
        _ if commits > FORGIVEN_COMMITS => Ok(Attempt::Moved),
        Ok(found) => Ok(Attempt::Good(found)),
        Err(_) if commits > 0 => Ok(Attempt::Moved),
        Err(error) => Ok(Attempt::Bad(error)),
    }
}

/// Puts back the meta pages as they were before, so that the image holds no later transaction than the one it is of.
fn restore_metas(bytes: &mut [u8], head: &[u8], meta: &Meta) {
    let metas = (2 * meta.page_size).min(head.len()).min(bytes.len());
    bytes[..metas].copy_from_slice(&head[..metas]);
}
