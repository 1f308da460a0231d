//! A real state root for tests: the databases of buildkitd 0.32.2 while it ran, after a cache was imported, one chain
//! was opened, one exported, one only matched (`bbolt compact`ed). The layers themselves are made anew, empty.

use std::fs::{self, File};

use super::bolt::Database;
use super::snapshots::signed_varint;

pub(crate) const CACHE: &[u8] = include_bytes!("../../tests/fixtures/state-root/cache.db");
pub(crate) const CONTAINERD: &[u8] = include_bytes!("../../tests/fixtures/state-root/containerdmeta.db");
const METADATA: &[u8] = include_bytes!("../../tests/fixtures/state-root/metadata_v2.db");
const SNAPSHOTS: &[u8] = include_bytes!("../../tests/fixtures/state-root/snapshots-metadata.db");
pub(crate) const WORKER: &str = "wuulu8q9zckpwbqrztbscafu4";

/// The state root with every snapshot directory and every blob that its databases list.
pub(crate) fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let worker = root.path().join("runc-overlayfs");
    for number in 1..=8 {
        fs::create_dir_all(worker.join(format!("snapshots/snapshots/{number}/fs"))).unwrap();
    }
    fs::write(root.path().join("cache.db"), CACHE).unwrap();
    fs::write(worker.join("workerid"), WORKER).unwrap();
    fs::write(worker.join("metadata_v2.db"), METADATA).unwrap();
    fs::write(worker.join("containerdmeta.db"), CONTAINERD).unwrap();
    fs::write(worker.join("snapshots/metadata.db"), SNAPSHOTS).unwrap();
    fs::create_dir_all(worker.join("content/blobs/sha256")).unwrap();
    let containerd = Database::from_bytes(CONTAINERD.to_vec()).unwrap();
    for (digest, blob) in containerd.root().path(["v1", "buildkit", "content", "blob"]).unwrap().buckets() {
        let size = signed_varint(blob.get(b"size").unwrap()).unwrap();
        let path = worker.join("content/blobs").join(std::str::from_utf8(digest).unwrap().replace(':', "/"));
        File::create(path).unwrap().set_len(size as u64).unwrap();
    }
    root
}
