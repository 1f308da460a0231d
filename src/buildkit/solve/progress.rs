//! What the status streams of a run's builds said, put together: which steps hit, which ran, what was
//! fetched and unpacked, and whether anything still moves.
//!
//! A vertex is told many times, by every build that has it. BuildKit infers CACHED for everything above a hit; it tells
//! a vertex again, without its inputs, while its lazy result is fetched; and it tells of one that it could not look for
//! by its content as started and failed at once. So: a step ran when it was started, not cached, with its inputs told,
//! and did not fail at once; it is a hit when it did not run and was ever told cached.
//! Source: `solver/jobs.go`, `util/progress/controller`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{
    StatusRequest, StatusResponse, Vertex, VertexStatus, control_client::ControlClient,
};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use super::accounts::Accounts;
use super::alarm::Alarm;
use super::blame::is_cancelled;
use super::vertex::{Doing, doing, fetches_in_silence, imported_from, is_internal};
use crate::event::{Event, Events};
use crate::redact::Redactor;

/// A step that was only looked for is over in less.
const LOOK_SECONDS: f64 = 0.002;
/// What is fetched and is larger is a layer: no manifest and no image's configuration (containerd's own limit).
const LARGEST_DOCUMENT: u64 = 8 << 20;

/// Listens to status streams. Clones share what was heard.
#[derive(Debug, Clone)]
pub(crate) struct StatusTracker {
    inner: Arc<Mutex<Inner>>,
    events: Events,
    alarm: watch::Sender<Option<Alarm>>,
}

#[derive(Debug)]
struct Inner {
    accounts: Accounts,
    moved: Instant,
    /// Vertices whose execution does work.
    work: HashSet<String>,
    forbid_work: bool,
    forbid_moves: bool,
    secrets: Redactor,
    /// The ends of logs that may be the beginnings of secrets, or of lines, by vertex and stream.
    held: HashMap<(String, i64), Vec<u8>>,
}

impl StatusTracker {
    /// A tracker that nothing was told yet. With `forbid_work`, a step that starts raises [`Alarm::StepStarted`]. What is heard
    /// says nothing of `secrets`.
    pub(crate) fn new(events: Events, forbid_work: bool, secrets: Redactor) -> StatusTracker {
        let inner = Inner {
            accounts: Accounts::default(),
            moved: Instant::now(),
            work: HashSet::new(),
            forbid_work,
            forbid_moves: false,
            secrets,
            held: HashMap::new(),
        };
        StatusTracker { inner: Arc::new(Mutex::new(inner)), events, alarm: watch::Sender::new(None) }
    }

    /// Names the vertices whose execution is work (running, copying), as opposed to fetching, and the build's secrets: what
    /// is heard from now on says nothing of them. The frontend writes build arguments into the names of steps, and steps
    /// into their logs.
    pub(crate) fn expect(&self, work: HashSet<String>, secrets: Redactor) {
        let mut inner = self.lock();
        (inner.work, inner.secrets) = (work, secrets);
    }

    /// Has a layer that is fetched or unpacked raise [`Alarm::LayerMoves`].
    pub(crate) fn forbid_moves(&self) {
        self.lock().forbid_moves = true;
    }

    /// What was heard so far.
    pub(crate) fn accounts(&self) -> Accounts {
        let inner = self.lock();
        let mut accounts = inner.accounts.clone();
        for ((vertex, _), held) in &inner.held {
            accounts.vertices.entry(vertex.clone()).or_default().keep(&inner.secrets.bytes(held));
        }
        accounts
    }

