//! The snapshots of a worker: from the name BuildKit uses, over the key in the snapshotter, to the directory.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, statat};

use super::bolt::{Bucket, Database};
use super::unreadable::Unreadable;
use crate::beneath;

/// containerd's label for a snapshot whose files come over the network when they are read.
const REMOTE: &[u8] = b"containerd.io/snapshot/remote";

/// What may be done with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotKind {
    /// A read-only mount of another one.
    View,
    /// Can be written to.
    Active,
    /// Never changes any more.
    Committed,
}

/// A snapshot in the snapshotter's own database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Its directory's name below [`snapshot_store`].
    pub(crate) number: u64,
    /// What may be done with it.
    pub(crate) kind: SnapshotKind,
    /// Whether the directory with its files is there.
    pub(crate) on_disk: bool,
    /// Whether its files come over the network.
    pub(crate) remote: bool,
    /// Bytes its files take on disk, noted when it was committed; 0 before.
    pub(crate) bytes: u64,
    /// Its files and directories, each hard-linked file once, noted when it was committed; 0 before.
    pub(crate) inodes: u64,
}

/// Where a snapshotter keeps `metadata.db` and the directory `snapshots`.
pub(crate) fn snapshot_store(worker: &Path, snapshotter: &str) -> PathBuf {
    match snapshotter {
        "stargz" => worker.join("snapshots").join("snapshotter"),
        _ => worker.join("snapshots"),
    }
}

/// Where the files of a snapshot lie in its directory.
pub(crate) fn files_directory(directory: &Path, snapshotter: &str) -> PathBuf {
    match snapshotter {
        "overlayfs" | "fuse-overlayfs" | "stargz" => directory.join("fs"),
        _ => directory.to_owned(),
    }
}

/// The snapshots of a worker.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// By the key in the snapshotter.
    rows: HashMap<String, Snapshot>,
    /// From BuildKit's name to the key in the snapshotter.
    keys: HashMap<String, String>,
}

impl Snapshots {
    /// Adds the names to the rows; `namespace` is `v1/buildkit` of `containerdmeta.db`. A remote one is marked in either
    /// database.
    pub(super) fn read(
        namespace: Option<Bucket<'_>>,
        mut rows: HashMap<String, Snapshot>,
        snapshotter: &str,
    ) -> Snapshots {
        let mut keys = HashMap::new();
        let names = namespace.and_then(|namespace| namespace.path(["snapshots", snapshotter]));
        for (name, entry) in names.into_iter().flat_map(Bucket::buckets) {
            let Some(key) = entry.get(b"name").map(text) else { continue };
            if is_remote(entry)
                && let Some(row) = rows.get_mut(&key)
            {
                row.remote = true;
            }
            keys.insert(text(name), key);
        }
        Snapshots { rows, keys }
    }

    /// The snapshot of that name, if the snapshotter has it.
    pub(super) fn named(&self, name: &str) -> Option<&Snapshot> {
        self.rows.get(self.keys.get(name)?)
    }

    /// All snapshots of the snapshotter, also those no name leads to.
    pub(super) fn all(&self) -> impl Iterator<Item = &Snapshot> {
        self.rows.values()
    }

    /// The snapshots that no such name leads to, each with BuildKit's name if it has one.
    pub(super) fn besides(&self, is_used: impl Fn(&str) -> bool) -> Vec<(&str, &Snapshot)> {
        let mut rest: HashMap<&str, &str> = self.rows.keys().map(|key| (key.as_str(), key.as_str())).collect();
        for (name, key) in &self.keys {
            if is_used(name) {
                rest.remove(key.as_str());
            } else if let Some(known) = rest.get_mut(key.as_str()) {
                *known = name;
            }
        }
        rest.into_iter().filter_map(|(key, name)| Some((name, self.rows.get(key)?))).collect()
    }
}

/// What the snapshotter's own database lists, by its key, and whether it is on disk.
///
/// # Errors
/// When it cannot be seen whether a snapshot is on disk.
pub(super) fn rows(
    own: Option<&Database>,
    store: &Path,
    snapshotter: &str,
) -> Result<HashMap<String, Snapshot>, Unreadable> {
    // Looked up from here, each directory is one step away instead of ten.
    let all = store.join("snapshots");
    let directory = Unreadable::unless_absent(&all, beneath::directory(&all))?;
    let is_there = |number: u64| {
        let Some(directory) = &directory else { return Ok(false) };
        let files = files_directory(Path::new(&number.to_string()), snapshotter);
        let found = statat(directory, &files, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from);
        let found = Unreadable::unless_absent(&all.join(files), found)?;
        Ok(found.is_some_and(|found| FileType::from_raw_mode(found.st_mode).is_dir()))
    };
    let listed = own.and_then(|own| own.root().path(["v1", "snapshots"])).into_iter().flat_map(Bucket::buckets);
    let mut rows = HashMap::new();
    for (key, row) in listed {
        if let Some(mut snapshot) = snapshot(row) {
            snapshot.on_disk = is_there(snapshot.number)?;
            rows.insert(text(key), snapshot);
        }
    }
    Ok(rows)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_remote(entry: Bucket<'_>) -> bool {
    entry.bucket(b"labels").is_some_and(|labels| labels.get(REMOTE).is_some())
}

/// A row, as if its directory were not there.
fn snapshot(row: Bucket<'_>) -> Option<Snapshot> {
    let number = unsigned_varint(row.get(b"id")?)?;
    let kind = match row.get(b"kind")? {
        [1] => SnapshotKind::View,
        [2] => SnapshotKind::Active,
        [3] => SnapshotKind::Committed,
        _ => return None,
    };
    let noted = |what: &[u8]| row.get(what).and_then(signed_varint).and_then(|it| u64::try_from(it).ok());
    Some(Snapshot {
        number,
        kind,
        on_disk: false,
        remote: is_remote(row),
        bytes: noted(b"size").unwrap_or_default(),
        inodes: noted(b"inodes").unwrap_or_default(),
    })
}

/// Go's `binary.Uvarint`.
pub(super) fn unsigned_varint(bytes: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate() {
        let part = u64::from(byte & 0x7F);
        let shift = u32::try_from(at * 7).ok()?;
        let shifted = part.checked_shl(shift)?;
        if shifted >> shift != part {
            return None;
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Go's `binary.Varint`: zig-zag.
pub(super) fn signed_varint(bytes: &[u8]) -> Option<i64> {
    let value = unsigned_varint(bytes)?;
    Some(i64::from_ne_bytes((value >> 1).to_ne_bytes()) ^ -i64::from_ne_bytes((value & 1).to_ne_bytes()))
}
