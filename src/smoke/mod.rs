//! `cachewarm smoke`: is this build warm here? Answered before it runs, on a shadow of the state root, so that no step runs,
//! no layer is fetched, and nothing in the root changes.

mod summary;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::auth::{Keychain, KeychainOptions};
use crate::buildkit::{self, Builder, Graph, Ledger, Patience, Setting, Spawn, unless_cancelled};
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};
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
    /// No progress for this long ends it.
    pub(crate) stall_timeout: Duration,
}

/// What was found out about the whole build.
struct Seen {
    graphs: Vec<Graph>,
    ahead: Vec<Ahead>,
}

/// Says of every step what a build would do about it.
///
/// # Errors
/// Whatever kept it from finding out: source, credentials, registries of names, a root that cannot be read. A build that is
/// not warm is a report, not an error.
pub(crate) async fn smoke(job: Job, cancel: CancellationToken, events: Events) -> anyhow::Result<Report> {
    let mut clock = Clock::new(events.clone());
    let keychain = Keychain::new(job.credentials.clone());
    let checkout = clock.time("source", unless_cancelled(&cancel, source::obtain(&job.build.source, &events))).await?;
    let plan = Plan::new(&job.build, checkout, &keychain, &events)?;
    let shadow = clock.time("shadow", shadow(job.root.clone())).await?;
    let spawn = Spawn {
        snapshotter: shadow.snapshotters().first().cloned(),
        refuse_steps: true,
        entitlements: plan.entitlements(),
        ..Spawn::on(shadow.path().to_owned(), job.program.clone(), job.buildkitd_config.clone())
    };
    let mut builder = clock.time("builder", unless_cancelled(&cancel, Builder::spawn(spawn))).await?;
    let seen = clock.time("ask", ask(&job, &plan, &builder, &cancel, &events)).await;
    builder.stop().await?;
    let seen = seen?;
    let found = clock.time("verify", look(&job, &builder, &seen)).await?;
    Ok(summary::report(&job, &plan, &builder, seen, found, clock))
}

async fn shadow(root: PathBuf) -> anyhow::Result<Shadow> {
    let shown = root.display().to_string();
    let made =
        tokio::task::spawn_blocking(move || Shadow::create(&root, None)).await.context("making a shadow root")?;
    made.explain(
        Kind::Environment,
        format!("could not read the state root {shown}"),
        "name the state root with --root, and read it as root",
    )
}

async fn ask(
    job: &Job,
    plan: &Plan,
    builder: &Builder,
    cancel: &CancellationToken,
    events: &Events,
) -> anyhow::Result<Seen> {
    let patience = Patience { attempts: ATTEMPTS, stall: job.stall_timeout };
    let (channel, entitlements) = (&builder.channel, plan.entitlements());
    let mut sessions = Vec::new();
    for session in &plan.sessions {
        sessions.push(session.open(channel).await?);
    }
    let ledger = Ledger::new(events.clone(), true);
    let setting = Setting { channel: channel.clone(), entitlements: entitlements.clone(), ledger };
    let answers = buildkit::ask(&setting, &plan.questions(), patience, cancel, events).await?;
    let asking = Asking { channel, entitlements, patience, cancel };
    let mut seen = Seen { graphs: Vec::new(), ahead: Vec::new() };
    for (answer, session) in answers.iter().zip(&plan.sessions) {
        let mut graph = Graph::default();
        for definition in &answer.definitions {
            graph.add(definition)?;
        }
        let mut ahead = verify::look_ahead(&asking, session.id.as_str(), &graph).await.map_err(explained)?;
        ahead.accounts = ahead.accounts.after(setting.ledger.accounts());
        seen.graphs.push(graph);
        seen.ahead.push(ahead);
    }
    for session in sessions {
        session.close().await;
    }
    Ok(seen)
}

fn explained(error: anyhow::Error) -> anyhow::Error {
    match Failure::of(&error) {
        Some(_) => error,
        None => Failure::because(
            error,
            Kind::Environment,
            "could not find out what the build would do",
            "check the registries of the base images, the credentials and the disk, then run it again",
        ),
    }
}

/// Holds what was found against what lies in the root itself.
async fn look(job: &Job, builder: &Builder, seen: &Seen) -> anyhow::Result<OnDisk> {
    let (root, worker_id) = (job.root.clone(), builder.worker_id.clone());
    let found: Vec<_> = seen.ahead.iter().flat_map(|ahead| ahead.found.iter().cloned()).collect();
    let looked = tokio::task::spawn_blocking(move || verify::on_disk_behind_shadow(&root, &worker_id, &found));
    looked.await.context("reading the state root")?.map_err(|unreadable| {
        let (what, hint) = (format!("could not read the state root: {unreadable}"), unreadable.remedy());
        Failure::new(Kind::Environment, what, hint)
    })
}
