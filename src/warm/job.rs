//! Everything a warm run needs to know.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Keychain;
use crate::buildkit::Wanted;
use crate::plan::Build;

/// Everything a warm run needs to know; nothing in it was read from the environment below `cli`.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What is built.
    pub(crate) build: Build,
    /// A cache that cannot be used is only a warning as long as another one works.
    pub(crate) cache_optional: bool,
    /// Who logs in where.
    pub(crate) keychain: Keychain,
    /// The builder. Its configuration tells the donor probe about registry hosts, too.
    pub(crate) builder: Wanted,
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
