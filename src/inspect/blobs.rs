//! The compressed blobs of a worker: what its content store lists, and what lies on disk.

use std::collections::HashMap;
use std::path::PathBuf;

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

/// The blobs of a worker.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    directory: PathBuf,
    /// Bytes by digest, as the content store lists them.
    listed: HashMap<String, u64>,
}

impl Blobs {
    /// Reads the list of a content store; `namespace` is `v1/buildkit` of `containerdmeta.db`.
    pub(super) fn read(namespace: Bucket<'_>, directory: PathBuf) -> Blobs {
        let listed = namespace.path(["content", "blob"]).map(|blobs| {
            blobs
                .buckets()
                .filter_map(|(digest, blob)| {
                    let size = u64::try_from(signed_varint(blob.get(b"size")?)?).ok()?;
                    Some((String::from_utf8(digest.to_vec()).ok()?, size))
                })
                .collect()
        });
        Blobs { directory, listed: listed.unwrap_or_default() }
    }

    /// Looks for a blob.
    pub(super) fn state(&self, digest: &str) -> Blob {
        let Some(size) = self.listed.get(digest) else { return Blob::Absent };
        let Some(path) = self.path(digest) else { return Blob::Damaged };
        match path.metadata() {
            Ok(file) if file.is_file() && file.len() == *size => Blob::Present(*size),
            _ => Blob::Damaged,
        }
    }

    fn path(&self, digest: &str) -> Option<PathBuf> {
        let (algorithm, hex) = digest.split_once(':')?;
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (plain(algorithm) && plain(hex)).then(|| self.directory.join("blobs").join(algorithm).join(hex))
    }
}
