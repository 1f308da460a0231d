//! What was typed: the command line as clap sees it, from which help, completions and the man page come too.
//!
//! Values stay text here, because a variable or a settings file may give the same setting; `settings` finds out
//! what was meant. Every long flag has the variable `CACHEWARM_` + its name, and its name is its key in the file:
//! nobody keeps that list by hand, and [`command`] writes it into the help.

mod builder;
mod check;
mod manifest;
mod seal;
mod source;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};

use super::settings;

pub(crate) use builder::{BuilderArgs, TlsArgs};
pub(crate) use check::CheckArgs;
pub(crate) use manifest::{ManifestCommand, ManifestFormat, Schema};
pub(crate) use seal::SealArgs;
pub(crate) use source::SourceArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "cachewarm", version, about, max_term_width = 110)]
#[command(after_help = "\
Settings: a flag wins over its CACHEWARM_* variable, that over cachewarm.toml (keys are the flags' names), that over \
the default. A list comes whole from the strongest place that gives it; in variables, entries are separated by commas \
or, when they hold commas themselves, by line breaks.\n\n\
Exit codes: 0 warm, or sealed; 2 usage or settings; 3 builder, registry, git or disk; 4 the build failed; 5 not warm, \
or not sealed; 130 interrupted.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a state root warm from registry caches, and prove it.
    Warm(Box<WarmArgs>),
    /// Say of every step what a build would do here, before it does it: no step runs, nothing is fetched or changed.
    Smoke(Box<SmokeArgs>),
    /// Say what lies in a state root: read from disk, without a daemon and without a lock.
    Check(Box<CheckArgs>),
    /// Say whether this machine is safe to snapshot, and with --fix make it so.
    Seal(Box<SealArgs>),
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

/// Flags of every command.
#[derive(Debug, Default, Args)]
pub(crate) struct GlobalArgs {
    /// Settings file [default: ./cachewarm.toml if it is there and only you can write it; it then names no program, builder,
    /// secret or file to write].
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<String>,
    /// Say more about what is done; twice or three times for more still. CACHEWARM_LOG takes a filter instead.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No progress, only warnings and errors; the same as --progress quiet.
    #[arg(short, long, global = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    #[arg(value_name = "BOOL")]
    pub(crate) quiet: Option<String>,
}

/// The flags of `warm`.
#[derive(Debug, Default, Args)]
pub(crate) struct WarmArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    #[command(flatten)]
    pub(crate) donor: DonorArgs,
    #[command(flatten)]
    pub(crate) builder: BuilderArgs,
    #[command(flatten)]
    pub(crate) behavior: BehaviorArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The flags of `smoke`.
#[derive(Debug, Default, Args)]
pub(crate) struct SmokeArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
    /// State root to look at, /var/lib/buildkit unless the builder says more; a daemon may be using it.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<String>,
    /// spawn or spawn:/PATH/TO/buildkitd, which is started on a shadow of the root; or the builder that is asked about:
    /// unix:///PATH, tcp://HOST:PORT, docker-container://NAME or docker. Where its root cannot be read, it is asked itself,
    /// and stopped as soon as it begins a step.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) builder: Option<String>,
    /// buildkitd.toml of the daemon that will use the root, for its registry hosts; /etc/buildkit/buildkitd.toml where there
    /// is one.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) buildkitd_config: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Least share of steps, 0 to 1, that the root must have. It is about steps only: a base image that the build would
    /// fetch is never warm.
    #[arg(long, value_name = "SHARE")]
    pub(crate) min_hit_rate: Option<String>,
    /// Manifest of the warm run that made the root, which tells why a step misses; the usual one when absent, if it is
    /// there, and `none` uses none.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) manifest: Option<String>,
    /// No progress of a download for this long ends it: 60s, 5m.
    #[arg(long, value_name = "DURATION")]
    pub(crate) stall_timeout: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Who we are to ECR.
#[derive(Debug, Default, Args)]
pub(crate) struct AwsArgs {
    /// AWS profile for ECR; the default provider chain when absent.
    #[arg(long, value_name = "NAME")]
    pub(crate) aws_profile: Option<String>,
    /// AWS region for ECR; the one in the registry's name when absent.
    #[arg(long, value_name = "REGION")]
    pub(crate) aws_region: Option<String>,
}

/// What is built, in docker's spelling.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Build")]
pub(crate) struct BuildArgs {
    /// Dockerfile, relative to the current directory, or with --repo to the checkout; Dockerfile in the context when
    /// absent.
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<String>,
    /// Stage to build, the last one when absent; repeat it for several builds of the same source.
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Vec<String>,
    /// Build argument; K alone takes its value from the environment. Repeatable.
    #[arg(long, value_name = "K[=V]")]
    pub(crate) build_arg: Vec<String>,
    /// Build argument whose value is no secret, though its name looks like one: it is shown, and not searched for.
    /// Repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) public: Vec<String>,
    /// Platform, such as linux/arm64; the builder's own when absent. Repeatable.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// Further build context: a directory, docker-image://REF or a URL. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_context: Vec<String>,
    /// Build secret: id=ID,src=FILE or id=ID,env=VARIABLE. Repeatable.
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// SSH agent for the build; SSH_AUTH_SOCK unless a socket is named. A key is for an agent to hold. Repeatable.
    #[arg(long, value_name = "default|ID[=SOCKET]")]
    pub(crate) ssh: Vec<String>,
    /// Entry for /etc/hosts of the steps. Repeatable.
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// Network of the steps.
    #[arg(long, value_name = "MODE", value_parser = ["default", "none", "host"])]
    pub(crate) network: Option<String>,
    /// Size of /dev/shm in the steps, such as 64m.
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Resource limit of the steps, such as nofile=1024:2048. Repeatable.
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// Label of the image. Repeatable.
    #[arg(long, value_name = "K[=V]")]
    pub(crate) label: Vec<String>,
    /// Use no cache at all: every step runs.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_cache: Option<String>,
    /// Stage whose steps always run. Repeatable.
    #[arg(long, value_name = "STAGE")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Entitlement the build needs: network.host, security.insecure or device; and what a bake file may use outside of
    /// its project: ssh, fs.read=PATH or fs=PATH. Repeatable.
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow: Vec<String>,
    /// Builds as `docker buildx bake --print` wrote them; what it did not write (HCL, compose, variables) and several files
    /// are resolved by the docker buildx that is installed. Of the flags above only --no-cache, --allow, --secret and --ssh go
    /// with it. Repeatable.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) bake: Vec<String>,
    /// Target or group of --bake; its default group when absent. Repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) bake_target: Vec<String>,
    /// Where a directory of the machine that wrote --bake is here, relative to the checkout: /builds/app=. Repeatable.
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) path_map: Vec<String>,
}

