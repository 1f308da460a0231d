//! What a run moved over the network, and from where.

use serde::Serialize;

/// What went over the network.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Transfer {
    /// Bytes of blobs that were fetched, compressed.
    pub(crate) bytes: u64,
    /// Blobs that were fetched.
    pub(crate) blobs: usize,
    /// Layers that were unpacked.
    pub(crate) extracted: usize,
    /// What came from each source, donors first.
    pub(crate) sources: Vec<TransferSource>,
    /// Attempts that failed, or stood still, and were made again.
    pub(crate) failed_attempts: usize,
    /// From the first byte asked for to the last blob's end.
    pub(crate) seconds: f64,
    /// Median time a blob took, in seconds.
    pub(crate) p50: f64,
    /// 95th percentile.
    pub(crate) p95: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
}

/// What came from one source.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct TransferSource {
    /// The donor's reference; `images` for base images and frontends.
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    /// Bytes of blobs, compressed.
    pub(crate) bytes: u64,
    /// Blobs.
    pub(crate) blobs: usize,
}
