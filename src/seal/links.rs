//! Links in a state root where BuildKit has directories and files of its own. What they lead to is not part of the root: it is
//! in no snapshot of the disk that the root is on, nobody here searches it, and a daemon would change it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, statat};
use rustix::io::Errno;

use super::erase::Root;
use crate::beneath::{self, is_absent};
use crate::failure::{Failure, Kind};
use crate::inspect::Unreadable;

/// The directories of a worker whose entries are no files of builds.
const OF_WORKER: [&str; 9] = [
    "",
    "content",
    "content/blobs",
    "content/blobs/sha256",
    "content/ingest",
    "snapshots",
    "snapshots/snapshots",
    "snapshots/snapshotter",
    "snapshots/snapshotter/snapshots",
];

/// Refuses a root with links in it.
///
/// # Errors
/// Explained: when there is one, or a directory cannot be read.
pub(super) fn refuse(root: &Root, path: &Path) -> anyhow::Result<()> {
    let found = find(root).map_err(|error| Unreadable::io(path, error).of_root(path))?;
    let Some(link) = found.first() else { return Ok(()) };
    Err(Failure::new(
        Kind::Environment,
        format!(
            "could not seal {}: its {} is a link, and what that leads to is not in the root",
            path.display(),
            link.display()
        ),
        "move what it leads to into the root, or start with an empty state root",
    ))
}

fn find(root: &Root) -> io::Result<Vec<PathBuf>> {
    let mut links = Vec::new();
    for name in look(root, Path::new(""), &mut links)? {
        if name.to_string_lossy().starts_with("runc-") {
            for directory in OF_WORKER {
                look(root, &name.join(directory), &mut links)?;
            }
        }
    }
    Ok(links)
}

/// Notes the links in a directory, and gives the names in it; none where there is no directory.
fn look(root: &Root, directory: &Path, links: &mut Vec<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let opened = match beneath::open(root.directory(), directory, OFlags::RDONLY | OFlags::DIRECTORY) {
        // A link was noted where it lies.
        Err(error) if is_absent(&error) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Ok(Vec::new());
        }
        opened => opened?,
    };
    let names = beneath::entries(&opened)?;
    for name in &names {
        match statat(&opened, OsStr::new(name), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from) {
            Err(error) if is_absent(&error) => {}
            found => {
                if FileType::from_raw_mode(found?.st_mode) == FileType::Symlink {
                    links.push(directory.join(name));
                }
            }
        }
    }
    Ok(names.into_iter().map(PathBuf::from).collect())
}
