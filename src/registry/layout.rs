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
use crate::beneath;
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
    if path.symlink_metadata().is_err_and(|error| beneath::is_absent(&error)) {
        return Err(Problem::no_layout(&format!("there is no {}", path.display())));
    }
    let index = foreign::read_regular(&path, INDEX_LIMIT).map_err(|error| Problem::invalid(&format!("{error:#}")))?;
    let index: Index = serde_json::from_slice(&index)
        .map_err(|error| Problem::invalid(&format!("{} is not an index: {error}", path.display())))?;
    let mut manifests = index.manifests.into_iter();
    let named = manifests.find(|manifest| manifest.annotations.get(NAME).is_some_and(|name| name == tag));
    named
        .map(|manifest| manifest.digest)
        .ok_or_else(|| Problem::no_layout(&format!("{} has no `{tag}`", path.display())))
}

/// A blob that is no layer.
fn blob(directory: &Path, digest: &str, what: &str, too_large: ProblemKind) -> Result<Vec<u8>, Problem> {
    let path = digest::blob_path(directory, digest)
        .ok_or_else(|| Problem::invalid(&format!("`{digest:.80}` is no digest")))?;
    match path.metadata() {
        Err(error) if beneath::is_absent(&error) => {
            return Err(Problem::missing(&[digest.to_owned()], 1, &directory.display().to_string()));
        }
        Ok(file) if file.len() > BUILDKIT_LIMIT => return Err(Problem::too_large(too_large, file.len())),
        _ => {}
    }
    let bytes = foreign::read_regular(&path, BUILDKIT_LIMIT);
    let bytes = bytes.map_err(|error| Problem::invalid(&format!("its {what} cannot be read: {error:#}")))?;
    match digest::sha256(&bytes) == digest || !digest.starts_with("sha256:") {
        true => Ok(bytes),
        false => Err(Problem::invalid(&format!("its {what} is not what its digest says"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::targets::flags;

    fn problem(directory: &Path, attributes: &str) -> Option<ProblemKind> {
        let donors = flags::cache_from(&format!("type=local,src={}{attributes}", directory.display())).unwrap();
        probe(&donors[0]).problem.map(|problem| problem.kind)
    }

    #[test]
    fn an_index_names_a_manifest_by_its_tag_and_what_is_no_cache_is_told() {
        let layout = tempfile::tempdir().unwrap();
        assert_eq!(problem(layout.path(), ""), Some(ProblemKind::NotFound));
        let manifest = br#"{"config": null, "layers": []}"#;
        let digest = digest::sha256(manifest);
        let blob = digest::blob_path(layout.path(), &digest).unwrap();
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(blob, manifest).unwrap();
        let named = format!(r#"{{"manifests": [{{"digest": "{digest}", "annotations": {{"{NAME}": "main"}}}}]}}"#);
        fs::write(layout.path().join("index.json"), named).unwrap();
        assert_eq!(problem(layout.path(), ""), Some(ProblemKind::NotFound));
        assert_eq!(problem(layout.path(), ",tag=main"), Some(ProblemKind::NotACache));
        assert_eq!(problem(layout.path(), &format!(",digest={digest}")), Some(ProblemKind::NotACache));
        assert_eq!(problem(layout.path(), ",digest=sha256:../../etc/passwd"), Some(ProblemKind::Invalid));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_of_an_index_make_us_panic(text in "[\\[\\]{}:,\"a-z0-9]{0,200}|\\{\"manifests\": ?[\\[\\]{}:,\"a-z0-9]{0,80}\\}") {
            let layout = tempfile::tempdir().unwrap();
            fs::write(layout.path().join("index.json"), text).unwrap();
            prop_assert!(problem(layout.path(), "").is_some());
        }
    }
}
