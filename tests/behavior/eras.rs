//! Roots of one BuildKit that another one uses: v0.33.1 gave layers new names, and does not find those with the old ones
//! by their blobs. The judge is that other BuildKit.

use std::path::Path;

use serde_json::Value;

use super::seal::machine;

use crate::support::builder::Built;
use crate::support::ground::tool;
use crate::support::judge::{Judged, changed, copied};
use crate::support::registry::made;
use crate::support::{Builder, World, donor, ground};

/// Layers of the sample's cache.
const LAYERS: usize = 11;

fn older() -> String {
    tool("BUILDKITD_OLDER").display().to_string()
}

fn newer() -> String {
    tool("BUILDKITD").display().to_string()
}

/// A world whose root an older BuildKit has warmed.
fn warmed_by_an_older_one() -> World {
    let world = World::new();
    world.warm().builder(&format!("spawn:{}", older())).run().ends_warm();
    world
}

/// What a buildkitd does on a copy of the root that builds the sample with a test changed, with the cache in reach or not.
fn judged(world: &World, program: &str, imports: bool) -> Judged {
    let folder = tempfile::Builder::new().prefix("judge").tempdir_in(world.folder()).unwrap();
    let copy = copied(&world.root(), folder.path());
    let context = folder.path().join("context");
    crate::support::git::sample(&context);
    changed("tests/test_kernel.py")(&context);
    let daemon = made(folder.path().join("daemon"));
    let builder = Builder::started_by(crate::support::process::command(program), &daemon, &copy, &world.config());
    let import = format!("type=registry,ref={}", donor("cache"));
    let more = if imports { vec!["--import-cache", import.as_str()] } else { Vec::new() };
    let built: Built = builder.build(&context, &more).succeeded();
    let judged = Judged::of(&built);
    assert_eq!(judged.ran, ["test 1/2", "test 2/2"]);
    judged
}

/// `check` of the root for a BuildKit that uses it, with the sample's cache.
fn checked(world: &World, root: &Path, used_by: &str) -> crate::support::Run {
    let config = world.config().display().to_string();
    world.check(root, &["--cache-from", &donor("cache"), "--used-by", used_by, "--buildkitd-config", &config])
}

/// The root of a world is what the daemon that made it finds, with and without a cache, to those who look at it afterwards.
pub(crate) fn found_by_check_and_smoke(world: &World) {
    let run = checked(world, &world.root(), world.buildkitd().to_str().unwrap()).ends_warm();
    assert_eq!(run.reports("/used_by/unpacked_again"), 0, "{}", run.stdout);
    let run = world.smoke(&world.root(), &ground().sample, &[]).exits(0);
    assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("warm".into(), 1.0.into()));
}

#[test]
fn what_a_newer_buildkit_unpacks_again_is_not_warm_for_it() {
    let world = warmed_by_an_older_one();
    assert_ne!(judged(&world, &newer(), true).extracted, Vec::<String>::new());
    assert_eq!(judged(&world, &newer(), false).extracted, Vec::<String>::new());
    assert_eq!(judged(&world, &older(), true).extracted, Vec::<String>::new());

    let run = checked(&world, &world.root(), &newer()).exits(5);
    assert_eq!(run.reports("/donors/0/coverage/extracted"), 0);
    assert_eq!(run.reports("/donors/0/coverage/legacy"), LAYERS);
    assert!(run.reports("/donors/0/unpacked_again_bytes").as_u64().unwrap() > 1 << 20);
    assert_eq!(run.reports("/used_by/writers"), Value::from(vec!["one before v0.33.1"]));
    assert!(run.reports("/used_by/unpacked_again").as_u64().unwrap() >= LAYERS as u64);
    assert!(run.reports("/reasons").to_string().contains("unpacks"), "{}", run.stdout);

    // By its version, or as it is found, it is the same one.
    let version = run.reports("/used_by/buildkit_version").as_str().unwrap().to_owned();
    checked(&world, &world.root(), &version).exits(5);
    let run = checked(&world, &world.root(), &older()).ends_warm();
    assert_eq!(run.reports("/donors/0/coverage/extracted"), LAYERS);
    // Without a cache source, nothing is unpacked; a person is told all the same.
    let run = world.check(&world.root(), &[]).ends_warm();
    assert!(run.reports("/notes").to_string().contains("unpacks"), "{}", run.stdout);
}

