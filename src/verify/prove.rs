//! The proof: BuildKit itself asks for every result again, without donors. Whatever it fetches, unpacks or runs then was
//! not warm.
//!
//! On a shadow of the state root a daemon that was just started says so ([`prove`]). The builder itself can be asked as
//! well ([`ask_again`]): that is what can be had where its state is out of reach, and says nothing of a restart.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::buildkit::{
    self, Accounts, Builder, Patience, Request, Session, SessionId, SessionPlan, Setting, SourcePolicy, Spawn,
    StatusTracker, materialize,
};
use crate::cancel::{is_interrupted, unless_cancelled};
use crate::event::Events;
use crate::failure::{Failure, Kind};
use crate::inspect;
use crate::redact::Redactor;
use crate::shadow::{LocalSources, Place, Shadow};

/// What BuildKit had to do that a warm root would have spared it.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Doubts {
    /// Whether the builder itself was asked, which says nothing of a restart; a daemon on a shadow of its root otherwise.
    #[serde(skip)]
    pub(crate) is_of_itself: bool,
    /// The version of the one that was asked.
    #[serde(skip)]
    pub(crate) buildkit_version: String,
    /// Blobs it wanted to fetch.
    pub(crate) fetched: Vec<String>,
    /// Layers it had to unpack.
    pub(crate) extracted: Vec<String>,
    /// Steps it had to run.
    pub(crate) ran: Vec<String>,
    /// Whatever else went wrong.
    pub(crate) errors: Vec<String>,
}

impl Doubts {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.fetched.is_empty() && self.extracted.is_empty() && self.ran.is_empty() && self.errors.is_empty()
    }
}

/// What is to be proven.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The sessions the results' definitions name.
    pub(crate) sessions: Vec<SessionPlan>,
    /// What the targets need to be granted.
    pub(crate) entitlements: Vec<String>,
    /// By which sources are refused and exchanged.
    pub(crate) policy: Option<SourcePolicy>,
    /// Every result that must be there, by target.
    pub(crate) requests: Vec<Request>,
    /// Vertices whose execution is work.
    pub(crate) work: HashSet<String>,
    /// What is not to be told of them.
    pub(crate) secrets: Redactor,
    /// The compressed blobs of the layers; what else is fetched is a manifest or an image's configuration.
    pub(crate) layers: HashSet<String>,
    /// Whether it ends as soon as a layer is fetched or unpacked: who only asks does not fetch.
    pub(crate) only_asks: bool,
}

/// Asks a BuildKit that `daemon` starts on a shadow of its root.
///
/// # Errors
/// When it could not be asked: no room for the shadow, no buildkitd. A result that is not there is a doubt, not an error.
pub(crate) async fn prove(
    daemon: Spawn,
    claim: Claim,
    patience: Patience,
    cancel: &CancellationToken,
) -> anyhow::Result<Doubts> {
    let root = daemon.root.clone();
    // Its copies of the build's directories are of this run, and spare us sending them again.
    let cancelled = cancel.clone();
    let make = move || Shadow::create(&root, Place::Disk, LocalSources::Copied, &cancelled);
    let made = tokio::task::spawn_blocking(make);
    let shadow = made.await.context("making a shadow root")??;
    // The images last of all targets, for BuildKit forgets by which names it knew those that it opens.
    let (results, images): (Vec<_>, Vec<_>) = claim.requests.into_iter().map(Request::split_images).unzip();
    let claim = Claim { requests: results.into_iter().chain(images).collect(), ..claim };
    let spawn = on_shadow(&shadow, daemon, claim.entitlements.clone())?;
    let started = unless_cancelled(cancel, Builder::spawn(spawn)).await;
    let mut builder = started.context("starting buildkitd on the shadow root")?;
    let asked = ask_again(&builder.channel, claim, patience, cancel).await;
    builder.stop().await?;
    Ok(Doubts { is_of_itself: false, buildkit_version: builder.version.clone(), ..asked? })
}

