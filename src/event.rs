//! What a step tells its listeners: plain data, emitted without ever blocking or failing.
//!
//! The engine knows no terminal. `cli` listens and draws, writes lines or JSON; `report` gets what the
//! engine returns, never what it emitted.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A phase of the run began ("source", "donors", "solve", "materialize", "verify", "prove").
    PhaseStarted { phase: &'static str },
    /// A phase of the run ended.
    PhaseEnded { phase: &'static str, seconds: f64 },
    /// Something the person should know and nothing is wrong with.
    Note { text: String },
    /// Something the person should look at.
    Warning { text: String },
    /// How many results there are to materialize.
    Planned { results: usize },
    /// One more result of the plan is present.
    Materialized { name: String },
    /// BuildKit found this step's result in a cache.
    StepHit { digest: String, name: String },
    /// A step is being executed because no cache had it.
    StepRunning { digest: String, name: String },
    /// A step that was executed ended; `error` is empty when it succeeded.
    StepRan { digest: String, name: String, seconds: f64, error: String },
    /// A line a running step wrote.
    StepLog { digest: String, line: String },
    /// A blob's download advanced; `bytes` of `total` (compressed) are here. `total` is 0 while unknown.
    BlobAdvanced { blob: String, bytes: u64, total: u64 },
    /// A blob is here.
    BlobArrived { blob: String, bytes: u64 },
    /// A layer is being unpacked.
    ExtractionStarted { blob: String },
    /// A layer is unpacked.
    ExtractionEnded { blob: String },
    /// So many `bytes` of `total`, compressed and unpacked, were held against what was recorded of them.
    Compared { bytes: u64, total: u64 },
    /// So many more files, of so many bytes, were searched for secrets.
    Searched { files: u64, bytes: u64 },
    /// Bytes of a build context that were sent to the builder.
    ContextSent { name: String, bytes: u64 },
    /// A cache import failed; BuildKit itself carries on as if nothing had happened.
    ImportFailed { donor: String, error: String },
    /// Nothing moved for this long; the solve is cancelled and asked again.
    Stalled { seconds: f64, attempt: u32 },
}

/// Events that wait for a listener at most. One that falls behind so far is stuck, because nobody reads what it writes.
const MOST: usize = 1 << 16;

/// Where steps emit to. Cloning it is cheap; nobody listening is fine, and neither is waited for nor kept for.
#[derive(Debug, Clone)]
pub(crate) struct Events(mpsc::Sender<Event>);

impl Events {
    /// A sink and the stream that a listener reads until the last clone of the sink is gone.
    pub(crate) fn channel() -> (Events, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(MOST);
        (Events(sender), receiver)
    }

    /// A sink nobody listens to.
    pub(crate) fn nobody() -> Events {
        Events::channel().0
    }

    /// Tells whoever listens.
    pub(crate) fn emit(&self, event: Event) {
        // A listener that went away, or is stuck, is not the engine's business.
        let _ = self.0.try_send(event);
    }

    /// Emits [`Event::Note`].
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note { text: text.into() });
    }

    /// Emits [`Event::Warning`].
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning { text: text.into() });
    }

    /// Emits the end of a phase.
    pub(crate) fn phase_ended(&self, phase: &'static str, took: Duration) {
        self.emit(Event::PhaseEnded { phase, seconds: took.as_secs_f64() });
    }
}
