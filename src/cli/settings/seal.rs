//! What `seal` was told.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::sources::{Given, Origin, Separator, Sources};
use super::{Defaults, Environment, Output, manifest_from, output_from, public_from, thresholds_from, values};
use crate::buildkit::{ADDRESS_FORMS, Address};
use crate::check::Threshold;
use crate::cli::args::{GlobalArgs, SealArgs};
use crate::manifest;

pub(super) const DEFAULTS: &Defaults = &[
    ("root", "/var/lib/buildkit"),
    ("builder", "spawn"),
    ("system", "/"),
    ("cache-mounts", "keep"),
    ("marker", "/var/lib/cachewarm/sealed.json"),
    ("progress", "auto"),
    ("report", "text"),
];

/// Everything `seal` was told.
#[derive(Debug)]
pub(crate) struct SealSettings {
    pub(crate) root: PathBuf,
    pub(crate) manifest: Option<PathBuf>,
    pub(crate) fix: bool,
    pub(crate) buildkitd: Option<PathBuf>,
    pub(crate) buildkitd_config: Option<PathBuf>,
    pub(crate) system: Option<PathBuf>,
    pub(crate) ignored: Vec<PathBuf>,
    /// Still in docker's spelling, as are the build arguments and the bake file's names.
    pub(crate) secret: Option<Given<Vec<String>>>,
    pub(crate) build_arg: Option<Given<Vec<String>>>,
    pub(crate) public: BTreeSet<String>,
    pub(crate) bake: Option<Given<Vec<String>>>,
    pub(crate) bake_target: Option<Given<Vec<String>>>,
    pub(crate) drop_cache_mounts: bool,
    pub(crate) thresholds: Vec<Threshold>,
    pub(crate) marker: Option<PathBuf>,
    pub(crate) output: Output,
}

impl SealSettings {
    /// Finds out what was meant.
    ///
    /// # Errors
    /// A usage error that names the place of the value it is about.
    pub(crate) fn resolve(
        global: GlobalArgs,
        typed: SealArgs,
        environment: &Environment,
    ) -> anyhow::Result<SealSettings> {
        let from = Sources::of("seal", global.config.clone(), environment)?;
        let builder = from.some("builder", typed.builder)?;
        let buildkitd = match builder.read(ADDRESS_FORMS, str::parse)?.value {
            Address::Spawn(program) => program,
            // Where it is shared with other commands it is about them.
            _ if !matches!(builder.origin, Origin::Flag(_)) => None,
            _ => {
                return Err(
                    builder.refused("no daemon may hold what is sealed", "write spawn or spawn:/PATH/TO/buildkitd")
                );
            }
        };
        let usual = || Some(PathBuf::from(manifest::USUAL)).filter(|file| file.exists());
        let ignore = from.many("ignore", typed.ignore, Separator::Line)?;
        Ok(SealSettings {
            root: from.some("root", typed.root)?.read("a path", values::path)?.value,
            manifest: manifest_from(&from, typed.manifest)?.unwrap_or_else(usual),
            fix: from.on("fix", typed.fix)?,
            buildkitd,
            buildkitd_config: from.path("buildkitd-config", typed.buildkitd_config)?,
            system: from.some("system", typed.system)?.read("a path or `none`", values::path_or_none)?.value,
            ignored: ignore.map(|given| given.read_each("a path", values::path)).transpose()?.unwrap_or_default(),
            secret: from.many("secret", typed.secret, Separator::Line)?,
            build_arg: from.many("build-arg", typed.build_arg, Separator::Line)?,
            public: public_from(&from, typed.public)?,
            bake: from.many("bake", typed.bake, Separator::Line)?,
            bake_target: from.many("bake-target", typed.bake_target, Separator::Comma)?,
            drop_cache_mounts: from.some("cache-mounts", typed.cache_mounts)?.read("keep or drop", cache_mounts)?.value,
            thresholds: thresholds_from(&from, typed.require)?,
            marker: from.some("marker", typed.marker)?.read("a path or `none`", values::path_or_none)?.value,
            output: output_from(&from, &global, typed.output, environment)?,
        })
    }
}

/// Whether they are dropped.
fn cache_mounts(text: &str) -> Result<bool, String> {
    match text {
        "keep" => Ok(false),
        "drop" => Ok(true),
        _ => Err(format!("`{text}` is neither keep nor drop")),
    }
}
