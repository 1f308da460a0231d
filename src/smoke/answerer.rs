//! Who answers: a daemon of ours on a shadow of the state root, wherever that can be read; else the builder itself, which
//! is stopped as soon as it begins a step.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::buildkit::{self, Address, Builder, Session, SessionPlan, Spawn, StateRoot};
use crate::cancel::unless_cancelled;
use crate::failure::{Explain, Failure, Kind};
use crate::inspect::{self, Unreadable};
use crate::shadow::{LocalSources, Place, Shadow};
use crate::verify;

/// A BuildKit that answers, with a session for each target.
pub(super) struct Answerer {
    /// How to talk to it.
    pub(super) builder: Builder,
    /// The snapshotter that a daemon of ours was given.
    pub(super) snapshotter: Option<String>,
    /// The ids of the records that were there before it was asked anything: what it has beside them, it has made.
    pub(super) known: HashSet<String>,
    sessions: Vec<Session>,
    // A shadow goes last.
    stand: Stand,
}

/// For what it answers.
enum Stand {
    /// For the root that this is a shadow of.
    Shadow(Shaded, Shadow),
    /// For itself, because of this.
    Itself(String),
}

/// A root that can be read.
#[derive(Debug, Clone)]
struct Shaded {
    root: PathBuf,
    /// The address of the builder that uses it, if one was named.
    address: String,
    /// What the builder that uses it says of its version, if one was named.
    uses: String,
    /// The buildkitd that is started on a shadow of it.
    program: Option<PathBuf>,
    /// The snapshotter of the builder that uses it, if one was named.
    snapshotter: Option<String>,
}

/// For whom it answered, for the report.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// `shadow`, or the builder's kind.
    pub(super) kind: String,
    /// The builder's address, if one was named.
    pub(super) address: String,
    /// The root that was read.
    pub(super) root: Option<PathBuf>,
    /// What the builder that uses the root says of its version, if one was named.
    pub(super) uses: String,
    /// Why none was.
    pub(super) why_itself: Option<String>,
}

impl Answerer {
    /// Finds one: reads the root, and makes a shadow of it.
    ///
    /// # Errors
    /// Explained: a root that was named and cannot be read, a builder that does not answer.
    pub(super) async fn find(run: &Run<'_>) -> anyhow::Result<Answerer> {
        let Run { job, plan, cancel, events } = *run;
        let is_there = || job.builder.root.is_some() || job.builder.root().exists();
        let address = match &job.builder.address {
            Address::Auto if is_there() => &Address::Spawn(None),
            address => address,
        };
        if let Address::Spawn(program) = address {
            let root = job.builder.root();
            let (known, _) = records(&root, None).await?.map_err(unreadable)?;
            let (address, uses) = (String::new(), String::new());
            let shaded = Shaded { root, address, uses, program: program.clone(), snapshotter: None };
            return Answerer::on_shadow(run, shaded, Place::Memory, known).await;
        }
        let builder =
            unless_cancelled(cancel, Builder::connect(&job.builder.for_run(plan.entitlements(), false), events))
                .await?;
        let why = match &builder.root {
            StateRoot::OutOfReach(why) => why.clone(),
            StateRoot::At(root) => match records(root, Some(&builder.worker_id)).await? {
                Err(unreadable) => unreadable.to_string(),
                Ok(_) if Spawn::on(PathBuf::new(), None, None).can_start().await.is_err() => {
                    "there is no buildkitd in PATH to start on a shadow of its state root".to_owned()
                }
                Ok((known, snapshotter)) => {
                    let (address, uses) = (builder.address.clone(), builder.version.clone());
                    let shaded = Shaded { root: root.clone(), address, uses, program: None, snapshotter };
                    return Answerer::on_shadow(run, shaded, Place::Memory, known).await;
                }
            },
        };
        events.note(format!("asking the builder itself: {why}"));
        let known = buildkit::all(&builder.channel).await?;
        let sessions = SessionPlan::open_all(&plan.sessions, &builder.channel).await?;
        Ok(Answerer { builder, snapshotter: None, known, sessions, stand: Stand::Itself(why) })
    }

    async fn on_shadow(
        run: &Run<'_>,
        shaded: Shaded,
        place: Place<'static>,
        known: HashSet<String>,
    ) -> anyhow::Result<Answerer> {
        match Answerer::on_shadow_at(run, shaded.clone(), place, known.clone()).await {
            Err(error) if place == Place::Memory && buildkit::says_no_space(&error) => {
                Answerer::on_shadow_at(run, shaded, Place::Disk, known).await
            }
            answerer => answerer,
        }
    }

