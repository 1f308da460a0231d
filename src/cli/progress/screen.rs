//! Standard error: whole lines, which never tear a live display apart.
//!
//! Progress, logging and errors all write here. What cannot be written is dropped: a run does not fail because
//! nobody reads what it says.

use std::io::{IsTerminal, Write};
#[cfg(test)]
use std::sync::Mutex;
use std::sync::{Arc, OnceLock};

use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::redact::Redactor;

/// Where talk goes. Clones are the same screen.
#[derive(Clone)]
pub(crate) struct Screen {
    lines: Lines,
    secrets: Arc<OnceLock<Redactor>>,
}

#[derive(Clone)]
enum Lines {
    /// Lines on standard error, around the bars of a live display if there are any.
    Stderr { bars: MultiProgress, json: bool },
    /// Lines kept for a test to read.
    #[cfg(test)]
    Recording(Written),
}

impl Screen {
    /// Standard error. `json`: every line that is not progress is wrapped in a JSON object as well.
    pub(crate) fn stderr(json: bool) -> Screen {
        // Hidden by indicatif itself where standard error is no terminal.
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Screen { lines: Lines::Stderr { bars, json }, secrets: Arc::default() }
    }

    /// Shows nothing of these secrets from now on. The first call counts.
    pub(crate) fn hide(&self, secrets: Redactor) {
        let _ = self.secrets.set(secrets);
    }

    /// What is hidden.
    pub(crate) fn secrets(&self) -> Redactor {
        self.secrets.get().cloned().unwrap_or_default()
    }

    /// Whether a person may be looking at a live display.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(&self.lines, Lines::Stderr { bars, .. } if std::io::stderr().is_terminal() && !bars.is_hidden())
    }

    /// The bars of a live display.
    pub(crate) fn bars(&self) -> MultiProgress {
        match &self.lines {
            Lines::Stderr { bars, .. } => bars.clone(),
            #[cfg(test)]
            Lines::Recording(_) => MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
        }
    }

    /// Whether lines are JSON objects.
    pub(crate) fn is_json(&self) -> bool {
        match &self.lines {
            Lines::Stderr { json, .. } => *json,
            #[cfg(test)]
            Lines::Recording(_) => false,
        }
    }

    /// Writes a line, without the secrets of the build.
    pub(crate) fn line(&self, line: &str) {
        let line = match self.secrets.get() {
            Some(secrets) if self.is_json() => secrets.json(line).into(),
            Some(secrets) => secrets.known_text(line),
            None => line.into(),
        };
        match &self.lines {
            Lines::Stderr { bars, .. } => bars.suspend(|| {
                // One write for the whole line, so that lines of other processes do not end up inside it.
                let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
            }),
            #[cfg(test)]
            Lines::Recording(written) => written.push(&line),
        }
    }

    /// Writes a line of the program's log, as an object where lines are objects.
    pub(crate) fn log(&self, line: &str) {
        if self.is_json() {
            self.line(&serde_json::json!({"event": "log", "text": line}).to_string());
        } else {
            self.line(line);
        }
    }

    /// A screen whose lines a test reads.
    #[cfg(test)]
    pub(crate) fn recording() -> (Screen, Written) {
        let written = Written::default();
        (Screen { lines: Lines::Recording(written.clone()), secrets: Arc::default() }, written)
    }
}

/// Lines that were written to a recording screen.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<String>>);

#[cfg(test)]
impl Written {
    fn push(&self, line: &str) {
        let mut text = self.0.lock().expect("no writer panicked");
        text.push_str(line);
        text.push('\n');
    }

    /// All of them.
    pub(crate) fn text(&self) -> String {
        self.0.lock().expect("no writer panicked").clone()
    }
}
