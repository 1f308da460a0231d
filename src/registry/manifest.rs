//! Image manifests and indexes, as far as a cache needs them.
//!
//! **Invariant:** every digest in a parsed manifest is well-formed, so it may stand in an address. Pure.
//! Sources: the OCI image specification, and `DetectManifestBlobMediaType` in `util/imageutil/config.go` of BuildKit,
//! which goes by what a manifest holds rather than by what the registry calls it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::digest::is_digest;

/// What one blob or manifest is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    /// Its media type.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) media_type: String,
    /// `sha256:…`.
    pub(crate) digest: String,
    /// In bytes.
    #[serde(default)]
    pub(crate) size: u64,
    /// Whatever its maker noted.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Other places to get it from; a registry need not have such a blob.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) urls: Vec<String>,
}

/// A manifest of either shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// A config and layers.
    Image {
        /// Absent in very odd manifests only.
        config: Option<Descriptor>,
        /// From the lowest to the highest.
        layers: Vec<Descriptor>,
    },
    /// Further manifests, or (in a cache) layers.
    Index {
        /// In the registry's order.
        manifests: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// One sentence: it is no JSON, is both shapes at once, contradicts its own media type, or has a malformed digest.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let shape: Shape =
            serde_json::from_slice(bytes).map_err(|error| format!("the manifest is not one: {error}"))?;
        let image = shape.config.is_some() || shape.layers.is_some();
        if image && shape.manifests.is_some() {
            return Err("the manifest is an image and an index at once".to_owned());
        }
        let says_image = match shape.media_type.as_deref() {
            Some(media_type) if is_image(media_type) => Some(true),
            Some(media_type) if is_index(media_type) => Some(false),
            _ => None,
        };
        if says_image.is_some_and(|says_image| says_image != image) {
            return Err("the manifest's media type contradicts what it holds".to_owned());
        }
        let manifest = match image {
            true => Manifest::Image { config: shape.config, layers: shape.layers.unwrap_or_default() },
            false => Manifest::Index { manifests: shape.manifests.unwrap_or_default() },
        };
        if let Some(wrong) = manifest.descriptors().find(|descriptor| !is_digest(&descriptor.digest)) {
            return Err(format!("`{:.80}` in the manifest is no digest", wrong.digest));
        }
        Ok(manifest)
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, rest) = match self {
            Manifest::Image { config, layers } => (config.as_ref(), layers),
            Manifest::Index { manifests } => (None, manifests),
        };
        config.into_iter().chain(rest)
    }
}

/// Whether this is the media type of an image manifest.
pub(super) fn is_image(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json"
    )
}

/// Whether this is the media type of an index.
pub(super) fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

/// Go writes and reads `null` where we mean "none".
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text.replace("DIGEST", DIGEST).as_bytes())
    }

    #[test]
    fn the_shape_is_told_by_what_a_manifest_holds() {
        assert!(matches!(parse(r#"{"layers": [{"digest": "DIGEST", "size": 3}]}"#), Ok(Manifest::Image { .. })));
        assert!(matches!(parse(r#"{"config": {"digest": "DIGEST"}, "layers": null}"#), Ok(Manifest::Image { .. })));
        assert_eq!(parse(r#"{"manifests": null}"#), Ok(Manifest::Index { manifests: vec![] }));
    }

    #[test]
    fn a_manifest_that_contradicts_itself_or_holds_no_digest_is_refused() {
        assert!(parse(r#"{"layers": [], "manifests": []}"#).is_err());
        assert!(parse(r#"{"mediaType": "application/vnd.oci.image.index.v1+json", "layers": []}"#).is_err());
        assert!(parse(r#"{"layers": [{"digest": "sha256:../../etc", "size": 3}]}"#).is_err());
        assert!(parse(r#"{"layers": [{"digest": "DIGEST", "size": -3}]}"#).is_err());
        assert!(parse("[]").is_err() && parse("").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}:,\"a-z0-9]{0,200}") {
            let _ = Manifest::parse(&bytes);
            let _ = Manifest::parse(text.as_bytes());
        }
    }
}
