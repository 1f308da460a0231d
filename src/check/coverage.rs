//! How much of a donor is in a root, layer by layer, from the donor's manifest alone.
//!
//! BuildKit finds a donor's layer by its blob chain id, else by its chain id (`GetByBlob` in `cache/manager.go`).

use super::holders::is_ready;
use super::reuse::finds;
use super::user::User;
use crate::digest::sha256;
use crate::inspect::{Class, Record, StateRoot, Worker};
use crate::registry::StackedLayer;
use crate::report::check::{Coverage, CoveredLayer};

/// The chain ids of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ChainIds {
    /// OCI's: over the diff ids from the lowest layer up.
    chain_id: String,
    /// BuildKit's: over blobs and diff ids.
    blob_chain_id: String,
}

/// Holds a donor's layers against the root, as the daemon that will use it does.
pub(super) fn covered(layers: &[StackedLayer], state: &StateRoot, user: &User) -> (Coverage, Vec<CoveredLayer>) {
    let ids = chain_ids(layers);
    let rows: Vec<CoveredLayer> = layers.iter().zip(ids).map(|(stacked, ids)| row(stacked, ids, state, user)).collect();
    let mut coverage = Coverage { total: rows.len(), ..Coverage::default() };
    for row in &rows {
        *match row.state {
            "extracted" => &mut coverage.extracted,
            "legacy" => &mut coverage.legacy,
            "blob-only" => &mut coverage.blob_only,
            "lazy" => &mut coverage.lazy,
            "phantom" => &mut coverage.phantom,
            "doomed" => &mut coverage.doomed,
            "absent" => &mut coverage.absent,
            _ => &mut coverage.broken,
        } += 1;
    }
    (coverage, rows)
}

/// The best of what the root has of a layer.
fn row(stacked: &StackedLayer, ids: ChainIds, state: &StateRoot, user: &User) -> CoveredLayer {
    let candidates = state.workers.iter().flat_map(|worker| {
        let exact = worker.records_by_blob_chain_id(&ids.blob_chain_id);
        let is_same = |record: &&Record| {
            user.era().finds_legacy_layers() || record.chain_id.as_deref() == Some(ids.chain_id.as_str())
        };
        let exact = exact.filter(is_same);
        let same = worker.records_by_chain_id(&ids.chain_id);
        exact.chain(same).map(move |record| (worker, record))
    });
    // What it finds by its blob it uses, whatever else there is.
    let best = candidates.min_by_key(|(worker, record)| (!finds(user, record), rank(worker, record)));
    let state = |(worker, record): (&Worker, &Record)| match state_of(worker, record) {
        "extracted" if !finds(user, record) => "legacy",
        state => state,
    };
    CoveredLayer {
        digest: stacked.layer.digest.clone(),
        size: stacked.layer.size,
        diff_id: stacked.layer.diff_id.clone(),
        chain_id: ids.chain_id,
        blob_chain_id: ids.blob_chain_id,
        unpacked_again: best.filter(|best| state(*best) == "legacy").map(|(_, record)| record.unpacked_bytes_on_disk),
        state: best.map_or("absent", state),
        record: best.map(|(_, record)| record.id.clone()),
    }
}

fn rank(worker: &Worker, record: &Record) -> usize {
    let order = ["extracted", "blob-only", "doomed", "phantom", "lazy"];
    order.iter().position(|state| *state == state_of(worker, record)).unwrap_or(order.len())
}

fn state_of(worker: &Worker, record: &Record) -> &'static str {
    match record.class {
        _ if is_ready(worker, record) => "extracted",
        Class::Extracted | Class::LocalUnfinalised | Class::Unmaterialised => "doomed",
        Class::BlobOnly if !record.survival.survives() => "doomed",
        Class::Mutable | Class::Deleted => "broken",
        class => class.name(),
    }
}

/// Without recursion: chains are as deep as they like. No layer lies on itself.
fn chain_ids(layers: &[StackedLayer]) -> Vec<ChainIds> {
    let mut known: Vec<Option<ChainIds>> = vec![None; layers.len()];
    for start in 0..layers.len() {
        let below = |at: &usize| layers[*at].below.filter(|below| *below < layers.len());
        let path: Vec<usize> = std::iter::successors(Some(start), below)
            .take_while(|at| known[*at].is_none())
            .take(layers.len())
            .collect();
        for at in path.into_iter().rev() {
            let parent = below(&at).and_then(|below| known[below].as_ref());
            known[at] = Some(ids_on(parent, &layers[at]));
        }
    }
    known.into_iter().zip(layers).map(|(ids, layer)| ids.unwrap_or_else(|| ids_on(None, layer))).collect()
}

