//! What lies behind a record, and whether the next start of buildkitd keeps it: pure decisions over gathered facts.
//!
//! Proved on state roots that were fully warmed, warmed by `--load`, by `cacheonly`, and killed in the middle.

use std::collections::HashMap;

use super::blobs::Blob;

/// What lies behind a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Class {
    /// A build can use it as it is.
    Extracted,
    /// A local step's result whose data still lies in the writable snapshot it was made in; as good as extracted.
    LocalUnfinalised,
    /// A merge or diff that nobody mounted yet; it is put together from its parents without any network.
    Unmaterialised,
    /// The compressed blob is there; using it means unpacking it.
    BlobOnly,
    /// Nothing is there; using it means fetching and unpacking it.
    Lazy,
    /// Looks extracted through another record's snapshot, but its own blob was never fetched: BuildKit takes it for
    /// lazy, and drops it at its next start.
    Phantom,
    /// The databases promise what is not on disk.
    Broken,
    /// Written in place: local sources, cache mounts. Not a layer.
    Mutable,
    /// To be removed at the next start.
    Deleted,
}

impl Class {
    /// The word for it in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Extracted | Class::LocalUnfinalised => "extracted",
            Class::Unmaterialised => "unmaterialised",
            Class::BlobOnly => "blob-only",
            Class::Lazy => "lazy",
            Class::Phantom => "phantom",
            Class::Broken => "broken",
            Class::Mutable => "mutable",
            Class::Deleted => "deleted",
        }
    }

    /// Whether a build can use it without fetching or unpacking anything.
    pub(crate) fn is_extracted(self) -> bool {
        matches!(self, Class::Extracted | Class::LocalUnfinalised)
    }
}

/// Whether the next start of buildkitd keeps a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Survival {
    /// It is kept.
    Survives,
    /// It is dropped.
    Lost {
        /// The record that takes it down: itself or an ancestor.
        record: String,
        /// What is wrong with that one.
        loss: Loss,
    },
}

impl Survival {
    /// Whether it is kept.
    pub(crate) fn survives(&self) -> bool {
        matches!(self, Survival::Survives)
    }
}

/// Why a record takes itself and its descendants down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is [`Class::Lazy`].
    Lazy,
    /// It is [`Class::Phantom`].
    Phantom,
    /// It is [`Class::Broken`].
    Broken,
    /// It is [`Class::Deleted`].
    Deleted,
    /// There is no such record.
    Missing,
    /// It is its own ancestor.
    Cycle,
}

impl Loss {
    /// What is wrong with the record, after its name.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Loss::Lazy => "is not on disk",
            Loss::Phantom => "is known here under another compression and has no blob; warm an empty state root",
            Loss::Broken => "lacks its snapshot",
            Loss::Deleted => "is marked for deletion",
            Loss::Missing => "does not exist",
            Loss::Cycle => "is its own ancestor",
        }
    }
}

/// What is there of a record's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    /// No snapshot, or its directory is missing.
    Absent,
    /// A snapshot that is not committed, with its directory.
    Writable,
    /// A committed snapshot with its directory.
    Committed,
    /// A committed snapshot whose files come over the network.
    Remote,
}

/// What [`class`] decides from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) deleted: bool,
    pub(super) committed: bool,
    /// Whether it has merge or diff parents.
    pub(super) composed: bool,
    pub(super) blob_only: bool,
    pub(super) blob: Blob,
    pub(super) backing: Backing,
    /// The backing of the mutable record that holds its data, if it names one.
    pub(super) equal_mutable: Option<Backing>,
}

/// The decision list; the first rule that applies wins.
pub(super) fn class(facts: &Facts) -> Class {
    let snapshot = facts.backing == Backing::Committed;
    if facts.deleted {
        return Class::Deleted;
    }
    // BuildKit 0.10.0 and 0.10.1 forgot to mark merges and diffs as committed (`cache/manager.go`).
    if !facts.committed && !facts.composed {
        return if facts.backing == Backing::Absent { Class::Broken } else { Class::Mutable };
    }
    match facts.equal_mutable {
        Some(Backing::Writable) => return Class::LocalUnfinalised,
        // A crash while it was finalised: BuildKit goes on with the committed snapshot, if there is one.
        Some(_) => return if snapshot { Class::Extracted } else { Class::Broken },
        None => {}
    }
    if facts.backing == Backing::Remote {
        return Class::Lazy;
    }
    if facts.composed {
        return if snapshot { Class::Extracted } else { Class::Unmaterialised };
    }
    if !facts.blob_only {
        return if snapshot { Class::Extracted } else { Class::Broken };
    }
    match (facts.blob, snapshot) {
        (Blob::Present(_), true) => Class::Extracted,
        (Blob::Present(_), false) => Class::BlobOnly,
        (Blob::Absent, true) => Class::Phantom,
        (Blob::Absent, false) => Class::Lazy,
        (Blob::Damaged, _) => Class::Broken,
    }
}

fn own_loss(class: Class) -> Option<Loss> {
    match class {
        Class::Lazy => Some(Loss::Lazy),
        Class::Phantom => Some(Loss::Phantom),
        Class::Broken => Some(Loss::Broken),
        Class::Deleted => Some(Loss::Deleted),
        Class::Extracted | Class::LocalUnfinalised | Class::Unmaterialised | Class::BlobOnly | Class::Mutable => None,
    }
}

/// What [`survivals`] knows of a record while it is on its way down to the ancestors.
enum State {
    Visiting,
    Known(Survival),
}

