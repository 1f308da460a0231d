//! A stand-in for runc that runs the container of a `# syntax=` frontend and refuses every step.
//!
//! buildkitd calls the binary its configuration names as `… run --bundle DIR …`. A frontend's container has its
//! options in the environment (`BUILDKIT_FRONTEND_OPT_…`), a RUN step's has none: see `frontend/gateway/gateway.go`
//! of BuildKit. The stand-in is our own binary under another name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

/// The name under which our binary is a runc.
const NAME: &str = "cachewarm-runc";
/// Beside it, when the daemon's configuration names one: the real one.
const REAL: &str = "real-runc";
/// What BuildKit runs containers with unless told otherwise, in its order.
const USUAL: [&str; 2] = ["buildkit-runc", "runc"];
const FRONTEND_OPTION: &str = "BUILDKIT_FRONTEND_OPT_";

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
    if let Err(error) = allowed(arguments) {
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
fn allowed(arguments: &[OsString]) -> anyhow::Result<()> {
    if !arguments.iter().any(|argument| argument == "run" || argument == "create") {
        return Ok(());
    }
    let bundle = arguments.iter().skip_while(|argument| *argument != "--bundle").nth(1).context("no --bundle")?;
    let config =
        std::fs::read(Path::new(bundle).join("config.json")).context("reading the container's configuration")?;
    let config: Bundle = serde_json::from_slice(&config).context("reading the container's configuration")?;
    match config.process.env.iter().any(|variable| variable.starts_with(FRONTEND_OPTION)) {
        true => Ok(()),
        false => bail!("cachewarm: no step may run here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(bundle: &Path) -> Vec<OsString> {
        ["--log", "x", "run", "--bundle"].iter().map(OsString::from).chain([bundle.into(), "id".into()]).collect()
    }

    #[test]
    fn a_frontend_may_run_and_a_step_may_not() {
        let bundle = tempfile::tempdir().unwrap();
        let config = |env: &str| {
            std::fs::write(bundle.path().join("config.json"), format!(r#"{{"process":{{"env":[{env}]}}}}"#))
        };
        config(r#""PATH=/bin","BUILDKIT_FRONTEND_OPT_0=target=x""#).unwrap();
        assert!(allowed(&arguments(bundle.path())).is_ok());
        config(r#""PATH=/bin""#).unwrap();
        assert!(allowed(&arguments(bundle.path())).is_err());
        assert!(allowed(&["delete".into(), "id".into()]).is_ok());
    }
}
