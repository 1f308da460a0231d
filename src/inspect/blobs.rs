//! The compressed blobs of a worker: what its content store lists, and what lies on disk.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, statat};

use super::bolt::Bucket;
use super::snapshots::signed_varint;

/// What is there of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blob {
    /// The content store does not know it.
    Absent,
    /// The content store lists it, and its file is missing or of another size.
    Damaged,
    /// Its file is there with the size the content store says; in bytes.
    Present(u64),
}

/// The label that ties a blob to the same layer in another compression (`cache/refs.go` of BuildKit).
const VARIANT: &[u8] = b"containerd.io/gc.ref.content.blob-";

/// The blobs of a worker.
#[derive(Debug)]
pub(super) struct Blobs {
    directory: PathBuf,
    /// The directory of nearly all blobs, from which each is one step away instead of ten.
    sha256: Option<File>,
    /// Bytes by digest, as the content store lists them.
    listed: HashMap<String, u64>,
    /// Those of other namespaces, which lie in the same directory: BuildKit's history keeps build records.
    elsewhere: HashMap<String, u64>,
    /// The same layer in other compressions, of the few blobs that have any.
    variants: HashMap<String, Vec<String>>,
}

impl Blobs {
    /// Reads the list of the content store in `directory`; `namespaces` is `v1` of `containerdmeta.db`, absent in a store that
    /// lists nothing.
    pub(super) fn read(namespaces: Option<Bucket<'_>>, directory: PathBuf) -> Blobs {
        let sha256 = File::open(directory.join("blobs/sha256")).ok();
        let (listed, elsewhere, variants) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut found = Blobs { directory, sha256, listed, elsewhere, variants };
        for (name, namespace) in namespaces.into_iter().flat_map(Bucket::buckets) {
            found.read_namespace(namespace, name == b"buildkit");
        }
        found
    }

    fn read_namespace(&mut self, namespace: Bucket<'_>, is_cache: bool) {
        for (digest, blob) in namespace.path(["content", "blob"]).into_iter().flat_map(Bucket::buckets) {
            let size = blob.get(b"size").and_then(signed_varint).and_then(|size| u64::try_from(size).ok());
            let (Ok(digest), Some(size)) = (std::str::from_utf8(digest), size) else { continue };
            if !is_cache {
                self.elsewhere.insert(digest.to_owned(), size);
                continue;
            }
            self.listed.insert(digest.to_owned(), size);
            let labels = blob.bucket(b"labels").into_iter().flat_map(Bucket::values);
            let variants = labels.filter(|(label, _)| label.starts_with(VARIANT));
            let variants: Vec<String> =
                variants.map(|(_, other)| String::from_utf8_lossy(other).into_owned()).collect();
            if !variants.is_empty() {
                self.variants.insert(digest.to_owned(), variants);
            }
        }
    }

    /// Bytes of a blob and of its variants, as the content store lists them.
    pub(super) fn bytes_with_variants(&self, digest: &str) -> u64 {
        let (mut seen, mut next) = (HashSet::from([digest]), vec![digest]);
        let mut bytes = 0u64;
        while let Some(digest) = next.pop() {
            bytes = bytes.saturating_add(self.listed.get(digest).copied().unwrap_or_default());
            let variants = self.variants.get(digest).into_iter().flatten().map(String::as_str);
            next.extend(variants.filter(|variant| seen.insert(variant)));
        }
        bytes
    }

    /// Looks for a blob.
    pub(super) fn state(&self, digest: &str) -> Blob {
        let Some(size) = self.listed.get(digest) else { return Blob::Absent };
        match self.bytes_on_disk(digest) {
            Some(bytes) if bytes == *size => Blob::Present(*size),
            _ => Blob::Damaged,
        }
    }

    /// The blobs of the cache that the content store lists and whose files are missing or of another size.
    pub(super) fn damaged(&self) -> impl Iterator<Item = &str> {
        self.listed.keys().map(String::as_str).filter(|digest| self.state(digest) == Blob::Damaged)
    }

    fn bytes_on_disk(&self, digest: &str) -> Option<u64> {
        let path = self.path(digest)?;
        let name = path.file_name()?;
        if let (Some(directory), true) = (&self.sha256, digest.starts_with("sha256:")) {
            let found = statat(directory, name, AtFlags::empty()).ok()?;
            let is_file = FileType::from_raw_mode(found.st_mode).is_file();
            return u64::try_from(found.st_size).ok().filter(|_| is_file);
        }
        let found = path.metadata().ok()?;
        found.is_file().then_some(found.len())
    }

    /// Every blob the content store lists, for whatever: digest, bytes, and where its file belongs.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&str, u64, PathBuf)> {
        self.listed
            .iter()
            .chain(self.only_elsewhere())
            .filter_map(|(digest, size)| Some((digest.as_str(), *size, self.path(digest)?)))
    }

    /// The files of BuildKit's history: build records, logs, provenance.
    pub(super) fn of_history(&self) -> impl Iterator<Item = PathBuf> {
        self.only_elsewhere().filter_map(|(digest, _)| self.path(digest))
    }

    fn only_elsewhere(&self) -> impl Iterator<Item = (&String, &u64)> {
        self.elsewhere.iter().filter(|(digest, _)| !self.listed.contains_key(*digest))
    }

    /// Where the content store keeps its files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the content store lists this blob, for whatever.
    pub(super) fn lists(&self, digest: &str) -> bool {
        self.listed.contains_key(digest) || self.elsewhere.contains_key(digest)
    }

    /// Where the file of a blob belongs; nowhere when it is no digest.
    pub(super) fn path(&self, digest: &str) -> Option<PathBuf> {
        let (algorithm, hex) = digest.split_once(':')?;
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (plain(algorithm) && plain(hex)).then(|| self.directory.join("blobs").join(algorithm).join(hex))
    }
}
