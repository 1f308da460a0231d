//! A cache in a directory: an OCI image layout, as `--cache-to type=local,dest=DIR` writes it.
//!
//! The same questions as of one in a registry, answered by files. Source: `client/solve.go` of BuildKit (which manifest a tag
//! means) and the OCI image layout specification.

use std::path::Path;

use serde::Deserialize;

use super::manifest::{Descriptor, Manifest, null_is_default};
use super::probe::{BUILDKIT_LIMIT, CACHE_CONFIG, Probe, stacked};
use super::problem::{Problem, ProblemKind};
use super::{cacheconfig, layer::Layer};
use crate::digest;
use crate::foreign;
use crate::targets::Donor;

/// How an index names a manifest.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Bytes of the largest index that is read; each export to the same directory may add a manifest.
const INDEX_LIMIT: u64 = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Index {
    #[serde(default, deserialize_with = "null_is_default")]
    manifests: Vec<Descriptor>,
}

/// Looks at the cache in a directory: the manifest of the import's digest, else that of its tag. Reads no layer.
pub(super) fn probe(donor: &Donor) -> Probe {
    let mut probe = Probe::of(&donor.reference);
    probe.problem = look(&mut probe, donor).err();
    probe
}

fn look(probe: &mut Probe, donor: &Donor) -> Result<(), Problem> {
    let directory = Path::new(&donor.reference);
    let digest = match donor.attributes.get("digest").filter(|digest| !digest.is_empty()) {
        Some(digest) => digest.clone(),
        None => tagged(directory, donor.attributes.get("tag").map_or("latest", String::as_str))?,
    };
    let bytes = blob(directory, &digest, "manifest", ProblemKind::ManifestTooLarge)?;
    probe.digest = Some(digest);
    let manifest = Manifest::parse(&bytes).map_err(|why| Problem::invalid(&why))?;
    let (config, described) = match manifest {
        Manifest::Image { config, layers } => (config, layers),
        // BuildKit takes the last one.
        Manifest::Index { manifests } => (manifests.iter().rfind(is_config).cloned(), manifests),
    };
    let Some(config) = config.filter(|config| is_config(&config)) else {
        return Err(Problem::not_a_cache("its manifest has no cache config"));
    };
    let layers = described.iter().filter(|descriptor| !is_config(descriptor)).map(Layer::of);
    let layers = layers.collect::<Result<Vec<_>, _>>().map_err(|why| Problem::invalid(&why))?;
    let bytes = blob(directory, &config.digest, "cache config", ProblemKind::ConfigTooLarge)?;
    let named = cacheconfig::check(&bytes).map_err(|why| Problem::invalid(&why))?;
    probe.stacked = stacked(&layers, named);
    probe.layers = layers;
    let absent = |layer: &&Layer| {
        let path = digest::blob_path(directory, &layer.digest);
        !path.and_then(|path| path.metadata().ok()).is_some_and(|file| file.is_file() && file.len() == layer.size)
    };
    let of = probe.layers().len();
    probe.missing = probe.layers().into_iter().filter(absent).map(|layer| layer.digest.clone()).collect();
    match probe.missing.is_empty() {
        true => Ok(()),
        false => Err(Problem::missing(&probe.missing, of, &directory.display().to_string())),
    }
}

fn is_config(descriptor: &&Descriptor) -> bool {
    descriptor.media_type == CACHE_CONFIG
}

/// The digest of the manifest that a tag means. An export without a tag is `latest`.
fn tagged(directory: &Path, tag: &str) -> Result<String, Problem> {
    let path = directory.join("index.json");
    let index = foreign::read_regular(&path, INDEX_LIMIT).map_err(|error| Problem::no_layout(&format!("{error:#}")))?;
    let index: Index = serde_json::from_slice(&index)
        .map_err(|error| Problem::no_layout(&format!("{} is not an index: {error}", path.display())))?;
    let named =
        index.manifests.into_iter().find(|manifest| manifest.annotations.get(NAME).is_some_and(|name| name == tag));
    named
        .map(|manifest| manifest.digest)
        .ok_or_else(|| Problem::no_layout(&format!("{} has no `{tag}`", path.display())))
}

/// A blob that is no layer.
fn blob(directory: &Path, digest: &str, what: &str, too_large: ProblemKind) -> Result<Vec<u8>, Problem> {
    let path = digest::blob_path(directory, digest)
        .ok_or_else(|| Problem::no_layout(&format!("`{digest:.80}` is no digest")))?;
    if let Some(large) = path.metadata().ok().map(|file| file.len()).filter(|size| *size > BUILDKIT_LIMIT) {
        return Err(Problem::too_large(too_large, large));
    }
    let bytes = foreign::read_regular(&path, BUILDKIT_LIMIT);
    let bytes = bytes.map_err(|error| Problem::no_layout(&format!("its {what} cannot be read: {error:#}")))?;
    match digest::sha256(&bytes) == digest || !digest.starts_with("sha256:") {
        true => Ok(bytes),
        false => Err(Problem::invalid(&format!("its {what} is not what its digest says"))),
    }
}
