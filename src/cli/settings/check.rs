//! What `check` was told.

use std::path::PathBuf;

use super::sources::{Given, Separator, Sources};
use super::{Defaults, Environment, Output, credentials_from, manifest_from, output_from, thresholds_from, values};
use crate::auth::KeychainOptions;
use crate::check::Threshold;
use crate::cli::args::{CheckArgs, GlobalArgs};

pub(super) const DEFAULTS: &Defaults = &[("root", "/var/lib/buildkit"), ("progress", "auto"), ("report", "text")];

/// Everything `check` was told.
#[derive(Debug)]
pub(crate) struct CheckSettings {
    pub(crate) root: PathBuf,
    pub(crate) manifest: Option<PathBuf>,
    /// Still in docker's spelling.
    pub(crate) cache_from: Option<Given<Vec<String>>>,
    pub(crate) deep: bool,
    pub(crate) thresholds: Vec<Threshold>,
    pub(crate) buildkitd_config: Option<PathBuf>,
    pub(crate) credentials: KeychainOptions,
    pub(crate) output: Output,
}

impl CheckSettings {
    /// Finds out what was meant.
    ///
    /// # Errors
    /// A usage error that names the place of the value it is about.
    pub(crate) fn resolve(
        global: GlobalArgs,
        typed: CheckArgs,
        environment: &Environment,
    ) -> anyhow::Result<CheckSettings> {
        let from = Sources::of("check", global.config.clone(), environment)?;
        Ok(CheckSettings {
            root: from.some("root", typed.root)?.read("a path", values::path)?.value,
            manifest: manifest_from(&from, typed.manifest)?.flatten(),
            cache_from: from.many("cache-from", typed.cache_from, Separator::CommaUnlessAttributes)?,
            deep: from.on("deep", typed.deep)?,
            thresholds: thresholds_from(&from, typed.require)?,
            buildkitd_config: from.path("buildkitd-config", typed.buildkitd_config)?,
            credentials: credentials_from(&from, typed.aws, environment)?,
            output: output_from(&from, &global, typed.output, environment)?,
        })
    }
}
