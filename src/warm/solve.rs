//! The middle of a run: having the builder build everything, then looking at what it left on disk.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::donors::Donors;
use super::fetch::Fetcher;
use super::{Job, OnMiss, Prove, Run};
use crate::buildkit::{
    self, Accounts, Builder, Graph, Node, OperationKind, Order, Patience, RecordInUse, Request, Session, SessionEnded,
    SessionPlan, Setting, Spawn, StateRoot, StatusTracker,
};
use crate::cancel::is_interrupted;
use crate::event::Events;
use crate::explain;
use crate::failure::{Explain, Failure, Kind};
use crate::mounts;
use crate::plan::Plan;
use crate::redact::Redactor;
use crate::report::{Fetching, assemble};
use crate::retry;
use crate::targets::Target;
use crate::verify::{self, Claim, Doubts, OnDisk};

/// How often a fetch that failed is asked for again, BuildKit's own retries aside.
const ATTEMPTS: u32 = 3;
const WRITE_OUT_EVERY: Duration = Duration::from_secs(1);

/// What the builder was asked for and said.
pub(super) struct Solved {
    /// What each target is made of, in the order of the plan.
    pub(super) graphs: Vec<Graph>,
    /// The steps that take `.git` from a directory of ours: their names, by their digests.
    pub(super) takers_of_git: HashMap<String, String>,
    /// What was asked for, by target.
    pub(super) requests: Vec<Request>,
    /// The records that were opened.
    pub(super) opened: Vec<RecordInUse>,
    /// The images of the frontends that ran.
    pub(super) frontends: Vec<String>,
    /// Why not everything was opened: a step that no cache has, when none may run.
    pub(super) miss: Option<String>,
    /// What the status streams said, and what we fetched ourselves.
    pub(super) accounts: Accounts,
    /// Who fetched the layers, and how that went.
    pub(super) fetched: Fetching,
}

/// What lies on disk, or why nobody could look.
pub(super) enum Found {
    /// The state root was read.
    OnDisk(Box<OnDisk>),
    /// It could not be read.
    Unread(String),
}

impl Found {
    /// The ids of the records that were looked at; of all that were opened where nobody could look.
    pub(super) fn records(&self, opened: &[RecordInUse]) -> Vec<String> {
        match self {
            Found::OnDisk(found) => found.records.clone(),
            Found::Unread(_) => opened.iter().map(|record| record.id.clone()).collect(),
        }
    }

    /// The snapshotter of the root that was read.
    pub(super) fn snapshotter(&self) -> Option<String> {
        match self {
            Found::OnDisk(found) => Some(found.snapshotter.clone()),
            Found::Unread(_) => None,
        }
    }
}

/// What is opened by itself beside the tips of chains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Also {
    /// What lies in the middle of chains.
    pub(super) middles: bool,
    /// The images that something is built on, after everything else: a cache may have their layers in another compression,
    /// and a BuildKit that does not take the one for the other.
    pub(super) images: bool,
}

/// Has the builder build everything and open every result.
///
/// # Errors
/// Explained: a step or a frontend that failed, a miss when none is allowed, a registry that did not give.
pub(super) async fn solve(run: &Run<'_>, builder: &mut Builder, also: Also) -> anyhow::Result<Solved> {
    let Run { job, plan, cancel, events, .. } = *run;
    let setting = Setting {
        channel: builder.channel.clone(),
        entitlements: plan.entitlements(),
        policy: plan.policy.clone(),
        tracker: StatusTracker::new(events.clone(), job.on_miss == OnMiss::Fail, plan.secrets.clone()),
        patience: Patience { attempts: ATTEMPTS, stall: job.stall_timeout, step: job.step_timeout },
        cancel: cancel.clone(),
        events: events.clone(),
    };
    let sessions = SessionPlan::open_all(&plan.sessions, &builder.channel).await?;
    let root = builder.root.path().map(Path::to_owned);
    let solved = tokio::select! {
        solved = open_everything(run, builder, &setting, also) => solved,
        ended = any_ended(&sessions) => Err(ended.into()),
        never = write_out(root.as_deref()) => match never {},
    };
    Session::close_all(sessions).await;
    match solved {
        Ok(solved) => Ok(solved),
        Err(error) => Err(explained(error, &setting.tracker.accounts(), builder).await),
    }
}

