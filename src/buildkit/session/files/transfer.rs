//! One file transfer: announces the entries, sends the content the receiver asks for, and ends as it ends.
//!
//! **Invariant:** requests are always read, whether or not anything can be written at the moment; otherwise both
//! sides could wait for each other. Entries are announced while the walk goes on, and content is sent before it has
//! ended. At most [`READERS`] files are open, and memory is bounded by the queue to the wire.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use super::Local;
use super::announced::{Announced, Content, Number};
use super::filter::Filter;
use super::follow;
use super::request::Request;
use super::walk;
use super::wire::{self, Packet};
use crate::event::{Event, Events};

/// How many files of one transfer are read at a time.
const READERS: usize = 4;
/// Bytes of a file per packet. BuildKit takes up to 16 MiB.
const CHUNK_BYTES: usize = 128 * 1024;
/// Packets that wait for the wire.
const QUEUED_PACKETS: usize = 16;
/// Bytes between two events.
const EVENT_BYTES: u64 = 4 * 1024 * 1024;

/// What goes back to the receiver.
pub(super) type Outgoing = mpsc::Receiver<Result<Packet, Status>>;

/// Starts a transfer. It ends when the receiver has all or goes away.
pub(super) fn start(local: Local, request: Request, incoming: Streaming<Packet>, events: Events) -> Outgoing {
    let (outgoing, packets) = mpsc::channel(QUEUED_PACKETS);
    let wire = Wire { outgoing, sent: Arc::new(Sent { name: request.name.clone(), events, bytes: AtomicU64::new(0) }) };
    tokio::spawn(async move {
        let goodbye = wire.outgoing.clone();
        if let Err(error) = run(local, request, incoming, wire).await {
            let text = format!("{error:#}");
            tracing::debug!("file transfer failed: {text}");
            // The receiver shows the packet's text; the status ends the call. If it went away, nobody minds.
            let _ = goodbye.send(Ok(Packet::error(text.clone()))).await;
            let _ = goodbye.send(Err(Status::unknown(text))).await;
        }
    });
    packets
}

async fn run(local: Local, request: Request, mut incoming: Streaming<Packet>, wire: Wire) -> anyhow::Result<()> {
    let announced = Arc::new(Mutex::new(Announced::default()));
    let mut work: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut waiting: VecDeque<(Number, Content, Vec<u8>)> = VecDeque::new();
    let mut reading = 0;
    let filter = Arc::new(OnceLock::new());
    let walk = (local.clone(), announced.clone(), wire.clone(), filter.clone());
    let mut walk = tokio::task::spawn_blocking(move || announce(&walk.0, request, &walk.1, &walk.2, &walk.3));
    let mut walking = true;
    loop {
        while reading < READERS
            && let Some((number, content, path)) = waiting.pop_front()
        {
            reading += 1;
            let (local, wire, filter) = (local.clone(), wire.clone(), filter.clone());
            work.spawn_blocking(move || {
                let opens = filter.get().map(|filter| filter.opens(&path)).transpose()?.unwrap_or(true);
                let content = if opens { content } else { Content::Empty };
                send_content(&local, number, content, &path, &wire)
            });
        }
        tokio::select! {
            packet = incoming.message() => match packet? {
                None => anyhow::bail!("the builder broke the file transfer off"),
                Some(packet) => match packet.kind {
                    wire::REQUEST => {
                        let asked = announced.lock().unwrap_or_else(PoisonError::into_inner).ask(packet.id);
                        let (content, path) = asked?;
                        waiting.push_back((packet.id, content, path));
                    }
                    wire::FINISHED => {
                        wire.sent.report();
                        // Whoever says so needs nothing more from us, and drains what is left.
                        let _ = wire.outgoing.send(Ok(Packet::finished())).await;
                        return Ok(());
                    }
                    wire::ERROR => anyhow::bail!("the builder gave up: {}", String::from_utf8_lossy(&packet.data)),
                    other => anyhow::bail!("the builder sent a packet of type {other} in a file transfer"),
                },
            },
            done = &mut walk, if walking => {
                walking = false;
                done.context("the walk broke down")??;
            }
            Some(done) = work.join_next() => {
                reading -= 1;
                done.context("a reader broke down")??;
            }
            () = wire.outgoing.closed() => anyhow::bail!("the builder went away"),
        }
    }
}

/// Announces all that matches, then the end of the list.
fn announce(
    local: &Local,
    request: Request,
    announced: &Mutex<Announced>,
    wire: &Wire,
    filter: &OnceLock<Filter>,
) -> anyhow::Result<()> {
    let follow = request.follow.as_deref();
    let Local(directory) = local;
    let include = follow::include_patterns(directory, request.include, follow)
        .with_context(|| format!("could not follow links in {}", directory.path.display()))?;
    let made = Filter::new(include.as_deref(), request.exclude.as_deref())?;
    let filter = filter.get_or_init(|| made);
    let mut emit = |stat| wire.send(Packet::entry(stat));
    walk::walk_directory(directory, filter, announced, &mut emit)?;
    wire.send(Packet::end_of_list())
}

/// Sends one file to its end as it is now, whatever size was announced.
fn send_content(local: &Local, number: Number, content: Content, path: &[u8], wire: &Wire) -> anyhow::Result<()> {
    if content == Content::File {
        let Local(directory) = local;
        let shown = || format!("{}/{}", directory.path.display(), String::from_utf8_lossy(path));
        let mut file = directory.open_file(path).with_context(|| format!("could not open {}", shown()))?;
        loop {
            let mut chunk = Vec::new();
            let limited = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
            if limited.with_context(|| format!("could not read {}", shown()))? == 0 {
                break;
            }
            wire.send(Packet::data(number, chunk.into()))?;
        }
    }
    wire.send(Packet::data(number, Bytes::new()))
}

/// The way to the receiver.
#[derive(Clone)]
struct Wire {
    outgoing: mpsc::Sender<Result<Packet, Status>>,
    sent: Arc<Sent>,
}

impl Wire {
    /// Sends from a thread that may block.
    fn send(&self, packet: Packet) -> anyhow::Result<()> {
        let bytes = packet.data.len() as u64;
        self.outgoing.blocking_send(Ok(packet)).map_err(|_| anyhow::anyhow!("the builder went away"))?;
        self.sent.add(bytes);
        Ok(())
    }
}

/// Counts the bytes of files that were sent.
struct Sent {
    name: String,
    events: Events,
    /// Since the last event.
    bytes: AtomicU64,
}

impl Sent {
    fn add(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= EVENT_BYTES {
            self.report();
        }
    }

    /// Tells of the bytes since it last told.
    fn report(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.events.emit(Event::ContextSent { name: self.name.clone(), bytes });
        }
    }
}
