//! Shows on standard error what the engine tells: live on a terminal, as lines or JSON elsewhere, or not at all.
//!
//! Each way is a [`Listener`]: it is told of events with the time they came at and writes through a [`Screen`], so
//! that it can be tested from a recorded stream. Nobody here asks the clock, and nothing that fails to be shown
//! fails the run.

mod json;
mod plain;
mod quiet;
mod screen;
mod tally;
mod tty;

use std::str::FromStr;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub(crate) use screen::Screen;

use crate::event::Event;

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `Tty` on a terminal, else `Plain`.
    Auto,
    /// A live display.
    Tty,
    /// Lines with the time since the start.
    Plain,
    /// One JSON object per line.
    Json,
    /// Warnings only.
    Quiet,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        match text {
            "auto" => Ok(Mode::Auto),
            "tty" => Ok(Mode::Tty),
            "plain" => Ok(Mode::Plain),
            "json" => Ok(Mode::Json),
            "quiet" => Ok(Mode::Quiet),
            _ => Err(format!("`{text}` is not a way to show progress")),
        }
    }
}

/// When something happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since the run began.
    pub(crate) elapsed: Duration,
    /// By the clock on the wall.
    pub(crate) wall: jiff::Timestamp,
}

/// Shows events.
pub(crate) trait Listener: Send {
    /// Something happened.
    fn see(&mut self, at: Moment, event: &Event);

    /// Time went by; called several times a second.
    fn tick(&mut self, _at: Moment) {}

    /// Nothing more will happen.
    fn finish(&mut self, _at: Moment) {}
}

/// The listener for a mode.
pub(crate) fn listener(mode: Mode, screen: &Screen) -> Box<dyn Listener> {
    let screen = screen.clone();
    match mode {
        Mode::Auto if screen.is_terminal() => Box::new(tty::Tty::new(screen)),
        Mode::Tty => Box::new(tty::Tty::new(screen)),
        Mode::Auto | Mode::Plain => Box::new(plain::Plain::new(screen)),
        Mode::Json => Box::new(json::Json::new(screen)),
        Mode::Quiet => Box::new(quiet::Quiet::new(screen)),
    }
}

/// Shows events until the last sink of them is gone.
pub(crate) async fn listen(mut events: mpsc::Receiver<Event>, mut listener: Box<dyn Listener>) {
    let start = Instant::now();
    let now = || Moment { elapsed: start.elapsed(), wall: jiff::Timestamp::now() };
    let mut ticks = tokio::time::interval(Duration::from_millis(125));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // A flood of events must not keep the display from being drawn.
            biased;
            _ = ticks.tick() => listener.tick(now()),
            event = events.recv() => match event {
                Some(event) => listener.see(now(), &event),
                None => break,
            },
        }
    }
    listener.finish(now());
}

#[cfg(test)]
mod recorded {
    //! A recorded run, and the lines a listener makes of it.

    use super::*;

    /// Seconds and what happened then.
    pub(super) fn run() -> Vec<(f64, Event)> {
        let digest = |name: &str| format!("sha256:{name:0<64}");
        let (base, app, make) = (digest("ba5e"), digest("a99"), digest("3a4e"));
        let (base, app) = (&base, &app);
        let make_name = "[build 2/2] RUN make".to_owned();
        vec![
            (0.0, Event::PhaseStarted { phase: "source" }),
            (1.2, Event::PhaseEnded { phase: "source", seconds: 1.2 }),
            (1.2, Event::PhaseStarted { phase: "materialize" }),
            (1.3, Event::Planned { results: 3 }),
            (1.3, Event::Warning { text: "build arg UNUSED is consumed by no stage".to_owned() }),
            (1.5, Event::StepHit { digest: base.clone(), name: "[base 1/1] FROM debian".to_owned() }),
            (2.0, Event::BlobAdvanced { blob: base.clone(), bytes: 8 << 20, total: 120 << 20 }),
            (2.0, Event::BlobAdvanced { blob: app.clone(), bytes: 1 << 20, total: 10 << 20 }),
            (3.0, Event::BlobAdvanced { blob: base.clone(), bytes: 40 << 20, total: 120 << 20 }),
            (3.0, Event::BlobArrived { blob: app.clone(), bytes: 10 << 20 }),
            (3.1, Event::ExtractionStarted { blob: app.clone() }),
            (4.0, Event::StepRunning { digest: make.clone(), name: make_name.clone() }),
            (4.5, Event::StepLog { digest: make.clone(), line: "cc \u{1b}[1mmain.c\u{1b}[0m".to_owned() }),
            (7.0, Event::BlobAdvanced { blob: base.clone(), bytes: 110 << 20, total: 120 << 20 }),
            (7.5, Event::BlobArrived { blob: base.clone(), bytes: 120 << 20 }),
            (7.6, Event::ExtractionEnded { blob: app.clone() }),
            (8.0, Event::StepRan { digest: make, name: make_name, seconds: 4.0, error: String::new() }),
            (8.1, Event::Materialized { name: "[base 1/1] FROM debian".to_owned() }),
            (8.2, Event::ImportFailed { donor: "r.example/c:next".to_owned(), error: "not found".to_owned() }),
            (8.3, Event::Stalled { seconds: 60.0, attempt: 2 }),
            (9.0, Event::PhaseEnded { phase: "materialize", seconds: 7.8 }),
        ]
    }

    pub(super) fn at(seconds: f64) -> Moment {
        let elapsed = Duration::from_secs_f64(seconds);
        let wall = jiff::Timestamp::from_millisecond(1_767_225_600_000 + elapsed.as_millis() as i64);
        Moment { elapsed, wall: wall.expect("it is a time") }
    }

    /// What a listener wrote, told of everything and ticking ten times a second.
    pub(super) fn written(make: impl FnOnce(Screen) -> Box<dyn Listener>) -> String {
        let (screen, written) = Screen::recording();
        let mut listener = make(screen);
        let mut events = run().into_iter().peekable();
        for tenth in 0..=100 {
            let now = f64::from(tenth) / 10.0;
            while let Some((when, event)) = events.next_if(|(when, _)| *when <= now + 0.001) {
                listener.see(at(when), &event);
            }
            listener.tick(at(now));
        }
        listener.finish(at(10.0));
        written.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;

    struct Counting(mpsc::UnboundedSender<&'static str>);

    impl Listener for Counting {
        fn see(&mut self, _at: Moment, _event: &Event) {
            self.0.send("seen").expect("the test listens");
        }

        fn finish(&mut self, _at: Moment) {
            self.0.send("finished").expect("the test listens");
        }
    }

    #[tokio::test]
    async fn every_event_is_seen_before_the_end() {
        let (events, stream) = Events::channel();
        for number in 0..1000 {
            events.note(number.to_string());
        }
        drop(events);
        let (sender, mut seen) = mpsc::unbounded_channel();
        listen(stream, Box::new(Counting(sender))).await;
        for _ in 0..1000 {
            assert_eq!(seen.recv().await, Some("seen"));
        }
        assert_eq!(seen.recv().await, Some("finished"));
    }
}
