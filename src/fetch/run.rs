//! Fetches blobs: many parts at once, each asked for again from where it broke off, as [`crate::retry`] has it.
//!
//! **Invariant:** it ends, whatever a registry does: every part has so many tries, and each try so much time to move. Memory is
//! bounded by a buffer for each connection.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::coming::Coming;
use super::follow::{self, Follower};
use super::plan::{self, Blob};
use super::store::Store;
use super::trouble::Trouble;
use crate::event::{Event, Events};
use crate::registry::Part;
use crate::retry::{self, Policy};

/// Bytes of a connection that are kept until they are written.
const BUFFER: usize = 512 << 10;
/// How often a blob is fetched whose bytes turn out to be wrong.
const TRIES_OF_A_BLOB: u32 = 2;
/// How many blobs are unpacked at the same time to see what is in them.
const UNPACKED_TOGETHER: usize = 2;
/// What has to come while patience lasts, in bytes: less is as good as nothing.
const LEAST_PROGRESS: u64 = 64 << 10;

/// How much is done at once, and how patiently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections over all blobs.
    pub(crate) connections: usize,
    /// A connection that stands still for this long is given up, and its part asked for again.
    pub(crate) stall: Duration,
    /// When a part is asked for again.
    pub(crate) policy: Policy,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fetched {
    /// The blobs that are in the store now.
    pub(crate) arrived: Vec<Arrival>,
    /// The blobs that are not, and why.
    pub(crate) left: Vec<(String, String)>,
    /// Parts that were asked for.
    pub(crate) parts: usize,
    /// Parts that were asked for again.
    pub(crate) retried: usize,
    /// How many of the retried parts went on where they had broken off.
    pub(crate) resumed: usize,
    /// Wall time.
    pub(crate) seconds: f64,
}

/// A blob's way here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrival {
    /// Its digest.
    pub(crate) digest: String,
    /// Bytes that were fetched; none of a blob that lay there already.
    pub(crate) bytes: u64,
    /// When it began and ended, in seconds since 1970.
    pub(crate) started: f64,
    /// See `started`.
    pub(crate) ended: f64,
}

/// Brings blobs into a store, as far as they can be had.
pub(crate) async fn fetch(store: Arc<Store>, blobs: Vec<Blob>, limits: Limits, events: &Events) -> Fetched {
    let began = Instant::now();
    let total = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
    let run = Run {
        store,
        limits,
        part: plan::part_size(total, limits.connections),
        connections: Semaphore::new(limits.connections.max(1)),
        unpacking: Semaphore::new(UNPACKED_TOGETHER),
        events,
        parts: AtomicUsize::new(0),
        retried: AtomicUsize::new(0),
        resumed: AtomicUsize::new(0),
        is_full: AtomicBool::new(false),
    };
    let mut fetched = Fetched::default();
    let ordered = plan::ordered(blobs);
    let mut coming: FuturesUnordered<_> = ordered.iter().map(|blob| run.blob(blob)).collect();
    while let Some(outcome) = coming.next().await {
        match outcome {
            Ok(arrival) => fetched.arrived.push(arrival),
            Err(left) => fetched.left.push(left),
        }
    }
    drop(coming);
    fetched.parts = run.parts.into_inner();
    fetched.retried = run.retried.into_inner();
    fetched.resumed = run.resumed.into_inner();
    fetched.seconds = began.elapsed().as_secs_f64();
    fetched
}

struct Run<'e> {
    store: Arc<Store>,
    limits: Limits,
    /// Bytes of a part.
    part: u64,
    connections: Semaphore,
    unpacking: Semaphore,
    events: &'e Events,
    parts: AtomicUsize,
    retried: AtomicUsize,
    resumed: AtomicUsize,
    is_full: AtomicBool,
}

/// A part that a connection is taken for.
struct Opened<'r> {
    part: Part,
    /// Dropping it gives the connection back.
    _connection: SemaphorePermit<'r>,
}

