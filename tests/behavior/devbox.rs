//! The dev box: only the builder knows its disk. Its word is enough when it is asked again, the question is put as a later
//! build puts it, and all of the answer is heard.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::calls::donor;
use crate::support::cut::Cut;
use crate::support::docker::Version;
use crate::support::judge::{Judged, changed};
use crate::support::{Builder, Docker, Run, World, ground};

const LINE: &str = "confirmed by the builder; not read from disk";

/// A dockerd with nothing in it, and a clone of the sample.
fn machine(version: Version) -> (World, Docker, PathBuf) {
    let mut world = World::new();
    let docker = Docker::start(&world.path("docker"), version, ground().registry.address());
    world.set("DOCKER_HOST", &docker.host());
    let context = world.path("project");
    crate::support::git::sample(&context);
    (world, docker, context)
}

/// Its steps have no bridge to be on, and it finds nothing in caches of today's BuildKit.
fn flags(version: Version) -> &'static [&'static str] {
    match version {
        Version::V20 => &["--network", "none"],
        Version::V29 => &[],
    }
}

fn warm(world: &World, context: &Path, version: Version, more: &[&str]) -> Run {
    let context = context.to_str().unwrap();
    let run = world.warm().without_root().builder("docker").source([context, "--min-hit-rate", "0"]);
    flags(version).iter().chain(more).fold(run, |run, flag| run.with([flag])).run()
}

fn smoke(world: &World, context: &Path, version: Version) -> Run {
    world.smoke_with(context, &[&["--builder", "docker"], flags(version)].concat())
}

fn word_of_the_builder(run: Run) -> Run {
    let run = run.exits(0);
    assert_eq!((run.reports("/verdict"), run.reports("/proof/on")), ("warm".into(), "builder".into()));
    assert_eq!((run.reports("/layers"), run.reports("/reasons")), (json!(null), json!([])));
    assert!(run.stdout.contains(LINE), "{}", run.stdout);
    assert!(run.reports("/notes").to_string().contains("state root was not read"), "{}", run.reports("/notes"));
    run
}

fn a_build_after_it_runs_nothing(version: Version) {
    let (world, docker, context) = machine(version);
    let missed = smoke(&world, &context, version).exits(5);
    assert_eq!(missed.reports("/verdict"), "not-warm");

    word_of_the_builder(warm(&world, &context, version, &[]));

    let smoked = word_of_the_builder(smoke(&world, &context, version));
    assert_eq!(smoked.reports("/hit_rate"), 1.0);
    let again = warm(&world, &context, version, &["--prove", "disk"]).exits(5);
    assert_eq!((again.reports("/verdict"), again.reports("/proof/ran")), ("not-verified".into(), json!([])));
    assert!(again.reports("/reasons").to_string().contains("--prove=disk"), "{}", again.reports("/reasons"));
    let again = warm(&world, &context, version, &["--root", "/var/lib/buildkit"]).exits(5);
    assert_eq!(again.reports("/verdict"), "not-verified");
    assert_eq!(warm(&world, &context, version, &["--no-prove"]).exits(5).reports("/verdict"), "not-verified");

    Judged::of(&docker.build(&context, flags(version)).succeeded()).ran_only(&[]);
    changed("tests/test_kernel.py")(&context);
    let smoked = smoke(&world, &context, version).exits(5);
    let missed = smoked.reports("/steps").as_array().unwrap().iter().filter(|step| step["state"] == "miss").count();
    assert_eq!((smoked.reports("/verdict"), missed), ("not-warm".into(), 1));
}

#[test]
fn dockerd_29_is_warm_by_its_own_word() {
    a_build_after_it_runs_nothing(Version::V29);
}

#[test]
fn dockerd_20_is_warm_by_its_own_word() {
    a_build_after_it_runs_nothing(Version::V20);
}