/// Has what BuildKit unpacks written to disk while it goes on, so that the sync at the end finds little to do. The
/// kernel by itself waits until a tenth of the memory is full of it.
async fn write_out(root: Option<&Path>) -> Infallible {
    let Some(root) = root else { return std::future::pending().await };
    loop {
        retry::pause(WRITE_OUT_EVERY).await;
        let root = root.to_owned();
        // A root that is not here is synced nowhere, and one that cannot be is told of at the end.
        let _ = tokio::task::spawn_blocking(move || mounts::sync(&root)).await;
    }
}

/// Resolves when one of the sessions ends by itself: what it serves can then not be had any more.
async fn any_ended(sessions: &[Session]) -> SessionEnded {
    let ended: Vec<_> = sessions.iter().map(|session| Box::pin(session.ended())).collect();
    futures::future::select_all(ended).await.0
}

async fn open_everything(run: &Run<'_>, builder: &Builder, setting: &Setting, also: Also) -> anyhow::Result<Solved> {
    let Run { job, plan, donors, clock, cancel, events } = *run;
    let questions = plan.questions(builder.is_inside_dockerd());
    let answers = clock.time("solve", buildkit::ask(setting, &questions)).await?;
    let graphs = plan.graphs(&answers)?;
    let takers_of_git = explain::git::takers(plan, &graphs);
    explain::git::warn(&takers_of_git, events);
    plan.fill_pointers(&graphs, cancel, events).await?;
    let frontends = assemble::frontends(&setting.tracker.accounts());
    setting.tracker.expect(work(&graphs), secrets(&graphs));
    let requests = requests(plan, donors, builder, &graphs, &frontends);
    let fetcher = Fetcher::new(run, builder, &setting.tracker);
    let opening = async {
        let mut opened = Vec::new();
        // One after the other: see `materialize` on builds that import at the same time.
        let (asked, images): (Vec<_>, Vec<_>) = requests.iter().cloned().map(Request::split_images).unzip();
        let asked = asked.into_iter().map(|asked| if also.middles { asked } else { asked.without_middles() });
        for asked in asked.chain(images.into_iter().filter(|images| also.images && images.len() > 0)) {
            let held = buildkit::materialize(setting, &asked, async || fetcher.fetch().await).await?;
            opened.extend(buildkit::in_use(&builder.channel).await?);
            held.finish().await?;
            buildkit::imported_all(setting)?;
        }
        anyhow::Ok(opened)
    };
    let (opened, miss) = match clock.time("materialize", opening).await {
        Ok(opened) => (opened, None),
        // Not an error: what was asked for is the answer to it.
        Err(error) if is_miss(&error) => (Vec::new(), Some(format!("{error:#}"))),
        // No step may run, so one that failed was missed: its failure may be heard before the alarm of its start.
        Err(error) if job.on_miss == OnMiss::Fail && buildkit::is_failed_step(&error) => {
            (Vec::new(), Some(forbidden(&error, &setting.tracker.accounts(), &secrets(&graphs))))
        }
        Err(error) => return Err(error),
    };
    let mut accounts = setting.tracker.accounts();
    let fetched = fetcher.into_account(&mut accounts);
    Ok(Solved { graphs, takers_of_git, requests, opened, frontends, miss, accounts, fetched })
}

/// Says which step was missed, of an error by which a step failed that must not run.
fn forbidden(error: &anyhow::Error, accounts: &Accounts, secrets: &Redactor) -> String {
    let failed = accounts.vertices.values().find(|account| account.error.is_some() && account.is_of_build());
    let name = failed.map_or_else(|| secrets.text(&format!("{error:#}")), |account| account.name.clone());
    buildkit::forbidden(&name)
}

