//! The same commit looks the same, whatever umask it was checked out under.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::world::{World, obtained, seen};
use crate::source::SourceSpec;

#[test]
fn a_checkout_under_any_umask_looks_as_under_ci_s() {
    let world = World::new();
    let mut views = Vec::new();
    for umask in ["0077", "0002", "0022"] {
        world.shell("", &format!("umask {umask}; git clone -q app copy-{umask}"), &[]);
        let checkout = obtained(&SourceSpec::Directory(world.path(&format!("copy-{umask}"))));
        views.push(seen(&checkout, &checkout.root));
    }
    let ours = obtained(&world.spec(None));
    views.push(seen(&ours, &ours.root));
    for view in &views {
        assert_eq!(view, &views[0]);
    }
    let expected = [
        ("", "755 /"),
        ("bin", "755 /"),
        ("bin/tools", "755 /"),
        ("bin/tools/run.sh", "755 #!/bin/sh\n"),
        ("link", "777 -> text"),
        ("text", "644 two"),
    ];
    let expected = expected.map(|(path, view)| (path.to_owned(), view.to_owned()));
    assert_eq!(views[0], expected.into_iter().collect());
}

#[test]
fn the_modes_of_our_clone_do_not_depend_on_those_on_disk() {
    let world = World::new();
    let checkout = obtained(&world.spec(None));
    let before = seen(&checkout, &checkout.root);
    fs::set_permissions(checkout.root.join("text"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(checkout.root.join("bin"), fs::Permissions::from_mode(0o2770)).unwrap();
    assert_eq!(seen(&checkout, &checkout.root), before);
}

#[test]
fn what_git_does_not_track_is_as_on_disk() {
    let world = World::new();
    world.write("app/secret.env", "x", 0o600);
    world.write("app/made/here", "x", 0o640);
    let checkout = obtained(&SourceSpec::Directory(world.path("app")));
    let seen = seen(&checkout, &checkout.root);
    assert_eq!((seen["secret.env"].as_str(), seen["made/here"].as_str()), ("600 x", "640 x"));
}

#[test]
fn a_directory_below_a_work_tree_has_its_commit_and_modes() {
    let world = World::new();
    world.shell("app", "chmod -R go-rwx .", &[]);
    let checkout = obtained(&SourceSpec::Directory(world.path("app/bin")));
    assert_eq!(checkout.commit, Some(world.commit("app", "main")));
    assert_eq!(checkout.dirty, Some(false));
    assert_eq!(seen(&checkout, &checkout.root)["tools/run.sh"], "755 #!/bin/sh\n");
}

#[test]
fn changed_files_make_it_dirty_and_new_ones_do_not() {
    let world = World::new();
    world.write("app/new", "x", 0o644);
    assert_eq!(obtained(&SourceSpec::Directory(world.path("app"))).dirty, Some(false));
    world.write("app/text", "changed", 0o644);
    assert_eq!(obtained(&SourceSpec::Directory(world.path("app"))).dirty, Some(true));
}

#[test]
fn a_directory_outside_of_git_is_as_on_disk_and_is_never_written_to() {
    let world = World::new();
    world.write("plain/file", "x", 0o600);
    let checkout = obtained(&SourceSpec::Directory(world.path("plain")));
    assert_eq!((checkout.commit.as_ref(), checkout.dirty), (None, None));
    assert_eq!(seen(&checkout, &checkout.root)["file"], "600 x");

    let before = world.shell("", "find . | sort; cat app/.git/index | sha256sum", &[]);
    drop((checkout, obtained(&SourceSpec::Directory(world.path("app")))));
    assert_eq!(world.shell("", "find . | sort; cat app/.git/index | sha256sum", &[]), before);
}

#[test]
fn a_work_tree_with_submodules_has_their_modes_too() {
    let world = World::new();
    world.repository("lib");
    world.git("app", &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib", "lib"]);
    world.git("app", &["commit", "-qm", "submodule"]);
    world.shell("app", "chmod -R go-rwx .", &[]);
    let checkout = obtained(&SourceSpec::Directory(world.path("app")));
    let seen = seen(&checkout, &checkout.root);
    assert_eq!(seen["lib/text"], "644 one");
    assert!(seen["lib/.git"].starts_with("644 gitdir"), "{}", seen["lib/.git"]);
}
