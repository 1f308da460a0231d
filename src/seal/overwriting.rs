//! The records whose files were overwritten so that BuildKit can forget them: written down in the root before the first
//! byte goes, because until BuildKit has forgotten them it would build on zeros.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::inspect::overwritten_file as path;

/// Writes down which records are going to be overwritten, beside those that were.
///
/// # Errors
/// When it cannot be written.
pub(super) fn note(root: &Path, ids: &[&str]) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path(root))?;
    file.write_all(ids.iter().map(|id| format!("{id}\n")).collect::<String>().as_bytes())?;
    file.sync_all()
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
        let left = || inspect::read(root.path()).unwrap().overwritten;
        let there = inspect::read(root.path()).unwrap().workers[0].records.keys().min().unwrap().clone();
        assert!(left().is_empty());
        note(root.path(), &[&there]).unwrap();
        note(root.path(), &["gone"]).unwrap();
        assert_eq!(left(), [there]);
        clear(root.path()).unwrap();
        clear(root.path()).unwrap();
        assert!(left().is_empty());
    }
}
