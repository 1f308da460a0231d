//! What nobody is told: no secret in what is printed, on a command line, or in a file that is left.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::ecr::PASSWORD;
use crate::support::{Ecr, Fault, World, ground, wait_until};

/// Each secret of the run, and the form it travels in.
const SECRETS: [&str; 5] = [
    PASSWORD,
    "QVdTOjEyMzQ1Njc4OTAxMi1hdXRoLXRva2Vu",
    "wJalrXUtnFEMI/K7MDENG",
    "ghp_0123456789abcdef",
    "sesame-0123456789",
];

fn tells(text: &str) -> Option<&'static str> {
    SECRETS.into_iter().find(|secret| text.contains(secret))
}

/// The files below a folder that hold a secret.
fn telling(folder: &Path) -> Vec<String> {
    let patterns = SECRETS.iter().flat_map(|secret| ["-e", secret]);
    let found = Command::new("grep").args(["-rlaF"]).args(patterns).arg(folder).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The command lines of all processes.
fn command_lines() -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

#[test]
fn no_secret_is_printed_seen_in_a_process_list_or_left_in_a_file() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    world.set("CACHEWARM_GIT_TOKEN", "ghp_0123456789abcdef");
    world.set("SESAME", "sesame-0123456789");
    let context = world.path("context");
    crate::support::git::sample(&context);
    let dockerfile = fs::read_to_string(context.join("Dockerfile")).unwrap();
    let uses = "RUN --mount=type=secret,id=sesame wc -c /run/secrets/sesame >/count\n";
    fs::write(context.join("Dockerfile"), dockerfile + uses).unwrap();
    let largest = ground().registry.layers("team/sample", "cache").remove(0).0;
    ecr.front.times(1, &format!("GET {largest}"), Fault::StallAfter(1000));

    let warm = world.warm().source(["--context", context.to_str().unwrap()]).from([&ecr.donor()]);
    let warm = warm.with(["--secret", "id=sesame,env=SESAME", "-vvv", "--stall-timeout", "5s"]);
    let running = warm.start();
    wait_until("a blob is on its way", 60, || !ecr.front.requests(&format!("GET {largest}")).is_empty());
    let lines = command_lines();
    let run = running.ends().exits(0);

    assert_eq!(run.reports("/verdict"), "warm");
    assert_eq!(world.steps_run().len(), 1, "the step with the secret ran");
    for text in [&lines, &run.stdout, &run.stderr] {
        assert_eq!(tells(text), None, "{text}");
    }
    assert_eq!(telling(world.folder()), Vec::<String>::new());
    assert_eq!(fs::read_dir(world.path("home")).unwrap().count(), 0, "something was left in the home directory");
}

#[test]
fn a_secret_among_the_build_arguments_is_not_told_while_it_is_built_nor_afterwards() {
    let world = World::new();
    let context = world.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("file"), "a file\n").unwrap();
    let lines =
        "FROM busybox:1.35\nARG NPM_TOKEN\nCOPY file /home/$NPM_TOKEN/file\nRUN set -x; echo $NPM_TOKEN >/said\n";
    fs::write(context.join("Dockerfile"), lines).unwrap();
    let source = ["--context", context.to_str().unwrap(), "--build-arg", "NPM_TOKEN=sesame-0123456789"];
    let copied = "COPY file /home/(sha256:";

    let run = world.warm().source(source).from([]).with(["-vvv"]).run().exits(0);
    let report = run.reports("").to_string();
    for text in [&run.stdout, &run.stderr, &report] {
        assert_eq!(tells(text), None, "{text}");
    }
    assert!(run.stderr.contains(copied) && run.stderr.contains("echo (sha256:"), "{}", run.stderr);
    assert!(report.contains(copied), "{report}");
    // The argument is on that command line, and nowhere in what is left beside BuildKit's state.
    let left: Vec<_> = telling(world.folder())
        .into_iter()
        .filter(|path| !path.starts_with(&*world.root().to_string_lossy()))
        .collect();
    assert_eq!(left, Vec::<String>::new());

    fs::write(context.join("Dockerfile"), lines.to_owned() + "RUN echo $NPM_TOKEN; false\n").unwrap();
    let run = world.warm().source(source).from([]).run().exits(4);
    assert_eq!(tells(&(run.stdout + &run.stderr)), None);
}

#[test]
fn a_secret_in_an_address_is_not_repeated() {
    let world = World::new();
    let urls =
        ["http://user:sesame-0123456789@127.0.0.1:1/team/project.git", "x:sesame-0123456789@127.0.0.1/team/project"];
    for url in urls {
        let run = world.warm().source(["--repo", url, "--rev", "main"]).run().exits(3);
        assert_eq!(tells(&(run.stdout + &run.stderr)), None);
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let world = World::new();
    fs::write(world.path("left"), format!("\0\0{PASSWORD}\0")).unwrap();
    assert_eq!(telling(world.folder()), [world.path("left").to_str().unwrap()]);
}
