//! Layers that we fetch ourselves between finding results and opening them, where the builder's store is within reach.
//!
//! **Invariant:** what goes wrong here costs time only: BuildKit fetches what is not in its store, and says what it cannot.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Fetch, Run};
use crate::buildkit::{self, Accounts, Builder, StatusTracker, Transferred};
use crate::era::Era;
use crate::fetch::{self, Blob, Fetched, LazyBlob, Limits, Place, Store};
use crate::registry::Reference;
use crate::report::Fetching;
use crate::retry::{self, Policy};
use crate::scratch;

/// A connection that stands still for longer is given up, however patient the run is: another one may move.
const STILL: Duration = Duration::from_secs(15);
/// How often BuildKit's own patience is told that something moves.
const TOUCH: Duration = Duration::from_millis(200);

/// Fetches for one solve.
pub(super) struct Fetcher<'r> {
    run: &'r Run<'r>,
    builder: &'r Builder,
    tracker: &'r StatusTracker,
    /// Why we do not fetch, once that is known.
    why: RefCell<Option<String>>,
    /// Blobs that could not be had: BuildKit is to say why.
    given_up: RefCell<HashSet<String>>,
    done: RefCell<Fetched>,
    has_fetched: Cell<bool>,
}

impl<'r> Fetcher<'r> {
    /// Who fetches for this builder.
    pub(super) fn new(run: &'r Run<'r>, builder: &'r Builder, tracker: &'r StatusTracker) -> Fetcher<'r> {
        let why = match builder.kind {
            _ if run.job.fetch == Fetch::Builder => Some("--fetch builder says so".to_owned()),
            "spawn" | "unix" | "docker-container" if builder.root.path().is_some() => None,
            _ => Some("its store is not on this machine".to_owned()),
        };
        // A killed run may have left something, whoever fetches now.
        for store in builder.root.path().and_then(|root| fetch::stores(root).ok()).into_iter().flatten() {
            scratch::sweep(&store);
        }
        Fetcher {
            run,
            builder,
            tracker,
            why: RefCell::new(why),
            given_up: RefCell::default(),
            done: RefCell::default(),
            has_fetched: Cell::new(false),
        }
    }

    /// Fetches what the records in use lack, as far as it can be had.
    pub(super) async fn fetch(&self) {
        let root = self.builder.root.path().filter(|_| self.why.borrow().is_none());
        let Some(root) = root else { return };
        let patient = async {
            loop {
                self.tracker.touch();
                retry::pause(TOUCH).await;
            }
        };
        let outcome = tokio::select! {
            outcome = self.fetch_into(root) => outcome,
            () = patient => Ok(()),
        };
        self.tracker.touch();
        if let Err(error) = outcome {
            let why = format!("{error:#}");
            self.run.events.note(format!("the builder fetches the layers itself: {why}"));
            *self.why.borrow_mut() = Some(why);
        }
    }

    async fn fetch_into(&self, root: &Path) -> anyhow::Result<()> {
        let used = buildkit::in_use(&self.builder.channel).await?;
        let (read, worker_id) = (root.to_owned(), self.builder.worker_id.clone());
        let lazy = tokio::task::spawn_blocking(move || fetch::lazy(&read, &worker_id, &used)).await??;
        let blobs: Vec<Blob> = lazy.blobs.into_iter().filter_map(|blob| self.wanted(blob)).collect();
        if blobs.is_empty() {
            return Ok(());
        }
        let (root, content) = (root.to_owned(), lazy.content);
        let store = Arc::new(tokio::task::spawn_blocking(move || Store::open(&root, &content)).await??);
        let job = self.run.job;
        let limits = Limits {
            connections: job.fetch_connections,
            stall: job.stall_timeout.min(STILL),
            policy: Policy::REGISTRY,
        };
        let fetched = fetch::fetch(store, blobs, limits, self.run.events).await;
        self.has_fetched.set(true);
        if let [(digest, why), more @ ..] = fetched.left.as_slice() {
            let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
            self.run.events.warn(format!("left to the builder to fetch: {digest}{more}: {why}"));
        }
        self.given_up.borrow_mut().extend(fetched.left.iter().map(|(digest, _)| digest.clone()));
        let mut done = self.done.borrow_mut();
        done.arrived.extend(fetched.arrived);
        done.left.extend(fetched.left);
        done.parts += fetched.parts;
        done.retried += fetched.retried;
        done.resumed += fetched.resumed;
        done.seconds += fetched.seconds;
        Ok(())
    }

    /// Where a blob can be had, if that is known and it was not tried in vain.
    fn wanted(&self, lazy: LazyBlob) -> Option<Blob> {
        if self.given_up.borrow().contains(&lazy.digest) {
            return None;
        }
        let donors = self.run.donors;
        let (mut repositories, size) = donors.holding(&lazy.digest);
        let images = lazy.image_refs.iter().filter_map(|image| Reference::parse(image).ok());
        repositories.extend(images.map(|image| donors.client.repository(&image, false)));
        let mut seen = HashSet::new();
        repositories.retain(|repository| seen.insert(repository.name()));
        let places: Vec<Place> = repositories.into_iter().map(|repository| Place { repository }).collect();
        let size = size.or(lazy.size).filter(|size| *size > 0 && !places.is_empty())?;
        let diff_id = lazy.diff_id.filter(|_| !Era::of(&self.builder.version).compares_diff_ids());
        Some(Blob { digest: lazy.digest, size, diff_id, places })
    }

    /// Adds what was fetched to what the builder said, and gives how it went.
    pub(super) fn into_account(self, accounts: &mut Accounts) -> Fetching {
        let done = self.done.into_inner();
        let bytes = done.arrived.iter().map(|arrival| arrival.bytes).sum();
        let blobs = done.arrived.len();
        for arrival in done.arrived {
            let (started, ended) = (arrival.started, arrival.ended);
            let blob = Transferred { bytes: arrival.bytes, started, ended, ..Transferred::default() };
            accounts.blobs.insert(arrival.digest, blob);
        }
        let why = self.why.into_inner();
        Fetching {
            by: if why.is_none() || self.has_fetched.get() { "cachewarm" } else { "builder" },
            connections: if self.has_fetched.get() { self.run.job.fetch_connections } else { 0 },
            blobs,
            bytes,
            seconds: done.seconds,
            parts: done.parts,
            retried: done.retried,
            resumed: done.resumed,
            left: done.left.into_iter().map(|(digest, why)| format!("{digest}: {why}")).collect(),
            // Whoever has not asked us to is not told why we did not.
            why: why.filter(|_| self.run.job.fetch == Fetch::Auto),
        }
    }
}
