//! Namespaces for a daemon of ours (unshare(1)): its mounts go with the last process that sees them, and its processes, those
//! of steps as well, go with the daemon, however that ends.

use std::process::Command;
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

/// A command for a program that ends when we are killed, and all that it started with it, as far as we may do that here.
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
    let has_setpriv = super::command("setpriv").arg("--version").output().is_ok_and(|done| done.status.success());
    let prefix = match containment() {
        _ if !has_setpriv => &[],
        Containment::Full => WITH_ALL,
        Containment::Mounts | Containment::None => &["setpriv", "--pdeathsig=TERM", "--"],
    };
    let mut words = prefix.iter().copied().chain([program]);
    let mut command = super::command(words.next().unwrap_or(program));
    command.args(words);
    command
}
