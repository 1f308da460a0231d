//! Which builder is meant where nobody names one: what docker buildx would use on this machine, by its own files.

use std::process::Command;

use crate::support::docker::Version;
use crate::support::ground::{mirror_config, tool};
use crate::support::{Builder, Docker, World, ground};

/// Has buildx make a builder, in the world's docker configuration; what is not made yet needs nothing to be there.
fn create(world: &World, arguments: &[&str]) {
    let mut buildx = Command::new(tool("BUILDX"));
    buildx.env("DOCKER_CONFIG", world.path("home/.docker")).envs(world.environment());
    let output = buildx.arg("create").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A world whose Docker is the shared one of today.
fn with_docker() -> (World, &'static Docker) {
    let mut world = World::new();
    let docker = Docker::shared(Version::V29);
    world.set("DOCKER_HOST", &docker.host());
    (world, docker)
}

#[test]
fn where_only_dockerd_is_it_is_the_builder() {
    let (world, docker) = with_docker();
    let run = world.warm().without_root().builder("auto").run().exits(0);
    let builder = (run.reports("/builder/kind"), run.reports("/builder/address"));
    assert_eq!(builder, ("docker".into(), docker.host().into()));
    assert!(run.stderr.contains("as docker buildx has it"), "{}", run.stderr);
    let run = world.smoke_with(&ground().sample, &[]).exits(0);
    assert_eq!((run.reports("/builder/kind"), run.reports("/proof/on")), ("docker".into(), "builder".into()));
}

#[test]
fn the_builder_that_was_chosen_in_buildx_is_taken() {
    let (mut world, docker) = with_docker();
    let daemon = Builder::start(&world.path("daemon"), &world.path("far"), &world.config());
    create(&world, &["--name=far", "--driver=remote", "--use", &daemon.address()]);
    create(&world, &["--name=near", "--driver=docker-container"]);
    let at = |world: &World, builder: &str| world.warm().without_root().builder(builder).run();

    let run = at(&world, "auto").exits(0);
    assert_eq!(run.reports("/builder/address"), daemon.address());
    assert!(run.stderr.contains("far of docker buildx, chosen by docker buildx use"), "{}", run.stderr);
    let smoked = world.smoke_with(&ground().sample, &[]).exits(0);
    assert_eq!(smoked.reports("/builder/address"), daemon.address());

    at(&world, "buildx://near").blames(&["buildx_buildkit_near0", "docker buildx inspect --bootstrap near"]);
    let config = mirror_config(&world.path("run"), ground().registry.address());
    docker.run_builder("buildx_buildkit_near0", Some(world.root().to_str().unwrap()), &config);
    world.set("BUILDX_BUILDER", "near");
    let run = at(&world, "auto");
    docker.docker(&["rm", "--force", "--volumes", "buildx_buildkit_near0"]);
    let run = run.ends_warm();
    assert_eq!(run.reports("/builder/address"), "docker-container://buildx_buildkit_near0");
    assert!(run.stderr.contains("BUILDX_BUILDER"), "{}", run.stderr);

    // The daemon's own, under the name of its context.
    assert_eq!(at(&world, "buildx://default").exits(0).reports("/builder/kind"), "docker");
}

#[test]
fn a_builder_of_buildx_that_cannot_be_one_is_refused_with_its_parts() {
    let (world, _docker) = with_docker();
    create(&world, &["--name=two", "--driver=remote", "tcp://127.0.0.1:1"]);
    create(&world, &["--name=two", "--append", "--driver=remote", "tcp://127.0.0.1:2"]);
    let run = |builder: &str| world.warm().without_root().builder(builder).run();
    let refused = run("buildx://two").exits(2);
    for words in ["two", "2 nodes", "tcp://127.0.0.1:1, tcp://127.0.0.1:2"] {
        assert!(refused.stderr.contains(words), "no `{words}` in {}", refused.stderr);
    }
    let refused = run("buildx://nobody").exits(2);
    assert!(refused.stderr.contains("docker buildx ls"), "{}", refused.stderr);
}