/// An image that is nowhere but in dockerd, as `docker build -t` leaves one.
fn its_own_images_come_first(version: Version) {
    let (world, docker, context) = machine(version);
    docker.docker(&["pull", "busybox:1.35"]);
    docker.docker(&["tag", "busybox:1.35", "nowhere.invalid/team/base:1"]);
    fs::write(context.join("Dockerfile"), "FROM nowhere.invalid/team/base:1\nCOPY csrc /csrc\n").unwrap();
    let warm = |more: &[&str]| {
        let run = world.warm().without_root().builder("docker").from([]);
        more.iter().fold(run.source([]), |run, flag| run.with([flag])).run()
    };

    word_of_the_builder(warm(&[context.to_str().unwrap()]));

    word_of_the_builder(world.smoke_with(&context, &["--builder", "docker"]));
    Judged::of(&docker.build(&context, &[]).succeeded()).ran_only(&[]);
    let target = json!({ "target": { "default": { "context": context, "pull": true } } });
    fs::write(world.path("bake.json"), target.to_string()).unwrap();
    warm(&["--bake", "bake.json"]).blames(&["nowhere.invalid"]);
}

#[test]
fn the_images_of_dockerd_29_come_before_those_of_registries() {
    its_own_images_come_first(Version::V29);
}

#[test]
fn the_images_of_dockerd_20_come_before_those_of_registries() {
    its_own_images_come_first(Version::V20);
}

/// Its layers were fetched for an archive, and never unpacked: a build finds every step, and unpacks the last one's.
#[test]
fn what_a_builder_matches_and_does_not_have_is_not_warm() {
    let world = World::new();
    let root = world.path("elsewhere");
    let daemon = Builder::start(&world.path("daemon"), &root, &world.config());
    let context = world.path("project");
    crate::support::git::sample(&context);
    let cache = format!("type=registry,ref={}", donor("cache"));
    let archive = format!("type=oci,dest={}", world.path("archive.tar").display());
    daemon.build(&context, &["--import-cache", &cache, "--output", &archive]).succeeded();
    let tar = format!("type=tar,dest={}", world.path("layers.tar").display());
    let judged = world.judged_by_buildx(&root, &context, &["--output", &tar], "");
    assert!(judged.ran.is_empty() && !judged.extracted.is_empty(), "{judged:?}");

    let run = world.smoke_with(&context, &["--builder", &daemon.address()]).exits(5);

    let said = run.reports("/reasons").to_string();
    assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("not-warm".into(), 1.0.into()));
    assert!(said.contains("unpack"), "{said}");
}

/// Of the machine they own nothing but their home.
#[test]
fn a_member_of_dockers_group_warms_and_asks() {
    let (world, docker, context) = machine(Version::V29);
    let open = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(Path::new(docker.host().strip_prefix("unix://").unwrap()), 0o666);
    ["", "home", "tmp", "docker"].iter().for_each(|folder| open(&world.path(folder), 0o777));
    let chown = Command::new("chown").args(["-R", "65534:65534"]).arg(&context).status();
    assert!(chown.unwrap().success());
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let by = |command: &[&str]| {
        let arguments = [command, &["--builder", "docker", context.to_str().unwrap()]].concat();
        world.by(&nobody, &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()).exits(0)
    };

    let run = by(&["warm", "--cache-from", &donor("cache")]);
    assert!(run.stdout.contains(LINE) && run.stderr.contains("--manifest FILE"), "{}", run.stderr);
    assert!(by(&["smoke"]).stdout.contains(LINE));
}

#[test]
fn a_builder_that_does_not_say_all_is_not_believed() {
    let world = World::new();
    let daemon = Builder::start(&world.path("daemon"), &world.path("elsewhere"), &world.config());
    let cut = Cut::before(&daemon.socket(), &world.path("cut.sock"));
    let warm = || world.warm().without_root().builder(&cut.address()).run();
    word_of_the_builder(warm());
    cut.from(usize::MAX);
    word_of_the_builder(warm());

    let streams = cut.from(usize::MAX);
    for first in [streams / 2 + 1, streams * 3 / 4, streams - 3] {
        cut.from(first);
        let run = warm().fails();
        assert!(run.code != Some(5) || run.reports("/verdict") == "not-warm", "{}", run.stdout);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("ended before the build") || said.contains("did not say what became of"), "{said}");
    }
}
