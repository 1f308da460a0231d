//! `cachewarm smoke`: from settings to a job, from its report to the exit code.

use super::{carry_out, reported};
use crate::cli::args::{GlobalArgs, SmokeArgs};
use crate::cli::progress::Screen;
use crate::cli::settings::{Environment, SmokeSettings};
use crate::cli::targets;
use crate::smoke::{self, Job};

/// Runs it and writes the reports. Gives the exit code.
pub(crate) fn smoke(global: GlobalArgs, typed: SmokeArgs) -> u8 {
    let environment = Environment::of_this_process();
    let settings = SmokeSettings::resolve(global, typed, &environment);
    carry_out(settings, |settings| &settings.output, |settings, screen| run(settings, &environment, screen))
}

fn run(settings: SmokeSettings, environment: &Environment, screen: &Screen) -> anyhow::Result<u8> {
    let (build, warnings) = targets::build_from(&settings.source, &settings.build, environment)?;
    screen.hide(build.redactor());
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
    reported(screen, &settings.output, |cancel, events| {
        warnings.into_iter().for_each(|warning| events.warn(warning));
        smoke::smoke(job, cancel, events)
    })
}
