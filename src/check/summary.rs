//! From what was read to the report: the verdict, its reasons, and every record.

use std::collections::HashSet;
use std::path::PathBuf;

use super::coverage::covered;
use super::holders::{Holders, Place, is_ready};
use super::job::{Job, Subject, Threshold};
use super::{Looked, records, reuse};
use crate::inspect::{self, Record, RecordType, StateRoot, Tally};
use crate::locks::Lock;
use crate::manifest::Manifest;
use crate::registry::Probe;
use crate::report::assemble::named;
use crate::report::check::{Cache, CheckReport, CoveredDonor, Fault, Leftovers, Promise, Requirement, UsedBy, Worker};
use crate::report::words::{bytes, count};
use crate::report::{self, Donor, Head, Verdict};

/// The report, without the time it took.
pub(super) fn report(job: &Job, looked: &Looked, donors: &[Probe], promise: Option<&Manifest>) -> CheckReport {
    let holders = Holders::of(&looked.state);
    let (records, report) = inspect::both(
        || records::rows(looked, &holders, job.every_record),
        || judged(job, looked, &holders, donors, promise),
    );
    CheckReport { records, ..report }
}

/// The report, without its rows for each record.
fn judged(
    job: &Job,
    looked: &Looked,
    holders: &Holders<'_>,
    donors: &[Probe],
    promise: Option<&Manifest>,
) -> CheckReport {
    let state = &looked.state;
    let donors: Vec<CoveredDonor> = donors.iter().map(|probe| covered_donor(probe, looked)).collect();
    let manifest = promise.zip(job.manifest.as_deref()).map(|(promise, file)| kept(promise, file, state));
    let used_by = reuse::used_by(looked, holders);
    let imports = promise.is_some_and(|promise| !promise.donors.is_empty());
    let requirements = requirements(job, looked, holders, &donors, manifest.as_ref(), imports);
    let wants_reuse = requirements.iter().any(|it| it.name == Subject::Reused.name());
    let mut reasons = damage(state, holders);
    reasons.extend(of_others(state, holders, &looked.snapshotter));
    reasons.extend(looked.deep.iter().flat_map(|deep| named(deep.faults.iter().map(faulty).collect(), "faults")));
    reasons.extend(unmet(&requirements, holders, looked, &donors, &used_by));
    let (frontends, layers): (Vec<&Record>, Vec<&Record>) = all(state)
        .filter(|(number, record)| !state.workers[*number].is_superseded(record))
        .map(|(_, record)| record)
        .partition(|record| record.record_type == RecordType::Frontend);
    let verdict = if reasons.is_empty() { Verdict::Warm } else { Verdict::NotWarm };
    let notes = notes(looked, holders).into_iter().chain(reuse::notes(looked, &used_by, wants_reuse)).collect();
    CheckReport {
        head: Head::new("check", verdict, reasons, notes),
        used_by,
        builder: report::Builder {
            kind: "none".to_owned(),
            state_root: Some(job.root.display().to_string()),
            ..report::Builder::default()
        },
        donors,
        targets: Vec::new(),
        layers: Tally::of(layers),
        frontends: Tally::of(frontends),
        transfer: report::Transfer::default(),
        phases: Vec::new(),
        hit_rate: None,
        requirements,
        steady: state.steady,
        workers: state.workers.iter().map(worker).collect(),
        cache: cache(state, holders),
        leftovers: leftovers(looked),
        gc: looked.collection.report(|worker, id| state.workers[worker].records.get(id).is_some_and(Record::is_layer)),
        deep: looked.deep.clone(),
        manifest,
        records: Vec::new(),
    }
}

/// The results that the next daemon forgets when it starts, because it uses another snapshotter.
fn of_others(state: &StateRoot, holders: &Holders<'_>, next: &str) -> Vec<String> {
    let of_others = |(number, worker): (usize, &inspect::Worker)| {
        let results = holders.results.iter().filter(|((at, _), _)| *at == number).map(|(_, keys)| keys).sum::<usize>();
        let name = &worker.snapshotter;
        (name != next && results > 0).then(|| {
            let results = count(results, "result");
            format!(
                "{results} of the snapshotter {name} go with the next start, for the daemon that will use the root has {next}: \
                 set `snapshotter = \"{name}\"` in [worker.oci] of its buildkitd.toml, and name that with --buildkitd-config"
            )
        })
    };
    state.workers.iter().enumerate().filter_map(of_others).collect()
}

fn all(state: &StateRoot) -> impl Iterator<Item = (usize, &Record)> {
    let numbered = state.workers.iter().enumerate();
    numbered.flat_map(|(number, worker)| worker.records.values().map(move |record| (number, record)))
}

