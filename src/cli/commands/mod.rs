//! One file per command.

pub(super) mod check;
mod documents;
mod manifest;
pub(super) mod seal;
pub(super) mod smoke;
pub(super) mod warm;

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::cli::args::Typed;
use crate::cli::progress::{Mode, Screen};
use crate::cli::settings::{self, Environment, Output, Sources};
use crate::cli::{logging, output, running};
use crate::event::Events;
use crate::redact::Redactor;
use crate::report::Reported;

pub(super) use documents::{completions, man, schema};
pub(super) use manifest::{explain, show};

/// What settings make of a command.
pub(super) struct Told<J> {
    /// What to do.
    pub(super) job: J,
    /// Hides the secrets of the build.
    pub(super) hidden: Redactor,
    /// What a person should know about it.
    pub(super) warnings: Vec<String>,
}

/// Carries out what a person meant, from what was typed to the exit code. Says what went wrong, if anything did.
pub(super) fn carry_out<J, R: Reported, F: Future<Output = anyhow::Result<R>>>(
    command: &'static str,
    typed: Typed,
    job: impl FnOnce(&Sources<'_>) -> anyhow::Result<Told<J>>,
    pipeline: impl FnOnce(J, CancellationToken, Events) -> F,
) -> u8 {
    let environment = Environment::of_this_process();
    let meant = Sources::of(command, typed, &environment).and_then(|from| Ok((settings::output(&from)?, from)));
    let (shown, mut from) = match meant {
        Ok(meant) => meant,
        Err(error) => return output::error(&Screen::stderr(false), &error),
    };
    let screen = Screen::stderr(shown.progress == Mode::Json);
    let outcome = logging::start(&screen, shown.verbosity, shown.log_filter.as_ref())
        .and_then(|()| from.read_line())
        .and_then(|()| job(&from))
        .and_then(|told| reported(&screen, &shown, from.file(), told, pipeline));
    outcome.unwrap_or_else(|error| output::error(&screen, &error))
}

/// Runs a pipeline and writes its reports. Gives the exit code of its verdict.
///
/// Reports are written whenever the run ends with a verdict, also a bad one; a run that fails before that has none,
/// and leaves no report file behind, not even that of an earlier run.
fn reported<J, R: Reported, F: Future<Output = anyhow::Result<R>>>(
    screen: &Screen,
    shown: &Output,
    settings_file: Option<PathBuf>,
    told: Told<J>,
    pipeline: impl FnOnce(J, CancellationToken, Events) -> F,
) -> anyhow::Result<u8> {
    screen.hide(told.hidden);
    output::clear_the_way(&shown.reports)?;
    let report = running::run(screen, shown.progress, |cancel, events| {
        if let Some(file) = settings_file {
            events.note(format!("settings are read from {}", file.display()));
        }
        told.warnings.into_iter().for_each(|warning| events.warn(warning));
        pipeline(told.job, cancel, events)
    })?;
    output::reports(&report, &shown.reports, &screen.secrets())?;
    Ok(output::verdict(screen, &report, &shown.reports))
}
