//! `cachewarm check`: from settings to a job.

use super::Told;
use crate::check::Job;
use crate::cli::settings::values::{PATH, PATH_OR_NONE, USED_BY};
use crate::cli::settings::{self, Format, Sources};
use crate::cli::targets;
use crate::redact::Redactor;

/// What is looked at, and how.
pub(in crate::cli) fn job(from: &Sources<'_>) -> anyhow::Result<Told<Job>> {
    let job = Job {
        root: from.always("root", PATH)?,
        manifest: from.read("manifest", PATH_OR_NONE)?.flatten(),
        donors: targets::donors(from, &mut Vec::new())?,
        keychain: settings::keychain(from)?,
        deep: from.on("deep")?,
        thresholds: settings::thresholds(from)?,
        every_record: settings::output(from)?.reports.iter().any(|to| to.format == Format::Json),
        used_by: from.read("used-by", USED_BY)?,
        buildkitd_config: from.read("buildkitd-config", PATH)?,
    };
    Ok(Told { job, hidden: Redactor::default(), warnings: Vec::new() })
}
