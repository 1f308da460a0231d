//! What buildx takes from its surroundings into a build, we take as well: it finds everything on the root that we warmed.

use std::fs;

use crate::support::World;
use crate::support::ground::{CACHE, ground};

/// A project whose steps depend on an argument, which nobody gives by a flag.
fn project(world: &World, steps: &str) -> std::path::PathBuf {
    let project = world.path("project");
    fs::create_dir_all(&project).unwrap();
    fs::write(project.join("Dockerfile"), format!("FROM busybox:1.35\n{steps}")).unwrap();
    project
}

/// Warms the project, and has buildx build it on a copy of the root from the same surroundings.
fn is_the_same_for_buildx(world: &World, project: &std::path::Path) {
    world.warm().source(["--context", project.to_str().unwrap()]).from([]).run().exits(0);
    let judged = world.judged_by_buildx(&world.root(), project, &[], "");
    assert_eq!((judged.ran, judged.fetched), (vec![], vec![]));
    world.smoke(&world.root(), project, &[]).exits(0);
}

#[test]
fn the_time_of_the_sources_is_an_argument_of_the_build() {
    let mut world = World::new();
    let project = project(&world, "WORKDIR /w\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH >/time\n");
    world.set("SOURCE_DATE_EPOCH", "86400");
    is_the_same_for_buildx(&world, &project);
    // Another time is another build.
    world.set("SOURCE_DATE_EPOCH", "0");
    world.smoke(&world.root(), &project, &[]).exits(5);
    world.smoke(&world.root(), &project, &["--build-arg", "SOURCE_DATE_EPOCH=86400"]).exits(0);
}

#[test]
fn the_proxies_of_dockers_configuration_are_arguments_of_the_build() {
    let mut world = World::new();
    let project = project(&world, "ARG HTTP_PROXY\nRUN echo \"p=$HTTP_PROXY\" >/proxy\n");
    let docker = world.path("docker");
    fs::create_dir(&docker).unwrap();
    let config = r#"{"proxies": {"default": {"httpProxy": "http://p:3128", "noProxy": "*.example"}}}"#;
    fs::write(docker.join("config.json"), config).unwrap();
    world.set("DOCKER_CONFIG", docker.to_str().unwrap());
    is_the_same_for_buildx(&world, &project);
    // An argument of the build's own wins, whatever its case.
    world.smoke(&world.root(), &project, &["--build-arg", "http_proxy="]).exits(5);
    fs::write(docker.join("config.json"), "{").unwrap();
    let run = world.smoke(&world.root(), &project, &[]).fails();
    assert!(run.stderr.contains("docker's configuration"), "{}", run.stderr);
}

/// What the machine's own daemon is told of registries counts for a daemon of ours and for our own questions.
#[test]
fn the_configuration_of_the_machine_is_taken_where_none_is_named() {
    let mut world = World::new();
    let port = ground().registry.address().port();
    let host = format!("registry.test:{port}");
    world.resolve("127.0.0.1", "registry.test");
    world.configure_builder(&format!("[registry.\"{host}\"]\n  http = true\n"));
    world.configure_machine();
    let cache = format!("{host}/{}:{}", CACHE.0, CACHE.1);
    let run = world.warm().from([&cache]).run().ends_warm();
    assert!(run.reports("/hit_rate") == 1.0, "{}", run.stdout);
    world.smoke(&world.root(), &ground().sample, &[]).exits(0);
    world.check(&world.root(), &["--cache-from", &cache]).exits(0);
}

#[test]
fn a_registry_without_tls_is_told_how_it_is_allowed() {
    let mut world = World::new();
    let host = format!("registry.test:{}", ground().registry.address().port());
    world.resolve("127.0.0.1", "registry.test");
    let cache = format!("{host}/{}:{}", CACHE.0, CACHE.1);
    let how = format!("write `http = true` under `[registry.\"{host}\"]` in /etc/buildkit/buildkitd.toml");
    world.warm().from([&cache]).run().blames(&["registry.test", "speaks no TLS", &how]);
}

#[test]
fn the_platform_of_dockers_variable_is_the_default_one() {
    let mut world = World::new();
    let project = world.path("project");
    fs::create_dir_all(&project).unwrap();
    fs::write(project.join("Dockerfile"), "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH/\n").unwrap();
    world.set("DOCKER_DEFAULT_PLATFORM", "linux/arm64");
    is_the_same_for_buildx(&world, &project);
    world.smoke(&world.root(), &project, &["--platform", "linux/amd64"]).exits(5);
    world.set("DOCKER_DEFAULT_PLATFORM", "a/b/c/d");
    let run = world.smoke(&world.root(), &project, &[]).exits(2);
    assert!(run.stderr.contains("DOCKER_DEFAULT_PLATFORM"), "{}", run.stderr);
}
