//! A throw-away state root of copies and links, on which a private buildkitd answers for the real one.
//!
//! Databases are copied; a layer that is finished is a link to the original, and so is a blob. What can be written in
//! place (local sources of earlier builds) is copied as well, for a build on the shadow would write through a link, or
//! left out; cache mounts start empty. History, lock and the runtime's leftovers stay behind.
//!
//! **Invariant:** nothing in the original is written to, its daemon's locks are not waited for, and removing the
//! shadow follows no link and crosses no mount. The daemon on the shadow needs the snapshotter of the
//! original's daemon, garbage collection off, and a socket of its own.

mod databases;
mod links;
mod memory;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::inspect::worker_directories;
use crate::scratch::Scratch;

/// What the names of shadows begin with.
pub(crate) const NAME: &str = ".cachewarm-shadow-";

/// Where a shadow lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// On disk: beside the root if that can be written to, else in the system's directory for temporary files.
    Disk,
    /// There, but in memory where that can be had: quicker by far when a build's directories have many files, and limited.
    Memory,
    /// In this directory.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests"))]
    In(&'a Path),
}

/// What becomes of the copies that BuildKit has of earlier builds' directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalSources {
    /// They are copied, so that a session of the run that sent them need not send them again.
    Copied,
    /// They are empty. BuildKit does not know that, so no session may have the key of one of them.
    Emptied,
}

/// A shadow of a state root; removed when dropped.
#[derive(Debug)]
pub(crate) struct Shadow {
    scratch: Scratch,
    is_in_memory: bool,
}

impl Shadow {
    /// Makes a shadow of a state root, also of one that a daemon is using.
    ///
    /// A root that cannot be read is an [`crate::inspect::Unreadable`] in the error's chain. `cancel` ends it early, with an
    /// error.
    pub(crate) fn create(
        root: &Path,
        place: Place<'_>,
        local_sources: LocalSources,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Shadow> {
        let root = std::fs::canonicalize(root).map_err(|error| crate::inspect::Unreadable::io(root, error))?;
        let workers = worker_directories(&root)?;
        let scratch = directory(&root, place)?;
        let path = scratch.path();
        // From here on a failure removes what was made so far.
        let mut is_in_memory = false;
        if place == Place::Memory {
            match memory::mount(path) {
                Ok(()) => is_in_memory = true,
                Err(error) => tracing::debug!("the shadow root is made on disk: {error:#}"),
            }
        }
        let what = || format!("could not make a shadow of {}", root.display());
        databases::copy(&root, path, &workers).with_context(what)?;
        for (snapshotter, original) in &workers {
            let worker = path.join(format!("runc-{snapshotter}"));
            links::link_worker(original, &worker, snapshotter, local_sources, cancel).with_context(what)?;
        }
        Ok(Shadow { scratch, is_in_memory })
    }

    /// The root for the daemon: `buildkitd --root`.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// What a daemon on it holds, so that it is not taken for left while that one ends.
    ///
    /// # Errors
    /// When the process has too many files open.
    pub(crate) fn share(&self) -> std::io::Result<std::fs::File> {
        self.scratch.share()
    }

    /// Whether it lies in memory, where there is less room than on disk.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }
}

fn directory(root: &Path, place: Place<'_>) -> anyhow::Result<Scratch> {
    let beside = root.parent().unwrap_or(Path::new("/"));
    let made = match place {
        Place::In(scratch) => Scratch::new_in(scratch, NAME),
        Place::Disk | Place::Memory => {
            Scratch::new_in(beside, NAME).or_else(|_| Scratch::new(NAME.trim_start_matches('.')))
        }
    };
    made.context("could not make a directory for the shadow root")
}
