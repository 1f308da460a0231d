//! From what was solved and heard to the rows of a report: steps, targets and their stages, names, transfer.

use std::collections::{HashMap, HashSet};

use crate::buildkit::{self, Account, Accounts, Graph, Operation, OperationKind};
use crate::manifest::{Manifest, Served, Source};
use crate::plan::Plan;
use crate::report::{Reason, StageSummary, Step, StepState, TargetSummary, Transfer, TransferSource};
use crate::source::Checkout;
use crate::targets::Target;

/// The kind of reason of a step that no cache has, as long as nobody knows more.
pub(crate) const NOT_IN_CACHE: &str = "not-in-cache";
/// The kind of reason of a step that a cache has, under a name that a build without that cache does not look for.
pub(crate) const NOT_FOUND_AGAIN: &str = "not-found-again";
/// The kind of reason of a step that no cache can have, because of another one.
pub(crate) const BELOW_A_MISS: &str = "below-a-miss";
/// How many of a kind are named in reasons; the report's lists have them all.
pub(crate) const NAMED: usize = 5;
/// The source of what belongs to no cache.
const IMAGES: &str = "images";

/// Problems as reasons: the first ones, and of more how many there are.
pub(crate) fn named(problems: Vec<String>, what: &str) -> Vec<String> {
    let more = (problems.len() > NAMED).then(|| format!("{} {what} in all", problems.len()));
    problems.into_iter().take(NAMED).chain(more).collect()
}

/// The steps of all targets, each after those it is made from; `judged` says what became of one.
pub(crate) fn steps(
    targets: &[Target],
    graphs: &[Graph],
    judged: impl Fn(&Graph, &Operation) -> (StepState, Option<Reason>),
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (target, graph) in targets.iter().zip(graphs) {
        for operation in graph.operations().iter().filter(|operation| operation.is_step()) {
            let index = *known.entry(&operation.digest).or_insert_with(|| {
                let (state, reason) = judged(graph, operation);
                steps.push(Step {
                    digest: operation.digest.clone(),
                    name: operation.name.clone(),
                    stage: operation.stage().map(str::to_owned),
                    targets: Vec::new(),
                    state,
                    reason,
                });
                steps.len() - 1
            });
            if !steps[index].targets.contains(&target.name) {
                steps[index].targets.push(target.name.clone());
            }
        }
    }
    steps
}

/// The steps of a build that do work, and how many of them a cache has.
///
/// An image or a URL is no work: whether it had to be asked for again is not a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hits {
    hits: u32,
    counted: u32,
    has_work: bool,
}

impl Hits {
    /// The share of hits, 0 to 1. It is 0 when the build has work and none of it counted: nobody saw a hit. A build
    /// without any work (only `FROM`) lacks no step; its layers alone decide.
    pub(crate) fn rate(self) -> f64 {
        match (self.counted, self.has_work) {
            (0, true) => 0.0,
            (0, false) => 1.0,
            (counted, _) => f64::from(self.hits) / f64::from(counted),
        }
    }

    /// Whether the build has steps that do work, and none of them was a hit.
    pub(crate) fn is_nothing_found(self) -> bool {
        self.has_work && self.hits == 0
    }
}

/// Counts the hits among the steps that do work. A step that always runs, or whose fate is unknown, is no hit.
pub(crate) fn hits(graphs: &[Graph], steps: &[Step], counts: impl Fn(&Step) -> bool) -> Hits {
    let operations = graphs.iter().flat_map(Graph::operations);
    let work = operations.filter(|operation| operation.is_step() && operation.is_work());
    let work: HashSet<&str> = work.map(|operation| operation.digest.as_str()).collect();
    let counted = steps.iter().filter(|step| counts(step) && work.contains(step.digest.as_str()));
    let mut found = Hits { hits: 0, counted: 0, has_work: !work.is_empty() };
    for step in counted {
        found.counted += 1;
        found.hits += u32::from(step.state == StepState::Hit);
    }
    found
}

/// A row per target, with one per stage in it.
pub(crate) fn targets(targets: &[Target], steps: &[Step]) -> Vec<TargetSummary> {
    targets.iter().map(|target| target_summary(target, steps)).collect()
}

