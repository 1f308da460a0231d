//! What a checkout says, and what it cannot make cachewarm do as the person who runs it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::support::World;
use crate::support::git::git;
use crate::support::ground::ground;
use crate::support::run::Run;

/// The user `nobody` of Debian.
const SOMEBODY_ELSE: u32 = 65534;

/// Writes a settings file into the directory that cachewarm runs in.
fn settings(world: &World, text: &str) {
    fs::write(world.path("cachewarm.toml"), text).unwrap();
}

/// `cachewarm smoke` with a settings file that nobody named, and nothing that it would need to go on.
fn smoke(world: &World) -> Run {
    world.smoke_with(&world.path("absent"), &[])
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_checkout_of_somebody_else_runs_no_program_and_writes_no_file() {
    let world = World::new();
    let (program, pwned, written) = (world.path("evil.sh"), world.path("pwned"), world.path("written"));
    fs::write(&program, format!("#!/bin/sh\nid >{}\n", pwned.display())).unwrap();
    mode(&program, 0o755);
    settings(&world, &format!("builder = 'spawn:{}'\nreport = ['text={}']\n", program.display(), written.display()));

    chown(world.path("cachewarm.toml"), Some(SOMEBODY_ELSE), None).unwrap();
    chown(world.folder(), Some(SOMEBODY_ELSE), None).unwrap();
    let run = smoke(&world).exits(2);
    for word in ["could not trust the settings file ./cachewarm.toml", "65534", "--config ./cachewarm.toml"] {
        assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
    }

    // The agent of a CI clones as itself: the file is the caller's, and its words are a stranger's all the same.
    chown(world.path("cachewarm.toml"), Some(0), None).unwrap();
    chown(world.folder(), Some(0), None).unwrap();
    let run = smoke(&world).exits(2);
    assert!(run.stderr.contains("could not use `builder` in ./cachewarm.toml"), "{}", run.stderr);
    settings(&world, &format!("report = ['text={}']\n", written.display()));
    let run = smoke(&world).exits(2);
    assert!(run.stderr.contains("could not use `report` in ./cachewarm.toml"), "{}", run.stderr);
    assert!(!pwned.exists() && !written.exists());
}

#[test]
fn a_settings_file_that_others_can_write_is_refused() {
    let world = World::new();
    settings(&world, "target = 'test'\n");
    let file = world.path("cachewarm.toml");
    for (path, bits, what) in [
        (file.as_path(), 0o664, "it belongs to the user 0, and others can write it (mode 664)"),
        (world.folder(), 0o775, "its directory belongs to the user 0, and others can write it (mode 775)"),
        // Everybody can make files in such a directory.
        (world.folder(), 0o1777, "(mode 1777)"),
    ] {
        mode(path, bits);
        let run = smoke(&world).exits(2);
        assert!(run.stderr.contains(what), "no `{what}` in:\n{}", run.stderr);
        mode(path, 0o755);
    }
    let run = smoke(&world).fails();
    assert!(run.stderr.contains("settings are read from cachewarm.toml"), "{}", run.stderr);

    // A link is somebody's word about a file that is somewhere else; a pipe would be waited for.
    fs::rename(&file, world.path("elsewhere.toml")).unwrap();
    symlink(world.path("elsewhere.toml"), &file).unwrap();
    assert!(smoke(&world).exits(2).stderr.contains("it is a symbolic link"));
    fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert!(smoke(&world).exits(2).stderr.contains("it is not a regular file"));
}

#[test]
fn a_checkout_takes_no_variable_no_path_outside_of_it_and_grants_nothing() {
    let world = World::new();
    for (text, key) in [
        ("build-arg = ['AWS_SECRET_ACCESS_KEY']", "build-arg"),
        ("context = '/etc'", "context"),
        ("file = '../Dockerfile'", "file"),
        ("secret = ['id=x,src=/etc/shadow']", "secret"),
        ("allow = ['security.insecure']", "allow"),
        ("repo = 'https://evil.example/r.git'", "repo"),
        ("min-hit-rate = 0", "min-hit-rate"),
        ("network = 'host'", "network"),
    ] {
        settings(&world, text);
        let run = smoke(&world).exits(2);
        let what = format!("could not use `{key}` in ./cachewarm.toml");
        assert!(run.stderr.contains(&what), "no `{what}` in:\n{}", run.stderr);
    }
}

#[test]
fn a_settings_file_that_is_named_may_say_everything_and_is_named_in_the_progress() {
    let world = World::new();
    let written = world.path("written");
    settings(&world, &format!("report = ['text={}']\n", written.display()));
    chown(world.path("cachewarm.toml"), Some(SOMEBODY_ELSE), None).unwrap();
    fs::write(&written, "old").unwrap();
    let run = world.smoke_with(&world.path("absent"), &["--config", "./cachewarm.toml"]).fails();
    assert!(run.stderr.contains("settings are read from ./cachewarm.toml"), "{}", run.stderr);
}

/// A bake file with one target of these fields, in the directory that cachewarm runs in.
fn bake(world: &World, fields: &str) {
    fs::create_dir_all(world.path("project")).unwrap();
    fs::write(world.path("project/Dockerfile"), "FROM scratch\nLABEL a=b\n").unwrap();
    let json = format!(r#"{{"target": {{"default": {{"context": "project", {fields}}}}}}}"#);
    fs::write(world.path("bake.json"), json).unwrap();
}

#[test]
fn a_bake_file_gets_nothing_of_the_host_without_leave_in_the_words_of_buildx() {
    let world = World::new();
    let outside = world.folder().with_file_name(format!("{}-outside", std::process::id()));
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("token"), "sesame").unwrap();
    symlink(outside.join("token"), world.path("link")).unwrap();
    let (directory, token) = (outside.display(), outside.join("token"));
    let token = token.display();
    let read = format!("--allow=fs.read={token}");
    let cases = [
        (r#""entitlements": ["security.insecure"]"#.to_owned(), "--allow=security.insecure".to_owned()),
        (r#""network": "host""#.to_owned(), "--allow=network.host".to_owned()),
        (r#""ssh": [{"id": "default"}]"#.to_owned(), "--allow=ssh".to_owned()),
        (format!(r#""secret": [{{"id": "t", "src": "{token}"}}]"#), read.clone()),
        // A name inside of the project that leads out of it.
        (r#""secret": [{"id": "t", "src": "link"}]"#.to_owned(), read),
        (format!(r#""contexts": {{"more": "{directory}"}}"#), format!("--allow=fs.read={directory}")),
        (
            format!(r#""contexts": {{"more": "project/../../{}-outside"}}"#, std::process::id()),
            format!("--allow=fs.read={directory}"),
        ),
    ];
    for (fields, leave) in &cases {
        bake(&world, fields);
        let call = || world.warm().from([]).source(["--bake", "bake.json"]).builder("unix:///nowhere.sock");
        let run = call().run().exits(2);
        assert!(run.stderr.contains(&format!("pass {leave} to grant it")), "no `{leave}` in:\n{}", run.stderr);
        // With leave it goes on to the builder, which is not there.
        call().with([leave]).run().blames(&["/nowhere.sock"]);
    }
    fs::remove_dir_all(&outside).unwrap();
}

#[test]
fn a_bake_file_of_a_repository_gets_no_file_of_the_host() {
    let world = World::new();
    fs::write(world.path("token"), "sesame").unwrap();
    bake(&world, r#""secret": [{"id": "t", "src": "token"}]"#);
    let run = world.warm().from([]).with(["--bake", "bake.json"]).run().exits(2);
    let leave = format!("--allow=fs.read={}", world.path("token").canonicalize().unwrap().display());
    assert!(run.stderr.contains(&leave), "no `{leave}` in:\n{}", run.stderr);
}

/// Reading the kernel's log waits for the next message, whatever the signal.
#[test]
fn a_dockerfile_that_is_a_link_out_of_the_checkout_is_not_followed() {
    let world = World::new();
    fs::write(world.path("outside"), "FROM scratch\nLABEL a=b\n").unwrap();
    for name in [Path::new("/proc/kmsg"), &world.path("outside")] {
        let folder = world.path("linked");
        fs::create_dir(&folder).unwrap();
        symlink(name, folder.join("Dockerfile")).unwrap();
        git(&folder, ["init", "-q", "-b", "main"]);
        git(&folder, ["add", "."]);
        git(&folder, ["commit", "-q", "-m", "linked"]);
        let url = format!("file://{}", folder.display());
        let run = world.warm().source(["--repo", &url, "--rev", "main"]).from([]).run().exits(4);
        assert!(run.stderr.contains("Dockerfile"), "{}", run.stderr);
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_program_that_others_could_have_put_into_the_path_does_not_run_as_root() {
    let mut world = super::seal::warmed();
    let (folder, pwned) = (world.path("open"), world.path("pwned"));
    let open = folder.display().to_string();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("buildkitd"), format!("#!/bin/sh\nid >{}\n", pwned.display())).unwrap();
    mode(&folder.join("buildkitd"), 0o755);
    let usual = "/usr/sbin:/usr/bin:/sbin:/bin";
    let mut smoke = |first: &str, bits: u32| {
        mode(&folder, bits);
        world.set("PATH", &format!("{first}:{usual}"));
        world.smoke(&world.root(), &ground().sample, &["--builder", "spawn"]).exits(3)
    };
    for (first, bits, why) in [
        (open.as_str(), 0o777, "another user can write it"),
        // A directory of a checkout, which the caller goes into.
        ("open", 0o755, "it is relative"),
    ] {
        let run = smoke(first, bits);
        for word in [&format!("no program is taken from `{first}` of PATH: {why}"), "could not start buildkitd"] {
            assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
        }
        assert!(!pwned.exists());
    }
    // One that is root's own counts.
    smoke(&open, 0o755);
    assert!(pwned.exists());
}
