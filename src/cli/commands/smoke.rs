//! `cachewarm smoke`: from settings to a job.

use super::Told;
use crate::cli::settings::values::{DURATION, PATH_OR_NONE, SHARE};
use crate::cli::settings::{self, Sources};
use crate::cli::targets;
use crate::smoke::{Job, Remembered};

/// What is asked about, and how.
pub(in crate::cli) fn job(from: &Sources<'_>) -> anyhow::Result<Told<Job>> {
    let mut warnings = Vec::new();
    let job = Job {
        keychain: settings::keychain(from)?,
        builder: settings::builder(from, None)?,
        min_hit_rate: from.always("min-hit-rate", SHARE)?,
        manifest: match from.read("manifest", PATH_OR_NONE)? {
            None => Remembered::Usual,
            Some(None) => Remembered::Not,
            Some(Some(file)) => Remembered::In(file),
        },
        stall_timeout: from.always("stall-timeout", DURATION)?,
        build: targets::build_from(from, &mut warnings)?,
    };
    Ok(Told { hidden: job.build.redactor(), job, warnings })
}
