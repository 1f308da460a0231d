//! `cachewarm explain OLD NEW`: two manifests, step by step.

use std::path::Path;

use super::Comparison;
use crate::failure::{Failure, Kind};
use crate::manifest::Manifest;
use crate::report::explanation::{ExplainedStep, Explanation, Sameness, Side};

/// Holds the build of the manifest `new` against that of `old`.
///
/// # Errors
/// Explained: a manifest that cannot be read.
pub(crate) fn builds(old: &Path, new: &Path) -> anyhow::Result<Explanation> {
    let (before, now) = (comparable(old)?, comparable(new)?);
    let comparison = Comparison::new(&before, &now);
    let steps = (0..now.steps.len()).filter(|place| is_step(&now, *place)).map(|place| explained(&comparison, place));
    let steps = steps.collect();
    Ok(Explanation::new(side(old, &before), side(new, &now), steps))
}

fn comparable(file: &Path) -> anyhow::Result<Manifest> {
    let manifest = Manifest::read(file)?;
    match manifest.is_comparable() {
        true => Ok(manifest),
        false => Err(Failure::new(
            Kind::Usage,
            format!("the manifest {} does not say what its steps are made of", file.display()),
            "warm again: an older cachewarm wrote it",
        )),
    }
}

fn is_step(build: &Manifest, place: usize) -> bool {
    let step = &build.steps[place];
    step.kind.is_step(&step.name)
}

fn explained(comparison: &Comparison<'_>, place: usize) -> ExplainedStep {
    let step = &comparison.new.steps[place];
    let differs = !comparison.own(place).is_empty();
    let is_below =
        step.inputs.iter().any(|input| comparison.differ()[input.step] && is_step(comparison.new, input.step));
    let state = match (step.always_runs, is_below, differs) {
        (true, ..) => Sameness::AlwaysRuns,
        // What is built on another step may be found by its content once that has run.
        (_, true, _) => Sameness::Below,
        (_, _, true) => Sameness::Differs,
        _ => Sameness::Same,
    };
    let reason = if differs && state != Sameness::AlwaysRuns { comparison.reason(place) } else { None };
    ExplainedStep { digest: step.digest.clone(), name: step.name.clone(), targets: step.targets.clone(), state, reason }
}

fn side(file: &Path, manifest: &Manifest) -> Side {
    Side {
        file: file.display().to_string(),
        created_at: manifest.created_at.clone(),
        source: manifest.source.clone(),
        commit: manifest.commit.clone(),
        buildkit_version: manifest.buildkit_version.clone(),
    }
}
