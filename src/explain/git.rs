//! Steps that take `.git` from a directory of ours, which no two clones have alike.

use std::collections::{BTreeSet, HashMap};

use super::files;
use super::words::Remedy;
use crate::buildkit::{Graph, Operation};
use crate::event::Events;
use crate::manifest::Files;
use crate::plan::Plan;
use crate::report::Step;
use crate::report::assemble::NOT_IN_CACHE;

/// Something that every clone has in `.git`.
const OF_GIT: &str = ".git/HEAD";

const WHAT: &str = "it takes .git from the context, which differs in every clone";

/// The steps that take `.git` from a directory of ours that has it and does not ignore it: their names, by their digests.
///
/// A directory that cannot be looked at has none; whoever sends it says why.
pub(crate) fn takers(plan: &Plan, graphs: &[Graph]) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for (target, graph) in graphs.iter().enumerate() {
        for operation in graph.operations().iter().filter(|operation| operation.is_step()) {
            let key = operation.key();
            let takes = |(input, paths): (&Operation, &Vec<String>)| {
                let Some((name, selection)) = input.directory() else { return false };
                let covers = files::read_by_step(&key.fields, paths, &Files::default()).covers(OF_GIT);
                covers && plan.local(target, &name).is_some_and(|local| local.sends(&selection, OF_GIT))
            };
            if graph.made_from(operation).zip(&key.reads).any(takes) {
                found.insert(operation.digest.clone(), operation.name.clone());
            }
        }
    }
    found
}

/// Warns of each of them, before anything is built.
pub(crate) fn warn(takers: &HashMap<String, String>, events: &Events) {
    let names: BTreeSet<&String> = takers.values().collect();
    for name in names {
        events.warn(format!("`{name}` misses in every other clone: {WHAT}; {}", Remedy::IgnoreGit.words()));
    }
}

/// Says of those that no cache has, and of which nothing better is known, that this is why.
pub(crate) fn explain(steps: &mut [Step], takers: &HashMap<String, String>) {
    for step in steps.iter_mut().filter(|step| takers.contains_key(&step.digest)) {
        if let Some(reason) = step.reason.as_mut().filter(|reason| reason.kind == NOT_IN_CACHE) {
            reason.kind = "git-mounted".into();
            reason.what = format!("{}: {WHAT}", reason.what);
            reason.remedy = Some(Remedy::IgnoreGit.words().into());
        }
    }
}
