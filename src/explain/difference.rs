//! What differs between a step and its partner: in its key, in what it is made from, and in the files it reads.

use std::borrow::Cow;
use std::collections::HashSet;

use super::files::View;
use super::umask::Umasks;
use super::words::{self, Remedy};
use super::{Comparison, Traces, files};
use crate::buildkit::{OperationKind, fetches_git_context, is_internal};
use crate::era::Era;
use crate::manifest::{Files, Input, Manifest, Step};
use crate::report::Reason;

/// Files that are named, at most.
const NAMED_FILES: usize = 20;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// A word for machines.
    pub(super) kind: &'static str,
    /// One sentence that names what changed.
    pub(super) what: String,
    /// More of it, a line each.
    pub(super) detail: Vec<String>,
    /// What to do.
    pub(super) remedy: Cow<'static, str>,
}

impl Difference {
    pub(super) fn new(kind: &'static str, what: impl Into<String>, remedy: Remedy) -> Difference {
        Difference { kind, what: what.into(), detail: Vec::new(), remedy: remedy.words() }
    }
}

impl From<Difference> for Reason {
    fn from(difference: Difference) -> Reason {
        let Difference { kind, what, detail, remedy } = difference;
        Reason {
            kind: kind.into(),
            what,
            detail: (!detail.is_empty()).then(|| detail.join("\n")),
            remedy: Some(remedy.into()),
        }
    }
}

