//! `cachewarm check`: from settings to a job, from its report to the exit code.

use super::{carry_out, reported};
use crate::check::{self, Job};
use crate::cli::args::{CheckArgs, GlobalArgs};
use crate::cli::progress::Screen;
use crate::cli::settings::{CheckSettings, Environment, Format};
use crate::cli::targets;

/// Runs it and writes the reports. Gives the exit code.
pub(crate) fn check(global: GlobalArgs, typed: CheckArgs) -> u8 {
    let settings = CheckSettings::resolve(global, typed, &Environment::of_this_process());
    carry_out(settings, |settings| &settings.output, run)
}

fn run(settings: CheckSettings, screen: &Screen) -> anyhow::Result<u8> {
    let output = settings.output;
    let job = Job {
        root: settings.root,
        manifest: settings.manifest,
        donors: targets::donors(&settings.cache_from)?,
        credentials: settings.credentials,
        deep: settings.deep,
        thresholds: settings.thresholds,
        every_record: output.reports.iter().any(|to| to.format == Format::Json),
        buildkitd_config: settings.buildkitd_config,
    };
    reported(screen, &output, |cancel, events| check::check(job, cancel, events))
}
