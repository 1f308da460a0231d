//! What the rules do to the records, one record after the other.
//!
//! Source: `prune`, `pruneOnce`, `calculateKeepBytes` and `sortDeleteRecords` in `cache/manager.go` of BuildKit v0.32.
//! Where BuildKit leaves the order to chance (records used at the same time, equally often) ours is by id.

use std::collections::{HashMap, HashSet};

use super::policy::{Disk, Limit, Policy, Rule};
use crate::inspect::records::{Record, RecordType};
use crate::inspect::worker::Worker;

/// A record that would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Eviction {
    /// Its id.
    pub(crate) record: String,
    /// The bytes BuildKit counts for it.
    pub(crate) bytes: u64,
    /// The number of the rule, from 0.
    pub(crate) rule: usize,
}

/// What the first garbage collection of a worker would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forecast {
    /// What BuildKit counts, in bytes: compressed and unpacked, of all records.
    pub(crate) total: u64,
    /// What would go, first to last.
    pub(crate) evicted: Vec<Eviction>,
}

impl Forecast {
    /// Bytes that would go.
    pub(crate) fn bytes(&self) -> u64 {
        self.evicted.iter().map(|eviction| eviction.bytes).sum()
    }
}

/// A record as the collection sees it.
struct Entry<'w> {
    record: &'w Record,
    /// The record that shares its data: of an immutable and a mutable one, the immutable one counts while it is in use,
    /// and then the mutable one.
    twin: Option<&'w Record>,
    bytes: u64,
    /// Its parents and those of its twin, by number; once for each reference.
    parents: Vec<usize>,
    /// How many references keep it.
    references: usize,
    /// As the record's, until the last reference to it is released.
    last_used_at: Option<i64>,
    usage_count: i64,
    alive: bool,
}

/// Forecasts the first collection after a start. `now` is in nanoseconds since 1970.
pub(crate) fn forecast(worker: &Worker, policy: &Policy, disk: Disk, now: i64) -> Forecast {
    let counted = Counted::of(worker);
    let mut forecast = Forecast { total: counted.total(), evicted: Vec::new() };
    let total = forecast.total;
    let bites =
        |rule: &Rule| rule.limit(total, disk) == Limit::None || i128::from(total) >= rule.kept_bytes(total, disk);
    // Nearly always there is nothing to do, and then nothing has to be put in order either.
    if !policy.rules.iter().any(bites) {
        return forecast;
    }
    let mut cache = Cache::new(worker, counted);
    if policy.rules.iter().any(|rule| rule.limit(total, disk) != Limit::None) {
        cache.count_sizes(now);
    }
    for (number, rule) in policy.rules.iter().enumerate() {
        // The free space is that of before: files go when all rules are done.
        cache.apply(number, rule, disk, now, &mut forecast.evicted);
    }
    forecast
}

/// The records that count: of an immutable one and the mutable one that holds its data, the one that is in use.
struct Counted<'w> {
    /// Each with the bytes BuildKit counts for it.
    records: Vec<(&'w Record, u64)>,
    /// The immutable record of each mutable one that has one.
    twins: HashMap<&'w str, &'w Record>,
}