/// What no threshold allows: a root whose bytes contradict each other is never warm.
fn damage(state: &StateRoot, holders: &Holders<'_>) -> Vec<String> {
    let mut reasons = state.losses();
    if state.workers.iter().any(|worker| worker.id.is_none() && !worker.records.is_empty()) {
        reasons.push("the file workerid is lost: the next start forgets every result".to_owned());
    } else if holders.disowned > 0 {
        let results = count(holders.disowned, "result");
        reasons.push(format!("workerid is not the one {results} were made under: the next start forgets them"));
    }
    if state.solver.damaged > 0 {
        reasons.push(format!("cache.db contradicts itself in {}", count(state.solver.damaged, "place")));
    }
    let fields: usize = all(state).map(|(_, record)| record.damaged_fields).sum();
    if fields > 0 {
        let fields = count(fields, "field");
        reasons.push(format!("metadata_v2.db has {fields} that cannot be read; buildkitd would not start on it"));
    }
    if holders.impossible > 0 {
        let records = count(holders.impossible, "record");
        reasons.push(format!("cache.db leads to {records} that metadata_v2.db says are written in place"));
    }
    if !holders.lost.is_empty() {
        let records = count(holders.lost.len(), "record");
        reasons.push(format!("metadata_v2.db lacks {records} that cache.db leads to and whose content is still held"));
    }
    let blobs: HashSet<&str> =
        all(state).filter(|(_, record)| record.blob_damaged).filter_map(|(_, record)| record.blob.as_deref()).collect();
    let mut blobs: Vec<String> =
        blobs.into_iter().map(|blob| format!("the blob {blob} is missing or cut short")).collect();
    blobs.sort();
    reasons.extend(named(blobs, "blobs are damaged"));
    reasons
}

fn faulty(fault: &Fault) -> String {
    match (&fault.blob, fault.snapshot) {
        (Some(blob), _) => format!("the blob {blob} is not as it was recorded: {}", fault.what),
        (None, number) => {
            format!("snapshot {} is not as it was recorded: {}", number.unwrap_or_default(), fault.what)
        }
    }
}

fn requirements(
    job: &Job,
    looked: &Looked,
    holders: &Holders<'_>,
    donors: &[CoveredDonor],
    manifest: Option<&Promise>,
    imports: bool,
) -> Vec<Requirement> {
    let mut wanted = vec![Threshold { subject: Subject::Extracted, least: 1.0 }];
    wanted.extend((!donors.is_empty()).then_some(Threshold { subject: Subject::Donor, least: 1.0 }));
    let user = &looked.user;
    wanted.extend((user.is_named || imports).then_some(Threshold { subject: Subject::Reused, least: 1.0 }));
    wanted.extend(manifest.map(|_| Threshold { subject: Subject::Manifest, least: 1.0 }));
    for given in &job.thresholds {
        wanted.retain(|threshold| threshold.subject != given.subject);
        wanted.push(*given);
    }
    let (state, layers) = (&looked.state, &holders.layers);
    let that = |holds: &dyn Fn(&Place<'_>) -> bool| (layers.len(), layers.iter().filter(|place| holds(place)).count());
    let evicted = looked.collection.evicted();
    let measured = |threshold: Threshold| {
        let (of, found) = match threshold.subject {
            Subject::Extracted => that(&|place| is_ready(&state.workers[place.0], record_at(state, place))),
            Subject::Survives => that(&|place| record_at(state, place).survival.survives()),
            Subject::Kept => that(&|place| !evicted.contains(place)),
            Subject::Reused => that(&|place| reuse::reuses(user, &state.workers[place.0], record_at(state, place))),
            Subject::Donor => {
                donors.iter().fold((0, 0), |(of, found), row| (of + row.coverage.total, found + row.coverage.extracted))
            }
            Subject::Manifest => manifest.map_or((0, 0), |promise| (promise.records, promise.extracted)),
        };
        // What there is nothing of cannot be warm, whatever share was asked for.
        let any = match threshold.subject {
            Subject::Extracted | Subject::Survives | Subject::Kept | Subject::Reused => holders.any_step,
            Subject::Donor | Subject::Manifest => of > 0,
        };
        let met = any && found as f64 >= threshold.least * of as f64;
        Requirement { name: threshold.subject.name().to_owned(), least: threshold.least, of, found, met }
    };
    wanted.into_iter().map(measured).collect()
}

fn record_at<'s>(state: &'s StateRoot, place: &Place<'_>) -> &'s Record {
    &state.workers[place.0].records[place.1]
}

/// Why the thresholds that are not met are not.
fn unmet(
    requirements: &[Requirement],
    holders: &Holders<'_>,
    looked: &Looked,
    donors: &[CoveredDonor],
    used_by: &UsedBy,
) -> Vec<String> {
    let state = &looked.state;
    let mut reasons = Vec::new();
    for requirement in requirements.iter().filter(|requirement| !requirement.met) {
        let Requirement { name, of, found, .. } = requirement;
        match name.as_str() {
            "extracted" | "survives" | "kept" | "reused" if !holders.any_step => {
                reasons.push("no cache key leads to a step's layer: a build finds nothing in this root".to_owned());
            }
            "extracted" => {
                let amiss =
                    holders.layers.iter().filter(|place| !is_ready(&state.workers[place.0], record_at(state, place)));
                let mut amiss: Vec<&Record> = amiss.map(|place| record_at(state, place)).collect();
                records::sort_by_age(&mut amiss);
                let kinds = kinds(&amiss);
                reasons.push(format!(
                    "{} of {} with results are not usable as they are: {kinds}",
                    of - found,
                    count(*of, "layer")
                ));
                reasons.extend(named(amiss.into_iter().map(Record::problem).collect(), "layers are not usable"));
            }
            "survives" => {
                reasons.push(format!("a restart drops {} of {} with results", of - found, count(*of, "layer")))
            }
            "kept" => reasons.push(format!(
                "the first garbage collection evicts {} of {} with results",
                of - found,
                count(*of, "layer")
            )),
            "reused" => {
                let price = reuse::price(used_by, &looked.user);
                reasons.push(format!("{price}: warm again with it, or allow that with --require reused=0%"));
            }
            "donor" => {
                reasons.extend(donors.iter().filter(|row| row.coverage.extracted < row.coverage.total).map(|row| {
                    let coverage = row.coverage;
                    let again = (coverage.legacy > 0).then(|| {
                        let (legacy, size) = (coverage.legacy, bytes(row.unpacked_again_bytes));
                        format!("; {} unpacks {legacy} again, {size}", looked.user.name())
                    });
                    format!(
                        "{} of {} of {} are extracted{}",
                        coverage.extracted,
                        count(coverage.total, "layer"),
                        row.donor.reference,
                        again.unwrap_or_default()
                    )
                }))
            }
            _ => reasons.push(format!("{found} of {} the manifest promises are extracted", count(*of, "layer"))),
        }
    }
    reasons.dedup();
    reasons
}

/// `3 lazy, 1 phantom`.
fn kinds(records: &[&Record]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for record in records {
        let name = if record.class.is_extracted() { "dropped by a restart" } else { record.class.name() };
        match kinds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, number)) => *number += 1,
            None => kinds.push((name, 1)),
        }
    }
    kinds.iter().map(|(name, number)| format!("{number} {name}")).collect::<Vec<_>>().join(", ")
}

