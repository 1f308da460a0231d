//! `cachewarm smoke`: is this build warm here? Answered before it runs, on a shadow of the state root, so that no step runs,
//! no layer is fetched, and nothing in the root changes; by the builder itself where nobody can read its root.

mod answerer;
mod confirm;
mod reasons;
mod summary;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::auth::Keychain;
use crate::buildkit::{self, Accounts, Builder, Graph, Patience, Setting, StatusTracker, Wanted};
use crate::cancel::unless_cancelled;
use crate::event::Events;
use crate::explain;
use crate::failure::{Failure, Kind};
use crate::plan::{Build, Plan};
use crate::report::{Clock, Proof, Report};
use crate::source;
use crate::verify::{self, Again, Ahead, OnDisk};
use answerer::{Answerer, Asked};

/// Attempts to ask the frontend, and daemons that are asked in all.
const ATTEMPTS: u32 = 3;

/// Everything a smoke check needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What is built.
    pub(crate) build: Build,
    /// Who logs in where.
    pub(crate) keychain: Keychain,
    /// The builder that is asked about; with `spawn`, the state root alone, by that buildkitd on a shadow of it.
    pub(crate) builder: Wanted,
    /// The least share of steps (0 to 1) that must be hits.
    pub(crate) min_hit_rate: f64,
    /// The manifest of the warm run that made the root.
    pub(crate) manifest: Remembered,
    /// No progress for this long ends it.
    pub(crate) stall_timeout: Duration,
}

/// Where the build that the root was warmed for is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// Where warm runs leave it, if it is there.
    Usual,
    /// In this file.
    In(PathBuf),
    /// Nowhere.
    Not,
}

/// What asking needs.
struct Run<'r> {
    job: &'r Job,
    plan: &'r Plan,
    cancel: &'r CancellationToken,
    events: &'r Events,
}

/// What was found out about the whole build.
#[derive(Default)]
struct Seen {
    graphs: Vec<Graph>,
    /// The steps that take `.git` from a directory of ours: their names, by their digests.
    takers_of_git: HashMap<String, String>,
    ahead: Vec<Ahead>,
    buildkit_version: String,
    worker_id: String,
    snapshotter: Option<String>,
    /// What the BuildKit that uses the root would unpack again with a cache source.
    again: Option<Again>,
    /// The ids of the records that were there before.
    known: HashSet<String>,
    asked: Asked,
    /// What the builder itself said when it was to open what it has found.
    proof: Option<Proof>,
}

impl Seen {
    /// The version of the BuildKit that uses the root, as far as that is known.
    fn uses(&self) -> &str {
        if self.asked.uses.is_empty() { &self.buildkit_version } else { &self.asked.uses }
    }

    /// What the status streams said.
    fn accounts(&self) -> Accounts {
        self.ahead.iter().fold(Accounts::default(), |earlier, ahead| ahead.accounts.clone().after(earlier))
    }
}

/// Says of every step what a build would do about it.
///
/// # Errors
/// Whatever kept it from finding out: source, credentials, registries of names, a root that cannot be read. A build that is
/// not warm is a report, not an error.
pub(crate) async fn smoke(job: Job, cancel: CancellationToken, events: Events) -> anyhow::Result<Report> {
    let clock = Clock::new(events.clone());
    let before = reasons::remembered(&job.manifest, &events)?;
    let obtained = source::obtain(&job.build.source, job.build.modes, &events);
    let checkout = clock.time("source", unless_cancelled(&cancel, obtained)).await?;
    let plan = Plan::new(&job.build, checkout, &job.keychain, &events)?;
    let run = Run { job: &job, plan: &plan, cancel: &cancel, events: &events };
    let answerer = clock.time("builder", Answerer::find(&run)).await?;
    let (seen, answerer) = clock.time("ask", ask(&run, answerer)).await;
    clock.time("stop", answerer.stop()).await?;
    let mut seen = seen?;
    let found = clock.time("verify", look(&mut seen)).await?;
    let mut steps = summary::steps(&plan, &seen);
    clock.time("explain", reasons::explain(&mut steps, before.as_ref(), &plan, &seen, &cancel)).await?;
    explain::git::explain(&mut steps, &seen.takers_of_git);
    Ok(summary::report(&job, &plan, seen, steps, found, clock))
}

