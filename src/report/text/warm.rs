//! What a warm run was told, did and found.

use super::{Page, detail, donor, layers, shortened, some_reason, time};
use crate::report::assemble::{BELOW_A_MISS, NOT_FOUND_AGAIN};
use crate::report::words::{bytes, clean, count, seconds};
use crate::report::{
    Fetching, Proof, Prover, Report, Source, Step, StepState, TargetSummary, Transfer, TransferSource, Verdict,
};
use crate::verify::Doubts;

/// The report as lines of text.
pub(crate) fn text(report: &Report) -> String {
    let mut page = Page::default();
    let was_found = |step: &Step| step.reason.as_ref().is_some_and(|reason| reason.kind == NOT_FOUND_AGAIN);
    if report.hit_rate == 0.0 && !report.donors.is_empty() && !report.steps.iter().any(was_found) {
        page.section("hit rate", ["0 %: no step was found in the caches".to_owned()]);
    }
    page.section("source", [source(&report.source)]);
    page.section("builder", [builder(report)]);
    page.section("caches", report.donors.iter().map(donor));
    page.gap();
    page.block(targets(&report.targets));
    page.gap();
    page.section("ran", some_steps(report, StepState::Ran));
    page.section("missed", some_steps(report, StepState::Miss));
    page.section("unknown", some_steps(report, StepState::Unknown));
    page.gap();
    page.section("hit rate", [format!("{:.0} %", (report.hit_rate * 100.0).floor())]);
    page.section("layers", layers(report.layers.as_ref()));
    page.section("transfer", transfer(&report.transfer));
    page.section("proof", report.proof.iter().flat_map(proof));
    page.section("resolves", resolved(&report.resolved_by_every_build));
    page.section("time", [time(&report.phases)]);
    page.section("notes", report.head.notes.iter().cloned());
    page.verdict(report.head.verdict, &[report.head.reasons.as_slice(), &doubtful(report)].concat());
    page.text
}

fn source(source: &Source) -> String {
    let commit = source.commit.as_ref().map(|commit| commit.chars().take(12).collect::<String>());
    let place = match (&source.rev, commit) {
        (Some(rev), Some(commit)) if !rev.starts_with(&commit) => format!("{}, {rev} at {commit}", source.location),
        (_, Some(commit)) => format!("{} at {commit}", source.location),
        (Some(rev), None) => format!("{}, {rev}", source.location),
        (None, None) => source.location.clone(),
    };
    let changes = source.changes().map(|changes| format!(" {changes}")).unwrap_or_default();
    let modes = source
        .modes
        .as_ref()
        .and_then(|modes| modes.strip_prefix("umask="))
        .map(|umask| format!(", modes of umask {umask}"));
    format!("{place}{changes}{}", modes.unwrap_or_default())
}

fn builder(report: &Report) -> String {
    let builder = &report.builder;
    let version = Some(&builder.buildkit_version).filter(|version| !version.is_empty());
    let mut parts = vec![format!("{} {}", builder.kind, builder.address).trim().to_owned()];
    parts.extend(version.map(|version| format!("BuildKit {version}")));
    parts.extend(builder.state_root.as_ref().map(|root| format!("state root {root}")));
    parts.join(", ")
}

/// One row per target and stage, their numbers below each other.
fn targets(targets: &[TargetSummary]) -> Vec<String> {
    let rows: Vec<(String, usize, usize, usize)> = targets
        .iter()
        .flat_map(|target| {
            let stage = target.stage.as_ref().filter(|stage| **stage != target.name);
            let name = stage.map_or(target.name.clone(), |stage| format!("{} ({stage})", target.name));
            let own = (name, target.steps, target.hits, target.ran);
            let stages = target.stages.iter().map(|s| (format!("  {}", s.name), s.steps, s.hits, s.ran));
            [own].into_iter().chain(stages).collect::<Vec<_>>()
        })
        .map(|(name, steps, hits, ran)| (clean(&name), steps, hits, ran))
        .collect();
    let width = rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    let digits = rows.iter().map(|(_, steps, ..)| steps.to_string().len()).max().unwrap_or(0);
    let row = |(name, steps, hits, ran): (String, usize, usize, usize)| {
        let noun = if steps == 1 { "step " } else { "steps" };
        let mut row = format!("{name:width$}  {steps:digits$} {noun}  {hits:digits$} hit");
        if ran > 0 {
            row.push_str(&format!("  {ran:digits$} ran"));
        }
        let rest = steps.saturating_sub(hits + ran);
        if rest > 0 {
            row.push_str(&format!("  {rest:digits$} not built"));
        }
        row
    };
    rows.into_iter().map(row).collect()
}

/// What a person should know where the root is warm: that only the builder says so, that it is not from CI's cache.
fn doubtful(report: &Report) -> Vec<String> {
    let is_unfound = |step: &&Step| {
        step.state == StepState::Ran && step.reason.as_ref().is_some_and(|reason| reason.kind != "fetched")
    };
    let ran = report.steps.iter().filter(is_unfound).count();
    if report.head.verdict != Verdict::Warm {
        return Vec::new();
    }
    let is_word = report.layers.is_none() && report.proof.as_ref().is_some_and(Proof::is_the_builders_word);
    let mut doubts: Vec<String> =
        is_word.then(|| "confirmed by the builder; not read from disk".to_owned()).into_iter().collect();
    if !report.donors.is_empty() && ran > 0 {
        let ran = count(ran, "step");
        doubts.push(format!("{ran} of this build ran here, in no cache: see above whether CI builds the same"));
    }
    doubts
}

