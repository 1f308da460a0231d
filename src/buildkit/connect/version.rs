//! Of which version a BuildKit is that nobody builds with now: a binary, or whoever listens at the usual socket.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{CALL_TIMEOUT, USUAL_SOCKET, unix};
use crate::child;

/// A program that only says its version is quick.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest line that is taken for one with a version.
const LONGEST: usize = 4096;

/// What a buildkitd says of its version; one without a path is looked for in `PATH`.
///
/// # Errors
/// When it cannot be run, or says something else.
pub(crate) async fn program_version(program: &Path) -> anyhow::Result<String> {
    let mut command = tokio::process::Command::from(child::command(program));
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, command.output()).await.context("it did not end in time")??;
    let said = answer.stdout.get(..answer.stdout.len().min(LONGEST)).map(String::from_utf8_lossy).unwrap_or_default();
    // `buildkitd github.com/moby/buildkit v0.34.2 0123456789ab`
    match said.lines().next().unwrap_or_default().split(' ').collect::<Vec<_>>()[..] {
        ["buildkitd", _, version, ..] => Ok(version.to_owned()),
        _ => bail!("`--version` gives {:?}, as no buildkitd does", said.trim()),
    }
}

/// Where a buildkitd usually listens, and what the one there says of its version, if one does.
pub(crate) async fn usual_daemon() -> Option<(&'static str, String)> {
    if !Path::new(USUAL_SOCKET).exists() {
        return None;
    }
    let asked = async { super::version(unix::connect(USUAL_SOCKET.into()).await.ok()?).await.ok() };
    let version = tokio::time::timeout(CALL_TIMEOUT, asked).await.ok()??;
    Some((USUAL_SOCKET, version)).filter(|(_, version)| !version.is_empty())
}
