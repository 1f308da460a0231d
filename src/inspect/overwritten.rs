//! The records whose files `seal --fix` has overwritten so that BuildKit can forget them. seal notes their ids in the root before
//! the first byte goes: until BuildKit has forgotten them, builds would use zeros.

use std::io;
use std::path::{Path, PathBuf};

use super::Unreadable;
use super::worker::Worker;
use crate::foreign;

/// The file with the ids of the records, one a line.
pub(crate) fn overwritten_file(root: &Path) -> PathBuf {
    root.join(".cachewarm-doomed")
}

/// The noted records that are still there.
pub(super) fn left(root: &Path, workers: &[Worker]) -> Result<Vec<String>, Unreadable> {
    let path = overwritten_file(root);
    let noted = Unreadable::unless_absent(&path, foreign::open_regular(&path).and_then(io::read_to_string))?;
    let is_there = |id: &&str| workers.iter().any(|worker| worker.records.contains_key(*id));
    Ok(noted.unwrap_or_default().lines().filter(is_there).map(str::to_owned).collect())
}