impl<'w> Counted<'w> {
    fn of(worker: &'w Worker) -> Counted<'w> {
        let kept = || worker.records.values().filter(|record| record.survival.survives());
        let survives = |id: &str| worker.records.get(id).is_some_and(|record| record.survival.survives());
        let twins: HashMap<&str, &Record> = kept()
            .filter_map(|record| Some((record.equal_mutable.as_deref()?, record)))
            .filter(|(mutable, _)| survives(mutable))
            .collect();
        let immutable: HashSet<&str> = twins.values().map(|record| record.id.as_str()).collect();
        let parents = kept().flat_map(|record| &record.parents).map(String::as_str);
        let in_use: HashSet<&str> = parents.filter(|parent| immutable.contains(parent)).collect();
        let counts = |record: &&Record| match twins.get(record.id.as_str()) {
            Some(immutable) => !in_use.contains(immutable.id.as_str()),
            None => !immutable.contains(record.id.as_str()) || in_use.contains(record.id.as_str()),
        };
        let counted: Vec<&Record> = kept().filter(counts).collect();
        let mut found = Counted { records: Vec::new(), twins };
        let sized = counted.into_iter().map(|record| (record, bytes(worker, record, found.twin_of(record, worker))));
        found.records = sized.collect();
        found
    }

    fn twin_of(&self, record: &Record, worker: &'w Worker) -> Option<&'w Record> {
        let mutable = |id: &str| worker.records.get(id).filter(|_| self.twins.contains_key(id));
        self.twins.get(record.id.as_str()).copied().or_else(|| mutable(record.equal_mutable.as_deref()?))
    }

    fn total(&self) -> u64 {
        self.records.iter().map(|(_, bytes)| bytes).sum()
    }
}

struct Cache<'w> {
    entries: Vec<Entry<'w>>,
}

impl<'w> Cache<'w> {
    fn new(worker: &'w Worker, mut of: Counted<'w>) -> Cache<'w> {
        of.records.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        let counted = &of.records;
        let numbers: HashMap<&str, usize> =
            counted.iter().enumerate().map(|(number, (record, _))| (record.id.as_str(), number)).collect();
        let mut entries: Vec<Entry<'w>> = Vec::with_capacity(counted.len());
        for (record, bytes) in counted {
            let twin = of.twin_of(record, worker);
            let held = record.parents.iter().chain(twin.into_iter().flat_map(|twin| &twin.parents));
            entries.push(Entry {
                record,
                twin,
                bytes: *bytes,
                parents: held.filter_map(|parent| numbers.get(parent.as_str()).copied()).collect(),
                references: 0,
                last_used_at: record.last_used_at,
                usage_count: record.usage_count,
                alive: true,
            });
        }
        for number in 0..entries.len() {
            for parent in entries[number].parents.clone() {
                entries[parent].references += 1;
            }
        }
        Cache { entries }
    }

    fn total(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.alive).map(|entry| entry.bytes).sum()
    }

    /// BuildKit counts as a use of a writable snapshot (a cache mount) that it asks how large it is, once.
    fn count_sizes(&mut self, now: i64) {
        let unknown = |entry: &&mut Entry<'_>| {
            entry.twin.is_none() && entry.record.is_mutable() && entry.record.counted_bytes.is_none()
        };
        for entry in self.entries.iter_mut().filter(unknown) {
            entry.usage_count += 1;
            entry.last_used_at = Some(now);
        }
    }

    fn apply(&mut self, number: usize, rule: &Rule, disk: Disk, now: i64, evicted: &mut Vec<Eviction>) {
        let mut total = self.total();
        let keep = rule.kept_bytes(total, disk);
        let cut_off = now.saturating_sub(i64::try_from(rule.keep_duration.as_nanos()).unwrap_or(i64::MAX));
        let may_go = |entry: &Entry<'_>| {
            let record = entry.record;
            let protected = matches!(record.record_type, RecordType::Internal | RecordType::Frontend) && !rule.all;
            let recent = !rule.keep_duration.is_zero() && entry.last_used_at.is_some_and(|used| used > cut_off);
            let meant = rule.filters.is_empty() || rule.filters.iter().any(|filter| filter.is_about(record));
            entry.alive && entry.references == 0 && !protected && !recent && meant
        };
        let mut queue = Queue::new(&self.entries, (0..self.entries.len()).filter(|at| may_go(&self.entries[*at])));
        while keep == 0 || i128::from(total) >= keep {
            let Some(next) = queue.take(&self.entries, keep != 0) else { break };
            let entry = &mut self.entries[next];
            entry.alive = false;
            total = total.saturating_sub(entry.bytes);
            evicted.push(Eviction { record: entry.record.id.clone(), bytes: entry.bytes, rule: number });
            for parent in std::mem::take(&mut entry.parents) {
                let freed = &mut self.entries[parent];
                freed.references -= 1;
                if freed.references == 0 {
                    if let Some(mutable) = freed.twin {
                        (freed.record, freed.usage_count) = (mutable, mutable.usage_count);
                    }
                    // BuildKit counts the end of the last child as a use of its parent.
                    freed.usage_count += 1;
                    freed.last_used_at = Some(now.saturating_add(evicted.len() as i64));
                    if may_go(freed) {
                        queue.put(&self.entries, parent);
                    }
                }
            }
        }
    }
}

