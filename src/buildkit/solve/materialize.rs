//! Opens every result of a graph, so that BuildKit fetches and unpacks every layer of it.
//!
//! One build finds results in the donors' caches, or makes them: this fetches no layer that nothing has to run on. It
//! stays, and its results with it, while several other builds ask for the same results and open them: opening is what
//! fetches and unpacks, and BuildKit opens only one result of a build at a time. Chain tips go first; opening a tip
//! opens its whole chain.
//!
//! **Invariant:** only one build imports. Two builds that import the same cache each have keys of their own for it, and
//! a vertex that both have is known by the keys of one: the other then misses what is built on it, and runs it.
//! What fails is asked for again; downloads resume where they broke off.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bollard_buildkit_proto::pb;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use super::alarm::Alarm;
use super::blame::{is_lost, is_missing_file, is_spoilt_download};
use super::request::{Build, Import, Setting};
use crate::buildkit::forget::collect_garbage;
use crate::cancel::{interrupted, unless_cancelled};
use crate::event::Event;
use crate::failure::{Failure, Kind};
use crate::retry;

/// Results that are opened at the same time, each in a build of its own. More lanes only compete for the same
/// connections and disks.
const LANES: usize = 8;
/// A step that has been running for this long is running; BuildKit also tells of steps it starts and drops at once.
const STEADY: Duration = Duration::from_millis(200);
/// A build that failed has said all after this long.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Results that are looked for at the same time.
const FOUND_TOGETHER: usize = 16;

/// One result to open.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// As the person sees it.
    pub(crate) name: String,
    /// What asks for it.
    pub(crate) definition: pb::Definition,
}

/// How patient [`materialize`] is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How often it asks in all.
    pub(crate) attempts: u32,
    /// No progress of a download for this long ends an attempt.
    pub(crate) stall: Duration,
    /// A step that takes longer ends the run; any time is fine when absent.
    pub(crate) step: Option<Duration>,
}

/// Everything to open of one target, in the order in which it is opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// The session that serves it.
    pub(crate) session: String,
    /// The caches its steps may be found in.
    pub(crate) imports: Vec<Import>,
    /// A result that nothing has to run for, looked for first: so an import that fails is known before any step
    /// could run for want of it.
    pub(crate) first: Option<Order>,
    /// The tips of chains.
    pub(crate) tips: Vec<Order>,
    /// Images that something is built on. Whoever opens what is built on one opens its layers. Not to be opened by itself in
    /// a root that is to stay: BuildKit then knows the image by its manifest's digest alone, and no longer finds a step that
    /// the cache knows by the image's configuration, as when its tag moved to another manifest of the same layers.
    pub(crate) images: Vec<Order>,
    /// What lies in the middle of chains.
    pub(crate) middles: Vec<Order>,
}

impl Request {
    /// How many results there are.
    pub(crate) fn len(&self) -> usize {
        self.tips.len() + self.images.len() + self.middles.len()
    }

    /// The same without the middles of chains: BuildKit keeps them when it finds the tips, as far as the donors have
    /// them. Asking for each by itself makes it go through all below each of them, with a write to disk for each.
    pub(crate) fn without_middles(self) -> Request {
        Request { middles: Vec::new(), ..self }
    }

    /// What may be opened in a root that is to stay, and the images by themselves.
    pub(crate) fn split_images(mut self) -> (Request, Request) {
        let images = std::mem::take(&mut self.images);
        let alone = Request { session: self.session.clone(), images, ..Request::default() };
        (self, alone)
    }

    /// The same results, with nothing to import.
    pub(crate) fn without_imports(self) -> Request {
        Request { imports: Vec::new(), first: None, ..self }
    }
}

/// Opens the results. Gives the build that holds them: as long as it runs, BuildKit counts every record that was
/// opened as in use. `found` is called whenever results are found and held, and before they are opened.
///
/// # Errors
/// A step that failed or was forbidden, an import or a blob that cannot be had after the last attempt.
pub(crate) async fn materialize(setting: &Setting, request: &Request, found: impl AsyncFn()) -> anyhow::Result<Build> {
    setting.events.emit(Event::Planned { results: request.len() });
    let worth = |error: &anyhow::Error| worth_another_try(setting, error);
    patiently(setting, worth, || open_in_order(setting, request, &found)).await
}

/// Finds one result in the builder's cache, without donors, or has it made. Gives the build that holds it.
///
/// # Errors
/// A step that failed or was forbidden, a name that cannot be resolved.
pub(crate) async fn find(setting: &Setting, session: &str, definition: pb::Definition) -> anyhow::Result<Build> {
    let find = || async {
        let build = Build::start(setting, session).await?;
        match build.find(definition.clone(), &[]).await {
            Ok(()) => Ok(build),
            Err(error) => {
                // What it has still to say tells why.
                let _ = tokio::time::timeout(LAST_WORDS, build.finish()).await;
                Err(error)
            }
        }
    };
    patiently(setting, |_| false, find).await
}

/// One attempt: the tips first, because BuildKit takes long to find what lies in the middle of a chain that is not there.
async fn open_in_order(setting: &Setting, request: &Request, found: &impl AsyncFn()) -> anyhow::Result<Build> {
    let build = Build::start(setting, &request.session).await?;
    let opening = async {
        find_all(&build, request.first.as_slice(), &request.imports).await?;
        for orders in [&request.tips, &request.middles, &request.images] {
            find_all(&build, orders, &request.imports).await?;
            if !orders.is_empty() {
                found().await;
            }
            open_all(setting, &request.session, orders).await?;
        }
        anyhow::Ok(())
    };
    match opening.await {
        Ok(()) => Ok(build),
        Err(error) => {
            // The status stream tells which step it was, and may be behind the answer.
            let _ = tokio::time::timeout(LAST_WORDS, build.finish()).await;
            Err(error)
        }
    }
}

