//! Directories that are clones of every kind: their commit is known, whatever libgit2 makes of them.

use super::world::{World, explanation, obtained};
use crate::failure::Kind;
use crate::source::SourceSpec;
use crate::targets::{Context, Target, flags};

/// Each kind of clone, by the line that makes it of `app` in `copy`.
const KINDS: [(&str, &str); 16] = [
    ("plain", "git clone -q app copy"),
    ("shallow", "git clone -q --depth 1 file://$PWD/app copy"),
    ("detached", "git clone -q app copy; git -C copy checkout -q --detach"),
    ("packed", "git clone -q app copy; git -C copy pack-refs --all; rm -rf copy/.git/refs/heads/*"),
    (
        "partial",
        "git clone -q app copy; git -C copy config extensions.partialClone origin; git -C copy config core.repositoryformatversion 1",
    ),
    ("sparse index", "git clone -q app copy; git -C copy sparse-checkout set --cone --sparse-index bin/tools"),
    ("sparse", "git clone -q --sparse app copy; git -C copy sparse-checkout set --no-cone /Dockerfile"),
    ("by tree", "git clone -q --filter=tree:0 --depth 1 file://$PWD/app copy"),
    ("split index", "git clone -q app copy; git -C copy update-index --split-index"),
    ("sha256", "git init -q -b main --object-format=sha256 copy; cd copy; echo 1 >text; git add .; git commit -qm one"),
    ("worktree", "git -C app worktree add -q ../copy -b tree"),
    ("alternates", "git clone -q --shared app copy"),
    (
        "submodule",
        "git init -q outer; git -C outer -c protocol.file.allow=always submodule --quiet add ../app app; ln -s outer/app copy",
    ),
    ("fsmonitor", "git clone -q app copy; git -C copy config core.fsmonitor \"touch $PWD/ran;:\""),
    ("another's", "git clone -q app copy; chown -R 12345:12345 copy"),
    ("link of old", "git clone -q app copy; ln -sf refs/heads/main copy/.git/HEAD"),
];

fn donor(world: &World) -> Result<String, String> {
    let spec = SourceSpec::Directory(world.path("copy"));
    let mut target = Target::new("default", Context::Local(world.path("copy")));
    target.donors = flags::cache_from("{rev}").unwrap();
    let resolved = obtained(&spec).resolve(vec![target]).map_err(|error| format!("{error:#}"))?;
    Ok(resolved[0].donors[0].reference.clone())
}

#[test]
fn a_clone_of_any_kind_has_its_commit() {
    for (kind, line) in KINDS {
        let world = World::new();
        world.write("app/Dockerfile", "FROM scratch\n", 0o644);
        world.git("app", &["add", "."]);
        world.git("app", &["commit", "-qm", "a build"]);
        world.shell("", line, &[]);
        world.write("copy/Dockerfile", "FROM scratch\n", 0o644);
        // git itself asks nobody whose repository it is.
        let commit = world.shell("", "git -c safe.directory='*' -C copy rev-parse HEAD", &[]);
        assert_eq!(donor(&world), Ok(commit), "{kind}");
        let changes = obtained(&SourceSpec::Directory(world.path("copy"))).changes;
        assert!(changes.is_none_or(|changes| changes.changed == 0), "{kind}: {changes:?}");
        assert!(!world.path("ran").exists(), "{kind}: the checkout had a program run");
    }
}

#[test]
fn a_commit_that_is_not_known_is_no_commit_that_is_not_there() {
    let world = World::new();
    world.write("copy/Dockerfile", "FROM scratch\n", 0o644);
    let told = |world: &World| donor(world).expect_err("no commit").replace(&world.path("").display().to_string(), "/");
    insta::assert_snapshot!(told(&world), @"the cache {rev} names {rev}, and the commit of /copy is not known: it is no work tree of git");
    world.shell("copy", "git init -q", &[]);
    insta::assert_snapshot!(told(&world), @"the cache {rev} names {rev}, and the commit of /copy is not known: its branch has none yet");
    world.write("copy/.git/HEAD", "rubbish", 0o644);
    insta::assert_snapshot!(told(&world), @"the cache {rev} names {rev}, and the commit of /copy is not known: it could not be read: HEAD leads to what is no commit");
}

#[test]
fn git_s_modes_of_an_index_that_libgit2_cannot_read_are_no_guess() {
    let world = World::new();
    world.shell("", "git clone -q app copy; git -C copy update-index --split-index", &[]);
    let rule = Some(crate::source::ModeRule::GIT);
    let (kind, text, hint) =
        explanation(super::world::try_obtain_with(&SourceSpec::Directory(world.path("copy")), rule));
    assert_eq!(kind, Kind::Environment, "{text}");
    assert!(text.contains("the modes of umask=022") && hint.contains("leave --modes out"), "{text}; {hint}");
}
