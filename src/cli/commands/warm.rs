//! `cachewarm warm`: from settings to a job, from its report to the exit code.

use super::{carry_out, reported};
use crate::cli::args::{GlobalArgs, WarmArgs};
use crate::cli::progress::Screen;
use crate::cli::settings::{Environment, Output, Settings};
use crate::cli::targets;
use crate::warm::{self, Job};

/// Runs it and writes the reports. Gives the exit code.
pub(crate) fn warm(global: GlobalArgs, typed: WarmArgs) -> u8 {
    let environment = Environment::of_this_process();
    let settings = Settings::resolve(global, typed, &environment);
    carry_out(settings, |settings| &settings.output, |settings, screen| run(settings, &environment, screen))
}

fn run(settings: Settings, environment: &Environment, screen: &Screen) -> anyhow::Result<u8> {
    let (job, warnings, output) = job_from(settings, environment)?;
    screen.hide(job.build.redactor());
    reported(screen, &output, |cancel, events| {
        warnings.into_iter().for_each(|warning| events.warn(warning));
        warm::warm(job, cancel, events)
    })
}

/// The job, what a person should know about it, and what they see of it.
fn job_from(settings: Settings, environment: &Environment) -> anyhow::Result<(Job, Vec<String>, Output)> {
    let (build, warnings) = targets::build_from(&settings.source, &settings.build, environment)?;
    let job = Job {
        build,
        cache_optional: settings.cache_optional,
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
        step_timeout: settings.step_timeout,
        prove: settings.prove,
        manifest: settings.manifest,
    };
    Ok((job, warnings, settings.output))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::auth::Secret;
    use crate::cli::args::{self, Command};
    use crate::targets::SecretOrigin;

    #[test]
    fn a_job_carries_the_values_of_build_secrets_that_come_from_variables() {
        let line = ["cachewarm", "warm", "--secret", "id=npm,env=NPM_TOKEN", "--ssh", "default"].map(OsString::from);
        let cli = args::parse(line).expect("the line is valid");
        let Command::Warm(typed) = cli.command else { panic!("not warm") };
        let environment = Environment::holding(&[("NPM_TOKEN", "hush"), ("SSH_AUTH_SOCK", "/run/agent")]);
        let settings = Settings::resolve(cli.global, *typed, &environment).expect("the settings are sound");
        let (job, warnings, _) = job_from(settings, &environment).expect("the job is sound");
        assert_eq!(job.build.secrets[&SecretOrigin::Env("NPM_TOKEN".to_owned())], Ok(Some(Secret::from_bytes("hush"))));
        assert_eq!(job.build.ssh_auth_sock, Some("/run/agent".into()));
        assert!(!format!("{job:?}").contains("hush") && warnings.is_empty());
    }
}
