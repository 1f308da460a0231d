//! A throw-away state root of copies and links, on which a private buildkitd answers for the real one.
//!
//! Databases are copied; a layer that is finished is a link to the original, and so is a blob. What can be written in
//! place (local sources of earlier builds) is copied as well, for a build on the shadow would write through a link;
//! cache mounts start empty. History, lock and the runtime's leftovers stay behind.
//!
//! **Invariant:** nothing in the original is written to, its daemon's locks are not waited for, and removing the
//! shadow follows no link and crosses no mount. The daemon on the shadow needs the snapshotter of the original
//! ([`Shadow::snapshotters`]), garbage collection off, and a socket of its own.

mod databases;
mod links;
mod removal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::inspect::worker_directories;

/// A shadow of a state root; removed when dropped, unless something is still mounted below it.
#[derive(Debug)]
pub(crate) struct Shadow {
    path: PathBuf,
    snapshotters: Vec<String>,
}

impl Shadow {
    /// Makes a shadow of a state root, also of one that a daemon is using. It lies in `scratch`; when none is given,
    /// beside the root if that can be written to, else in the system's directory for temporary files.
    ///
    /// A root that cannot be read is an [`crate::inspect::Unreadable`] in the error's chain.
    pub(crate) fn create(root: &Path, scratch: Option<&Path>) -> anyhow::Result<Shadow> {
        let root = std::fs::canonicalize(root).map_err(|error| crate::inspect::Unreadable::io(root, error))?;
        let workers = worker_directories(&root)?;
        let path = directory(&root, scratch)?;
        let snapshotters = workers.iter().map(|(snapshotter, _)| snapshotter.clone()).collect();
        // From here on a failure removes what was made so far.
        let shadow = Shadow { path, snapshotters };
        let what = || format!("could not make a shadow of {}", root.display());
        databases::copy(&root, &shadow.path, &workers).with_context(what)?;
        for (snapshotter, original) in &workers {
            links::link_worker(original, &shadow.path.join(format!("runc-{snapshotter}")), snapshotter)
                .with_context(what)?;
        }
        Ok(shadow)
    }

    /// The root for the daemon: `buildkitd --root`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The snapshotters the original was used with. A daemon on the shadow must be given one of them: one start with
    /// another makes it forget all results.
    pub(crate) fn snapshotters(&self) -> &[String] {
        &self.snapshotters
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if let Err(error) = removal::remove(&self.path) {
            tracing::warn!("{error:#}");
        }
    }
}

fn directory(root: &Path, scratch: Option<&Path>) -> anyhow::Result<PathBuf> {
    let beside = root.parent().unwrap_or(Path::new("/"));
    let new_in = |parent: &Path| {
        let made = tempfile::Builder::new().prefix(".cachewarm-shadow-").tempdir_in(parent)?;
        // Links and mounts need it absolute, whatever `scratch` is.
        std::fs::canonicalize(made.keep())
    };
    let made = match scratch {
        Some(scratch) => new_in(scratch).with_context(|| format!("could not use {}", scratch.display())),
        None => {
            new_in(beside).or_else(|_| new_in(&std::env::temp_dir())).context("could not use a temporary directory")
        }
    };
    made.context("could not make a directory for the shadow root")
}
