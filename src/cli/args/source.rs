//! What is built from: the flags and the argument that say so.

use clap::{Args, ValueHint};

/// Where the source comes from.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Source")]
pub(crate) struct SourceArgs {
    /// Build context as `docker buildx build` takes it: a directory, or the URL of a git repository (`URL#REF:DIRECTORY`) or
    /// an archive, which the builder fetches itself. The same as --context; not with --repo and --bake.
    #[arg(value_name = "PATH|URL", value_hint = ValueHint::DirPath, conflicts_with_all = ["context", "repo", "bake"])]
    pub(crate) argument: Option<String>,
    /// CI's own line: docker buildx build …, docker build … or docker buildx bake …, as its script has it. What it says
    /// is built; what it says of outputs changes no layer, and what cannot be honoured is refused.
    #[arg(last = true, value_name = "DOCKER …", conflicts_with_all = ["argument", "context", "bake"])]
    pub(crate) line: Vec<String>,
    /// Git repository to clone, https or ssh. A token for https comes from CACHEWARM_GIT_TOKEN (or
    /// GIT_AUTH_TOKEN), with the user of the URL, or from git's helpers.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) repo: Option<String>,
    /// Branch, tag or commit of --repo; the remote's HEAD when absent.
    #[arg(long, value_name = "REV")]
    pub(crate) rev: Option<String>,
    /// Check out the submodules of --repo as well.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) submodules: Option<String>,
    /// Build context: a directory, with --repo one of the checkout; or a URL that the builder fetches itself, for which a
    /// token is the secret GIT_AUTH_TOKEN (--secret id=GIT_AUTH_TOKEN,env=VARIABLE).
    #[arg(long, value_name = "DIR|URL", value_hint = ValueHint::DirPath)]
    pub(crate) context: Option<String>,
    /// Modes of the files: disk, as they are there; git, as git checks out under umask 022; umask=NNN, under another one,
    /// as GitLab's runner does under umask=000. When absent, git with --repo, and disk with a directory.
    #[arg(long, value_name = "git|disk|umask=NNN")]
    pub(crate) modes: Option<String>,
}
