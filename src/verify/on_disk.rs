//! Holds every record a run opened against what lies on disk.
//!
//! **Invariant:** a record that cannot be found counts as missing. CACHED in the status stream counts for nothing here.

use std::collections::BTreeMap;
use std::path::Path;

use crate::buildkit::RecordInUse;
use crate::inspect::{self, Class, Record, RecordType, Survival, Tally, Unreadable, Worker};

/// How often a root is read again, because a daemon wrote to it, before what is missing there is believed.
const READ_AGAIN: usize = 3;

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct OnDisk {
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
}

/// Reads the state root and judges the records `opened` with everything they lie on.
///
/// # Errors
/// When the root cannot be read, or is not the one of the worker `worker_id`.
pub(crate) fn on_disk(root: &Path, worker_id: &str, opened: &[RecordInUse]) -> Result<OnDisk, Unreadable> {
    settled(|| {
        let state = inspect::read(root)?;
        let worker = state.worker_with_id(worker_id).ok_or_else(|| Unreadable::NotARoot(root.to_owned()))?;
        Ok((judged(worker, opened), state.steady))
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
    let mut found = OnDisk::default();
    // Ordered, so that the same root gives the same report.
    let mut records: BTreeMap<&str, &Record> = BTreeMap::new();
    for record in opened {
        let chain = worker.chain(&record.id);
        found.problems.extend(chain.missing.iter().map(|id| format!("the record {id} is not in the databases")));
        records.extend(chain.records.iter().map(|record| (record.id.as_str(), *record)));
    }
    let (twins, layers): (Vec<&Record>, Vec<&Record>) =
        records.into_values().filter(|record| record.is_layer()).partition(|record| has_twin(worker, record));
    let steps = twins.into_iter().filter(|record| !is_of_image(record));
    found.unproven = steps.filter_map(problem).collect();
    found.problems.extend(layers.iter().filter_map(|record| problem(record)));
    found.blobs = layers.iter().filter_map(|record| record.blob.clone()).collect();
    let is_frontend = |record: &&&Record| record.record_type == RecordType::Frontend;
    found.frontends = Tally::of(layers.iter().filter(is_frontend).copied());
    found.layers = Tally::of(layers.iter().filter(|record| !is_frontend(record)).copied());
    found
}

/// Whether the same layer is there under another record, compressed in another way: a donor's and an image's. BuildKit
/// unpacks it once, for both; the one without a blob is dropped at the next start, and the layer stays.
fn has_twin(worker: &Worker, record: &Record) -> bool {
    let same = |id: &str| worker.records_by_chain_id(id).any(|twin| twin.id != record.id && twin.is_warm());
    record.class == Class::Phantom && record.chain_id.as_deref().is_some_and(same)
}

/// Whether a record came with an image by its name. BuildKit describes only what it imported or made.
fn is_of_image(record: &Record) -> bool {
    record.description.is_empty() || record.description.starts_with("pulled from ")
}

fn problem(record: &Record) -> Option<String> {
    let what = match (record.class, &record.survival) {
        (Class::Extracted | Class::LocalUnfinalised | Class::Unmaterialised, Survival::Survives) => return None,
        (Class::BlobOnly, _) => "its compressed blob is there and was never unpacked".to_owned(),
        (Class::Lazy, _) => "nothing of it is on disk".to_owned(),
        (Class::Phantom, _) => {
            "it is unpacked, and BuildKit drops it at its next start because its blob is not there; warm an empty state root".to_owned()
        }
        (Class::Broken, _) => "the databases promise a snapshot that is not on disk".to_owned(),
        (Class::Deleted, _) => "it is marked for deletion".to_owned(),
        (_, Survival::Lost { record, loss }) => format!("a restart drops it, because {record} {}", words(*loss)),
        (Class::Mutable, Survival::Survives) => return None,
    };
    let description = if record.description.is_empty() { &record.id } else { &record.description };
    Some(format!("{description}: {what}"))
}

fn words(loss: inspect::Loss) -> &'static str {
    match loss {
        inspect::Loss::Lazy => "is not on disk",
        inspect::Loss::Phantom => "is known here under another compression and has no blob; warm an empty state root",
        inspect::Loss::Broken => "lacks its snapshot",
        inspect::Loss::Deleted => "is marked for deletion",
        inspect::Loss::Missing => "does not exist",
        inspect::Loss::Cycle => "is its own ancestor",
    }
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
