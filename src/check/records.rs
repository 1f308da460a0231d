//! The rows of the report that are about one record each.

use std::collections::HashSet;

use super::Looked;
use super::holders::Holders;
use crate::inspect::{Class, Record, Survival};
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
                loss: loss(record),
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

/// A record that a build cannot use as it is, as one sentence.
pub(super) fn problem(record: &Record) -> String {
    let name = if record.description.is_empty() { &record.id } else { &record.description };
    let what = match record.class {
        Class::BlobOnly => "its blob is here and was never unpacked",
        Class::Lazy => "nothing of it is on disk",
        Class::Phantom => "it is unpacked, and BuildKit drops it at its next start because its blob is not here",
        Class::Broken => "the databases promise what is not on disk",
        Class::Deleted => "it is marked for deletion",
        Class::Mutable => "it is written in place, and cannot hold a result",
        Class::Unmaterialised => "not all it is made of is unpacked",
        Class::Extracted | Class::LocalUnfinalised => "it is extracted",
    };
    let loss = loss(record).filter(|_| record.class.is_extracted());
    format!("{name}: {what}{}", loss.map(|loss| format!(", but {loss}")).unwrap_or_default())
}

/// Why the next start drops a record, if it does.
fn loss(record: &Record) -> Option<String> {
    match &record.survival {
        Survival::Survives => None,
        Survival::Lost { record: guilty, loss } if *guilty == record.id => {
            Some(format!("a restart drops it: it {}", loss.words()))
        }
        Survival::Lost { record: guilty, loss } => {
            Some(format!("a restart drops it, because {guilty} {}", loss.words()))
        }
    }
}

fn time(nanoseconds: i64) -> Option<String> {
    jiff::Timestamp::from_nanosecond(nanoseconds.into()).ok().map(|time| time.to_string())
}
