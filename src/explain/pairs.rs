//! Which step of one build is which step of another.
//!
//! Steps with the same key and the same inputs are the same, whatever they are called. Of the rest, steps of the same
//! stage with the same line are, in their order; what is left between two of those is paired by how much the lines are
//! alike. So a line that changed is held against its old self, and a new line has no partner.

use std::collections::{BTreeMap, HashMap, HashSet};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::buildkit::OperationKind;
use crate::manifest::{Input, Step};

/// Which step is which.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Per new step, its partner among the old ones.
    partners: Vec<Option<usize>>,
    /// Per old step, the first that is made as it is: targets of one build have twins of what they share.
    twins: Vec<usize>,
}

impl Pairs {
    /// Of two builds.
    pub(super) fn of(old: &[Step], new: &[Step]) -> Pairs {
        let partners = vec![None; new.len()];
        let mut pairing = Pairing { old, new, partners, taken: HashSet::new(), twins: Vec::new() };
        pairing.pair_same();
        let old_stages = by_stage(old);
        let mut stages: Vec<(&str, Vec<usize>)> = by_stage(new).into_iter().collect();
        stages.sort_by(|one, other| one.1.cmp(&other.1));
        for (stage, news) in stages {
            let same = old_stages.get(stage).or_else(|| old_stages.get(pairing.renamed(&news)?));
            pairing.pair_stage(same.map(Vec::as_slice).unwrap_or_default(), &news);
        }
        Pairs { partners: pairing.partners, twins: pairing.twins }
    }

    /// The partner of a new step.
    pub(super) fn partner(&self, new: usize) -> Option<usize> {
        self.partners[new]
    }

    /// Whether a new step and an old one are the same, as far as pairs go.
    pub(super) fn are(&self, new: usize, old: usize) -> bool {
        self.partners[new].is_some_and(|partner| self.twins[partner] == self.twins[old])
    }
}

struct Pairing<'s> {
    old: &'s [Step],
    new: &'s [Step],
    partners: Vec<Option<usize>>,
    /// Old steps that have a partner.
    taken: HashSet<usize>,
    twins: Vec<usize>,
}

/// All that makes a step, with its inputs as steps of the old build. A directory is also whose it is.
type Made<'s> = (OperationKind, &'s BTreeMap<String, String>, Vec<(usize, &'s [String])>, Option<&'s str>);

fn owner(step: &Step) -> Option<&str> {
    step.targets.first().filter(|_| step.kind == OperationKind::Local).map(String::as_str)
}

impl<'s> Pairing<'s> {
    fn pair_same(&mut self) {
        let (old, new) = (self.old, self.new);
        let mut known: HashMap<Made<'s>, usize> = HashMap::new();
        for (place, step) in old.iter().enumerate() {
            let inputs: Vec<_> =
                step.inputs.iter().map(|input| (self.twins[input.step], input.paths.as_slice())).collect();
            // Where a directory's owner is called otherwise, the first will do.
            known.entry((step.kind, &step.key, inputs.clone(), None)).or_insert(place);
            let twin = *known.entry((step.kind, &step.key, inputs, owner(step))).or_insert(place);
            self.twins.push(twin);
        }
        // Inputs come first, so their partners are known.
        for (place, step) in new.iter().enumerate() {
            let input = |input: &'s Input| Some((self.twins[self.partners[input.step]?], input.paths.as_slice()));
            let Some(inputs) = step.inputs.iter().map(input).collect::<Option<Vec<_>>>() else { continue };
            let own = known.get(&(step.kind, &step.key, inputs.clone(), owner(step)));
            if let Some(&partner) = own.or_else(|| known.get(&(step.kind, &step.key, inputs, None))) {
                self.pair(place, partner);
            }
        }
    }

    fn pair(&mut self, new: usize, old: usize) {
        self.partners[new] = Some(old);
        self.taken.insert(old);
    }

    /// The old name of a stage: that of the steps which are the same, images aside.
    fn renamed(&self, news: &[usize]) -> Option<&'s str> {
        let partners = news.iter().filter(|new| self.new[**new].kind != OperationKind::Image);
        let partner = partners.filter_map(|new| self.partners[*new]).next()?;
        Some(self.old[partner].label().stage)
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
                    if self.partners[*new].is_none() && !self.taken.contains(old) {
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
        for new in news.iter().filter(|new| self.partners[**new].is_none()) {
            for old in olds.iter().filter(|old| !self.taken.contains(old)) {
                let (one, other) = (&self.old[*old], &self.new[*new]);
                if one.kind == other.kind && instruction(one) == instruction(other) {
                    candidates.push((strsim::sorensen_dice(one.label().line, other.label().line), *new, *old));
                }
            }
        }
        candidates.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)).then(one.2.cmp(&other.2)));
        for (_, new, old) in candidates {
            if self.partners[new].is_none() && !self.taken.contains(&old) {
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

    fn pairs(old: &[Step], new: &[Step]) -> Vec<Option<usize>> {
        Pairs::of(old, new).partners
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

    #[test]
    fn two_targets_that_share_a_stage_are_paired_each_with_its_own() {
        let of = |target: &str, step: Step| Step { targets: vec![target.into()], ..step };
        let context = || step("[internal] load build context", "local", &[("directory", "context")], &[]);
        let copy = |local: usize| step("[a 2/3] COPY . /", "file", &[("copy 1 source", "/")], &[0, local]);
        let build = || {
            let one = [of("one", context()), of("one", copy(1)), of("one", run("[a 3/3] RUN make", "make", 2))];
            let two = [of("two", context()), of("two", copy(4)), of("two", run("[a 3/3] RUN make", "make", 5))];
            std::iter::once(base()).chain(one).chain(two).collect::<Vec<Step>>()
        };
        let found = Pairs::of(&build(), &build());
        assert_eq!(found.partners, (0..7).map(Some).collect::<Vec<_>>());
        assert!((0..7).all(|place| found.are(place, place)));
    }

    #[test]
    fn a_stage_without_a_name_is_found_under_its_new_number() {
        let old = [base(), run("[stage-1 2/3] RUN one", "one", 0), run("[stage-1 3/3] RUN make", "make", 1)];
        let new = [base(), run("[stage-2 2/3] RUN one", "one", 0), run("[stage-2 3/3] RUN make -j2", "make -j2", 1)];
        assert_eq!(pairs(&old, &new), [Some(0), Some(1), Some(2)]);
    }
}
