//! Layers with the names that BuildKit before v0.33.1 gave them. Newer daemons load them for a result that a cache key leads
//! to, and do not find them by a blob, nor what stands on them (`hasLegacyLayerSnapshotID` in `cache/manager.go`): a build
//! that imports a cache unpacks such layers again, beside those that are there.

use std::collections::{HashMap, HashSet};

use super::records::Record;
use super::worker::Worker;
use crate::era;

impl Record {
    /// Whether its own name is such a one.
    pub(super) fn has_legacy_name(&self) -> bool {
        let chain_id = self.chain_id.as_deref().unwrap_or_default();
        !self.composed && self.blob.is_some() && era::is_legacy_name(&self.snapshot, chain_id)
    }
}

/// Marks the records that have such a name, and those that stand on one.
pub(super) fn mark(records: &mut HashMap<String, Record>) {
    let mut above: HashMap<&str, Vec<&str>> = HashMap::new();
    for record in records.values() {
        for parent in &record.parents {
            above.entry(parent).or_default().push(&record.id);
        }
    }
    let named = records.values().filter(|record| record.has_legacy_name()).map(|record| record.id.as_str());
    let mut pending: Vec<&str> = named.collect();
    let mut marked: HashSet<String> = HashSet::new();
    while let Some(id) = pending.pop() {
        if marked.insert(id.to_owned()) {
            pending.extend(above.get(id).into_iter().flatten());
        }
    }
    for id in marked {
        if let Some(record) = records.get_mut(&id) {
            record.legacy = true;
        }
    }
}

impl Worker {
    /// Whether the same content is extracted under a newer name as well.
    pub(crate) fn is_superseded(&self, record: &Record) -> bool {
        let is_newer = |twin: &Record| twin.id != record.id && !twin.legacy && twin.is_warm();
        record.legacy && record.chain_id.as_deref().is_some_and(|chain| self.records_by_chain_id(chain).any(is_newer))
    }
}

impl Worker {
    /// The layers that are there under a newer name as well, and on which nothing stands that is not: no build needs them.
    pub(crate) fn superseded(&self) -> Vec<&Record> {
        let mut unneeded: HashMap<&str, &Record> = HashMap::new();
        if self.records.values().any(|record| record.legacy) {
            let all = self.records.values().filter(|record| self.is_superseded(record));
            unneeded = all.map(|record| (record.id.as_str(), record)).collect();
            let needed = self.records.values().filter(|record| !unneeded.contains_key(record.id.as_str()));
            let mut pending: Vec<&str> = needed.flat_map(|record| &record.parents).map(String::as_str).collect();
            while let Some(id) = pending.pop() {
                if let Some(record) = unneeded.remove(id) {
                    pending.extend(record.parents.iter().map(String::as_str));
                }
            }
        }
        unneeded.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, parents: &[&str], snapshot: &str) -> Record {
        Record {
            parents: parents.iter().map(ToString::to_string).collect(),
            snapshot: snapshot.to_owned(),
            blob: Some("sha256:b".to_owned()),
            chain_id: Some("sha256:c".to_owned()),
            ..Record::empty(id)
        }
    }

    fn marked(records: Vec<Record>) -> Vec<String> {
        let mut records: HashMap<String, Record> =
            records.into_iter().map(|record| (record.id.clone(), record)).collect();
        mark(&mut records);
        let mut marked: Vec<String> =
            records.into_values().filter(|record| record.legacy).map(|record| record.id).collect();
        marked.sort();
        marked
    }

    #[test]
    fn what_stands_on_an_older_name_is_as_old() {
        let merged = Record { composed: true, ..record("merged", &["new", "child"], "merged") };
        let records = vec![
            record("base", &[], "sha256:c"),
            record("child", &["base"], "child"),
            record("new", &[], "buildkit-layer-snapshot-v1-sha256-c"),
            merged,
            record("above", &["merged"], "above"),
        ];
        assert_eq!(marked(records), ["above", "base", "child", "merged"]);
    }

    #[test]
    fn a_name_counts_only_where_there_is_a_blob() {
        let records = vec![
            Record { blob: None, ..record("made", &[], "sha256:c") },
            Record { chain_id: None, ..record("unnamed", &[], "sha256:c") },
            Record { composed: true, ..record("composed", &[], "sha256:c") },
            record("itself", &["itself"], "sha256:c"),
        ];
        assert_eq!(marked(records), ["itself"]);
    }
}
