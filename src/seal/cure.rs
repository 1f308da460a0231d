//! Cleans what can be cleaned. Content is overwritten before its name goes, whoever removes it.
//!
//! While we write to a root we hold it, so that no daemon starts. What BuildKit has to forget is forgotten by a daemon of
//! ours, between two such times; the databases are wiped last, for every transaction leaves the one before it behind.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::erase;
use super::finding::{Cure, Finding};
use super::hold::hold;
use super::job::Job;
use super::luggage::stale;
use super::places::{Chore, Treatment};
use crate::buildkit::{Builder, Spawn, collect_garbage, forget_history, interrupted, prune};
use crate::failure::{Explain, Kind};
use crate::inspect;

/// Filters of one request.
const FILTERS_AT_ONCE: usize = 100;

/// Cleans everything that can be.
///
/// # Errors
/// Explained: the first thing that could not be cleaned. What was cleaned by then stays so, and another run goes on.
pub(super) async fn apply(
    findings: Vec<Finding>,
    job: &Job,
    snapshotter: Option<String>,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let (root, cancelled) = (job.root.clone(), cancel.clone());
    let findings = tokio::task::spawn_blocking(move || {
        let _held = hold(&root)?;
        for finding in &findings {
            if cancelled.is_cancelled() {
                return Err(interrupted());
            }
            by_hand(finding)?;
        }
        Ok(findings)
    });
    let findings = findings.await.context("cleaning")??;
    // From here on it goes to its end: what was overwritten has to be forgotten as well.
    by_buildkit(&findings, job, snapshotter).await?;
    let root = job.root.clone();
    tokio::task::spawn_blocking(move || {
        let _held = hold(&root)?;
        wipe(&root)
    })
    .await
    .context("cleaning")?
}

/// What can be done without a daemon.
fn by_hand(finding: &Finding) -> anyhow::Result<()> {
    let cleaned = match &finding.cure {
        Cure::Erase(path) => erase::erase(path),
        Cure::Blank(path) => erase::blank(path),
        Cure::Clean(chore) => clean(chore),
        Cure::Forget(..) | Cure::ForgetHistory(_) | Cure::Zero(..) | Cure::Collect | Cure::Ask(_) => Ok(()),
    };
    explained(cleaned, finding)
}

/// What is overwritten of what BuildKit removes next: not before there is a daemon that will, for it does not know.
fn before_it_is_forgotten(finding: &Finding) -> anyhow::Result<()> {
    let overwritten = match &finding.cure {
        Cure::Forget(_, Some(directory)) => overwrite_all(directory),
        Cure::ForgetHistory(blobs) => blobs.iter().try_for_each(|blob| overwrite_all(blob)),
        _ => Ok(()),
    };
    explained(overwritten, finding)
}

fn explained(cleaned: std::io::Result<()>, finding: &Finding) -> anyhow::Result<()> {
    cleaned.explain(
        Kind::Environment,
        format!("could not clean {}", finding.place),
        "run as root on a disk that is not full or read-only, and clean again",
    )
}

fn clean(chore: &Chore) -> std::io::Result<()> {
    match chore.treatment {
        Treatment::Erase => erase::erase(&chore.path),
        Treatment::Blank => erase::blank(&chore.path),
        Treatment::ForgetLogins | Treatment::ForgetTokens => match chore.kept() {
            Some(kept) => erase::replace(&chore.path, kept.as_bytes()),
            None => Ok(()),
        },
    }
}

/// Overwrites all files below a path, and removes none: that is for whom they belong to. Of a file with another name only
/// that name is ours to give up.
fn overwrite_all(path: &Path) -> std::io::Result<()> {
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else if metadata.is_file() && metadata.nlink() == 1 {
            erase::overwrite(&path)?;
        }
    }
    Ok(())
}

/// Has a daemon of ours forget what only BuildKit can.
async fn by_buildkit(findings: &[Finding], job: &Job, snapshotter: Option<String>) -> anyhow::Result<()> {
    let forgets = findings.iter().any(|it| matches!(it.cure, Cure::ForgetHistory(_)));
    let collects = findings.iter().any(|it| matches!(it.cure, Cure::Collect));
    let filter = |finding: &Finding| match &finding.cure {
        Cure::Forget(id, _) => Some(format!("id=={id}")),
        _ => None,
    };
    let filters: Vec<String> = findings.iter().filter_map(filter).collect();
    if !forgets && !collects && filters.is_empty() {
        return Ok(());
    }
    let daemon = Spawn::on(job.root.clone(), job.buildkitd.clone(), job.buildkitd_config.clone());
    let snapshotter = daemon.configured_snapshotter()?.or(snapshotter);
    let mut builder = Builder::spawn(Spawn { snapshotter, refuse_steps: true, ..daemon })
        .await
        .context("starting the buildkitd that forgets what no image must have")?;
    let forgotten = async {
        findings.iter().try_for_each(before_it_is_forgotten)?;
        if forgets {
            forget_history(&builder.channel).await?;
        }
        for some in filters.chunks(FILTERS_AT_ONCE) {
            prune(&builder.channel, some.to_vec()).await?;
        }
        // What was freed by the above as well.
        collect_garbage(&builder.channel).await
    };
    let forgotten = forgotten.await;
    builder.stop().await?;
    forgotten.explain(
        Kind::Environment,
        "could not have BuildKit forget what no image must have",
        "look at what it said; a buildkitd of the version that made the root can",
    )
}

/// Zeroes what the databases of a root do not use, and has it reach the disk.
fn wipe(root: &Path) -> anyhow::Result<()> {
    let wiped = || {
        for database in inspect::databases(root)? {
            if let Some(Finding { cure: Cure::Zero(path, parts), .. }) = stale(&database)? {
                let file = OpenOptions::new().write(true).open(&path)?;
                erase::zero(&file, &parts)?;
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
