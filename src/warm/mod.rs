//! `cachewarm warm`: every line of [`warm`] is one step of the data flow.

mod donors;
mod eras;
mod fetch;
mod job;
mod solve;
mod summary;

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::buildkit::{Accounts, Address, Builder, Spawn};
use crate::cancel::unless_cancelled;
use crate::event::Events;
use crate::explain;
use crate::manifest::{self, Key, Marks};
use crate::plan::Plan;
use crate::report::assemble::{self, NOT_IN_CACHE};
use crate::report::eras::other_version;
use crate::report::{Clock, Fetching, Report, Verdict};
use crate::source;

use donors::Donors;
use solve::{Also, Found, Solved};

pub(crate) use job::{Fetch, Job, OnMiss, Prove};

/// What the steps of a run need, once it is decided.
struct Run<'r> {
    job: &'r Job,
    plan: &'r Plan,
    donors: &'r Donors,
    clock: &'r Clock,
    cancel: &'r CancellationToken,
    events: &'r Events,
}

/// Makes a state root warm and proves it.
///
/// # Errors
/// Whatever kept it from finding out: source, credentials, donors, builder, a step that failed. A root that is not
/// warm is a report, not an error.
pub(crate) async fn warm(job: Job, cancel: CancellationToken, events: Events) -> anyhow::Result<Report> {
    let clock = Clock::new(events.clone());
    let obtained = source::obtain(&job.build.source, job.build.modes, &events);
    let checkout = clock.time("source", unless_cancelled(&cancel, obtained)).await?;
    let plan = Plan::new(&job.build, checkout, &job.keychain, &events)?;
    let donors = clock.time("donors", unless_cancelled(&cancel, donors::probe(&job, &plan, &events))).await?;
    // What is inside dockerd is asked itself.
    if matches!(job.prove, Some(Prove::Yes | Prove::OnDisk))
        && !matches!(job.builder.address, Address::Docker | Address::Buildx(_))
    {
        Spawn::on(PathBuf::new(), spawned_program(&job.builder.address), None).can_start().await?;
    }
    // From here on the root may change.
    manifest::unseal(job.manifest.as_deref())?;
    let run = Run { job: &job, plan: &plan, donors: &donors, clock: &clock, cancel: &cancel, events: &events };
    let wanted = job.builder.for_run(plan.entitlements(), job.on_miss == OnMiss::Fail);
    let (mut also, mut before) = (Also::default(), None);
    let mut is_last = false;
    let (mut earlier, mut fetched) = (Accounts::default(), Fetching::default());
    let (builder, solved, found, doubts) = loop {
        let connected = unless_cancelled(&cancel, Builder::connect(&wanted, &events));
        let mut builder = clock.time("builder", connected).await?;
        if before.is_none() {
            before = Some(eras::look(&builder, &events).await?);
        }
        // Without a proof nobody would notice what was only believed to be there.
        if !solve::will_prove(&job, &builder) {
            (also.middles, is_last) = (true, true);
        }
        let solved = solve::solve(&run, &mut builder, also).await;
        let stopped = clock.time("stop", builder.stop()).await;
        let mut solved = solved?;
        solved.accounts = solved.accounts.after(earlier);
        solved.fetched = solved.fetched.after(fetched);
        stopped.context("stopping the builder")?;
        let found = clock.time("verify", solve::look(&builder, &solved, &events)).await?;
        let doubts = solve::prove(&run, &builder, &solved, &found).await?;
        let Some(gaps) = doubts.as_ref().filter(|doubts| !is_last && !doubts.is_empty()) else {
            break (builder, solved, found, doubts);
        };
        events.note("the proof found gaps: asking for every step by itself");
        // Nobody opens an image where a step is lost already.
        (also, is_last) = (Also { middles: true, images: gaps.ran.is_empty() }, true);
        (earlier, fetched) = (solved.accounts, solved.fetched);
    };
    let asked = doubts.as_ref().map(|doubts| doubts.buildkit_version.clone()).unwrap_or_default();
    let mut report = summary::report(&run, &builder, &solved, &found, doubts);
    report.head.notes.extend(before.flatten());
    report.head.notes.extend(other_version(&builder.version, &asked));
    remember(&run, &builder, &solved, &found, &mut report).await?;
    if plan.targets.iter().any(|target| !target.donors.is_empty()) {
        explain::git::explain(&mut report.steps, &solved.takers_of_git);
    }
    assemble::name_causes(&mut report.steps, &solved.graphs);
    report.phases = clock.into_phases();
    Ok(report)
}

/// Writes the manifest of a run that ended warm, and has the one of the run before tell why steps were in no cache.
async fn remember(
    run: &Run<'_>,
    builder: &Builder,
    solved: &Solved,
    found: &Found,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Run { job, plan, clock, cancel, events, .. } = *run;
    let Some(path) = &job.manifest else { return Ok(()) };
    let is_unexplained = report.steps.iter().any(|step| step.reason.as_ref().is_some_and(|r| r.kind == NOT_IN_CACHE));
    let before = if is_unexplained { explain::last_manifest(path, events) } else { None };
    // A file that changed meanwhile may be why BuildKit had to run something again.
    let had_to_run = report.proof.as_ref().is_some_and(|proof| !proof.doubts.ran.is_empty());
    if report.head.verdict != Verdict::Warm && before.is_none() && !had_to_run {
        return Ok(());
    }
    let key = Key::beside(path)?;
    let marks = Marks::Keyed(key.map_or_else(Key::random, Ok)?);
    let (manifest, served) = summary::promise(report, plan, builder, solved, found, &marks);
    let sources = assemble::sources(plan, served, |_| true);
    let manifest = clock.time("fingerprint", manifest.fingerprinted(sources, cancel)).await?;
    if let [first, more @ ..] = manifest.changed.as_slice() {
        let more = if more.is_empty() { String::new() } else { format!(", and {} more", more.len()) };
        let note = format!("changed while they were built, so the next build may differ: {first}{more}");
        events.warn(note.clone());
        report.head.notes.push(note);
    }
    if let Some(before) = before {
        summary::explain(report, &before, &manifest);
    }
    if report.head.verdict != Verdict::Warm {
        return Ok(());
    }
    match manifest.write(path, &marks) {
        // Who may talk to a daemon need not own the machine.
        Err(error) if path == Path::new(manifest::USUAL) && is_refused(&error) => {
            events.note(format!("{error:#}: smoke will not say why steps miss (--manifest FILE, for both)"));
            Ok(())
        }
        outcome => outcome,
    }
}

fn is_refused(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The buildkitd the proof runs on, unless it is the usual one.
fn spawned_program(address: &Address) -> Option<PathBuf> {
    match address {
        Address::Spawn(program) => program.clone(),
        _ => None,
    }
}
