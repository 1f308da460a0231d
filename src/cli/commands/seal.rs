//! `cachewarm seal`: from settings to a job, from its report to the exit code.

use crate::cli::args::{GlobalArgs, SealArgs};
use crate::cli::progress::{Mode, Screen};
use crate::cli::settings::{Environment, SealSettings};
use crate::cli::{known, logging, output, running};
use crate::seal::{self, Job};

/// Runs it and writes the reports. Gives the exit code.
pub(crate) fn seal(global: GlobalArgs, typed: SealArgs) -> u8 {
    let environment = Environment::of_this_process();
    let settings = match SealSettings::resolve(global, typed, &environment) {
        Ok(settings) => settings,
        Err(error) => return output::error(&Screen::stderr(false), &error),
    };
    let screen = Screen::stderr(settings.output.progress == Mode::Json);
    match run(settings, &environment, &screen) {
        Ok(exit) => exit,
        Err(error) => output::error(&screen, &error),
    }
}

fn run(settings: SealSettings, environment: &Environment, screen: &Screen) -> anyhow::Result<u8> {
    let (secrets, notes) = known::secrets(&settings, environment)?;
    let output = settings.output;
    logging::start(screen, output.verbosity, output.log_filter.as_ref())?;
    let job = Job {
        root: settings.root,
        manifest: settings.manifest,
        fix: settings.fix,
        buildkitd: settings.buildkitd,
        buildkitd_config: settings.buildkitd_config,
        system: settings.system,
        ignored: settings.ignored,
        drop_cache_mounts: settings.drop_cache_mounts,
        secrets,
        notes,
        thresholds: settings.thresholds,
        marker: settings.marker,
    };
    output::clear_the_way(&output.reports)?;
    let report = running::run(screen, output.progress, |cancel, events| seal::seal(job, cancel, events))?;
    output::reports(&report, &output.reports)?;
    Ok(output::verdict(screen, &report, &output.reports))
}
