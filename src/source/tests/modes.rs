//! A directory looks as it lies on disk; a clone of ours as CI's, whatever umask it was made under.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::world::{World, explanation, obtained, seen, try_obtain_with};
use crate::failure::Kind;
use crate::source::{Changes, Checkout, ModeRule, SourceSpec};

fn with_modes(spec: &SourceSpec, rule: &str) -> Checkout {
    let rule = rule.parse().expect("a rule");
    try_obtain_with(spec, Some(rule)).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn a_directory_is_as_on_disk() {
    let world = World::new();
    for (umask, text, script) in [("0077", "600", "700"), ("0002", "664", "775"), ("0000", "666", "777")] {
        world.shell("", &format!("umask {umask}; git clone -q app copy-{umask}"), &[]);
        let checkout = obtained(&SourceSpec::Directory(world.path(&format!("copy-{umask}"))));
        let seen = seen(&checkout, &checkout.root);
        let expected = [format!("{text} two"), format!("{script} #!/bin/sh\n"), format!("{script} /")];
        assert_eq!([&seen["text"], &seen["bin/tools/run.sh"], &seen["bin/tools"]], expected.each_ref());
        assert_eq!(seen["link"], "777 -> text");
    }
}

#[test]
fn a_directory_of_git_s_modes_looks_as_our_clone() {
    let world = World::new();
    world.shell("", "umask 0077; git clone -q app copy", &[]);
    let copy = SourceSpec::Directory(world.path("copy"));
    for rule in ["git", "umask=000", "umask=027"] {
        let (theirs, ours) = (with_modes(&copy, rule), with_modes(&world.spec(None), rule));
        assert_eq!(seen(&theirs, &theirs.root), seen(&ours, &ours.root), "{rule}");
    }
    let ours = obtained(&world.spec(None));
    let expected = [
        ("", "755 /"),
        ("bin", "755 /"),
        ("bin/tools", "755 /"),
        ("bin/tools/run.sh", "755 #!/bin/sh\n"),
        ("link", "777 -> text"),
        ("text", "644 two"),
    ];
    let expected = expected.map(|(path, view)| (path.to_owned(), view.to_owned()));
    assert_eq!(seen(&ours, &ours.root), expected.into_iter().collect());
}

#[test]
fn our_clone_looks_as_one_that_git_made_under_the_umask() {
    let world = World::new();
    for umask in ["000", "022", "027"] {
        world.shell("", &format!("umask {umask}; git clone -q app copy-{umask}"), &[]);
        let theirs = obtained(&SourceSpec::Directory(world.path(&format!("copy-{umask}"))));
        let ours = with_modes(&world.spec(None), &format!("umask={umask}"));
        assert_eq!(seen(&ours, &ours.root), seen(&theirs, &theirs.root), "{umask}");
    }
}

#[test]
fn the_modes_of_our_clone_do_not_depend_on_those_on_disk_unless_asked() {
    let world = World::new();
    let checkout = obtained(&world.spec(None));
    let before = seen(&checkout, &checkout.root);
    let spoil = |checkout: &Checkout| {
        fs::set_permissions(checkout.root.join("text"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(checkout.root.join("bin"), fs::Permissions::from_mode(0o2770)).unwrap();
    };
    spoil(&checkout);
    assert_eq!(seen(&checkout, &checkout.root), before);
    let checkout = with_modes(&world.spec(None), "disk");
    spoil(&checkout);
    let seen = seen(&checkout, &checkout.root);
    assert_eq!((seen["text"].as_str(), seen["bin"].as_str()), ("600 two", "2770 /"));
}

#[test]
fn what_git_does_not_track_is_as_on_disk() {
    let world = World::new();
    world.write("app/secret.env", "x", 0o600);
    world.write("app/made/here", "x", 0o640);
    let checkout = with_modes(&SourceSpec::Directory(world.path("app")), "git");
    let seen = seen(&checkout, &checkout.root);
    assert_eq!((seen["secret.env"].as_str(), seen["made/here"].as_str()), ("600 x", "640 x"));
}

#[test]
fn a_directory_below_a_work_tree_has_its_commit_and_modes() {
    let world = World::new();
    world.shell("app", "chmod -R go-rwx .", &[]);
    let checkout = with_modes(&SourceSpec::Directory(world.path("app/bin")), "git");
    assert_eq!(checkout.commit, Some(world.commit("app", "main")));
    assert_eq!(checkout.changes, Some(Changes::default()));
    assert_eq!(seen(&checkout, &checkout.root)["tools/run.sh"], "755 #!/bin/sh\n");
}

#[test]
fn what_differs_from_the_commit_is_counted() {
    let world = World::new();
    let changes = |world: &World| {
        let changes = obtained(&SourceSpec::Directory(world.path("app"))).changes.expect("git can tell");
        (changes.changed, changes.untracked)
    };
    world.write("app/.gitignore", "*.log\n", 0o644);
    world.git("app", &["add", ".gitignore"]);
    world.git("app", &["commit", "-qm", "ignore"]);
    assert_eq!(changes(&world), (0, 0));
    world.write("app/new/one", "x", 0o644);
    world.write("app/new/two", "x", 0o644);
    world.write("app/a.log", "x", 0o644);
    assert_eq!(changes(&world), (0, 1));
    world.write("app/text", "changed", 0o644);
    world.shell("app", "chmod -x bin/tools/run.sh", &[]);
    assert_eq!(changes(&world), (2, 1));
}

/// What git's filters write is something else than what is recorded.
#[test]
fn files_of_a_filter_are_not_called_changed() {
    let world = World::new();
    world.write("app/.gitattributes", "*.bin filter=lfs\n", 0o644);
    world.write("app/a.bin", "pointer", 0o644);
    world.git("app", &["add", "."]);
    world.git("app", &["commit", "-qm", "filtered"]);
    world.write("app/a.bin", "the real bytes", 0o644);
    assert_eq!(obtained(&SourceSpec::Directory(world.path("app"))).changes, Some(Changes::default()));
}

#[test]
fn a_directory_outside_of_git_is_as_on_disk_and_is_never_written_to() {
    let world = World::new();
    world.write("plain/file", "x", 0o600);
    let plain = SourceSpec::Directory(world.path("plain"));
    let checkout = obtained(&plain);
    assert_eq!((checkout.commit.as_ref(), checkout.changes), (None, None));
    assert_eq!(seen(&checkout, &checkout.root)["file"], "600 x");
    let (kind, text, hint) = explanation(try_obtain_with(&plain, Some(ModeRule::GIT)));
    assert_eq!(kind, Kind::Usage);
    assert!(text.ends_with("git tracks none of them") && hint.contains("leave --modes out"), "{text}; {hint}");

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
    let checkout = with_modes(&SourceSpec::Directory(world.path("app")), "git");
    let seen = seen(&checkout, &checkout.root);
    assert_eq!(seen["lib/text"], "644 one");
    assert!(seen["lib/.git"].starts_with("644 gitdir"), "{}", seen["lib/.git"]);
}

#[test]
fn a_url_that_the_builder_fetches_has_modes_of_its_own() {
    let remote = SourceSpec::Remote("https://example.com/r.git#main".into());
    let (kind, text, hint) = explanation(try_obtain_with(&remote, Some(ModeRule::GIT)));
    assert_eq!(kind, Kind::Usage);
    assert!(text.contains("could not use --modes") && hint.contains("--repo"), "{text}; {hint}");
    assert!(try_obtain_with(&remote, None).is_ok());
}
