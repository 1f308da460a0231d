//! What goes wrong while cachewarm fetches layers itself: it costs time, and never a wrong yes.

use std::fs;
use std::path::PathBuf;

use crate::fetching::{all_through, fetched_by_us, holds_only_whole_blobs, largest, layers};
use crate::support::ground::{random, runs};
use crate::support::judge::changed;
use crate::support::process::{after, using, wait_until};
use crate::support::{Ecr, Fault, Faults, Registry, Run, World, ground};

/// The request for the cache's largest layer.
fn request() -> String {
    format!("GET blobs {}", largest().0)
}

/// Panics unless the run was warm, with the layers that BuildKit had to fetch after all.
fn warm_all_the_same(run: Run) -> Run {
    let run = run.ends_warm();
    assert_ne!(run.reports("/transfer/fetch/left"), serde_json::json!([]), "{}", run.reports("/transfer"));
    assert!(run.stderr.contains("left to the builder to fetch"), "{}", run.stderr);
    run
}

#[test]
fn a_registry_that_knows_no_ranges_is_read_in_one_go() {
    let world = World::new();
    let (faults, donor) = all_through(&world);
    faults.always("GET blobs", Fault::NoRange);

    fetched_by_us(&world.warm().with(["--fetch", "auto"]).from([&donor]).run().ends_warm());

    for (digest, size) in layers() {
        assert_eq!(faults.bytes(&format!("GET {digest}")), size, "{:?}", faults.requests(&digest));
    }
    holds_only_whole_blobs(&world.root());
}

#[test]
fn a_range_that_was_not_asked_for_is_not_taken() {
    let world = World::new();
    let (faults, donor) = all_through(&world);
    faults.times(5, &request(), Fault::OtherRange);

    warm_all_the_same(world.warm().with(["--fetch", "auto"]).from([&donor]).run());

    holds_only_whole_blobs(&world.root());
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
}

#[test]
fn wrong_bytes_are_never_put_into_the_store() {
    for (times, is_ours) in [(1, true), (2, false)] {
        let world = World::new();
        let (faults, donor) = all_through(&world);
        faults.times(times, &request(), Fault::WrongBytes);

        let run = world.warm().with(["--fetch", "auto"]).from([&donor]).run();

        match is_ours {
            true => fetched_by_us(&run.ends_warm()),
            false => drop(warm_all_the_same(run)),
        }
        holds_only_whole_blobs(&world.root());
        world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
    }
}

#[test]
fn what_breaks_off_goes_on_where_it_did() {
    let world = World::new();
    let (faults, donor) = all_through(&world);
    faults.times(2, &request(), Fault::CutAfter(700_000));

    let run = world.warm().with(["--fetch", "auto"]).from([&donor]).run().ends_warm();

    fetched_by_us(&run);
    assert_eq!((run.reports("/transfer/fetch/retried"), run.reports("/transfer/fetch/resumed")), (2.into(), 2.into()));
    // What lay in the connection when it broke may have been lost.
    let (bytes, size) = (faults.bytes(&request()), largest().1);
    assert!((size..size + 2 * 700_000).contains(&bytes), "{bytes} bytes for {size}");
}

#[test]
fn a_registry_that_wants_to_be_asked_later_is() {
    let world = World::new();
    let (faults, donor) = all_through(&world);
    faults.times(2, &request(), Fault::Answer(429, "Retry-After: 1\r\n", String::new()));

    let run = world.warm().with(["--fetch", "auto"]).from([&donor]).run().ends_warm();

    fetched_by_us(&run);
    assert_eq!(run.reports("/transfer/fetch/retried"), 2);
}

#[test]
fn a_token_that_expires_midway_is_renewed() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    ecr.front.times(1, &request(), Ecr::expired());
    fetched_by_us(&world.warm().with(["--fetch", "auto"]).from([&ecr.donor()]).run().ends_warm());
    holds_only_whole_blobs(&world.root());
}

