//! Why the steps that miss do: this build held against the one that the root was warmed for.

use std::collections::HashSet;
use std::path::Path;

use super::{Remembered, Seen};
use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::explain::{Comparison, Traces, contexts_of, last_manifest};
use crate::manifest::{Manifest, USUAL};
use crate::plan::Plan;
use crate::report::{Step, StepState};
use crate::rows;

/// The build that the root was warmed for, if somebody wrote it down.
///
/// # Errors
/// Explained: a manifest that was named and cannot be read.
pub(super) fn remembered(manifest: &Remembered, events: &Events) -> anyhow::Result<Option<Manifest>> {
    match manifest {
        Remembered::Usual => Ok(last_manifest(Path::new(USUAL), events)),
        Remembered::In(file) => Manifest::read(file).map(Some),
        Remembered::Not => Ok(None),
    }
}

/// Gives each step that misses its reason. Reads the files of the contexts that they are made from, and none when nothing
/// misses.
///
/// # Errors
/// When a file cannot be read.
pub(super) async fn explain(
    steps: &mut [Step],
    before: Option<&Manifest>,
    plan: &Plan,
    seen: &Seen,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let missed: HashSet<String> =
        steps.iter().filter(|step| step.state == StepState::Miss).map(|step| step.digest.clone()).collect();
    let Some(before) = before.filter(|_| !missed.is_empty()) else { return Ok(()) };
    let mut now = Manifest {
        buildkit_version: seen.buildkit_version.clone(),
        frontends: rows::frontends(&seen.accounts()),
        ..Manifest::new()
    };
    let served = now.describe(&plan.names(), &seen.graphs);
    let places = (0..).zip(&now.steps).filter(|(_, step)| missed.contains(&step.digest)).map(|(at, _)| at);
    let read = contexts_of(&now, places.collect());
    let now = now.fingerprinted(rows::sources(plan, served, |place| read.contains(&place)), cancel).await?;
    let comparison = Comparison::new(before, &now);
    let traces = Traces {
        worker_id: &seen.worker_id,
        snapshotter: seen.snapshotter.as_deref(),
        records_gone: Some(before.records.iter().filter(|id| !seen.known.contains(*id)).count()),
    };
    rows::explain(steps, &now, |place| Some(comparison.reason_in(place, traces)));
    Ok(())
}
