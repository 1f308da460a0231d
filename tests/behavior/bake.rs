//! Bake files as they come from other machines, and what may be said beside them.

use std::fs;

use super::linked::judged;
use crate::support::World;
use crate::support::git::git;

#[test]
fn secrets_of_flags_go_with_a_bake_file() {
    let mut world = World::new();
    let project = world.path("project");
    fs::create_dir(&project).unwrap();
    let steps = "RUN --mount=type=secret,id=npm,required=true --mount=type=secret,id=own,required=true \
                 test \"$(cat /run/secrets/npm /run/secrets/own)\" = sesame-0123open-4567";
    fs::write(project.join("Dockerfile"), format!("FROM busybox:1.35\n{steps}\n")).unwrap();
    let bake = world.path("bake.json");
    let target = r#"{"target":{"default":{"context":"project","secret":["id=npm,env=ABSENT","id=own,env=OWN"]}}}"#;
    fs::write(&bake, target).unwrap();
    world.set("NPM_TOKEN", "sesame-0123");
    world.set("OWN", "open-4567");
    let source = ["--bake", bake.to_str().unwrap()];
    world.warm().source(source).from([]).run().exits(4);
    let run = world.warm().source(source).from([]).with(["--secret", "id=npm,env=NPM_TOKEN"]).run().exits(0);
    assert!(!run.stderr.contains("sesame") && !run.stdout.contains("sesame"));
}

#[test]
fn paths_of_the_machine_that_wrote_it_are_mapped_into_the_checkout() {
    let world = World::new();
    let project = world.path("project");
    fs::create_dir_all(project.join("app/docker")).unwrap();
    fs::write(project.join("app/docker/Dockerfile"), "FROM busybox:1.35\nCOPY file /\n").unwrap();
    fs::write(project.join("app/file"), "content\n").unwrap();
    git(&project, ["init", "--quiet"]);
    git(&project, ["add", "."]);
    git(&project, ["commit", "--quiet", "--message", "all"]);
    let bake = world.path("bake.json");
    let target = r#"{"context":"/builds/group/app/app","dockerfile":"/builds/group/app/app/docker/Dockerfile"}"#;
    fs::write(&bake, format!(r#"{{"target":{{"default":{target}}}}}"#)).unwrap();
    let repository = format!("file://{}", project.display());
    let source = ["--repo", &repository, "--bake", bake.to_str().unwrap()];
    let run = world.warm().source(source).from([]).run().exits(2);
    assert!(run.stderr.contains("--path-map FROM=TO"), "{}", run.stderr);
    let run = world.warm().source(source).from([]).with(["--path-map", "/builds/group/app=."]).run().exits(0);
    assert_eq!(run.reports("/targets/0/steps"), 2);
    let run = world.warm().source(source).from([]).with(["--path-map", "/build=."]).run().exits(2);
    assert!(run.stderr.contains("no path of the bake file is below /build"), "{}", run.stderr);
}

/// JSON that a person wrote is HCL to buildx: it evaluates texts, merges what comes twice, and reads numbers exactly.
#[test]
fn a_bake_file_that_nobody_printed_is_what_buildx_makes_of_it() {
    let world = World::new();
    let project = world.path("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("Dockerfile"), "FROM busybox:1.35\nARG X\nARG Y\nRUN echo \"$X $Y\" >/it\n").unwrap();
    let bake = world.path("bake.json");
    let args = |args: &str| format!(r#"{{"target":{{"default":{{"context":"project","args":{args}}}}}}}"#);
    let cases = [
        args(r#"{"X":"${upper(\"abc\")}"}"#),
        args(r#"{"X":1e3,"Y":1.50}"#),
        args(r#"{"X":12345678901234567890123}"#),
        r#"{"target":{"default":{"context":"project","args":{"X":"1"}},"default":{"args":{"Y":"2"}}}}"#.to_owned(),
    ];
    let call = || world.warm().source(["--bake", "bake.json"]).from([]);
    for text in &cases {
        fs::write(&bake, text).unwrap();
        let run = call().run().exits(2);
        for words in ["only buildx resolves", "neither docker buildx nor buildx is installed", "bake --print"] {
            assert!(run.stderr.contains(words), "{}", run.stderr);
        }
    }
    // A settings file that nobody named starts no program.
    world.install_buildx();
    fs::write(world.path("cachewarm.toml"), "bake = \"bake.json\"\n").unwrap();
    let run = world.warm().source([]).from([]).run().exits(2);
    assert!(run.stderr.contains("it has the key `default` twice"), "{}", run.stderr);
    // Nor does one that is no JSON at all.
    fs::write(&bake, "target \"default\" { context = \"project\" }\n").unwrap();
    let run = world.warm().source([]).from([]).run().exits(2);
    assert!(run.stderr.contains("it is not valid JSON"), "{}", run.stderr);
    fs::remove_file(world.path("cachewarm.toml")).unwrap();

    for text in &cases {
        fs::write(&bake, text).unwrap();
        call().run().exits(0);
        let judged = judged(&world, &[]);
        assert_eq!((judged.ran, judged.fetched), (vec![], vec![]), "{text}");
    }
}