impl Comparison<'_> {
    /// What differs in the step itself, most important first.
    pub(super) fn own(&self, place: usize) -> &[Difference] {
        self.own[place].get_or_init(|| self.find_own(place))
    }

    fn find_own(&self, place: usize) -> Vec<Difference> {
        let new = &self.new.steps[place];
        if new.kind == OperationKind::Local {
            return Vec::new();
        }
        let Some(old) = self.pairs.partner(place).map(|partner| &self.old.steps[partner]) else {
            return vec![Difference::new("new-step", "the build that was warmed had no such step", Remedy::WarmAgain)];
        };
        let mut differences = self.of_inputs(old, new);
        differences.extend(words::of_keys(&old.key, &new.key));
        differences.extend(self.of_files(old, new));
        if !differences.is_empty() && self.old.frontends != self.new.frontends {
            let detail =
                vec![format!("- {}", self.old.frontends.join(", ")), format!("+ {}", self.new.frontends.join(", "))];
            let what = "the Dockerfile frontend is another one as well";
            differences.push(Difference { detail, ..Difference::new("frontend-changed", what, Remedy::PinFrontend) });
        }
        if !differences.is_empty() && self.old.source_policy != self.new.source_policy {
            let what = "the source policy is another one as well";
            differences.push(Difference::new("source-policy-changed", what, Remedy::SourcePolicy));
        }
        differences
    }

    /// Which of the things it is made from is another one.
    fn of_inputs(&self, old: &Step, new: &Step) -> Vec<Difference> {
        let mut differences = Vec::new();
        if old.inputs.len() != new.inputs.len() {
            let what = format!("it is made from {} things; it was made from {}", new.inputs.len(), old.inputs.len());
            differences.push(Difference::new("input-changed", what, Remedy::WarmAgain));
            return differences;
        }
        for (before, now) in old.inputs.iter().zip(&new.inputs) {
            let (old_input, new_input) = (&self.old.steps[before.step], &self.new.steps[now.step]);
            let are = |kind| old_input.kind == kind && new_input.kind == kind;
            let is_text = |step: &Step| step.inputs.is_empty() && is_internal(&step.name);
            // The text of a heredoc is the step's own.
            if are(OperationKind::File) && is_text(old_input) && is_text(new_input) {
                differences.extend(words::of_keys(&old_input.key, &new_input.key));
                continue;
            }
            if are(OperationKind::Image) {
                let difference = words::of_images(&old_input.key, &new_input.key);
                differences.extend(difference.map(|difference| self.by_version(difference)));
            } else if are(OperationKind::Local) && old_input.key == new_input.key {
                // The same directory: which of its files count is looked at by itself.
            } else if !self.pairs.are(now.step, before.step) && old_input.digest != new_input.digest {
                let what = format!("it is made from `{}`; it was made from `{}`", new_input.name, old_input.name);
                let is_sent = |step: &Step| step.kind == OperationKind::Local;
                let is_fetched = |step: &Step| step.inputs.is_empty() && fetches_git_context(&step.name);
                let other_kind =
                    (is_sent(old_input) && is_fetched(new_input)) || (is_fetched(old_input) && is_sent(new_input));
                let remedy = if other_kind { Remedy::SameContext } else { Remedy::WarmAgain };
                differences.push(Difference::new("input-changed", what, remedy));
            }
        }
        differences
    }

    /// Says of an image that has moved what this BuildKit makes of one with the same layers.
    fn by_version(&self, mut difference: Difference) -> Difference {
        let version = &self.new.buildkit_version;
        if difference.kind == "base-image-moved" && !version.is_empty() && !Era::of(version).knows_images_by_layers() {
            let known = format!(
                "BuildKit {version} knows an image by its digest alone: with the same layers it is another one, too"
            );
            difference.detail.push(known);
        }
        difference
    }

    /// Which files of our directories are others.
    fn of_files(&self, old: &Step, new: &Step) -> Vec<Difference> {
        let changes = self.changes(old, new, reads);
        let Some((path, change)) = changes.first() else { return Vec::new() };
        let is_git = |path: &str| path == ".git" || path.starts_with(".git/");
        let more = match changes.len() - 1 {
            0 => String::new(),
            1 => ", and so is one more file".to_owned(),
            more => format!(", and {more} more files are not what they were"),
        };
        let what = format!("{path} {}{more}", change.words());
        let umasks = self.umasks(old, new, &changes);
        let mut difference = if changes.iter().all(|(path, _)| is_git(path)) {
            Difference::new(
                "git-mounted",
                format!("it reads .git, which differs in every clone: {what}"),
                Remedy::IgnoreGit,
            )
        } else if let Some(umasks) = umasks {
            Difference::new(
                "file-modes-changed",
                format!(
                    "every file's mode differs as umask {:03o} makes it; the modes were those of umask {:03o}",
                    umasks.new, umasks.old
                ),
                Remedy::Umask(umasks.old, umasks.new),
            )
        } else if changes.iter().all(|(_, change)| matches!(change, files::Change::Mode(..))) {
            Difference::new("file-modes-changed", format!("only modes changed: {what}"), Remedy::Modes)
        } else {
            Difference::new("files-changed", what, Remedy::WarmAgain)
        };
        // The sentence names the first one, unless it is about all of them.
        let first = usize::from(umasks.is_none());
        let named =
            changes.iter().skip(first).take(NAMED_FILES).map(|(path, change)| format!("{path} {}", change.words()));
        difference.detail = named.collect();
        if changes.len() > NAMED_FILES + 1 {
            difference.detail.push(format!("… {} files in all", changes.len()));
        }
        vec![difference]
    }

    /// The umasks of the two checkouts, where nothing but them changed the files that a step reads.
    fn umasks(&self, old: &Step, new: &Step, changes: &[(String, files::Change)]) -> Option<Umasks> {
        let contexts = |build: &Manifest, step: &Step| -> Vec<usize> {
            step.inputs.iter().filter_map(|input| build.steps[input.step].context).collect()
        };
        let files_of = |place: usize| self.old_files[place].get_or_init(|| Files::of(&self.old.contexts[place]));
        let before: Vec<&Files<'_>> = contexts(self.old, old).into_iter().map(files_of).collect();
        let files_of = |place: usize| self.new_files[place].get_or_init(|| Files::of(&self.new.contexts[place]));
        let now: Vec<&Files<'_>> = contexts(self.new, new).into_iter().map(files_of).collect();
        Umasks::of(changes, &before, &now)
    }

    /// Which files are others, of what `reads` says of each input that is a directory of ours.
    fn changes(
        &self,
        old: &Step,
        new: &Step,
        reads: impl Fn(&Step, &Input, &Files<'_>) -> files::Reads,
    ) -> Vec<(String, files::Change)> {
        let mut changes = Vec::new();
        for (before, now) in old.inputs.iter().zip(&new.inputs) {
            let contexts = (self.old.steps[before.step].context, self.new.steps[now.step].context);
            let (Some(one), Some(other)) = contexts else { continue };
            let old_files = self.old_files[one].get_or_init(|| Files::of(&self.old.contexts[one]));
            let new_files = self.new_files[other].get_or_init(|| Files::of(&self.new.contexts[other]));
            let (reads_before, reads_now) = (reads(old, before, old_files), reads(new, now, new_files));
            let is_whole = |build: &Manifest, context: usize| build.contexts[context].left_out == 0;
            changes.extend(files::changes(
                View { files: old_files, is_whole: is_whole(self.old, one), reads: &reads_before },
                View { files: new_files, is_whole: is_whole(self.new, other), reads: &reads_now },
            ));
        }
        changes
    }

    /// Whether a step, or anything below it, is not what it was.
    pub(super) fn differ(&self) -> &[bool] {
        self.differ.get_or_init(|| {
            let mut differ: Vec<bool> = Vec::with_capacity(self.new.steps.len());
            for (place, step) in self.new.steps.iter().enumerate() {
                let inherited = step.inputs.iter().any(|input| differ[input.step]);
                differ.push(inherited || !self.own(place).is_empty());
            }
            differ
        })
    }
}

