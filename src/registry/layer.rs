//! A layer of a cache, as its manifest describes it.
//!
//! **Invariant:** a [`Layer`] has a diff id, so BuildKit can use it. Pure.

use super::manifest::Descriptor;
use crate::digest::is_digest;

/// The annotation with a layer's diff id, without which BuildKit cannot use the layer.
const DIFF_ID: &str = "containerd.io/uncompressed";

/// One layer's blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The digest of the compressed blob.
    pub(crate) digest: String,
    /// Its compressed bytes.
    pub(crate) size: u64,
    /// The digest of the unpacked archive.
    pub(crate) diff_id: String,
    /// It may be fetched from elsewhere, so the registry need not have it.
    pub(crate) foreign: bool,
}

/// A layer in its place. The same blob may lie on several layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StackedLayer {
    /// The layer.
    pub(crate) layer: Layer,
    /// The one below it, by its place in the list; none for a lowest one. No layer lies on itself.
    pub(crate) below: Option<usize>,
}

impl Layer {
    /// The layer of a cache's manifest, whose diff id is an annotation.
    ///
    /// # Errors
    /// One sentence, when the descriptor does not say the diff id.
    pub(super) fn of(descriptor: &Descriptor) -> Result<Layer, String> {
        Layer::with_diff_id(descriptor, descriptor.annotations.get(DIFF_ID).map_or("", String::as_str))
    }

    /// The layer of an image, whose diff id is in the image's config.
    ///
    /// # Errors
    /// One sentence, when that is no diff id.
    pub(super) fn with_diff_id(descriptor: &Descriptor, diff_id: &str) -> Result<Layer, String> {
        if !is_digest(diff_id) {
            return Err(format!("layer {} of the cache has no diff id", descriptor.digest));
        }
        Ok(Layer {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            diff_id: diff_id.to_owned(),
            foreign: !descriptor.urls.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_without_a_diff_id_is_refused() {
        let mut descriptor = Descriptor {
            media_type: String::new(),
            digest: format!("sha256:{:064x}", 1),
            size: 1,
            annotations: Default::default(),
            urls: Vec::new(),
        };
        assert!(Layer::of(&descriptor).unwrap_err().contains("no diff id"));
        descriptor.annotations.insert(DIFF_ID.to_owned(), format!("sha256:{:064x}", 2));
        assert!(Layer::of(&descriptor).is_ok());
    }
}
