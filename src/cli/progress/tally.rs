//! What events add up to at a moment: what is under way, what is done, how fast.
//!
//! Knows nothing of how it is shown. Events may come twice or in odd order (a solve that stalled is asked again), so
//! nothing here trusts that what began also ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::event::Event;
use crate::report::words::{bytes, count, duration};

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(5);

/// A download under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Download {
    /// Here so far.
    pub(super) bytes: u64,
    /// In all; 0 while unknown.
    pub(super) total: u64,
    /// When it was first heard of.
    pub(super) since: Duration,
}

/// A step under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Running {
    pub(super) name: String,
    pub(super) since: Duration,
    /// The last line it wrote.
    pub(super) last_line: String,
}

/// Everything so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The phase and when it began.
    pub(super) phase: Option<(&'static str, Duration)>,
    pub(super) downloads: BTreeMap<String, Download>,
    /// Layers being unpacked, and since when.
    pub(super) extractions: BTreeMap<String, Duration>,
    pub(super) steps: BTreeMap<String, Running>,
    planned: usize,
    present: usize,
    hits: BTreeSet<String>,
    ran: BTreeSet<String>,
    arrived: BTreeMap<String, u64>,
    extracted: BTreeSet<String>,
    contexts: BTreeMap<String, u64>,
    /// What was held against its record, and all there is; in bytes.
    compared: Option<(u64, u64)>,
    /// Files that were searched, and their bytes.
    searched: (u64, u64),
    samples: VecDeque<(Duration, u64)>,
}

impl Tally {
    /// Takes an event in.
    pub(super) fn see(&mut self, at: Duration, event: &Event) {
        match event {
            Event::PhaseStarted { phase } => self.phase = Some((phase, at)),
            Event::PhaseEnded { .. } => {
                self.phase = None;
                self.downloads.clear();
                self.extractions.clear();
                self.steps.clear();
            }
            Event::Planned { results } => self.planned += results,
            Event::Materialized { .. } => self.present += 1,
            Event::StepHit { digest, .. } => {
                self.hits.insert(digest.clone());
            }
            Event::StepRunning { digest, name } => {
                let running = Running { name: name.clone(), since: at, last_line: String::new() };
                self.steps.entry(digest.clone()).or_insert(running);
            }
            Event::StepLog { digest, line } => {
                if let Some(step) = self.steps.get_mut(digest) {
                    step.last_line.clone_from(line);
                }
            }
            Event::StepRan { digest, .. } => {
                self.steps.remove(digest);
                self.ran.insert(digest.clone());
            }
            Event::BlobAdvanced { blob, bytes, total } => {
                if !self.arrived.contains_key(blob) {
                    let since = self.downloads.get(blob).map_or(at, |download| download.since);
                    self.downloads.insert(blob.clone(), Download { bytes: *bytes, total: *total, since });
                    self.sample(at);
                }
            }
            Event::BlobArrived { blob, bytes } => {
                self.downloads.remove(blob);
                self.arrived.insert(blob.clone(), *bytes);
                self.sample(at);
            }
            Event::ExtractionStarted { blob } => {
                self.extractions.entry(blob.clone()).or_insert(at);
            }
            Event::ExtractionEnded { blob } => {
                self.extractions.remove(blob);
                self.extracted.insert(blob.clone());
            }
            Event::ContextSent { name, bytes } => {
                // Several chains may ask for the same context: the most that was sent at once is its size.
                let sent = self.contexts.entry(name.clone()).or_default();
                *sent = (*sent).max(*bytes);
            }
            Event::Compared { bytes, total } => self.compared = Some((*bytes, *total)),
            Event::Searched { files, bytes } => {
                self.searched.0 += files;
                self.searched.1 += bytes;
            }
            Event::Note { .. } | Event::Warning { .. } | Event::ImportFailed { .. } | Event::Stalled { .. } => {}
        }
    }

    /// The name of a step under way.
    pub(super) fn name_of(&self, digest: &str) -> Option<&str> {
        self.steps.get(digest).map(|step| step.name.as_str())
    }

    fn fetched(&self) -> u64 {
        self.arrived.values().sum::<u64>() + self.downloads.values().map(|download| download.bytes).sum::<u64>()
    }

    /// Bytes still to come, when every download says how long it is.
    fn missing(&self) -> Option<u64> {
        let each = self.downloads.values().map(|download| match download.total {
            0 => None,
            total => Some(total.saturating_sub(download.bytes)),
        });
        each.sum()
    }

