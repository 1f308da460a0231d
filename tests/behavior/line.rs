//! CI's own line after `--`: it builds what docker buildx builds of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::git::git;
use crate::support::ground::{buildx_source, mirror_config, tool};
use crate::support::{Builder, GitServer, Run, World, ground};

/// Our table, by the text of its source: each flag with the command that has it.
fn table() -> BTreeSet<(String, String)> {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/line/flags.rs")).unwrap();
    let row = regex("(?:flag|lettered)\\(\\s*\"([a-z-]+)\",(?:\\s*'.',)?\\s*(Build|Bake|Both|Docker),");
    let rows = row.captures_iter(&source).map(|row| (row[1].to_owned(), row[2].to_owned()));
    let commands = |on: &str| match on {
        "Build" => vec!["build"],
        "Bake" => vec!["bake"],
        "Both" => vec!["build", "bake"],
        _ => vec![],
    };
    rows.flat_map(|(name, on)| commands(&on).into_iter().map(move |of| (of.to_owned(), name.clone()))).collect()
}

fn regex(pattern: &str) -> regex::Regex {
    regex::Regex::new(pattern).unwrap()
}

#[test]
fn every_flag_of_buildx_is_known() {
    let known = table();
    let mut theirs = BTreeSet::new();
    for command in ["build", "bake"] {
        let help =
            Command::new(tool("BUILDX")).args([command, "--help"]).env("BUILDX_EXPERIMENTAL", "1").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let flag = regex("(?m)^ +(?:-., )?--([a-z-]+)");
        theirs.extend(flag.captures_iter(&help).map(|flag| (command.to_owned(), flag[1].to_owned())));
    }
    assert!(theirs.len() > 40, "{theirs:?}");
    // The help is silent about hidden flags; the source is not.
    let folder = buildx_source();
    let flag = regex("flags\\.[A-Za-z0-9]+\\((?:&legacyResourceValue\\{[^}]*\\}|[^\"\\n]*?),? ?\"([a-z-]+)\"");
    for command in ["build", "bake"] {
        let source = fs::read_to_string(folder.join(format!("commands/{command}.go"))).unwrap();
        let named = flag.captures_iter(&source).map(|flag| (command.to_owned(), flag[1].to_owned()));
        theirs.extend(named);
    }
    assert!(theirs.contains(&("build".to_owned(), "memory-swap".to_owned())), "{theirs:?}");
    let unknown: Vec<_> = theirs.difference(&known).collect();
    assert!(unknown.is_empty(), "buildx has flags that src/cli/line/flags.rs does not: {unknown:?}");
}

/// A project below the world's folder, with a Dockerfile of another name.
fn project(world: &World) {
    let folder = world.path("project");
    fs::create_dir_all(folder.join("docker")).unwrap();
    let dockerfile = "FROM busybox:1.35 AS base\nARG VERSION\nCOPY file /\nRUN echo $VERSION >/version\nFROM base AS test\nRUN true\n";
    fs::write(folder.join("docker/app.Dockerfile"), dockerfile).unwrap();
    fs::write(folder.join("file"), "content\n").unwrap();
}

/// `cachewarm smoke` with a line.
pub(super) fn smoke(world: &World, line: &[&str]) -> Run {
    called(world, &["smoke", "--manifest=none"], line)
}

/// `cachewarm warm` with a line.
fn warm(world: &World, line: &[&str]) -> Run {
    called(world, &["warm", &format!("--manifest={}", world.path("manifest.json").display())], line)
}

fn called(world: &World, command: &[&str], line: &[&str]) -> Run {
    let builder = [
        format!("--root={}", world.root().display()),
        format!("--builder=spawn:{}", tool("BUILDKITD").display()),
        format!("--buildkitd-config={}", world.config().display()),
        "--".to_owned(),
    ];
    let all = command.iter().map(ToString::to_string).chain(builder).chain(line.iter().map(ToString::to_string));
    world.by_line(&all.collect::<Vec<_>>())
}

