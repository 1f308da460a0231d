//! argv, environment, terminal, exit code: the only part that knows a person is there.
//!
//! `table` says which settings there are, `args` what was typed, `settings` what was meant, `targets` which builds that
//! makes; `commands` has one file per command, which makes a job of them; `running` gives a pipeline its runtime, its
//! listener in `progress`, and its signals. Data goes to standard output, talk to standard error.

mod agents;
mod allow;
mod args;
mod bake;
mod commands;
mod context;
mod known;
mod line;
mod logging;
mod moved;
mod output;
mod policies;
mod progress;
mod running;
mod secrets;
mod setting;
mod settings;
mod surroundings;
mod table;
mod targets;

use std::ffi::OsString;
use std::process::ExitCode;

use self::args::{Command, ManifestCommand};
use self::progress::Screen;
use crate::buildkit;
use crate::check;
use crate::child;
use crate::failure::{Explain as _, Kind};
use crate::seal;
use crate::smoke;
use crate::warm;

/// Runs the command line and gives the exit code of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let [program, rest @ ..] = arguments.as_slice()
        && buildkit::is_stand_in(program)
    {
        // BuildKit reads why a container did not start from here.
        return output::error(&Screen::stderr(false), &buildkit::stand_in(program, rest)).into();
    }
    let screen = Screen::stderr(false);
    let safe = child::with_safe_path(&arguments, |warning| screen.log(&format!("warning: {warning}"))).explain(
        Kind::Environment,
        "could not start again without the directories of PATH that others can write",
        "call cachewarm with a PATH that has none",
    );
    if let Err(error) = safe {
        return output::error(&screen, &error).into();
    }
    child::without_core();
    child::with_many_files();
    let (command, typed) = match args::parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return said_by_clap(&error),
    };
    let outcome = match command {
        Command::Warm => return commands::carry_out("warm", typed, commands::warm::job, warm::warm).into(),
        Command::Smoke => return commands::carry_out("smoke", typed, commands::smoke::job, smoke::smoke).into(),
        Command::Check => return commands::carry_out("check", typed, commands::check::job, check::check).into(),
        Command::Seal => return commands::carry_out("seal", typed, commands::seal::job, seal::seal).into(),
        Command::Explain { old, new, report } => match commands::explain(&old, &new, report) {
            Ok(exit) => return exit.into(),
            Err(error) => Err(error),
        },
        Command::Manifest { command: ManifestCommand::Show { file, report } } => commands::show(&file, report),
        Command::Schema { name } => commands::schema(name),
        Command::Completions { shell } => commands::completions(shell),
        Command::Man { command } => commands::man(command.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::error(&screen, &error).into(),
    }
}

/// Help and version are no errors; everything else clap says is about usage.
fn said_by_clap(error: &clap::Error) -> ExitCode {
    // It knows which stream to write to; a reader that went away is not our business.
    let _ = error.print();
    if error.use_stderr() { Kind::Usage.exit_code().into() } else { ExitCode::SUCCESS }
}