/// The caches, and who we are to them.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Cache sources")]
pub(crate) struct DonorArgs {
    /// Registry cache to import from: REF or type=registry,ref=REF; {rev} in it becomes the commit. In order,
    /// repeatable; replaces those of --bake.
    #[arg(long, value_name = "REF")]
    pub(crate) cache_from: Vec<String>,
    /// A cache that cannot be used is only a warning as long as another one works. One that is absent is no more than that
    /// anyway.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) cache_optional: Option<String>,
    /// The name of --cache-optional in earlier versions.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub(crate) donor_optional: Option<String>,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// What to do when.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Behavior")]
pub(crate) struct BehaviorArgs {
    /// What a step does that no cache has: run it, or fail without running any.
    #[arg(long, value_name = "WHAT", value_parser = ["run", "fail"])]
    pub(crate) on_miss: Option<String>,
    /// Least share of steps, 0 to 1, that a cache must have. When absent, at least one step where --cache-from is given; 0
    /// accepts that none is found. It is about steps only: a layer that is missing on disk is never warm.
    #[arg(long, value_name = "SHARE")]
    pub(crate) min_hit_rate: Option<String>,
    /// No progress of a download for this long cancels and retries: 60s, 5m. Steps, ADD and git take their time.
    #[arg(long, value_name = "DURATION")]
    pub(crate) stall_timeout: Option<String>,
    /// A step, or an ADD, that takes longer ends the run: 30m.
    #[arg(long, value_name = "DURATION")]
    pub(crate) step_timeout: Option<String>,
    /// Have BuildKit build again on a shadow root, without cache sources. When absent, so with --builder spawn; another
    /// builder is asked again itself.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(overrides_with = "no_prove")]
    pub(crate) prove: Option<String>,
    /// The same as --prove=false.
    #[arg(long, overrides_with = "prove")]
    pub(crate) no_prove: bool,
    /// Where the manifest of the run goes; `none` writes none.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) manifest: Option<String>,
}

/// What people and machines see.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// How progress is shown on standard error; auto is tty on a terminal, else plain.
    #[arg(long, value_name = "MODE", value_parser = ["auto", "tty", "plain", "json", "quiet"])]
    pub(crate) progress: Option<String>,
    /// Report as text, json, markdown or prometheus, on standard output unless FILE is given. An old FILE is removed when the run begins and
    /// written when it ends with a verdict. Repeatable.
    #[arg(long, value_name = "FORMAT[=FILE]")]
    pub(crate) report: Vec<String>,
}