#[test]
fn a_build_of_ci_is_warm_by_its_own_line() {
    let world = World::new();
    project(&world);
    let flags =
        ["--file=project/docker/app.Dockerfile", "--build-arg", "VERSION=1", "--target", "test", "--network=none"];
    let line = |more: &[&str]| {
        let start = [
            "DOCKER_BUILDKIT=1",
            "docker",
            "--context",
            "ci",
            "buildx",
            "build",
            "--allow=buildx.local.delete",
            "--push",
            "-t",
            "r.example/app:1",
            "--progress=plain",
        ];
        [&start, more, flags.as_slice(), &["project"]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let with = |more: &[&str]| line(more).clone();
    let words = with(&["--cache-from", "type=gha", "--cache-to=type=gha,mode=max"]);
    let run = warm(&world, &words.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    assert!(run.stderr.contains("type gha is left out"), "{}", run.stderr);
    assert_eq!(run.reports("/verdict"), "warm");
    let judged = world.judged_by_buildx(&world.root(), &world.path("project"), &flags, "");
    assert_eq!((judged.ran, judged.fetched), (vec![], vec![]));

    let words = with(&[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    smoke(&world, &words).exits(0);
    smoke(&world, &[&words[..], &["--build-arg=VERSION=2"]].concat()).exits(5);
    smoke(&world, &[&words[..], &["--no-cache"]].concat()).exits(5);
}

#[test]
fn a_line_that_cannot_be_honoured_is_refused() {
    let mut world = World::new();
    project(&world);
    let refused = |world: &World, line: &[&str], words: &[&str]| {
        let run = warm(world, line).exits(2);
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{}", run.stderr);
    };
    refused(&world, &["docker", "run", "x"], &["`run`"]);
    refused(&world, &["docker", "build", "--check", "project"], &["--check", "builds nothing"]);
    refused(&world, &["docker", "build", "-f", "-", "project"], &["standard input"]);
    refused(&world, &["docker", "build", "-"], &["standard input"]);
    refused(&world, &["docker", "build", "--ulimit", "nofiles=1", "project"], &["--ulimit of the line", "nofiles"]);
    world.set("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json");
    refused(&world, &["docker", "build", "project"], &["EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"]);
    world.unset("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY");
    world.set("CACHEWARM_BUILD_ARG", "VERSION=1");
    refused(&world, &["docker", "build", "project"], &["CACHEWARM_BUILD_ARG", "the line after --"]);
}

const HCL: &str = r#"
variable "VERSION" { default = "0" }
group "default" { targets = ["app"] }
target "base" { args = { VERSION = VERSION } }
target "app" {
  inherits = ["base"]
  context = "project"
  dockerfile = "docker/app.Dockerfile"
  tags = ["r.example/app"]
}
"#;

#[test]
fn a_bake_definition_is_resolved_by_the_buildx_that_is_here() {
    let mut world = World::new();
    project(&world);
    fs::write(world.path("docker-bake.hcl"), HCL).unwrap();
    // Docker is there in both cases, its plugin only in the second one.
    let line = ["docker", "buildx", "bake", "--set", "app.target=test", "--push", "app"];
    let run = warm(&world, &line).exits(2);
    for words in ["neither docker buildx nor buildx is installed", "docker buildx bake --print"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    world.install_buildx();
    world.set("VERSION", "7");
    let run = warm(&world, &line).exits(0);
    assert_eq!((run.reports("/verdict"), run.reports("/targets/0/name")), ("warm".into(), "app".into()));
    let flags = ["--file=project/docker/app.Dockerfile", "--build-arg=VERSION=7", "--target=test"];
    let judged = world.judged_by_buildx(&world.root(), &world.path("project"), &flags, "");
    assert_eq!((judged.ran, judged.fetched), (vec![], vec![]));
    smoke(&world, &line).exits(0);

    // The same by --bake, of several files and of compose's.
    fs::write(world.path("more.json"), r#"{"target": {"app": {"target": "test"}}}"#).unwrap();
    let compose = "services:\n  app:\n    build:\n      context: project\n      dockerfile: docker/app.Dockerfile\n      \
                   target: test\n      args: {VERSION: \"7\"}\n";
    fs::write(world.path("compose.yaml"), compose).unwrap();
    for bake in [&["--bake=docker-bake.hcl", "--bake=more.json"][..], &["--bake=compose.yaml"]] {
        world.smoke(&world.root(), Path::new("."), bake).exits(0);
    }
    world.unset("VERSION");
    world.smoke(&world.root(), Path::new("."), &["--bake=docker-bake.hcl", "--bake=more.json"]).exits(5);
    let run = warm(&world, &["docker", "buildx", "bake", "nosuch"]).exits(2);
    assert!(run.stderr.contains("nosuch"), "{}", run.stderr);
}

#[test]
fn a_bake_definition_of_a_private_repository_is_built_with_buildxs_token() {
    let mut world = World::new();
    let folder = world.path("web/r.git");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("docker-bake.json"), r#"{"target": {"app": {"context": "."}}}"#).unwrap();
    fs::write(folder.join("Dockerfile"), "FROM busybox:1.35\nCOPY . /app\n").unwrap();
    git(&folder, ["init", "-q", "-b", "main"]);
    git(&folder, ["add", "-A"]);
    git(&folder, ["commit", "-q", "-m", "One"]);
    let server = GitServer::behind_token(&world.path("web"), "T0k");
    let url = format!("{}#main", server.repository("r.git"));
    // buildx has a builder fetch the definition.
    let config = mirror_config(&world.path("run"), ground().registry.address());
    let builder = Builder::start(&world.path("other"), &world.path("other-root"), &config);
    world.install_buildx();
    let mut create = Command::new(tool("BUILDX"));
    create.args(["create", "--name=other", "--driver=remote", &builder.address()]).env("HOME", world.path("home"));
    assert!(create.env_remove("BUILDX_CONFIG").env_remove("DOCKER_CONFIG").output().unwrap().status.success());

    let line = ["docker", "buildx", "--builder", "other", "bake", &url, "app"];
    warm(&world, &line).exits(2);
    world.set("BUILDX_BAKE_GIT_AUTH_TOKEN", "T0k");
    let run = warm(&world, &line).exits(0);
    assert_eq!(run.reports("/source/commit"), git(&folder, ["rev-parse", "HEAD"]));
    assert!(!run.stderr.contains("T0k") && !run.stdout.contains("T0k"));
    smoke(&world, &line).exits(0);
}

#[test]
fn the_paths_of_a_line_lead_from_a_checkout() {
    let world = World::new();
    let repository = format!("--repo=file://{}", ground().sample.display());
    let run = called(&world, &["warm", "--manifest=none", &repository], &["docker", "build", "."]).exits(0);
    assert_eq!(run.reports("/source/commit"), ground().commit.as_str());
}

#[test]
fn what_buildx_wrote_needs_none() {
    let world = World::new();
    project(&world);
    let json = r#"{"target": {"app": {"context": "project", "dockerfile": "docker/app.Dockerfile"}}}"#;
    fs::write(world.path("docker-bake.json"), json).unwrap();
    warm(&world, &["docker", "buildx", "bake", "--load", "-f", "docker-bake.json", "app"]).exits(0);
    world.smoke(&world.root(), Path::new("."), &["--bake=docker-bake.json", "--bake-target=app"]).exits(0);
}

#[test]
fn no_program_is_started_from_where_others_can_put_one() {
    let mut world = World::new();
    project(&world);
    fs::write(world.path("docker-bake.hcl"), HCL).unwrap();
    let open = world.path("open");
    fs::create_dir(&open).unwrap();
    for folder in [world.folder(), &open] {
        fs::write(folder.join("buildx"), format!("#!/bin/sh\ntouch {}/started\n", world.folder().display())).unwrap();
        fs::set_permissions(folder.join("buildx"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    world.set("PATH", &format!(".::{}:/usr/sbin:/usr/bin:/sbin:/bin", open.display()));
    let run = warm(&world, &["buildx", "bake"]).exits(2);
    assert!(run.stderr.contains("neither docker buildx nor buildx is installed"), "{}", run.stderr);
    assert!(!world.path("started").exists());
}

#[test]
fn a_policy_of_the_line_is_one_that_is_off() {
    let world = World::new();
    project(&world);
    let line = |policy: &[&str]| {
        let build = ["docker", "buildx", "build", "-f", "project/docker/app.Dockerfile"];
        warm(&world, &[&build[..], policy, &["project"]].concat())
    };
    fs::write(world.path("project/docker/app.Dockerfile.rego"), "package docker\n").unwrap();
    let run = line(&[]).exits(2);
    assert!(run.stderr.contains("app.Dockerfile.rego lies beside its Dockerfile"), "{}", run.stderr);
    line(&["--policy", "filename=other.rego"]).exits(2);
    line(&["--policy", "disabled=true"]).exits(0);
}
