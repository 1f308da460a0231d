//! `cachewarm warm`: from settings to a job, from its report to the exit code.

use crate::cli::args::{GlobalArgs, WarmArgs};
use crate::cli::progress::{Mode, Screen};
use crate::cli::settings::{Environment, Settings};
use crate::cli::{logging, output, running, targets};
use crate::warm::{self, Job};

/// Runs it and writes the reports. Gives the exit code.
///
/// Reports are written whenever the run ends with a verdict, also a bad one; a run that fails before that has none,
/// and leaves no report file behind, not even that of an earlier run.
pub(crate) fn warm(global: GlobalArgs, typed: WarmArgs) -> u8 {
    let environment = Environment::of_this_process();
    let settings = match Settings::resolve(global, typed, &environment) {
        Ok(settings) => settings,
        Err(error) => return output::error(&Screen::stderr(false), &error),
    };
    let screen = Screen::stderr(settings.output.progress == Mode::Json);
    match run(settings, &environment, &screen) {
        Ok(exit) => exit,
        Err(error) => output::error(&screen, &error),
    }
}

fn run(settings: Settings, environment: &Environment, screen: &Screen) -> anyhow::Result<u8> {
    logging::start(screen, settings.output.verbosity, settings.output.log_filter.as_ref())?;
    let (progress, reports) = (settings.output.progress, settings.output.reports.clone());
    let (job, warnings) = job_from(settings, environment)?;
    output::clear_the_way(&reports)?;
    let report = running::run(screen, progress, |cancel, events| {
        warnings.into_iter().for_each(|warning| events.warn(warning));
        warm::warm(job, cancel, events)
    })?;
    output::reports(&report, &reports)?;
    Ok(output::verdict(screen, &report, &reports))
}

/// The job, and what a person should know about it.
fn job_from(settings: Settings, environment: &Environment) -> anyhow::Result<(Job, Vec<String>)> {
    let (build, warnings) = targets::build_from(&settings.source, &settings.build, environment)?;
    let job = Job {
        build,
        donor_optional: settings.donor_optional,
        credentials: settings.credentials,
        builder: settings.builder,
        buildkit_host: settings.buildkit_host,
        tls: settings.tls,
        docker: settings.docker,
        buildkit_image: settings.buildkit_image,
        builder_restart: settings.builder_restart,
        keep_builder: settings.keep_builder,
        root: settings.root,
        buildkitd_config: settings.buildkitd_config,
        on_miss: settings.on_miss,
        min_hit_rate: settings.min_hit_rate,
        stall_timeout: settings.stall_timeout,
        prove: settings.prove,
        manifest: settings.manifest,
    };
    Ok((job, warnings))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::args::{self, Command};

    #[test]
    fn a_job_carries_the_values_of_build_secrets_that_come_from_variables() {
        let line = ["cachewarm", "warm", "--secret", "id=npm,env=NPM_TOKEN", "--ssh", "default"].map(OsString::from);
        let cli = args::parse(line).expect("the line is valid");
        let Command::Warm(typed) = cli.command else { panic!("not warm") };
        let environment = Environment::holding(&[("NPM_TOKEN", "hush"), ("SSH_AUTH_SOCK", "/run/agent")]);
        let settings = Settings::resolve(cli.global, *typed, &environment).expect("the settings are sound");
        let (job, warnings) = job_from(settings, &environment).expect("the job is sound");
        assert_eq!(job.build.secret_environment.get("NPM_TOKEN").map(|secret| secret.reveal()), Some("hush"));
        assert_eq!(job.build.ssh_auth_sock, Some("/run/agent".into()));
        assert!(!format!("{job:?}").contains("hush") && warnings.is_empty());
    }
}
