//! What a BuildKit does not find of a root that others wrote.

use std::path::Path;

use crate::era::Era;
use crate::inspect::{self, Record, RecordType};

/// Layers that are unpacked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    /// How many at most.
    pub(crate) layers: usize,
    /// Bytes of their unpacked files.
    pub(crate) bytes: u64,
}

/// What a BuildKit of this version unpacks again of a worker's layers when it imports a cache; none where it finds
/// everything. A root that cannot be read is for others to tell of.
pub(crate) fn unpacked_again(root: &Path, worker_id: &str, version: &str) -> Option<Again> {
    if Era::of(version).finds_legacy_layers() {
        return None;
    }
    let state = inspect::read(root).ok()?;
    let worker = state.worker_with_id(worker_id)?;
    let is_lost = |record: &&Record| {
        let in_caches = record.is_layer() && record.record_type != RecordType::Frontend;
        record.legacy && in_caches && record.class.is_extracted() && !worker.is_superseded(record)
    };
    let sizes: Vec<u64> = worker.records.values().filter(is_lost).map(|it| it.unpacked_bytes_on_disk).collect();
    (!sizes.is_empty()).then(|| Again { layers: sizes.len(), bytes: sizes.iter().sum() })
}
