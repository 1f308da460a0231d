//! `cachewarm smoke`: is this build warm here? Answered before it runs, on a shadow of the state root, so that no step runs,
//! no layer is fetched, and nothing in the root changes.

mod reasons;
mod summary;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::auth::{Keychain, KeychainOptions};
use crate::buildkit::{self, Accounts, Builder, Graph, Ledger, Patience, Session, Setting, Spawn, unless_cancelled};
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};
use crate::inspect::{self, Unreadable};
use crate::plan::{Build, Plan};
use crate::report::{Clock, Report};
use crate::shadow::Shadow;
use crate::source;
use crate::verify::{self, Ahead, Asking, OnDisk};

/// Attempts to ask the frontend.
const ATTEMPTS: u32 = 3;

/// Everything a smoke check needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What is built.
    pub(crate) build: Build,
    /// Who logs in where.
    pub(crate) credentials: KeychainOptions,
    /// The buildkitd that is started on the shadow; the one in `PATH` when absent.
    pub(crate) program: Option<PathBuf>,
    /// The state root.
    pub(crate) root: PathBuf,
    /// The `buildkitd.toml` of the daemon that will use the root.
    pub(crate) buildkitd_config: Option<PathBuf>,
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

/// What was found out about the whole build.
#[derive(Default)]
struct Seen {
    graphs: Vec<Graph>,
    ahead: Vec<Ahead>,
    buildkit_version: String,
    worker_id: String,
    snapshotter: Option<String>,
}

impl Seen {
    /// What the status streams said.
    fn accounts(&self) -> Accounts {
        self.ahead.iter().fold(Accounts::default(), |earlier, ahead| ahead.accounts.clone().after(earlier))
    }
}

/// A shadow of the root, and the daemon on it.
struct Double {
    builder: Builder,
    snapshotter: Option<String>,
    sessions: Vec<Session>,
    // Goes last.
    _shadow: Shadow,
}

/// Says of every step what a build would do about it.
///
/// # Errors
/// Whatever kept it from finding out: source, credentials, registries of names, a root that cannot be read. A build that is
/// not warm is a report, not an error.
pub(crate) async fn smoke(job: Job, cancel: CancellationToken, events: Events) -> anyhow::Result<Report> {
    let mut clock = Clock::new(events.clone());
    let before = reasons::remembered(&job.manifest)?;
    let keychain = Keychain::new(job.credentials.clone());
    let checkout = clock.time("source", unless_cancelled(&cancel, source::obtain(&job.build.source, &events))).await?;
    let plan = Plan::new(&job.build, checkout, &keychain, &events)?;
    let known = clock.time("read", known_records(job.root.clone())).await?;
    let seen = clock.time("ask", ask(&job, &plan, &known, &cancel, &events)).await?;
    let found = clock.time("verify", look(&job, &seen)).await?;
    let mut steps = summary::steps(&plan, &seen);
    let explain = async { reasons::explain(&mut steps, before.as_ref(), &plan, &seen, &known) };
    clock.time("explain", explain).await?;
    Ok(summary::report(&job, &plan, seen, steps, found, clock))
}

/// The ids of the records that the root has. What a daemon on a shadow has beside them, it has made itself.
async fn known_records(root: PathBuf) -> anyhow::Result<HashSet<String>> {
    let read = tokio::task::spawn_blocking(move || inspect::read(&root)).await.context("reading the state root")?;
    let state = read.map_err(unreadable)?;
    Ok(state.workers.into_iter().flat_map(|worker| worker.records.into_keys()).collect())
}

fn unreadable(unreadable: Unreadable) -> anyhow::Error {
    let (what, hint) = (format!("could not read the state root: {unreadable}"), unreadable.remedy());
    Failure::new(Kind::Environment, what, hint)
}

impl Double {
    async fn start(job: &Job, plan: &Plan, cancel: &CancellationToken) -> anyhow::Result<Double> {
        let shadow = shadow(&job.root).await?;
        let daemon = Spawn::on(PathBuf::new(), job.program.clone(), job.buildkitd_config.clone());
        let spawn = verify::on_shadow(&shadow, daemon, plan.entitlements())?;
        let snapshotter = spawn.snapshotter.clone();
        let builder = unless_cancelled(cancel, Builder::spawn(spawn)).await?;
        let mut double = Double { builder, snapshotter, sessions: Vec::new(), _shadow: shadow };
        for session in &plan.sessions {
            double.sessions.push(session.open(&double.builder.channel).await?);
        }
        Ok(double)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        for session in self.sessions {
            session.close().await;
        }
        self.builder.stop().await
    }
}

