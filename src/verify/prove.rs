//! The proof: BuildKit itself asks for every result again, on a shadow of the state root and without donors.
//! Whatever it fetches, unpacks or runs there was not warm.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::buildkit::{
    Accounts, Builder, Ledger, Patience, Request, SessionPlan, Setting, Spawn, materialize, unless_cancelled,
};
use crate::event::Events;
use crate::failure::{Failure, Kind};
use crate::shadow::Shadow;

/// What BuildKit had to do that a warm root would have spared it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubts {
    /// Layers it fetched.
    pub(crate) fetched: Vec<String>,
    /// Layers it unpacked.
    pub(crate) extracted: Vec<String>,
    /// Steps it ran.
    pub(crate) ran: Vec<String>,
    /// What it could not do.
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
pub(crate) struct Claim<'c> {
    /// The state root.
    pub(crate) root: &'c Path,
    /// How to start a daemon on it; its root is replaced by the shadow.
    pub(crate) daemon: Spawn,
    /// The sessions the results' definitions name.
    pub(crate) sessions: Vec<SessionPlan>,
    /// What the targets need to be granted.
    pub(crate) entitlements: Vec<String>,
    /// Every result that must be there, by target.
    pub(crate) requests: Vec<Request>,
    /// Vertices whose execution is work.
    pub(crate) work: HashSet<String>,
    /// The compressed blobs of the layers; what else is fetched is a manifest or an image's configuration.
    pub(crate) layers: HashSet<String>,
}

/// Asks BuildKit.
///
/// # Errors
/// When it could not be asked: no room for the shadow, no buildkitd. A result that is not there is a doubt, not an error.
pub(crate) async fn prove(claim: Claim<'_>, patience: Patience, cancel: &CancellationToken) -> anyhow::Result<Doubts> {
    let root = claim.root.to_owned();
    let shadow =
        tokio::task::spawn_blocking(move || Shadow::create(&root, None)).await.context("making a shadow root")??;
    let spawn = Spawn {
        root: shadow.path().to_owned(),
        snapshotter: shadow.snapshotters().first().cloned(),
        refuse_steps: true,
        entitlements: claim.entitlements.clone(),
        ..claim.daemon.clone()
    };
    let started = unless_cancelled(cancel, Builder::spawn(spawn)).await;
    let mut builder = started.context("starting buildkitd on the shadow root")?;
    let asked = ask(&builder, claim, patience, cancel).await;
    builder.stop().await?;
    asked
}

async fn ask(
    builder: &Builder,
    claim: Claim<'_>,
    patience: Patience,
    cancel: &CancellationToken,
) -> anyhow::Result<Doubts> {
    let mut sessions = Vec::new();
    for plan in &claim.sessions {
        sessions.push(plan.open(&builder.channel).await?);
    }
    let events = Events::nobody();
    // The first step that starts ends it: it may take an hour, and one is enough.
    let ledger = Ledger::new(events.clone(), true);
    ledger.expect_work(claim.work);
    let setting =
        Setting { channel: builder.channel.clone(), entitlements: claim.entitlements, ledger: ledger.clone() };
    let once = Patience { attempts: 1, ..patience };
    let outcome = async {
        for request in &claim.requests {
            materialize(&setting, request, once, cancel, &events).await?.finish().await?;
        }
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    for session in sessions {
        session.close().await;
    }
    let mut doubts = doubts(&ledger.accounts(), &claim.layers);
    match outcome {
        Err(error) if Failure::of(&error).is_some_and(|failure| failure.kind == Kind::Interrupted) => {
            return Err(error);
        }
        Err(error) if doubts.ran.is_empty() => doubts.errors.push(format!("{error:#}")),
        _ => {}
    }
    Ok(doubts)
}

fn doubts(accounts: &Accounts, layers: &HashSet<String>) -> Doubts {
    let ran = accounts.vertices.values().filter(|account| account.ran).map(|account| account.name.clone());
    let fetched = accounts.blobs.iter().filter(|(digest, blob)| layers.contains(*digest) && blob.was_fetched());
    let mut doubts = Doubts {
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