/// What differs in a step, or else in what it is made from.
pub(super) fn differences(comparison: &Comparison<'_>, place: usize) -> Vec<Difference> {
    let own = comparison.own(place);
    if !own.is_empty() {
        return own.to_vec();
    }
    let differ = comparison.differ();
    let mut at = place;
    while let Some(input) = comparison.new.steps[at].inputs.iter().find(|input| differ[input.step]) {
        at = input.step;
        let own = comparison.own(at);
        if !own.is_empty() {
            let below = &comparison.new.steps[at].name;
            let what = format!("it is made from `{below}`, which is another one");
            let lines =
                |own: &Difference| std::iter::once(own.what.clone()).chain(own.detail.clone()).collect::<Vec<_>>();
            let detail = own.iter().flat_map(lines).collect();
            return vec![Difference { detail, ..Difference::new("input-changed", what, Remedy::WarmAgain) }];
        }
    }
    Vec::new()
}

/// The places of the contexts that steps of a build, or anything below them, are made from.
pub(crate) fn contexts_of(build: &Manifest, steps: Vec<usize>) -> HashSet<usize> {
    below(build, steps).into_iter().filter_map(|place| build.steps[place].context).collect()
}

/// Steps of a build, and everything they are made from.
fn below(build: &Manifest, steps: Vec<usize>) -> HashSet<usize> {
    let mut entered: HashSet<usize> = HashSet::new();
    let mut pending = steps;
    while let Some(place) = pending.pop() {
        if entered.insert(place) {
            pending.extend(build.steps[place].inputs.iter().map(|input| input.step));
        }
    }
    entered
}

/// What may differ in the directories that a step, or anything below it, reads, although nothing differs of what it is
/// known to read: BuildKit knows more of patterns and links, and not every file may be written down.
pub(super) fn of_contexts(comparison: &Comparison<'_>, place: usize) -> Option<Difference> {
    let mut places: Vec<usize> = below(comparison.new, vec![place]).into_iter().collect();
    places.sort_unstable();
    let everything = |_: &Step, _: &Input, files: &Files<'_>| files::read_by(&["/".to_owned()], None, None, files);
    let mut left_out = 0;
    for place in places {
        let new = &comparison.new.steps[place];
        let Some(old) = comparison.pairs.partner(place).map(|partner| &comparison.old.steps[partner]) else { continue };
        if let Some((path, change)) = comparison.changes(old, new, everything).first() {
            let what = format!("a file of the directory it reads may be why: {path} {}", change.words());
            return Some(Difference::new("files-changed", what, Remedy::WarmAgain));
        }
        let unknown =
            |build: &Manifest, step: &Step| step.context.map_or(0, |context| build.contexts[context].left_out);
        left_out = left_out.max(unknown(comparison.old, old)).max(unknown(comparison.new, new));
    }
    (left_out > 0).then(|| {
        let what = format!("{left_out} files of the directory it reads are not in the manifest: one may be why");
        Difference::new("files-unknown", what, Remedy::WarmAgain)
    })
}

/// What a step reads of one of its inputs.
fn reads(step: &Step, input: &Input, files: &Files<'_>) -> files::Reads {
    files::read_by_step(&step.key, &input.paths, files)
}

/// Why a root does not have a step although both builds have the same one.
pub(super) fn of_the_root(comparison: &Comparison<'_>, traces: Traces<'_>) -> Difference {
    let (old, new) = (comparison.old, comparison.new);
    if let (Some(before), Some(now)) = (old.snapshotter.as_deref(), traces.snapshotter)
        && before != now
    {
        let what = format!("the cache was made with the snapshotter {before}, and this builder uses {now}");
        return Difference::new("snapshotter-changed", what, Remedy::Snapshotter);
    }
    if !old.worker_id.is_empty() && !traces.worker_id.is_empty() && old.worker_id != traces.worker_id {
        let what = format!("the cache is that of the worker {}, and this one is {}", old.worker_id, traces.worker_id);
        return Difference::new("worker-changed", what, Remedy::Worker);
    }
    if let Some(gone @ 1..) = traces.records_gone {
        let what = format!("{gone} of the {} records that were warm are gone", old.records.len());
        return Difference::new("evicted", what, Remedy::Evicted);
    }
    if old.buildkit_version != new.buildkit_version && !new.buildkit_version.is_empty() {
        let what = format!("it was made by BuildKit {}, and this is {}", old.buildkit_version, new.buildkit_version);
        return Difference::new("buildkit-changed", what, Remedy::Buildkit);
    }
    let what = "nothing that makes its cache key differs from the build that was warmed";
    Difference::new("not-in-cache", what, Remedy::SameInputs)
}