fn is_miss(error: &anyhow::Error) -> bool {
    Failure::of(error).is_some_and(|failure| failure.kind == Kind::NotWarm)
}

/// Vertices whose execution runs or writes something.
fn work(graphs: &[Graph]) -> HashSet<String> {
    let operations = graphs.iter().flat_map(Graph::operations);
    operations.filter(|operation| operation.is_work()).map(|operation| operation.digest.clone()).collect()
}

/// What is not to be told of any of them.
fn secrets(graphs: &[Graph]) -> Redactor {
    Redactor::all(graphs.iter().map(Graph::secrets))
}

fn requests(plan: &Plan, donors: &Donors, builder: &Builder, graphs: &[Graph], frontends: &[String]) -> Vec<Request> {
    let request = |((target, session), graph): ((&Target, &SessionPlan), &Graph)| {
        let imports = donors.imports(target);
        let order =
            |node: &Node| Order { name: graph.operation(node).name.clone(), definition: graph.definition(node) };
        let frontend = |image: &String| Order {
            name: format!("frontend {image}"),
            definition: buildkit::frontend_image(image, builder.platform.clone()),
        };
        let (tips, mut images, middles) = graph.results();
        let is_base = |tip: &Node| {
            let operation = graph.operation(tip);
            let is_image = operation.kind == OperationKind::Image;
            is_image && graphs.iter().any(|other| other.layered_on(&operation.digest).any(|step| !step.always_runs))
        };
        let (bases, tips): (Vec<Node>, Vec<Node>) = tips.into_iter().partition(is_base);
        images.extend(bases);
        Request {
            session: session.id.to_string(),
            first: graph.without_work().filter(|_| !imports.is_empty()).map(|node| order(&node)),
            imports,
            tips: tips.iter().map(order).chain(frontends.iter().map(frontend)).collect(),
            images: images.iter().map(order).collect(),
            middles: middles.iter().map(order).collect(),
        }
    };
    plan.targets.iter().zip(&plan.sessions).zip(graphs).map(request).collect()
}

/// Says whose fault it was that the builder could not do it.
async fn explained(error: anyhow::Error, accounts: &Accounts, builder: &mut Builder) -> anyhow::Error {
    if is_interrupted(&error) {
        return error;
    }
    if buildkit::is_lost(&error) {
        let last = match builder.last_words().await {
            Some(log) => format!("; it said last:\n{log}"),
            None => String::new(),
        };
        let what = format!("the builder at {} went away in the middle of the run{last}", builder.address);
        return Failure::because(
            error,
            Kind::Environment,
            what,
            "see why it ended, then run the same command again: it goes on where this one stopped",
        );
    }
    let failed = accounts.vertices.values().find(|account| {
        let blamed = account.error.as_deref().is_some_and(|error| !buildkit::blames_surroundings(error));
        blamed && account.is_of_build()
    });
    let (kind, what, hint) = match failed {
        Some(step) => {
            let log: Vec<&str> = step.log.iter().map(String::as_str).collect();
            let log = if log.is_empty() { String::new() } else { format!("; it wrote last:\n{}", log.join("\n")) };
            let hint = "no cache had it, so it ran: correct it, or find out why the caches do not have it";
            (Kind::Build, format!("the step `{}` failed{log}", step.name), hint)
        }
        None => {
            let hint =
                "check the registry and the disk, then run the same command again: it goes on where this one stopped";
            let hint = buildkit::fetch_remedy(&error).unwrap_or(hint);
            (Kind::Environment, "could not fetch and unpack everything".to_owned(), hint)
        }
    };
    match Failure::of(&error) {
        Some(_) => error,
        None => Failure::because(error, kind, what, hint),
    }
}

