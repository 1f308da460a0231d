//! Reads bbolt databases, the file format of everything BuildKit remembers.
//!
//! [`live`] takes a consistent view of a file that a daemon may be writing to, [`meta`] finds the newest
//! committed transaction in it, and [`walk`] goes through every page of that transaction once, as [`pages`] has them.
//!
//! **Invariant:** a [`Database`] has walked cleanly: each page was reached once, all keys are in order, nothing
//! points outside. So reading it cannot fail, whatever the bytes were. No lock is ever taken: BuildKit takes its
//! own without a timeout, and a daemon that finds it held hangs at its start.
//!
//! Writing is deliberately absent.

mod error;
mod live;
mod meta;
mod pages;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use error::BoltError;
pub(crate) use live::{Image, Version};
#[cfg(test)]
pub(super) use meta::fnv1a;

use std::path::Path;

use pages::{Pages, Range};
use walk::{Buckets, Entry};

/// A database whose every reachable page was read and found sound.
#[derive(Debug)]
pub(crate) struct Database {
    /// What keys and values point into: the file, or what its pages use.
    bytes: Vec<u8>,
    /// Every bucket of the file; the first is the root.
    buckets: Buckets,
}

impl Database {
    /// Reads the newest committed transaction of a database file, also while a daemon writes to it.
    pub(crate) fn open(path: &Path) -> Result<Database, BoltError> {
        live::open(path, None)
    }

    /// As [`Database::open`], keeping nothing of the buckets in the buckets of this name: they count as empty.
    pub(crate) fn open_but(path: &Path, name: &'static [u8]) -> Result<Database, BoltError> {
        live::open(path, Some(name))
    }

    /// Reads a database from its bytes; what lies behind the last page in use may be missing.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Database, BoltError> {
        let meta = meta::newest(&bytes)?;
        Database::walked(Pages::at_hand(bytes, &meta)?, &meta, None)
    }

    /// Reads a database from its bytes as [`Database::open`] reads a file.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn page_by_page(bytes: Vec<u8>) -> Result<Database, BoltError> {
        live::page_by_page(&live::Still(bytes), None)
    }

    fn walked(pages: Pages<'_>, meta: &meta::Meta, shallow: Option<&'static [u8]>) -> Result<Database, BoltError> {
        let (bytes, buckets) = walk::walk(pages, meta, shallow)?;
        Ok(Database { bytes, buckets })
    }

    /// The parts of a file, in bytes, that its newest transaction does not use: what was written there before is still in
    /// them. They do not overlap, are in their order, and reach to the end of the file.
    pub(crate) fn unused(path: &Path) -> Result<Vec<std::ops::Range<u64>>, BoltError> {
        live::unused(path)
    }

    /// Which state a file is in, without reading more than its beginning.
    pub(crate) fn version(path: &Path) -> Result<Version, BoltError> {
        live::version(path)
    }

    /// Whether a file's newest transaction, and the one before it, have a list of free pages; absent where there is no such
    /// transaction.
    pub(crate) fn freelists(path: &Path) -> Result<[Option<bool>; 2], BoltError> {
        live::freelists(path)
    }

    /// The bucket that holds all others.
    pub(crate) fn root(&self) -> Bucket<'_> {
        Bucket { database: self, number: 0 }
    }
}

/// A bucket: keys in byte order, each with a value or a bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket<'d> {
    database: &'d Database,
    number: usize,
}

/// What stands behind a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item<'d> {
    /// Bytes.
    Value(&'d [u8]),
    /// Another bucket.
    Bucket(Bucket<'d>),
}

impl<'d> Bucket<'d> {
    fn node(self) -> &'d [walk::Item] {
        self.database.buckets.items(self.number)
    }

    fn bytes(self, range: Range) -> &'d [u8] {
        range.of(&self.database.bytes).unwrap_or_default()
    }

    fn item(self, entry: Entry) -> Item<'d> {
        match entry {
            Entry::Value(range) => Item::Value(self.bytes(range)),
            Entry::Bucket(number) => Item::Bucket(Bucket { database: self.database, number: number as usize }),
        }
    }

    fn find(self, key: &[u8]) -> Option<Item<'d>> {
        let items = self.node();
        let at = items.binary_search_by(|item| self.bytes(item.key).cmp(key)).ok()?;
        items.get(at).map(|item| self.item(item.entry))
    }

    /// The value of a key.
    pub(crate) fn get(self, key: &[u8]) -> Option<&'d [u8]> {
        match self.find(key)? {
            Item::Value(value) => Some(value),
            Item::Bucket(_) => None,
        }
    }

    /// The bucket of that name.
    pub(crate) fn bucket(self, name: &[u8]) -> Option<Bucket<'d>> {
        match self.find(name)? {
            Item::Value(_) => None,
            Item::Bucket(bucket) => Some(bucket),
        }
    }

    /// The bucket at the end of a path of names.
    pub(crate) fn path<const N: usize>(self, names: [&str; N]) -> Option<Bucket<'d>> {
        names.into_iter().try_fold(self, |bucket, name| bucket.bucket(name.as_bytes()))
    }

    /// Everything in the bucket, in the order of the keys.
    pub(crate) fn items(self) -> impl Iterator<Item = (&'d [u8], Item<'d>)> {
        self.node().iter().map(move |item| (self.bytes(item.key), self.item(item.entry)))
    }

    /// The values of the bucket, in the order of the keys.
    pub(crate) fn values(self) -> impl Iterator<Item = (&'d [u8], &'d [u8])> {
        self.items().filter_map(|(key, item)| match item {
            Item::Value(value) => Some((key, value)),
            Item::Bucket(_) => None,
        })
    }

    /// The buckets in the bucket, in the order of their names.
    pub(crate) fn buckets(self) -> impl Iterator<Item = (&'d [u8], Bucket<'d>)> {
        self.items().filter_map(|(key, item)| match item {
            Item::Value(_) => None,
            Item::Bucket(bucket) => Some((key, bucket)),
        })
    }
}
