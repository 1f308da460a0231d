//! One file per command.

mod check;
mod documents;
mod manifest;
mod seal;
mod smoke;
mod warm;

use tokio_util::sync::CancellationToken;

use crate::cli::progress::{Mode, Screen};
use crate::cli::settings::Output;
use crate::cli::{logging, output, running};
use crate::event::Events;
use crate::report::Reported;

pub(super) use check::check;
pub(super) use documents::{completions, man, schema};
pub(super) use manifest::{explain, show};
pub(super) use seal::seal;
pub(super) use smoke::smoke;
pub(super) use warm::warm;

/// Carries out what a person meant: `output_of` is where settings say what is shown, `run` gives the exit code. Says what
/// went wrong, if anything did. Gives the exit code.
fn carry_out<S>(
    settings: anyhow::Result<S>,
    output_of: impl Fn(&S) -> &Output,
    run: impl FnOnce(S, &Screen) -> anyhow::Result<u8>,
) -> u8 {
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return output::error(&Screen::stderr(false), &error),
    };
    let shown = output_of(&settings);
    let screen = Screen::stderr(shown.progress == Mode::Json);
    let outcome = logging::start(&screen, shown.verbosity, shown.log_filter.as_ref());
    match outcome.and_then(|()| run(settings, &screen)) {
        Ok(exit) => exit,
        Err(error) => output::error(&screen, &error),
    }
}

/// Runs a pipeline and writes its reports. Gives the exit code of its verdict.
///
/// Reports are written whenever the run ends with a verdict, also a bad one; a run that fails before that has none,
/// and leaves no report file behind, not even that of an earlier run.
fn reported<R: Reported, F: Future<Output = anyhow::Result<R>>>(
    screen: &Screen,
    shown: &Output,
    pipeline: impl FnOnce(CancellationToken, Events) -> F,
) -> anyhow::Result<u8> {
    output::clear_the_way(&shown.reports)?;
    let report = running::run(screen, shown.progress, |cancel, events| {
        if let Some(file) = &shown.settings_file {
            events.note(format!("settings are read from {}", file.display()));
        }
        pipeline(cancel, events)
    })?;
    output::reports(&report, &shown.reports, &screen.secrets())?;
    Ok(output::verdict(screen, &report, &shown.reports))
}
