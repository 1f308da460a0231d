//! `cachewarm seal`: is this machine safe to snapshot? Nobody holds the state root, it is warm and sound, and no secret of the
//! build is in it or anywhere on the machine's file system. With `--fix` the root is cleaned, and then everything is looked
//! at again.
//!
//! **Invariants:** only the state root and what cachewarm itself left are changed. A verdict of sealed is about what lay on
//! disk after the last write, and about what was seen: what could not be looked at keeps a machine from being sealed. The
//! value of a secret is never shown.

mod clean;
mod data;
mod erase;
mod finding;
mod hold;
mod job;
mod key;
mod links;
mod look;
mod machine;
mod marker;
mod matches;
mod needles;
mod overwriting;
mod scratches;
mod search;
mod summary;
mod unneeded;

use std::path::Path;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::auth::{Keychain, KeychainOptions};
use crate::check;
use crate::event::Events;
use crate::failure::{Explain, Kind};
use crate::inspect::Unreadable;
use crate::manifest::Manifest;
use crate::mounts;
use crate::report::Clock;
use crate::report::check::CheckReport;
use crate::report::seal::SealReport;
use look::Scope;
use marker::Marker;

pub(crate) use job::Job;
pub(crate) use needles::Known;

/// Looks at a state root and the machine around it, and cleans them if that is wanted.
///
/// # Errors
/// Explained: a root or a manifest that cannot be read, something that cannot be cleaned, a marker that cannot be written.
/// A machine that is not safe to snapshot is a report, not an error.
pub(crate) async fn seal(job: Job, cancel: CancellationToken, events: Events) -> anyhow::Result<SealReport> {
    let clock = Clock::new(events.clone());
    if let Some(marker) = &job.marker {
        marker::remove(marker)?;
    }
    let mut job = absolute(job)?;
    let promise = job.manifest.as_deref().map(Manifest::read).transpose()?;
    let holders = hold::holders(&job.root, &mut job.notes)?;
    if !holders.is_empty() {
        return Ok(summary::held(&job, holders, clock));
    }
    if job.fix {
        scratches::remove(&job).map_err(|error| error.of_root(&job.root))?;
    }
    let looked = match clock.time("look", look::look(&job, Scope::Everything, &cancel, &events)).await {
        Err(error) if is_damaged(&error) => return Ok(summary::damaged(&job, &error, clock)),
        looked => looked?,
    };
    let (mut before, mut after) = (None, looked);
    if job.fix && !after.is_incomplete {
        let findings = after.findings.clone();
        clock.time("clean", clean::apply(findings, &job, &after.snapshotters, &after.redactor, &cancel)).await?;
        let scope = Scope::Changed(std::mem::take(&mut after.unchanged));
        before = Some(after.findings);
        after = clock.time("look again", look::look(&job, scope, &cancel, &events)).await?;
    }
    let checked = clock.time("check", checked(&job, cancel, events)).await?;
    let mut report = summary::report(&job, before, after, &checked);
    report.hit_rate = promise.as_ref().map(|promise| promise.hit_rate);
    if report.head.reasons.is_empty() {
        clock.time("sync", synced(&job.root)).await?;
        // While we looked somebody may have come.
        summary::hold_against(&mut report, hold::holders(&job.root, &mut Vec::new())?);
        if let (true, Some(path)) = (report.head.reasons.is_empty(), &job.marker) {
            Marker::new(&job, promise.as_ref(), &checked)?.write(path)?;
            report.marker = Some(path.display().to_string());
        }
    }
    Ok(SealReport { phases: clock.into_phases(), ..report })
}

/// A job with paths as the kernel has them: what processes have open and what is mounted is known by those.
fn absolute(job: Job) -> anyhow::Result<Job> {
    let real = |path: &Path| {
        std::fs::canonicalize(path).explain(
            Kind::Environment,
            format!("could not find {}", path.display()),
            "name a directory that is there",
        )
    };
    Ok(Job {
        root: real(&job.root)?,
        system: job.system.as_deref().map(real).transpose()?,
        ignored: job.ignored.iter().filter_map(|path| std::fs::canonicalize(path).ok()).collect(),
        ..job
    })
}

/// Whether a database is why.
fn is_damaged(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Unreadable::Database(..))))
}

/// Is every result's chain unpacked, and everything that the manifest promises?
async fn checked(job: &Job, cancel: CancellationToken, events: Events) -> anyhow::Result<CheckReport> {
    let job = check::Job {
        root: job.root.clone(),
        manifest: job.manifest.clone(),
        donors: Vec::new(),
        keychain: Keychain::new(KeychainOptions::default()),
        deep: false,
        thresholds: job.thresholds.clone(),
        every_record: false,
        used_by: None,
        buildkitd_config: job.buildkitd_config.clone(),
    };
    check::check(job, cancel, events).await
}

/// Has everything reach the disk, for the snapshot is of that.
async fn synced(root: &Path) -> anyhow::Result<()> {
    let root = root.to_owned();
    let synced = move || -> anyhow::Result<()> {
        rustix::fs::sync();
        // That one tells of errors, for the file system that matters.
        Ok(mounts::sync(&root)?)
    };
    let outcome = tokio::task::spawn_blocking(synced).await.context("writing to disk")?;
    outcome.explain(
        Kind::Environment,
        "could not have everything written to disk",
        "look at the disk and the kernel's log",
    )
}
