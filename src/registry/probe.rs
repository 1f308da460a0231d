//! Is this donor any use? Asked before solving, because BuildKit goes on without a cache it cannot import.
//!
//! **Invariant:** a donor without a problem can be imported: its manifest and config are BuildKit's size and shape,
//! and every blob they name was there a moment ago. It deliberately does not decide what an unusable donor means.
//! Source: `cache/remotecache/import.go` of BuildKit.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use serde::Deserialize;

use super::cacheconfig::{self, NamedLayer};
use super::client::{Client, RawManifest, Repository};
use super::error::Fault;
use super::layer::{Layer, StackedLayer};
use super::layout;
use super::manifest::{Descriptor, Manifest, is_image, is_index, null_is_default};
use super::problem::{Problem, ProblemKind};
use super::reference::Reference;
use crate::targets::{Donor, DonorKind};

/// BuildKit reads no larger cache manifest or cache config, in bytes.
pub(crate) const BUILDKIT_LIMIT: u64 = 1024 * 1024;
/// Registries hold no larger manifests; one beyond BuildKit's limit is read so that its size can be told.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// The config of an image with an inline cache has no limit in BuildKit; ours keeps memory bounded.
const IMAGE_CONFIG_LIMIT: u64 = 8 * 1024 * 1024;
/// Blobs asked for at the same time.
const PARALLEL: usize = 16;
/// Platforms, attestations and nested indexes of one image.
const MANIFESTS_OF_AN_IMAGE: usize = 256;
pub(super) const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// What we know of one donor.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Its canonical reference; as it was given when it is not one, as that of a directory.
    pub(crate) reference: String,
    /// The digest of its manifest, as far as we got.
    pub(crate) digest: Option<String>,
    /// The layers of its cache, or of the inline caches of all its platforms; empty when we did not get that far.
    pub(super) layers: Vec<Layer>,
    /// How they lie on each other; empty when we did not get that far.
    pub(crate) stacked: Vec<StackedLayer>,
    /// Blobs that are gone from the registry.
    pub(crate) missing: Vec<String>,
    /// Why BuildKit could not import it; `None` when it can.
    pub(crate) problem: Option<Problem>,
}

impl Probe {
    /// Of a donor that nobody looked at yet.
    pub(super) fn of(reference: &str) -> Probe {
        Probe {
            reference: reference.to_owned(),
            digest: None,
            layers: Vec::new(),
            stacked: Vec::new(),
            missing: Vec::new(),
            problem: None,
        }
    }

    /// Whether BuildKit can import it.
    pub(crate) fn usable(&self) -> bool {
        self.problem.is_none()
    }

    /// Its layers, each blob once.
    pub(crate) fn layers(&self) -> Vec<&Layer> {
        let mut seen = HashSet::new();
        self.layers.iter().filter(|layer| seen.insert(&layer.digest)).collect()
    }

    /// The compressed bytes of its layers, each blob once.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers().iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// Looks at donors all at once, as [`probe`] looks at one in a registry.
pub(crate) async fn probe_all<'d>(client: &Client, donors: impl Iterator<Item = &'d Donor>) -> Vec<Probe> {
    let look = |donor: &'d Donor| async {
        match donor.kind {
            DonorKind::Registry => probe(client, &donor.reference, donor.is_insecure()).await,
            DonorKind::Local => {
                let donor = donor.clone();
                let looked = tokio::task::spawn_blocking(move || layout::probe(&donor)).await;
                looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
            }
        }
    };
    futures::future::join_all(donors.map(look)).await
}

/// Looks at one donor. `insecure` is the import's `registry.insecure=true`. Never fails: what goes wrong is the
/// probe's [`Probe::problem`].
async fn probe(client: &Client, reference: &str, insecure: bool) -> Probe {
    let mut probe = Probe::of(reference);
    match Reference::parse(reference) {
        Ok(reference) => {
            probe.reference = reference.to_string();
            let repository = client.repository(&reference, insecure);
            probe.problem = look(&mut probe, &reference, &repository).await.err();
        }
        Err(why) => probe.problem = Some(Problem::bad_reference(&why)),
    }
    probe
}

