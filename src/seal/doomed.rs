//! The records whose files were overwritten so that BuildKit can forget them: written down in the root before the first
//! byte goes, because until BuildKit has forgotten them it would build on zeros.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::inspect::StateRoot;

fn path(root: &Path) -> PathBuf {
    root.join(".cachewarm-doomed")
}

/// Writes down which records are going to be overwritten, beside those that were.
///
/// # Errors
/// When it cannot be written.
pub(super) fn note(root: &Path, ids: &[&str]) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path(root))?;
    file.write_all(ids.iter().map(|id| format!("{id}\n")).collect::<String>().as_bytes())?;
    file.sync_all()
}

/// Those of them that are still there.
pub(super) fn left(root: &Path, state: &StateRoot) -> Vec<String> {
    let noted = fs::read_to_string(path(root)).unwrap_or_default();
    let is_there = |id: &&str| state.workers.iter().any(|worker| worker.records.contains_key(*id));
    noted.lines().filter(is_there).map(str::to_owned).collect()
}

/// Forgets what was written down: nothing of it is there any more.
///
/// # Errors
/// When the file cannot be removed.
pub(super) fn clear(root: &Path) -> io::Result<()> {
    match fs::remove_file(path(root)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{self, fixture};

    #[test]
    fn what_was_overwritten_is_known_until_it_is_gone() {
        let root = fixture::root();
        let state = inspect::read(root.path()).unwrap();
        let there = state.workers[0].records.keys().min().unwrap().clone();
        assert!(left(root.path(), &state).is_empty());
        note(root.path(), &[&there]).unwrap();
        note(root.path(), &["gone"]).unwrap();
        assert_eq!(left(root.path(), &state), [there]);
        clear(root.path()).unwrap();
        clear(root.path()).unwrap();
        assert!(left(root.path(), &state).is_empty());
    }
}
