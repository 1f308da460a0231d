//! Why the steps that miss do: this build held against the one that the root was warmed for.

use std::collections::HashSet;
use std::path::Path;

use super::{Remembered, Seen};
use crate::explain::{Comparison, Traces, files_of};
use crate::manifest::{Manifest, USUAL};
use crate::plan::Plan;
use crate::report::{Step, StepState};
use crate::rows;

/// The build that the root was warmed for, if somebody wrote it down.
///
/// # Errors
/// Explained: a manifest that was named or is in the usual place and cannot be read.
pub(super) fn remembered(manifest: &Remembered) -> anyhow::Result<Option<Manifest>> {
    match manifest {
        Remembered::Usual => Manifest::read_if_there(Path::new(USUAL)),
        Remembered::In(file) => Manifest::read(file).map(Some),
        Remembered::Not => Ok(None),
    }
}

/// Gives each step that misses its reason. Reads those files of the contexts that count for one of them, and none when
/// nothing misses.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn explain(steps: &mut [Step], before: Option<&Manifest>, plan: &Plan, seen: &Seen) -> anyhow::Result<()> {
    let missed: HashSet<&str> =
        steps.iter().filter(|step| step.state == StepState::Miss).map(|step| step.digest.as_str()).collect();
    let Some(before) = before.filter(|_| !missed.is_empty()) else { return Ok(()) };
    let mut now = Manifest {
        buildkit_version: seen.buildkit_version.clone(),
        frontends: rows::frontends(&seen.accounts()),
        ..Manifest::new()
    };
    let served = now.describe(&plan.names(), &seen.graphs);
    let places = (0..).zip(&now.steps).filter(|(_, step)| missed.contains(step.digest.as_str())).map(|(at, _)| at);
    let counts = files_of(&now, places.collect());
    now.fingerprint(&served, |target, name| plan.local(target, name), counts)?;
    let comparison = Comparison::new(before, &now);
    let traces = Traces {
        worker_id: &seen.worker_id,
        snapshotter: seen.snapshotter.as_deref(),
        records_gone: Some(before.records.iter().filter(|id| !seen.known.contains(*id)).count()),
    };
    rows::explain(steps, &now, |place| Some(comparison.reason_in(place, traces)));
    Ok(())
}
