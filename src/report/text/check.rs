//! What lies in a state root.

use super::{Page, donor, layers, shortened, time};
use crate::report::check::{
    CheckReport, Coverage, CoveredDonor, Deep, Gc, Leftovers, Promise, Record, Requirement, UsedBy,
};
use crate::report::words::{bytes, count};

/// The report as lines of text.
pub(crate) fn text(report: &CheckReport) -> String {
    let mut page = Page::default();
    let root = report.builder.state_root.clone().unwrap_or_default();
    let beside = if report.steady { "" } else { ", read while a daemon wrote to it" };
    page.section("state root", [format!("{root}{beside}")]);
    page.section("workers", report.workers.iter().map(worker));
    page.section("used by", used_by(&report.used_by));
    page.section("layers", layers(Some(&report.layers)));
    page.section(
        "frontends",
        (report.frontends.total > 0).then(|| layers(Some(&report.frontends))).into_iter().flatten(),
    );
    page.section("results", results(report));
    page.section("caches", report.donors.iter().flat_map(covered));
    page.section("manifest", report.manifest.iter().map(promise));
    page.section("deep", report.deep.iter().flat_map(deep));
    page.section("leftovers", leftovers(&report.leftovers));
    page.section("gc", gc(&report.gc));
    page.gap();
    page.section("not warm", not_warm(&report.records));
    page.gap();
    page.section("required", report.requirements.iter().map(requirement));
    page.section("time", [time(&report.phases)]);
    page.section("notes", report.head.notes.iter().cloned());
    page.verdict(report.head.verdict, &report.head.reasons);
    page.text
}

fn worker(worker: &crate::report::check::Worker) -> String {
    let id = worker.id.as_deref().unwrap_or("without its id");
    format!("{} {id}: {}", worker.snapshotter, count(worker.records, "record"))
}

fn used_by(used_by: &UsedBy) -> Vec<String> {
    let user = match (used_by.buildkit_version.as_str(), used_by.named) {
        ("", _) => "nobody knows: no buildkitd was found; name one with --used-by".to_owned(),
        (version, true) => format!("BuildKit {version} ({})", used_by.found),
        (version, false) => format!("BuildKit {version} ({}), as nothing else was said", used_by.found),
    };
    let mut lines = vec![user];
    if !used_by.writers.is_empty() {
        lines.push(format!("written by BuildKit {}", used_by.writers.join(" and ")));
    }
    if used_by.stopped == "not-clean" {
        lines.push("the last one did not stop cleanly: what it wrote last may not be on the disk".to_owned());
    }
    lines
}

fn results(report: &CheckReport) -> Vec<String> {
    let cache = &report.cache;
    if !cache.present {
        return vec!["none: there is no cache.db, so no build finds any layer".to_owned()];
    }
    let (keys, layers) = (count(cache.keys, "cache key"), count(cache.records, "layer"));
    let mut lines = vec![format!("{keys} lead to {} in {layers}", count(cache.results, "result"))];
    let amiss = [
        (cache.dangling, "dangling: the record is gone, and the next start forgets them"),
        (cache.unknown_worker, "of a worker that is not here: the next start forgets them"),
    ];
    lines.extend(amiss.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")));
    lines
}

fn covered(covered: &CoveredDonor) -> Vec<String> {
    let Coverage { total, extracted, legacy, blob_only, lazy, phantom, broken, doomed, absent } = covered.coverage;
    let again = format!("unpacked again ({})", bytes(covered.unpacked_again_bytes));
    let amiss = [
        (legacy, again.as_str()),
        (blob_only, "blob only"),
        (lazy, "lazy"),
        (phantom, "phantom"),
        (broken, "broken"),
        (doomed, "dropped by a restart"),
        (absent, "not here at all"),
    ];
    let amiss = amiss.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}"));
    let found = [format!("{extracted} of {total} extracted")].into_iter().chain(amiss);
    vec![donor(&covered.donor), format!("  {}", found.collect::<Vec<_>>().join(", "))]
}

fn promise(promise: &Promise) -> String {
    let commit = promise.commit.as_deref().map(|commit| format!(" of {}", commit.chars().take(12).collect::<String>()));
    let made = format!("{}{}, made {}", promise.file, commit.unwrap_or_default(), promise.created_at);
    format!("{made}: {} of {} extracted", promise.extracted, count(promise.records, "layer"))
}

