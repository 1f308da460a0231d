//! What seal does with the machine around a state root: it looks, and changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::seal::{found, machine, warmed};
use crate::support::World;

/// A checksum of everything below a folder: names, kinds, modes, times and content.
pub(crate) fn checksum(folder: &Path) -> Vec<u8> {
    let script = "cd \"$1\" && find . -printf '%p %y %m %T@ %l\n' | sort && find . -type f -print0 | sort -z | xargs -0r sha256sum";
    let listed = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(folder).output().unwrap();
    assert!(listed.status.success());
    listed.stdout
}

/// The rule of the machine: it is looked at, and never changed.
#[test]
fn the_machine_is_looked_at_and_never_changed() {
    let mut world = warmed();
    let secret = "canary-00-c0ffee";
    world.set("SESAME", secret);
    let aws = format!("aws_secret_access_key = {secret}\n");
    let files = [
        ("home/ci/.docker/config.json", r#"{"auths": {"r.example": {"auth": "dXNlcjpodW50ZXIyaHVudGVyMg=="}}}"#),
        ("root/.aws/credentials", &aws),
        ("home/ci/.bash_history", &format!("export X={secret}")),
        ("home/ci/.npmrc", "//r/:_authToken=abcdefgh"),
        ("tmp/varfile_1234.sh", &format!("export X='{secret}'")),
        ("var/log/auth.log", &format!("sudo: COMMAND=/usr/bin/env X={secret}")),
        ("var/lib/cloud/instance/user-data.txt", &format!("X={secret}")),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/ssh/ssh_host_ed25519_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        ("usr/lib/python3/site.py", &format!("TOKEN = '{secret}'")),
        ("data/deep/er/file", secret),
        ("etc/docker-login", r#"{"auths": {"r": {"auth": "dXNlcjpodW50ZXIyaHVudGVyMg=="}}}"#),
        ("swapfile", "\0\0ghp_0123456789abcdef0123\0"),
    ];
    let system = machine(&world, &files);
    // Links of the machine that lead out of it, where it is mounted here.
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("credentials"), secret).unwrap();
    fs::create_dir_all(system.join("home/ci/.aws")).unwrap();
    std::os::unix::fs::symlink(&outside, system.join("home/ci/.ssh")).unwrap();
    std::os::unix::fs::symlink(outside.join("credentials"), system.join("home/ci/.aws/credentials")).unwrap();
    let before = (checksum(&system), checksum(&outside));

    let run = world.seal(&system, &["--fix", "--secret=id=s,env=SESAME"]).exits(5);

    assert!(before == (checksum(&system), checksum(&outside)), "the machine was changed");
    let (secrets, logins) = (found(&run, "secret"), found(&run, "machine"));
    let expected = [
        "root/.aws/credentials",
        ".bash_history",
        "varfile_1234.sh",
        "auth.log",
        "user-data.txt",
        "usr/lib/python3/site.py",
        "data/deep/er/file",
        "etc/docker-login",
        "swapfile",
    ];
    for what in expected {
        assert!(secrets.iter().any(|(place, cleaned)| place.ends_with(what) && !cleaned), "{what}: {secrets:?}");
    }
    for what in ["home/ci/.docker/config.json", "home/ci/.npmrc", "root/.aws/credentials"] {
        assert!(logins.iter().any(|(place, cleaned)| place.ends_with(what) && !cleaned), "{what}: {logins:?}");
    }
    assert!(!secrets.iter().any(|(place, _)| place.contains("outside")), "{secrets:?}");
    assert!(run.stdout.contains("docker logout") && run.stdout.contains("npm logout"), "{}", run.stdout);
    assert!(!world.path("sealed.json").exists());
}

/// What a missing database listed looks like nobody's. It may be put back, and then all of it is somebody's again.
#[test]
fn nothing_is_erased_where_a_database_is_missing() {
    let world = warmed();
    let system = machine(&world, &[]);
    let databases = [
        "cache.db",
        "runc-overlayfs/metadata_v2.db",
        "runc-overlayfs/containerdmeta.db",
        "runc-overlayfs/snapshots/metadata.db",
    ];
    for name in databases {
        let database = world.root().join(name);
        let aside = world.path("aside");
        fs::rename(&database, &aside).unwrap();
        let before = checksum(&world.root());
        for _ in 0..2 {
            let run = world.seal(&system, &["--fix"]).exits(5);
            assert!(run.stdout.contains(&format!("{name} is missing")), "{}", run.stdout);
            assert!(before == checksum(&world.root()), "the root without {name} was changed");
        }
        let check = world.check(&world.root(), &[]).exits(5);
        assert!(
            check.stdout.contains("is missing") && check.reports("/leftovers/stray_blobs") != 9,
            "{}",
            check.stdout
        );
        fs::rename(&aside, &database).unwrap();
    }
    world.check(&world.root(), &[]).exits(0);
    world.seal(&system, &["--fix"]).exits(0);
}

/// A root whose databases say nothing must not lead to files of the directory that cachewarm is called in.
#[test]
fn files_of_the_current_directory_are_not_the_roots() {
    let world = World::new();
    let system = machine(&world, &[]);
    fs::create_dir_all(world.root().join("runc-overlayfs")).unwrap();
    // cachewarm runs in the world's folder.
    for file in ["blobs/sha256/abc", "ingest/abcd/data", "snapshots/snapshots/7/fs/file"] {
        let file = world.path(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "precious").unwrap();
    }
    let check = world.check(&world.root(), &[]);
    assert!(!check.stdout.contains("content store does not list"), "{}", check.stdout);
    world.seal(&system, &["--fix"]);
    for file in ["blobs/sha256/abc", "ingest/abcd/data", "snapshots/snapshots/7/fs/file"] {
        assert_eq!(fs::read_to_string(world.path(file)).unwrap(), "precious");
    }
}

#[test]
fn a_shadow_that_a_killed_run_left_is_named_and_left_to_its_owner() {
    let world = warmed();
    let system = machine(&world, &[]);
    let left = world.path(".cachewarm-shadow-abc123");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("cache.db"), "a copy").unwrap();
    let run = world.seal(&system, &["--fix"]).exits(5);
    assert!(found(&run, "leftover").contains(&(left.display().to_string(), false)), "{}", run.stdout);
    assert!(left.join("cache.db").exists() && run.stdout.contains("rm -r --one-file-system"), "{}", run.stdout);
    fs::remove_dir_all(&left).unwrap();

    // A lock of ours that nobody holds says that the run is dead. Another one, as of flock(1), says nothing.
    fs::create_dir(&left).unwrap();
    fs::write(left.join("cache.db"), "a copy").unwrap();
    let lock = world.path(".cachewarm-shadow-abc123.lock");
    fs::write(&lock, "").unwrap();
    world.seal(&system, &["--fix"]).exits(5);
    assert!(left.join("cache.db").exists());
    fs::write(&lock, format!("scratch directory of cachewarm {}\n", left.metadata().unwrap().ino())).unwrap();
    let run = world.seal(&system, &[]).exits(5);
    assert!(run.stdout.contains("cachewarm seal --fix removes it") && left.exists(), "{}", run.stdout);
    world.seal(&system, &["--fix"]).exits(0);
    assert!(!left.exists() && !world.path(".cachewarm-shadow-abc123.lock").exists());
}

