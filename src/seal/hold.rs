//! Who holds a state root, and holding it ourselves while we write to it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::beneath;
use crate::failure::{Explain, Failure, Kind};
use crate::inspect;
use crate::locks::Lock;
use crate::mounts;

const PROCESSES: &str = "/proc";

/// Everything that keeps a root from being at rest: a daemon, a process with a file in it open, a mount below it. Each as a
/// sentence. `unseen` receives a sentence for each process that the kernel does not let us look at.
///
/// # Errors
/// When the kernel does not list processes or mounts.
pub(super) fn holders(root: &Path, unseen: &mut Vec<String>) -> anyhow::Result<Vec<String>> {
    let shown = root.display();
    let mut holders = Vec::new();
    let locked_by = match inspect::held_by(root).map_err(|error| error.of_root(root))? {
        Lock::Held(id) => {
            let name = id.map_or("a daemon of another container".to_owned(), named);
            holders.push(format!("{name} holds {shown}"));
            id
        }
        Lock::Absent | Lock::Stale => None,
    };
    let processes = fs::read_dir(PROCESSES).and_then(Iterator::collect::<io::Result<Vec<_>>>).explain(
        Kind::Environment,
        format!("could not find out which processes use {shown}"),
        "run as root where /proc is mounted",
    )?;
    let ids = processes.iter().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for id in ids.filter(|id| *id != std::process::id() && Some(*id) != locked_by) {
        match open_files(id) {
            Ok(files) => {
                let file = files.into_iter().find(|file| file.starts_with(root));
                holders.extend(file.map(|file| format!("{} has {} open", named(id), file.display())));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unseen.push(format!("{} is not ours to look at: nobody knows whether it uses {shown}", named(id)));
            }
            Err(error) => holders.push(format!("{} may have files of {shown} open ({error})", named(id))),
        }
    }
    let mounted = mounts::at_or_below(root)?.into_iter().filter(|point| point != root);
    holders.extend(mounted.map(|point| format!("{} is mounted", point.display())));
    Ok(holders)
}

fn named(id: u32) -> String {
    let name = fs::read_to_string(format!("{PROCESSES}/{id}/comm")).unwrap_or_default();
    format!("{} (process {id})", name.trim())
}

/// What a process has open, its working directory among it; nothing when it has ended.
fn open_files(id: u32) -> io::Result<Vec<PathBuf>> {
    let links = || {
        let mut files = vec![fs::read_link(format!("{PROCESSES}/{id}/cwd"))?];
        for entry in fs::read_dir(format!("{PROCESSES}/{id}/fd"))? {
            match fs::read_link(entry?.path()) {
                // It was closed meanwhile.
                Err(error) if beneath::is_absent(&error) => {}
                file => files.push(file?),
            }
        }
        Ok(files)
    };
    match links() {
        // A process that ends has neither any more.
        Err(error) if beneath::is_absent(&error) || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
            Ok(vec![])
        }
        files => files,
    }
}

/// Holds a root as a daemon would, until it is dropped: none starts meanwhile.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "closing it lets go")] File);

/// Takes hold of a root.
///
/// # Errors
/// Explained: when somebody else has.
pub(super) fn hold(root: &Path) -> anyhow::Result<Held> {
    let what = || format!("could not lock the state root {}", root.display());
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(inspect::lock_file(root));
    let file = file.explain(Kind::Environment, what(), "run as root on a disk that is not full or read-only")?;
    match file.try_lock() {
        Ok(()) => Ok(Held(file)),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(Kind::Environment, format!("{}: a daemon has started on it", what()), STOP))
        }
        Err(TryLockError::Error(error)) => Err(Failure::because(error.into(), Kind::Environment, what(), STOP)),
    }
}

/// How a daemon is stopped.
pub(super) const STOP: &str = "stop it first: systemctl stop buildkit.socket buildkit.service";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_held_once_and_its_holders_are_named() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(holders(root.path(), &mut Vec::new()).unwrap(), Vec::<String>::new());
        let held = hold(root.path()).unwrap();
        let error = format!("{:#}", hold(root.path()).unwrap_err());
        assert!(error.contains("a daemon has started on it"), "{error}");
        let named = holders(root.path(), &mut Vec::new()).unwrap();
        assert!(named[0].contains(&format!("(process {}) holds", std::process::id())), "{named:?}");
        drop(held);
        assert!(hold(root.path()).is_ok());
    }

    #[test]
    fn a_process_that_works_in_a_root_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").current_dir(root.path()).spawn().unwrap();
        let found = holders(root.path(), &mut Vec::new()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found[0].starts_with("sleep (process "), "{found:?}");
    }
}