fn deep(deep: &Deep) -> Vec<String> {
    let (blobs, snapshots) = (count(deep.blobs, "blob"), count(deep.snapshots, "snapshot"));
    let (hashed, files) = (bytes(deep.blob_bytes), count(deep.files as usize, "file"));
    let faults = deep.faults.iter().map(|fault| match (&fault.blob, fault.snapshot) {
        (Some(blob), _) => vec![format!("  {blob}: {}", fault.what)],
        (None, Some(snapshot)) => vec![format!("  snapshot {snapshot} of {}: {}", fault.worker, fault.what)],
        (None, None) => vec![format!("  {}", fault.what)],
    });
    let outcome = if deep.faults.is_empty() { "as recorded" } else { "not as recorded:" };
    let compared = match deep.compared {
        0 => String::new(),
        compared => format!(", those of {compared} compared with their blobs"),
    };
    let read = format!("{blobs} hashed ({hashed}), {files} of {snapshots} counted{compared}: {outcome}");
    [read].into_iter().chain(shortened(faults)).collect()
}

fn leftovers(leftovers: &Leftovers) -> Vec<String> {
    let mut lines = Vec::new();
    if !leftovers.partial_downloads.is_empty() {
        let sum = leftovers.partial_downloads.iter().map(|download| download.bytes).sum();
        let downloads = count(leftovers.partial_downloads.len(), "unfinished download");
        lines.push(format!("{downloads}, {}; the next goes on from there", bytes(sum)));
    }
    let (half, unused): (Vec<_>, Vec<_>) =
        leftovers.stray_snapshots.iter().partition(|name| name.starts_with("extract-"));
    let half = (half.len(), "snapshot", "half unpacked; it is unpacked anew from its blob");
    let unused = (unused.len() + leftovers.stray_directories, "snapshot", "that nothing uses");
    let removed = "BuildKit's garbage collection removes such";
    for (number, noun, what) in [half, unused].into_iter().filter(|(number, ..)| *number > 0) {
        lines.push(format!("{} {what}; {removed}", count(number, noun)));
    }
    if leftovers.stray_blobs > 0 {
        let strays = count(leftovers.stray_blobs, "blob");
        lines.push(format!("{strays} that the content store does not list, {}", bytes(leftovers.stray_bytes)));
    }
    lines.extend(leftovers.spoiled_databases.iter().map(|name| format!("{name}: put aside by BuildKit as damaged")));
    let copies = leftovers.unfinished_copies.iter();
    lines.extend(copies.map(|name| format!("{name}: of a compaction that did not come to its end")));
    match leftovers.lock {
        "held" => lines.push("a daemon runs on it".to_owned()),
        "stale" => lines.push("the lock of a daemon that did not stop cleanly, or runs elsewhere".to_owned()),
        _ => {}
    }
    lines
}

fn gc(gc: &Gc) -> Vec<String> {
    let by =
        gc.config.as_ref().map_or("BuildKit's default policy".to_owned(), |config| format!("the policy of {config}"));
    if !gc.enabled {
        return vec![format!("off, by {by}; {} in the cache", bytes(gc.total_bytes))];
    }
    let total = bytes(gc.total_bytes);
    if gc.evicted.is_empty() {
        return vec![format!("nothing of {total} would go by {by} on this disk")];
    }
    let (layers, evicted) = (count(gc.evicted_layers, "layer"), bytes(gc.evicted_bytes));
    let mut lines = vec![format!("{layers}, {evicted} of {total}, would go at the next start by {by} on this disk")];
    lines.extend(gc.limit.iter().map(|limit| format!("  because of {limit}")));
    lines.extend(gc.advice.iter().map(|advice| format!("  to do: {advice}")));
    lines
}

/// The layers that are not as a build needs them.
fn not_warm(records: &[Record]) -> Vec<String> {
    let amiss = records.iter().filter(|record| record.layer && !record.spare);
    let amiss = amiss.filter(|record| record.class != "extracted" || !record.survives);
    shortened(amiss.map(|record| {
        let name = if record.description.is_empty() { &record.id } else { &record.description };
        let loss = record.loss.as_ref().map(|loss| format!("; {loss}")).unwrap_or_default();
        vec![format!("{}: {name}{loss}", record.class)]
    }))
}

fn requirement(requirement: &Requirement) -> String {
    let Requirement { name, least, of, found, met } = requirement;
    let what = match name.as_str() {
        "extracted" => "layers with results are extracted and survive a restart",
        "survives" => "layers with results survive a restart",
        "kept" => "layers with results are kept by the first garbage collection",
        "reused" => "layers with results are found by builds that import a cache",
        "donor" => "layers of the caches are extracted and survive a restart",
        "manifest" => "layers of the manifest are extracted and survive a restart",
        other => other,
    };
    let judged = if *met { "" } else { ", too few" };
    format!("{found} of {of} {what} (at least {} %{judged})", least * 100.0)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