/// The commands that have settings.
pub(crate) const WITH_SETTINGS: [&str; 4] = ["warm", "smoke", "check", "seal"];

/// The command with each flag's variable and default in its help.
pub(crate) fn command() -> clap::Command {
    let sourced = |command: &'static str| {
        move |arg: clap::Arg| {
            let Some(name) = arg.get_long().filter(|name| *name != "no-prove").map(str::to_owned) else { return arg };
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            if let Some(default) = settings::default_of(command, &name) {
                help.push_str(&format!(" [default: {default}]"));
            }
            help.push_str(&format!(" [env: {}]", settings::variable_of(&name)));
            arg.help(help)
        }
    };
    let whole = Cli::command().mut_args(sourced(""));
    WITH_SETTINGS
        .into_iter()
        .fold(whole, |whole, name| whole.mut_subcommand(name, |command| command.mut_args(sourced(name))))
}

/// The names of a command's settings, global ones included: the long flags that a file may hold as keys.
pub(crate) fn setting_names_of(command: &str) -> Vec<String> {
    let whole = Cli::command();
    let own = whole.find_subcommand(command).into_iter().flat_map(clap::Command::get_arguments);
    let names = whole.get_arguments().chain(own).filter_map(|arg| arg.get_long().map(str::to_owned));
    names.filter(|name| !["config", "no-prove"].contains(&name.as_str())).collect()
}

/// The names of all settings: one file serves every command.
pub(crate) fn setting_names() -> Vec<String> {
    let mut names: Vec<String> = WITH_SETTINGS.into_iter().flat_map(setting_names_of).collect();
    names.sort();
    names.dedup();
    names
}

/// Reads the command line.
///
/// # Errors
/// clap's own, which prints itself; asking for help or the version is one of them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments).map_err(|mut error| {
        // That an unknown flag may be written after `--` is no help: only a line of docker's may.
        error.remove(clap::error::ContextKind::Suggested);
        error
    });
    Cli::from_arg_matches(&matches?)
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
        for command in WITH_SETTINGS {
            let own = whole.find_subcommand(command).expect("there is such a command");
            for name in setting_names_of(command) {
                let mut all = whole.get_arguments().chain(own.get_arguments());
                let flag = all.find(|arg| arg.get_long() == Some(&name)).expect("the flag exists");
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                let variable = format!("[env: CACHEWARM_{}]", name.to_uppercase().replace('-', "_"));
                assert!(help.ends_with(&variable) && help.len() > variable.len() + 10, "{command} --{name}: {help}");
            }
        }
    }

    #[test]
    fn a_switch_may_be_turned_off_where_it_was_typed_last() {
        let prove = |typed: &[&str]| {
            let line = ["cachewarm", "warm"].iter().chain(typed).map(OsString::from);
            let Command::Warm(args) = parse(line).expect("it is a valid line").command else { panic!("not warm") };
            (args.behavior.prove, args.behavior.no_prove)
        };
        assert_eq!(prove(&["--prove"]), (Some("true".into()), false));
        assert_eq!(prove(&["--prove=false"]), (Some("false".into()), false));
        assert_eq!(prove(&["--prove", "--no-prove"]), (None, true));
        assert_eq!(prove(&["--no-prove", "--prove"]), (Some("true".into()), false));
    }
}
