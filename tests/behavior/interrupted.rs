//! Whenever it is interrupted, and however: no process goes on, and nothing of ours outlives the next run.
//!
//! `CACHEWARM_CAMPAIGN=100` interrupts that many runs at random points instead of a few.

use std::fs;
use std::path::Path;

use super::seal::{machine, warmed};
use crate::support::World;
use crate::support::ground::{ground, random, runs};
use crate::support::process::{self, after, wait_until};
use crate::support::run::Running;

/// The processes that have these words on their command line.
fn with(words: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(words)).collect()
}

/// A warm run whose step goes on for ever; `words` are on the step's command line.
fn endless(world: &World, words: &str) -> Running {
    let project = world.path("endless");
    fs::create_dir(&project).unwrap();
    let step = format!("while :; do : {words}; sleep 0.1; done");
    fs::write(project.join("Dockerfile"), format!("FROM busybox:1.35\nRUN {step}\n")).unwrap();
    let running = world.warm().source(["--context", project.to_str().unwrap()]).from([]).start();
    wait_until("the step runs", 60, || with(words).iter().any(|line| line.starts_with("/bin/sh -c while")));
    running
}

/// What a run left in the directories for temporary files and beside the root.
fn left(world: &World) -> Vec<String> {
    let folders = ["run", "tmp", ""].map(|name| world.path(name));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.trim_start_matches('.').starts_with("cachewarm-")).collect()
}

#[test]
fn two_signals_at_once_end_the_step_as_well() {
    for (number, pause) in [0, 10, 40].into_iter().enumerate() {
        let world = World::new();
        let words = format!("sesame-{}-{number}", std::process::id());
        let running = endless(&world, &words);
        running.signal("INT");
        after(pause);
        running.signal("INT");
        running.ends().exits(130);
        wait_until(&format!("{:?} end", with(&words)), 10, || with(&words).is_empty());
        world.left_nothing_running();
    }
}

#[test]
fn a_kill_ends_the_step_and_the_next_run_removes_what_it_left() {
    let world = World::new();
    let words = format!("sesame-{}-kill", std::process::id());
    endless(&world, &words).signal("KILL");
    wait_until("the step ends", 30, || with(&words).is_empty());
    assert!(!left(&world).is_empty(), "nothing was left to be removed");
    world.warm().run().ends_warm();
    assert_eq!(left(&world), Vec::<String>::new());
    world.left_nothing_running();
}

fn started(world: &World, system: &Path, which: u64) -> Running {
    match which {
        0 => world.warm().with(["--prove"]).start(),
        1 => world.smoke_starts(&world.root(), &ground().sample),
        _ => world.seal_starts(system, &["--fix"]),
    }
}

#[test]
fn nothing_outlives_the_run_after_one_that_was_interrupted_at_any_point() {
    let world = warmed();
    let system = machine(&world, &[("etc/hostname", "machine")]);
    let mut random = random();
    for number in 0..runs(12) {
        let (which, twice, delay) = (random(3), random(2) == 0, random(1200));
        let running = started(&world, &system, which);
        after(delay);
        if twice {
            running.signal("TERM");
            after(random(20));
            running.signal("INT");
        } else {
            running.signal("KILL");
        }
        running.ends();
        if number % 4 == 3 {
            let what = format!("run {number}: {which} after {delay} ms, twice: {twice}");
            wait_until("the daemons end", 30, || process::using(world.folder()).is_empty());
            // A seal that was killed after it had overwritten records is gone through to its end first, as warm and smoke say.
            let overwritten = world.root().join(".cachewarm-doomed").exists();
            if overwritten {
                world.seal(&system, &["--fix"]);
            }
            world.warm().run().ends_warm();
            assert_eq!(left(&world), Vec::<String>::new(), "{what}");
            world.left_nothing_running();
        }
    }
    assert!(process::using(world.folder()).is_empty());
}

/// Others have a `cachewarm-root`, and a lock of `flock(1)` beside it: a name is no proof that it is ours.
#[test]
fn what_has_a_name_and_a_lock_like_ours_is_not_ours() {
    let world = World::new();
    let root = world.path("cachewarm-root");
    let project = world.path("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    let others =
        [root.clone(), world.path("cachewarm-logs"), world.path("run/cachewarm-run"), world.path("tmp/cachewarm-x")];
    for path in &others {
        fs::create_dir(path).unwrap();
        fs::write(path.with_extension("lock"), "").unwrap();
        fs::write(path.join("theirs"), "").unwrap();
    }
    let call = |command: &str, more: &[&str]| world.on_root(command, &root, more);
    let project = project.to_str().unwrap();
    call("warm", &[project]).exits(0);
    call("warm", &[project]).exits(0);
    call("smoke", &[project]).exits(0);
    call("seal", &["--fix", "--system=none", "--marker=none"]).exits(0);
    for path in others {
        assert!(path.join("theirs").exists(), "{}", path.display());
    }
}