/// Decides for every record; each maps to its class and its parents. Without recursion: chains are as deep as they like.
pub(super) fn survivals<'r>(records: &HashMap<&'r str, (Class, &'r [String])>) -> HashMap<&'r str, Survival> {
    let mut states: HashMap<&str, State> = HashMap::with_capacity(records.len());
    for start in records.keys() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((id, next)) = path.pop() {
            if next == 0 && states.contains_key(id) {
                continue;
            }
            let lost = |loss| Survival::Lost { record: id.to_owned(), loss };
            let Some((class, parents)) = records.get(id) else {
                states.insert(id, State::Known(lost(Loss::Missing)));
                continue;
            };
            if let Some(loss) = own_loss(*class) {
                states.insert(id, State::Known(lost(loss)));
                continue;
            }
            states.insert(id, State::Visiting);
            // The parent before `next` was entered before we came back here.
            let visited = parents.get(..next).unwrap_or_default();
            let down = visited.last().and_then(|parent| match states.get(parent.as_str()) {
                Some(State::Known(Survival::Survives)) | None => None,
                Some(State::Known(lost)) => Some(lost.clone()),
                Some(State::Visiting) => Some(Survival::Lost { record: parent.clone(), loss: Loss::Cycle }),
            });
            match (down, parents.get(next)) {
                (Some(lost), _) => {
                    states.insert(id, State::Known(lost));
                }
                (None, None) => {
                    states.insert(id, State::Known(Survival::Survives));
                }
                (None, Some(parent)) => {
                    path.push((id, next + 1));
                    path.push((parent, 0));
                }
            }
        }
    }
    states
        .into_iter()
        .filter_map(|(id, state)| match state {
            State::Known(survival) if records.contains_key(id) => Some((id, survival)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAYER: Facts = Facts {
        deleted: false,
        committed: true,
        composed: false,
        blob_only: true,
        blob: Blob::Present(7),
        backing: Backing::Committed,
        equal_mutable: None,
    };

    #[test]
    fn the_first_rule_that_applies_wins() {
        let absent = Backing::Absent;
        let cases = [
            (Facts { deleted: true, committed: false, ..LAYER }, Class::Deleted),
            (Facts { committed: false, backing: Backing::Writable, ..LAYER }, Class::Mutable),
            (Facts { committed: false, backing: absent, ..LAYER }, Class::Broken),
            (Facts { equal_mutable: Some(Backing::Writable), backing: absent, ..LAYER }, Class::LocalUnfinalised),
            (Facts { equal_mutable: Some(absent), ..LAYER }, Class::Extracted),
            (Facts { equal_mutable: Some(absent), backing: absent, ..LAYER }, Class::Broken),
            (Facts { composed: true, committed: false, ..LAYER }, Class::Extracted),
            (Facts { composed: true, backing: absent, ..LAYER }, Class::Unmaterialised),
            (Facts { blob_only: false, blob: Blob::Absent, ..LAYER }, Class::Extracted),
            (Facts { blob_only: false, backing: absent, ..LAYER }, Class::Broken),
            (Facts { blob_only: false, backing: Backing::Writable, ..LAYER }, Class::Broken),
            (LAYER, Class::Extracted),
            (Facts { backing: absent, ..LAYER }, Class::BlobOnly),
            (Facts { blob: Blob::Absent, ..LAYER }, Class::Phantom),
            (Facts { blob: Blob::Absent, backing: absent, ..LAYER }, Class::Lazy),
            (Facts { blob: Blob::Damaged, ..LAYER }, Class::Broken),
            (Facts { blob: Blob::Damaged, backing: absent, ..LAYER }, Class::Broken),
            (Facts { backing: Backing::Remote, ..LAYER }, Class::Lazy),
        ];
        for (facts, expected) in cases {
            assert_eq!(class(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_chain_of_any_depth_is_lost_with_its_base() {
        let names: Vec<String> = (0..50_000).map(|n| format!("{n}")).collect();
        let parents: Vec<Vec<String>> =
            (0..names.len()).map(|n| names[n + 1..].iter().take(1).cloned().collect()).collect();
        let mut records: HashMap<&str, _> = names
            .iter()
            .zip(&parents)
            .map(|(name, parents)| (name.as_str(), (Class::Extracted, &parents[..])))
            .collect();
        assert!(survivals(&records).values().all(Survival::survives));
        records.remove("49999");
        let lost = Survival::Lost { record: "49999".into(), loss: Loss::Missing };
        assert!(survivals(&records).values().all(|survival| *survival == lost));
    }

    proptest! {
        #[test]
        fn a_record_survives_unless_something_it_stands_on_does_not(
            nodes in proptest::collection::vec((0..9usize, proptest::collection::vec(0..12usize, 0..4)), 1..10),
        ) {
            let classes = [
                Class::Extracted, Class::LocalUnfinalised, Class::Unmaterialised, Class::BlobOnly, Class::Mutable,
                Class::Lazy, Class::Phantom, Class::Broken, Class::Deleted,
            ];
            let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
            let parents: Vec<Vec<String>> =
                nodes.iter().map(|(_, parents)| parents.iter().map(|at| names[*at].clone()).collect()).collect();
            let records: HashMap<&str, (Class, &[String])> = nodes
                .iter()
                .enumerate()
                .map(|(at, (class, _))| (names[at].as_str(), (classes[*class], parents[at].as_slice())))
                .collect();
            // Sound are those that can be put up from the ground; whatever is left stands on nothing, or on itself.
            let mut sound: Vec<usize> = Vec::new();
            while let Some(next) = (0..nodes.len()).find(|at| {
                !sound.contains(at) && nodes[*at].0 < 5 && nodes[*at].1.iter().all(|parent| sound.contains(parent))
            }) {
                sound.push(next);
            }
            let decided = survivals(&records);
            prop_assert_eq!(decided.len(), nodes.len());
            for at in 0..nodes.len() {
                prop_assert_eq!(decided[names[at].as_str()].survives(), sound.contains(&at), "record {}", at);
            }
        }
    }
}
