//! Why the steps that miss do: this build held against the one that the root was warmed for.

use std::collections::HashSet;
use std::path::Path;

use super::{Remembered, Seen};
use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::explain::{Comparison, Traces, contexts_of, last_manifest, tell_of};
use crate::manifest::{Manifest, Marks, USUAL};
use crate::plan::Plan;
use crate::report::assemble;
use crate::report::{Step, StepState};

/// The build that the root was warmed for, if somebody wrote it down, and the marks to compare secrets by.
///
/// # Errors
/// Explained: a manifest that was named and cannot be read.
pub(super) fn remembered(manifest: &Remembered, events: &Events) -> anyhow::Result<Option<(Manifest, Marks)>> {
    let (file, manifest) = match manifest {
        Remembered::Usual => (Path::new(USUAL), last_manifest(Path::new(USUAL), events)),
        Remembered::In(file) => {
            let manifest = Manifest::read(file)?;
            tell_of(&manifest, file, events);
            (file.as_path(), Some(manifest))
        }
        Remembered::Not => return Ok(None),
    };
    let marks = |manifest: &Manifest| {
        manifest.marks(file).unwrap_or_else(|error| {
            events.note(format!("{error:#}; secrets cannot be compared"));
            Marks::Masked
        })
    };
    Ok(manifest.map(|manifest| (marks(&manifest), manifest)).map(|(marks, manifest)| (manifest, marks)))
}

/// Gives each step that misses its reason. Reads the files of the contexts that they are made from, and none when nothing
/// misses.
///
/// # Errors
/// When a file cannot be read.
pub(super) async fn explain(
    steps: &mut [Step],
    before: Option<&(Manifest, Marks)>,
    plan: &Plan,
    seen: &Seen,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let missed: HashSet<String> =
        steps.iter().filter(|step| step.state == StepState::Miss).map(|step| step.digest.clone()).collect();
    let Some((before, marks)) = before.filter(|_| !missed.is_empty()) else { return Ok(()) };
    let mut now = Manifest {
        buildkit_version: seen.buildkit_version.clone(),
        frontends: assemble::frontends(&seen.accounts()),
        source_policy: plan.policy.as_ref().map(|policy| policy.digest.clone()),
        ..Manifest::new()
    };
    let served = now.describe(&plan.names(), &seen.graphs, marks);
    let places = (0..).zip(&now.steps).filter(|(_, step)| missed.contains(&step.digest)).map(|(at, _)| at);
    let read = contexts_of(&now, places.collect());
    let now = now.fingerprinted(assemble::sources(plan, served, |place| read.contains(&place)), cancel).await?;
    let comparison = Comparison::new(before, &now);
    let traces = Traces {
        worker_id: &seen.worker_id,
        snapshotter: seen.snapshotter.as_deref(),
        // A builder does not list all of them.
        records_gone: seen
            .asked
            .root
            .as_ref()
            .map(|_| before.records.iter().filter(|id| !seen.known.contains(*id)).count()),
    };
    assemble::explain(steps, &now, |place| Some(comparison.reason_in(place, traces)));
    Ok(())
}
