//! git as a program, for what libgit2 cannot do: Git LFS, and ssh as a person has configured it.
//!
//! **Invariant:** it never asks: it has no terminal, and neither have the programs that it starts. It runs no hook, and its
//! standard output and error are files of ours.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Watch;
use crate::{child, foreign};

/// Bytes of what git says that are read, from its end.
const SAID: u64 = 64 * 1024;
/// Lines of it that a message has.
const LINES: usize = 5;
/// How often is looked whether anything arrived.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A command for git that asks nobody anything. ssh asks at the terminal of its session, whatever its input is; so it is given
/// a session that has none, and no program that asks in a window.
pub(super) fn command() -> Command {
    let mut git = child::bound("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "SSH_ASKPASS", "DISPLAY"] {
        git.env_remove(name);
    }
    git.envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", ""), ("SSH_ASKPASS_REQUIRE", "never"), ("LC_ALL", "C")]);
    git.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
    git
}

/// Runs git to its end, or until it is to stop. What it says goes to a file, and a number that changes as long as anything
/// arrives to `watch`. Gives what it said if it failed.
///
/// # Errors
/// When it cannot be run, and when it was stopped.
pub(super) fn run(
    mut git: Command,
    said: &Path,
    watch: &Watch,
    arrived: impl Fn() -> u64,
) -> anyhow::Result<Result<(), String>> {
    git.stdin(Stdio::null()).stderr(File::create(said)?);
    let mut running = git.spawn().context("could not start git")?;
    let (looked, last) = (Cell::new(Instant::now()), Cell::new(0));
    let ended = child::wait_unless(&mut running, || {
        if looked.get().elapsed() >= LOOK_EVERY {
            looked.set(Instant::now());
            let now = arrived();
            if last.replace(now) != now {
                watch.moved();
            }
        }
        watch.is_stopped()
    })?;
    if ended.context("it was stopped")?.success() {
        return Ok(Ok(()));
    }
    let mut said = File::open(said)?;
    let begin = said.metadata()?.len().saturating_sub(SAID);
    said.seek(SeekFrom::Start(begin))?;
    let said = foreign::read(said.take(SAID), SAID)?;
    Ok(Err(said_in(&String::from_utf8_lossy(&said))))
}

/// What git says beside its progress, in one line.
fn said_in(text: &str) -> String {
    let lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let progress = |line: &&str| ["%", "Enumerating ", "Total "].iter().any(|word| line.contains(word));
    let mut lines: Vec<&str> = lines.filter(|line| !progress(line)).take(LINES).collect();
    lines.dedup();
    lines.join("; ").replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_is_told_from_its_progress() {
        let text = "remote: Enumerating objects: 9, done.\nremote: Counting objects:  11% (1/9)\rremote: Counting objects: 100% (9/9)\nfatal: early EOF\n\nhint: again\n";
        assert_eq!(said_in(text), "fatal: early EOF; hint: again");
    }
}
