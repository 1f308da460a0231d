//! Why is it not warm? A project of ten stages, changed in one way after another: what smoke says of each step is what
//! buildx then does, and the reason names what was changed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::judge::{copied, step};
use crate::support::{Builder, Run, World, ground};

/// One change, and what is to be said of it.
struct Change {
    /// What it is.
    name: &'static str,
    /// Done to the project.
    edit: fn(&Path),
    /// Given to the build.
    flags: &'static [&'static str],
    /// The steps that would run, of which nothing below can be said; by what stands in brackets.
    missed: &'static [&'static str],
    /// The kind of the reason.
    kind: &'static str,
    /// What the reason names.
    names: &'static str,
}

fn change(name: &'static str) -> Change {
    Change { name, edit: |_| (), flags: &[], missed: &[], kind: "", names: "" }
}

impl Change {
    fn edit(self, edit: fn(&Path)) -> Change {
        Change { edit, ..self }
    }

    fn given(self, flags: &'static [&'static str]) -> Change {
        Change { flags, ..self }
    }

    fn misses(self, missed: &'static [&'static str], kind: &'static str, names: &'static str) -> Change {
        Change { missed, kind, names, ..self }
    }
}

/// A world whose root is warm for the project, and the project.
pub(crate) fn warmed() -> (World, PathBuf) {
    let world = World::new();
    let project = project(&world, "project");
    let source = ["--context", project.to_str().unwrap(), "--build-context", &shared(&project)];
    let run = world.warm().source(source).from([]).run().exits(0);
    assert_eq!(run.reports("/verdict"), "warm", "{}", run.stdout);
    (world, project)
}

