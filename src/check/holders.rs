//! The layers that hold results: what the cache keys of a root lead to, and whether a later build can use it.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::inspect::{Class, Record, RecordType, StateRoot, Worker};

/// A layer, by its worker's place in the root and its id.
pub(super) type Place<'s> = (usize, &'s str);

/// What the cache keys lead to.
#[derive(Debug, Default)]
pub(super) struct Holders<'s> {
    /// How many cache keys lead to a record.
    pub(super) results: HashMap<Place<'s>, usize>,
    /// The layers that hold results and have to be there, in no order.
    pub(super) layers: Vec<Place<'s>>,
    /// Layers that hold results and need not be there: the same content is, under another record.
    pub(super) spare: Vec<Place<'s>>,
    /// Whether any of `layers` is a step's. A root that only has frontends is as good as empty.
    pub(super) any_step: bool,
    /// Results without files.
    pub(super) scratch: usize,
    /// Results whose record does not exist.
    pub(super) dangling: usize,
    /// Results of workers that are not in the root.
    pub(super) unknown_worker: usize,
    /// Of those, the ones whose record is in the root all the same: only the worker's id is another.
    pub(super) disowned: usize,
    /// Records that results lead to and that are written in place: BuildKit never makes such a result.
    pub(super) impossible: usize,
    /// Records that results name and that were lost, not removed: their content is still held.
    pub(super) lost: BTreeSet<Place<'s>>,
}

impl<'s> Holders<'s> {
    /// Follows every result of every key.
    pub(super) fn of(state: &'s StateRoot) -> Holders<'s> {
        let workers: HashMap<&str, usize> = state
            .workers
            .iter()
            .enumerate()
            .filter_map(|(number, worker)| Some((worker.id.as_deref()?, number)))
            .collect();
        let mut holders = Holders::default();
        for result in &state.solver.results {
            let Some(number) = workers.get(result.worker.as_str()).copied() else {
                holders.unknown_worker += 1;
                let is_here = state.workers.iter().any(|worker| worker.records.contains_key(&result.record));
                holders.disowned += usize::from(is_here);
                continue;
            };
            let (worker, place) = (&state.workers[number], (number, result.record.as_str()));
            if result.record.is_empty() {
                holders.scratch += 1;
            } else if worker.records.contains_key(&result.record) {
                *holders.results.entry(place).or_default() += 1;
            } else {
                holders.dangling += 1;
                if worker.lost.contains(&result.record) {
                    holders.lost.insert(place);
                }
            }
        }
        holders.sort_layers(state, &workers);
        holders
    }

    /// A layer with an older name is not needed where it is there with a newer one as well. A phantom is dropped by a restart.
    /// Nothing is lost with it when its content stays under another record and either an image brought it, which the next
    /// build asks for by name, or all its keys lead to another layer as well.
    fn sort_layers(&mut self, state: &'s StateRoot, workers: &HashMap<&str, usize>) {
        let record_at = |place: &Place<'s>| state.workers[place.0].records.get(place.1);
        let mut layers: Vec<Place<'s>> = self.results.keys().copied().collect();
        self.impossible = layers.iter().filter(|place| record_at(place).is_some_and(Record::is_mutable)).count();
        layers.retain(|place| record_at(place).is_some_and(Record::is_layer));
        let is_twin = |place: &Place<'s>| {
            let worker = &state.workers[place.0];
            record_at(place).is_some_and(|record| worker.warm_twin(record).is_some() || worker.is_superseded(record))
        };
        let twins: Vec<Place<'s>>;
        (twins, self.layers) = layers.into_iter().partition(is_twin);
        if !twins.is_empty() {
            let keys = keys(state, workers);
            let is_ready =
                |place: &&Place<'s>| record_at(place).is_some_and(|record| is_ready(&state.workers[place.0], record));
            let ready = self.layers.iter().filter(is_ready);
            let answered: HashSet<usize> = ready.flat_map(|place| keys[place].iter().copied()).collect();
            for place in twins {
                let is_of_image = record_at(&place).is_some_and(Record::is_of_image);
                let is_spare = is_of_image || keys[&place].iter().all(|key| answered.contains(key));
                if is_spare { &mut self.spare } else { &mut self.layers }.push(place);
            }
        }
        let mut records = self.layers.iter().filter_map(|place| state.workers[place.0].records.get(place.1));
        self.any_step = records.any(|record| record.record_type != RecordType::Frontend);
    }
}

/// The cache keys that lead to each record.
fn keys<'s>(state: &'s StateRoot, workers: &HashMap<&str, usize>) -> HashMap<Place<'s>, Vec<usize>> {
    let mut keys: HashMap<Place<'s>, Vec<usize>> = HashMap::new();
    for result in &state.solver.results {
        if let Some(number) = workers.get(result.worker.as_str()) {
            keys.entry((*number, result.record.as_str())).or_default().push(result.key);
        }
    }
    keys
}

/// Whether a build can use a layer now and after a restart, without fetching or unpacking anything: it is extracted,
/// or a merge of layers that are.
pub(super) fn is_ready(worker: &Worker, record: &Record) -> bool {
    match record.class {
        Class::Unmaterialised => {
            let parts = worker.chain(&record.id).records;
            record.survival.survives()
                && parts.iter().all(|part| part.class.is_extracted() || part.class == Class::Unmaterialised)
        }
        _ => record.is_warm(),
    }
}