#[test]
fn layers_of_an_image_come_through_the_mirror_that_the_builder_has() {
    let world = World::new();
    let (faults, _) = all_through(&world);
    let project = world.path("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("Dockerfile"), "FROM busybox:1.35\nLABEL a=b\n").unwrap();

    let run =
        world.warm().with(["--fetch", "auto"]).source(["--context", project.to_str().unwrap()]).from([]).run().exits(0);

    assert_eq!(run.reports("/transfer/fetch/by"), "cachewarm");
    for (digest, size) in ground().registry.layers("library/busybox", "1.35") {
        assert_eq!(faults.bytes(&format!("GET {digest} ns=docker.io")), size, "{:?}", faults.requests("blobs"));
    }
    assert_eq!(run.reports("/transfer/fetch/left"), serde_json::json!([]));
    holds_only_whole_blobs(&world.root());
}

/// A root of its own with a short file where a layer belongs: BuildKit would keep that for ever.
#[test]
fn a_file_that_lies_there_and_is_not_the_blob_gives_way() {
    let world = World::new();
    let (digest, size) = largest();
    let blobs = world.root().join("runc-overlayfs/content/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = ground().registry.blob("team/sample", &digest);
    for bytes in [blob[..1000].to_vec(), vec![7; usize::try_from(size).unwrap()], blob.clone()] {
        fs::write(blobs.join(&digest[7..]), &bytes).unwrap();
        let (faults, donor) = all_through(&world);
        fetched_by_us(&world.warm().with(["--fetch", "auto"]).from([&donor]).run().ends_warm());
        let fetched = if bytes == blob { 0 } else { size };
        assert_eq!(faults.bytes(&request()), fetched);
        holds_only_whole_blobs(&world.root());
        world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
        for name in fs::read_dir(world.root()).unwrap() {
            let path = name.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        fs::create_dir_all(&blobs).unwrap();
        world.configure_builder("");
    }
}

/// A project with one layer that comes in several parts, its cache in a registry of its own, and a proxy before that.
struct Large {
    world: World,
    faults: Faults,
    donor: String,
    project: PathBuf,
    layer: (String, u64),
    _registry: Registry,
}

impl Large {
    fn new() -> Large {
        let world = World::new();
        let registry = Registry::open(&world.path("registry"), &world.path("registry/data"));
        let project = world.path("project");
        fs::create_dir(&project).unwrap();
        let made = "FROM busybox:1.35\nRUN head -c 36000000 /dev/urandom >/large\nRUN echo small >/small\n";
        fs::write(project.join("Dockerfile"), made).unwrap();
        let builder = world.daemon(&world.path("ci"), &world.path("ci/root"), &world.config());
        let cache = format!("type=registry,mode=max,ref={}/team/large:cache", registry.address());
        builder.build(&project, &["--export-cache", &cache]).succeeded();
        drop(builder);
        let _ = fs::remove_file(world.path("steps"));
        let faults = Faults::before(registry.address());
        let donor = format!("{}/team/large:cache", faults.address());
        let layer = registry.layers("team/large", "cache").remove(0);
        Large { world, faults, donor, project, layer, _registry: registry }
    }

    fn warm(&self) -> Run {
        let run = self
            .world
            .warm()
            .with(["--fetch", "auto"])
            .source(["--context", self.project.to_str().unwrap()])
            .from([&self.donor]);
        run.with(["--stall-timeout", "2s"]).run()
    }

    fn warms(&self) -> Run {
        let run = self.warm().exits(0);
        assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("warm".into(), 1.0.into()));
        holds_only_whole_blobs(&self.world.root());
        assert_eq!(self.world.steps_run(), Vec::<String>::new());
        self.world.left_nothing_running();
        run
    }

    fn request(&self) -> String {
        format!("GET blobs {}", self.layer.0)
    }
}

#[test]
fn a_large_layer_comes_in_parts_of_which_each_may_break_off_or_stand_still() {
    let large = Large::new();
    large.faults.times(2, &large.request(), Fault::CutAfter(3_000_000));
    large.faults.times(2, &large.request(), Fault::StallAfter(1_000_000));
    large.faults.times(1, &large.request(), Fault::Answer(503, "", String::new()));

    let run = large.warms();

    assert_eq!(run.reports("/transfer/fetch/left"), serde_json::json!([]));
    assert_eq!(run.reports("/transfer/fetch/retried"), 5);
    assert!(run.reports("/transfer/fetch/parts").as_u64().unwrap() >= 5, "{}", run.reports("/transfer"));
    let (bytes, size) = (large.faults.bytes(&large.request()), large.layer.1);
    assert!((size..size + 8_000_000).contains(&bytes), "{bytes} bytes for {size}");
}

#[test]
fn a_kill_at_any_point_leaves_whole_blobs_and_what_the_next_run_removes() {
    let large = Large::new();
    let mut random = random();
    for _ in 0..runs(6) {
        let _ = fs::remove_dir_all(large.world.root());
        let source = ["--context", large.project.to_str().unwrap()];
        let running = large.world.warm().with(["--fetch", "auto"]).source(source).from([&large.donor]).start();
        after(random(2_500));
        running.signal("KILL");
        running.ends();
        wait_until("the daemon ends", 30, || using(&large.world.root()).is_empty());
        large.warms();
    }
}
