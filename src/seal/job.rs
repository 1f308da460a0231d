//! Everything a seal needs to know.

use std::path::PathBuf;

use super::needles::Known;
use crate::check::Threshold;

/// Everything a seal needs to know; nothing in it was read from the environment below `cli`.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The state root.
    pub(crate) root: PathBuf,
    /// The manifest of the warm run that made it, if there is one to hold it against.
    pub(crate) manifest: Option<PathBuf>,
    /// Whether what can be cleaned is cleaned.
    pub(crate) fix: bool,
    /// The buildkitd that forgets what it has to; the one in `PATH` when absent.
    pub(crate) buildkitd: Option<PathBuf>,
    /// The `buildkitd.toml` of the daemon that will use the root.
    pub(crate) buildkitd_config: Option<PathBuf>,
    /// Where the file system of the machine that becomes an image is mounted; the machine is not looked at when absent.
    pub(crate) system: Option<PathBuf>,
    /// Files and directories that are not searched.
    pub(crate) ignored: Vec<PathBuf>,
    /// Whether cache mounts go as well.
    pub(crate) drop_cache_mounts: bool,
    /// What must be nowhere.
    pub(crate) secrets: Vec<Known>,
    /// What a person should know about what is not looked for.
    pub(crate) notes: Vec<String>,
    /// What is required of the layers, as for a check.
    pub(crate) thresholds: Vec<Threshold>,
    /// Where the marker of a sealed machine goes, if one is wanted.
    pub(crate) marker: Option<PathBuf>,
}