/// Makes as many attempts as patience allows, as long as an error is `worth` another. One that stalls always is.
pub(super) async fn patiently<T, F: Future<Output = anyhow::Result<T>>>(
    setting: &Setting,
    worth: impl Fn(&anyhow::Error) -> bool,
    mut attempt_once: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let Setting { patience, cancel, events, .. } = setting;
    let mut attempt = 1;
    loop {
        setting.tracker.touch();
        let (error, has_stalled) = tokio::select! {
            () = cancel.cancelled() => return Err(interrupted()),
            alarm = setting.tracker.alarmed() => (alarm.error(), false),
            too_slow = too_slow(setting) => match too_slow {
                TooSlow::Download { seconds } => {
                    events.emit(Event::Stalled { seconds, attempt });
                    (still_error(seconds), true)
                }
                TooSlow::Step { name, limit } => return Err(overdue_error(&name, limit)),
            },
            outcome = attempt_once() => match outcome {
                Ok(done) => return Ok(done),
                Err(error) => (error, false),
            },
        };
        if attempt >= patience.attempts || !(has_stalled || worth(&error)) {
            return Err(error);
        }
        events.warn(format!("trying again: {error:#}"));
        let pause = retry::pause(Duration::from_secs(1 << attempt.min(4)));
        unless_cancelled(cancel, pause.map(Ok)).await?;
        if is_spoilt_download(&error) {
            collect_garbage(&setting.channel).await?;
        }
        setting.tracker.start_attempt();
        attempt += 1;
    }
}

/// Finds or makes results in one build, several at a time: BuildKit runs what does not depend on each other together.
async fn find_all(build: &Build, orders: &[Order], imports: &[Import]) -> anyhow::Result<()> {
    let find = |order: &Order| {
        let (definition, name) = (order.definition.clone(), order.name.clone());
        async move { build.find(definition, imports).await.with_context(|| format!("building {name}")) }
    };
    futures::stream::iter(orders).map(find).buffer_unordered(FOUND_TOGETHER).try_collect::<()>().await
}

/// Opens results in parallel lanes; the first error drops, and so cancels, them all.
async fn open_all(setting: &Setting, session: &str, orders: &[Order]) -> anyhow::Result<()> {
    let queue = Arc::new(Mutex::new(orders.iter().cloned().collect::<VecDeque<Order>>()));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES.min(orders.len()) {
        lanes.spawn(lane(setting.clone(), session.to_owned(), queue.clone()));
    }
    while let Some(ended) = lanes.join_next().await {
        ended.context("a lane ended")??;
    }
    Ok(())
}

async fn lane(setting: Setting, session: String, queue: Arc<Mutex<VecDeque<Order>>>) -> anyhow::Result<()> {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let build = Build::start(&setting, &session).await?;
    while let Some(order) = next() {
        let opened = build.open(order.definition).await;
        opened.with_context(|| format!("opening {}", order.name))?;
        setting.tracker.touch();
        setting.events.emit(Event::Materialized { name: order.name });
    }
    build.finish().await
}

/// What patience ended at.
enum TooSlow {
    /// Nothing has moved.
    Download { seconds: f64 },
    /// A step goes on and on.
    Step { name: String, limit: Duration },
}

/// Resolves when nothing has moved for too long, or a step takes too long.
async fn too_slow(setting: &Setting) -> TooSlow {
    let patience = setting.patience;
    let mut tick = tokio::time::interval(Duration::from_millis(200).min(patience.stall));
    loop {
        tick.tick().await;
        setting.tracker.raise_for_running(STEADY);
        let idle = setting.tracker.idle();
        if idle >= patience.stall {
            return TooSlow::Download { seconds: idle.as_secs_f64() };
        }
        if let Some(limit) = patience.step
            && let Some(name) = setting.tracker.at_work_for(limit)
        {
            return TooSlow::Step { name, limit };
        }
    }
}

/// A step that failed, was not to run, or copies what is not there, fails again; everything else may have been the network.
fn worth_another_try(setting: &Setting, error: &anyhow::Error) -> bool {
    if is_lost(error)
        || is_missing_file(error)
        || Failure::of(error).is_some_and(|failure| failure.kind != Kind::Environment)
    {
        return false;
    }
    !setting.tracker.accounts().vertices.values().any(|account| account.ran && account.error.is_some())
}

fn still_error(seconds: f64) -> anyhow::Error {
    Failure::new(
        Kind::Environment,
        format!("BuildKit stood still: no download moved for {seconds:.0} s (--stall-timeout)"),
        "check the registry and the network, then run the same command again: it goes on where this one stopped",
    )
}

fn overdue_error(name: &str, limit: Duration) -> anyhow::Error {
    Failure::new(
        Kind::Build,
        format!("the step `{name}` did not end within {} s (--step-timeout)", limit.as_secs_f64()),
        "find out what it waits for, or give it more time",
    )
}

/// Checks, after a build has finished, that all its caches were imported.
///
/// # Errors
/// Explained: the import that failed.
pub(crate) fn imported_all(setting: &Setting) -> anyhow::Result<()> {
    setting.tracker.imported_all().map_err(Alarm::error)
}
