//! Layers that cachewarm fetches itself, into the store of a builder on this machine.
//!
//! Three things hold throughout: BuildKit asks no registry for what was put there, what is put there is whole, and what goes
//! wrong costs time only.

use std::fs;
use std::path::{Path, PathBuf};

use crate::seal::machine;
use crate::support::judge::{changed, copied};
use crate::support::process::{using, wait_until};
use crate::support::registry::digest_of;
use crate::support::{Fault, Faults, Run, World, ground};

/// The shared registry behind a proxy that stands for all of it, and the cache's address there.
pub(crate) fn all_through(world: &World) -> (Faults, String) {
    let faults = Faults::before(ground().registry.address());
    let config = fs::read_to_string(world.config()).unwrap();
    let (direct, through) = (ground().registry.address().to_string(), faults.address().to_string());
    fs::write(world.config(), config.replace(&direct, &through)).unwrap();
    let donor = format!("{through}/team/sample:cache");
    (faults, donor)
}

/// The layers of the sample's cache: digests and sizes.
pub(crate) fn layers() -> Vec<(String, u64)> {
    let mut layers = ground().registry.layers("team/sample", "cache");
    layers.sort();
    layers.dedup();
    layers
}

/// The cache's largest layer that no other image has.
pub(crate) fn largest() -> (String, u64) {
    let base = ground().registry.layers("library/busybox", "1.35");
    let layers = ground().registry.layers("team/sample", "cache");
    layers.into_iter().find(|layer| !base.contains(layer)).unwrap()
}

/// The store of a root.
fn store(root: &Path) -> PathBuf {
    root.join("runc-overlayfs/content")
}

/// Panics when a file of the store is not what its name says, or something of ours is left there.
pub(crate) fn holds_only_whole_blobs(root: &Path) {
    for entry in fs::read_dir(store(root).join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("sha256:{}", path.file_name().unwrap().to_str().unwrap());
        assert_eq!(digest_of(&fs::read(&path).unwrap()), name);
    }
    let names = fs::read_dir(store(root)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.contains("cachewarm")).collect();
    assert_eq!(left, Vec::<String>::new(), "temporary files are left");
}

/// Panics unless cachewarm itself fetched every layer of the cache that nothing needed before.
pub(crate) fn fetched_by_us(run: &Run) {
    assert_eq!(run.reports("/transfer/fetch/by"), "cachewarm", "{}", run.reports("/transfer"));
    assert_eq!(run.reports("/transfer/fetch/left"), serde_json::json!([]));
    assert!(run.reports("/transfer/fetch/blobs").as_u64().unwrap() >= 5, "{}", run.reports("/transfer"));
}

#[test]
fn every_byte_is_fetched_once() {
    let world = World::new();
    let (faults, donor) = all_through(&world);

    let run = world.warm().with(["--fetch", "auto"]).from([&donor]).run().ends_warm();

    fetched_by_us(&run);
    for (digest, size) in layers() {
        assert_eq!(faults.bytes(&format!("GET {digest}")), size, "{:?}", faults.requests(&digest));
    }
    holds_only_whole_blobs(&world.root());
    world.left_nothing_running();
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
}

#[test]
fn a_running_daemon_takes_them_as_they_are() {
    for world in [World::new(), World::older()] {
        let (faults, donor) = all_through(&world);
        let builder = world.daemon(&world.path("daemon"), &world.root(), &world.config());

        let run = world.warm().with(["--fetch", "auto"]).from([&donor]).builder(&builder.address()).run().ends_warm();

        fetched_by_us(&run);
        for (digest, size) in layers() {
            assert_eq!(faults.bytes(&format!("GET {digest}")), size, "{:?}", faults.requests(&digest));
        }
        drop(builder);
        holds_only_whole_blobs(&world.root());
        world.judged(&world.root(), changed("csrc/kernel.c"));
    }
}

#[test]
fn the_builder_fetches_where_it_is_told_to() {
    let world = World::new();
    let run = world.warm().run().ends_warm();
    assert_eq!(run.reports("/transfer/fetch/by"), "builder");
    assert!(!run.stdout.contains("by cachewarm"), "{}", run.stdout);
}

/// What the builder's own fetching left, and why it was that.
fn fetched_by_the_builder(run: &Run, why: &str) {
    assert_eq!(run.reports("/transfer/fetch/by"), "builder", "{}", run.reports("/transfer"));
    let told = run.reports("/transfer/fetch/why").to_string();
    assert!(told.contains(why), "no `{why}` in {told}");
    assert!(run.stderr.contains("the builder fetches the layers itself"), "{}", run.stderr);
}

#[test]
fn a_store_that_cannot_be_written_is_left_to_the_builder() {
    let mut world = World::new();
    let builder = world.daemon(&world.path("daemon"), &world.root(), &world.config());
    world.read_only();

    let run = world.warm().with(["--fetch", "auto"]).builder(&builder.address()).run().ends_warm();

    fetched_by_the_builder(&run, "content");
    drop(builder);
    holds_only_whole_blobs(&world.root());
}

/// A copy of a root has the worker's id of the original, and another daemon may be using it.
#[test]
fn nothing_is_put_into_a_root_that_is_not_the_builders() {
    let world = World::new();
    let other = world.path("other");
    drop(world.daemon(&world.path("daemon"), &other, &world.config()));
    copied(&other, world.folder());
    let builder = world.daemon(&world.path("daemon"), &other, &world.config());
    let files = || {
        let files = fs::read_dir(store(&world.root()).join("blobs/sha256")).into_iter().flatten();
        files.count()
    };
    assert_eq!(files(), 0);

    let run = world.warm().with(["--fetch", "auto"]).builder(&builder.address()).run().fails();
    fetched_by_the_builder(&run, "no daemon of this machine holds");
    assert_eq!(files(), 0);

    builder.prune();
    let _holder = world.daemon(&world.path("holder"), &world.root(), &world.config());
    world.warm().with(["--fetch", "auto"]).builder(&builder.address()).run().fails();
    assert_eq!(files(), 0);
}

#[test]
fn what_a_killed_run_was_fetching_goes_with_a_seal() {
    let world = World::new();
    let (faults, donor) = all_through(&world);
    faults.always(&format!("GET blobs {}", largest().0), Fault::StallAfter(300_000));
    let running = world.warm().with(["--fetch", "auto"]).from([&donor]).start();
    let left = || {
        let entries = fs::read_dir(store(&world.root())).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".cachewarm-fetch-")).count()
    };
    wait_until("a blob is on its way", 60, || !faults.requests(&format!("GET blobs {}", largest().0)).is_empty());
    running.signal("KILL");
    running.ends();
    wait_until("the daemon ends", 30, || using(&world.root()).is_empty());
    assert_eq!(left(), 2, "a directory and its lock");

    world.seal(&machine(&world, &[]), &["--fix"]).fails();

    assert_eq!(left(), 0);
}