/// The project in a folder of the world; its shared folder has something of git's.
pub(crate) fn project(world: &World, name: &str) -> PathBuf {
    let project = world.path(name);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stages");
    let copied = Command::new("cp").arg("-a").arg(fixture).arg(&project).status();
    assert!(copied.unwrap().success());
    fs::create_dir_all(project.join("shared/.git")).unwrap();
    fs::write(project.join("shared/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(project.join("shared/notes"), "notes\n").unwrap();
    let modes = Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&project).status();
    assert!(modes.unwrap().success());
    project
}

pub(crate) fn replaced(project: &Path, from: &str, to: &str) {
    let dockerfile = project.join("Dockerfile");
    let text = fs::read_to_string(&dockerfile).unwrap();
    assert!(text.contains(from), "the Dockerfile has no `{from}`");
    fs::write(dockerfile, text.replacen(from, to, 1)).unwrap();
}

/// The named context of a project.
pub(crate) fn shared(project: &Path) -> String {
    format!("shared={}", project.join("shared").display())
}

/// The steps in a state, by their names.
fn steps(run: &Run, state: &str) -> BTreeSet<String> {
    let steps = run.reports("/steps");
    let of_state = steps.as_array().unwrap().iter().filter(|step| step["state"] == state);
    of_state.map(|row| row["name"].as_str().unwrap().to_owned()).filter(|name| step(name).is_some()).collect()
}

/// What is wrong with what smoke says of a changed project: held against what buildx does, and its reasons against what
/// was changed.
fn amiss(world: &World, change: &Change) -> Vec<String> {
    let changed = project(world, "changed");
    (change.edit)(&changed);
    let shared = shared(&changed);
    let mut flags = vec!["--build-context", &shared];
    flags.extend(change.flags);
    let run = world.smoke(&world.root(), &changed, &flags);
    let judged = world.judged_by_buildx(&world.root(), &changed, &flags, "");
    fs::remove_dir_all(&changed).unwrap();

    let ran: BTreeSet<String> = judged.ran_by_name.into_iter().collect();
    let (hit, missed) = (steps(&run, "hit"), steps(&run, "miss"));
    let expected: BTreeSet<String> = change.missed.iter().map(ToString::to_string).collect();
    let mut amiss = Vec::new();
    let mut claim = |holds: bool, what: String| amiss.extend((!holds).then(|| format!("{}: {what}", change.name)));
    claim(missed.is_subset(&ran), format!("{missed:?} would run; buildx ran {ran:?}"));
    claim(hit.is_disjoint(&ran), format!("{hit:?} are here; buildx ran {ran:?}"));
    claim((run.code == Some(0)) == ran.is_empty(), format!("exit {:?}; buildx ran {ran:?}; {}", run.code, run.stderr));
    let missed: BTreeSet<String> = missed.iter().filter_map(|name| step(name)).collect();
    claim(missed == expected, format!("{missed:?} miss, {expected:?} should"));
    let steps = run.reports("/steps");
    let missed = steps.as_array().unwrap().iter().filter(|row| row["state"] == "miss");
    for reason in missed.filter(|row| step(row["name"].as_str().unwrap()).is_some()).map(|row| &row["reason"]) {
        let what = format!("{}\n{}", reason["what"], reason["detail"]);
        claim(reason["kind"] == change.kind, format!("the reason is {reason}"));
        claim(what.contains(change.names), format!("{what} does not name {}", change.names));
        claim(reason["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "no remedy".to_owned());
    }
    amiss
}

/// Makes all of the changes, one at a time, to what one root is warm for: smoke and the judge leave it as it is.
fn hold(changes: &[Change]) {
    let (world, _) = warmed();
    let amiss: Vec<String> = changes.iter().flat_map(|change| amiss(&world, change)).collect();
    assert!(amiss.is_empty(), "{}", amiss.join("\n"));
    world.left_nothing_running();
}

#[test]
fn lines_of_the_dockerfile() {
    hold(&[
        change("nothing"),
        change("a comment").edit(|project| replaced(project, "# Ten stages", "# 10 stages")),
        change("the name of a stage").edit(|project| {
            replaced(project, "--from=assets", "--from=static");
            replaced(project, "AS assets", "AS static")
        }),
        change("a command").edit(|project| replaced(project, "echo unnamed >/unnamed", "echo other >/unnamed")).misses(
            &["stage-8 1/1"],
            "command-changed",
            "echo unnamed >/unnamed → echo other >/unnamed",
        ),
        change("a command of several lines")
            .edit(|project| replaced(project, "echo base >/opt", "echo other >/opt"))
            .misses(&["base 3/3"], "command-changed", "+ echo other"),
        change("a file in the Dockerfile").edit(|project| replaced(project, "index\nEND", "other\nEND")).misses(
            &["docs 2/2"],
            "file-changed",
            "content",
        ),
        change("a variable").edit(|project| replaced(project, "CFLAGS=-O1", "CFLAGS=-O2")).misses(
            &["compile 2/2"],
            "argument-changed",
            "CFLAGS changed: -O1 → -O2",
        ),
        change("a variable less").edit(|project| replaced(project, "ENV CFLAGS=-O1\n", "")).misses(
            &["compile 2/2"],
            "argument-changed",
            "CFLAGS was dropped",
        ),
        change("the working directory").edit(|project| replaced(project, "WORKDIR /app", "WORKDIR /srv")).misses(
            &["base 2/3"],
            "workdir-changed",
            "/app → /srv",
        ),
        change("the user").edit(|project| replaced(project, "USER 1000", "USER 1001")).misses(
            &["final 9/9"],
            "user-changed",
            "1000 → 1001",
        ),
        change("a cache mount")
            .edit(|project| replaced(project, "target=/var/cache/tools", "target=/var/cache/other"))
            .misses(&["tools 2/2"], "mount-changed", "/var/cache/other"),
        change("the id of a cache mount").edit(|project| replaced(project, "id=deps", "id=other")),
        change("where a copy goes").edit(|project| replaced(project, "/docs/notes", "/docs/notes.txt")).misses(
            &["docs 1/2"],
            "copy-changed",
            "/docs/notes.txt",
        ),
        change("the mode of a copy").edit(|project| replaced(project, "--chmod=755", "--chmod=700")).misses(
            &["compile 1/2"],
            "copy-changed",
            "mode",
        ),
        change("what a copy leaves out")
            .edit(|project| replaced(project, "--exclude=*.tmp", "--exclude=*.bak"))
            .misses(&["docs 1/2"], "copy-changed", "*.tmp → *.bak"),
        change("where a copy is from")
            .edit(|project| replaced(project, "--from=lint /app/linted", "--from=deps /app/deps"))
            .misses(&["final 5/9"], "input-changed", "deps"),
        change("a new line")
            .edit(|project| replaced(project, "RUN echo unnamed", "RUN echo new >/new\nRUN echo unnamed"))
            .misses(&["stage-8 1/2"], "new-step", "no such step"),
        change("the network of a line")
            .edit(|project| replaced(project, "RUN echo unnamed", "RUN --network=none echo unnamed"))
            .misses(&["stage-8 1/1"], "network-changed", "none"),
    ]);
}

#[test]
fn flags_of_the_build() {
    hold(&[
        change("a build argument").given(&["--build-arg", "DEPS=2"]).misses(
            &["deps 2/2"],
            "argument-changed",
            "DEPS changed: 1 → 2",
        ),
        change("a build argument that nobody takes").given(&["--build-arg", "NOBODY=2"]),
        change("an image's other name").given(&["--build-arg", "BASE=docker.io/library/busybox:1.35"]),
        change("the network").given(&["--network", "none"]).misses(&["base 3/3"], "network-changed", "none"),
        change("the size of /dev/shm").given(&["--shm-size", "128m"]).misses(
            &["base 3/3"],
            "shm-size-changed",
            "134217728",
        ),
        change("a limit").given(&["--ulimit", "nofile=1024:1024"]).misses(&["base 3/3"], "ulimit-changed", "nofile"),
        change("an extra host").given(&["--add-host", "db:10.0.0.1"]).misses(&["base 3/3"], "hosts-changed", "db"),
        change("a time for files").given(&["--build-arg", "SOURCE_DATE_EPOCH=0"]).misses(
            &["base 2/3"],
            "source-date-epoch",
            "SOURCE_DATE_EPOCH",
        ),
        change("the platform").given(&["--platform", "linux/arm64"]).misses(
            &["base 2/3"],
            "platform-changed",
            "linux/arm64",
        ),
    ]);
}

#[test]
fn files_of_the_context() {
    hold(&[
        change("a file").edit(|project| fs::write(project.join("src/main.c"), "int main;").unwrap()).misses(
            &["compile 1/2"],
            "files-changed",
            "src/main.c has other content",
        ),
        change("a file more").edit(|project| fs::write(project.join("src/new.c"), "").unwrap()).misses(
            &["compile 1/2"],
            "files-changed",
            "src/new.c is new",
        ),
        change("a file less").edit(|project| fs::remove_file(project.join("src/main.h")).unwrap()).misses(
            &["compile 1/2"],
            "files-changed",
            "src/main.h is gone",
        ),
        change("a mode")
            .edit(|project| {
                fs::set_permissions(project.join("requirements.txt"), fs::Permissions::from_mode(0o664)).unwrap()
            })
            .misses(&["deps 1/2"], "file-modes-changed", "requirements.txt has the mode 0664; it had 0644"),
        change("where a link leads")
            .edit(|project| {
                fs::remove_file(project.join("assets/link.txt")).unwrap();
                symlink("other.txt", project.join("assets/link.txt")).unwrap();
            })
            .misses(&["assets 1/1"], "files-changed", "assets/link.txt links to"),
        change("what a file is")
            .edit(|project| {
                fs::remove_file(project.join("assets/logo.txt")).unwrap();
                fs::create_dir(project.join("assets/logo.txt")).unwrap();
            })
            .misses(&["assets 1/1"], "files-changed", "assets/logo.txt is a directory; it was a file"),
        change("a file that is mounted")
            .edit(|project| fs::write(project.join("lint/rules"), "other").unwrap())
            .misses(&["lint 1/1"], "files-changed", "lint/rules"),
        change("a file of a named context")
            .edit(|project| fs::write(project.join("shared/notes"), "other").unwrap())
            .misses(&["docs 1/2"], "files-changed", "notes"),
        change("a clone of its own")
            .edit(|project| fs::write(project.join("shared/.git/HEAD"), "ref: refs/heads/other").unwrap())
            .misses(&["version 1/1"], "git-mounted", ".git/HEAD"),
        change("a file that nobody takes").edit(|project| fs::write(project.join("shared/unused"), "").unwrap()),
    ]);
}

/// The reasons of the steps that miss, by the places of the steps: kind and sentence.
fn reasons(run: &Run) -> Vec<(String, String)> {
    reasons_of(run, "miss")
}

pub(crate) fn reasons_of(run: &Run, state: &str) -> Vec<(String, String)> {
    let steps = run.reports("/steps");
    let missed = steps.as_array().unwrap().iter().filter(|row| row["state"] == state);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    missed.map(|row| (text(&row["reason"]["kind"]), text(&row["reason"]["what"]))).collect()
}

/// Smoke of the project as it was warmed, on a root that is not as it was left.
pub(crate) fn smoke_of(world: &World, project: &Path, root: &Path) -> Run {
    world.smoke(root, project, &["--build-context", &shared(project)])
}

#[test]
fn a_root_that_lost_something_says_so() {
    let (world, project) = warmed();

    // Somebody's garbage collection.
    let pruned = copied(&world.root(), &crate::support::registry::made(world.path("pruned")));
    let builder = Builder::start(&world.path("pruning"), &pruned, &world.config());
    builder.prune();
    drop(builder);
    let run = smoke_of(&world, &project, &pruned).exits(5);
    let (kind, what) = reasons(&run).into_iter().next().unwrap();
    assert_eq!(kind, "evicted");
    assert!(what.contains("are gone"), "{what}");

    // A root that was brought along without the file that says whose it is.
    let lost = copied(&world.root(), &crate::support::registry::made(world.path("lost")));
    fs::remove_file(lost.join("runc-overlayfs/workerid")).unwrap();
    drop(Builder::start(&world.path("losing"), &lost, &world.config()));
    let run = smoke_of(&world, &project, &lost).exits(5);
    assert_eq!(reasons(&run)[0].0, "worker-changed");
    let judged = world.judged_by_buildx(&lost, &project, &["--build-context", &shared(&project)], "");
    assert!(!judged.ran.is_empty());

    // A daemon that is configured for another snapshotter.
    world.configure_builder("  snapshotter = \"native\"\n");
    let run = smoke_of(&world, &project, &world.root()).exits(5);
    assert_eq!(reasons(&run)[0].0, "snapshotter-changed");
    assert!(run.stdout.contains("overlayfs") && run.stdout.contains("native"), "{}", run.stdout);
}

/// The tag of the base image is moved to another image after the warm run.
#[test]
fn a_base_image_that_moved_is_named_with_both_digests() {
    let world = World::new();
    let registry = &ground().registry;
    let image = world.path("image");
    fs::create_dir(&image).unwrap();
    let push = |line: &str| {
        fs::write(image.join("Dockerfile"), format!("FROM busybox:1.35\n{line}\n")).unwrap();
        let builder = Builder::start(&world.path("pushing"), &world.path("other"), &world.config());
        let output =
            format!("type=image,name={}/library/moving:1,push=true,registry.insecure=true", registry.address());
        builder.build(&image, &["--output", &output]).succeeded();
    };
    push("RUN echo 1 >/version");
    let project = world.path("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("Dockerfile"), "FROM moving:1\nRUN cat /version >/seen\n").unwrap();
    let source = ["--context", project.to_str().unwrap()];
    world.warm().source(source).from([]).run().exits(0);
    world.smoke(&world.root(), &project, &[]).exits(0);

    push("RUN echo 2 >/version");

    let run = world.smoke(&world.root(), &project, &[]).exits(5);
    let reasons = reasons(&run);
    assert!(reasons.iter().all(|(kind, _)| kind == "base-image-moved"), "{reasons:?}");
    assert!(reasons[0].1.matches("sha256:").count() == 2, "{reasons:?}");
    let judged = world.judged_by_buildx(&world.root(), &project, &[], "");
    assert_eq!(judged.ran, ["2/2"]);
}
