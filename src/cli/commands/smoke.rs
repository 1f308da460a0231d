//! `cachewarm smoke`: from settings to a job, from its report to the exit code.

use crate::cli::args::{GlobalArgs, SmokeArgs};
use crate::cli::progress::{Mode, Screen};
use crate::cli::settings::{Environment, SmokeSettings};
use crate::cli::{logging, output, running, targets};
use crate::smoke::{self, Job};

/// Runs it and writes the reports. Gives the exit code.
pub(crate) fn smoke(global: GlobalArgs, typed: SmokeArgs) -> u8 {
    let environment = Environment::of_this_process();
    let settings = match SmokeSettings::resolve(global, typed, &environment) {
        Ok(settings) => settings,
        Err(error) => return output::error(&Screen::stderr(false), &error),
    };
    let screen = Screen::stderr(settings.output.progress == Mode::Json);
    match run(settings, &environment, &screen) {
        Ok(exit) => exit,
        Err(error) => output::error(&screen, &error),
    }
}

fn run(settings: SmokeSettings, environment: &Environment, screen: &Screen) -> anyhow::Result<u8> {
    let output = settings.output;
    logging::start(screen, output.verbosity, output.log_filter.as_ref())?;
    let (build, warnings) = targets::build_from(&settings.source, &settings.build, environment)?;
    let job = Job {
        build,
        credentials: settings.credentials,
        builder: settings.builder,
        tls: settings.tls,
        docker: settings.docker,
        root: settings.root,
        buildkitd_config: settings.buildkitd_config,
        min_hit_rate: settings.min_hit_rate,
        manifest: settings.manifest,
        stall_timeout: settings.stall_timeout,
    };
    output::clear_the_way(&output.reports)?;
    let report = running::run(screen, output.progress, |cancel, events| {
        warnings.into_iter().for_each(|warning| events.warn(warning));
        smoke::smoke(job, cancel, events)
    })?;
    output::reports(&report, &output.reports)?;
    Ok(output::verdict(screen, &report, &output.reports))
}
