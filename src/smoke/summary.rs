//! From what a smoke check found out to its report and verdict.

use std::collections::HashMap;

use super::{Job, Seen};
use crate::buildkit::{Accounts, Builder, Graph, Operation};
use crate::plan::Plan;
use crate::report::{self, Clock, Reason, Report, StepState, Verdict};
use crate::rows;
use crate::verify::{OnDisk, Outlook};

/// Problems named in the reasons, at most.
const NAMED: usize = 5;

/// The report.
pub(super) fn report(job: &Job, plan: &Plan, builder: &Builder, seen: Seen, found: OnDisk, clock: Clock) -> Report {
    let mut outlooks: HashMap<String, Outlook> = HashMap::new();
    let mut accounts = Accounts::default();
    for ahead in seen.ahead {
        outlooks.extend(ahead.outlooks);
        accounts = ahead.accounts.after(accounts);
    }
    let judged = |_: &Graph, operation: &Operation| judged(&outlooks, operation);
    let steps = rows::steps(&plan.targets, &seen.graphs, judged);
    let hit_rate = rows::hit_rate(&seen.graphs, &steps);
    let mut reasons: Vec<String> = Vec::new();
    let missed: Vec<&report::Step> = steps.iter().filter(|step| step.state == StepState::Miss).collect();
    if hit_rate < job.min_hit_rate || (job.min_hit_rate >= 1.0 && !missed.is_empty()) {
        let named = missed.iter().take(NAMED).map(|step| format!("a build would run `{}`", step.name));
        reasons.extend(named);
        if missed.len() > NAMED {
            reasons.push(format!("a build would run {} steps, and what is built on them, in all", missed.len()));
        }
    }
    let problems = found.problems.iter().chain(&found.unproven);
    reasons.extend(problems.clone().take(NAMED).map(|problem| format!("matched but not present: {problem}")));
    if problems.clone().count() > NAMED {
        reasons.push(format!("{} records are matched but not present in all", problems.count()));
    }
    Report {
        schema: report::SCHEMA,
        command: "smoke".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        verdict: if reasons.is_empty() { Verdict::Warm } else { Verdict::NotWarm },
        reasons,
        notes: Vec::new(),
        source: report::Source {
            location: plan.checkout.location.clone(),
            rev: plan.checkout.rev.clone(),
            commit: plan.checkout.commit.clone(),
        },
        builder: report::Builder {
            kind: "shadow".into(),
            address: builder.address.clone(),
            buildkit_version: builder.version.clone(),
            state_root: Some(job.root.display().to_string()),
        },
        donors: Vec::new(),
        resolved_by_every_build: rows::resolved_by_every_build(&accounts),
        targets: rows::targets(&plan.targets, &steps),
        transfer: rows::transfer(&accounts),
        steps,
        layers: Some(found.layers.into()),
        frontends: Some(found.frontends.into()),
        proof: None,
        phases: clock.into_phases(),
        hit_rate,
    }
}

fn judged(outlooks: &HashMap<String, Outlook>, operation: &Operation) -> (StepState, Option<Reason>) {
    let reason = |kind: &str, what: String, remedy: Option<&str>| {
        Some(Reason { kind: kind.into(), what, detail: None, remedy: remedy.map(str::to_owned) })
    };
    match outlooks.get(&operation.digest) {
        _ if operation.always_runs => {
            let what = "every build runs it, or something it is made from, anew".to_owned();
            (StepState::Unknown, reason("always-runs", what, None))
        }
        Some(Outlook::Hit) => (StepState::Hit, None),
        Some(Outlook::Miss) => {
            let remedy = "compare the commit, the build arguments and the platform with those it was warmed with";
            (StepState::Miss, reason("not-in-cache", "the root has no result of it".to_owned(), Some(remedy)))
        }
        Some(Outlook::Below(step)) => {
            (StepState::Unknown, reason("below-a-miss", format!("it is built on `{step}`, which would run"), None))
        }
        None => (StepState::Unknown, reason("not-needed", "the build does not need it".to_owned(), None)),
    }
}
