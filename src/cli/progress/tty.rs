//! The live display: one line of totals, and below it one line for each blob, layer and step under way.
//!
//! What the lines say is a pure function of the tally ([`frame`]); indicatif only keeps them in place, shortens them
//! to the terminal's width and hides them where there is no terminal. Warnings and notes scroll by above.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::tally::Tally;
use super::{Listener, Moment, Screen, plain};
use crate::event::Event;
use crate::report::words::{bytes, clean, duration, phase_name, seconds, short_digest};

/// Lines for things under way; more are counted in one line.
const LINES: usize = 12;
const BAR: usize = 20;

/// Draws.
pub(super) struct Tty {
    screen: Screen,
    bars: MultiProgress,
    rows: Vec<ProgressBar>,
    tally: Tally,
}

impl Tty {
    pub(super) fn new(screen: Screen) -> Tty {
        let bars = screen.bars();
        Tty { screen, bars, rows: Vec::new(), tally: Tally::default() }
    }

    fn draw(&mut self, lines: &[String]) {
        while self.rows.len() > lines.len() {
            if let Some(row) = self.rows.pop() {
                row.finish_and_clear();
                self.bars.remove(&row);
            }
        }
        while self.rows.len() < lines.len() {
            let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            self.rows.push(self.bars.add(ProgressBar::no_length().with_style(style)));
        }
        for (row, line) in self.rows.iter().zip(lines) {
            row.set_message(line.clone());
        }
    }
}

impl Listener for Tty {
    fn see(&mut self, at: Moment, event: &Event) {
        self.tally.see(at.elapsed, event);
        match event {
            Event::PhaseEnded { phase, seconds: took } => {
                self.screen.line(&format!("{} took {}", phase_name(phase), seconds(*took)))
            }
            Event::Note { text } => self.screen.line(&clean(text)),
            Event::StepRan { name, seconds: took, error, .. } => {
                let name = clean(name);
                self.screen.line(&match error.as_str() {
                    "" => format!("ran in {}: {name}", seconds(*took)),
                    error => format!("failed after {}: {name}: {}", seconds(*took), clean(error)),
                });
            }
            event => {
                if let Some(warning) = plain::warning(event) {
                    self.screen.line(&warning);
                }
            }
        }
    }

    fn tick(&mut self, at: Moment) {
        let lines = frame(&self.tally, at.elapsed);
        self.draw(&lines);
    }

    fn finish(&mut self, _at: Moment) {
        self.draw(&[]);
        let _ = self.bars.clear();
    }
}

/// The lines of the display at a moment.
fn frame(tally: &Tally, now: Duration) -> Vec<String> {
    let Some((phase, since)) = tally.phase else { return Vec::new() };
    let mut head = vec![format!("{} {}", phase_name(phase), duration(now.saturating_sub(since)))];
    head.extend(tally.totals(now));

    let steps = tally.steps.values().map(|step| {
        let (name, line) = (clean(&step.name), clean(&step.last_line));
        format!("  run     {:>8}  {name}{}{line}", age(now, step.since), if line.is_empty() { "" } else { "  | " })
    });
    let fetches = tally.downloads.iter().map(|(blob, download)| {
        let took = now.saturating_sub(download.since).as_secs_f64();
        let rate =
            if took >= 0.5 { format!("  {}/s", bytes((download.bytes as f64 / took) as u64)) } else { String::new() };
        let of = if download.total > 0 { format!(" of {}", bytes(download.total)) } else { String::new() };
        let bar = bar(download.bytes, download.total);
        format!(
            "  fetch   {:>8}  {}  {bar}  {}{of}{rate}",
            age(now, download.since),
            short_digest(blob),
            bytes(download.bytes)
        )
    });
    let unpacks = tally
        .extractions
        .iter()
        .map(|(blob, since)| format!("  unpack  {:>8}  {}", age(now, *since), short_digest(blob)));
    let mut rows: Vec<String> = steps.chain(unpacks).chain(fetches).collect();
    let more = rows.len().saturating_sub(LINES);
    if more > 0 {
        rows.truncate(LINES);
        rows.push(format!("  and {more} more"));
    }
    [head.join(", ")].into_iter().chain(rows).collect()
}

fn age(now: Duration, since: Duration) -> String {
    duration(now.saturating_sub(since))
}

/// A bar of fixed width; empty while the length is unknown.
fn bar(bytes: u64, total: u64) -> String {
    let share = if total == 0 { 0.0 } else { (bytes as f64 / total as f64).min(1.0) };
    let full = (share * BAR as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::recorded;

    #[test]
    fn what_is_under_way_has_a_line_each_below_the_totals() {
        let mut tally = Tally::default();
        for (at, event) in recorded::run().iter().filter(|(at, _)| *at < 5.0) {
            tally.see(Duration::from_secs_f64(*at), event);
        }
        insta::assert_snapshot!(frame(&tally, Duration::from_secs(5)).join("\n"), @"
        materialize 3.8 s, 0 of 3 results present, 1 hit, 1 running, 1 of 2 blobs, 50 MiB at 14 MiB/s, 5.9 s left, 0 layers unpacked
          run        1.0 s  [build 2/2] RUN make  | cc main.c
          unpack     1.9 s  sha256:a99000000000
          fetch      3.0 s  sha256:ba5e00000000  ██████░░░░░░░░░░░░░░  40 MiB of 120 MiB  13 MiB/s
        ");
    }

    #[test]
    fn many_blobs_do_not_fill_the_screen() {
        let mut tally = Tally::default();
        tally.see(Duration::ZERO, &Event::PhaseStarted { phase: "materialize" });
        for number in 0..40 {
            tally.see(Duration::ZERO, &Event::ExtractionStarted { blob: format!("sha256:{number}") });
        }
        let lines = frame(&tally, Duration::from_secs(1));
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (14, Some("  and 28 more")));
    }

    #[test]
    fn what_matters_scrolls_by_above() {
        insta::assert_snapshot!(recorded::written(|screen| Box::new(Tty::new(screen))), @"
        source took 1.2 s
        warning: build arg UNUSED is consumed by no stage
        ran in 4.0 s: [build 2/2] RUN make
        warning: could not import from r.example/c:next: not found
        warning: nothing moved for 1m 00s; asking again (attempt 2)
        materialize took 7.8 s
        ");
    }

    #[test]
    fn a_bar_is_never_more_than_full() {
        assert_eq!(bar(5, 10).chars().filter(|c| *c == '█').count(), 10);
        assert_eq!(bar(20, 10), "█".repeat(20));
        assert_eq!(bar(5, 0), "░".repeat(20));
    }
}
