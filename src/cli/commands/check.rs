//! `cachewarm check`: from settings to a job, from its report to the exit code.

use crate::check::{self, Job};
use crate::cli::args::{CheckArgs, GlobalArgs};
use crate::cli::progress::{Mode, Screen};
use crate::cli::settings::{CheckSettings, Environment, Format};
use crate::cli::{logging, output, running, targets};

/// Runs it and writes the reports. Gives the exit code.
pub(crate) fn check(global: GlobalArgs, typed: CheckArgs) -> u8 {
    let settings = match CheckSettings::resolve(global, typed, &Environment::of_this_process()) {
        Ok(settings) => settings,
        Err(error) => return output::error(&Screen::stderr(false), &error),
    };
    let screen = Screen::stderr(settings.output.progress == Mode::Json);
    match run(settings, &screen) {
        Ok(exit) => exit,
        Err(error) => output::error(&screen, &error),
    }
}

fn run(settings: CheckSettings, screen: &Screen) -> anyhow::Result<u8> {
    let output = settings.output;
    logging::start(screen, output.verbosity, output.log_filter.as_ref())?;
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
    output::clear_the_way(&output.reports)?;
    let report = running::run(screen, output.progress, |cancel, events| check::check(job, cancel, events))?;
    output::reports(&report, &output.reports)?;
    Ok(output::verdict(screen, &report, &output.reports))
}
