//! Why a state root could not be read, in kinds that each have a remedy of their own.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::bolt::BoltError;
use crate::beneath::is_absent;
use crate::failure::{Failure, Kind};

/// Why a state root could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// There is no such directory.
    Missing(PathBuf),
    /// The directory, or a file in it, is not ours to read.
    Denied(PathBuf),
    /// The directory holds nothing of BuildKit.
    NotARoot(PathBuf),
    /// Its worker keeps layers in containerd, where they cannot be read from here.
    ContainerdWorker(PathBuf),
    /// It belongs to dockerd, whose layers lie in the image store.
    Dockerd(PathBuf),
    /// One of its databases is damaged, or a daemon writes to it without a pause.
    Database(PathBuf, BoltError),
    /// Reading failed for another reason.
    Io(PathBuf, io::Error),
}

impl Unreadable {
    /// The next thing to try, as one sentence.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Unreadable::Missing(_) => "name the state root with --root",
            Unreadable::Denied(_) => "run as the user of buildkitd, mostly root",
            Unreadable::NotARoot(_) => {
                "name the directory buildkitd was started with (--root), /var/lib/buildkit by default"
            }
            Unreadable::ContainerdWorker(_) => {
                "start buildkitd with its OCI worker (--oci-worker=true --containerd-worker=false)"
            }
            Unreadable::Dockerd(_) => "build with a buildkitd of its own; dockerd's builder cannot be read from disk",
            Unreadable::Database(_, BoltError::Busy) => "try again when no build is running",
            Unreadable::Database(..) => "start with an empty state root; this one is damaged",
            Unreadable::Io(..) => "look at the disk and the kernel's log",
        }
    }

    /// The kind an error of the file system is of.
    pub(crate) fn io(path: &Path, error: io::Error) -> Unreadable {
        match error.kind() {
            io::ErrorKind::NotFound => Unreadable::Missing(path.to_owned()),
            io::ErrorKind::PermissionDenied => Unreadable::Denied(path.to_owned()),
            _ => Unreadable::Io(path.to_owned(), error),
        }
    }

    /// What was read of a path; none when nothing is there.
    ///
    /// # Errors
    /// When it cannot be seen.
    pub(super) fn unless_absent<T>(path: &Path, read: io::Result<T>) -> Result<Option<T>, Unreadable> {
        match read {
            Err(error) if is_absent(&error) => Ok(None),
            read => read.map(Some).map_err(|error| Unreadable::io(path, error)),
        }
    }

    /// The error about a root that could not be read because of this.
    pub(crate) fn of_root(self, root: &Path) -> anyhow::Error {
        let remedy = self.remedy();
        let what = format!("could not read the state root {}", root.display());
        Failure::because(self.into(), Kind::Environment, what, remedy)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Missing(path) => write!(f, "{} does not exist", path.display()),
            Unreadable::Denied(path) => write!(f, "{} may not be read", path.display()),
            Unreadable::NotARoot(path) => write!(f, "{} is not a BuildKit state root", path.display()),
            Unreadable::ContainerdWorker(path) => {
                write!(f, "{} is the state root of a containerd worker", path.display())
            }
            Unreadable::Dockerd(path) => write!(f, "{} is the state of dockerd's own builder", path.display()),
            Unreadable::Database(path, _) | Unreadable::Io(path, _) => write!(f, "could not read {}", path.display()),
        }
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Unreadable::Database(_, error) => Some(error),
            Unreadable::Io(_, error) => Some(error),
            _ => None,
        }
    }
}
