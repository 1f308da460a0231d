//! Where the cache comes from: donors that are not what they should be, and networks that are not either.
//!
//! Two things hold throughout: nothing runs when a donor was bad from the start, and the exit code is never 0
//! with anything missing.

use std::fs;

use serde_json::json;

use crate::support::judge::changed;
use crate::support::registry::free_address;
use crate::support::{Fault, Faults, Registry, World, donor, ground};

/// The shared registry behind a proxy, and the cache's address there.
fn faulty() -> (Faults, String) {
    let faults = Faults::before(ground().registry.address());
    let donor = format!("{}/team/sample:cache", faults.address());
    (faults, donor)
}

/// The request for the cache's largest layer that no other image has.
fn largest_layer() -> String {
    let base = ground().registry.layers("library/busybox", "1.35");
    let layers = ground().registry.layers("team/sample", "cache");
    let own = layers.into_iter().find(|layer| !base.contains(layer)).unwrap();
    format!("GET team/sample {}", own.0)
}

#[test]
fn a_tag_that_is_not_there_stops_everything() {
    let world = World::new();
    world.warm().from([&donor("absent")]).run().blames(&["team/sample:absent", "hint:"]);
    world.built_nothing();
    world.left_nothing_running();
}

#[test]
fn an_image_that_is_no_cache_stops_everything() {
    let world = World::new();
    let image = format!("{}/library/busybox:1.35", ground().registry.address());
    world.warm().from([&image]).run().blames(&["library/busybox:1.35", "not a build cache"]);
    world.built_nothing();
}

#[test]
fn a_manifest_that_buildkit_would_not_read_stops_everything() {
    let world = World::new();
    let mut manifest = ground().registry.manifest("team/sample", "cache");
    manifest["annotations"] = json!({ "padding": "x".repeat(1 << 20) });
    ground().registry.put_manifest("team/sample", "large-manifest", &manifest);

    world.warm().from([&donor("large-manifest")]).run().blames(&["large-manifest", "manifest", "1048576"]);
    world.built_nothing();
}

#[test]
fn a_config_that_buildkit_would_not_read_stops_everything() {
    let world = World::new();
    let registry = &ground().registry;
    let mut manifest = registry.manifest("team/sample", "cache");
    let mut config = registry.blob("team/sample", manifest["config"]["digest"].as_str().unwrap());
    config.extend(vec![b' '; 1 << 20]);
    manifest["config"]["digest"] = registry.put_blob("team/sample", &config).into();
    manifest["config"]["size"] = config.len().into();
    registry.put_manifest("team/sample", "large-config", &manifest);

    world.warm().from([&donor("large-config")]).run().blames(&["large-config", "config", "1048576"]);
    world.built_nothing();
}

#[test]
fn a_blob_that_is_gone_stops_everything() {
    let world = World::new();
    let (faults, donor) = faulty();
    let digest = largest_layer().split(' ').next_back().unwrap().to_owned();
    faults.always(&digest, Fault::status(404));

    world.warm().from([&donor]).run().blames(&[&donor, &digest[..19]]);
    world.built_nothing();
}

#[test]
fn a_registry_that_is_down_stops_everything() {
    let world = World::new();
    let donor = format!("{}/team/sample:cache", free_address());
    world.warm().from([&donor]).run().blames(&[&donor, "hint:"]);
    world.built_nothing();
}

#[test]
fn a_registry_that_only_fails_stops_everything() {
    for status in [500, 429] {
        let world = World::new();
        let (faults, donor) = faulty();
        faults.always("team/sample", Fault::status(status));
        world.warm().from([&donor]).run().blames(&[&donor, &status.to_string()]);
        world.built_nothing();
    }
}

/// As BuildKit passes over it: a branch's own cache is there once its first build is done.
#[test]
fn a_donor_that_is_absent_is_passed_over_where_another_one_is_there() {
    let world = World::new();
    let (absent, good) = (donor("absent"), donor("cache"));

    let run = world.warm().from([&absent, &good]).run().ends_warm();
    assert_eq!((run.reports("/donors/0/usable"), run.reports("/donors/1/usable")), (false.into(), true.into()));
    assert!(run.stderr.contains(&format!("passed over the cache {absent}")), "{}", run.stderr);

    let alone = World::new();
    alone.warm().from([&absent]).run().blames(&[&absent]);
    alone.warm().from([&absent]).with(["--donor-optional"]).run().blames(&[&absent]);
    alone.built_nothing();
}

