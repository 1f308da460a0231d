//! Ends programs that we started, and the processes that those started.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// How often the processes are listed: one that is stopped starts no other, so that few rounds find all.
const ROUNDS: usize = 16;
/// How long a process that was killed may take to be gone.
const LONGEST_END: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
const STOP_IS_ASKED_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Asks a program to end. One that has ended is left alone: its id may be another's by now.
pub(crate) fn terminate(child: &mut Child) {
    signal(child, Signal::TERM);
}

/// Asks the programs that a process started to end; that process waits for them, and is not asked itself.
pub(crate) fn terminate_below(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        let parent = child.id();
        let is_direct = |id: u32| Stat::of(id).is_some_and(|stat| stat.parent == parent);
        let below = descendants(parent, &HashMap::new());
        below.iter().filter(|(id, _)| is_direct(*id)).for_each(|(_, process)| process.signal(Signal::TERM));
    }
}

/// Kills a program together with every process below it, and waits for it.
///
/// A daemon that is killed alone leaves the containers that it runs to the machine. All of them are stopped first, so that
/// none starts another one unseen.
pub(crate) fn kill_with_descendants(child: &mut Child) {
    if !signal(child, Signal::STOP) {
        return;
    }
    let mut below: HashMap<u32, Process> = HashMap::new();
    for _ in 0..ROUNDS {
        let fresh = descendants(child.id(), &below);
        if fresh.is_empty() {
            break;
        }
        for (id, process) in fresh {
            process.signal(Signal::STOP);
            below.insert(id, process);
        }
    }
    below.values().for_each(|process| process.signal(Signal::KILL));
    let _ = child.kill();
    let _ = child.wait();
    below.values().for_each(Process::wait);
}

/// Waits for a program. When `stop` says so it is killed with all that it started, and there is no status.
///
/// # Errors
/// When it cannot be waited for.
pub(crate) fn wait_unless(child: &mut Child, stop: impl Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let process = pidfd_open(id, PidfdFlags::empty())?;
    loop {
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        match poll(&mut ended, Some(&STOP_IS_ASKED_EVERY)) {
            Ok(0) | Err(Errno::INTR) if stop() => {
                kill_with_descendants(child);
                return Ok(None);
            }
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return child.wait().map(Some),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a signal to a program that has not been waited for; whether there is one.
fn signal(child: &mut Child, signal: Signal) -> bool {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    match (child.try_wait(), id) {
        (Ok(None), Some(id)) => kill_process(id, signal).is_ok(),
        _ => false,
    }
}

/// A process that is the same until it is signalled, whoever gets its id later.
struct Process(OwnedFd);

impl Process {
    fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// Waits until it is gone. One that hangs in the kernel is not waited for.
    fn wait(&self) {
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&LONGEST_END));
    }
}

/// What the kernel tells of a process in `/proc/ID/stat` (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    started: u64,
    is_zombie: bool,
}

impl Stat {
    fn of(id: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    /// The name, in parentheses, may have anything in it.
    fn parse(text: &str) -> Option<Stat> {
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Stat { parent, started, is_zombie: state == "Z" })
    }
}

/// The processes below one that are not known yet.
fn descendants(root: u32, known: &HashMap<u32, Process>) -> Vec<(u32, Process)> {
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: HashMap<u32, Stat> = ids.filter_map(|id| Some((id, Stat::of(id)?))).collect();
    let (mut below, mut next) = (HashSet::from([root]), vec![root]);
    while let Some(parent) = next.pop() {
        next.extend(all.iter().filter(|(id, stat)| stat.parent == parent && below.insert(**id)).map(|(id, _)| *id));
    }
    below.remove(&root);
    let opened = |id: u32| {
        let stat = all.get(&id).filter(|stat| !stat.is_zombie)?;
        let process = pidfd_open(Pid::from_raw(i32::try_from(id).ok()?)?, PidfdFlags::empty()).ok()?;
        // The descriptor is of the process that was listed.
        (Stat::of(id)?.started == stat.started).then_some((id, Process(process)))
    };
    below.into_iter().filter(|id| !known.contains_key(id)).filter_map(opened).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_program_goes_with_all_that_it_started() {
        let script = "sleep 60 & sh -c 'setsid sleep 60 & echo $!; wait' & wait";
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let inner: u32 = line.trim().parse().unwrap();
        assert!(Stat::of(inner).is_some());
        kill_with_descendants(&mut child);
        assert!(Stat::of(inner).is_none_or(|stat| stat.is_zombie));
        // It has been waited for, so nobody is signalled.
        assert!(!signal(&mut child, Signal::TERM));
    }

    #[test]
    fn only_what_a_process_started_is_asked_to_end() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo started; wait $!; exit 7"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        terminate_below(&mut child);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn a_program_is_waited_for_until_it_is_to_stop() {
        let start = |seconds| Command::new("sleep").arg(seconds).spawn().unwrap();
        assert!(wait_unless(&mut start("0.1"), || false).unwrap().unwrap().success());
        let mut child = start("60");
        assert_eq!(wait_unless(&mut child, || true).unwrap(), None);
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_name_with_a_parenthesis_is_no_trouble() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 7, started: 12345, is_zombie: false }));
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in ".{0,80}") {
            let _ = Stat::parse(&line);
        }
    }
}