fn target_summary(target: &Target, steps: &[Step]) -> TargetSummary {
    let mut summary = TargetSummary { name: target.name.clone(), stage: target.stage.clone(), ..Default::default() };
    for step in steps.iter().filter(|step| step.targets.contains(&target.name)) {
        let (hit, ran) = (usize::from(step.state == StepState::Hit), usize::from(step.state == StepState::Ran));
        summary.steps += 1;
        summary.hits += hit;
        summary.ran += ran;
        let name = step.stage.clone().unwrap_or_default();
        let index = summary.stages.iter().position(|stage| stage.name == name).unwrap_or_else(|| {
            summary.stages.push(StageSummary { name, ..Default::default() });
            summary.stages.len() - 1
        });
        let stage = &mut summary.stages[index];
        stage.steps += 1;
        stage.hits += hit;
        stage.ran += ran;
    }
    summary
}

/// Gives the steps that no cache has the reasons that `reason` knows, by their places in a manifest of the same build.
pub(crate) fn explain(steps: &mut [Step], build: &Manifest, reason: impl Fn(usize) -> Option<Reason>) {
    let places: HashMap<&str, usize> = (0..).zip(&build.steps).map(|(at, step)| (step.digest.as_str(), at)).collect();
    let unexplained = |step: &&mut Step| step.reason.as_ref().is_some_and(|reason| reason.kind == NOT_IN_CACHE);
    for step in steps.iter_mut().filter(unexplained) {
        let Some(found) = places.get(step.digest.as_str()).and_then(|place| reason(*place)) else { continue };
        // What a step that ran has to say is not lost.
        let log = step.reason.take().and_then(|reason| reason.detail);
        let detail: Vec<String> = found.detail.into_iter().chain(log).collect();
        step.reason = Some(Reason { detail: (!detail.is_empty()).then(|| detail.join("\n")), ..found });
    }
}

/// Says of the steps that no cache has, and of which nothing better is known, which other step they are built on that no
/// cache has either: that one is the cause, and told once.
pub(crate) fn name_causes(steps: &mut [Step], graphs: &[Graph]) {
    let places: HashMap<String, usize> = (0..).zip(&*steps).map(|(at, step)| (step.digest.clone(), at)).collect();
    // By the digests of operations: the place of the step that everything built on it misses for.
    let mut causes: HashMap<&str, usize> = HashMap::new();
    for graph in graphs {
        for operation in graph.operations() {
            let inherited = graph.made_from(operation).find_map(|below| causes.get(below.digest.as_str()).copied());
            let place = places.get(&operation.digest).copied().filter(|_| operation.is_work());
            let Some(place) = place else {
                causes.extend(inherited.map(|cause| (operation.digest.as_str(), cause)));
                continue;
            };
            if !matches!(steps[place].state, StepState::Ran | StepState::Miss) {
                continue;
            }
            let cause = inherited.map(|cause| (cause, steps[cause].name.clone()));
            let unexplained = steps[place].reason.as_mut().filter(|reason| reason.kind == NOT_IN_CACHE);
            if let (Some((cause, name)), Some(reason)) = (cause, unexplained) {
                reason.kind = BELOW_A_MISS.into();
                reason.what = format!("it is built on `{name}`, which no cache had");
                reason.remedy = None;
                causes.insert(&operation.digest, cause);
            } else {
                causes.insert(&operation.digest, place);
            }
        }
    }
}

/// Where the files of a manifest's contexts are; `hashes` says by a context's place whether their content counts.
pub(crate) fn sources(plan: &Plan, served: Vec<Served>, hashes: impl Fn(usize) -> bool) -> Vec<Source> {
    let source = |(place, served): (usize, Served)| Source {
        local: plan.local(served.target, &served.name).cloned(),
        selection: served.selection,
        hashes: hashes(place),
        since: plan.sent_since(),
    };
    served.into_iter().enumerate().map(source).collect()
}

/// The images of the frontends that ran while the targets were solved: nothing else is fetched then.
pub(crate) fn frontends(accounts: &Accounts) -> Vec<String> {
    let images = accounts.vertices.values().filter_map(|account| buildkit::fetched_image(&account.name));
    let mut images: Vec<String> = images.map(str::to_owned).collect();
    images.sort();
    images.dedup();
    images
}

