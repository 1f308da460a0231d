//! The rows of the report that are about one record each.

use std::collections::HashSet;

use super::Looked;
use super::holders::Holders;
use crate::inspect::Record;
use crate::report::check::Record as Row;

/// Every record, or only the layers that a build cannot use as they are.
pub(super) fn rows(looked: &Looked, holders: &Holders<'_>, every_record: bool) -> Vec<Row> {
    let evicted = looked.collection.evicted();
    let spare: HashSet<_> = holders.spare.iter().collect();
    let mut rows = Vec::new();
    for (number, worker) in looked.state.workers.iter().enumerate() {
        let amiss = |record: &&Record| every_record || record.is_layer() && !record.is_warm();
        let mut records: Vec<&Record> = worker.records.values().filter(amiss).collect();
        sort_by_age(&mut records);
        rows.extend(records.into_iter().map(|record| {
            let place = (number, record.id.as_str());
            Row {
                id: record.id.clone(),
                snapshotter: worker.snapshotter.clone(),
                class: record.class.name(),
                survives: record.survival.survives(),
                loss: record.loss(),
                spare: spare.contains(&place),
                layer: record.is_layer(),
                record_type: record.record_type.name().to_owned(),
                description: record.description.clone(),
                parents: record.parents.clone(),
                results: holders.results.get(&place).copied().unwrap_or_default(),
                blob: record.blob.clone(),
                diff_id: record.diff_id.clone(),
                chain_id: record.chain_id.clone(),
                snapshot: record.snapshot_number,
                bytes_compressed: record.compressed_bytes_on_disk,
                bytes_unpacked: record.unpacked_bytes_on_disk,
                created_at: record.created_at.and_then(time),
                last_used_at: record.last_used_at.and_then(time),
                usage_count: u64::try_from(record.usage_count).unwrap_or_default(),
                evicted: evicted.contains(&place),
            }
        }));
    }
    rows
}

/// Parents before what lies on them, as far as their ages tell, so that chains read upwards; and the same root always
/// gives the same order.
pub(super) fn sort_by_age(records: &mut [&Record]) {
    records.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
}

fn time(nanoseconds: i64) -> Option<String> {
    jiff::Timestamp::from_nanosecond(nanoseconds.into()).ok().map(|time| time.to_string())
}