#[test]
fn after_a_newer_buildkit_has_warmed_it_layers_are_counted_once() {
    let world = warmed_by_an_older_one();
    let before = world.check(&world.root(), &[]).ends_warm();
    let run = world.warm().run().ends_warm();
    assert!(run.reports("/notes").to_string().contains("unpack"), "{}", run.stdout);
    assert_eq!(judged(&world, &newer(), true).extracted, Vec::<String>::new());

    let run = checked(&world, &world.root(), &newer()).ends_warm();
    assert_eq!(run.reports("/donors/0/coverage/extracted"), LAYERS);
    for figure in ["total", "extracted"] {
        let path = format!("/layers/{figure}");
        assert_eq!(run.reports(&path), before.reports(&path), "{figure}");
    }
    assert!(run.reports("/notes").to_string().contains("unpacked twice"), "{}", run.stdout);
    checked(&world, &world.root(), &older()).ends_warm();
}

#[test]
fn a_root_of_a_newer_buildkit_is_as_warm_for_an_older_one() {
    let world = World::new();
    world.warm().run().ends_warm();
    assert_eq!(judged(&world, &older(), true).extracted, Vec::<String>::new());
    checked(&world, &world.root(), &older()).ends_warm();
    checked(&world, &world.root(), &newer()).ends_warm();
}

#[test]
fn smoke_names_what_a_cache_source_would_have_unpacked_again() {
    let world = warmed_by_an_older_one();
    let run = world.smoke(&world.root(), &ground().sample, &[]).exits(0);
    assert!(run.reports("/notes").to_string().contains("unpacks"), "{}", run.stdout);
    let older = format!("spawn:{}", older());
    let run = world.smoke(&world.root(), &ground().sample, &["--builder", &older]).exits(0);
    assert!(!run.reports("/notes").to_string().contains("unpacks"), "{}", run.stdout);
}

/// `src/era.rs` is the one place that knows what which version does.
#[test]
fn nowhere_else_a_version_decides() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_version = |text: &str| {
        let number = text.strip_prefix('v').unwrap_or(text);
        let is_whole = text.starts_with('v') || number.matches('.').count() == 2;
        is_whole && number.starts_with("0.") && number.chars().all(|it| it == '.' || it.is_ascii_digit())
    };
    let mut wrong = Vec::new();
    for (path, text) in crate::layers::files(&source) {
        let is_of_tests = ["tests", "sample", "fixture"].iter().any(|word| path.contains(word));
        if is_of_tests || path == "era.rs" {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            if line.split('"').any(is_version) || line.contains("era::Version {") {
                wrong.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "a version outside of src/era.rs:\n{}", wrong.join("\n"));
}

/// Newer daemons leave the list of free pages to their last transaction.
#[test]
fn a_root_whose_daemon_was_killed_is_told_from_one_that_stopped_and_is_not_sealed_so() {
    let world = World::new();
    world.warm().run().ends_warm();
    let stopped = |state: &str| {
        let run = world.check(&world.root(), &[]).ends_warm();
        assert_eq!(run.reports("/used_by/stopped"), state, "{}", run.stdout);
    };
    stopped("clean");
    let mut builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    builder.build(&ground().sample, &[]).succeeded();
    stopped("running");
    builder.kill();
    drop(builder);
    stopped("not-clean");

    let system = machine(&world, &[]);
    let run = world.seal(&system, &[]).exits(5);
    assert!(run.stdout.contains("did not stop cleanly"), "{}", run.stdout);
    world.seal(&system, &["--fix"]).exits(0);
    stopped("clean");
    let marker: Value = serde_json::from_slice(&std::fs::read(world.path("sealed.json")).unwrap()).unwrap();
    assert_eq!(marker["writers"], Value::from(vec!["v0.34.0 or later"]));
}

#[test]
fn what_a_compaction_left_is_no_part_of_an_image() {
    let world = World::new();
    world.warm().run().ends_warm();
    let system = machine(&world, &[]);
    world.seal(&system, &["--fix"]).exits(0);
    let (copy, notes) = (world.root().join("cache.db.compact"), world.root().join(".compact-state-12"));
    let kept = world.root().join("cache.db.compact-state");
    std::fs::copy(world.root().join("cache.db"), &copy).unwrap();
    std::fs::write(&notes, "{}").unwrap();
    std::fs::write(&kept, "{}").unwrap();

    let run = world.seal(&system, &[]).exits(5);
    assert!(run.stdout.contains("compaction"), "{}", run.stdout);
    world.seal(&system, &["--fix"]).exits(0);
    assert!(!copy.exists() && !notes.exists() && kept.exists());
}
