//! What `smoke` was told.

use std::path::PathBuf;
use std::time::Duration;

use super::source::source_from;
use super::sources::Sources;
use super::{BuildSettings, Defaults, Environment, Output, SourceSettings};
use super::{build_from, credentials_from, docker_from, manifest_from, output_from, tls_from, values};
use crate::auth::KeychainOptions;
use crate::buildkit::{ADDRESS_FORMS, Address, DockerHost, Tls};
use crate::cli::args::{GlobalArgs, SmokeArgs};
use crate::smoke::Remembered;

pub(super) const DEFAULTS: &Defaults =
    &[("builder", "spawn"), ("min-hit-rate", "1"), ("stall-timeout", "60s"), ("progress", "auto"), ("report", "text")];

/// Everything `smoke` was told.
#[derive(Debug)]
pub(crate) struct SmokeSettings {
    pub(crate) source: SourceSettings,
    pub(crate) build: BuildSettings,
    pub(crate) credentials: KeychainOptions,
    pub(crate) builder: Address,
    pub(crate) tls: Tls,
    pub(crate) docker: DockerHost,
    pub(crate) root: Option<PathBuf>,
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
        let address = match builder.read(ADDRESS_FORMS, str::parse)?.value {
            Address::Auto => return Err(builder.refused("smoke does not choose a builder", HINT)),
            address => address,
        };
        Ok(SmokeSettings {
            source: source_from(&from, typed.source, environment)?,
            build: build_from(&from, typed.build, Vec::new())?,
            credentials: credentials_from(&from, typed.aws, environment)?,
            builder: address,
            tls: tls_from(&from, typed.tls)?,
            docker: docker_from(environment)?,
            root: from.path("root", typed.root)?,
            buildkitd_config: from.path("buildkitd-config", typed.buildkitd_config)?,
            min_hit_rate: from.some("min-hit-rate", typed.min_hit_rate)?.read("0.95, say", values::share)?.value,
            manifest: match manifest_from(&from, typed.manifest)? {
                None => Remembered::Usual,
                Some(None) => Remembered::Not,
                Some(Some(file)) => Remembered::In(file),
            },
            stall_timeout: from
                .some("stall-timeout", typed.stall_timeout)?
                .read("60s, 5m or 1h30m", values::duration)?
                .value,
            output: output_from(&from, &global, typed.output, environment)?,
        })
    }
}

const HINT: &str = "name the builder, or the root with --root and --builder spawn";
