//! From everything a run learned to its report and verdict.

use super::solve::{Found, Solved};
use super::{Job, Prove, Run};
use crate::buildkit::{Account, Builder, Graph, Operation, Request};
use crate::explain::Comparison;
use crate::manifest::{Manifest, Marks, Served};
use crate::plan::Plan;
use crate::report::assemble::{self, Hits, NOT_FOUND_AGAIN, NOT_IN_CACHE, named};
use crate::report::{self, Head, Proof, Report, Step, StepState, Transfer, Verdict};
use crate::verify::Doubts;

/// The kind of reason of a step that every build runs.
const ALWAYS_RUNS: &str = "always-runs";

/// The report of a run.
pub(super) fn report(
    run: &Run<'_>,
    builder: &Builder,
    solved: &Solved,
    found: &Found,
    doubts: Option<Doubts>,
) -> Report {
    let Run { job, plan, donors, .. } = *run;
    let judged = |graph: &Graph, operation: &Operation| {
        let state = state(solved, graph, operation);
        (state, reason(operation, state, solved.accounts.vertices.get(&operation.digest)))
    };
    let steps = assemble::steps(&plan.targets, &solved.graphs, judged);
    let hits = assemble::hits(&solved.graphs, &steps, |_| true);
    let is_unproven = solved.miss.is_none() && doubts.is_none();
    let proof = doubts.map(|doubts| Proof::of(doubts, solved.requests.iter().map(Request::len).sum()));
    let (verdict, reasons) = verdict(job, plan, hits, solved, found, proof.as_ref());
    let mut notes = notes(&steps, plan, is_unproven);
    if let (Verdict::Warm, Found::Unread(why)) = (verdict, found) {
        notes.push(format!("the state root was not read ({why}); --prove=disk demands that it is"));
    }
    let (layers, frontends) = match found {
        Found::OnDisk(found) => (Some(found.layers), Some(found.frontends)),
        Found::Unread(_) => (None, None),
    };
    Report {
        head: Head::new("warm", verdict, reasons, notes),
        source: report::Source::of_run(plan, &solved.accounts),
        builder: report::Builder {
            kind: builder.kind.into(),
            address: builder.address.clone(),
            buildkit_version: builder.version.clone(),
            state_root: builder.root.path().map(|root| root.display().to_string()),
        },
        transfer: Transfer {
            fetch: Some(solved.fetched.clone()),
            ..assemble::transfer(&solved.accounts, &donors.layers())
        },
        donors: donors.rows(),
        resolved_by_every_build: assemble::resolved_by_every_build(&solved.accounts, &solved.graphs),
        targets: assemble::targets(&plan.targets, &steps),
        steps,
        layers,
        frontends,
        proof,
        phases: Vec::new(),
        hit_rate: hits.rate(),
    }
}

/// What a warm run promises to those who look at the root later; where the files of its contexts are.
pub(super) fn promise(
    report: &Report,
    plan: &Plan,
    builder: &Builder,
    solved: &Solved,
    found: &Found,
    marks: &Marks,
) -> (Manifest, Vec<Served>) {
    let layers = report.layers.unwrap_or_default();
    let mut manifest = Manifest {
        buildkit_version: builder.version.clone(),
        worker_id: builder.worker_id.clone(),
        snapshotter: found.snapshotter(),
        source: report.source.location.clone(),
        commit: report.source.commit.clone(),
        frontends: solved.frontends.clone(),
        source_policy: plan.policy.as_ref().map(|policy| policy.digest.clone()),
        donors: report.donors.iter().map(|donor| (donor.reference.clone(), donor.digest.clone())).collect(),
        hit_rate: report.hit_rate,
        layers: layers.total,
        bytes_compressed: layers.bytes_compressed,
        bytes_unpacked: layers.bytes_unpacked,
        records: found.records(&solved.opened),
        ..Manifest::new()
    };
    let served = manifest.describe(&plan.names(), &solved.graphs, marks);
    (manifest, served)
}

/// Says of the steps no cache had what differs from the last warm run here, where that is known.
pub(super) fn explain(report: &mut Report, before: &Manifest, now: &Manifest) {
    let comparison = Comparison::new(before, now);
    assemble::explain(&mut report.steps, now, |place| comparison.reason(place));
}

fn state(solved: &Solved, graph: &Graph, operation: &Operation) -> StepState {
    let account = solved.accounts.vertices.get(&operation.digest);
    match account {
        _ if operation.always_runs => StepState::Unknown,
        Some(account) if account.tried && !account.cached && solved.miss.is_some() => StepState::Miss,
        Some(account) if account.ran => StepState::Ran,
        Some(account) if account.cached => StepState::Hit,
        // Nobody got that far.
        _ if solved.miss.is_some() => StepState::Unknown,
        // It was opened, so it is there: found with what is built on it, or made or fetched, because nobody had it.
        _ if is_found_below(solved, graph, operation) => StepState::Hit,
        _ => StepState::Ran,
    }
}

/// Whether a step that was not asked for by itself is there because everything that is built on it was found: BuildKit
/// said so of each, or of what is built on that. A step that the status stream is silent about is no evidence.
fn is_found_below(solved: &Solved, graph: &Graph, operation: &Operation) -> bool {
    let found = |above: &Operation| match solved.accounts.vertices.get(&above.digest) {
        _ if above.always_runs => false,
        Some(account) if account.ran => false,
        Some(account) if account.cached => true,
        _ => is_found_below(solved, graph, above),
    };
    let mut above = graph.layered_on(&operation.digest).peekable();
    above.peek().is_some() && above.all(found)
}

