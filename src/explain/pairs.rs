//! Which step of one build is which step of another.
//!
//! Steps with the same key and the same inputs are the same, whatever they are called. Of the rest, steps of the same
//! stage with the same line are, in their order; what is left between two of those is paired by how much the lines are
//! alike. So a line that changed is held against its old self, and a new line has no partner.

use std::collections::{BTreeMap, HashMap, HashSet};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::buildkit::OperationKind;
use crate::manifest::{Input, Step};

/// Per new step, its partner among the old ones.
pub(super) fn pairs(old: &[Step], new: &[Step]) -> Vec<Option<usize>> {
    let mut pairing = Pairing { old, new, pairs: vec![None; new.len()], taken: HashSet::new() };
    pairing.pair_same();
    let old_stages = by_stage(old);
    for (stage, news) in by_stage(new) {
        pairing.pair_stage(old_stages.get(stage).map(Vec::as_slice).unwrap_or_default(), &news);
    }
    pairing.pairs
}

struct Pairing<'s> {
    old: &'s [Step],
    new: &'s [Step],
    pairs: Vec<Option<usize>>,
    /// Old steps that have a partner.
    taken: HashSet<usize>,
}

/// All that makes a step, with its inputs as steps of the old build.
type Made<'s> = (OperationKind, &'s BTreeMap<String, String>, Vec<(usize, &'s [String])>);

impl<'s> Pairing<'s> {
    fn pair_same(&mut self) {
        let mut known: HashMap<Made<'s>, usize> = HashMap::new();
        for (place, step) in self.old.iter().enumerate() {
            let inputs = step.inputs.iter().map(|input| (input.step, input.paths.as_slice())).collect();
            known.entry((step.kind, &step.key, inputs)).or_insert(place);
        }
        let new = self.new;
        // Inputs come first, so their partners are known.
        for (place, step) in new.iter().enumerate() {
            let input = |input: &'s Input| Some((self.pairs[input.step]?, input.paths.as_slice()));
            let Some(inputs) = step.inputs.iter().map(input).collect() else { continue };
            if let Some(&partner) = known.get(&(step.kind, &step.key, inputs)) {
                self.pair(place, partner);
            }
        }
    }

    fn pair(&mut self, new: usize, old: usize) {
        self.pairs[new] = Some(old);
        self.taken.insert(old);
    }

    /// Pairs what is left of a stage; the steps of both are in their order.
    fn pair_stage(&mut self, olds: &[usize], news: &[usize]) {
        let lines = |steps: &[Step], places: &[usize]| -> Vec<String> {
            places.iter().map(|place| comparable(&steps[*place])).collect()
        };
        let (old_lines, new_lines) = (lines(self.old, olds), lines(self.new, news));
        for run in capture_diff_slices(Algorithm::Patience, &old_lines, &new_lines) {
            let (olds, news) = (&olds[run.old_range()], &news[run.new_range()]);
            if let DiffOp::Equal { .. } = run {
                for (new, old) in news.iter().zip(olds) {
                    if self.pairs[*new].is_none() && !self.taken.contains(old) {
                        self.pair(*new, *old);
                    }
                }
            } else {
                self.pair_changed(olds, news);
            }
        }
    }

    /// Pairs lines that changed, the most alike first.
    fn pair_changed(&mut self, olds: &[usize], news: &[usize]) {
        let mut candidates: Vec<(f64, usize, usize)> = Vec::new();
        for new in news.iter().filter(|new| self.pairs[**new].is_none()) {
            for old in olds.iter().filter(|old| !self.taken.contains(old)) {
                let (one, other) = (&self.old[*old], &self.new[*new]);
                if one.kind == other.kind && instruction(one) == instruction(other) {
                    candidates.push((strsim::sorensen_dice(one.label().line, other.label().line), *new, *old));
                }
            }
        }
        candidates.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)).then(one.2.cmp(&other.2)));
        for (_, new, old) in candidates {
            if self.pairs[new].is_none() && !self.taken.contains(&old) {
                self.pair(new, old);
            }
        }
    }
}

/// `RUN`, `COPY`, …
fn instruction(step: &Step) -> &str {
    step.label().line.split_whitespace().next().unwrap_or_default()
}

/// The places of the steps of each stage, in their order.
fn by_stage(steps: &[Step]) -> HashMap<&str, Vec<usize>> {
    let mut stages: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, step) in steps.iter().enumerate() {
        stages.entry(step.label().stage).or_default().push(place);
    }
    stages
}

/// What makes a step the same: its line, and of an image not the digest.
fn comparable(step: &Step) -> String {
    let line = step.label().line;
    let line = match step.kind {
        OperationKind::Image => line.split_once("@sha256:").map_or(line, |(name, _)| name),
        OperationKind::Local => step.key.get("directory").map_or(line, String::as_str),
        _ => line,
    };
    format!("{:?} {line}", step.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, kind: &str, key: &[(&str, &str)], inputs: &[usize]) -> Step {
        let key: BTreeMap<&str, &str> = key.iter().copied().collect();
        let inputs: Vec<_> = inputs.iter().map(|step| serde_json::json!({ "step": step })).collect();
        let json = serde_json::json!({"digest": name, "name": name, "kind": kind, "targets": [], "key": key, "inputs": inputs});
        serde_json::from_value(json).unwrap()
    }

    fn run(name: &str, command: &str, base: usize) -> Step {
        step(name, "exec", &[("command", command)], &[base])
    }

    fn base() -> Step {
        step("[a 1/3] FROM x@sha256:1", "image", &[("image", "x"), ("image digest", "sha256:1")], &[])
    }

    #[test]
    fn a_changed_line_is_its_old_self_and_a_new_line_is_nobody() {
        let old = [base(), run("[a 2/3] RUN make", "make", 0), run("[a 3/3] RUN test", "test", 1)];
        let new = [
            base(),
            run("[a 2/4] RUN apt install x", "apt install x", 0),
            run("[a 3/4] RUN make -j2", "make -j2", 1),
            run("[a 4/4] RUN test", "test", 2),
        ];
        assert_eq!(pairs(&old, &new), [Some(0), None, Some(1), Some(2)]);
    }

    #[test]
    fn a_stage_that_is_called_otherwise_is_the_same() {
        let old = [base(), run("[a 2/2] RUN make", "make", 0)];
        let new = [base(), run("[builder 2/2] RUN make", "make", 0)];
        assert_eq!(pairs(&old, &new), [Some(0), Some(1)]);
    }

    #[test]
    fn an_image_that_moved_is_the_same_image() {
        let old = [base(), run("[a 2/2] RUN make", "make", 0)];
        let moved = step("[a 1/2] FROM x@sha256:2", "image", &[("image", "x"), ("image digest", "sha256:2")], &[]);
        assert_eq!(pairs(&old, &[moved, run("[a 2/2] RUN make", "make", 0)]), [Some(0), Some(1)]);
    }
}
