//! What no two clones have alike is named before the build, and after a miss.

use std::fs;
use std::path::PathBuf;

use crate::support::World;
use crate::support::builder::Builder;
use crate::support::git::git;
use crate::support::ground::ground;
use crate::support::process::wait_until;

/// A repository of a project, and two clones of it.
fn clones(world: &World, dockerfile: &str, ignored: &str) -> (PathBuf, PathBuf) {
    let repository = world.path("project");
    fs::create_dir(&repository).unwrap();
    git(&repository, ["init", "--quiet"]);
    fs::write(repository.join("Dockerfile"), format!("FROM busybox:1.35\n{dockerfile}")).unwrap();
    fs::write(repository.join(".dockerignore"), ignored).unwrap();
    git(&repository, ["add", "."]);
    git(&repository, ["commit", "--quiet", "--message", "all"]);
    for name in ["one", "other"] {
        git(world.folder(), ["clone", "--quiet", "project", name]);
    }
    (world.path("one"), world.path("other"))
}

const WARNING: &str = "misses in every other clone: it takes .git from the context";

#[test]
fn steps_that_take_git_are_named_and_buildkit_runs_them_in_another_clone() {
    for (steps, ignored, takers) in [
        ("COPY . /app\n", "", &["COPY . /app"][..]),
        ("COPY ./ x/\nADD . .\n", "*.md\n", &["COPY ./ x/", "ADD . ."]),
        ("RUN --mount=target=/src ls -A /src\n", "", &["RUN --mount=target=/src ls -A /src"]),
        ("RUN --mount=source=.git,target=/git ls /git\n", "", &["RUN --mount=source=.git,target=/git ls /git"]),
        ("COPY .git* /app/\n", ".gitignore\n", &["COPY .git* /app/"]),
        ("COPY . /app\n", ".git\n", &[]),
        ("COPY . /app\n", "*\n!Dockerfile\n", &[]),
        ("COPY --exclude=.git . /app\n", "", &[]),
        ("COPY Dockerfile /.git\nRUN --mount=source=Dockerfile,target=/d cat /d\n", "", &[]),
    ] {
        let world = World::new();
        let (one, other) = clones(&world, steps, ignored);
        let run = world.warm().source(["--context", one.to_str().unwrap()]).from([]).run().exits(0);
        let warned: Vec<&str> = run.stderr.lines().filter(|line| line.contains(WARNING)).collect();
        assert_eq!(warned.len(), takers.len(), "{steps:?}: {}", run.stderr);
        for taker in takers {
            assert!(warned.iter().any(|line| line.contains(&format!("] {taker}`"))), "{taker}: {warned:?}");
        }
        let judged = world.judged_by_buildx(&world.root(), &other, &[], "");
        assert_eq!(judged.ran.is_empty(), takers.is_empty(), "{steps:?}: {:?}", judged.ran);
    }
}

#[test]
fn a_miss_because_of_git_is_said_to_be_one() {
    let world = World::new();
    let (one, other) = clones(&world, "COPY . /app\nRUN ls /app\n", "");
    let cache = format!("{}/team/clones:cache", ground().registry.address());
    let builder = Builder::start(&world.path("ci"), &world.path("ci/root"), &world.config());
    builder.build(&one, &["--export-cache", &format!("type=registry,mode=max,ref={cache}")]).succeeded();
    drop(builder);
    let run = world.warm().source(["--context", other.to_str().unwrap()]).from([&cache]).run().exits(5);
    assert_eq!(run.reports("/steps/1/reason/kind"), "git-mounted");
    // What is built on it is no second cause.
    assert_eq!(run.reports("/steps/2/reason/kind"), "below-a-miss");
    assert!(run.stdout.starts_with("hit rate   0 %: no step was found in the caches\n"), "{}", run.stdout);
    assert!(run.stdout.contains("and 1 step built on those:\n"), "{}", run.stdout);
    let run = world.smoke(&world.root(), &one, &["--manifest", "none"]).exits(5);
    assert_eq!(run.reports("/steps/1/reason/kind"), "git-mounted");
}

/// A log that is written into the context, say: what BuildKit was sent of it is not what the next build sends.
#[test]
fn a_file_that_changes_while_it_is_built_is_named_and_not_promised() {
    let warmed = |more: &[&'static str]| {
        let world = World::new();
        let project = world.path("project");
        fs::create_dir(&project).unwrap();
        fs::write(project.join("Dockerfile"), "FROM busybox:1.35\nCOPY . /app\nRUN sleep 3\n").unwrap();
        fs::write(project.join("log"), "one\n").unwrap();
        let source = ["--context", project.to_str().unwrap()];
        let running = more.iter().fold(world.warm().source(source).from([]), |it, flag| it.with([*flag])).start();
        wait_until("the step runs", 60, || !world.steps_run().is_empty());
        fs::write(project.join("log"), "two\n").unwrap();
        let run = running.ends();
        let word = "changed while they were built, so the next build may differ: log";
        assert!(run.stderr.contains(word) && run.stdout.contains(word), "{}\n{}", run.stderr, run.stdout);
        (world, project, run)
    };
    // The proof is sent the file as it is by then.
    let (world, project, run) = warmed(&[]);
    run.exits(5);
    assert_eq!(world.judged_by_buildx(&world.root(), &project, &[], "").ran.len(), 2);
    let (world, project, run) = warmed(&["--no-prove"]);
    run.exits(0);
    let manifest = fs::read_to_string(world.path("manifest.json")).unwrap();
    assert!(manifest.contains("f 0644 4 - log"), "{manifest}");
    world.smoke(&world.root(), &project, &[]).exits(5);
}
