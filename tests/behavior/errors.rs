//! What a person is told when something is wrong: reading the snapshots is reading our manners.

use std::fs;

use crate::support::calls::Invocation;
use crate::support::{Run, World, donor, ground};

/// The closing words of a run that failed, with what differs from run to run replaced.
fn told(world: &World, run: &Run) -> String {
    let begins = run.stderr.find("error: ").unwrap_or_else(|| panic!("no error in:\n{}", run.stderr));
    let registry = ground().registry.address().to_string();
    let text = run.stderr[begins..].replace(world.folder().to_str().unwrap(), "WORLD").replace(&registry, "REGISTRY");
    let text = text.replace(crate::support::ground::folder().to_str().unwrap(), "SHARED");
    format!("exit {}\n{}", run.code.unwrap(), text)
}

/// Holds what a call tells against its snapshot.
macro_rules! tells {
    ($name:literal, $make:expr) => {{
        let world = World::new();
        let make: fn(&World) -> Invocation<'_> = $make;
        let run = make(&world).run();
        insta::assert_snapshot!($name, told(&world, &run));
    }};
}

#[test]
fn what_the_command_line_gets_wrong() {
    tells!("nothing_to_build", |world| world.warm().source([]));
    tells!("flag_unknown", |world| world.warm().with(["--buidler", "spawn"]));
    tells!("builder_is_no_address", |world| world.warm().builder("ftp://nowhere"));
    tells!("container_is_no_name", |world| world.warm().builder("docker-container://a/b"));
    tells!("donor_is_no_reference", |world| world.warm().from(["Not A Reference"]));
    tells!("hit_rate_over_one", |world| world.warm().with(["--min-hit-rate", "90"]));
    tells!("revision_unknown", |world| world.warm().source([
        "--repo",
        &format!("file://{}", ground().sample.display()),
        "--rev",
        "no-such-branch"
    ]));
}

#[test]
fn what_a_file_gets_wrong() {
    tells!("setting_unknown", |world| {
        fs::write(world.path("cachewarm.toml"), "buidler = \"spawn\"\n").unwrap();
        world.warm()
    });
    tells!("bake_file_malformed", |world| {
        fs::write(world.path("bake.json"), "{\"target\": [").unwrap();
        world.warm().from([]).with(["--bake", "bake.json"])
    });
    tells!("bake_target_unknown", |world| {
        fs::write(world.path("bake.json"), r#"{"target": {"test": {"context": "."}}}"#).unwrap();
        world.warm().from([]).with(["--bake", "bake.json", "--bake-target", "tets"])
    });
    tells!("dockerfile_missing", |world| world.warm().with(["--file", "docker/Dockerfile.cpu"]));
    tells!("stage_unknown", |world| world.warm().with(["--target", "relase"]));
}

#[test]
fn what_a_donor_gets_wrong() {
    tells!("donor_absent", |world| world.warm().from([&donor("absent")]));
    tells!("donor_is_no_cache", |world| {
        world.warm().from([&format!("{}/library/busybox:1.35", ground().registry.address())])
    });
    tells!("donor_unreachable", |world| world.warm().from(["127.0.0.1:1/team/sample:cache"]));
}

/// BuildKit sends the text of the Dockerfile along with its errors, as a header of the answer.
#[test]
fn an_error_arrives_however_long_the_dockerfile_is() {
    for (lines, first, code, words) in [
        (1, "FROM busybox:1.35\nCOPPY a /", 4, "dockerfile parse error on line 2: unknown instruction: COPPY"),
        (600, "FROM busybox:1.35\nCOPPY a /", 4, "dockerfile parse error on line 2: unknown instruction: COPPY"),
        (9_000, "FROM busybox:1.35\nRUN false", 4, "did not complete successfully: exit code: 1"),
        (9_000, "FROM absent:1\nRUN true", 3, "docker.io/library/absent:1"),
        (9_000, "FROM busybox:1.35\nCOPY absent /", 4, "\"/absent\": not found"),
    ] {
        let world = World::new();
        let project = world.path("project");
        std::fs::create_dir(&project).unwrap();
        std::fs::write(project.join("Dockerfile"), format!("{first}\n{}", "# pad pad pad\n".repeat(lines))).unwrap();
        let run = world.warm().source(["--context", project.to_str().unwrap()]).from([]).run().exits(code);
        assert!(run.stderr.contains(words), "{lines} lines: {}", run.stderr);
        for debug in ["code: '", "Status {", "status: '", "http2"] {
            assert!(!run.stderr.contains(debug), "{lines} lines: {}", run.stderr);
        }
    }
}

#[test]
fn what_a_builder_gets_wrong() {
    tells!("builder_unreachable", |world| world.warm().builder("unix:///nowhere/buildkitd.sock"));
    tells!("buildkitd_missing", |world| world.warm().builder("spawn:/nowhere/buildkitd"));
}