impl Run<'_> {
    async fn blob(&self, blob: &Blob) -> Result<Arrival, (String, String)> {
        let left = |trouble: &Trouble| (blob.digest.clone(), trouble.words());
        let started = now();
        let arrival = |bytes| Arrival { digest: blob.digest.clone(), bytes, started, ended: now() };
        if self.lies_there(blob).await {
            return Ok(arrival(0));
        }
        for attempt in 1.. {
            match self.bring(blob).await {
                Ok(()) => {
                    self.events.emit(Event::BlobArrived { blob: blob.digest.clone(), bytes: blob.size });
                    return Ok(arrival(blob.size));
                }
                Err(Trouble::Wrong(what)) if attempt < TRIES_OF_A_BLOB => {
                    self.events.note(format!("fetching {} again: {what}", blob.digest));
                    self.retried.fetch_add(1, Ordering::Relaxed);
                }
                Err(trouble) => {
                    self.is_full.fetch_or(matches!(trouble, Trouble::Disk(_)), Ordering::Relaxed);
                    return Err(left(&trouble));
                }
            }
        }
        Err(left(&Trouble::GivenUp))
    }

    /// Whether the blob lies in the store though nobody has asked for it: an earlier run was ended before its build.
    async fn lies_there(&self, blob: &Blob) -> bool {
        let Some(file) = self.store.found(&blob.digest, blob.size) else { return false };
        let file = Arc::new(file);
        let follower = Follower::of(file.clone(), blob.size);
        follower.tell(blob.size);
        self.compare(blob, follower, file).await.is_ok()
    }

    /// Holds what came of a blob against what was promised.
    async fn compare(&self, blob: &Blob, follower: Follower, file: Arc<File>) -> Result<(), Trouble> {
        let digest = follower.digest().await.map_err(Trouble::Disk)?;
        if digest != blob.digest {
            return Err(Trouble::Wrong(format!("its bytes are those of {digest}")));
        }
        let Some(promised) = &blob.diff_id else { return Ok(()) };
        // It takes the memory of a window, and a core.
        let _one_of_few = self.unpacking.acquire().await;
        let unpacked = follow::unpacked(file, blob.size).await.map_err(Trouble::Disk)?;
        if unpacked.as_ref() == Some(promised) {
            return Ok(());
        }
        let unpacked = unpacked.unwrap_or_else(|| "nothing".to_owned());
        Err(Trouble::OtherContent(format!("it unpacks to {unpacked}, and {promised} was promised")))
    }

    /// Fetches a blob and puts it in its place.
    async fn bring(&self, blob: &Blob) -> Result<(), Trouble> {
        let first = 0..self.part.min(blob.size);
        let opened = self.insisting(|_| self.open(blob, first.clone())).await?;
        let parts =
            if opened.part.is_whole() { plan::parts(blob.size, blob.size) } else { plan::parts(blob.size, self.part) };
        self.parts.fetch_add(parts.len(), Ordering::Relaxed);
        let incoming = self.store.incoming(&blob.digest, blob.size).map_err(Trouble::Disk)?;
        let coming = Coming::of(blob, incoming, parts.clone());
        let mut opened = Some(opened);
        try_join_all(parts.into_iter().enumerate().map(|(number, part)| {
            let opened = opened.take();
            self.one_part(&coming, number, part, opened)
        }))
        .await?;
        let (incoming, follower) = coming.come();
        self.compare(blob, follower, incoming.file.clone()).await?;
        let (store, digest, size) = (self.store.clone(), blob.digest.clone(), blob.size);
        let placed = tokio::task::spawn_blocking(move || store.place(&incoming, &digest, size)).await;
        placed.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(Trouble::Disk)
    }

    /// Fetches a part; what is asked for again goes on where it broke off.
    async fn one_part(
        &self,
        coming: &Coming<'_>,
        number: usize,
        part: Range<u64>,
        opened: Option<Opened<'_>>,
    ) -> Result<(), Trouble> {
        let opened = Mutex::new(opened);
        self.insisting(async |attempt| {
            loop {
                let at = coming.reached(number);
                if at >= part.end {
                    return Ok(());
                }
                let first = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
                let mut opened = match first {
                    Some(opened) => opened,
                    None => {
                        self.resumed.fetch_add(usize::from(attempt > 1 && at > part.start), Ordering::Relaxed);
                        self.open(coming.blob, at..part.end).await?
                    }
                };
                if opened.part.is_whole() && part.end != coming.blob.size {
                    return Err(Trouble::NoRanges { host: opened.part.host().to_owned() });
                }
                self.pour(coming, number, &mut opened.part, attempt).await?;
            }
        })
        .await
    }

    /// Asks as long as there is hope.
    async fn insisting<T, F>(&self, once: impl Fn(u32) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let asked = |attempt: u32| {
            self.retried.fetch_add(usize::from(attempt > 1), Ordering::Relaxed);
            once(attempt)
        };
        retry::retrying(self.limits.policy, Trouble::retry, asked).await
    }

    /// Takes a connection and asks every place for a part.
    async fn open(&self, blob: &Blob, range: Range<u64>) -> Result<Opened<'_>, Trouble> {
        let connection = self.connections.acquire().await.map_err(|_| Trouble::GivenUp)?;
        if self.is_full.load(Ordering::Relaxed) {
            return Err(Trouble::GivenUp);
        }
        let mut trouble = Trouble::GivenUp;
        for place in &blob.places {
            let asked = place.repository.part(&blob.digest, blob.size, range.clone());
            match tokio::time::timeout(self.limits.stall, asked).await {
                Ok(Ok(part)) => return Ok(Opened { part, _connection: connection }),
                Ok(Err(error)) => trouble = Trouble::Registry(error),
                Err(_) => trouble = self.still(place.repository.name(), 1),
            }
        }
        Err(trouble)
    }

    /// Writes a part down as it comes.
    async fn pour(&self, coming: &Coming<'_>, number: usize, part: &mut Part, attempt: u32) -> Result<(), Trouble> {
        let mut buffer = Vec::with_capacity(BUFFER);
        let (mut since, mut moved) = (Instant::now(), 0);
        loop {
            let before = buffer.len();
            let read = tokio::time::timeout(self.limits.stall, part.read_into(&mut buffer)).await;
            moved += (buffer.len() - before) as u64;
            let ended = match read {
                Ok(read) => read.map_err(Trouble::Registry),
                Err(_) => Err(self.still(part.host().to_owned(), attempt)),
            };
            if ended.is_err() || buffer.len() >= BUFFER || part.is_done() {
                buffer = coming.write(number, buffer, self.events).await?;
            }
            ended?;
            if part.is_done() {
                return Ok(());
            }
            if since.elapsed() >= self.limits.stall {
                if moved < LEAST_PROGRESS {
                    return Err(self.still(part.host().to_owned(), attempt));
                }
                (since, moved) = (Instant::now(), 0);
            }
        }
    }

    fn still(&self, host: String, attempt: u32) -> Trouble {
        let seconds = self.limits.stall.as_secs_f64();
        self.events.emit(Event::Stalled { seconds, attempt });
        Trouble::Still { host, seconds }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
