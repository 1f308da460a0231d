//! A cachewarm that runs, and what became of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::{self, Process, wait_until};

/// A cachewarm that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(super) process: Process,
    pub(super) reported: PathBuf,
    pub(super) out: PathBuf,
    pub(super) err: PathBuf,
}

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        process::signal(self.id(), name);
    }

    /// Waits for its end; panics when it takes more than two minutes.
    pub(crate) fn ends(mut self) -> Run {
        let mut status = None;
        wait_until("cachewarm ends", 120, || {
            status = self.process.ended();
            status.is_some()
        });
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let report = fs::read(&self.reported).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
        Run { code: status.unwrap().code(), stdout: text(&self.out), stderr: text(&self.err), report }
    }
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it said.
    pub(crate) stderr: String,
    report: Option<serde_json::Value>,
}

impl Run {
    /// Panics unless it ended with this exit code.
    pub(crate) fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless it ended with exit code 3 (the environment), saying all of `words` on stderr.
    pub(crate) fn blames(self, words: &[&str]) -> Run {
        let run = self.exits(3);
        for word in words {
            assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
        }
        run
    }

    /// Panics when it ended with 0: whatever it is that went wrong, something is missing.
    pub(crate) fn fails(self) -> Run {
        assert_ne!(self.code, Some(0), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// A field of the JSON report, by its path: `/layers/total`. Null when there is none.
    pub(crate) fn reports(&self, pointer: &str) -> serde_json::Value {
        let report = self.report.as_ref().unwrap_or_else(|| panic!("no report; stderr:\n{}", self.stderr));
        report.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Panics unless it ended with 0, verdict warm and all of the sample's eleven layers extracted.
    pub(crate) fn ends_warm(self) -> Run {
        let run = self.exits(0);
        let layers = (run.reports("/layers/total"), run.reports("/layers/extracted"));
        assert_eq!((run.reports("/verdict"), layers), ("warm".into(), (11.into(), 11.into())));
        run
    }
}
