//! Processes that never outlive their test: started by one thread that lives as long as the test process,
//! because the kernel's parent-death signal follows the thread that started a child.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type Order = (Command, Sender<io::Result<Child>>);

static KEEPER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = channel::<Order>();
    thread::spawn(move || {
        for (mut command, reply) in inbox {
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

/// A command for `program` that is killed when the test process ends.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts a command made by [`command`].
pub(crate) fn spawn(command: Command) -> Child {
    let (reply, answer) = channel();
    let what = format!("{command:?}");
    KEEPER.lock().unwrap().send((command, reply)).unwrap();
    answer.recv().unwrap().unwrap_or_else(|error| panic!("could not start {what}: {error}"))
}

/// A part that runs beside the test and is stopped with it.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a command made by [`command`].
    pub(crate) fn start(command: Command) -> Process {
        Process(spawn(command))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Ends it the hard way.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks it to end, and waits; the hard way after ten seconds.
    pub(crate) fn stop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        signal(self.0.id(), "TERM");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            pause();
        }
        self.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a signal by its name (`TERM`, `KILL`, `INT`); a process that is gone is fine.
pub(crate) fn signal(id: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, "--", &id.to_string()]).stderr(std::process::Stdio::null()).status();
}

/// Lets others go on for so many milliseconds: where a signal comes at any time, no event is waited for.
#[expect(clippy::disallowed_methods, reason = "the time is the test's input")]
pub(crate) fn after(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// Waits until `done` says so, and panics after `seconds`.
pub(crate) fn wait_until(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "waited {seconds} s in vain: {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "readiness of a foreign process can only be polled")]
fn pause() {
    thread::sleep(Duration::from_millis(50));
}

/// The processes that name something below `folder` on their command line or have it open: (id, command line).
pub(crate) fn using(folder: &Path) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(arguments) = fs::read(process.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let mut open = open.filter_map(|file| fs::read_link(file.path()).ok());
        let uses = names(&line, folder.to_str().unwrap()) || open.any(|path| path.starts_with(folder));
        if uses && id != std::process::id() {
            found.push((id, line));
        }
    }
    found
}

/// Whether a command line has this path, or one below it: `/worlds/1`, but not `/worlds/12`.
fn names(line: &str, path: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric() || "._-".contains(next));
    line.match_indices(path).any(|(at, _)| !goes_on(&line[at + path.len()..]))
}

/// Whether the command line of some process has this in it.
pub(crate) fn mentions(text: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| line.contains(text))
}

/// Unmounts everything below `folder`, innermost first.
pub(crate) fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let below =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| Path::new(path).starts_with(folder));
    for path in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["--lazy", path]).status();
    }
}
