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
    /// Who fetches layers.
    pub(crate) fetch: Fetch,
    /// How many connections we fetch over.
    pub(crate) fetch_connections: usize,
    /// No progress of a download for this long cancels and retries the solve.
    pub(crate) stall_timeout: Duration,
    /// A step that takes longer ends the run.
    pub(crate) step_timeout: Option<Duration>,
    /// What BuildKit itself has to confirm; when absent, a daemon of ours builds again on a shadow root, and any builder whose
    /// root nobody can read.
    pub(crate) prove: Option<Prove>,
    /// Where the manifest of the run goes, if anywhere.
    pub(crate) manifest: Option<PathBuf>,
}

/// What BuildKit itself has to confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prove {
    /// Nothing: nobody asks it again.
    No,
    /// That it would fetch, unpack and run nothing: on a shadow of the root, or itself where nobody can read that.
    Yes,
    /// The same, and that the root was read from disk: a builder's own word is not enough.
    OnDisk,
}

/// What to do with a step no cache has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnMiss {
    /// It runs; its result is warm.
    Run,
    /// No step is to run; the run ends not warm. A daemon of ours refuses them, another one is stopped at the first.
    Fail,
}

/// Who fetches layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// We do, where the builder's store is on this machine; else the builder.
    Auto,
    /// The builder.
    Builder,
}
