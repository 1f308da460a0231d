//! A real state root for tests: the databases of buildkitd 0.32.2 while it ran, after a cache was imported, one chain
//! was opened, one exported, one only matched (`bbolt compact`ed). The layers themselves are made anew, empty.

use std::fs::{self, File};
use std::path::Path;

use super::bolt::Database;
use super::snapshots::{signed_varint, unsigned_varint};

pub(crate) const CACHE: &[u8] = include_bytes!("../../tests/fixtures/state-root/cache.db");
pub(crate) const CONTAINERD: &[u8] = include_bytes!("../../tests/fixtures/state-root/containerdmeta.db");
const METADATA: &[u8] = include_bytes!("../../tests/fixtures/state-root/metadata_v2.db");
const SNAPSHOTS: &[u8] = include_bytes!("../../tests/fixtures/state-root/snapshots-metadata.db");
pub(crate) const WORKER: &str = "wuulu8q9zckpwbqrztbscafu4";

/// The state root with every snapshot directory and every blob that its databases list.
pub(crate) fn root() -> tempfile::TempDir {
    lay_out(&Databases {
        cache: CACHE,
        metadata: METADATA,
        containerd: CONTAINERD,
        snapshots: SNAPSHOTS,
        worker: WORKER,
    })
}

/// What a buildkitd of another version left of the sample (`tests/fixtures/state-roots.sh`): one chain opened, one
/// exported, one only matched.
pub(crate) fn root_of(version: &str) -> tempfile::TempDir {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("state-root-{version}"));
    let file = |name: &str| fs::read(folder.join(name)).unwrap();
    lay_out(&Databases {
        cache: &file("cache.db"),
        metadata: &file("metadata_v2.db"),
        containerd: &file("containerdmeta.db"),
        snapshots: &file("snapshots-metadata.db"),
        worker: std::str::from_utf8(&file("workerid")).unwrap(),
    })
}

struct Databases<'d> {
    cache: &'d [u8],
    metadata: &'d [u8],
    containerd: &'d [u8],
    snapshots: &'d [u8],
    worker: &'d str,
}

fn lay_out(databases: &Databases<'_>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let worker = root.path().join("runc-overlayfs");
    fs::create_dir_all(worker.join("content/blobs/sha256")).unwrap();
    let snapshots = Database::from_bytes(databases.snapshots.to_vec()).unwrap();
    for (_, row) in snapshots.root().path(["v1", "snapshots"]).unwrap().buckets() {
        let number = unsigned_varint(row.get(b"id").unwrap()).unwrap();
        fs::create_dir_all(worker.join(format!("snapshots/snapshots/{number}/fs"))).unwrap();
    }
    fs::write(root.path().join("cache.db"), databases.cache).unwrap();
    fs::write(worker.join("workerid"), databases.worker).unwrap();
    fs::write(worker.join("metadata_v2.db"), databases.metadata).unwrap();
    fs::write(worker.join("containerdmeta.db"), databases.containerd).unwrap();
    fs::write(worker.join("snapshots/metadata.db"), databases.snapshots).unwrap();
    let containerd = Database::from_bytes(databases.containerd.to_vec()).unwrap();
    for (digest, blob) in containerd.root().path(["v1", "buildkit", "content", "blob"]).unwrap().buckets() {
        let size = signed_varint(blob.get(b"size").unwrap()).unwrap();
        let path = worker.join("content/blobs").join(std::str::from_utf8(digest).unwrap().replace(':', "/"));
        File::create(path).unwrap().set_len(size as u64).unwrap();
    }
    root
}
