//! The files of a build as they are: what lies in a directory is what docker's client sends of it, and what git records is
//! what CI checks out, under whatever umask. The judge is buildx, from the same directory on a copy of the root.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::git::git;
use crate::support::process;
use crate::support::registry::made;
use crate::support::{Builder, World, ground, wait_until};

const DOCKERFILE: &str = "FROM busybox:1.35\nCOPY a.txt bin /a/\nRUN cat /a/a.txt >/b\n";

/// A repository with a text and a script, in `origin`.
fn origin(world: &World, dockerfile: &str) -> PathBuf {
    let folder = made(world.path("origin"));
    made(folder.join("bin"));
    for (name, text) in [("a.txt", "text\n"), ("bin/run.sh", "#!/bin/sh\n"), ("Dockerfile", dockerfile)] {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::set_permissions(folder.join("bin/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    git(&folder, ["init", "-q", "-b", "main"]);
    git(&folder, ["add", "-A"]);
    git(&folder, ["commit", "-q", "-m", "One"]);
    folder
}

/// A clone of it under a umask.
fn clone(world: &World, umask: &str) -> PathBuf {
    let copy = world.path(&format!("clone-{umask}"));
    let line = "umask \"$1\"; git clone -q \"$2\" \"$3\"";
    let mut shell = Command::new("sh");
    shell.args(["-ec", line, "sh", umask]).args([&world.path("origin"), &copy]);
    assert!(shell.env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap().success());
    copy
}

/// A cache that BuildKit exports of a directory, in the shared registry.
fn exported(world: &World, context: &Path, name: &str) -> String {
    let folder = made(world.path(&format!("export-{name}")));
    let reference = format!("{}/context/{name}:cache", ground().registry.address());
    let export = format!("type=registry,mode=max,ref={reference}");
    let builder = Builder::start(&made(folder.join("daemon")), &folder.join("root"), &world.config());
    builder.build(context, &["--export-cache", &export]).succeeded();
    reference
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_directory_is_warmed_with_the_modes_that_it_has() {
    let world = World::new();
    origin(&world, DOCKERFILE);
    let (usual, open) = (clone(&world, "022"), clone(&world, "000"));
    let donor = exported(&world, &open, "modes-of-disk");

    // What CI made of files that anybody may write, from the same files.
    let run = world.warm().source(["--context", text(&open)]).from([&donor]).with(["--on-miss", "fail"]).run();
    assert_eq!(run.exits(0).reports("/hit_rate"), 1.0);

    world.judged_by_buildx(&world.root(), &open, &[], "").ran_only(&[]);
    world.smoke(&world.root(), &open, &["--manifest", "none"]).exits(0);
    // And of another umask's it is another build, as it is for buildx.
    world.judged_by_buildx(&world.root(), &usual, &[], "").ran_only(&["2/3", "3/3"]);
    let manifest = world.path("manifest.json");
    let run = world.smoke(&world.root(), &usual, &["--manifest", text(&manifest)]).exits(5);
    let reason = run.reports("/steps/1/reason");
    assert_eq!(reason["kind"], "file-modes-changed", "{}", run.stdout);

    // What nobody committed cannot be in a cache of CI.
    fs::write(open.join("a.txt"), "changed\n").unwrap();
    fs::write(open.join("new"), "new\n").unwrap();
    let run = World::new().warm().source(["--context", text(&open)]).from([&donor]).run();
    for words in ["with 1 changed, 1 untracked file", "a likely cause of the first miss, [2/3] COPY"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
}

#[test]
fn a_script_that_was_made_executable_runs() {
    let world = World::new();
    let folder = origin(&world, "FROM busybox:1.35\nCOPY a.txt /run.sh\nRUN /run.sh\n");
    fs::set_permissions(folder.join("a.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("a.txt"), "#!/bin/sh\ntrue\n").unwrap();
    git(&folder, ["add", "-A"]);
    git(&folder, ["update-index", "--chmod=-x", "a.txt"]);
    git(&folder, ["commit", "-q", "-m", "Not executable for git"]);
    let run = world.warm().source(["--context", text(&folder)]).from([]).run().exits(0);
    assert!(run.stdout.contains("with 1 changed"), "{}", run.stdout);
    world.judged_by_buildx(&world.root(), &folder, &[], "").ran_only(&[]);
}

#[test]
fn a_clone_of_ours_has_the_modes_of_ci_s_umask() {
    let world = World::new();
    let url = format!("file://{}", origin(&world, DOCKERFILE).display());
    let (usual, open) = (clone(&world, "022"), clone(&world, "000"));
    let donor = exported(&world, &open, "modes-of-ci");

    let run = World::new().warm().source(["--repo", &url]).from([&donor]).run().exits(5);
    assert!(run.stdout.contains("--modes"), "{}", run.stdout);
    let run = world.warm().source(["--repo", &url, "--modes", "umask=000"]).from([&donor]).run().exits(0);
    assert_eq!(run.reports("/hit_rate"), 1.0);
    world.judged_by_buildx(&world.root(), &open, &[], "").ran_only(&[]);

    // From a directory of other modes it is the same build when git's are asked for.
    let root = world.root();
    let manifest = world.path("manifest.json");
    world.smoke(&root, &usual, &["--modes", "umask=000"]).exits(0);
    let run = world.smoke(&root, &usual, &["--manifest", text(&manifest)]).exits(5);
    let reason = run.reports("/steps/1/reason");
    let what = format!("{} {}", reason["what"], reason["remedy"]);
    assert!(what.contains("umask 022") && what.contains("umask 000") && what.contains("--modes"), "{what}");
}

/// A repository in `origin` that keeps `*.bin` in Git LFS, and a clone of it in `clone` without the real bytes.
fn large(world: &World) -> (PathBuf, PathBuf) {
    let folder = made(world.path("origin"));
    git(&folder, ["init", "-q", "-b", "main"]);
    git(&folder, ["lfs", "install", "--local"]);
    fs::write(folder.join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    fs::write(folder.join(".dockerignore"), ".git\ndocs\n").unwrap();
    fs::write(folder.join("Dockerfile"), "FROM busybox:1.35\nCOPY . /a/\nRUN grep real /a/a.bin >/b\n").unwrap();
    made(folder.join("docs"));
    for name in ["a.bin", "docs/film.bin"] {
        fs::write(folder.join(name), format!("the real bytes of {name}\n")).unwrap();
    }
    git(&folder, ["add", "-A"]);
    git(&folder, ["commit", "-q", "-m", "One"]);
    let copy = world.path("clone");
    let mut clone = Command::new("git");
    clone.args(["clone", "-q"]).args([&folder, &copy]).envs([("GIT_LFS_SKIP_SMUDGE", "1"), ("HOME", "/nonexistent")]);
    assert!(clone.status().unwrap().success());
    assert!(fs::read_to_string(copy.join("a.bin")).unwrap().starts_with("version https://git-lfs"));
    (folder, copy)
}

#[test]
fn files_of_git_lfs_are_built_as_they_are_in_a_checkout() {
    let world = World::new();
    let (folder, _) = large(&world);
    let donor = exported(&world, &folder, "large");
    let url = format!("file://{}", folder.display());

    let run = world.warm().source(["--repo", &url]).from([&donor]).with(["--on-miss", "fail"]).run().exits(0);

    assert_eq!(run.reports("/hit_rate"), 1.0);
    // What no build is sent is not fetched.
    assert!(run.stderr.contains("getting 1 file (a.bin) from Git LFS"), "{}", run.stderr);
    world.judged_by_buildx(&world.root(), &folder, &[], "").ran_only(&[]);
    world.left_nothing_running();
}

#[test]
fn a_pointer_is_never_built_for_want_of_git_lfs() {
    let mut world = World::new();
    let (folder, _) = large(&world);
    let url = format!("file://{}", folder.display());
    let tools = made(world.path("tools"));
    for tool in ["git", "unshare", "true", "cp", "mount", "umount", "sh", "runc", "setpriv"] {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).output().unwrap();
        std::os::unix::fs::symlink(String::from_utf8_lossy(&found.stdout).trim(), tools.join(tool)).unwrap();
    }
    world.set("PATH", text(&tools));
    let run = world.warm().source(["--repo", &url]).from([]).run().exits(3);
    for word in ["git-lfs is not here", "a.bin", "hint: install git-lfs"] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("film.bin"), "{}", run.stderr);
    assert_eq!(world.steps_run(), Vec::<String>::new());
    world.left_nothing_running();
}

#[test]
fn a_file_that_git_lfs_does_not_have_stops_the_run() {
    let world = World::new();
    let (folder, _) = large(&world);
    let url = format!("file://{}", folder.display());
    fs::remove_dir_all(folder.join(".git/lfs/objects")).unwrap();
    let run = world.warm().source(["--repo", &url]).from([]).run().exits(3);
    assert!(run.stderr.contains("could not get 1 file (a.bin) from Git LFS"), "{}", run.stderr);
    assert_eq!(world.steps_run(), Vec::<String>::new());
    world.left_nothing_running();
}

#[test]
fn pointers_in_a_directory_are_built_as_docker_builds_them_with_a_warning() {
    let world = World::new();
    let (_, copy) = large(&world);
    fs::write(copy.join("Dockerfile"), "FROM busybox:1.35\nCOPY a.bin /a/\nRUN cat /a/a.bin >/b\n").unwrap();
    let run = world.warm().source(["--context", text(&copy)]).from([]).run().exits(0);
    let warnings = run.stderr.lines().filter(|line| line.contains("Git LFS")).count();
    assert!(
        warnings == 1
            && run.stderr.contains("pointers of Git LFS, as docker would from this directory: 1 file (a.bin)"),
        "{}",
        run.stderr
    );
    world.judged_by_buildx(&world.root(), &copy, &[], "").ran_only(&[]);
    let run = world.smoke(&world.root(), &copy, &[]).exits(0);
    assert!(run.stderr.contains("pointers of Git LFS"), "{}", run.stderr);
}

/// The programs that get the files end with the run, however that ends, and so does what they wrote.
#[test]
fn a_server_of_git_lfs_that_is_silent_can_be_interrupted() {
    for (signal, code) in [("INT", Some(130)), ("KILL", None)] {
        let world = World::new();
        let (folder, _) = large(&world);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        silent.set_nonblocking(true).unwrap();
        let address = silent.local_addr().unwrap();
        fs::write(folder.join(".lfsconfig"), format!("[lfs]\nurl = http://{address}/lfs\n")).unwrap();
        git(&folder, ["add", "-A"]);
        git(&folder, ["commit", "-q", "-m", "Elsewhere"]);
        let url = format!("file://{}", folder.display());
        let running = world.warm().source(["--repo", &url]).from([]).start();
        let mut asking = Vec::new();
        wait_until("git-lfs asks", 60, || {
            asking.extend(silent.accept().ok());
            !asking.is_empty()
        });
        let programs = || -> Vec<String> {
            let using = process::using(world.folder()).into_iter().map(|(_, line)| line);
            using.filter(|line| line.contains("git")).collect()
        };
        assert!(programs().iter().any(|line| line.contains("git-lfs")), "{:?}", process::using(world.folder()));
        running.signal(signal);
        if code.is_some() {
            assert_eq!(running.ends().code, code);
        }
        wait_until(&format!("{:?} end", programs()), 10, || programs().is_empty());
        world.smoke(&world.root(), &folder, &[]);
        world.left_nothing_running();
    }
}
