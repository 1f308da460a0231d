//! What was typed: the command line as clap sees it, from which help, completions and the man page come too.
//!
//! Values stay text here, because a variable or a settings file may give the same setting; `settings` finds out
//! what was meant.

mod joined;
mod manifest;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};

use super::table::{self, COMMANDS};

pub(crate) use manifest::{ManifestCommand, ManifestFormat, Schema};

/// The whole command line. The flags of the commands that have settings stand in the table.
#[derive(Debug, Parser)]
#[command(name = "cachewarm", version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("CACHEWARM_BUILD"), ")"), about, max_term_width = 110)]
#[command(after_help = "\
Settings: a flag wins over its CACHEWARM_* variable, that over cachewarm.toml (keys are the flags' names), that over \
the default. A list comes whole from the strongest place that gives it; in variables, entries are separated by commas \
or, when they hold commas themselves, by line breaks.\n\n\
Exit codes: 0 warm, or sealed; 2 usage or settings; 3 builder, registry, git or disk; 4 the build failed; 5 not warm, \
or not sealed; 130 interrupted.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a state root warm from registry caches, and prove it.
    Warm,
    /// Say of every step what a build would do here, before it does it: no step runs, nothing is fetched or changed.
    Smoke,
    /// Say what lies in a state root: read from disk, without a daemon and without a lock.
    Check,
    /// Say whether this machine is safe to snapshot, and with --fix make it so.
    Seal,
    /// Say what differs between two builds that were warmed, step by step; exit code 5 when something does.
    Explain {
        /// Manifest of the build that the cache was made with.
        #[arg(value_hint = ValueHint::FilePath)]
        old: PathBuf,
        /// Manifest of the build that would use it.
        #[arg(value_hint = ValueHint::FilePath)]
        new: PathBuf,
        /// How it is written to standard output.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        report: ManifestFormat,
    },
    /// Look at what warm runs leave for smoke, check and explain.
    Manifest {
        #[command(subcommand)]
        command: ManifestCommand,
    },
    /// Write the JSON schema of a report, or of the manifest, to standard output.
    Schema {
        /// What it describes; `report` is that of warm and smoke.
        name: Schema,
    },
    /// Write shell completions to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man page to standard output.
    Man {
        /// The command the page is about; cachewarm itself when absent.
        command: Option<String>,
    },
}

/// What was typed for a command that has settings.
#[derive(Debug, Default)]
pub(crate) struct Typed(ArgMatches);

impl Typed {
    /// The value of a flag, or of an argument.
    pub(crate) fn one(&self, name: &str) -> Option<String> {
        if name == "prove" && matches!(self.0.try_get_one(NO_PROVE), Ok(Some(true))) {
            return Some("false".to_owned());
        }
        let times = || self.0.try_get_one(name).ok().flatten().filter(|times: &&u8| **times > 0);
        let text = self.0.try_get_one(name).ok().flatten().cloned();
        text.or_else(|| Some(times()?.to_string()))
    }

    /// The values of a flag that may be repeated, or of an argument.
    pub(crate) fn many(&self, name: &str) -> Vec<String> {
        self.0.try_get_many(name).ok().flatten().into_iter().flatten().cloned().collect()
    }
}

/// The name of the context as an argument.
pub(crate) const ARGUMENT: &str = "argument";
/// The name of the line after `--`.
pub(crate) const LINE: &str = "line";
const NO_PROVE: &str = "no-prove";

/// The command line with every setting.
pub(crate) fn command() -> clap::Command {
    let global = table::GLOBAL.iter().map(|setting| setting.arg().global(true));
    COMMANDS.iter().fold(Cli::command().args(global), |whole, (name, groups)| {
        whole.mut_subcommand(name, |command| {
            let args = groups
                .iter()
                .flat_map(|(heading, settings)| settings.iter().map(|setting| setting.arg().help_heading(*heading)));
            let command = command.args(args);
            match *name {
                "warm" => command.args(of_source()).mut_arg("prove", |arg| arg.overrides_with(NO_PROVE)).arg(
                    Arg::new(NO_PROVE)
                        .long(NO_PROVE)
                        .action(ArgAction::SetTrue)
                        .overrides_with("prove")
                        .help_heading("Behavior")
                        .help("The same as --prove=false"),
                ),
                "smoke" => command.args(of_source()),
                _ => command,
            }
        })
    })
}

/// The arguments that say what is built.
fn of_source() -> [Arg; 2] {
    let argument = Arg::new(ARGUMENT)
        .value_name("PATH|URL")
        .value_hint(ValueHint::DirPath)
        .conflicts_with_all(["context", "repo", "bake"])
        .help(
            "Build context as `docker buildx build` takes it: a directory, or the URL of a git repository \
             (`URL#REF:DIRECTORY`) or an archive, which the builder fetches itself. The same as --context; not with \
             --repo and --bake",
        );
    let line = Arg::new(LINE)
        .value_name("DOCKER …")
        .last(true)
        .num_args(1..)
        .conflicts_with_all([ARGUMENT, "context", "bake"])
        .help(
            "CI's own line: docker buildx build …, docker build … or docker buildx bake …, as its script has it. What it \
             says is built; what it says of outputs changes no layer, and what cannot be honoured is refused",
        );
    [argument, line].map(|arg| arg.help_heading("Source"))
}

/// Reads the command line: what to do, and what was typed for it.
///
/// # Errors
/// clap's own, which prints itself; asking for help or the version is one of them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Command, Typed), clap::Error> {
    let mut matches = command().try_get_matches_from(joined::joined(arguments)).map_err(|mut error| {
        // That an unknown flag may be written after `--` is no help: only a line of docker's may.
        error.remove(clap::error::ContextKind::Suggested);
        error
    })?;
    let command = Cli::from_arg_matches(&matches)?.command;
    Ok((command, Typed(matches.remove_subcommand().unwrap_or_default().1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_says_what_it_does_and_which_variable_sets_it() {
        let whole = command();
        for (command, _) in COMMANDS {
            let own = whole.find_subcommand(command).expect("there is such a command");
            for setting in table::settings_of(command) {
                let mut all = whole.get_arguments().chain(own.get_arguments());
                let flag = all.find(|arg| arg.get_long() == Some(setting.name)).expect("the flag exists");
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                let variable = format!("[env: CACHEWARM_{}]", setting.name.to_uppercase().replace('-', "_"));
                let is_told = help.ends_with(&variable) && help.len() > variable.len() + 10;
                assert!(is_told, "{command} --{}: {help}", setting.name);
            }
        }
    }

    #[test]
    fn a_switch_may_be_turned_off_where_it_was_typed_last() {
        let prove = |typed: &[&str]| {
            let line = ["cachewarm", "warm"].iter().chain(typed).map(OsString::from);
            parse(line).expect("it is a valid line").1.one("prove")
        };
        assert_eq!(prove(&["--prove"]).as_deref(), Some("true"));
        assert_eq!(prove(&["--prove=false"]).as_deref(), Some("false"));
        assert_eq!(prove(&["--prove", "disk"]).as_deref(), Some("disk"));
        assert_eq!(prove(&["--prove", "--no-prove"]).as_deref(), Some("false"));
        assert_eq!(prove(&["--no-prove", "--prove"]).as_deref(), Some("true"));
    }
}