async fn look(probe: &mut Probe, reference: &Reference, repository: &Repository) -> Result<(), Problem> {
    let raw = match repository.manifest(reference.object(), MANIFEST_LIMIT).await {
        Ok(raw) => raw,
        Err(error) => {
            return Err(match error.fault {
                Fault::TooLarge { size, .. } => Problem::too_large(ProblemKind::ManifestTooLarge, size),
                _ => Problem::of(&error, reference, &format!("the manifest `{}`", reference.object())),
            });
        }
    };
    probe.digest = Some(raw.digest.clone());
    if raw.bytes.len() as u64 > BUILDKIT_LIMIT {
        return Err(Problem::too_large(ProblemKind::ManifestTooLarge, raw.bytes.len() as u64));
    }
    let manifest = Manifest::parse(&raw.bytes).map_err(|why| Problem::invalid(&why))?;
    let config = match &manifest {
        Manifest::Image { config, .. } => config.as_ref().filter(|config| config.media_type == CACHE_CONFIG),
        // BuildKit takes the last one.
        Manifest::Index { manifests } => manifests.iter().rfind(|descriptor| descriptor.media_type == CACHE_CONFIG),
    };
    match config {
        Some(config) => {
            let described = match &manifest {
                Manifest::Image { layers, .. } => layers,
                Manifest::Index { manifests } => manifests,
            };
            let layers = described.iter().filter(|descriptor| descriptor.media_type != CACHE_CONFIG).map(Layer::of);
            let layers = layers.collect::<Result<Vec<_>, _>>();
            let named = cache_config(reference, repository, config).await?;
            probe.layers = layers.map_err(|why| Problem::invalid(&why))?;
            probe.stacked = stacked(&probe.layers, named);
        }
        None => {
            for layers in inline(reference, repository, raw).await? {
                let start = probe.stacked.len();
                let below = |place: usize| place.checked_sub(1).map(|below| start + below);
                let placed = layers.iter().cloned().enumerate();
                probe.stacked.extend(placed.map(|(place, layer)| StackedLayer { layer, below: below(place) }));
                probe.layers.extend(layers);
            }
        }
    }
    let digests: Vec<String> =
        probe.layers().iter().filter(|layer| !layer.foreign).map(|layer| layer.digest.clone()).collect();
    probe.missing = missing(reference, repository, &digests).await?;
    match probe.missing.is_empty() {
        true => Ok(()),
        false => Err(Problem::missing(&probe.missing, digests.len(), reference.host())),
    }
}

/// The layers a config names, with what the manifest says of them. One that the manifest does not describe cannot be
/// imported, and neither can what lies on it.
pub(super) fn stacked(described: &[Layer], named: Vec<NamedLayer>) -> Vec<StackedLayer> {
    let by_digest: HashMap<&str, &Layer> = described.iter().map(|layer| (layer.digest.as_str(), layer)).collect();
    let mut importable: Vec<bool> = named.iter().map(|(blob, _)| by_digest.contains_key(blob.as_str())).collect();
    // Parents may stand behind their children; a chain is no longer than the list.
    while let Some(orphan) = (0..named.len())
        .find(|at| importable[*at] && named[*at].1.is_some_and(|below| !importable.get(below).is_some_and(|is| *is)))
    {
        importable[orphan] = false;
    }
    let mut places = vec![0; named.len()];
    let mut kept = 0;
    for (place, is_kept) in places.iter_mut().zip(&importable) {
        *place = kept;
        kept += usize::from(*is_kept);
    }
    let kept = named.into_iter().zip(&importable).filter(|(_, is_kept)| **is_kept);
    kept.filter_map(|((blob, below), _)| {
        let layer = (*by_digest.get(blob.as_str())?).clone();
        Some(StackedLayer { layer, below: below.map(|below| places[below]) })
    })
    .collect()
}

/// A cache's config, if it is one BuildKit would take: the layers it names.
async fn cache_config(
    reference: &Reference,
    repository: &Repository,
    descriptor: &Descriptor,
) -> Result<Vec<NamedLayer>, Problem> {
    if descriptor.size > BUILDKIT_LIMIT {
        return Err(Problem::too_large(ProblemKind::ConfigTooLarge, descriptor.size));
    }
    let bytes = match repository.blob(&descriptor.digest, BUILDKIT_LIMIT).await {
        Ok(bytes) => bytes,
        Err(error) => {
            return Err(match error.fault {
                Fault::TooLarge { size, .. } => Problem::too_large(ProblemKind::ConfigTooLarge, size),
                Fault::NotFound { .. } => {
                    Problem::missing(std::slice::from_ref(&descriptor.digest), 1, reference.host())
                }
                _ => Problem::of(&error, reference, "the cache config"),
            });
        }
    };
    if bytes.len() as u64 != descriptor.size {
        let why =
            format!("the manifest says that the config has {} bytes, and it has {}", descriptor.size, bytes.len());
        return Err(Problem::invalid(&why));
    }
    cacheconfig::check(&bytes).map_err(|why| Problem::invalid(&why))
}