async fn ask(run: &Run<'_>, mut answerer: Answerer) -> (anyhow::Result<Seen>, Answerer) {
    let mut attempt = 1;
    let outcome = loop {
        match ask_targets(run, &mut answerer).await {
            // BuildKit may panic when a build is given up (seen in v0.32.2, `solver/edge.go`). Nothing is lost with a
            // daemon on a shadow.
            Err(error) if attempt < ATTEMPTS && buildkit::is_lost(&error) && answerer.is_on_shadow() => {
                run.events.note(format!("the buildkitd on the shadow went away, asking another one: {error:#}"));
                attempt += 1;
                if let Err(error) = answerer.move_to_disk(run).await {
                    break Err(error);
                }
            }
            Err(error) if answerer.is_full(&error) => {
                run.events.note("the shadow root does not fit into memory, asking again with one on disk".to_owned());
                if let Err(error) = answerer.move_to_disk(run).await {
                    break Err(error);
                }
            }
            Err(error) => break Err(explained(error, &mut answerer.builder).await),
            outcome => break outcome,
        }
    };
    (outcome, answerer)
}

async fn ask_targets(run: &Run<'_>, answerer: &mut Answerer) -> anyhow::Result<Seen> {
    let Run { job, plan, cancel, events } = *run;
    let mut setting = Setting {
        channel: answerer.builder.channel.clone(),
        entitlements: plan.entitlements(),
        policy: plan.policy.clone(),
        tracker: StatusTracker::new(events.clone(), true, plan.secrets.clone()),
        patience: Patience { attempts: ATTEMPTS, stall: job.stall_timeout, step: None },
        cancel: cancel.clone(),
        events: events.clone(),
    };
    let answers = buildkit::ask(&setting, &plan.questions(answerer.builder.is_inside_dockerd())).await?;
    let mut seen = Seen {
        buildkit_version: answerer.builder.version.clone(),
        worker_id: answerer.builder.worker_id.clone(),
        snapshotter: answerer.snapshotter.clone(),
        known: answerer.known.clone(),
        asked: answerer.asked(),
        ..Seen::default()
    };
    let graphs = plan.graphs(&answers)?;
    seen.takers_of_git = explain::git::takers(plan, &graphs);
    explain::git::warn(&seen.takers_of_git, events);
    plan.fill_pointers(&graphs, cancel, events).await?;
    for (graph, session) in graphs.into_iter().zip(&plan.sessions) {
        if seen.ahead.last().is_some_and(|ahead| !ahead.ran.is_empty()) {
            // The last target's steps must not pass for the root's.
            answerer.replace(run).await?;
        }
        setting.channel = answerer.builder.channel.clone();
        let was_there = |id: &str| seen.known.contains(id);
        let mut ahead = verify::look_ahead(&setting, session.id.as_str(), &graph, was_there).await?;
        ahead.accounts = ahead.accounts.after(setting.tracker.accounts());
        seen.graphs.push(graph);
        seen.ahead.push(ahead);
    }
    seen.proof = confirm::confirm(plan, &seen, answerer, setting.patience, cancel).await?;
    Ok(seen)
}

async fn explained(error: anyhow::Error, builder: &mut Builder) -> anyhow::Error {
    if Failure::of(&error).is_some() {
        return error;
    }
    if let Some(log) = builder.last_words().await {
        let what = format!("the buildkitd that was asked went away; it said last:\n{log}");
        return Failure::because(error, Kind::Environment, what, "see why it ended, then run it again");
    }
    let hint = "check the registries of the base images, the credentials and the disk, then run it again";
    let hint = buildkit::fetch_remedy(&error).unwrap_or(hint);
    Failure::because(error, Kind::Environment, "could not find out what the build would do", hint)
}

/// Holds what was found against what lies in the root itself; nothing where that cannot be read.
async fn look(seen: &mut Seen) -> anyhow::Result<Option<OnDisk>> {
    let Some(root) = seen.asked.root.clone() else { return Ok(None) };
    let (read, worker_id, version) = (root.clone(), seen.worker_id.clone(), seen.uses().to_owned());
    let again = tokio::task::spawn_blocking(move || verify::unpacked_again(&read, &worker_id, &version));
    seen.again = again.await.context("reading the state root")?;
    let found: Vec<_> = seen.ahead.iter().flat_map(|ahead| ahead.found.iter().cloned()).collect();
    if found.is_empty() {
        // The root may not even have this worker.
        return Ok(Some(OnDisk::default()));
    }
    let worker_id = seen.worker_id.clone();
    let looked = tokio::task::spawn_blocking(move || verify::on_disk(&root, &worker_id, &found));
    looked.await.context("reading the state root")?.map_err(answerer::unreadable).map(Some)
}