fn reason(operation: &Operation, state: StepState, account: Option<&Account>) -> Option<report::Reason> {
    let (kind, what) = match state {
        StepState::Hit => return None,
        StepState::Miss | StepState::Ran if account.is_some_and(|account| account.was_found) => {
            (NOT_FOUND_AGAIN, "a cache has its result, and BuildKit did not find it again without that cache")
        }
        StepState::Miss => (NOT_IN_CACHE, "no cache has its result, and --on-miss fail forbids to run it"),
        StepState::Unknown if !operation.always_runs => ("not-reached", "the run ended at a miss before it"),
        StepState::Unknown => (ALWAYS_RUNS, "every build runs it, or something it is made from, anew"),
        StepState::Ran if operation.is_work() => (NOT_IN_CACHE, "no cache had its result, so it ran"),
        StepState::Ran => ("fetched", "no cache had it; it was fetched from where it comes from"),
    };
    let log = account.map(|account| account.log.iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
    let again = (kind == NOT_FOUND_AGAIN).then_some(
        "run the same command again: its result is on the root now; when another step is lost then, have CI make the cache on \
         a fresh builder",
    );
    let remedy = (kind == NOT_IN_CACHE).then_some(
        "compare the commit, the kind of context (a git URL or a directory), the build arguments, the platform and the modes \
         (--modes) with those of the build that made the cache",
    );
    Some(report::Reason {
        kind: kind.into(),
        what: what.into(),
        detail: log.filter(|log| !log.is_empty()),
        remedy: remedy.or(again).map(str::to_owned),
    })
}

fn notes(steps: &[Step], plan: &Plan, is_unproven: bool) -> Vec<String> {
    let count = |state| steps.iter().filter(|step| step.state == state).count();
    let always =
        steps.iter().filter(|step| step.reason.as_ref().is_some_and(|reason| reason.kind == ALWAYS_RUNS)).count();
    let ran = count(StepState::Ran);
    let mut notes = Vec::new();
    if always > 0 {
        notes.push(format!("{always} steps run in every build (--no-cache): they are not warmed and count as no hits"));
    }
    if ran > 0 && plan.targets.iter().any(|target| !target.donors.is_empty()) {
        notes.push(format!("{ran} steps ran or were fetched although cache sources were given: see why above"));
    }
    if is_unproven {
        let note = "not proven: nobody had BuildKit build again, so a later build may look for a step by another name";
        notes.push(note.to_owned());
    }
    notes.extend(assemble::likely_cause(&plan.checkout, steps));
    notes
}

/// Never warm when the disk or BuildKit itself says otherwise. Where nobody can read the disk, and none was named that
/// should be read, BuildKit's word is enough: asked again, it had everything.
fn verdict(
    job: &Job,
    plan: &Plan,
    hits: Hits,
    solved: &Solved,
    found: &Found,
    proof: Option<&Proof>,
) -> (Verdict, Vec<String>) {
    let mut reasons: Vec<String> = solved.miss.iter().cloned().collect();
    if let Found::OnDisk(found) = found {
        reasons.extend(named(found.problems.clone(), "records are not on disk as they should be"));
        if proof.is_none() {
            reasons.extend(named(found.unproven.clone(), "records are only known under another name"));
        }
    }
    reasons.extend(proof.iter().flat_map(|proof| proof.reasons()));
    reasons.extend(assemble::never_warm(&solved.graphs).map(str::to_owned));
    reasons.extend(too_few_hits(job, plan, hits, solved));
    match found {
        _ if !reasons.is_empty() => (Verdict::NotWarm, reasons),
        Found::Unread(_) if !needs_disk(job) && proof.is_some_and(Proof::is_the_builders_word) => {
            (Verdict::Warm, reasons)
        }
        Found::Unread(why) => (Verdict::NotVerified, vec![unread(job, why)]),
        Found::OnDisk(_) => (Verdict::Warm, reasons),
    }
}

/// Whether the root has to be read: who names one means that one.
fn needs_disk(job: &Job) -> bool {
    job.prove == Some(Prove::OnDisk) || job.builder.root.is_some()
}

fn unread(job: &Job, why: &str) -> String {
    let demand = match &job.builder.root {
        _ if job.prove == Some(Prove::OnDisk) => ", and --prove=disk demands it".to_owned(),
        Some(root) => format!("; leave out --root {} to take the builder's word", root.display()),
        None => String::new(),
    };
    format!("not verified on disk: {why}{demand}")
}

/// Why the hits are too few: for the share that was asked for, or, where none was, for the cache sources that were given.
fn too_few_hits(job: &Job, plan: &Plan, hits: Hits, solved: &Solved) -> Option<String> {
    if let Some(least) = job.min_hit_rate {
        let (rate, wanted) = (hits.rate() * 100.0, least * 100.0);
        return (hits.rate() < least)
            .then(|| format!("{rate:.1} % of the steps were hits, fewer than the {wanted:.1} % asked for"));
    }
    let has_sources = plan.targets.iter().any(|target| !target.donors.is_empty());
    let was_found = solved.accounts.vertices.values().any(|account| account.was_found && account.ran);
    (has_sources && hits.is_nothing_found()).then(|| match was_found {
        true => "the results of the caches were found, and not again without the caches, so the steps ran: see why above; \
                 --min-hit-rate 0 accepts it"
            .to_owned(),
        false => "cache sources were given (--cache-from) and no step was found in them: compare the build with the one that \
                  made the cache (`cachewarm explain`), its commit, build arguments, target and platform; --min-hit-rate 0 \
                  accepts it"
            .to_owned(),
    })
}
