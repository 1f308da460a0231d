//! The flags of `check`.

use clap::{Args, ValueHint};

use super::{AwsArgs, OutputArgs};

/// The flags of `check`.
#[derive(Debug, Default, Args)]
pub(crate) struct CheckArgs {
    /// State root, a copy of one, or that of a daemon that runs.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<String>,
    /// Manifest of a warm run: is everything it promises there?
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) manifest: Option<String>,
    /// Registry cache to hold the root against, layer by layer: REF or type=registry,ref=REF. Repeatable.
    #[arg(long, value_name = "REF")]
    pub(crate) cache_from: Vec<String>,
    /// Read everything: hash the blobs, count the files of the snapshots, compare them with those in the blobs.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) deep: Option<String>,
    /// Least share for a verdict of warm: extracted=95%. Of the layers with results: extracted (100% unless given),
    /// survives (a restart), kept (by the first garbage collection, 100%); of the layers of --cache-from: donor (100%);
    /// of those of --manifest: manifest (100%). Repeatable.
    #[arg(long, value_name = "WHAT=SHARE")]
    pub(crate) require: Vec<String>,
    /// buildkitd.toml of the daemon that will use the root, for its garbage collection and its registry hosts; the usual
    /// one when absent, if it is there.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) buildkitd_config: Option<String>,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
