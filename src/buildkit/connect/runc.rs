//! A stand-in for runc that runs the container of a `# syntax=` frontend and refuses every step.
//!
//! buildkitd calls the binary its configuration names as `… run --bundle DIR …`. A frontend's container has the id of its
//! build's session in the environment (`BUILDKIT_SESSION_ID`), a RUN step's does not: see `frontend/gateway/gateway.go` of
//! BuildKit. A Dockerfile can set that variable, but not to an id that begins with this process's token. The stand-in is our
//! own binary under another name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::buildkit::session::process_token;

/// The name under which our binary is a runc.
const NAME: &str = "cachewarm-runc";
/// Beside it, when the daemon's configuration names one: the real one.
const REAL: &str = "real-runc";
/// What BuildKit runs containers with unless told otherwise, in its order.
const USUAL: [&str; 2] = ["buildkit-runc", "runc"];
/// Beside it: the token that the ids of our sessions begin with.
const TOKEN: &str = "token";
const SESSION: &str = "BUILDKIT_SESSION_ID=";

#[derive(Deserialize)]
struct Bundle {
    process: Process,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    env: Vec<String>,
}

/// Puts a stand-in into a directory, and gives its path. `configured` is the runc of the daemon's configuration.
pub(super) fn install(directory: &Path, configured: Option<&str>) -> anyhow::Result<PathBuf> {
    if let Some(real) = configured {
        std::fs::write(directory.join(REAL), real).context("naming the real runc")?;
    }
    std::fs::write(directory.join(TOKEN), process_token()?).context("writing what frontends are known by")?;
    let stand_in = directory.join(NAME);
    let ourselves = std::env::current_exe().context("finding our own binary")?;
    std::os::unix::fs::symlink(ourselves, &stand_in).context("making a runc that refuses steps")?;
    Ok(stand_in)
}

/// Whether we were called as a runc.
pub(crate) fn is_stand_in(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Becomes the real runc, or refuses.
///
/// # Errors
/// Always: a success does not return.
pub(crate) fn stand_in(program: &OsStr, arguments: &[OsString]) -> anyhow::Error {
    if let Err(error) = allowed(program, arguments) {
        return error;
    }
    let configured = std::fs::read(Path::new(program).with_file_name(REAL)).ok();
    let names = match &configured {
        Some(name) => vec![OsStr::from_bytes(name)],
        None => USUAL.map(OsStr::new).to_vec(),
    };
    let mut error = anyhow::anyhow!("there is no runc");
    for name in names {
        error = anyhow::Error::new(Command::new(name).args(arguments).exec()).context("running runc");
    }
    error
}

/// Everything but running a step.
fn allowed(program: &OsStr, arguments: &[OsString]) -> anyhow::Result<()> {
    if !arguments.iter().any(|argument| argument == "run" || argument == "create") {
        return Ok(());
    }
    let bundle = arguments.iter().skip_while(|argument| *argument != "--bundle").nth(1).context("no --bundle")?;
    let config =
        std::fs::read(Path::new(bundle).join("config.json")).context("reading the container's configuration")?;
    let config: Bundle = serde_json::from_slice(&config).context("reading the container's configuration")?;
    let token = std::fs::read_to_string(Path::new(program).with_file_name(TOKEN))
        .context("reading what frontends are known by")?;
    ensure!(!token.is_empty(), "what frontends are known by is empty");
    let ours = |variable: &String| variable.strip_prefix(SESSION).is_some_and(|id| id.starts_with(&token));
    ensure!(config.process.env.iter().any(ours), "cachewarm: no step may run here");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(bundle: &Path) -> Vec<OsString> {
        ["--log", "x", "run", "--bundle"].iter().map(OsString::from).chain([bundle.into(), "id".into()]).collect()
    }

    #[test]
    fn a_frontend_of_our_sessions_may_run_and_nothing_else() {
        let (bundle, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let program = install(directory.path(), None).unwrap();
        let is_allowed = |env: &str| {
            let config = format!(r#"{{"process":{{"env":["PATH=/bin","{env}"]}}}}"#);
            std::fs::write(bundle.path().join("config.json"), config).unwrap();
            allowed(program.as_os_str(), &arguments(bundle.path())).is_ok()
        };
        let session = process_token().unwrap();
        assert!(is_allowed(&format!("BUILDKIT_SESSION_ID={session}abc")));
        for other in ["A=b", "BUILDKIT_SESSION_ID=", "BUILDKIT_SESSION_ID=abc", "BUILDKIT_FRONTEND_OPT_0=target=x"] {
            assert!(!is_allowed(other), "{other}");
        }
        assert!(!is_allowed(&format!("OTHER={session}")));
        assert!(allowed(program.as_os_str(), &["delete".into(), "id".into()]).is_ok());
        std::fs::write(directory.path().join(TOKEN), "").unwrap();
        assert!(!is_allowed(&format!("BUILDKIT_SESSION_ID={session}")));
    }
}
