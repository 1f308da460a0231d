//! A builder's state root, seen from here: where it is, whether a daemon of ours can have it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Explain, Failure, Kind};
use crate::locks::{self, Lock};
use crate::retry;

/// Where a buildkitd keeps its state unless told otherwise.
pub(crate) const USUAL: &str = "/var/lib/buildkit";
/// A daemon that was orphaned a moment ago needs this long to let go of the root.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Where a builder's state root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StateRoot {
    /// It should be in this directory; whether it is, its worker's id tells.
    At(PathBuf),
    /// It can not be looked at from here, because of this.
    OutOfReach(String),
}

impl StateRoot {
    /// The directory, if it is in reach.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            StateRoot::At(path) => Some(path),
            StateRoot::OutOfReach(_) => None,
        }
    }
}

/// Makes the directory if it is not there, and finds out whether it can be written to.
pub(super) fn prepare(root: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(root).explain(
        Kind::Environment,
        format!("could not make the state root {}", root.display()),
        "run as root, or name a directory you may write with --root",
    )?;
    tempfile::Builder::new().prefix(".cachewarm-").tempfile_in(root).map(drop).explain(
        Kind::Environment,
        format!("could not write to the state root {}", root.display()),
        "run as root on a disk that is not full or read-only, or name another directory with --root",
    )
}

/// Waits a moment for whoever holds the root; gives whether nobody does any more.
pub(super) async fn becomes_free(root: &Path) -> anyhow::Result<bool> {
    let free = async || Ok(is_free(root)?.then_some(()));
    Ok(retry::until(LOCK_PATIENCE, Duration::from_millis(100), free).await?.is_some())
}

/// Whether nobody holds the root. BuildKit holds an exclusive lock on this file while it runs.
///
/// # Errors
/// Explained: when that cannot be seen.
pub(super) fn is_free(root: &Path) -> anyhow::Result<bool> {
    let lock = locks::held_by(&root.join("buildkitd.lock")).explain(
        Kind::Environment,
        format!("could not find out who holds the state root {}", root.display()),
        "run as root where /proc is mounted",
    )?;
    Ok(!matches!(lock, Lock::Held(_)))
}

/// The error of a root that another daemon holds; `holder` is how to reach that one.
pub(super) fn held(root: &Path, holder: &str) -> anyhow::Error {
    Failure::new(
        Kind::Environment,
        format!("the state root {} is in use by another buildkitd, which holds its buildkitd.lock", root.display()),
        format!("warm through that daemon with --builder {holder}, or stop it first"),
    )
}
