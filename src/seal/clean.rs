//! Cleans the state root, and nothing else but the key of the manifest's hashes. Content is overwritten before its name goes,
//! whoever removes it.
//!
//! While we write to a root we hold it, so that no daemon starts. What BuildKit has to forget is forgotten by a daemon of
//! ours, between two such times; the databases are wiped last, for every transaction leaves the one before it behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::erase::{Located, Root};
use super::finding::{Action, Finding};
use super::hold::hold;
use super::job::Job;
use super::key;
use super::overwriting;
use super::unneeded::stale;
use crate::buildkit::{Builder, Spawn, collect_garbage, forget_history, prune};
use crate::cancel::interrupted;
use crate::failure::{Explain, Failure, Kind};
use crate::inspect;
use crate::redact::Redactor;
use crate::verify;

const AGAIN: &str = "run as root on a disk that is not full or read-only, and clean again";
/// Filters of one request.
const FILTERS_AT_ONCE: usize = 100;

/// Cleans everything that can be.
///
/// # Errors
/// Explained: the first thing that could not be cleaned. What was cleaned by then stays so, and another run goes on.
pub(super) async fn apply(
    findings: Vec<Finding>,
    job: &Job,
    snapshotters: &[String],
    redactor: &Redactor,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let forgetting = Forgetting::of(&findings);
    // Before anything goes: all of it can.
    let daemon = match forgetting.is_due() {
        true => Some(daemon(job, snapshotters).await?),
        false => None,
    };
    let (root, cancelled, redactor) = (job.root.clone(), cancel.clone(), redactor.clone());
    let cleaned = tokio::task::spawn_blocking(move || {
        let _held = hold(&root)?;
        let opened = Root::open(&root).explain(Kind::Environment, "could not open the state root", AGAIN)?;
        for finding in &findings {
            if cancelled.is_cancelled() {
                return Err(interrupted());
            }
            match &finding.action {
                Action::Erase(located) => {
                    let what = || redactor.text(&format!("could not clean {}", finding.place));
                    opened.erase(located).explain(Kind::Environment, what(), AGAIN)?;
                }
                Action::EraseKey(folder, located) => key::erase(folder, located)?,
                _ => {}
            }
        }
        anyhow::Ok(())
    });
    cleaned.await.context("cleaning")??;
    if let Some(daemon) = daemon {
        // From here on it goes to its end: what was overwritten has to be forgotten as well.
        forgetting.by(daemon).await?;
    }
    let root = job.root.clone();
    tokio::task::spawn_blocking(move || {
        let _held = hold(&root)?;
        is_gone(&root)?;
        wipe(&root)
    })
    .await
    .context("cleaning")?
}

/// The daemon that forgets, which has to be there and to know the root's snapshots.
async fn daemon(job: &Job, snapshotters: &[String]) -> anyhow::Result<Spawn> {
    let daemon = Spawn::on(job.root.clone(), job.buildkitd.clone(), job.buildkitd_config.clone());
    daemon.can_start().await?;
    let next = verify::next_snapshotter(&daemon)?;
    if !snapshotters.contains(&next) {
        let what =
            format!("the root was made with the snapshotter {}, and {next} is configured", snapshotters.join(", "));
        let hint = "name the buildkitd.toml of the daemon that will use the root with --buildkitd-config";
        return Err(Failure::new(Kind::Environment, what, hint));
    }
    Ok(Spawn { snapshotter: Some(next), refuse_steps: true, ..daemon })
}

/// What only BuildKit can remove, and what of it is overwritten first: it does not know, so that it has to be removed then.
#[derive(Debug, Default)]
struct Forgetting {
    has_history: bool,
    has_garbage: bool,
    ids: BTreeSet<String>,
    /// Records whose files are overwritten.
    to_forget: BTreeSet<String>,
    overwritten: BTreeSet<Located>,
}

impl Forgetting {
    fn of(findings: &[Finding]) -> Forgetting {
        let mut all = Forgetting::default();
        for finding in findings {
            match &finding.action {
                Action::ForgetHistory(_, blobs) => {
                    all.has_history = true;
                    all.overwritten.extend(blobs.iter().cloned());
                }
                Action::Forget(id, files) => {
                    all.ids.insert(id.clone());
                    if let Some(files) = files {
                        all.to_forget.insert(id.clone());
                        all.overwritten.insert(files.clone());
                    }
                }
                Action::Collect => all.has_garbage = true,
                _ => {}
            }
        }
        all
    }

    fn is_due(&self) -> bool {
        self.has_history || self.has_garbage || !self.ids.is_empty()
    }

    /// Has a daemon of ours do it.
    async fn by(self, daemon: Spawn) -> anyhow::Result<()> {
        let root = daemon.root.clone();
        let mut builder =
            Builder::spawn(daemon).await.context("starting the buildkitd that forgets what no image must have")?;
        let forgotten = self.forget(&builder.channel, root.clone()).await;
        builder.stop().await?;
        forgotten.explain(
            Kind::Environment,
            "could not have BuildKit forget what no image must have",
            "look at what it said, and clean again; a buildkitd of the version that made the root can",
        )
    }

    async fn forget(&self, channel: &Channel, root: PathBuf) -> anyhow::Result<()> {
        let (to_forget, overwritten) = (self.to_forget.clone(), self.overwritten.clone());
        let overwriting = move || {
            overwriting::note(&root, &to_forget.iter().map(String::as_str).collect::<Vec<_>>())?;
            Root::open(&root)?.overwrite(&overwritten.into_iter().collect::<Vec<_>>())
        };
        tokio::task::spawn_blocking(overwriting).await.context("overwriting")?.context("overwriting")?;
        if self.has_history {
            forget_history(channel).await?;
        }
        let filters: Vec<String> = self.ids.iter().map(|id| format!("id=={id}")).collect();
        for some in filters.chunks(FILTERS_AT_ONCE) {
            prune(channel, some.to_vec()).await?;
        }
        // What was freed by the above as well.
        collect_garbage(channel).await
    }
}

/// BuildKit passes over what something is made from, without a word.
fn is_gone(root: &Path) -> anyhow::Result<()> {
    match inspect::read(root)?.overwritten.first() {
        None => {
            overwriting::clear(root).explain(Kind::Environment, "could not tidy up in the root", "look at the disk")
        }
        Some(id) => Err(Failure::new(
            Kind::Environment,
            format!("BuildKit has not forgotten the record {id}, and its files are overwritten"),
            "warm an empty root; this one would build on zeros",
        )),
    }
}

/// Zeroes what the databases of a root do not use, and has it reach the disk.
fn wipe(root: &Path) -> anyhow::Result<()> {
    let wiped = || {
        let opened = Root::open(root)?;
        for database in inspect::databases(root)? {
            if let Some(Finding { action: Action::Zero(located, parts), .. }) = stale(&opened, &database)? {
                opened.zero(&located, &parts)?;
            }
        }
        anyhow::Ok(())
    };
    wiped().explain(
        Kind::Environment,
        format!("could not wipe the databases of {}", root.display()),
        "run as root on a disk that is not read-only, and clean again",
    )
}