/// Reads from disk what the run left there.
///
/// # Errors
/// When a root that must be readable, because the daemon was ours, is not.
pub(super) async fn look(builder: &Builder, solved: &Solved, events: &Events) -> anyhow::Result<Found> {
    let root = match &builder.root {
        StateRoot::At(root) => root.clone(),
        StateRoot::OutOfReach(why) => {
            events.note(format!("the state root is not read: {why}"));
            return Ok(Found::Unread(why.clone()));
        }
    };
    let (read, worker_id, opened) = (root.clone(), builder.worker_id.clone(), solved.opened.clone());
    let looked = tokio::task::spawn_blocking(move || {
        // BuildKit does not sync what it unpacks: a snapshot of the disk taken now would lack it.
        let synced = mounts::sync(&read);
        (synced, verify::on_disk(&read, &worker_id, &opened))
    });
    let (synced, looked) = looked.await.context("reading the state root")?;
    match looked {
        Ok(found) => {
            synced.explain(
                Kind::Environment,
                format!("could not sync the state root {}", root.display()),
                "look at the disk and the kernel's log",
            )?;
            Ok(Found::OnDisk(Box::new(found)))
        }
        Err(unreadable) if builder.kind == "spawn" => {
            let (what, hint) = (format!("could not read the state root: {unreadable}"), unreadable.remedy());
            Err(Failure::new(Kind::Environment, what, hint))
        }
        Err(unreadable) => {
            events.note(format!("the state root is not read: {unreadable}"));
            Ok(Found::Unread(format!("{unreadable}; {}", unreadable.remedy())))
        }
    }
}

/// Whether BuildKit itself is to confirm the run.
pub(super) fn will_prove(job: &Job, builder: &Builder) -> bool {
    job.prove.map_or(builder.kind == "spawn", |prove| prove != Prove::No)
}

/// Has BuildKit build again without donors, when that is wanted: on a shadow of the state root, or itself where nobody can
/// read that.
///
/// # Errors
/// When it was wanted and could not be done.
pub(super) async fn prove(
    run: &Run<'_>,
    builder: &Builder,
    solved: &Solved,
    found: &Found,
) -> anyhow::Result<Option<Doubts>> {
    let Run { job, plan, clock, cancel, .. } = *run;
    if solved.miss.is_some() {
        return Ok(None);
    }
    let layers = match found {
        Found::OnDisk(on_disk) => on_disk.blobs.iter().cloned().collect(),
        Found::Unread(_) => solved.accounts.extractions.keys().cloned().collect(),
    };
    let claim = Claim {
        sessions: plan.sessions.clone(),
        entitlements: plan.entitlements(),
        policy: plan.policy.clone(),
        requests: solved.requests.iter().cloned().map(Request::without_imports).collect(),
        work: work(&solved.graphs),
        secrets: secrets(&solved.graphs),
        layers,
        only_asks: false,
    };
    let patience = Patience { attempts: 1, stall: job.stall_timeout.max(Duration::from_secs(60)), step: None };
    match (found, builder.root.path()) {
        (Found::OnDisk(found), Some(root)) if will_prove(job, builder) => {
            let daemon = Spawn::on(root.to_owned(), builder.program.clone(), job.builder.config.clone());
            let its_own = found.snapshotter.clone();
            let daemon = match builder.kind {
                // A daemon of ours has used what the machine's own one will, unless that is told otherwise.
                "spawn" => Spawn { snapshotter: daemon.told_snapshotter()?.or(Some(its_own)), ..daemon },
                _ => daemon.reaching_as_the_running_one().beside(its_own)?,
            };
            clock.time("prove", verify::prove(daemon, claim, patience, cancel)).await.map(Some)
        }
        // What was found on disk says nothing of the names under which a later build looks for it. A container that was
        // made for this is gone by now.
        _ if job.prove != Some(Prove::No) && !builder.has_stopped() => {
            let results = claim.requests.into_iter().map(|request| request.split_images().0).collect();
            let claim = Claim { requests: results, ..claim };
            clock.time("prove", verify::ask_again(&builder.channel, claim, patience, cancel)).await.map(Some)
        }
        _ => Ok(None),
    }
}