fn ids_on(parent: Option<&ChainIds>, stacked: &StackedLayer) -> ChainIds {
    let (blob, diff_id) = (&stacked.layer.digest, &stacked.layer.diff_id);
    let own = sha256(format!("{blob} {diff_id}"));
    match parent {
        None => ChainIds { chain_id: diff_id.clone(), blob_chain_id: own },
        Some(parent) => ChainIds {
            chain_id: sha256(format!("{} {diff_id}", parent.chain_id)),
            blob_chain_id: sha256(format!("{} {own}", parent.blob_chain_id)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{self, fixture};
    use crate::registry::Layer;

    /// A donor with the layers of some records of the fixture, each on its parent.
    fn donor_of(worker: &Worker) -> Vec<(StackedLayer, Record)> {
        let mut rows: Vec<(StackedLayer, Record)> = Vec::new();
        let mut waiting: Vec<&Record> = worker.records.values().filter(|record| record.blob.is_some()).collect();
        while let Some(at) = waiting
            .iter()
            .position(|record| record.parents.iter().all(|parent| rows.iter().any(|(_, known)| known.id == *parent)))
        {
            let record = waiting.remove(at);
            let below = record.parents.first().and_then(|id| rows.iter().position(|(_, known)| known.id == *id));
            let (digest, diff_id) = (record.blob.clone().unwrap(), record.diff_id.clone().unwrap());
            rows.push((
                StackedLayer { layer: Layer { digest, size: 1, diff_id, foreign: false }, below },
                record.clone(),
            ));
        }
        assert!(waiting.is_empty());
        rows
    }

    fn user(version: &str) -> User {
        User { version: version.to_owned(), found: String::new(), is_named: true }
    }

    #[test]
    fn chain_ids_are_those_that_buildkit_noted() {
        let root = fixture::root();
        let state = inspect::read(root.path()).unwrap();
        let rows = donor_of(&state.workers[0]);
        let layers: Vec<StackedLayer> = rows.iter().map(|(layer, _)| layer.clone()).collect();
        for (ids, (_, record)) in chain_ids(&layers).into_iter().zip(&rows) {
            assert_eq!(Some(ids.chain_id), record.chain_id);
            assert_eq!(Some(ids.blob_chain_id), record.blob_chain_id);
        }
        let (coverage, covered) = covered(&layers, &state, &user("v0.32.2"));
        let expected = Coverage { total: 8, extracted: 4, blob_only: 2, lazy: 2, ..Coverage::default() };
        assert_eq!(coverage, expected);
        for (row, (_, record)) in covered.iter().zip(&rows) {
            assert_eq!((row.state, row.record.as_deref()), (record.class.name(), Some(record.id.as_str())));
        }
    }

    #[test]
    fn a_layer_with_an_older_name_is_extracted_for_an_older_buildkit_only() {
        let root = fixture::root();
        let state = inspect::read(root.path()).unwrap();
        let layers: Vec<StackedLayer> = donor_of(&state.workers[0]).into_iter().map(|(layer, _)| layer).collect();
        let (coverage, covered) = covered(&layers, &state, &user("v0.33.1"));
        let expected = Coverage { total: 8, legacy: 4, blob_only: 2, lazy: 2, ..Coverage::default() };
        assert_eq!(coverage, expected);
        let again: u64 = covered.iter().filter_map(|layer| layer.unpacked_again).sum();
        assert!(again > 0);
    }

    #[test]
    fn a_layer_the_root_does_not_know_is_absent() {
        let root = fixture::root();
        let state = inspect::read(root.path()).unwrap();
        let layer = Layer { digest: "sha256:a".into(), size: 7, diff_id: "sha256:b".into(), foreign: false };
        let (coverage, rows) = covered(&[StackedLayer { layer, below: None }], &state, &user("v0.34.2"));
        assert_eq!((coverage.absent, rows[0].state, rows[0].record.as_deref()), (1, "absent", None));
    }
}
