//! From the LLB graphs of a build's targets to the steps of a manifest.

use std::collections::HashMap;

use super::{Context, Input, Manifest, Marks, Step};
use crate::buildkit::{Graph, Operation, Selection};

/// A directory of ours that a build uses: by whose session it is served, under which name, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// The place of the target.
    pub(crate) target: usize,
    /// Its name.
    pub(crate) name: String,
    /// What of it is wanted.
    pub(crate) selection: Selection,
}

impl Manifest {
    /// Takes in what the targets are made of; `targets` are their names, and `marks` stand for secrets. The contexts are named
    /// and empty as yet. Returns where the files of each are.
    pub(crate) fn describe(&mut self, targets: &[String], graphs: &[Graph], marks: &Marks) -> Vec<Served> {
        let mut served: Vec<Served> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (number, (target, graph)) in targets.iter().zip(graphs).enumerate() {
            for operation in graph.operations() {
                let place = match known.get(operation.digest.as_str()) {
                    Some(place) => *place,
                    None => {
                        let mut step = step(graph, operation, &known, marks);
                        step.context = operation.directory().map(|(name, selection)| {
                            self.place_of(Served { target: number, name, selection }, &mut served)
                        });
                        known.insert(&operation.digest, self.steps.len());
                        self.steps.push(step);
                        self.steps.len() - 1
                    }
                };
                let targets = &mut self.steps[place].targets;
                if !targets.contains(target) {
                    targets.push(target.clone());
                }
            }
        }
        served
    }

    /// The place of a directory among the contexts.
    fn place_of(&mut self, wanted: Served, served: &mut Vec<Served>) -> usize {
        if let Some(place) = served.iter().position(|known| *known == wanted) {
            return place;
        }
        let excluded = wanted.selection.exclude.clone().unwrap_or_default();
        self.contexts.push(Context { name: wanted.name.clone(), excluded, ..Context::default() });
        served.push(wanted);
        served.len() - 1
    }
}

fn step(graph: &Graph, operation: &Operation, known: &HashMap<&str, usize>, marks: &Marks) -> Step {
    let key = operation.key();
    // Inputs come before what is made from them, so all of them are known.
    let places = graph.made_from(operation).filter_map(|input| known.get(input.digest.as_str()).copied());
    let secrets = graph.secrets();
    let value = |name: &str, value: &str| match name.strip_prefix("env ") {
        Some(variable) => secrets.variable(variable, value, |secret| marks.of(secret)),
        None => secrets.text_with(value, |secret| marks.of(secret)),
    };
    let text = |text: &String| secrets.text_with(text, |secret| marks.of(secret));
    let paths = |paths: Vec<String>| paths.iter().map(text).collect();
    Step {
        digest: operation.digest.clone(),
        name: operation.name.clone(),
        kind: operation.kind,
        always_runs: operation.always_runs,
        targets: Vec::new(),
        inputs: places.zip(key.reads).map(|(step, read)| Input { step, paths: paths(read) }).collect(),
        key: key.fields.into_iter().map(|(name, told)| (text(&name), value(&name, &told))).collect(),
        context: None,
    }
}
