//! What is known of a run's vertices, blobs and layers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use super::vertex::{imported_from, is_internal};

/// Lines of a step's log that are kept for the report.
const LOG_TAIL_LINES: usize = 20;
/// Characters of a line of it; longer lines are cut.
const LOG_LINE_CHARACTERS: usize = 2_000;

/// What became of a vertex.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Account {
    /// As BuildKit shows it.
    pub(crate) name: String,
    /// It was executed.
    pub(crate) ran: bool,
    /// Some build found it in a cache, or inferred that it must be.
    pub(crate) cached: bool,
    /// An earlier round of the same run found it in a cache.
    pub(crate) was_found: bool,
    /// Its execution was begun, whatever came of it.
    pub(crate) tried: bool,
    /// How long its execution took.
    pub(crate) seconds: f64,
    /// Its error, unless that is only that somebody cancelled.
    pub(crate) error: Option<String>,
    /// The last lines it wrote.
    pub(crate) log: VecDeque<String>,
    pub(super) running: Option<Instant>,
    /// Since when it fetches a file or a repository, of which no progress is told.
    pub(super) fetching: Option<Instant>,
    pub(super) announced: bool,
    pub(super) told: bool,
    /// When each piece of its log was written, and to which of its streams.
    pub(super) logged: HashSet<(i64, i32, i64)>,
    pub(super) starts: HashSet<(i64, i32)>,
    /// Which of them was that of its execution, where only their number tells.
    pub(super) execution: Option<(i64, i32)>,
}

impl Account {
    /// Whether it is of the build itself, rather than of the frontend or a donor.
    pub(crate) fn is_of_build(&self) -> bool {
        !is_internal(&self.name) && imported_from(&self.name).is_none()
    }

    /// Keeps lines of its log, and gives them.
    pub(super) fn keep(&mut self, text: &str) -> Vec<String> {
        let lines: Vec<String> = text.lines().map(|line| line.chars().take(LOG_LINE_CHARACTERS).collect()).collect();
        for line in &lines {
            if self.log.len() == LOG_TAIL_LINES {
                self.log.pop_front();
            }
            self.log.push_back(line.clone());
        }
        lines
    }

    /// Whether it was being executed when it was last heard of.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

/// One blob's way here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Transferred {
    /// Compressed bytes, as far as told.
    pub(crate) bytes: u64,
    /// When it started and ended, by the builder's clock, in seconds.
    pub(crate) started: f64,
    /// See `started`; 0 while it is on its way.
    pub(crate) ended: f64,
    /// Whether it is a layer whose bytes nobody tells, and which is unpacked in one go.
    pub(crate) is_pulled: bool,
}

impl Transferred {
    /// Whether it came over the network, as opposed to being there already: that is told as started and ended at once.
    pub(crate) fn was_fetched(&self) -> bool {
        self.is_pulled || (self.bytes > 0 && self.ended != self.started)
    }
}

/// Everything the status streams said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    /// By vertex digest.
    pub(crate) vertices: HashMap<String, Account>,
    /// Blobs that were fetched, by digest.
    pub(crate) blobs: HashMap<String, Transferred>,
    /// Layers that were unpacked: blob digest, and whether it is done.
    pub(crate) extractions: HashMap<String, bool>,
    /// Cache imports that failed: the donor and BuildKit's words.
    pub(crate) failed_imports: Vec<(String, String)>,
    /// Warnings of the frontend.
    pub(crate) warnings: Vec<String>,
    /// Attempts that failed, or stood still, and were made again.
    pub(crate) failed_attempts: usize,
}

impl Accounts {
    /// When the first vertex was started, by the builder's clock: seconds and nanoseconds.
    pub(crate) fn begun(&self) -> Option<(i64, i32)> {
        self.vertices.values().flat_map(|account| &account.starts).min().copied()
    }

    /// Adds what was heard in an earlier round of the same run: what ran then is found now, and ran all the same.
    pub(crate) fn after(mut self, earlier: Accounts) -> Accounts {
        for (digest, before) in earlier.vertices {
            let account = self.vertices.entry(digest).or_default();
            account.was_found |= (before.cached && !before.ran) || before.was_found;
            if before.ran || account.name.is_empty() {
                *account = before;
            }
        }
        self.blobs.extend(earlier.blobs);
        self.extractions.extend(earlier.extractions);
        self.failed_attempts += earlier.failed_attempts;
        self
    }
}
