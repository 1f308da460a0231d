//! Namespaces for a daemon of ours (unshare(1)): its mounts go with the last process that sees them, and its processes, those
//! of steps as well, go with the daemon, however that ends.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// How a program is started so that nothing of it outlives it, as far as we may do that here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Containment {
    /// It has its own mounts and processes, below a process that waits for it.
    Full,
    /// It has its own mounts.
    Mounts,
    /// It shares everything with us.
    None,
}

impl Containment {
    /// What stands before the program. It receives SIGTERM when the process that waits for it is killed.
    pub(crate) fn prefix(self) -> &'static [&'static str] {
        match self {
            Containment::Full => &[
                "unshare",
                "--mount",
                "--propagation=slave",
                "--pid",
                "--fork",
                "--kill-child=TERM",
                "--mount-proc",
                "--",
            ],
            Containment::Mounts => &["unshare", "--mount", "--propagation=slave", "--"],
            Containment::None => &[],
        }
    }
}

/// The best that is possible here. A container may forbid the mount of `/proc`, or all of it.
pub(crate) fn containment() -> Containment {
    static BEST: OnceLock<Containment> = OnceLock::new();
    let works = |containment: &Containment| {
        let [program, arguments @ ..] = containment.prefix() else { return true };
        super::command(program).args(arguments).arg("true").output().is_ok_and(|done| done.status.success())
    };
    let all = [Containment::Full, Containment::Mounts];
    *BEST.get_or_init(|| all.into_iter().find(works).unwrap_or(Containment::None))
}

/// A command for a program that asks nobody anything and ends when we are killed, and all that it started with it, as far as we
/// may do that here.
pub(crate) fn bound(program: &str) -> Command {
    const WITH_ALL: &[&str] = &[
        "setpriv",
        "--pdeathsig=KILL",
        "--",
        "unshare",
        "--mount",
        "--propagation=slave",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--",
    ];
    let prefix = match containment() {
        _ if !is_there("setpriv") => &[],
        Containment::Full => WITH_ALL,
        Containment::Mounts | Containment::None => WITH_US,
    };
    of_words(&[prefix, unattended(), &[program]].concat())
}

const WITH_US: &[&str] = &["setpriv", "--pdeathsig=TERM", "--"];

/// Whoever has a session of its own has no terminal, and so nobody to ask for a passphrase.
fn unattended() -> &'static [&'static str] {
    if is_there("setsid") { &["setsid"] } else { &[] }
}

/// A command for a program that leads to another place, asks nobody anything and ends when we are killed. It shares all with
/// us: podman knows its containers by the ids of their processes.
pub(crate) fn dialing(program: &str) -> Command {
    let prefix = if is_there("setpriv") { WITH_US } else { &[] };
    of_words(&[prefix, unattended(), &[program]].concat())
}

/// Whether a program can be started.
pub(crate) fn is_there(program: &str) -> bool {
    super::command(program).arg("--version").stdin(Stdio::null()).output().is_ok()
}

fn of_words(words: &[&str]) -> Command {
    let (program, arguments) = words.split_first().map_or(("", words), |(program, arguments)| (*program, arguments));
    let mut command = super::command(program);
    command.args(arguments);
    command
}
