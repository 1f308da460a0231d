//! Looks at everything once: what the root has that no image needs, what the machine keeps, and every byte for secrets.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::finding::{Cure, Finding};
use super::hits::{self, Parts};
use super::job::Job;
use super::logins::logins;
use super::needles::{Known, Needles, is_searchable, spelled};
use super::places::{Chore, Machine, Treatment};
use super::search::{Searched, Watch, search};
use super::{hold, luggage};
use crate::event::Events;
use crate::inspect::{self, StateRoot, Unreadable};
use crate::report::seal::FindingKind;
use crate::veil::Veil;

/// How much is looked at.
#[derive(Debug)]
pub(super) enum Scope {
    /// All of it.
    Everything,
    /// Not the files of layers: this was found in them before, and cleaning does not change them.
    ButLayers(Searched),
}

/// What was found.
#[derive(Debug)]
pub(super) struct Looked {
    /// What an image must not have.
    pub(super) findings: Vec<Finding>,
    /// What was found in the files of layers.
    pub(super) of_layers: Searched,
    /// What was looked through beside them.
    pub(super) files: u64,
    /// Its bytes.
    pub(super) bytes: u64,
    /// Secrets that were looked for.
    pub(super) secrets: Vec<Known>,
    /// Hides them, however they are spelled.
    pub(super) veil: Veil,
    /// The snapshotters that the root was used with, that of most of the records first.
    pub(super) snapshotters: Vec<String>,
    /// What a person should know all the same.
    pub(super) notes: Vec<String>,
}

/// Looks.
///
/// # Errors
/// Explained: a root that cannot be read; when somebody ends the run.
pub(super) async fn look(
    job: &Job,
    scope: Scope,
    cancel: &CancellationToken,
    events: &Events,
) -> anyhow::Result<Looked> {
    let (job, cancel, events) = (job.clone(), cancel.clone(), events.clone());
    let looked = move || look_at(&job, scope, Watch { cancel: &cancel, events: &events });
    tokio::task::spawn_blocking(looked).await.context("looking at the machine")?
}

fn look_at(job: &Job, scope: Scope, watch: Watch<'_>) -> anyhow::Result<Looked> {
    let unreadable = |error: Unreadable| error.of_root(&job.root);
    let state = inspect::read(&job.root).map_err(unreadable)?;
    let databases = inspect::databases(&job.root).map_err(unreadable)?;
    let leftovers = inspect::leftovers(&job.root, &state);
    let found = luggage::luggage(&job.root, &state, &leftovers, job.drop_cache_mounts);
    let mut findings = found.map_err(unreadable)?;

    let mut notes = job.notes.clone();
    if job.manifest.is_none() {
        notes.push("there is no manifest, so nobody has said what should be warm".to_owned());
    }
    let machine = job.system.as_deref().map(|system| Machine::at(system, hold::open_by_callers())).transpose()?;
    let (mut chores, kept) = machine.as_ref().map(Machine::chores).unwrap_or_default();
    chores.retain(|chore| !job.ignored.iter().any(|ignored| chore.path.starts_with(ignored)));
    if let (Scope::ButLayers(_), Some(machine)) = (&scope, &machine) {
        // A machine that runs goes on writing logs; what they may have had in them is gone.
        chores.retain(|chore| !machine.is_log(&chore.path));
    }
    notes.extend(
        kept.iter().map(|path| format!("{} is being run, and is left to whoever put it there", path.display())),
    );
    let mut secrets = job.secrets.clone();
    secrets.extend(chores.iter().flat_map(known));
    findings.extend(chores.into_iter().map(|chore| Finding {
        kind: FindingKind::Machine,
        place: chore.path.display().to_string(),
        what: chore.what.to_owned(),
        cure: Cure::Clean(chore),
    }));

    let parts = Parts::of(&job.root, &state, &databases);
    let needles = Needles::of(&secrets)?;
    let mut left_out: HashSet<PathBuf> = job.ignored.iter().cloned().collect();
    let of_layers = match scope {
        Scope::Everything => search(&needles, &parts.layers(), &left_out, watch)?,
        Scope::ButLayers(found) => found,
    };
    let mut rest = search(&needles, &parts.spare(), &left_out, watch)?;
    let left_out_of_rest = left_out.iter().cloned().chain(parts.left_out_of_rest()).collect();
    rest.add(search(&needles, &parts.rest(), &left_out_of_rest, watch)?);
    // The root was looked through as one, wherever on the machine it is.
    left_out.insert(job.root.clone());
    let places = machine.as_ref().map(Machine::searched).unwrap_or_default();
    rest.add(search(&needles, &places, &left_out, watch)?);
    for searched in [&of_layers, &rest] {
        findings.extend(hits::findings(searched, &parts, machine.as_ref(), &findings));
    }
    notes.extend(
        job.secrets
            .iter()
            .filter(|secret| !is_searchable(secret))
            .map(|secret| format!("{} is too short to be looked for", secret.name)),
    );
    Ok(Looked {
        findings,
        files: rest.files,
        bytes: rest.bytes,
        of_layers,
        veil: veil(&secrets),
        secrets,
        snapshotters: snapshotters(&state),
        notes,
    })
}

/// The logins in a file that is going to be cleaned: they must be nowhere else, either.
fn known(chore: &Chore) -> Vec<Known> {
    let text = match chore.treatment {
        Treatment::ForgetLogins => fs::read_to_string(&chore.path).unwrap_or_default(),
        _ => String::new(),
    };
    let known = |(registry, value)| Known { name: format!("the login for {registry}"), value };
    logins(&text).into_iter().map(known).collect()
}

fn veil(secrets: &[Known]) -> Veil {
    let spelled = secrets.iter().flat_map(|secret| spelled(secret.value.reveal()));
    let spelled: Vec<String> = spelled.filter_map(|(_, bytes)| String::from_utf8(bytes).ok()).collect();
    Veil::hiding(spelled.iter().map(String::as_str))
}

fn snapshotters(state: &StateRoot) -> Vec<String> {
    let mut workers: Vec<_> = state.workers.iter().collect();
    workers.sort_by_key(|worker| std::cmp::Reverse(worker.records.len()));
    workers.into_iter().map(|worker| worker.snapshotter.clone()).collect()
}
