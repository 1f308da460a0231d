//! Progress as lines, for logs: each begins with the time since the start; totals come every few seconds at most.

use std::time::Duration;

use super::tally::Tally;
use super::{Listener, Moment, Screen};
use crate::event::Event;
use crate::report::words::{clean, phase_name, seconds};

/// The least time between two lines of totals.
const BETWEEN_TOTALS: Duration = Duration::from_secs(5);

/// Writes lines.
pub(super) struct Plain {
    screen: Screen,
    tally: Tally,
    totals_at: Duration,
    totals: String,
}

impl Plain {
    pub(super) fn new(screen: Screen) -> Plain {
        Plain { screen, tally: Tally::default(), totals_at: Duration::ZERO, totals: String::new() }
    }

    fn line(&self, at: Moment, text: &str) {
        self.screen.line(&format!("[{:7.1}s] {}", at.elapsed.as_secs_f64(), clean(text)));
    }

    /// The totals, if they differ from the last ones that were written.
    fn totals(&mut self, at: Moment) {
        self.totals_at = at.elapsed;
        let totals = self.tally.totals(at.elapsed).join(", ");
        if totals != self.totals {
            self.line(at, &totals);
            self.totals = totals;
        }
    }
}

impl Listener for Plain {
    fn see(&mut self, at: Moment, event: &Event) {
        if let Event::PhaseEnded { .. } = event {
            // Before the tally forgets what was under way.
            self.totals(at);
        }
        self.tally.see(at.elapsed, event);
        match event {
            Event::PhaseStarted { phase } => self.line(at, phase_name(phase)),
            Event::PhaseEnded { phase, seconds: took } => {
                self.line(at, &format!("{} took {}", phase_name(phase), seconds(*took)))
            }
            Event::Note { text } => self.line(at, &format!("note: {text}")),
            Event::StepRunning { name, .. } => self.line(at, &format!("runs: {name}")),
            Event::StepRan { name, seconds: took, error, .. } if error.is_empty() => {
                self.line(at, &format!("ran in {}: {name}", seconds(*took)));
            }
            Event::StepRan { name, seconds: took, error, .. } => {
                self.line(at, &format!("failed after {}: {name}: {error}", seconds(*took)));
            }
            Event::StepLog { digest, line } => {
                let step = self.tally.name_of(digest).map_or("step", stage_of).to_owned();
                self.line(at, &format!("  {step} | {line}"));
            }
            event => {
                if let Some(warning) = warning(event) {
                    self.line(at, &warning);
                }
            }
        }
    }

    fn tick(&mut self, at: Moment) {
        if at.elapsed.saturating_sub(self.totals_at) >= BETWEEN_TOTALS {
            self.totals(at);
        }
    }
}

/// What a person has to look at, if that is what happened.
pub(super) fn warning(event: &Event) -> Option<String> {
    let text = match event {
        Event::Warning { text } => text.clone(),
        Event::ImportFailed { donor, error } => format!("could not import from {donor}: {error}"),
        Event::Stalled { seconds: still, attempt } => {
            format!("nothing moved for {}; asking again (attempt {attempt})", seconds(*still))
        }
        _ => return None,
    };
    Some(format!("warning: {}", clean(&text)))
}

/// `build 2/4` of `[build 2/4] RUN make`; the whole name when it has no such head.
fn stage_of(name: &str) -> &str {
    name.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(name, |(stage, _)| stage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::recorded;

    #[test]
    fn a_log_tells_phases_steps_warnings_and_now_and_then_the_totals() {
        insta::assert_snapshot!(recorded::written(|screen| Box::new(Plain::new(screen))), @"
        [    0.0s] source
        [    1.2s] source took 1.2 s
        [    1.2s] materialize
        [    1.3s] warning: build arg UNUSED is consumed by no stage
        [    4.0s] runs: [build 2/2] RUN make
        [    4.5s]   build 2/2 | cc main.c
        [    6.2s] 0 of 3 results present, 1 hit, 1 running, 1 of 2 blobs, 50 MiB at 9.8 MiB/s, 8.2 s left, 0 layers unpacked
        [    8.0s] ran in 4.0 s: [build 2/2] RUN make
        [    8.2s] warning: could not import from r.example/c:next: not found
        [    8.3s] warning: nothing moved for 1m 00s; asking again (attempt 2)
        [    9.0s] 1 of 3 results present, 1 hit, 1 ran, 2 blobs, 130 MiB, 1 layer unpacked
        [    9.0s] materialize took 7.8 s
        ");
    }
}