/// What every build asks the network for: the metadata of base images and of frontends that BuildKit resolved, and files and
/// git repositories that no checksum or commit names.
pub(crate) fn resolved_by_every_build(accounts: &Accounts, graphs: &[Graph]) -> Vec<String> {
    let name = |account: &Account| buildkit::resolved_image(&account.name).map(str::to_owned);
    let mut names: Vec<String> = accounts.vertices.values().filter_map(name).collect();
    names.retain(|name| !name.contains("@sha256:"));
    for graph in graphs {
        let sources = graph.operations().iter().filter_map(Operation::asked_every_time);
        names.extend(sources.map(|source| graph.secrets().text(&source)));
    }
    names.sort();
    names.dedup();
    names
}

/// What went over the network; `donors` are the references of the caches with the digests of their layers.
pub(crate) fn transfer(accounts: &Accounts, donors: &[(String, Vec<String>)]) -> Transfer {
    let fetched: Vec<_> = accounts.blobs.values().filter(|blob| blob.was_fetched() && blob.ended > 0.0).collect();
    let mut seconds: Vec<f64> = fetched.iter().map(|blob| blob.ended - blob.started).collect();
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * seconds.len() as f64).ceil() as usize;
        seconds.get(index.saturating_sub(1)).copied().unwrap_or_default()
    };
    let first = fetched.iter().map(|blob| blob.started).fold(f64::INFINITY, f64::min);
    let last = fetched.iter().map(|blob| blob.ended).fold(first, f64::max);
    Transfer {
        sources: by_source(accounts, donors),
        failed_attempts: accounts.failed_attempts,
        bytes: fetched.iter().map(|blob| blob.bytes).sum(),
        blobs: fetched.len(),
        extracted: accounts.extractions.values().filter(|done| **done).count(),
        seconds: if fetched.is_empty() { 0.0 } else { last - first },
        p50: at(0.50),
        p95: at(0.95),
        p99: at(0.99),
        fetch: None,
    }
}

/// What came from each cache, and last what came from images: base images and frontends.
fn by_source(accounts: &Accounts, donors: &[(String, Vec<String>)]) -> Vec<TransferSource> {
    let source = |reference: &str| TransferSource { reference: reference.to_owned(), bytes: 0, blobs: 0 };
    let mut sources: Vec<TransferSource> = donors.iter().map(|(reference, _)| source(reference)).collect();
    sources.push(source(IMAGES));
    let fetched = accounts.blobs.iter().filter(|(_, blob)| blob.was_fetched() && blob.ended > 0.0);
    for (digest, blob) in fetched {
        let of_donor = donors.iter().position(|(_, layers)| layers.contains(digest));
        let source = &mut sources[of_donor.unwrap_or(donors.len())];
        source.bytes += blob.bytes;
        source.blobs += 1;
    }
    sources.retain(|source| source.blobs > 0);
    sources
}

/// Why a build is not warm when all of its work runs in every build: nothing of it can be kept.
pub(crate) fn never_warm(graphs: &[Graph]) -> Option<&'static str> {
    let mut work = graphs.iter().flat_map(Graph::operations).filter(|op| op.is_step() && op.is_work()).peekable();
    let has_work = work.peek().is_some();
    (has_work && work.all(|operation| operation.always_runs)).then_some(
        "no step counts: every build runs all of them anew (--no-cache); leave that out to warm what they make",
    )
}

/// What is not in the commit, as the likely cause of the first step that is in no cache though nobody knows why.
pub(crate) fn likely_cause(checkout: &Checkout, steps: &[Step]) -> Option<String> {
    let changes = super::Source::of(checkout).changes()?;
    let is_unexplained = |step: &&Step| step.reason.as_ref().is_some_and(|reason| reason.kind == NOT_IN_CACHE);
    let first = steps.iter().find(is_unexplained)?;
    let what = format!("{} was taken as it is, {changes} that its commit does not have", checkout.location);
    Some(format!("{what}: a likely cause of the first miss, {}", first.name))
}

/// The digests of the images that a build is made of.
pub(crate) fn images(graphs: &[Graph]) -> HashSet<&str> {
    let operations = graphs.iter().flat_map(Graph::operations);
    let images = operations.filter(|operation| operation.kind == OperationKind::Image);
    images.map(|operation| operation.digest.as_str()).collect()
}
