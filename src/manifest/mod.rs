//! What a warm run promised: which steps were found warm, by what, on which builder. Written only by a run that ended
//! warm, so that whoever reads it later can hold a state root against it.
//!
//! Build arguments are not in it: they may be secrets.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::failure::{Explain, Kind};

/// The version of the format.
const SCHEMA: u32 = 1;

/// The promise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The version of the format.
    pub(crate) schema: u32,
    /// cachewarm's version.
    pub(crate) version: String,
    /// When it was made, in UTC.
    pub(crate) created_at: String,
    /// What BuildKit said of itself.
    pub(crate) buildkit_version: String,
    /// The repository without credentials, or the directory.
    pub(crate) source: String,
    /// The commit, when it is known.
    pub(crate) commit: Option<String>,
    /// The donors: reference and digest.
    pub(crate) donors: Vec<(String, Option<String>)>,
    /// Hits among the steps, 0 to 1.
    pub(crate) hit_rate: f64,
    /// The steps, each after those it is made from.
    pub(crate) steps: Vec<PromisedStep>,
    /// The ids of the cache records that were found extracted: the layers of all steps and of frontends.
    pub(crate) records: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PromisedStep {
    /// The LLB vertex digest. It changes with every run for what is made from a directory of ours.
    pub(crate) digest: String,
    /// As BuildKit shows it.
    pub(crate) name: String,
    /// The targets whose graph has it.
    pub(crate) targets: Vec<String>,
}

impl Manifest {
    /// A manifest of now that promises nothing yet.
    pub(crate) fn new() -> Manifest {
        Manifest {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: jiff::Timestamp::now().to_string(),
            buildkit_version: String::new(),
            source: String::new(),
            commit: None,
            donors: Vec::new(),
            hit_rate: 0.0,
            steps: Vec::new(),
            records: Vec::new(),
        }
    }

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

    fn try_read(path: &Path) -> anyhow::Result<Manifest> {
        let manifest: Manifest = serde_json::from_slice(&std::fs::read(path)?)?;
        ensure!(manifest.schema == SCHEMA, "it has schema {}, and this version knows {SCHEMA}", manifest.schema);
        Ok(manifest)
    }

    /// Writes it in one piece or not at all.
    ///
    /// # Errors
    /// Explained: when the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        self.try_write(path).explain(
            Kind::Environment,
            format!("could not write the manifest {}", path.display()),
            "name a file you may write with --manifest, or write none with --manifest none",
        )
    }

    fn try_write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let readable = Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_written_whole_with_its_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/manifest.json");
        let step = PromisedStep { digest: "sha256:1".into(), name: "[a 1/1] RUN x".into(), targets: vec!["t".into()] };
        Manifest { steps: vec![step], ..Manifest::new() }.write(&path).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((read["schema"].as_u64(), read["steps"][0]["name"].as_str()), (Some(1), Some("[a 1/1] RUN x")));
        assert_eq!(Manifest::read(&path).unwrap().steps[0].targets, ["t"]);
    }

    #[test]
    fn a_file_that_is_no_manifest_of_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let newer = serde_json::to_string(&Manifest { schema: 2, ..Manifest::new() }).unwrap();
        for (text, why) in [("{}", "missing field"), ("no json", "expected"), (newer.as_str(), "it has schema 2")] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Manifest::read(&path).unwrap_err());
            assert!(error.contains("could not use the manifest") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_written_says_how_to_do_without() {
        let error = Manifest::new().write(Path::new("/proc/nowhere/manifest.json")).unwrap_err();
        assert!(crate::failure::Failure::of(&error).unwrap().hint.contains("--manifest none"));
    }
}
