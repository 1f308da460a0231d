//! Roots that somebody or something has been at: none that lacks something is warm or sealed, and what links lead to outside
//! of a root is never changed.
//!
//! `CACHEWARM_CAMPAIGN=100` makes that many roots instead of a few.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::seal::{machine, warmed};
use super::seal_machine::checksum;
use crate::support::ground::{ground, random, runs};
use crate::support::judge::copied;

const DATABASES: [&str; 4] = [
    "cache.db",
    "runc-overlayfs/metadata_v2.db",
    "runc-overlayfs/containerdmeta.db",
    "runc-overlayfs/snapshots/metadata.db",
];

/// Something that a warm root must not lack, by a number.
fn part(root: &Path, number: u64) -> PathBuf {
    let of = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        entries[(number / 7) as usize % entries.len()].clone()
    };
    match number % 7 {
        at @ 0..4 => root.join(DATABASES[at as usize]),
        4 => of("runc-overlayfs/content/blobs/sha256"),
        _ => of("runc-overlayfs/snapshots/snapshots"),
    }
}

fn gone(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// Does something to a part of a root; what was done.
fn spoil(path: &Path, how: u64) -> &'static str {
    match how {
        0 => {
            gone(path);
            "removed"
        }
        1 if path.is_file() => {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(path.metadata().unwrap().len() / 2).unwrap();
            "cut"
        }
        2 => {
            gone(path);
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            "a pipe"
        }
        3 => {
            gone(path);
            symlink(path, path).unwrap();
            "a link to itself"
        }
        _ => {
            gone(path);
            symlink("/nowhere", path).unwrap();
            "a link to nothing"
        }
    }
}

/// A root that was spoilt may have lost nothing that the build needs, or no more once it was cleaned; then BuildKit is the
/// judge.
#[test]
fn a_root_that_lacks_something_is_never_warm_and_never_sealed() {
    let world = warmed();
    let system = machine(&world, &[("etc/hostname", "machine")]);
    let before = checksum(&system);
    let mut random = random();
    for _ in 0..runs(14) {
        let folder = tempfile::Builder::new().prefix("odd").tempdir_in(world.folder()).unwrap();
        let root = copied(&world.root(), folder.path());
        let path = part(&root, random(1000));
        let how = random(5);
        let what = format!("{}: {}", path.strip_prefix(&root).unwrap().display(), spoil(&path, how));
        let checked = world.check(&root, &[]);
        // BuildKit waits for ever for what a pipe in the place of a blob has to say.
        let smoked = world.smoke(&root, &ground().sample, &["--stall-timeout", "5s"]);
        let sealed = world.seal_of(&root, &system, &["--fix"]);
        if checked.code == Some(0) || smoked.code == Some(0) {
            let again = tempfile::Builder::new().prefix("again").tempdir_in(world.folder()).unwrap();
            let root = copied(&world.root(), again.path());
            spoil(&root.join(path.strip_prefix(folder.path().join("root")).unwrap()), how);
            let codes = format!("{what}: check {:?}, smoke {:?}", checked.code, smoked.code);
            match world.try_judged(&root, |_| {}) {
                Ok(judged) => assert!(judged.ran.is_empty(), "{codes}"),
                Err(text) => panic!("{codes}: {text}"),
            }
        }
        if sealed.code == Some(0) && checked.code != Some(0) {
            // Blobs that nothing but a lease of the pull held, like an image's manifest, go with BuildKit's garbage.
            assert_eq!(world.check(&root, &[]).code, Some(0), "{what}: {}", sealed.stdout);
            let judged = world.try_judged(&root, |_| {}).unwrap_or_else(|text| panic!("{what}: sealed, and {text}"));
            assert!(judged.ran.is_empty(), "{what}: {}", sealed.stdout);
        }
        assert!(before == checksum(&system), "{what}: the machine was changed");
    }
}

/// Roots of links are roots: ours for questions are such. What lies behind the links is not the root's to clean.
#[test]
fn what_links_of_a_root_lead_to_is_never_changed() {
    let world = warmed();
    let system = machine(&world, &[]);
    let outside = world.path("outside");
    let mut random = random();
    for _ in 0..runs(6) {
        let folder = tempfile::Builder::new().prefix("links").tempdir_in(world.folder()).unwrap();
        let root = copied(&world.root(), folder.path());
        fs::create_dir(&outside).unwrap();
        for number in 0..3 {
            // Blobs and snapshots, and directories of them.
            let path = match random(4) {
                0 => root.join("runc-overlayfs/executor"),
                1 => root.join("runc-overlayfs/content/ingest"),
                _ => part(&root, 4 + random(3) + 7 * random(50)),
            };
            if path.symlink_metadata().is_ok_and(|found| !found.is_symlink()) {
                let there = outside.join(number.to_string());
                fs::rename(&path, &there).unwrap();
                symlink(&there, &path).unwrap();
            }
        }
        let before = checksum(&outside);
        let run = world.seal_of(&root, &system, &["--fix", "--cache-mounts", "drop"]).exits(3);
        assert!(run.stderr.contains("is a link, and what that leads to is not in the root"), "{}", run.stderr);
        assert!(before == checksum(&outside), "what is outside was changed");
        fs::remove_dir_all(&outside).unwrap();
    }
}
