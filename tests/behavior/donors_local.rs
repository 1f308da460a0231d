//! A cache in a directory, `type=local`: what BuildKit exports to it is found, and what is wrong with it is said.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::judge::changed;
use crate::support::{Builder, World, ground};

/// The sample's cache, exported to a directory of the world.
fn exported(world: &World) -> PathBuf {
    let directory = world.path("cache");
    let builder = Builder::start(&world.path("ci"), &world.path("ci/root"), &world.config());
    let export = format!("type=local,mode=max,dest={}", directory.display());
    builder.build(&ground().sample, &["--export-cache", &export]).succeeded();
    directory
}

fn import(directory: &Path) -> String {
    format!("type=local,src={}", directory.display())
}

/// The only manifest of a directory.
fn manifest(directory: &Path) -> serde_json::Value {
    let index: serde_json::Value = serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap();
    serde_json::from_slice(&fs::read(blob(directory, &index["manifests"][0])).unwrap()).unwrap()
}

fn blob(directory: &Path, descriptor: &serde_json::Value) -> PathBuf {
    directory.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
}

#[test]
fn every_layer_of_a_directory_is_warm_and_the_directory_is_not_needed_any_more() {
    let world = World::new();
    let cache = exported(&world);
    let run = world.warm().from([&import(&cache)]).with(["--on-miss", "fail"]).run().ends_warm();
    assert_eq!((run.reports("/hit_rate"), run.reports("/donors/0/layers")), (1.0.into(), 11.into()));
    world.check(&world.root(), &["--cache-from", &import(&cache)]).exits(0);
    fs::remove_dir_all(&cache).unwrap();
    world.judged(&world.root(), |_| ()).ran_only(&[]);
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
}

#[test]
fn a_daemon_that_runs_reads_it_from_us() {
    let world = World::new();
    let cache = exported(&world);
    let root = world.path("daemon/root");
    let running = Builder::start(&world.path("daemon"), &root, &world.config());
    let warm = world.warm().from([&import(&cache)]).builder(&running.address()).without_root();
    warm.with(["--root", root.to_str().unwrap(), "--on-miss", "fail"]).run().ends_warm();
}

#[test]
fn a_bake_file_names_it_if_the_caller_allows_that() {
    let world = World::new();
    let cache = exported(&world);
    let context = ground().sample.display();
    let bake = format!(
        r#"{{"target": {{"default": {{"context": "{context}", "cache-from": [{{"type": "local", "src": "{}"}}]}}}}}}"#,
        cache.display()
    );
    fs::write(world.path("bake.json"), bake).unwrap();
    let allowed = format!("--allow=fs.read={context}");
    let bake = ["--bake", "bake.json", &allowed];
    let outside = tempfile::tempdir().unwrap();
    fs::rename(&cache, outside.path().join("cache")).unwrap();
    let text = fs::read_to_string(world.path("bake.json")).unwrap();
    let moved = outside.path().join("cache").display().to_string();
    fs::write(world.path("bake.json"), text.replace(&cache.display().to_string(), &moved)).unwrap();
    let run = world.warm().source([]).from([]).with(bake).run().exits(2);
    assert!(run.stderr.contains(&format!("fs.read={moved}")), "{}", run.stderr);
    let more = format!("--allow=fs.read={moved}");
    let run = world.warm().source([]).from([]).with(bake).with([more.as_str(), "--on-miss=fail"]).run().exits(0);
    assert_eq!(run.reports("/hit_rate"), 1.0);
}

#[test]
fn a_directory_without_the_cache_stops_everything() {
    let world = World::new();
    let cache = exported(&world);
    let stops = |import: &str, words: &[&str]| {
        world.warm().from([import]).run().blames(&[words, &["cannot use the cache", "hint:"]].concat());
    };
    stops("type=local,src=/nowhere", &["there is no /nowhere/index.json"]);
    stops(&format!("{},tag=other", import(&cache)), &["has no `other`"]);
    stops(&format!("{},digest=sha256:..", import(&cache)), &["is no digest"]);
    let layer = blob(&cache, &manifest(&cache)["layers"][0]);
    let bytes = fs::read(&layer).unwrap();
    fs::write(&layer, &bytes[1..]).unwrap();
    stops(&import(&cache), &["1 of its 11 blobs are gone"]);
    // Of the right size: BuildKit itself finds out.
    fs::write(&layer, [&bytes[..bytes.len() - 1], &[!bytes[bytes.len() - 1]]].concat()).unwrap();
    world.warm().from([&import(&cache)]).run().fails();
    let config = blob(&cache, &manifest(&cache)["config"]);
    fs::write(&config, "{}").unwrap();
    stops(&import(&cache), &["its cache config is not what its digest says"]);
}
