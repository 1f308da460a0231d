//! What is built from: commits however they are named, and sources that cannot be had.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;

use crate::support::git::{git, sample};
use crate::support::process::{Process, command};
use crate::support::registry::free_address;
use crate::support::{Fault, Faults, World, ground, wait_until};

/// A repository with one file and this Dockerfile; its path.
fn repository(world: &World, name: &str, dockerfile: &str) -> PathBuf {
    let folder = world.path(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "content\n").unwrap();
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    git(&folder, ["init", "-q", "-b", "main"]);
    git(&folder, ["add", "-A"]);
    git(&folder, ["commit", "-q", "-m", "One file"]);
    folder
}

#[test]
fn a_commit_is_found_by_branch_tag_full_and_short_id() {
    let world = World::new();
    let folder = world.path("tagged");
    let commit = sample(&folder);
    git(&folder, ["tag", "-a", "-m", "One", "v1.0"]);
    git(&folder, ["checkout", "-q", "-b", "release/1"]);
    git(&folder, ["commit", "-q", "--allow-empty", "-m", "Later"]);
    git(&folder, ["checkout", "-q", "main"]);
    let url = format!("file://{}", folder.display());

    for rev in ["main", "v1.0", &commit, &commit[..9]] {
        let run = world.warm().source(["--repo", &url, "--rev", rev]).run().ends_warm();
        assert_eq!(run.reports("/source/commit"), commit.as_str(), "{rev}");
    }
    let run = world.warm().source(["--repo", &url, "--rev", "release/1"]).run().ends_warm();
    assert_eq!(run.reports("/source/commit"), git(&folder, ["rev-parse", "release/1"]));
}

#[test]
fn a_repository_may_be_served_by_git_itself() {
    let world = World::new();
    let address = free_address();
    let mut daemon = command("git");
    daemon.args(["daemon", "--export-all", "--listen=127.0.0.1", &format!("--port={}", address.port())]);
    daemon.arg(format!("--base-path={}", ground().sample.parent().unwrap().display()));
    let _daemon = Process::start(daemon);
    wait_until("git's daemon answers", 10, || TcpStream::connect(address).is_ok());

    let url = format!("git://{address}/sample");
    world.warm().source(["--repo", &url, "--rev", &ground().commit]).run().ends_warm();
}

#[test]
fn a_checkout_is_as_good_as_the_repository() {
    let world = World::new();

    let run = world.warm().source(["--context", ground().sample.to_str().unwrap()]).run().ends_warm();

    assert_eq!(run.reports("/hit_rate"), 1.0);
}

#[test]
fn submodules_are_there_when_they_are_asked_for() {
    let world = World::new();
    let part = repository(&world, "part", "FROM scratch\n");
    let whole = repository(&world, "whole", "FROM busybox:1.35\nCOPY part/file /\n");
    git(&whole, ["submodule", "add", "-q", &format!("file://{}", part.display()), "part"]);
    git(&whole, ["commit", "-q", "-m", "A part"]);
    let url = format!("file://{}", whole.display());

    world.warm().source(["--repo", &url, "--rev", "main"]).from([]).run().exits(4);
    let run = world.warm().source(["--repo", &url, "--rev", "main", "--submodules"]).from([]).run().exits(0);
    assert_eq!(run.reports("/verdict"), "warm");
}

#[test]
fn a_revision_that_is_not_there_is_named() {
    let world = World::new();
    let url = format!("file://{}", ground().sample.display());
    let run = world.warm().source(["--repo", &url, "--rev", "no-such-branch"]).run().exits(2);
    assert!(run.stderr.contains("no-such-branch"), "{}", run.stderr);
    world.built_nothing();
}

#[test]
fn a_repository_that_cannot_be_reached_is_named() {
    let world = World::new();
    let url = format!("http://{}/team/project.git", free_address());
    world.warm().source(["--repo", &url, "--rev", "main"]).run().blames(&[&url, "hint:"]);
    world.built_nothing();
}

#[test]
fn a_private_repository_says_how_to_log_in() {
    let world = World::new();
    let server = Faults::before(free_address());
    server.always("", Fault::Answer(401, "WWW-Authenticate: Basic realm=\"git\"\r\n", String::new()));
    let url = format!("http://{}/team/project.git", server.address());
    world.warm().source(["--repo", &url, "--rev", "main"]).run().blames(&[&url, "CACHEWARM_GIT_TOKEN"]);
    world.built_nothing();
}