/// The steps in a state, each with its reason; those that share one are told together, and those that are only built on
/// others are told by their names.
fn some_steps(report: &Report, state: StepState) -> Vec<String> {
    let in_state = report.steps.iter().filter(|step| step.state == state);
    let is_along = |step: &&Step| step.reason.as_ref().is_some_and(|reason| reason.kind == BELOW_A_MISS);
    let (along, causes): (Vec<&Step>, Vec<&Step>) = in_state.partition(is_along);
    let name = |step: &Step| match report.targets.len() {
        0 | 1 => step.name.clone(),
        _ => format!("{} ({})", step.name, step.targets.join(", ")),
    };
    let are_alike = |one: &&Step, other: &&Step| match (&one.reason, &other.reason) {
        (Some(one), Some(other)) => (&one.what, &one.remedy) == (&other.what, &other.remedy),
        _ => false,
    };
    let told = causes.chunk_by(are_alike).flat_map(|alike| {
        let last = alike.len() - 1;
        alike.iter().enumerate().map(move |(at, step)| match &step.reason {
            Some(reason) if at < last => [name(step)].into_iter().chain(detail(reason)).collect(),
            reason => some_reason(&name(step), reason.as_ref()),
        })
    });
    let mut lines = shortened(told);
    if !along.is_empty() {
        lines.push(format!("and {} built on those:", count(along.len(), "step")));
        lines.extend(shortened(along.into_iter().map(|step| vec![format!("  {}", name(step))])));
    }
    lines
}

fn transfer(transfer: &Transfer) -> Vec<String> {
    let unpacked = format!("{} unpacked", count(transfer.extracted, "layer"));
    if transfer.blobs == 0 {
        return vec![format!("nothing fetched, {unpacked}")];
    }
    let (blobs, total) = (count(transfer.blobs, "blob"), bytes(transfer.bytes));
    let mut lines = vec![if transfer.seconds > 0.0 {
        let rate = bytes((transfer.bytes as f64 / transfer.seconds) as u64);
        format!("{blobs}, {total} in {} ({rate}/s), {unpacked}", seconds(transfer.seconds))
    } else {
        format!("{blobs}, {total}, {unpacked}")
    }];
    if transfer.sources.len() > 1 {
        let of = |source: &TransferSource| {
            format!("{} in {} from {}", bytes(source.bytes), count(source.blobs, "blob"), source.reference)
        };
        lines.extend(transfer.sources.iter().map(of));
    }
    if transfer.p50 > 0.0 {
        let [p50, p95, p99] = [transfer.p50, transfer.p95, transfer.p99].map(seconds);
        lines.push(format!("time per blob: half within {p50}, 95 % within {p95}, 99 % within {p99}"));
    }
    lines.extend(transfer.fetch.iter().filter_map(fetching));
    lines
}

/// Who fetched, and what that took; nothing where there was nothing to fetch.
fn fetching(fetch: &Fetching) -> Option<String> {
    if fetch.blobs == 0 && fetch.left.is_empty() {
        return fetch.why.as_ref().map(|why| format!("fetched by the builder: {why}"));
    }
    let mut parts = vec![format!(
        "{} by cachewarm in {} over {}",
        count(fetch.blobs, "layer"),
        seconds(fetch.seconds),
        count(fetch.connections, "connection")
    )];
    if fetch.retried > 0 {
        parts.push(format!("{} asked for again, {} resumed", count(fetch.retried, "part"), fetch.resumed));
    }
    if !fetch.left.is_empty() {
        parts.push(format!("{} left to the builder", fetch.left.len()));
    }
    Some(parts.join(", "))
}

fn proof(proof: &Proof) -> Vec<String> {
    let asked = match proof.on {
        Prover::Shadow => format!("BuildKit built {} again without cache sources", count(proof.results, "result")),
        Prover::Builder => {
            format!("asked again, the builder itself found {} without cache sources", count(proof.results, "result"))
        }
    };
    let Doubts { fetched, extracted, ran, errors, .. } = &proof.doubts;
    let lists = [("fetched", fetched), ("unpacked", extracted), ("ran", ran), ("failed", errors)];
    if lists.iter().all(|(_, list)| list.is_empty()) {
        return vec![format!("{asked}: nothing fetched, unpacked or run")];
    }
    let found =
        lists.into_iter().flat_map(|(verb, list)| list.iter().map(move |what| vec![format!("  {verb} {what}")]));
    [format!("{asked}; it")].into_iter().chain(shortened(found)).collect()
}

fn resolved(names: &[String]) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let names = shortened(names.iter().map(|name| vec![format!("  {name}")]));
    ["every build, also a fully cached one, still asks the network for".to_owned()].into_iter().chain(names).collect()
}

#[cfg(test)]
#[path = "warm_tests.rs"]
mod tests;
