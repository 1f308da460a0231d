//! The manifest's file: read with its version looked at first, written whole or not at all.

use std::path::Path;

use anyhow::ensure;

use super::marks::is_keyed;
use super::{Manifest, Marks, SCHEMA};
use crate::failure::{Explain, Kind};
use crate::{beneath, document};

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// Explained: when it cannot be read, is none, or is of a version we do not know.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Manifest> {
        Manifest::try_read(path).explain(
            Kind::Usage,
            format!("could not use the manifest {}", path.display()),
            "name the file that `cachewarm warm --manifest FILE` wrote when it ended warm",
        )
    }

    /// Reads one if it is there.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub(crate) fn read_if_there(path: &Path) -> anyhow::Result<Option<Manifest>> {
        if path.exists() { Manifest::read(path).map(Some) } else { Ok(None) }
    }

    fn try_read(path: &Path) -> anyhow::Result<Manifest> {
        let manifest: Manifest = serde_json::from_slice(&std::fs::read(path)?)?;
        ensure!(manifest.schema == SCHEMA, "it has schema {}, and this version knows {SCHEMA}", manifest.schema);
        let steps = manifest.steps.len();
        let inputs =
            manifest.steps.iter().enumerate().flat_map(|(place, step)| step.inputs.iter().map(move |i| (place, i)));
        for (place, input) in inputs {
            ensure!(input.step < place, "its step {place} is made from a later one");
        }
        let mut contexts = manifest.steps.iter().filter_map(|step| step.context);
        ensure!(
            contexts.all(|context| context < manifest.contexts.len()),
            "one of its {steps} steps names a context it lacks"
        );
        Ok(manifest)
    }

    /// Writes it in one piece or not at all. Where it has keyed hashes, it and their key are for its owner alone: whoever has
    /// both can try values.
    ///
    /// # Errors
    /// Explained: when a file cannot be written.
    pub(crate) fn write(&self, path: &Path, marks: &Marks) -> anyhow::Result<()> {
        let write = || match marks {
            Marks::Keyed(key) if self.texts().any(is_keyed) => {
                document::write(path, self, 0o600)?;
                key.keep_beside(path)
            }
            _ => document::write(path, self, 0o644),
        };
        write().explain(
            Kind::Environment,
            format!("could not write the manifest {}", path.display()),
            "name a file you may write with --manifest, or write none with --manifest none",
        )
    }
}

/// Takes away the seal that lies beside a manifest, or beside the usual one: it is about the root as it was before.
///
/// # Errors
/// Explained: when it is there and cannot be removed.
pub(crate) fn unseal(manifest: Option<&Path>) -> anyhow::Result<()> {
    let marker = document::folder(manifest.unwrap_or(Path::new(super::USUAL))).join("sealed.json");
    match std::fs::remove_file(&marker) {
        Err(error) if !beneath::is_absent(&error) => Err(error).explain(
            Kind::Environment,
            format!("could not remove {}, the seal of the root as it was before", marker.display()),
            "run as root, or remove it",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Step;

    #[test]
    fn a_manifest_is_written_whole_with_its_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/manifest.json");
        let step = r#"{"digest": "sha256:1", "name": "[a 1/1] RUN x", "targets": ["t"]}"#;
        let step: Step = serde_json::from_str(step).unwrap();
        Manifest { steps: vec![step], ..Manifest::new() }.write(&path, &Marks::Masked).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((read["schema"].as_u64(), read["steps"][0]["name"].as_str()), (Some(1), Some("[a 1/1] RUN x")));
        assert_eq!(Manifest::read(&path).unwrap().steps[0].targets, ["t"]);
        assert!(Manifest::read_if_there(&path).unwrap().is_some());
        assert!(Manifest::read_if_there(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_no_manifest_of_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let newer = serde_json::to_string(&Manifest { schema: 2, ..Manifest::new() }).unwrap();
        let mut odd = serde_json::to_value(Manifest::new()).unwrap();
        odd["steps"] = serde_json::json!([{"digest": "", "name": "", "targets": [], "inputs": [{"step": 0}]}]);
        let lost = odd.to_string().replace("[{\"step\":0}]", "[],\"context\":3");
        let odd = odd.to_string();
        for (text, why) in [
            ("{}", "missing field"),
            ("no json", "expected"),
            (newer.as_str(), "it has schema 2"),
            (odd.as_str(), "made from a later one"),
            (lost.as_str(), "a context it lacks"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Manifest::read(&path).unwrap_err());
            assert!(error.contains("could not use the manifest") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_written_says_how_to_do_without() {
        let error = Manifest::new().write(Path::new("/proc/nowhere/manifest.json"), &Marks::Masked).unwrap_err();
        assert!(crate::failure::Failure::of(&error).unwrap().hint.contains("--manifest none"));
    }
}
