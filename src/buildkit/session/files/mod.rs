//! Sends local directories to a builder: the build context, the Dockerfile's directory, named contexts.
//!
//! The builder opens a call, names a local and says what it wants of it ([`request`]). Paths to follow become include
//! patterns ([`follow`]), patterns decide ([`pattern`], [`filter`]), the walk finds what is to be sent ([`walk`],
//! [`directory`]), and a transfer announces it and sends the content the builder lacks ([`transfer`]).
//!
//! **Invariant:** what is sent, and how it is described, is what docker's client would send of the same directory,
//! but for the permissions, which a rule of the caller decides. Which files a step uses is the builder's business.

mod announced;
mod directory;
mod filter;
mod fingerprint;
mod follow;
mod go_path;
mod go_regex;
mod pattern;
mod request;
mod service;
mod transfer;
mod walk;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use directory::Directory;

pub(crate) use fingerprint::{EntryKind, Fingerprint, Selection};
pub(super) use service::{DIFF_COPY, FileSync};

/// Decides the permissions an entry is said to have: given its path below the directory as it was given, and its
/// permission bits on disk (`st_mode & 0o7777`), returns permission bits of the same kind. Symlinks are not asked for.
pub(crate) type PermissionRule = Arc<dyn Fn(&Path, u32) -> u32 + Send + Sync>;

/// Something a builder can read as a directory. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Local(Directory);

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Local({})", self.0.path.display())
    }
}

impl Local {
    /// A directory on disk. It is opened when the builder asks for it.
    pub(crate) fn directory(path: impl Into<PathBuf>, permissions: PermissionRule) -> Local {
        Local(Directory { path: path.into(), permissions })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }
}

/// The locals of a session, by the names the builder knows them by: `context`, `dockerfile`, or any other that the
/// request to build mentions. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Locals(Arc<BTreeMap<String, Local>>);

impl Locals {
    /// One of them.
    pub(crate) fn get(&self, name: &str) -> Option<&Local> {
        self.0.get(name)
    }
}

impl FromIterator<(String, Local)> for Locals {
    fn from_iter<I: IntoIterator<Item = (String, Local)>>(locals: I) -> Locals {
        Locals(Arc::new(locals.into_iter().collect()))
    }
}
