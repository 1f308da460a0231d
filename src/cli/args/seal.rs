//! The flags of `seal`.

use clap::{Args, ValueHint};

use super::OutputArgs;

/// The flags of `seal`.
#[derive(Debug, Default, Args)]
pub(crate) struct SealArgs {
    /// State root that becomes part of the image; no daemon may hold it.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<String>,
    /// Manifest of the warm run that made the root: is everything it promises there? The usual one when absent, if it is
    /// there, and `none` uses none.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) manifest: Option<String>,
    /// Clean the state root: BuildKit's history and copies of directories, leftovers, stale bytes in databases. Nothing else on
    /// the machine is changed.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) fix: Option<String>,
    /// spawn or spawn:/PATH/TO/buildkitd, which is started on the root to forget what only BuildKit can.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) builder: Option<String>,
    /// buildkitd.toml of the daemon that will use the root, for its garbage collection; the usual one when absent, if it is
    /// there.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) buildkitd_config: Option<String>,
    /// Where the file system of the machine is mounted that becomes an image; `none` looks at the state root alone.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) system: Option<String>,
    /// File or directory that is not searched for secrets. Repeatable.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) ignore: Vec<String>,
    /// Secret that must be nowhere, as the build was given it: id=ID,src=FILE or id=ID,env=VARIABLE. Repeatable.
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// Build argument as the build was given it: its value must be nowhere if its name is that of a secret. Repeatable.
    #[arg(long, value_name = "K[=V]")]
    pub(crate) build_arg: Vec<String>,
    /// Build argument whose value is no secret, though its name looks like one: it is shown, and not searched for.
    /// Repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) public: Vec<String>,
    /// Builds that were warmed, as `docker buildx bake --print` wrote them: their build arguments and secrets count as if
    /// they were given.
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    pub(crate) bake: Vec<String>,
    /// Target or group of --bake; its default group when absent. Repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) bake_target: Vec<String>,
    /// What --fix does with what `RUN --mount=type=cache` has kept.
    #[arg(long, value_name = "WHAT", value_parser = ["keep", "drop"])]
    pub(crate) cache_mounts: Option<String>,
    /// Least share for what is in the root, as in check: extracted=95%. Repeatable.
    #[arg(long, value_name = "WHAT=SHARE")]
    pub(crate) require: Vec<String>,
    /// Where it is written down that the machine is sealed; `none` writes nothing.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) marker: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