    async fn on_shadow_at(
        run: &Run<'_>,
        shaded: Shaded,
        place: Place<'static>,
        known: HashSet<String>,
    ) -> anyhow::Result<Answerer> {
        let Run { job, plan, cancel, .. } = *run;
        let shadow = shadow(&shaded.root, place, cancel).await?;
        let daemon = Spawn::on(shaded.root.clone(), shaded.program.clone(), job.builder.config.clone())
            .reaching_as_the_running_one();
        let daemon = match &shaded.snapshotter {
            Some(running) => daemon.beside(running.clone())?,
            None => daemon,
        };
        let spawn = verify::on_shadow(&shadow, daemon, plan.entitlements())?;
        let snapshotter = spawn.snapshotter.clone();
        let builder = unless_cancelled(cancel, Builder::spawn(spawn)).await?;
        // The copies of directories on the shadow are empty, and of earlier runs.
        let sessions = SessionPlan::open_all(&plan.sessions, &builder.channel).await?;
        Ok(Answerer { builder, snapshotter, known, sessions, stand: Stand::Shadow(shaded, shadow) })
    }

    /// Another one on a new shadow takes its place, which knows nothing of what this one has made; the builder itself stays.
    pub(super) async fn replace(&mut self, run: &Run<'_>) -> anyhow::Result<()> {
        let Stand::Shadow(_, shadow) = &self.stand else { return Ok(()) };
        let place = if shadow.is_in_memory() { Place::Memory } else { Place::Disk };
        self.replace_at(place, run).await
    }

    /// Does that with a shadow on disk: there is more room than in memory, and nobody is killed for it.
    pub(super) async fn move_to_disk(&mut self, run: &Run<'_>) -> anyhow::Result<()> {
        self.replace_at(Place::Disk, run).await
    }

    async fn replace_at(&mut self, place: Place<'static>, run: &Run<'_>) -> anyhow::Result<()> {
        let Stand::Shadow(shaded, _) = &self.stand else { return Ok(()) };
        let clean = Answerer::on_shadow(run, shaded.clone(), place, self.known.clone()).await?;
        if let Err(error) = std::mem::replace(self, clean).stop().await {
            // It is not asked any more, and it may have died.
            tracing::debug!("could not stop a daemon that was replaced: {error:#}");
        }
        Ok(())
    }

    /// Whether it is a daemon of ours on a shadow.
    pub(super) fn is_on_shadow(&self) -> bool {
        matches!(self.stand, Stand::Shadow(..))
    }

    /// Whether an error came of a shadow in memory that had too little room.
    pub(super) fn is_full(&self, error: &anyhow::Error) -> bool {
        let Stand::Shadow(_, shadow) = &self.stand else { return false };
        shadow.is_in_memory() && buildkit::says_no_space(error)
    }

    /// For whom it answers.
    pub(super) fn asked(&self) -> Asked {
        match &self.stand {
            Stand::Shadow(shaded, _) => Asked {
                kind: "shadow".into(),
                address: shaded.address.clone(),
                root: Some(shaded.root.clone()),
                uses: shaded.uses.clone(),
                why_itself: None,
            },
            Stand::Itself(why) => Asked {
                kind: self.builder.kind.into(),
                address: self.builder.address.clone(),
                root: None,
                uses: String::new(),
                why_itself: Some(why.clone()),
            },
        }
    }

    /// Ends the sessions, then the daemon if it is ours; the shadow goes with it.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        Session::close_all(self.sessions).await;
        self.builder.stop().await
    }
}

/// The ids of the records that a root has, and the snapshotter of the worker that is named; it has to be its root.
async fn records(
    root: &Path,
    worker_id: Option<&str>,
) -> anyhow::Result<Result<(HashSet<String>, Option<String>), Unreadable>> {
    let (root, worker_id) = (root.to_owned(), worker_id.map(str::to_owned));
    let read = tokio::task::spawn_blocking(move || {
        let state = inspect::read(&root)?;
        let worker = worker_id.map(|id| state.worker_with_id(&id).ok_or(Unreadable::NotARoot(root))).transpose()?;
        let snapshotter = worker.map(|worker| worker.snapshotter.clone());
        Ok((state.workers.into_iter().flat_map(|worker| worker.records.into_keys()).collect(), snapshotter))
    });
    read.await.context("reading the state root")
}

/// The error about a root that cannot be read.
pub(super) fn unreadable(unreadable: Unreadable) -> anyhow::Error {
    let (what, hint) = (format!("could not read the state root: {unreadable}"), unreadable.remedy());
    Failure::new(Kind::Environment, what, hint)
}

async fn shadow(root: &Path, place: Place<'static>, cancel: &CancellationToken) -> anyhow::Result<Shadow> {
    let (shown, root, cancel) = (root.display().to_string(), root.to_owned(), cancel.clone());
    let made = tokio::task::spawn_blocking(move || Shadow::create(&root, place, LocalSources::Emptied, &cancel));
    made.await.context("making a shadow root")?.explain(
        Kind::Environment,
        format!("could not make a shadow of the state root {shown}"),
        "run as root, with some room beside the root or in TMPDIR",
    )
}
