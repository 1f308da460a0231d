//! The example files for CI: their scripts do what they say, by docker's own client, buildx and a real buildkitd.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::ground::tool;
use crate::support::{Builder, World, ground};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packer/ci")
}

/// Runs one of the scripts in a checkout of the sample, with docker's client, buildx as its plugin, and cachewarm in PATH.
fn script(world: &World, name: &str, arguments: &[&str], variables: &[(&str, String)]) -> Output {
    let (checkout, bin) = (world.path("checkout"), world.path("bin"));
    if !checkout.exists() {
        crate::support::git::sample(&checkout);
        let bake = "target \"test\" {\n  dockerfile = \"Dockerfile\"\n  target = \"test\"\n}\n";
        fs::write(checkout.join("docker-bake.hcl"), bake).unwrap();
        fs::create_dir_all(world.path("docker/cli-plugins")).unwrap();
        symlink(tool("BUILDX"), world.path("docker/cli-plugins/docker-buildx")).unwrap();
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_cachewarm"), bin.join("cachewarm")).unwrap();
        // Stands in for Buildkite's agent: notes what the page would show.
        let agent = format!("#!/bin/sh\n{{ echo \"$@\"; cat; }} >{}\n", world.path("annotation").display());
        fs::write(bin.join("buildkite-agent"), agent).unwrap();
        Command::new("chmod").arg("+x").arg(bin.join("buildkite-agent")).status().unwrap();
    }
    let mut command = Command::new(examples().join(name));
    command.args(arguments).current_dir(checkout).env_clear();
    command.env("PATH", format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
    command.env("HOME", world.path("home")).env("DOCKER_CONFIG", world.path("docker"));
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").env("TMPDIR", world.path("tmp"));
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.output().unwrap()
}

#[test]
fn the_builder_of_the_machine_is_taken_where_it_listens() {
    let world = World::new();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    let there = [("BUILDKIT_SOCKET", builder.socket().display().to_string())];
    // Twice: a job finds what the one before it left.
    for _ in 0..2 {
        let made = script(&world, "builder.sh", &[], &there);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let current = fs::read_to_string(world.path("docker/buildx/current")).unwrap();
    let instance = fs::read_to_string(world.path("docker/buildx/instances/ci")).unwrap();
    assert!(current.contains("ci") && instance.contains("\"remote\"") && instance.contains(&there[0].1), "{instance}");

    // Without one a fresh container is asked for, which needs a Docker that is not here.
    let none = script(&world, "builder.sh", &[], &[("BUILDKIT_SOCKET", "/nowhere.sock".to_owned())]);
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(!none.status.success() && said.contains("cold cache") && said.contains("/nowhere/docker.sock"), "{said}");
}

#[test]
fn the_smoke_check_tells_the_page_and_fails_a_job_only_when_told_to() {
    let world = World::new();
    let context = ["--context", ground().sample.to_str().unwrap(), "--target", "test"];
    world.warm().source(context).run().exits(0);
    let mut settings = vec![
        ("CACHEWARM_ROOT", world.root().display().to_string()),
        ("CACHEWARM_BUILDER", format!("spawn:{}", tool("BUILDKITD").display())),
        ("CACHEWARM_BUILDKITD_CONFIG", world.config().display().to_string()),
        ("CACHEWARM_MANIFEST", world.path("manifest.json").display().to_string()),
        ("GITHUB_STEP_SUMMARY", world.path("summary.md").display().to_string()),
    ];
    let page = || fs::read_to_string(world.path("annotation")).unwrap();
    let warm = script(&world, "smoke.sh", &["test"], &settings);
    assert!(warm.status.success(), "{}", String::from_utf8_lossy(&warm.stderr));
    assert!(page().starts_with("annotate --style success") && page().contains("cachewarm smoke: warm"), "{}", page());
    assert!(fs::read_to_string(world.path("summary.md")).unwrap().contains("cachewarm smoke: warm"));
    // What is left in the checkout would be in the build that follows.
    let status =
        Command::new("git").args(["status", "--porcelain"]).current_dir(world.path("checkout")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "?? docker-bake.hcl\n");

    fs::write(world.path("checkout/csrc/kernel.c"), "int changed;\n").unwrap();
    let cold = script(&world, "smoke.sh", &["test"], &settings);
    assert!(cold.status.success(), "{}", String::from_utf8_lossy(&cold.stderr));
    assert!(page().starts_with("annotate --style warning"), "{}", page());
    assert!(page().contains("csrc/kernel.c has other content"), "{}", page());
    let strict = |mut settings: Vec<(&'static str, String)>| {
        settings.push(("CACHE_MUST_BE_WARM", "1".to_owned()));
        script(&world, "smoke.sh", &["test"], &settings).status.code()
    };
    assert_eq!(strict(settings.clone()), Some(5));
    // A machine whose image has no cache.
    settings[0].1 = "/nowhere".to_owned();
    assert!(script(&world, "smoke.sh", &["test"], &settings).status.success());
    assert!(page().contains("Nobody could tell"), "{}", page());
    assert_eq!(strict(settings), Some(3));
}

#[test]
fn the_pipelines_are_yaml_and_name_scripts_that_are_there() {
    let python = tool("MOTO_SERVER").with_file_name("python");
    for file in ["buildkite.yml", "github-actions.yml"] {
        let read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1])), default=str))";
        let read = Command::new(&python).args(["-c", read]).arg(examples().join(file)).output().unwrap();
        assert!(read.status.success(), "{file}: {}", String::from_utf8_lossy(&read.stderr));
        let text = String::from_utf8(read.stdout).unwrap();
        for script in ["packer/ci/builder.sh", "packer/ci/smoke.sh"] {
            assert!(text.contains(script), "{file} does not run {script}");
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(script).exists());
        }
    }
}
