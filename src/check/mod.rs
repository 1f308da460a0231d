//! `cachewarm check`: what lies in a state root, from disk alone; every line of [`check`] is one step of the data flow.
//!
//! **Invariant:** needs no daemon, takes no lock, writes nothing. Warm means that every layer that holds a result can be
//! used now and after a restart; nothing that looks damaged is ever called warm.

mod collection;
mod coverage;
mod holders;
mod job;
mod records;
mod reuse;
mod summary;
#[cfg(test)]
mod tests;
mod user;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::buildkit::{self, Spawn};
use crate::cancel::{interrupted, unless_cancelled};
use crate::event::{Event, Events};
use crate::inspect::{self, Deep, Leftovers, StateRoot};
use crate::locks::Lock;
use crate::manifest::Manifest;
use crate::registry::{self, Client, Probe, RegistryHosts};
use crate::report::Clock;
use crate::report::check::CheckReport;
use crate::verify;
use collection::Collection;
use user::User;

pub(crate) use job::{Job, Threshold};
pub(crate) use user::UsedBy;

/// How often a root is read again, because a daemon wrote to it, before what is missing there is believed.
const READ_AGAIN: usize = 3;

/// Reads a state root and judges it.
///
/// # Errors
/// Explained: a root, manifest or configuration that cannot be read, a donor that cannot be had. A root that is not
/// warm is a report, not an error.
pub(crate) async fn check(job: Job, cancel: CancellationToken, events: Events) -> anyhow::Result<CheckReport> {
    let clock = Clock::new(events.clone());
    let promise = job.manifest.as_deref().map(Manifest::read).transpose()?;
    let donors = match job.donors.is_empty() {
        true => Vec::new(),
        false => clock.time("donors", unless_cancelled(&cancel, probe(&job))).await?,
    };
    let user = User::find(&job, promise.as_ref()).await?;
    let mut read = 0;
    let mut looked = loop {
        read += 1;
        let looked = clock.time("read", look(job.clone(), user.clone())).await?;
        // What looks wrong beside a daemon at work may only have moved on between two files.
        let settled = looked.state.steady || read > READ_AGAIN;
        if settled || summary::report(&job, &looked, &donors, promise.as_ref()).head.reasons.is_empty() {
            break looked;
        }
    };
    if job.deep {
        looked = clock.time("deep", read_everything(looked, cancel, events)).await?;
    }
    let report = summary::report(&job, &looked, &donors, promise.as_ref());
    // Ten thousand records take a while to be given back, and nobody has to wait for it.
    drop(tokio::task::spawn_blocking(move || drop(looked)));
    Ok(CheckReport { phases: clock.into_phases(), ..report })
}

/// Everything that was read from the root.
struct Looked {
    state: StateRoot,
    leftovers: Leftovers,
    collection: Collection,
    user: User,
    /// The snapshotter of the daemon that will use the root.
    snapshotter: String,
    /// Absent until every byte was read.
    deep: Option<Deep>,
}

impl Looked {
    /// Whether a daemon has the root now.
    fn is_running(&self) -> bool {
        matches!(self.leftovers.lock, Lock::Held(_))
    }
}

async fn look(job: Job, user: User) -> anyhow::Result<Looked> {
    let looked = move || {
        let state = inspect::read(&job.root).map_err(|error| error.of_root(&job.root))?;
        let (leftovers, collection) = inspect::both(
            || inspect::leftovers(&job.root, &state),
            || collection::collection(&job.root, job.buildkitd_config.as_deref(), &state),
        );
        let leftovers = leftovers.map_err(|error| error.of_root(&job.root))?;
        let daemon = Spawn::on(job.root.clone(), None, job.buildkitd_config.clone());
        let snapshotter = verify::next_snapshotter(&daemon)?;
        Ok(Looked { user, leftovers, collection: collection?, snapshotter, state, deep: None })
    };
    tokio::task::spawn_blocking(looked).await.context("reading the state root")?
}

async fn read_everything(looked: Looked, cancel: CancellationToken, events: Events) -> anyhow::Result<Looked> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let reading = move || {
        let deep = inspect::deep(&looked.state, threads, |progress| {
            events.emit(Event::Compared { bytes: progress.bytes, total: progress.total });
            !cancel.is_cancelled()
        });
        match cancel.is_cancelled() {
            true => Err(interrupted()),
            false => Ok(Looked { deep: Some(deep), ..looked }),
        }
    };
    tokio::task::spawn_blocking(reading).await.context("reading every byte of the state root")?
}

/// The donors, looked at as a warm run looks at them: one that cannot be used is an error.
async fn probe(job: &Job) -> anyhow::Result<Vec<Probe>> {
    let config = buildkit::config_of_machine(job.buildkitd_config.as_deref());
    let hosts = config.map_or_else(|| Ok(RegistryHosts::default()), RegistryHosts::of_file)?;
    let client = Client::new(hosts, job.keychain.clone());
    let probes = registry::probe_all(&client, job.donors.iter()).await;
    match probes.iter().find_map(|probe| Some(probe.problem.as_ref()?.failure(&probe.reference))) {
        Some(failure) => Err(failure),
        None => Ok(probes),
    }
}
