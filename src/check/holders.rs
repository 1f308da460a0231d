//! The layers that hold results: what the cache keys of a root lead to, and whether a later build can use it.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::inspect::{Class, Record, RecordType, StateRoot, Worker};

/// A layer, by its worker's place in the root and its id; ordered, so that the same root gives the same report.
pub(super) type Place<'s> = (usize, &'s str);

/// What the cache keys lead to.
#[derive(Debug, Default)]
pub(super) struct Holders<'s> {
    /// How many cache keys lead to a record.
    pub(super) results: HashMap<Place<'s>, usize>,
    /// The layers that hold results and have to be there.
    pub(super) layers: BTreeSet<Place<'s>>,
    /// Layers that hold results and need not be there: the same content is, under another record.
    pub(super) spare: BTreeSet<Place<'s>>,
    /// Whether any of those is a step's. A root that only has frontends is as good as empty.
    pub(super) any_step: bool,
    /// Results without files.
    pub(super) scratch: usize,
    /// Results whose record does not exist.
    pub(super) dangling: usize,
    /// Results of workers that are not in the root.
    pub(super) unknown_worker: usize,
    /// Of those, the ones whose record is in the root all the same: only the worker's id is another.
    pub(super) disowned: usize,
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
        let mut keys: HashMap<Place<'s>, Vec<usize>> = HashMap::new();
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
                keys.entry(place).or_default().push(result.key);
            } else {
                holders.dangling += 1;
                if worker.lost.contains(&result.record) {
                    holders.lost.insert(place);
                }
            }
        }
        holders.sort_layers(state, &keys);
        holders
    }

    /// A phantom is dropped by a restart. Nothing is lost with it when its content stays under another record and either
    /// an image brought it, which the next build asks for by name, or all its keys lead to another layer as well.
    fn sort_layers(&mut self, state: &'s StateRoot, keys: &HashMap<Place<'s>, Vec<usize>>) {
        let layers = keys.keys().filter_map(|place| {
            let worker = &state.workers[place.0];
            worker.records.get(place.1).filter(|record| record.is_layer()).map(|record| (*place, worker, record))
        });
        let (twins, others): (Vec<_>, Vec<_>) = layers.partition(|(_, worker, record)| worker.has_warm_twin(record));
        self.layers = others.iter().map(|(place, ..)| *place).collect();
        let ready = others.iter().filter(|(_, worker, record)| is_ready(worker, record));
        let answered: HashSet<usize> = ready.flat_map(|(place, ..)| keys[place].iter().copied()).collect();
        for (place, _, record) in twins {
            let is_spare = record.is_of_image() || keys[&place].iter().all(|key| answered.contains(key));
            if is_spare { &mut self.spare } else { &mut self.layers }.insert(place);
        }
        let mut records = self.layers.iter().filter_map(|place| state.workers[place.0].records.get(place.1));
        self.any_step = records.any(|record| record.record_type != RecordType::Frontend);
    }
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
