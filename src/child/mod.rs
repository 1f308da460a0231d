//! The programs that we start: none of them gets the secrets of our environment, and no core file has those of our memory.

mod contained;
mod end;
mod path;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use contained::{Containment, bound, containment, dialing, is_there};
pub(crate) use end::{kill_with_descendants, terminate, terminate_below, wait_unless};
pub(crate) use path::with_safe_path;

/// The variables that no child gets. They are those of a process, not of one job.
static WITHHELD: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Withholds variables from every program that is started by [`command`] from now on. The first call counts.
pub(crate) fn withhold(names: BTreeSet<String>) {
    let _ = WITHHELD.set(names);
}

/// A command for a program that needs no secrets of ours. Credential helpers are no such programs: they may need any variable.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in WITHHELD.get().into_iter().flatten() {
        command.env_remove(name);
    }
    command
}

/// Lets no core file of this process be written: its memory has tokens. What cannot be limited stays as it is.
pub(crate) fn without_core() {
    // Children may raise their own limit again.
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let _ = setrlimit(Resource::Core, limit);
}

/// Lets this process have as many files open as it may: each level of a deep directory is one. What cannot be had stays as
/// it is.
pub(crate) fn with_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