/// An image's config, as far as an inline cache needs it.
#[derive(Deserialize)]
struct ImageConfig {
    #[serde(default, deserialize_with = "null_is_default")]
    rootfs: RootFs,
    #[serde(rename = "moby.buildkit.cache.v0")]
    cache: Option<String>,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "null_is_default")]
    diff_ids: Vec<String>,
}

/// The layers of an image with an inline cache, or of each such image of an index.
async fn inline(
    reference: &Reference,
    repository: &Repository,
    first: RawManifest,
) -> Result<Vec<Vec<Layer>>, Problem> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([first.digest.clone()]);
    let mut waiting = vec![first];
    while let Some(raw) = waiting.pop() {
        match Manifest::parse(&raw.bytes).map_err(|why| Problem::invalid(&why))? {
            Manifest::Image { config: Some(config), layers } if !layers.is_empty() => {
                found.push(inline_of(reference, repository, &config, &layers).await?);
            }
            Manifest::Image { .. } => {}
            Manifest::Index { manifests } => {
                for descriptor in manifests {
                    if !is_image(&descriptor.media_type) && !is_index(&descriptor.media_type) {
                        return Err(Problem::not_a_cache(&format!(
                            "it is an index of `{:.80}`",
                            descriptor.media_type
                        )));
                    }
                    if !seen.insert(descriptor.digest.clone()) {
                        continue;
                    }
                    if seen.len() > MANIFESTS_OF_AN_IMAGE {
                        return Err(Problem::not_a_cache("it has too many manifests for an image"));
                    }
                    let raw = repository.manifest(&descriptor.digest, MANIFEST_LIMIT).await;
                    waiting.push(raw.map_err(|error| {
                        Problem::of(&error, reference, &format!("the manifest {}", descriptor.digest))
                    })?);
                }
            }
        }
    }
    match found.iter().all(Vec::is_empty) {
        true => Err(Problem::not_a_cache("it is an image without an inline cache, or something else altogether")),
        false => Ok(found),
    }
}

/// The layers of one image; none when it has no inline cache.
async fn inline_of(
    reference: &Reference,
    repository: &Repository,
    config: &Descriptor,
    layers: &[Descriptor],
) -> Result<Vec<Layer>, Problem> {
    let bytes = match repository.blob(&config.digest, IMAGE_CONFIG_LIMIT).await {
        Ok(bytes) => bytes,
        Err(error) => {
            return Err(match error.fault {
                Fault::TooLarge { .. } => Problem::not_a_cache("its config is too large for an image's"),
                Fault::NotFound { .. } => Problem::missing(std::slice::from_ref(&config.digest), 1, reference.host()),
                _ => Problem::of(&error, reference, "the image config"),
            });
        }
    };
    let Ok(image) = serde_json::from_slice::<ImageConfig>(&bytes) else {
        return Err(Problem::not_a_cache("its config is not an image's"));
    };
    // BuildKit passes over an image whose parts do not match, and over one without a cache.
    let Some(cache) = image.cache.filter(|_| image.rootfs.diff_ids.len() == layers.len()) else {
        return Ok(Vec::new());
    };
    let records = STANDARD
        .decode(&cache)
        .map_err(|_| Problem::invalid("the inline cache is not base64 as BuildKit writes it"))?;
    cacheconfig::check_inline(&records, layers.len()).map_err(|why| Problem::invalid(&why))?;
    let layers = layers.iter().zip(&image.rootfs.diff_ids).map(|(layer, diff_id)| Layer::with_diff_id(layer, diff_id));
    layers.collect::<Result<_, _>>().map_err(|why| Problem::invalid(&why))
}

/// Asks for each blob; the ones the registry does not have.
async fn missing(reference: &Reference, repository: &Repository, digests: &[String]) -> Result<Vec<String>, Problem> {
    let answers = futures::stream::iter(digests)
        .map(|digest| async move { (digest, repository.blob_size(digest).await) })
        .buffered(PARALLEL);
    let mut answers = std::pin::pin!(answers);
    let mut missing = Vec::new();
    while let Some((digest, answer)) = answers.next().await {
        match answer {
            Ok(_) => {}
            Err(error) if matches!(error.fault, Fault::NotFound { .. }) => missing.push(digest.clone()),
            // What stopped one will stop the others; do not wait for each of them.
            Err(error) => return Err(Problem::unchecked(&error, reference, digest)),
        }
    }
    Ok(missing)
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
