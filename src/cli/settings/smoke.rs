//! What `smoke` was told.

use std::path::PathBuf;
use std::time::Duration;

use super::sources::Sources;
use super::{BuildSettings, Defaults, Environment, Output, SourceSettings};
use super::{build_from, credentials_from, output_from, source_from, values};
use crate::auth::KeychainOptions;
use crate::buildkit::Address;
use crate::cli::args::{GlobalArgs, SmokeArgs};
use crate::smoke::Remembered;

pub(super) const DEFAULTS: &Defaults = &[
    ("builder", "spawn"),
    ("root", "/var/lib/buildkit"),
    ("min-hit-rate", "1"),
    ("stall-timeout", "60s"),
    ("progress", "auto"),
    ("report", "text"),
];

/// Everything `smoke` was told.
#[derive(Debug)]
pub(crate) struct SmokeSettings {
    pub(crate) source: SourceSettings,
    pub(crate) build: BuildSettings,
    pub(crate) credentials: KeychainOptions,
    pub(crate) root: PathBuf,
    /// The buildkitd to start; the one in `PATH` when absent.
    pub(crate) program: Option<PathBuf>,
    pub(crate) buildkitd_config: Option<PathBuf>,
    pub(crate) min_hit_rate: f64,
    pub(crate) manifest: Remembered,
    pub(crate) stall_timeout: Duration,
    pub(crate) output: Output,
}

impl SmokeSettings {
    /// Finds out what was meant.
    ///
    /// # Errors
    /// A usage error that names the place of the value it is about.
    pub(crate) fn resolve(
        global: GlobalArgs,
        typed: SmokeArgs,
        environment: &Environment,
    ) -> anyhow::Result<SmokeSettings> {
        let from = Sources::of("smoke", global.config.clone(), environment)?;
        let builder = from.some("builder", typed.builder)?;
        let program = match builder.read(FORMS, str::parse)?.value {
            Address::Spawn(program) => program,
            _ => return Err(builder.refused("smoke looks at the state root itself, not through a daemon", HINT)),
        };
        Ok(SmokeSettings {
            source: source_from(&from, typed.source, environment)?,
            build: build_from(&from, typed.build, Vec::new())?,
            credentials: credentials_from(&from, typed.aws, environment)?,
            root: from.some("root", typed.root)?.read("a path", values::path)?.value,
            program,
            buildkitd_config: from.path("buildkitd-config", typed.buildkitd_config)?,
            min_hit_rate: from.some("min-hit-rate", typed.min_hit_rate)?.read("0.95, say", values::share)?.value,
            manifest: match from.one("manifest", typed.manifest)? {
                None => Remembered::Usual,
                Some(given) => match given.read("a path or `none`", values::path_or_none)?.value {
                    None => Remembered::Not,
                    Some(file) => Remembered::In(file),
                },
            },
            stall_timeout: from
                .some("stall-timeout", typed.stall_timeout)?
                .read("60s, 5m or 1h30m", values::duration)?
                .value,
            output: output_from(&from, &global, typed.output, environment)?,
        })
    }
}

const FORMS: &str = "spawn or spawn:/PATH/TO/buildkitd";
const HINT: &str = "name the root with --root, and a buildkitd to start on a shadow of it with --builder spawn:/PATH";