#[test]
fn a_donor_that_fails_may_be_optional_when_another_one_works() {
    let world = World::new();
    let (faults, broken) = faulty();
    faults.always("team/sample", Fault::status(500));

    world.warm().from([&broken, &donor("cache")]).run().blames(&[&broken, "--cache-optional"]);
    world.built_nothing();
    let run = world.warm().from([&broken, &donor("cache")]).with(["--cache-optional"]).run().ends_warm();
    assert_eq!((run.reports("/donors/0/usable"), run.reports("/donors/1/usable")), (false.into(), true.into()));
}

#[test]
fn the_commit_may_stand_in_a_donors_tag() {
    let world = World::new();
    let manifest = ground().registry.manifest("team/sample", "cache");
    ground().registry.put_manifest("team/sample", &ground().commit, &manifest);

    let run = world.warm().from([&donor("{rev}")]).run().ends_warm();

    assert_eq!(run.reports("/donors/0/ref"), donor(&ground().commit));
}

#[test]
fn a_private_registry_takes_dockers_login_and_nothing_else() {
    let world = World::new();
    let registry = Registry::behind_login(&world.path("registry"), &crate::support::ground::data(), "opensesame");
    let donor = format!("{}/team/sample:cache", registry.address());
    world.warm().from([&donor]).run().blames(&[&donor, "docker login"]);
    world.built_nothing();

    let login = |token: &str| {
        let auths = json!({ "auths": { registry.address().to_string(): { "auth": token } } });
        fs::create_dir_all(world.path("home/.docker")).unwrap();
        fs::write(world.path("home/.docker/config.json"), auths.to_string()).unwrap();
    };
    login("QVdTOndyb25n");
    world.warm().from([&donor]).run().blames(&[&donor]);
    world.built_nothing();

    login("QVdTOm9wZW5zZXNhbWU=");
    world.warm().from([&donor]).run().ends_warm();
}

#[test]
fn a_blob_that_breaks_off_is_asked_for_again() {
    let world = World::new();
    let (faults, donor) = faulty();
    faults.times(2, &largest_layer(), Fault::CutAfter(500_000));

    world.warm().from([&donor]).run().ends_warm();

    assert!(faults.requests(&largest_layer()).len() >= 3);
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
}

#[test]
fn a_blob_that_stalls_is_asked_for_again() {
    let world = World::new();
    let (faults, donor) = faulty();
    faults.times(1, &largest_layer(), Fault::StallAfter(500_000));

    let run = world.warm().from([&donor]).with(["--stall-timeout", "3s"]).run().ends_warm();

    assert!(run.stderr.contains("nothing moved for 3"), "{}", run.stderr);
    world.judged(&world.root(), changed("csrc/kernel.c"));
}

#[test]
fn a_passing_error_of_the_registry_is_no_reason_to_fail() {
    for status in [500, 429, 503] {
        let world = World::new();
        let (faults, donor) = faulty();
        faults.times(1, "HEAD blobs", Fault::status(status));
        faults.times(1, &largest_layer(), Fault::status(status));
        world.warm().from([&donor]).run().ends_warm();
    }
}

/// A blob that every check in advance found, and that never comes: not warm, and nothing runs in its place.
fn never_comes(fault: Fault) {
    let world = World::new();
    let (faults, donor) = faulty();
    faults.always(&largest_layer(), fault);

    world.warm().from([&donor]).with(["--stall-timeout", "2s"]).run().fails();

    assert_eq!(world.steps_run(), Vec::<String>::new(), "a step ran because of a bad donor");
    world.left_nothing_running();
    faults.behave();
    world.warm().from([&donor]).run().ends_warm();
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
}

#[test]
fn a_blob_that_is_gone_when_it_is_fetched_is_not_warm() {
    never_comes(Fault::status(404));
}

#[test]
fn a_blob_that_is_forbidden_when_it_is_fetched_is_not_warm() {
    never_comes(Fault::status(403));
}

#[test]
fn a_blob_that_the_registry_fails_on_is_not_warm() {
    never_comes(Fault::status(500));
}

#[test]
fn a_blob_that_is_always_throttled_is_not_warm() {
    never_comes(Fault::status(429));
}

#[test]
fn a_blob_with_wrong_bytes_is_not_warm() {
    never_comes(Fault::WrongBytes);
}

#[test]
fn a_blob_that_never_moves_is_not_warm() {
    never_comes(Fault::StallAfter(0));
}

#[test]
fn a_blob_that_breaks_off_before_its_first_byte_is_not_warm() {
    never_comes(Fault::CutAfter(0));
}
