//! What the kernel does not let us see is never a yes: errors are injected into system calls, each kind of call and each
//! error, once or from some call on.
//!
//! `CACHEWARM_CAMPAIGN=500` makes that many runs of each test instead of a few.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::seal::{machine, warmed};
use super::seal_machine::checksum;
use crate::support::World;
use crate::support::ground::{ground, random, runs};
use crate::support::judge::{changed, copied};

const CALLS: [&str; 13] = [
    "openat",
    "openat2",
    "read",
    "pread64",
    "statx",
    "newfstatat",
    "fstat",
    "getdents64",
    "readlinkat",
    "readlink",
    "lseek",
    "flock",
    "ioctl",
];
const ERRORS: [&str; 6] = ["EIO", "EACCES", "EPERM", "EMFILE", "ENOSYS", "ENOMEM"];

/// The faults of a number of runs. They are the same in every campaign of that length, and differ in which call fails.
fn faults(few: u64) -> Vec<String> {
    let runs = runs(few);
    let mut random = random();
    let one = |run: u64| {
        // Early calls belong to the start of the process, and most of the interesting ones come late.
        let when = 1 << random(12);
        let (when, on) = (when + random(when), if random(2) == 0 { "" } else { "+" });
        let (call, error) = (CALLS[(run % CALLS.len() as u64) as usize], ERRORS[random(ERRORS.len() as u64) as usize]);
        format!("--inject={call}:error={error}:when={when}{on}")
    };
    (0..runs).map(one).collect()
}

/// A large file of a layer.
fn a_file(root: &Path) -> PathBuf {
    let store = root.join("runc-overlayfs/snapshots/snapshots");
    let find =
        Command::new("find").arg(store).args(["-type", "f", "-size", "+8k", "-print", "-quit"]).output().unwrap();
    PathBuf::from(String::from_utf8(find.stdout).unwrap().trim())
}

/// A check of the root, which is not warm, does not pass it whatever fails.
fn never_passes(world: &World, more: &[&str]) {
    world.check(&world.root(), more).exits(5);
    let root = world.root().display().to_string();
    let arguments: Vec<String> = ["check", "--root", &root].iter().chain(more).map(ToString::to_string).collect();
    for fault in faults(39) {
        let run = world.under(&[&fault], &arguments);
        assert!(run.code != Some(0), "{fault}: {}\n{}", run.stdout, run.stderr);
    }
}

#[test]
fn a_check_of_every_byte_never_passes_what_it_could_not_read() {
    let world = warmed();
    let file = a_file(&world.root());
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    never_passes(&world, &["--deep"]);
}

#[test]
fn a_check_never_passes_a_root_that_lacks_files() {
    let world = warmed();
    let file = a_file(&world.root());
    let store = world.root().join("runc-overlayfs/snapshots/snapshots");
    let number = file.strip_prefix(&store).unwrap().components().next().unwrap();
    fs::rename(store.join(number), world.path("away")).unwrap();
    never_passes(&world, &[]);
}

#[test]
fn a_machine_with_a_login_is_never_sealed_and_never_changed() {
    let world = warmed();
    let aws = "aws_secret_access_key = ghp_0123456789abcdef0123\n";
    let system =
        machine(&world, &[("home/ci/.aws/credentials", aws), ("var/lib/notes", aws), ("etc/a/b/c/d", "plain")]);
    let before = checksum(&system);
    for (run, fault) in faults(26).into_iter().enumerate() {
        let more: &[&str] = if run % 2 == 0 { &[] } else { &["--fix"] };
        let sealed = world.seal_under(&[&fault], &system, more);
        assert!(sealed.code != Some(0), "{fault} {more:?}: {}\n{}", sealed.stdout, sealed.stderr);
        assert!(!world.path("sealed.json").exists(), "{fault} {more:?}");
    }
    assert!(before == checksum(&system), "the machine was changed");
}

#[test]
fn smoke_never_passes_a_build_that_would_run_a_step_and_never_changes_the_root() {
    let world = warmed();
    fs::create_dir(world.path("edited")).unwrap();
    let context = copied(&ground().sample, &world.path("edited"));
    changed("vllm/serve.py")(&context);
    let before = checksum(&world.root());
    world.smoke(&world.root(), &context, &[]).exits(5);
    assert!(before == checksum(&world.root()), "the root was changed");
    for fault in faults(13) {
        let run = world.smoke_under(&[&fault], &world.root(), &context);
        assert!(run.code != Some(0), "{fault}: {}\n{}", run.stdout, run.stderr);
        assert!(before == checksum(&world.root()), "{fault}: the root was changed");
    }
}