    fn sample(&mut self, at: Duration) {
        if self.downloads.is_empty() {
            // A pause is not slowness.
            self.samples.clear();
            return;
        }
        let fetched = self.fetched();
        match self.samples.back_mut() {
            // Ten a second are enough, however many events there are.
            Some(last) if at.saturating_sub(last.0) < Duration::from_millis(100) => last.1 = fetched,
            _ => self.samples.push_back((at, fetched)),
        }
        while self.samples.len() > 2 && at.saturating_sub(self.samples[1].0) > WINDOW {
            self.samples.pop_front();
        }
    }

    /// Bytes per second lately; nothing while none are on their way.
    fn rate(&self, at: Duration) -> Option<f64> {
        let (since, before) = *self.samples.front()?;
        let took = at.saturating_sub(since).as_secs_f64();
        let moved = self.fetched().saturating_sub(before);
        (!self.downloads.is_empty() && took >= 0.5 && moved > 0).then(|| moved as f64 / took)
    }

    /// The totals, as parts of one line; none before there is something to count.
    pub(super) fn totals(&self, at: Duration) -> Vec<String> {
        let mut parts = Vec::new();
        if self.planned > 0 {
            parts.push(format!("{} of {} present", self.present, count(self.planned, "result")));
        }
        if !self.hits.is_empty() {
            parts.push(count(self.hits.len(), "hit"));
        }
        if !self.ran.is_empty() {
            parts.push(format!("{} ran", self.ran.len()));
        }
        if !self.steps.is_empty() {
            parts.push(format!("{} running", self.steps.len()));
        }
        if !self.arrived.is_empty() || !self.downloads.is_empty() {
            let known = self.arrived.len() + self.downloads.len();
            let of = if self.downloads.is_empty() { String::new() } else { format!("{} of ", self.arrived.len()) };
            let mut part = format!("{of}{}, {}", count(known, "blob"), bytes(self.fetched()));
            if let Some(rate) = self.rate(at) {
                part.push_str(&format!(" at {}/s", bytes(rate as u64)));
                if let Some(missing) = self.missing().filter(|missing| *missing > 0) {
                    let left = Duration::try_from_secs_f64(missing as f64 / rate).unwrap_or(Duration::MAX);
                    part.push_str(&format!(", {} left", duration(left)));
                }
            }
            parts.push(part);
        }
        if !self.extracted.is_empty() || !self.extractions.is_empty() {
            parts.push(format!("{} unpacked", count(self.extracted.len(), "layer")));
        }
        if let Some((compared, total)) = self.compared {
            parts.push(format!("{} of {} compared", bytes(compared), bytes(total)));
        }
        if self.searched.0 > 0 {
            parts.push(format!("{}, {} searched", count(self.searched.0 as usize, "file"), bytes(self.searched.1)));
        }
        if !self.contexts.is_empty() {
            parts.push(format!("context {}", bytes(self.contexts.values().sum())));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advanced(blob: &str, mebibytes: u64, total: u64) -> Event {
        Event::BlobAdvanced { blob: blob.to_owned(), bytes: mebibytes << 20, total: total << 20 }
    }

    fn totals_after(events: &[(u64, Event)], now: u64) -> String {
        let mut tally = Tally::default();
        for (at, event) in events {
            tally.see(Duration::from_secs(*at), event);
        }
        tally.totals(Duration::from_secs(now)).join(", ")
    }

    #[test]
    fn rate_and_time_left_follow_from_the_last_seconds() {
        let events = [(0, advanced("a", 0, 300)), (10, advanced("a", 50, 300)), (16, advanced("a", 106, 300))];
        assert_eq!(totals_after(&events, 17), "0 of 1 blob, 106 MiB at 8.0 MiB/s, 24.2 s left");
    }

    #[test]
    fn no_time_is_foretold_while_a_length_is_unknown() {
        let events = [(0, advanced("a", 0, 100)), (1, advanced("b", 10, 0)), (4, advanced("a", 30, 100))];
        assert_eq!(totals_after(&events, 4), "0 of 2 blobs, 40 MiB at 10 MiB/s");
    }

    #[test]
    fn a_blob_that_arrived_is_not_fetched_again_by_a_late_word_and_a_hit_counts_once() {
        let hit = Event::StepHit { digest: "h".to_owned(), name: "x".to_owned() };
        let arrived = Event::BlobArrived { blob: "a".to_owned(), bytes: 10 << 20 };
        let events = [(0, advanced("a", 5, 10)), (1, arrived), (2, advanced("a", 5, 10)), (2, hit.clone()), (3, hit)];
        assert_eq!(totals_after(&events, 3), "1 hit, 1 blob, 10 MiB");
    }

    #[test]
    fn nothing_is_said_before_there_is_something_to_count() {
        assert_eq!(totals_after(&[(0, Event::PhaseStarted { phase: "source" })], 60), "");
    }
}
