//! From what a smoke check found out to its report and verdict.

use std::collections::HashMap;

use super::{Job, Seen};
use crate::buildkit::Operation;
use crate::plan::Plan;
use crate::report::assemble::{self, NAMED, named};
use crate::report::eras;
use crate::report::{self, Clock, Head, Proof, Reason, Report, Step, StepState, Verdict};
use crate::verify::{OnDisk, Outlook};

/// The kind of reason of a step that the build can do without.
const NOT_NEEDED: &str = "not-needed";

/// What became, or would become, of each step; and what the status streams said.
pub(super) fn steps(plan: &Plan, seen: &Seen) -> Vec<Step> {
    let mut outlooks: HashMap<&str, &Outlook> = HashMap::new();
    for (digest, outlook) in seen.ahead.iter().flat_map(|ahead| &ahead.outlooks) {
        // What one target would run, it would run, whatever another one has.
        let known = outlooks.entry(digest).or_insert(outlook);
        if **known == Outlook::Hit {
            *known = outlook;
        }
    }
    assemble::steps(&plan.targets, &seen.graphs, |_, operation| judged(&outlooks, operation))
}

/// The report.
pub(super) fn report(
    job: &Job,
    plan: &Plan,
    seen: Seen,
    steps: Vec<Step>,
    found: Option<OnDisk>,
    clock: Clock,
) -> Report {
    let accounts = seen.accounts();
    // What is unknown, because it is built on a miss or runs always, is no hit; what is not needed does not count.
    let is_needed = |step: &Step| step.reason.as_ref().is_none_or(|reason| reason.kind != NOT_NEEDED);
    let hits = assemble::hits(&seen.graphs, &steps, is_needed);
    let hit_rate = hits.rate();
    let mut reasons: Vec<String> = Vec::new();
    let missed: Vec<&Step> = steps.iter().filter(|step| step.state == StepState::Miss).collect();
    reasons.extend(assemble::never_warm(&seen.graphs).map(str::to_owned));
    // The share is about steps: a base image that has to be fetched is needed whatever the share.
    let images = assemble::images(&seen.graphs);
    let lacks_image = missed.iter().any(|step| images.contains(step.digest.as_str()));
    if hit_rate < job.min_hit_rate || lacks_image || (job.min_hit_rate >= 1.0 && !missed.is_empty()) {
        let why = |step: &Step| match &step.reason {
            Some(reason) if reason.kind != assemble::NOT_IN_CACHE => format!(": {}", reason.what),
            _ => String::new(),
        };
        let named =
            missed.iter().take(NAMED).map(|step| format!("a build would run or fetch `{}`{}", step.name, why(step)));
        reasons.extend(named);
        if missed.len() > NAMED {
            reasons.push(format!(
                "a build would run or fetch {} steps, and run what is built on them, in all",
                missed.len()
            ));
        }
    }
    if hit_rate < job.min_hit_rate {
        let (rate, wanted) = (hit_rate * 100.0, job.min_hit_rate * 100.0);
        reasons.push(format!("{rate:.1} % of the steps are hits, fewer than the {wanted:.1} % asked for"));
    }
    let problems = found.iter().flat_map(|looked| looked.problems.iter().chain(&looked.unproven));
    let problems = problems.map(|problem| format!("matched but not present: {problem}")).collect();
    reasons.extend(named(problems, "records are matched but not present"));
    reasons.extend(seen.proof.iter().flat_map(Proof::reasons));
    let is_confirmed = seen.proof.as_ref().is_some_and(Proof::is_the_builders_word);
    let verdict = match &seen.asked.why_itself {
        _ if !reasons.is_empty() => Verdict::NotWarm,
        // Who names a root means that one.
        Some(why) if job.builder.root.is_some() || !is_confirmed => {
            reasons.push(format!("the builder has every step; not verified on disk: {why}"));
            Verdict::NotVerified
        }
        _ => Verdict::Warm,
    };
    let notes = notes(&seen).into_iter().chain(assemble::likely_cause(&plan.checkout, &steps)).collect();
    Report {
        head: Head::new("smoke", verdict, reasons, notes),
        source: report::Source::of_run(plan, &accounts),
        builder: report::Builder {
            kind: seen.asked.kind,
            address: seen.asked.address,
            buildkit_version: seen.buildkit_version,
            state_root: seen.asked.root.map(|root| root.display().to_string()),
        },
        donors: Vec::new(),
        resolved_by_every_build: assemble::resolved_by_every_build(&accounts, &seen.graphs),
        targets: assemble::targets(&plan.targets, &steps),
        transfer: assemble::transfer(&accounts, &[]),
        steps,
        layers: found.as_ref().map(|found| found.layers),
        frontends: found.as_ref().map(|found| found.frontends),
        proof: seen.proof,
        phases: clock.into_phases(),
        hit_rate,
    }
}

/// What a person should know all the same.
fn notes(seen: &Seen) -> Vec<String> {
    let name = format!("BuildKit {}", seen.uses());
    let again = seen.again.map(|again| eras::unpacked_again(&name, again.layers, again.bytes));
    let other = eras::other_version(&seen.asked.uses, &seen.buildkit_version);
    again.into_iter().chain(other).chain(asked(seen)).collect()
}

/// What the builder did although it was only asked.
fn asked(seen: &Seen) -> Vec<String> {
    let Some(why) = &seen.asked.why_itself else { return Vec::new() };
    let mut ran: Vec<&str> = Vec::new();
    for (graph, ahead) in seen.graphs.iter().zip(&seen.ahead) {
        let names = graph.operations().iter().filter(|operation| ahead.ran.contains(&operation.digest));
        ran.extend(names.map(|operation| operation.name.as_str()));
    }
    let asked = format!("the builder itself was asked, for its state root was not read ({why})");
    vec![match ran.is_empty() {
        true => format!("{asked}; it began no step"),
        false => {
            format!(
                "{asked}: a step is stopped as soon as it begins, and a short one may be done by then: {}",
                ran.join(", ")
            )
        }
    }]
}

fn judged(outlooks: &HashMap<&str, &Outlook>, operation: &Operation) -> (StepState, Option<Reason>) {
    let reason = |kind: &str, what: String, remedy: Option<&str>| {
        Some(Reason { kind: kind.into(), what, detail: None, remedy: remedy.map(str::to_owned) })
    };
    match outlooks.get(operation.digest.as_str()).copied() {
        _ if operation.always_runs => {
            let what = "every build runs it, or something it is made from, anew".to_owned();
            (StepState::Unknown, reason("always-runs", what, None))
        }
        Some(Outlook::Hit) => (StepState::Hit, None),
        Some(Outlook::Miss) => {
            let remedy = "compare the commit, the kind of context (a git URL or a directory), the build arguments, the platform \
                          and the modes (--modes) with those it was warmed with";
            let what = if operation.is_work() { "the root has no result of it" } else { "the build would fetch it" };
            (StepState::Miss, reason(assemble::NOT_IN_CACHE, what.to_owned(), Some(remedy)))
        }
        Some(Outlook::Below(step)) => (
            StepState::Unknown,
            reason(assemble::BELOW_A_MISS, format!("it is built on `{step}`, which would run"), None),
        ),
        None => (StepState::Unknown, reason(NOT_NEEDED, "the build does not need it".to_owned(), None)),
    }
}
