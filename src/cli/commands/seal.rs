//! `cachewarm seal`: from settings to a job, from its report to the exit code.

use super::{carry_out, reported};
use crate::cli::args::{GlobalArgs, SealArgs};
use crate::cli::known;
use crate::cli::progress::Screen;
use crate::cli::settings::{Environment, SealSettings};
use crate::redact::Redactor;
use crate::seal::{self, Job};

/// Runs it and writes the reports. Gives the exit code.
pub(crate) fn seal(global: GlobalArgs, typed: SealArgs) -> u8 {
    let environment = Environment::of_this_process();
    let settings = SealSettings::resolve(global, typed, &environment);
    carry_out(settings, |settings| &settings.output, |settings, screen| run(settings, &environment, screen))
}

fn run(settings: SealSettings, environment: &Environment, screen: &Screen) -> anyhow::Result<u8> {
    let (secrets, notes) = known::secrets(&settings, environment)?;
    screen.hide(Redactor::of_secrets(secrets.iter().map(|secret| secret.value.reveal_bytes())));
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
    reported(screen, &settings.output, |cancel, events| seal::seal(job, cancel, events))
}
