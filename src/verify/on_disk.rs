//! Holds every record a run opened against what lies on disk.
//!
//! **Invariant:** a record that cannot be found counts as missing. CACHED in the status stream counts for nothing here.

use std::collections::BTreeMap;
use std::path::Path;

use crate::buildkit::RecordInUse;
use crate::inspect::{self, Class, Record, RecordType, Tally, Unreadable, Worker};

/// How often a root is read again, because a daemon wrote to it, before what is missing there is believed.
const READ_AGAIN: usize = 3;

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct OnDisk {
    /// The snapshotter of the worker.
    pub(crate) snapshotter: String,
    /// The layers of the steps. The layers of `# syntax=` frontends are apart.
    pub(crate) layers: Tally,
    /// The layers of the frontends.
    pub(crate) frontends: Tally,
    /// What is wrong, one sentence a record; empty when everything is there and survives a restart.
    pub(crate) problems: Vec<String>,
    /// What only a proof can clear: a step's layer that is there under another record, so that a restart may forget
    /// the step and keep the layer.
    pub(crate) unproven: Vec<String>,
    /// The compressed blobs of all these layers.
    pub(crate) blobs: Vec<String>,
    /// The ids of all these layers' records.
    pub(crate) records: Vec<String>,
}

/// Reads the state root and judges the records `opened` with everything they lie on.
///
/// # Errors
/// When the root cannot be read, or is not the one of the worker `worker_id`.
pub(crate) fn on_disk(root: &Path, worker_id: &str, opened: &[RecordInUse]) -> Result<OnDisk, Unreadable> {
    settled(|| {
        let state = inspect::read(root)?;
        let worker = state.worker_with_id(worker_id).ok_or_else(|| Unreadable::NotARoot(root.to_owned()))?;
        let mut found = judged(worker, opened);
        found.problems.extend(state.losses());
        Ok((found, state.steady))
    })
}

/// Looks until what is found can be relied on: a daemon that wrote meanwhile may have moved on between two files, and
/// what looks wrong then need not be.
fn settled(mut look: impl FnMut() -> Result<(OnDisk, bool), Unreadable>) -> Result<OnDisk, Unreadable> {
    for _ in 0..READ_AGAIN {
        let (found, steady) = look()?;
        if steady || found.problems.is_empty() {
            return Ok(found);
        }
    }
    look().map(|(found, _)| found)
}

fn judged(worker: &Worker, opened: &[RecordInUse]) -> OnDisk {
    let mut found = OnDisk { snapshotter: worker.snapshotter.clone(), ..OnDisk::default() };
    // Ordered, so that the same root gives the same report.
    let mut records: BTreeMap<&str, &Record> = BTreeMap::new();
    for record in opened {
        let chain = worker.chain(&record.id);
        found.problems.extend(chain.missing.iter().map(|id| format!("the record {id} is not in the databases")));
        records.extend(chain.records.iter().map(|record| (record.id.as_str(), *record)));
    }
    records.retain(|_, record| record.is_layer());
    let twins: Vec<_> =
        records.values().filter_map(|record| worker.warm_twin(record).map(|twin| (*record, twin))).collect();
    for (record, twin) in twins {
        if !record.is_of_image() {
            found.unproven.extend(problem(record));
        }
        records.remove(record.id.as_str());
        records.insert(&twin.id, twin);
    }
    let layers: Vec<&Record> = records.into_values().collect();
    found.problems.extend(layers.iter().filter_map(|record| problem(record)));
    // What is there under a newer name as well is there once.
    let layers: Vec<&Record> = layers.into_iter().filter(|record| !worker.is_superseded(record)).collect();
    found.blobs = layers.iter().filter_map(|record| record.blob.clone()).collect();
    found.records = layers.iter().map(|record| record.id.clone()).collect();
    let is_frontend = |record: &&&Record| record.record_type == RecordType::Frontend;
    found.frontends = Tally::of(layers.iter().filter(is_frontend).copied());
    found.layers = Tally::of(layers.iter().filter(|record| !is_frontend(record)).copied());
    found
}

/// What is wrong with a record that was opened. What merges others, or is written in place, is not unpacked by that.
fn problem(record: &Record) -> Option<String> {
    let is_sound = match record.class {
        Class::Extracted | Class::LocalUnfinalised | Class::Unmaterialised | Class::Mutable => {
            record.survival.survives()
        }
        Class::BlobOnly | Class::Lazy | Class::Phantom | Class::Broken | Class::Deleted => false,
    };
    (!is_sound).then(|| record.problem())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found when each look finds so many problems, and whether it was steady; and the number of looks.
    fn looking(at: &[(usize, bool)]) -> (usize, usize) {
        let mut looks = 0;
        let found = settled(|| {
            let (problems, steady) = at[looks];
            looks += 1;
            Ok((OnDisk { problems: vec![String::new(); problems], ..OnDisk::default() }, steady))
        });
        (found.unwrap().problems.len(), looks)
    }

    #[test]
    fn a_root_that_changed_while_it_was_read_is_read_again_before_it_is_accused() {
        assert_eq!(looking(&[(2, false), (0, false)]), (0, 2));
        assert_eq!(looking(&[(2, false), (1, true)]), (1, 2));
        assert_eq!(looking(&[(1, true)]), (1, 1));
        assert_eq!(looking(&[(5, false), (5, false), (5, false), (4, false)]), (4, 4));
    }
}