async fn shadow(root: &Path) -> anyhow::Result<Shadow> {
    let (shown, root) = (root.display().to_string(), root.to_owned());
    let made =
        tokio::task::spawn_blocking(move || Shadow::create(&root, None)).await.context("making a shadow root")?;
    made.explain(
        Kind::Environment,
        format!("could not make a shadow of the state root {shown}"),
        "run as root, with some room beside the root or in TMPDIR",
    )
}

async fn ask(
    job: &Job,
    plan: &Plan,
    known: &HashSet<String>,
    cancel: &CancellationToken,
    events: &Events,
) -> anyhow::Result<Seen> {
    let mut double = Double::start(job, plan, cancel).await?;
    let outcome = ask_targets(job, plan, known, &mut double, cancel, events).await;
    let outcome = match outcome {
        Err(error) => Err(explained(error, &mut double.builder).await),
        outcome => outcome,
    };
    double.stop().await?;
    outcome
}

async fn ask_targets(
    job: &Job,
    plan: &Plan,
    known: &HashSet<String>,
    double: &mut Double,
    cancel: &CancellationToken,
    events: &Events,
) -> anyhow::Result<Seen> {
    let patience = Patience { attempts: ATTEMPTS, stall: job.stall_timeout };
    let ledger = Ledger::new(events.clone(), true);
    let channel = double.builder.channel.clone();
    let setting = Setting { channel, entitlements: plan.entitlements(), ledger };
    let answers = buildkit::ask(&setting, &plan.questions(), patience, cancel, events).await?;
    let mut seen = Seen {
        buildkit_version: double.builder.version.clone(),
        worker_id: double.builder.worker_id.clone(),
        snapshotter: double.snapshotter.clone(),
        ..Seen::default()
    };
    for (answer, session) in answers.iter().zip(&plan.sessions) {
        if seen.ahead.last().is_some_and(|ahead| ahead.has_run) {
            // The last target's steps must not pass for the root's.
            let clean = Double::start(job, plan, cancel).await?;
            std::mem::replace(double, clean).stop().await?;
        }
        let mut graph = Graph::default();
        for definition in &answer.definitions {
            graph.add(definition)?;
        }
        let channel = &double.builder.channel;
        let asking = Asking { channel, entitlements: plan.entitlements(), patience, cancel };
        let is_in_root = |id: &str| known.contains(id);
        let mut ahead = verify::look_ahead(&asking, session.id.as_str(), &graph, is_in_root).await?;
        ahead.accounts = ahead.accounts.after(setting.ledger.accounts());
        seen.graphs.push(graph);
        seen.ahead.push(ahead);
    }
    Ok(seen)
}

async fn explained(error: anyhow::Error, builder: &mut Builder) -> anyhow::Error {
    if Failure::of(&error).is_some() {
        return error;
    }
    if let Some(log) = builder.last_words().await {
        let what = format!("the buildkitd on the shadow root went away; it said last:\n{log}");
        return Failure::because(error, Kind::Environment, what, "see why it ended, then run it again");
    }
    Failure::because(
        error,
        Kind::Environment,
        "could not find out what the build would do",
        "check the registries of the base images, the credentials and the disk, then run it again",
    )
}

/// Holds what was found against what lies in the root itself.
async fn look(job: &Job, seen: &Seen) -> anyhow::Result<OnDisk> {
    let (root, worker_id) = (job.root.clone(), seen.worker_id.clone());
    let found: Vec<_> = seen.ahead.iter().flat_map(|ahead| ahead.found.iter().cloned()).collect();
    if found.is_empty() {
        // The root may not even have this worker.
        return Ok(OnDisk::default());
    }
    let looked = tokio::task::spawn_blocking(move || verify::on_disk(&root, &worker_id, &found));
    looked.await.context("reading the state root")?.map_err(unreadable)
}