    /// Resolves when an alarm was raised; stays raised until [`StatusTracker::start_attempt`].
    pub(crate) async fn alarmed(&self) -> Alarm {
        let mut receiver = self.alarm.subscribe();
        loop {
            if let Some(alarm) = receiver.borrow_and_update().clone() {
                return alarm;
            }
            if receiver.changed().await.is_err() {
                // We hold the sender ourselves, so it is never gone.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Forgets the alarm, before another attempt.
    pub(crate) fn start_attempt(&self) {
        self.alarm.send_replace(None);
        let mut inner = self.lock();
        inner.moved = Instant::now();
        inner.accounts.failed_attempts += 1;
        inner.accounts.failed_imports.clear();
        // What an abandoned build had under way does not run any more.
        for account in inner.accounts.vertices.values_mut() {
            (account.running, account.fetching) = (None, None);
        }
        inner.accounts.extractions.retain(|_, done| *done);
    }

    /// How long nothing has moved; zero while a step runs, a layer is unpacked, or a file or repository is fetched: those may
    /// take any time, and say nothing meanwhile.
    pub(crate) fn idle(&self) -> Duration {
        let inner = self.lock();
        let busy = inner.accounts.vertices.values().any(|account| account.running.or(account.fetching).is_some())
            || inner.accounts.extractions.values().any(|done| !done);
        if busy { Duration::ZERO } else { inner.moved.elapsed() }
    }

    /// A step that has been running, or fetching, for so long.
    pub(crate) fn at_work_for(&self, limit: Duration) -> Option<String> {
        let inner = self.lock();
        let mut accounts = inner.accounts.vertices.values();
        let is_long = |since: Instant| since.elapsed() >= limit;
        accounts.find(|it| it.running.or(it.fetching).is_some_and(is_long)).map(|account| account.name.clone())
    }

    /// Tells of steps that have been running for `steady`, and raises the alarm when they must not.
    pub(crate) fn raise_for_running(&self, steady: Duration) {
        let mut inner = self.lock();
        let Inner { accounts, work, forbid_work, .. } = &mut *inner;
        for (digest, account) in &mut accounts.vertices {
            let steady = account.running.is_some_and(|since| since.elapsed() >= steady);
            if !steady || account.announced || is_internal(&account.name) {
                continue;
            }
            account.announced = true;
            self.events.emit(Event::StepRunning { digest: digest.clone(), name: account.name.clone() });
            if *forbid_work && work.contains(digest) {
                self.raise(Alarm::StepStarted { name: account.name.clone() });
            }
        }
    }

    /// Says that something moved that no status stream tells.
    pub(crate) fn touch(&self) {
        self.lock().moved = Instant::now();
    }

    /// Reads one build's status stream to its end, and gives the vertices of which it said that they are done.
    ///
    /// # Errors
    /// When the stream breaks off: what the build did after that is unknown, so nobody may call it found.
    pub(crate) async fn follow(self, mut of: ControlClient<Channel>, id: String) -> Result<HashSet<String>, Status> {
        let mut stream = of.status(StatusRequest { r#ref: id }).await?.into_inner();
        let mut ended = HashSet::new();
        while let Some(message) = stream.message().await? {
            ended.extend(message.vertexes.iter().filter(|it| it.completed.is_some()).map(|it| it.digest.clone()));
            self.apply(message);
        }
        Ok(ended)
    }

    /// Checks, after the status streams ended, that no cache import failed.
    ///
    /// # Errors
    /// The alarm of the import. The alarm itself may come after the build's answer.
    pub(crate) fn imported_all(&self) -> Result<(), Alarm> {
        let inner = self.lock();
        let failed = inner.accounts.failed_imports.first().cloned();
        failed.map_or(Ok(()), |(donor, error)| Err(Alarm::ImportFailed { donor, error }))
    }

    fn apply(&self, message: StatusResponse) {
        let mut inner = self.lock();
        let mut ended = Vec::new();
        for mut vertex in message.vertexes {
            if vertex.completed.is_some() {
                ended.push(vertex.digest.clone());
            }
            // A donor is known by its name.
            if imported_from(&vertex.name).is_none() {
                vertex.name = inner.secrets.text(&vertex.name);
            }
            vertex.error = inner.secrets.text(&vertex.error);
            self.apply_vertex(&mut inner, vertex);
        }
        for status in message.statuses {
            self.apply_status(&mut inner, status);
        }
        for log in message.logs {
            inner.moved = Instant::now();
            let account = inner.accounts.vertices.entry(log.vertex.clone()).or_default();
            // Every build that has the vertex tells its log; the time is that of the writing.
            let written = log.timestamp.map(|time| (time.seconds, time.nanos));
            if written.is_some_and(|(seconds, nanos)| !account.logged.insert((seconds, nanos, log.stream))) {
                continue;
            }
            let Inner { held, secrets, .. } = &mut *inner;
            let held = held.entry((log.vertex.clone(), log.stream)).or_default();
            let text = secrets.log(held, &log.msg);
            self.apply_lines(&mut inner, &log.vertex, &text);
        }
        for vertex in ended {
            let held: Vec<_> = inner.held.extract_if(|(of, _), _| *of == vertex).map(|(_, held)| held).collect();
            for rest in held {
                let text = inner.secrets.bytes(&rest);
                self.apply_lines(&mut inner, &vertex, &text);
            }
        }
        for warning in message.warnings {
            let text = inner.secrets.text(&String::from_utf8_lossy(&warning.short));
            if !inner.accounts.warnings.contains(&text) {
                inner.accounts.warnings.push(text.clone());
                // Of a Dockerfile's style, for the most part: nothing that has to be read where little is to be said.
                self.events.note(format!("BuildKit's frontend says: {text}"));
            }
        }
    }

    fn apply_lines(&self, inner: &mut Inner, vertex: &str, text: &str) {
        let account = inner.accounts.vertices.entry(vertex.to_owned()).or_default();
        for line in account.keep(text) {
            self.events.emit(Event::StepLog { digest: vertex.to_owned(), line });
        }
    }

    fn apply_vertex(&self, inner: &mut Inner, vertex: Vertex) {
        let is_work = inner.work.contains(&vertex.digest);
        let (work_alone, forbidden) = (is_work && vertex.inputs.is_empty(), is_work && inner.forbid_work);
        let account = inner.accounts.vertices.entry(vertex.digest.clone()).or_default();
        if account.name.is_empty() {
            account.name.clone_from(&vertex.name);
        }
        let failed = !vertex.error.is_empty() && !is_cancelled(&vertex.error);
        if failed {
            account.error = Some(vertex.error.clone());
        }
        let step = !is_internal(&vertex.name);
        let mut alarm = None;
        if vertex.cached {
            account.cached = true;
            let has_begun = account.ran || account.execution.is_some();
            if step && !has_begun && !account.told && vertex.completed.is_some() {
                account.told = true;
                self.events.emit(Event::StepHit { digest: vertex.digest.clone(), name: vertex.name.clone() });
            }
        } else if let Some(started) = &vertex.started {
            let start = (started.seconds, started.nanos);
            let new_start = account.starts.insert(start);
            // A vertex with inputs is started only to execute it; one without is started to ask for its
            // cache key first, which says nothing: work without inputs ran when it was started again. While it runs,
            // BuildKit may infer that it is cached.
            if work_alone && new_start && account.starts.len() > 1 && !account.cached {
                account.execution = Some(start);
            }
            let executes = !vertex.inputs.is_empty() || account.execution == Some(start);
            if vertex.inputs.is_empty() && fetches_in_silence(&vertex.name) {
                account.fetching = vertex.completed.is_none().then(Instant::now);
            }
            if executes && new_start {
                account.running = Some(Instant::now());
                account.tried = true;
            }
            if let (true, Some(completed)) = (executes && account.running.is_some(), &vertex.completed) {
                account.running = None;
                let took = seconds(completed) - seconds(started);
                // BuildKit tells of a step that could not be looked for by its content, or need not any more, as
                // one that failed at once.
                let only_looked = !vertex.error.is_empty() && took < LOOK_SECONDS;
                if !only_looked {
                    account.ran = true;
                    account.seconds = took;
                    if step {
                        self.events.emit(Event::StepRan {
                            digest: vertex.digest.clone(),
                            name: vertex.name.clone(),
                            seconds: account.seconds,
                            error: vertex.error.clone(),
                        });
                    }
                    if forbidden {
                        alarm = Some(Alarm::StepStarted { name: vertex.name.clone() });
                    }
                }
            }
        }
        inner.moved = Instant::now();
        if let (true, Some(donor)) = (failed, imported_from(&vertex.name)) {
            let (donor, error) = (donor.to_owned(), vertex.error);
            if !inner.accounts.failed_imports.iter().any(|(known, _)| *known == donor) {
                inner.accounts.failed_imports.push((donor.clone(), error.clone()));
                self.events.emit(Event::ImportFailed { donor: donor.clone(), error: error.clone() });
            }
            alarm = Some(Alarm::ImportFailed { donor, error });
        }
        if let Some(alarm) = alarm {
            self.raise(alarm);
        }
    }

    /// The first alarm stays.
    fn raise(&self, alarm: Alarm) {
        self.alarm.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(alarm);
            }
            first
        });
    }

    fn apply_status(&self, inner: &mut Inner, status: VertexStatus) {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let is_done = status.completed.is_some();
        let moved = match doing(&status.id) {
            Doing::Fetching(blob) => (!is_done && number(status.total) > LARGEST_DOCUMENT).then_some(blob),
            Doing::Pulling(blob) | Doing::Unpacking(blob) => Some(blob),
            _ => None,
        };
        if let Some(blob) = moved.filter(|_| inner.forbid_moves) {
            self.raise(Alarm::LayerMoves { blob: blob.to_owned() });
        }
        match doing(&status.id) {
            Doing::Fetching(digest) => {
                let blob = inner.accounts.blobs.entry(digest.to_owned()).or_default();
                let (bytes, total) = (number(status.current), number(status.total));
                if blob.started == 0.0 {
                    let started = status.started.as_ref().or(status.timestamp.as_ref());
                    blob.started = started.map(seconds).unwrap_or_default();
                }
                let advanced = bytes > blob.bytes;
                blob.bytes = blob.bytes.max(bytes);
                let arrived = blob.ended == 0.0 && is_done;
                if let (true, Some(completed)) = (arrived, &status.completed) {
                    blob.ended = seconds(completed);
                }
                let (blob, bytes) = (digest.to_owned(), blob.bytes);
                if !advanced && !arrived {
                    return;
                }
                self.events.emit(if arrived {
                    Event::BlobArrived { blob, bytes }
                } else {
                    Event::BlobAdvanced { blob, bytes, total }
                });
            }
            Doing::Pulling(digest) => {
                let blob = inner.accounts.blobs.entry(digest.to_owned()).or_default();
                blob.is_pulled = true;
                let times = [(&mut blob.started, &status.started), (&mut blob.ended, &status.completed)];
                for (known, told) in times {
                    *known = told.as_ref().map_or(*known, seconds);
                }
            }
            Doing::Unpacking(blob) => {
                let blob = blob.to_owned();
                match (inner.accounts.extractions.insert(blob.clone(), is_done), is_done) {
                    (None, false) => self.events.emit(Event::ExtractionStarted { blob }),
                    (None | Some(false), true) => self.events.emit(Event::ExtractionEnded { blob }),
                    _ => {}
                }
            }
            Doing::Sending(name) if is_done => {
                let (name, bytes) = (name.to_owned(), number(status.current));
                self.events.emit(Event::ContextSent { name, bytes });
            }
            Doing::Sending(_) | Doing::Else => {}
        }
        inner.moved = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(time: &Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

#[cfg(test)]
#[path = "progress_recorded_tests.rs"]
mod recorded_tests;
#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