/// A seal is about the root as it was: the next warm run takes it away, and another build shows in its numbers.
#[test]
fn a_seal_does_not_outlive_the_state_that_it_names() {
    let world = warmed();
    let system = machine(&world, &[]);
    let marker = world.path("sealed.json");
    let sealed = || {
        world.seal(&system, &["--fix"]).exits(0);
        let marker: serde_json::Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
        marker["transactions"].clone()
    };
    let first = sealed();
    assert!(first["cache.db"].is_u64() && first.as_object().unwrap().len() >= 4, "{first}");
    assert_eq!(sealed(), first, "sealing again changes nothing");
    world.warm().run().ends_warm();
    assert!(!marker.exists(), "the seal of the root before the warm run is still there");
    assert_ne!(sealed(), first);
}

/// What an interrupted `--fix` overwrote is known to everybody who is asked whether the root is warm.
#[test]
fn a_root_with_overwritten_records_is_not_warm() {
    let world = warmed();
    let records = world.check(&world.root(), &[]).exits(0).reports("/records");
    let id = records.as_array().unwrap()[0]["id"].as_str().unwrap().to_owned();
    fs::write(world.root().join(".cachewarm-doomed"), format!("{id}\n")).unwrap();
    let context = world.path("sample");
    crate::support::git::sample(&context);
    for run in [
        world.check(&world.root(), &[]),
        world.check(&world.root(), &["--deep"]),
        world.smoke(&world.root(), &context, &[]),
        world.warm().run(),
    ] {
        assert!(run.stdout.contains("seal was interrupted") && run.stdout.contains(&id), "{}", run.stdout);
        run.exits(5);
    }
    // What nobody can read may be such a note.
    fs::remove_file(world.root().join(".cachewarm-doomed")).unwrap();
    fs::create_dir(world.root().join(".cachewarm-doomed")).unwrap();
    world.check(&world.root(), &[]).blames(&[".cachewarm-doomed"]);
}

/// The same without the system call that most of it is done with (Linux before 5.6, a seccomp filter).
#[test]
fn a_kernel_without_openat2_sees_the_same() {
    let world = warmed();
    let aws = "aws_secret_access_key = ghp_0123456789abcdef0123\n";
    let system = machine(&world, &[("home/ci/.aws/credentials", aws), ("home/ci/notes", aws)]);
    let plain = world.seal(&system, &[]).exits(5);
    for error in ["ENOSYS", "EPERM", "EAGAIN", "EMFILE"] {
        let run = world.seal_under(&[&format!("--inject=openat2:error={error}")], &system, &[]);
        assert!(run.code == Some(5) || run.code == Some(3), "{error}: {}", run.stderr);
        if error != "EMFILE" {
            assert_eq!(found(&run.exits(5), "machine"), found(&plain, "machine"), "{error}");
        }
        assert!(!world.path("sealed.json").exists(), "{error}");
    }
}