#[test]
fn a_context_that_is_not_there_is_named() {
    let world = World::new();
    let run = world.warm().source(["--context", "/nowhere/at/all"]).run().exits(2);
    assert!(run.stderr.contains("/nowhere/at/all"), "{}", run.stderr);
}

#[test]
fn a_dockerfile_that_is_not_there_is_named() {
    let world = World::new();
    let run = world.warm().with(["--file", "docker/Dockerfile.cpu"]).run().exits(2);
    assert!(run.stderr.contains("docker/Dockerfile.cpu"), "{}", run.stderr);
    world.left_nothing_running();
}

#[test]
fn a_dockerfile_with_a_mistake_is_buildkits_to_explain() {
    let world = World::new();
    let folder = repository(&world, "mistaken", "FROM busybox:1.35\nRUM true\n");
    let run = world.warm().source(["--context", folder.to_str().unwrap()]).from([]).run().exits(4);
    assert!(run.stderr.contains("RUM"), "{}", run.stderr);
    world.left_nothing_running();
}

#[test]
fn a_stage_that_is_not_there_is_named() {
    let world = World::new();
    let run = world.warm().with(["--target", "relase"]).run().exits(4);
    assert!(run.stderr.contains("relase"), "{}", run.stderr);
    world.left_nothing_running();
}

#[test]
fn a_step_that_fails_shows_what_it_said() {
    let world = World::new();
    let folder = repository(&world, "failing", "FROM busybox:1.35\nRUN echo the oven is cold; exit 7\n");
    let run = world.warm().source(["--context", folder.to_str().unwrap()]).from([]).run().exits(4);
    assert!(run.stderr.contains("the oven is cold"), "{}", run.stderr);
    world.left_nothing_running();
}

#[test]
fn the_line_that_takes_git_into_the_build_is_named() {
    let world = World::new();
    let dockerfile = "FROM busybox:1.35\nRUN --mount=type=bind,source=.git,target=/git ls /git >/list\n";
    let folder = repository(&world, "versioned", dockerfile);
    let run = world.warm().source(["--context", folder.to_str().unwrap()]).from([]).run();
    assert!(run.stderr.contains(".git") && run.stderr.contains('2'), "{}", run.stderr);
}

#[test]
fn a_build_argument_that_no_stage_takes_is_a_warning() {
    let world = World::new();
    let run = world.warm().with(["--build-arg", "PYTHN_VERSION=3.12"]).run().ends_warm();
    assert!(run.stderr.contains("PYTHN_VERSION"), "{}", run.stderr);
}

#[test]
fn a_bake_file_that_is_none_is_named() {
    let world = World::new();
    fs::write(world.path("bake.json"), "{\"target\": [").unwrap();
    let run = world.warm().from([]).with(["--bake", "bake.json"]).run().exits(2);
    assert!(run.stderr.contains("bake.json"), "{}", run.stderr);

    fs::write(world.path("bake.json"), r#"{"target": {"test": {"context": "."}}}"#).unwrap();
    let run = world.warm().from([]).with(["--bake", "bake.json", "--bake-target", "tets"]).run().exits(2);
    assert!(run.stderr.contains("tets") && run.stderr.contains("test"), "{}", run.stderr);
}

#[test]
fn a_setting_nobody_knows_is_named() {
    let world = World::new();
    fs::write(world.path("cachewarm.toml"), "buidler = \"spawn\"\n").unwrap();
    let run = world.warm().run().exits(2);
    assert!(run.stderr.contains("buidler") && run.stderr.contains("cachewarm.toml"), "{}", run.stderr);
}

#[test]
fn a_bake_file_may_be_written_by_powershell() {
    let world = World::new();
    let folder = repository(&world, "project", "FROM busybox:1.35\nRUN true\n");
    let text = format!(r#"{{"target": {{"default": {{"context": "{}"}}}}}}"#, folder.display());
    let utf16 = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
    for (mark, text) in
        [(&b"\xef\xbb\xbf"[..], text.as_bytes()), (&b"\xff\xfe"[..], &little[..]), (&b"\xfe\xff"[..], &big[..])]
    {
        fs::write(world.path("bake.json"), [mark, text].concat()).unwrap();
        let allow = format!("--allow=fs.read={}", folder.display());
        world.warm().source([]).from([]).with(["--bake", "bake.json", &allow]).run().exits(0);
    }
}
