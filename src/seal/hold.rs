//! Who holds a state root, and holding it ourselves while we write to it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::failure::{Explain, Failure, Kind};
use crate::inspect::{self, Lock};
use crate::mounts;

const PROCESSES: &str = "/proc";

/// Everything that keeps a root from being at rest: a daemon, a process with a file in it open, a mount below it. Each as a
/// sentence.
///
/// # Errors
/// When the kernel does not tell.
pub(super) fn holders(root: &Path) -> anyhow::Result<Vec<String>> {
    let shown = root.display();
    let mut holders = Vec::new();
    let locked_by = match inspect::held_by(root) {
        Lock::Held(id) => {
            let name = id.map_or("a daemon of another container".to_owned(), named);
            holders.push(format!("{name} holds {shown}"));
            id
        }
        Lock::Absent | Lock::Stale => None,
    };
    let ids = fs::read_dir(PROCESSES).into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for id in ids.filter(|id| *id != std::process::id() && Some(*id) != locked_by) {
        let cwd = fs::read_link(format!("{PROCESSES}/{id}/cwd")).ok();
        if let Some(file) = open_files(id).into_iter().chain(cwd).find(|file| file.starts_with(root)) {
            holders.push(format!("{} has {} open", named(id), file.display()));
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

/// What a process has open, as far as it may be known.
fn open_files(id: u32) -> Vec<PathBuf> {
    let files = fs::read_dir(format!("{PROCESSES}/{id}/fd")).into_iter().flatten().flatten();
    files.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

/// The files that the processes have open which wait for us: the script that called us is one.
pub(super) fn open_by_callers() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut id = rustix::process::getppid().map(|id| id.as_raw_nonzero().get() as u32);
    while let Some(caller) = id.filter(|id| *id > 1) {
        files.extend(open_files(caller));
        id = parent(caller);
    }
    files
}

/// The fourth field of `/proc/ID/stat`, behind a name in parentheses that may hold anything.
fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("{PROCESSES}/{id}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
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
        assert_eq!(holders(root.path()).unwrap(), Vec::<String>::new());
        let held = hold(root.path()).unwrap();
        let error = format!("{:#}", hold(root.path()).unwrap_err());
        assert!(error.contains("a daemon has started on it"), "{error}");
        let named = holders(root.path()).unwrap();
        assert!(named[0].contains(&format!("(process {}) holds", std::process::id())), "{named:?}");
        drop(held);
        assert!(hold(root.path()).is_ok());
        assert!(parent(std::process::id()).is_some());
        let _ = open_by_callers();
    }

    #[test]
    fn a_process_that_works_in_a_root_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").current_dir(root.path()).spawn().unwrap();
        let found = holders(root.path()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found[0].starts_with("sleep (process "), "{found:?}");
    }
}