/// The daemon that answers on a shadow of a root: as `daemon` would on the root itself, refusing steps.
///
/// # Errors
/// When its configuration or the root cannot be read.
pub(crate) fn on_shadow(shadow: &Shadow, daemon: Spawn, entitlements: Vec<String>) -> anyhow::Result<Spawn> {
    let snapshotter = Some(next_snapshotter(&daemon)?);
    let holds = Some(Arc::new(shadow.share().context("sharing the lock of a shadow root")?));
    Ok(Spawn { root: shadow.path().to_owned(), holds, snapshotter, refuse_steps: true, entitlements, ..daemon })
}

/// The snapshotter with which a daemon will use its root: what it is told, or else what it comes to by itself.
///
/// # Errors
/// When its configuration or the root cannot be read.
pub(crate) fn next_snapshotter(daemon: &Spawn) -> anyhow::Result<String> {
    match daemon.told_snapshotter()? {
        Some(told) => Ok(told),
        None => inspect::auto_snapshotter(&daemon.root).map_err(|error| error.of_root(&daemon.root)),
    }
}

/// Asks the BuildKit behind a channel.
///
/// # Errors
/// When it could not be asked. A result that is not there is a doubt, not an error.
pub(crate) async fn ask_again(
    channel: &Channel,
    claim: Claim,
    patience: Patience,
    cancel: &CancellationToken,
) -> anyhow::Result<Doubts> {
    let claim = in_sessions_of_its_own(claim)?;
    let sessions = SessionPlan::open_all(&claim.sessions, channel).await?;
    let events = Events::nobody();
    // The first step that starts ends it: it may take an hour, and one is enough.
    let tracker = StatusTracker::new(events.clone(), true, claim.secrets.clone());
    tracker.expect(claim.work, claim.secrets);
    if claim.only_asks {
        tracker.forbid_moves();
    }
    let setting = Setting {
        channel: channel.clone(),
        entitlements: claim.entitlements,
        policy: claim.policy,
        tracker: tracker.clone(),
        patience: Patience { attempts: 1, ..patience },
        cancel: cancel.clone(),
        events,
    };
    let outcome = async {
        for request in &claim.requests {
            materialize(&setting, request, async || ()).await?.finish().await?;
        }
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    Session::close_all(sessions).await;
    let mut doubts = doubts(&tracker.accounts(), &claim.layers);
    match outcome {
        Err(error) if is_interrupted(&error) => {
            return Err(error);
        }
        // What was forbidden and is in a list already is told by that.
        Err(error) if doubts.is_empty() || (doubts.ran.is_empty() && !is_forbidden(&error)) => {
            doubts.errors.push(format!("{error:#}"));
        }
        _ => {}
    }
    Ok(doubts)
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    Failure::of(error).is_some_and(|failure| failure.kind == Kind::NotWarm)
}

/// As a later build asks, which has other sessions.
fn in_sessions_of_its_own(mut claim: Claim) -> anyhow::Result<Claim> {
    let mut renamed = Vec::new();
    for session in &mut claim.sessions {
        let old = std::mem::replace(&mut session.id, SessionId::new()?);
        renamed.push((old.to_string(), session.id.to_string()));
    }
    let digests = buildkit::in_other_sessions(&mut claim.requests, &renamed);
    claim.work = claim.work.into_iter().map(|vertex| digests.get(&vertex).cloned().unwrap_or(vertex)).collect();
    Ok(claim)
}

fn doubts(accounts: &Accounts, layers: &HashSet<String>) -> Doubts {
    let ran = accounts.vertices.values().filter(|account| account.ran).map(|account| account.name.clone());
    let fetched = accounts.blobs.iter().filter(|(digest, blob)| {
        let is_layer = blob.is_pulled || layers.contains(*digest);
        is_layer && blob.was_fetched()
    });
    let mut doubts = Doubts {
        is_of_itself: true,
        buildkit_version: String::new(),
        fetched: fetched.map(|(digest, _)| digest.clone()).collect(),
        extracted: accounts.extractions.keys().cloned().collect(),
        ran: ran.collect(),
        errors: Vec::new(),
    };
    doubts.fetched.sort();
    doubts.extracted.sort();
    doubts.ran.sort();
    doubts
}
