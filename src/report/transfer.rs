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
    /// Who fetched the layers, and how that went; absent where nobody was to fetch any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fetch: Option<Fetching>,
}

/// Who fetched layers, and how that went.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Fetching {
    /// `cachewarm`, or `builder`.
    pub(crate) by: &'static str,
    /// Why the builder did.
    pub(crate) why: Option<String>,
    /// Connections that cachewarm fetched over.
    pub(crate) connections: usize,
    /// Blobs that cachewarm put into the builder's store.
    pub(crate) blobs: usize,
    /// Bytes it fetched for that, compressed.
    pub(crate) bytes: u64,
    /// How long that took.
    pub(crate) seconds: f64,
    /// Parts it asked for.
    pub(crate) parts: usize,
    /// How often it asked again.
    pub(crate) retried: usize,
    /// How often of those it went on where a part had broken off.
    pub(crate) resumed: usize,
    /// Blobs that cachewarm left to the builder after all, and why.
    pub(crate) left: Vec<String>,
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

impl Fetching {
    /// Adds what an earlier round of the same run has fetched.
    pub(crate) fn after(mut self, earlier: Fetching) -> Fetching {
        if earlier.blobs > 0 {
            self.by = earlier.by;
            self.connections = earlier.connections;
        }
        self.why = self.why.or(earlier.why);
        self.blobs += earlier.blobs;
        self.bytes += earlier.bytes;
        self.seconds += earlier.seconds;
        self.parts += earlier.parts;
        self.retried += earlier.retried;
        self.resumed += earlier.resumed;
        self.left.extend(earlier.left);
        self
    }
}
