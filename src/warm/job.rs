//! Everything a warm run needs to know.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::KeychainOptions;
use crate::buildkit::{Address, DockerHost, Restart, Tls};
use crate::plan::Build;

/// Everything a warm run needs to know; nothing in it was read from the environment below `cli`.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What is built.
    pub(crate) build: Build,
    /// A cache that cannot be used is only a warning as long as another one works.
    pub(crate) cache_optional: bool,
    /// Who logs in where.
    pub(crate) credentials: KeychainOptions,
    /// The builder.
    pub(crate) builder: Address,
    /// What `auto` tries first (`BUILDKIT_HOST`).
    pub(crate) buildkit_host: Option<String>,
    /// Whom a builder on TCP trusts, and we.
    pub(crate) tls: Tls,
    /// Which Docker is meant.
    pub(crate) docker: DockerHost,
    /// The image of a container that has to be created.
    pub(crate) buildkit_image: String,
    /// When Docker starts that container again.
    pub(crate) builder_restart: Restart,
    /// Whether that container stays.
    pub(crate) keep_builder: bool,
    /// The state root; what the builder says, else `/var/lib/buildkit`, when absent.
    pub(crate) root: Option<PathBuf>,
    /// Given to a daemon we start, and tells the donor probe about registry hosts.
    pub(crate) buildkitd_config: Option<PathBuf>,
    /// What to do with a step no cache has.
    pub(crate) on_miss: OnMiss,
    /// The least share of steps (0 to 1) that must be hits; when absent, more than 0 where cache sources are given.
    pub(crate) min_hit_rate: Option<f64>,
    /// No progress of a download for this long cancels and retries the solve.
    pub(crate) stall_timeout: Duration,
    /// A step that takes longer ends the run.
    pub(crate) step_timeout: Option<Duration>,
    /// Whether BuildKit itself builds again on a shadow root; when absent, only in `spawn`.
    pub(crate) prove: Option<bool>,
    /// Where the manifest of the run goes, if anywhere.
    pub(crate) manifest: Option<PathBuf>,
}

/// What to do with a step no cache has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnMiss {
    /// It runs; its result is warm.
    Run,
    /// No step is to run; the run ends not warm. A daemon of ours refuses them, another one is stopped at the first.
    Fail,
}
