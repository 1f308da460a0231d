//! Looks at everything once: what the root has that no image needs, what the machine keeps, and every byte for secrets.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::erase::Root;
use super::finding::Finding;
use super::job::Job;
use super::key;
use super::links;
use super::machine::Machine;
use super::matches::{self, Parts};
use super::needles::{Known, Needles, is_searchable};
use super::scratches;
use super::search::{Place, Searched, Watch, search};
use super::unneeded;
use crate::event::Events;
use crate::inspect::{self, StateRoot, Unreadable};
use crate::redact::Redactor;
use crate::sensitive;

/// How much is looked at.
#[derive(Debug)]
pub(super) enum Scope {
    /// All of it.
    Everything,
    /// What `--fix` changes. This was found before where it changes nothing: in the files of layers and on the machine.
    Changed(Searched),
}

/// What was found.
#[derive(Debug)]
pub(super) struct Looked {
    /// What an image must not have.
    pub(super) findings: Vec<Finding>,
    /// What was found where `--fix` changes nothing.
    pub(super) unchanged: Searched,
    /// The files that were searched beside those.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Hides the secrets that were looked for, however they are spelled.
    pub(super) redactor: Redactor,
    /// Whether a database is missing. What it lists then looks like nobody's, and nothing may be erased.
    pub(super) is_incomplete: bool,
    /// The snapshotters that the root was used with, that of most of the records first.
    pub(super) snapshotters: Vec<String>,
    /// What a person should know all the same.
    pub(super) notes: Vec<String>,
}

/// Looks at the root and the machine.
///
/// # Errors
/// Explained: a root that cannot be read; when the run is cancelled.
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
    let leftovers = inspect::leftovers(&job.root, &state).map_err(unreadable)?;
    let root = Root::open(&job.root).map_err(|error| unreadable(Unreadable::io(&job.root, error)))?;
    links::refuse(&root, &job.root)?;
    let found = unneeded::unneeded(&job.root, &root, &state, &leftovers, job.drop_cache_mounts);
    let mut findings = found.map_err(unreadable)?;
    findings.extend(scratches::findings(job).map_err(unreadable)?);

    let mut notes = job.notes.clone();
    if job.manifest.is_none() {
        notes.push("there is no manifest, so nobody has said what should be warm".to_owned());
    }
    let machine = job.system.as_deref().map(Machine::at).transpose()?;
    let is_ignored = |finding: &Finding| job.ignored.iter().any(|path| Path::new(&finding.place).starts_with(path));
    findings.extend(
        machine.iter().flat_map(Machine::logins).chain(key::finding(job)).filter(|finding| !is_ignored(finding)),
    );

    let parts = Parts::of(&job.root, &root, &state, &databases);
    let parts = parts.map_err(|error| unreadable(Unreadable::io(&job.root, error)))?;
    let needles = Needles::of(&job.secrets)?;
    let left_out: HashSet<PathBuf> = job.ignored.iter().cloned().collect();
    let unchanged = match scope {
        Scope::Changed(found) => found,
        Scope::Everything => {
            let mut found = search(&needles, &parts.layers(), &left_out, watch)?;
            if let (Some(path), Some(machine)) = (&job.system, &machine) {
                let shapes = |path: &Path| machine.shapes(path);
                let whole = Place { path, start: PathBuf::new(), shapes: &shapes };
                // The root is searched as one, wherever on the machine it is.
                let left_out = left_out.iter().chain([&job.root]).cloned().collect();
                found.add(search(&needles, &[whole], &left_out, watch)?);
            }
            found
        }
    };
    let mut rest = search(&needles, &parts.spare(), &left_out, watch)?;
    let left_out_of_rest = left_out.into_iter().chain(parts.left_out_of_rest()).collect();
    rest.add(search(&needles, &parts.rest(), &left_out_of_rest, watch)?);
    for searched in [&unchanged, &rest] {
        findings.extend(matches::findings(searched, &parts, &findings));
    }
    notes.extend(
        job.secrets
            .iter()
            .filter(|secret| !is_searchable(secret))
            .map(|secret| format!("{} is too short or too common a word to be looked for", secret.name)),
    );
    let is_cut = |secret: &&Known| sensitive::parts(secret.value.reveal_bytes()).is_cut;
    let cut = job.secrets.iter().filter(is_cut);
    notes.extend(cut.map(|secret| format!("{} is looked for as a whole, and not by all of its values", secret.name)));
    Ok(Looked {
        findings,
        files: rest.files,
        bytes: rest.bytes,
        unchanged,
        redactor: Redactor::of_secrets(job.secrets.iter().map(|secret| secret.value.reveal_bytes())),
        is_incomplete: !state.missing().is_empty(),
        snapshotters: snapshotters(&state),
        notes,
    })
}

fn snapshotters(state: &StateRoot) -> Vec<String> {
    let mut workers: Vec<_> = state.workers.iter().collect();
    workers.sort_by_key(|worker| std::cmp::Reverse(worker.records.len()));
    workers.into_iter().map(|worker| worker.snapshotter.clone()).collect()
}