fn covered_donor(probe: &Probe, looked: &Looked) -> CoveredDonor {
    let (coverage, covered) = covered(&probe.stacked, &looked.state, &looked.user);
    let unpacked_again_bytes = covered.iter().filter_map(|layer| layer.unpacked_again).sum();
    CoveredDonor { donor: Donor::of(probe), coverage, unpacked_again_bytes, covered }
}

fn kept(promise: &Manifest, file: &std::path::Path, state: &StateRoot) -> Promise {
    let ready = |id: &String| {
        state.workers.iter().any(|worker| worker.records.get(id).is_some_and(|record| is_ready(worker, record)))
    };
    let absent: Vec<String> = promise.records.iter().filter(|id| !ready(id)).cloned().collect();
    Promise {
        file: file.display().to_string(),
        created_at: promise.created_at.clone(),
        commit: promise.commit.clone(),
        records: promise.records.len(),
        extracted: promise.records.len() - absent.len(),
        absent,
    }
}

fn worker(worker: &inspect::Worker) -> Worker {
    Worker {
        id: worker.id.clone(),
        snapshotter: worker.snapshotter.clone(),
        records: worker.records.len(),
        layers: Tally::of(worker.records.values()),
    }
}

fn cache(state: &StateRoot, holders: &Holders<'_>) -> Cache {
    let solver = &state.solver;
    Cache {
        present: solver.present,
        keys: solver.keys,
        links: solver.links,
        results: solver.results.len(),
        scratch: holders.scratch,
        dangling: holders.dangling,
        unknown_worker: holders.unknown_worker,
        records: holders.layers.len() + holders.spare.len(),
        damaged: solver.damaged,
    }
}

fn leftovers(looked: &Looked) -> Leftovers {
    let found = &looked.leftovers;
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Leftovers {
        partial_downloads: found.partial_downloads.clone(),
        stray_snapshots: found.stray_snapshots.clone(),
        stray_directories: found.stray_directories.len(),
        stray_blobs: found.stray_blobs.len(),
        stray_bytes: found.stray_blob_bytes,
        spoiled_databases: found.spoiled_databases.iter().filter_map(name).collect(),
        unfinished_copies: found.unfinished_copies.iter().filter_map(name).collect(),
        lock: match found.lock {
            Lock::Absent => "absent",
            Lock::Held(_) => "held",
            Lock::Stale => "stale",
        },
    }
}

/// What a person should know all the same.
fn notes(looked: &Looked, holders: &Holders<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if !looked.state.steady {
        notes.push(
            "a daemon wrote while the root was read: each file is consistent in itself, not with the others".into(),
        );
    }
    let dropped = holders.spare.iter().filter(|place| !record_at(&looked.state, place).is_warm()).count();
    if dropped > 0 {
        let layers = count(dropped, "layer");
        notes.push(format!(
            "{layers} known under two compressions: a restart drops one record each and keeps the layer"
        ));
    }
    if holders.unknown_worker > holders.disowned {
        let results = count(holders.unknown_worker - holders.disowned, "result");
        notes.push(format!("{results} of workers that are not here: the next start forgets them"));
    }
    notes
}
