//! Why a step is not in a cache: what differs between the build that made the cache, as its manifest tells, and this one.
//!
//! Steps of the two builds are paired first ([`pairs`]); then a step is held against its partner ([`difference`]), key by
//! key, input by input, and file by file where a directory of ours is read ([`files`]).

mod builds;
mod difference;
mod files;
mod pairs;
mod words;

use std::cell::OnceCell;

use crate::manifest::Manifest;
use crate::report::Reason;
use difference::Difference;

pub(crate) use builds::builds;
pub(crate) use difference::files_of;

/// Two builds, step by step.
#[derive(Debug)]
pub(crate) struct Comparison<'m> {
    old: &'m Manifest,
    new: &'m Manifest,
    /// By the new steps' places.
    pairs: Vec<Option<usize>>,
    /// Whether a new step, or anything below it, is not what it was.
    differ: OnceCell<Vec<bool>>,
}

/// What a state root has to say beside the two builds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traces<'m> {
    /// The worker of the root; empty when nobody looked.
    pub(crate) worker_id: &'m str,
    /// Its snapshotter.
    pub(crate) snapshotter: Option<&'m str>,
    /// How many of the old build's records are gone; none when nobody looked.
    pub(crate) records_gone: Option<usize>,
}

impl<'m> Comparison<'m> {
    /// Of the build a cache was made with, and another one.
    pub(crate) fn new(old: &'m Manifest, new: &'m Manifest) -> Comparison<'m> {
        Comparison { old, new, pairs: pairs::pairs(&old.steps, &new.steps), differ: OnceCell::new() }
    }

    /// Why the new build's step at this place is another one than the old build's; none when nothing differs.
    pub(crate) fn reason(&self, place: usize) -> Option<Reason> {
        let mut differences = difference::differences(self, place).into_iter();
        let first = differences.next()?;
        let mut detail: Vec<String> = first.detail;
        for other in differences {
            detail.push(other.what);
            detail.extend(other.detail.into_iter().map(|line| format!("  {line}")));
        }
        Some(Reason {
            kind: first.kind.into(),
            what: first.what,
            detail: (!detail.is_empty()).then(|| detail.join("\n")),
            remedy: Some(first.remedy.into()),
        })
    }

    /// Why the new build's step at this place, which a state root does not have, is not there; looks at what the root
    /// tells when the two builds agree.
    pub(crate) fn reason_in(&self, place: usize, traces: Traces<'_>) -> Reason {
        if let Some(reason) = self.reason(place) {
            return reason;
        }
        let Difference { kind, what, detail, remedy } = difference::of_the_root(self, traces);
        Reason {
            kind: kind.into(),
            what,
            detail: (!detail.is_empty()).then(|| detail.join("\n")),
            remedy: Some(remedy.into()),
        }
    }
}
