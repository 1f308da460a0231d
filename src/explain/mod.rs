//! Why a step is not in a cache: what differs between the build that made the cache, as its manifest tells, and this one.
//!
//! Steps of the two builds are paired first ([`pairs`]); then a step is held against its partner ([`difference`]), key by
//! key, input by input, and file by file where a directory of ours is read ([`files`]).

mod builds;
mod difference;
mod files;
pub(crate) mod git;
mod pairs;
mod umask;
mod words;

use std::cell::OnceCell;
use std::path::Path;

use crate::event::Events;
use crate::manifest::{Files, Manifest};
use crate::report::Reason;
use difference::Difference;
use pairs::Pairs;

pub(crate) use builds::builds;
pub(crate) use difference::contexts_of;

/// Two builds, step by step.
#[derive(Debug)]
pub(crate) struct Comparison<'m> {
    old: &'m Manifest,
    new: &'m Manifest,
    pairs: Pairs,
    /// By the new steps' places: what differs in each.
    own: Vec<OnceCell<Vec<Difference>>>,
    /// Whether a new step, or anything below it, is not what it was.
    differ: OnceCell<Vec<bool>>,
    old_files: Vec<OnceCell<Files<'m>>>,
    new_files: Vec<OnceCell<Files<'m>>>,
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
        Comparison {
            old,
            new,
            pairs: Pairs::of(&old.steps, &new.steps),
            own: new.steps.iter().map(|_| OnceCell::new()).collect(),
            differ: OnceCell::new(),
            old_files: old.contexts.iter().map(|_| OnceCell::new()).collect(),
            new_files: new.contexts.iter().map(|_| OnceCell::new()).collect(),
        }
    }

    /// Why the new build's step at this place is another one than the old build's; none when nothing differs.
    pub(crate) fn reason(&self, place: usize) -> Option<Reason> {
        let mut differences = difference::differences(self, place).into_iter();
        let mut first = differences.next()?;
        for other in differences {
            first.detail.push(other.what);
            first.detail.extend(other.detail.into_iter().map(|line| format!("  {line}")));
        }
        Some(first.into())
    }

    /// Why the new build's step at this place, which a state root does not have, is not there; looks at what the root
    /// tells when the two builds agree.
    pub(crate) fn reason_in(&self, place: usize, traces: Traces<'_>) -> Reason {
        self.reason(place).unwrap_or_else(|| {
            difference::of_contexts(self, place).unwrap_or_else(|| difference::of_the_root(self, traces)).into()
        })
    }
}

/// The manifest that the last warm run left there, if there is one that something can be compared with; says so when not.
pub(crate) fn last_manifest(path: &Path, events: &Events) -> Option<Manifest> {
    match Manifest::read_if_there(path) {
        Ok(Some(manifest)) if !manifest.is_comparable() => {
            events.note(format!("{} is of an older cachewarm: nothing can be compared with it", path.display()));
            None
        }
        Ok(manifest) => {
            if let Some(manifest) = &manifest {
                tell_of(manifest, path, events);
            }
            manifest
        }
        Err(error) => {
            events.note(format!("{error:#}; nothing can be compared with it"));
            None
        }
    }
}

/// Says what the reasons of misses are about: the manifest may be that of another project, or of another root.
pub(crate) fn tell_of(manifest: &Manifest, path: &Path, events: &Events) {
    let commit = manifest.commit.iter().map(|commit| format!(" at {}", commit.chars().take(12).collect::<String>()));
    let commit: String = commit.collect();
    events.note(format!("what misses is compared with {}, of {}{commit}", path.display(), manifest.source));
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
