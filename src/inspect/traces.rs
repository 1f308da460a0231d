//! What the databases of a root tell of the BuildKits that wrote them: of which era they were, and how the last one stopped.

use std::path::Path;

use super::bolt::{BoltError, Database};
use super::root::databases;
use super::unreadable::Unreadable;
use super::worker::Worker;
use crate::era::{self, Traces};

/// How the last daemon on a root stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// In order: its databases were closed, and are on the disk.
    Cleanly,
    /// It was killed, the machine went down, or it still runs: what it wrote last need not be on the disk.
    NotCleanly,
    /// It left no trace of that, as older ones do not.
    Unknown,
}

impl Stopped {
    /// As reports name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stopped::Cleanly => "clean",
            Stopped::NotCleanly => "not-clean",
            Stopped::Unknown => "unknown",
        }
    }
}

/// Reads how the last daemon stopped: newer ones leave the list of free pages out of every transaction but the last one.
pub(super) fn stopped(root: &Path) -> Result<Stopped, Unreadable> {
    let mut stopped = Stopped::Unknown;
    for path in databases(root)? {
        let freelists = match Database::freelists(&path) {
            Ok(freelists) => freelists,
            Err(BoltError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(BoltError::Io(error)) => return Err(Unreadable::io(&path, error)),
            // Whoever reads it says so.
            Err(_) => continue,
        };
        match freelists {
            [Some(false), _] => return Ok(Stopped::NotCleanly),
            [_, Some(false)] => stopped = Stopped::Cleanly,
            _ => {}
        }
    }
    Ok(stopped)
}

/// What the records of the workers, and how the last daemon stopped, tell of who wrote them.
pub(super) fn traces(workers: &[Worker], stopped: Stopped) -> Traces {
    let records = || workers.iter().flat_map(|worker| worker.records.values());
    Traces {
        legacy_names: records().any(|record| record.has_legacy_name()),
        new_names: records().any(|record| record.has_identity || era::is_new_name(&record.snapshot)),
        freelist_left_out: stopped != Stopped::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::inspect::bolt::fnv1a;
    use crate::inspect::{fixture, read};

    /// Leaves the list of free pages out of one of the two transactions of a database.
    fn without_freelist(path: &Path, newest: bool) {
        let bytes = fs::read(path).unwrap();
        let size = u32::from_le_bytes(bytes[24..28].try_into().unwrap()) as usize;
        let transaction = |page: usize| u64::from_le_bytes(bytes[page + 64..page + 72].try_into().unwrap());
        let page = if (transaction(0) > transaction(size)) == newest { 0 } else { size };
        let mut meta = bytes[page + 16..page + 80].to_vec();
        meta[32..40].fill(0xff);
        let sum = fnv1a(&meta[..56]).to_le_bytes();
        meta[56..].copy_from_slice(&sum);
        fs::File::options().write(true).open(path).unwrap().write_all_at(&meta, page as u64 + 16).unwrap();
    }

    #[test]
    fn how_the_last_daemon_stopped_is_read_off_the_lists_of_free_pages() {
        let root = fixture::root();
        let database = root.path().join("runc-overlayfs/containerdmeta.db");
        let found = || read(root.path()).unwrap().stopped;
        assert_eq!(found(), Stopped::Unknown);
        without_freelist(&database, false);
        assert_eq!(found(), Stopped::Cleanly);
        without_freelist(&database, true);
        assert_eq!(found(), Stopped::NotCleanly);
    }

    #[test]
    fn an_older_root_has_only_older_names() {
        let state = read(fixture::root().path()).unwrap();
        assert_eq!(state.traces, Traces { legacy_names: true, new_names: false, freelist_left_out: false });
    }
}