/// What BuildKit counts for a record: what it counted before, else its snapshot and its blob.
fn bytes(worker: &Worker, record: &Record, twin: Option<&Record>) -> u64 {
    let counted = record.counted_bytes.or_else(|| twin.and_then(|twin| twin.counted_bytes));
    counted.unwrap_or_else(|| {
        let measured = twin.filter(|_| record.is_mutable()).unwrap_or(record);
        let unpacked = if measured.blob_only { 0 } else { worker.unpacked_bytes(measured) };
        let blobs = measured.blob.as_deref().map_or(0, |digest| worker.blob_bytes(digest));
        unpacked.saturating_add(blobs)
    })
}

/// The records that may go, in both of the orders that decide who is next.
struct Queue {
    /// Least recently used first; those nobody used come before all others.
    by_time: Vec<usize>,
    /// Least often used first, and of those the least recently used.
    by_count: Vec<usize>,
    /// The rank by time of each record in the cache, filled anew each time.
    ranks: Vec<f64>,
}

impl Queue {
    fn new(entries: &[Entry<'_>], members: impl Iterator<Item = usize>) -> Queue {
        let mut by_time: Vec<usize> = members.collect();
        let mut by_count = by_time.clone();
        by_time.sort_by_key(|at| time(entries, *at));
        by_count.sort_by_key(|at| count(entries, *at));
        Queue { by_time, by_count, ranks: vec![0.0; entries.len()] }
    }

    fn put(&mut self, entries: &[Entry<'_>], member: usize) {
        let place = self.by_time.partition_point(|at| time(entries, *at) < time(entries, member));
        self.by_time.insert(place, member);
        let place = self.by_count.partition_point(|at| count(entries, *at) < count(entries, member));
        self.by_count.insert(place, member);
    }

    /// The next to go. Without `ranked` any will do: all of them go.
    fn take(&mut self, entries: &[Entry<'_>], ranked: bool) -> Option<usize> {
        let member = if ranked { self.lowest(entries)? } else { *self.by_count.last()? };
        self.by_time.retain(|at| *at != member);
        self.by_count.retain(|at| *at != member);
        Some(member)
    }

    /// The record with the lowest sum of its two ranks, each as a share of the highest. Of several, BuildKit's sort
    /// puts the least often used first, at least of a dozen.
    fn lowest(&mut self, entries: &[Entry<'_>]) -> Option<usize> {
        let (mut highest_time, mut last) = (1.0, None);
        for at in &self.by_time {
            let next = entries[*at].last_used_at;
            if next > last {
                (last, highest_time) = (next, highest_time + 1.0);
            }
            self.ranks[*at] = highest_time;
        }
        let (mut highest_count, mut last) = (1.0, 0);
        let mut counts = Vec::with_capacity(self.by_count.len());
        for at in &self.by_count {
            let next = entries[*at].usage_count;
            if next != last {
                (last, highest_count) = (next, highest_count + 1.0);
            }
            counts.push(highest_count);
        }
        let sums =
            self.by_count.iter().zip(&counts).map(|(at, rank)| self.ranks[*at] / highest_time + rank / highest_count);
        let lowest = sums.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
        lowest.and_then(|(place, _)| self.by_count.get(place).copied())
    }
}

fn time(entries: &[Entry<'_>], at: usize) -> (Option<i64>, usize) {
    (entries[at].last_used_at, at)
}

fn count(entries: &[Entry<'_>], at: usize) -> (i64, Option<i64>, usize) {
    (entries[at].usage_count, entries[at].last_used_at, at)
}
