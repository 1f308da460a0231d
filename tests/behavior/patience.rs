//! What takes long is waited for, unless somebody says how long is too long.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::seal::server;
use crate::support::World;
use crate::support::faults::{Faults, Pace};

/// A project of one Dockerfile.
fn project(world: &World, dockerfile: &str) -> PathBuf {
    let project = world.path("project");
    fs::create_dir_all(&project).unwrap();
    fs::write(project.join("Dockerfile"), dockerfile).unwrap();
    project
}

/// A server that thinks longer before each of its answers than nothing may move.
fn slow(upstream: u16) -> Faults {
    let pace = Pace { latency: Duration::from_secs(3), bytes_per_second: None };
    Faults::listen(([127, 0, 0, 1], 0).into(), SocketAddr::from(([127, 0, 0, 1], upstream)), pace).unwrap()
}

const IMPATIENT: [&str; 2] = ["--stall-timeout", "1s"];

#[test]
fn files_and_repositories_of_a_slow_server_are_waited_for() {
    let world = World::new();
    let server = server(&world);
    let port = server.address().port();
    let slow = slow(port);
    let url = format!("http://{}", slow.address());
    let adds = format!("ADD {url}/file /file\nADD {url}/cgi-bin/git/repository.git /git\n");
    let project = project(&world, &format!("FROM busybox:1.35\n{adds}"));
    let source = ["--context", project.to_str().unwrap()];
    let run = world.warm().source(source).from([]).with(IMPATIENT).run().exits(0);
    assert!(!run.stderr.contains("nothing moved"), "{}", run.stderr);
    assert_eq!(run.reports("/verdict"), "warm");
}

#[test]
fn a_context_of_a_slow_server_is_waited_for() {
    let world = World::new();
    let server = server(&world);
    let port = server.address().port();
    let slow = slow(port);
    let bake = world.path("bake.json");
    let context = format!("http://{}/cgi-bin/git/repository.git", slow.address());
    fs::write(&bake, format!(r#"{{"target":{{"default":{{"context":"{context}"}}}}}}"#)).unwrap();
    let run = world.warm().source(["--bake", bake.to_str().unwrap()]).from([]).with(IMPATIENT).run().exits(0);
    assert!(!run.stderr.contains("nothing moved"), "{}", run.stderr);
}

#[test]
fn a_step_takes_as_long_as_it_may() {
    let world = World::new();
    let project = project(&world, "FROM busybox:1.35\nRUN sleep 6\n");
    let source = ["--context", project.to_str().unwrap()];
    let limited = ["--stall-timeout", "1s", "--step-timeout", "2s"];
    let run = world.warm().source(source).from([]).with(limited).run().exits(4);
    let word = "the step `[2/2] RUN sleep 6` did not end within 2 s (--step-timeout)";
    assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
    assert_eq!(world.running(), vec![]);
    let run = world.warm().source(source).from([]).with(IMPATIENT).run().exits(0);
    assert!(!run.stderr.contains("nothing moved"), "{}", run.stderr);
}
