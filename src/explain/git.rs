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
            let inputs = graph.made_from(operation).zip(operation.key().reads);
            let takes = |(input, paths): (&Operation, Vec<String>)| {
                let Some((name, selection)) = input.directory() else { return false };
                let covers = reads(operation, &paths).covers(OF_GIT);
                covers && plan.local(target, &name).is_some_and(|local| local.sends(&selection, OF_GIT))
            };
            if inputs.into_iter().any(takes) {
                found.insert(operation.digest.clone(), operation.name.clone());
            }
        }
    }
    found
}

fn reads(operation: &Operation, paths: &[String]) -> files::Reads {
    let key = operation.key();
    files::read_by(paths, key.of_copies("include").as_deref(), key.of_copies("exclude").as_deref(), &Files::default())
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
