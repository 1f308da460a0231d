//! What buildx takes from its surroundings into a build, we take as well: it finds everything on the root that we warmed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::line;
use crate::support::World;
use crate::support::ground::{CACHE, buildx_source, ground};

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

/// Proxies may be of one daemon: the one that docker's client uses, by its contexts, variables and flags.
#[test]
fn the_proxies_are_those_of_the_daemon_that_docker_uses() {
    let mut world = World::new();
    let project = project(&world, "ARG HTTP_PROXY\nRUN echo \"p=$HTTP_PROXY\" >/proxy\n");
    let docker = world.path("docker");
    // printf foo | sha256sum, printf bar | sha256sum
    for (id, name, port) in [
        ("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "foo", 1),
        ("fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9", "bar", 2),
    ] {
        let folder = docker.join("contexts/meta").join(id);
        fs::create_dir_all(&folder).unwrap();
        let meta = format!(
            r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"tcp://127.0.0.1:{port}"}}}}}}"#
        );
        fs::write(folder.join("meta.json"), meta).unwrap();
    }
    let of = |daemon: &str, proxy: &str| format!(r#""{daemon}":{{"httpProxy":"http://{proxy}:1"}}"#);
    let proxies = [of("tcp://127.0.0.1:1", "foo"), of("tcp://127.0.0.1:2", "bar"), of("default", "usual")].join(",");
    let config = format!(r#"{{"currentContext":"foo","proxies":{{{proxies}}}}}"#);
    fs::write(docker.join("config.json"), config).unwrap();
    world.set("DOCKER_CONFIG", docker.to_str().unwrap());
    is_the_same_for_buildx(&world, &project);
    world.smoke(&world.root(), &project, &["--build-arg", "HTTP_PROXY=http://foo:1"]).exits(0);

    // Of the flags of docker itself, whose last word is the folder that is built.
    let called =
        |world: &World, flags: &[&str]| line::smoke(world, &[&["docker"], flags, &["build", "project"]].concat());
    called(&world, &[]).exits(0);
    called(&world, &["--context", "bar"]).exits(5);
    called(&world, &["--context=default"]).exits(5);
    called(&world, &["-H", "tcp://127.0.0.1:2"]).exits(5);
    world.set("DOCKER_CONTEXT", "bar");
    world.smoke(&world.root(), &project, &[]).exits(5);
    called(&world, &["-c", "foo"]).exits(0);
    is_the_same_for_buildx(&world, &project);
    world.smoke(&world.root(), &project, &["--build-arg", "HTTP_PROXY=http://bar:1"]).exits(0);
    // The daemon of the variable is that of its address, however it is written; it wins over contexts.
    world.set("DOCKER_HOST", "127.0.0.1:3");
    world.smoke(&world.root(), &project, &[]).exits(5);
    called(&world, &["-H", "127.0.0.1:1"]).exits(0);
    is_the_same_for_buildx(&world, &project);
    world.smoke(&world.root(), &project, &["--build-arg", "HTTP_PROXY=http://usual:1"]).exits(0);
    // Where docker's client finds no daemon, nobody knows whose proxies they are.
    let run = called(&world, &["--context", "absent"]).exits(2);
    assert!(run.stderr.contains("the docker context `absent`"), "{}", run.stderr);
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

/// A variable that buildx reads and we do not know may make CI's build another one than ours.
#[test]
fn every_variable_of_buildx_is_known() {
    let variable = regex::Regex::new("\"((?:BAKE|BUILDKIT|BUILDX|DOCKER|EXPERIMENTAL)_[A-Z_0-9]+)\"").unwrap();
    let ours = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/surroundings.rs")).unwrap();
    let names = |text: &str| variable.captures_iter(text).map(|name| name[1].to_owned()).collect::<BTreeSet<_>>();
    let known = names(&ours);
    let mut theirs = BTreeSet::new();
    let mut folders = vec![buildx_source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["hack", "tests", "vendor"].contains(&name) {
                folders.push(path);
            } else if name.ends_with(".go") && !name.ends_with("_test.go") {
                theirs.extend(names(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    // Docker's own, by which it tells a plugin who called it.
    theirs.remove("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND");
    assert!(theirs.contains("BUILDX_BUILDER"), "{theirs:?}");
    let unknown: Vec<_> = theirs.difference(&known).collect();
    assert!(unknown.is_empty(), "buildx has variables that src/cli/surroundings.rs does not: {unknown:?}");
}

#[test]
fn a_variable_that_would_make_another_build_is_refused() {
    let mut world = World::new();
    let project = project(&world, "RUN true\n");
    for (name, value) in [("BUILDX_DEFAULT_POLICY", "1"), ("BUILDX_SEND_GIT_QUERY_AS_INPUT", "true")] {
        world.set(name, "false");
        world.warm().source(["--context", project.to_str().unwrap()]).from([]).run().exits(0);
        world.unset(name);
        world.set(name, value);
        let run = world.warm().source(["--context", project.to_str().unwrap()]).from([]).run().exits(2);
        assert!(run.stderr.contains(name), "{}", run.stderr);
        world.unset(name);
    }
}
