//! From what was solved and heard to the rows of a report: steps, targets and their stages, names, transfer.

use std::collections::{HashMap, HashSet};

use crate::buildkit::{Account, Accounts, Graph, Operation};
use crate::report::{Reason, StageSummary, Step, StepState, TargetSummary, Transfer};
use crate::targets::Target;

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

/// Hits among the steps that do work: whether an image or a URL had to be asked for again is not a miss.
pub(crate) fn hit_rate(graphs: &[Graph], steps: &[Step], counts: impl Fn(&Step) -> bool) -> f64 {
    let operations = graphs.iter().flat_map(Graph::operations);
    let work = operations.filter(|operation| operation.is_step() && operation.is_work());
    let work: HashSet<&str> = work.map(|operation| operation.digest.as_str()).collect();
    let counted = steps.iter().filter(|step| counts(step) && work.contains(step.digest.as_str()));
    let (mut hits, mut all) = (0_u32, 0_u32);
    for step in counted {
        all += 1;
        hits += u32::from(step.state == StepState::Hit);
    }
    if all == 0 { 1.0 } else { f64::from(hits) / f64::from(all) }
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

/// Names that BuildKit resolved: the metadata of base images and of frontends.
pub(crate) fn resolved_by_every_build(accounts: &Accounts) -> Vec<String> {
    let name = |account: &Account| {
        let prefixes = ["[internal] load metadata for ", "resolve image config for docker-image://"];
        prefixes.iter().find_map(|prefix| account.name.strip_prefix(prefix)).map(str::to_owned)
    };
    let mut names: Vec<String> = accounts.vertices.values().filter_map(name).collect();
    names.retain(|name| !name.contains("@sha256:"));
    names.sort();
    names.dedup();
    names
}

/// What went over the network.
pub(crate) fn transfer(accounts: &Accounts) -> Transfer {
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
        bytes: fetched.iter().map(|blob| blob.bytes).sum(),
        blobs: fetched.len(),
        extracted: accounts.extractions.values().filter(|done| **done).count(),
        seconds: if fetched.is_empty() { 0.0 } else { last - first },
        p50: at(0.50),
        p95: at(0.95),
        p99: at(0.99),
    }
}
