//! Roots that something happened to: whatever it was, a root that a restart would cost something is never called warm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::judge::changed;
use crate::support::registry::made;
use crate::support::{Builder, Fault, Faults, Registry, Run, World, donor, ground, wait_until};

const DATABASES: [&str; 4] = [
    "cache.db",
    "runc-overlayfs/metadata_v2.db",
    "runc-overlayfs/containerdmeta.db",
    "runc-overlayfs/snapshots/metadata.db",
];

/// A warmed root, and a copy of it that damage is done to.
fn warmed() -> (World, PathBuf) {
    let world = World::new();
    world.warm().run().ends_warm();
    let damaged = world.path("damaged");
    assert!(Command::new("cp").args(["-a", "-T"]).args([&world.root(), &damaged]).status().unwrap().success());
    (world, damaged)
}

fn reasons(run: &Run) -> String {
    run.reports("/reasons").to_string()
}

/// The largest blob of the root.
fn blob(root: &Path) -> PathBuf {
    let blobs = fs::read_dir(root.join("runc-overlayfs/content/blobs/sha256")).unwrap().flatten();
    blobs.max_by_key(|blob| blob.metadata().unwrap().len()).unwrap().path()
}

/// The directory of the snapshot with the most files.
fn snapshot(root: &Path) -> PathBuf {
    let snapshots = fs::read_dir(root.join("runc-overlayfs/snapshots/snapshots")).unwrap().flatten();
    let files = |path: &Path| Command::new("find").arg(path).output().unwrap().stdout.len();
    snapshots.max_by_key(|snapshot| files(&snapshot.path())).unwrap().path().join("fs")
}

#[test]
fn what_is_missing_is_named() {
    let (world, root) = warmed();
    let put_back = |path: &Path| {
        let whole = world.root().join(path.strip_prefix(&root).unwrap());
        let _ = fs::remove_dir_all(path);
        assert!(Command::new("cp").args(["-a", "-T"]).args([&whole, &path.to_owned()]).status().unwrap().success());
    };
    let remove = |path: &Path| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    for (path, words) in [
        (root.join("runc-overlayfs/workerid"), "workerid is lost"),
        (root.join("cache.db"), "no cache key leads to a step's layer"),
        (root.join("runc-overlayfs/metadata_v2.db"), "no cache key leads to a step's layer"),
        (root.join("runc-overlayfs/containerdmeta.db"), "the databases promise what is not on disk"),
        (root.join("runc-overlayfs/snapshots/metadata.db"), "the databases promise what is not on disk"),
        (blob(&root), "is missing or cut short"),
        (snapshot(&root), "lacks its snapshot"),
    ] {
        remove(&path);
        let run = world.check(&root, &[]).exits(5);
        assert!(reasons(&run).contains(words), "{}: {}", path.display(), reasons(&run));
        put_back(&path);
    }
    world.check(&root, &["--cache-from", &donor("cache"), "--deep"]).exits(0);
}

#[test]
fn every_byte_counts_when_every_byte_is_read() {
    let (world, root) = warmed();
    let (blob, files) = (blob(&root), snapshot(&root));

    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let file =
        Command::new("find").arg(&files).args(["-type", "f", "-size", "+8k", "-print", "-quit"]).output().unwrap();
    let file = PathBuf::from(String::from_utf8(file.stdout).unwrap().trim());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..1]).unwrap();

    // What only lies deeper is not seen from above.
    world.check(&root, &[]).exits(0);
    let run = world.check(&root, &["--deep"]).exits(5);
    assert_eq!(run.reports("/deep/faults").as_array().unwrap().len(), 2);
    assert!(reasons(&run).contains("its content is that of sha256:"), "{}", reasons(&run));
    // Of a snapshot that cannot be compared, its size tells; of others, each file.
    let truncated = [" bytes on disk instead of ", " has 1 bytes instead of "];
    assert!(truncated.iter().any(|what| reasons(&run).contains(what)), "{}", reasons(&run));

    bytes[middle] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&file, &flipped).unwrap();
    let run = world.check(&root, &["--deep"]).exits(5);
    assert_eq!(run.reports("/deep/faults").as_array().unwrap().len(), 1);
    assert!(reasons(&run).contains(" has other content"), "{}", reasons(&run));
    assert_ne!(run.reports("/deep/compared"), 0);

    fs::remove_file(&file).unwrap();
    let run = world.check(&root, &["--deep"]).exits(5);
    assert!(reasons(&run).contains("files and directories instead of"), "{}", reasons(&run));
}

/// A project with linked copies, heredocs and mounts, cached in each way that BuildKit compresses layers.
#[test]
fn every_layer_of_a_cache_is_compared_with_its_blob_whatever_its_compression() {
    for (compression, snapshotter) in
        [("gzip", "overlayfs"), ("zstd", "overlayfs"), ("estargz", "overlayfs"), ("uncompressed", "native")]
    {
        let world = World::new();
        world.configure_builder(&format!("  snapshotter = \"{snapshotter}\"\n"));
        let project = super::explain::project(&world, "project");
        let shared = super::explain::shared(&project);
        let registry = Registry::open(&made(world.path("registry")), &world.path("registry/data"));
        let donor = format!("{}/stages:cache", registry.address());
        let builder = Builder::start(&world.path("ci"), &world.path("ci/root"), &world.config());
        let export = format!("type=registry,mode=max,compression={compression},force-compression=true,ref={donor}");
        let local = ["--opt", "context:shared=local:shared", "--local", &shared, "--export-cache", &export];
        builder.build(&project, &local).succeeded();
        drop(builder);
        let source = ["--context", project.to_str().unwrap(), "--build-context", &shared];
        let run = world.warm().source(source).from([&donor]).run().exits(0);
        assert_eq!(run.reports("/verdict"), "warm", "{compression}: {}", run.stdout);

        let config = world.config().display().to_string();
        let call = ["--cache-from", &donor, "--deep", "--buildkitd-config", &config];
        let run = world.check(&world.root(), &call).exits(0);

        let rows = run.reports("/records").as_array().unwrap().clone();
        let is_unpacked = |row: &&serde_json::Value| row["class"] == "extracted" && row["blob"].is_string();
        let unpacked = rows.iter().filter(is_unpacked).filter_map(|row| row["snapshot"].as_u64());
        let unpacked: BTreeSet<u64> = unpacked.collect();
        assert_eq!(run.reports("/deep/compared"), unpacked.len(), "{compression}: {}", run.stdout);
        assert!(unpacked.len() > 12, "{compression}: {}", run.stdout);
        if snapshotter == "native" {
            // Its snapshots have the files of the layers below as well.
            continue;
        }
        let snapshots = world.root().join("runc-overlayfs/snapshots/snapshots");
        let damaged = unpacked.iter().filter(|number| flip(&snapshots.join(number.to_string()))).count();
        let run = world.check(&world.root(), &["--deep"]).exits(5);
        let faults = run.reports("/deep/faults").to_string();
        assert_eq!(faults.matches(" has other content").count(), damaged, "{compression}: {faults}");
    }
}

/// Changes a byte in the middle of a file of a snapshot, if it has one that is not empty.
fn flip(snapshot: &Path) -> bool {
    let file =
        Command::new("find").arg(snapshot).args(["-type", "f", "-size", "+0", "-print", "-quit"]).output().unwrap();
    let file = PathBuf::from(String::from_utf8(file.stdout).unwrap().trim());
    let Ok(mut bytes) = fs::read(&file) else { return false };
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    true
}

#[test]
fn a_database_that_ends_too_early_is_never_taken_for_a_smaller_one() {
    let (world, root) = warmed();
    for name in DATABASES {
        let path = root.join(name);
        let whole = fs::read(&path).unwrap();
        for end in (0..whole.len()).step_by(4096) {
            fs::write(&path, &whole[..end]).unwrap();
            let run = world.check(&root, &[]);
            // The file may end with pages that are not in use, which bbolt does not miss either.
            if run.code == Some(0) {
                let rest = whole[end..].chunks(4096);
                assert!(end >= in_use(&whole), "{name} cut at {end}, {} pages missing", rest.count());
                continue;
            }
            assert!([Some(3), Some(5)].contains(&run.code), "{name} cut at {end}: {:?}\n{}", run.code, run.stderr);
            if run.code == Some(3) {
                assert!(run.stderr.contains(name.rsplit('/').next().unwrap()), "{}", run.stderr);
            }
        }
        fs::write(&path, &whole).unwrap();
    }
}

/// Bytes up to the last page in use, by the newer of the two meta pages (bbolt: page 0 and 1, high water at 56, number at 64).
fn in_use(database: &[u8]) -> usize {
    let number = |at: usize| u64::from_le_bytes(database[at..at + 8].try_into().unwrap());
    let newest = [0, 4096].into_iter().max_by_key(|page| number(page + 64)).unwrap();
    number(newest + 56) as usize * 4096
}

#[test]
fn no_flipped_bit_makes_a_check_panic_or_a_root_warm_that_is_not() {
    let (world, root) = warmed();
    let mut passed = Vec::new();
    // A linear congruential generator: the same bits on every machine.
    let mut state = 20_261_125_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..150 {
        let path = root.join(DATABASES[next(4)]);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let (at, bit) = (next(bytes.len()), next(8));
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let run = world.check(&root, &["--cache-from", &donor("cache")]);
        assert!([Some(0), Some(3), Some(5)].contains(&run.code), "{at} {bit}: {:?}\n{}", run.code, run.stderr);
        if run.code == Some(0) {
            passed.push((path.clone(), bytes));
        }
        fs::write(&path, &whole).unwrap();
    }
    // Most bytes of a database are in no use; of the flips that passed, a few are put before a real buildkitd.
    assert!(passed.len() > 10, "{} of 150", passed.len());
    for (path, bytes) in passed.iter().step_by(passed.len() / 6) {
        let whole = fs::read(path).unwrap();
        fs::write(path, bytes).unwrap();
        world.judged(&root, changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
        fs::write(path, whole).unwrap();
    }
}

/// Has a build open layers through a registry that stops in the middle of some, and kills the daemon then.
fn killed(world: &World, while_unpacking: bool) {
    let faults = Faults::before(ground().registry.address());
    let layers = ground().registry.layers("team/sample", "cache");
    let last = if while_unpacking { layers.len() - 1 } else { 0 };
    faults.always(&format!("GET {}", layers[last].0), Fault::StallAfter(if while_unpacking { 0 } else { 100_000 }));
    let mut builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    let from = format!("{}/team/sample:cache", faults.address());
    let running = world.warm().from([&from]).builder(&builder.address()).start();
    wait_until("a blob stalls", 60, || !faults.requests(&format!("GET {}", layers[last].0)).is_empty());
    if while_unpacking {
        wait_until("a layer is unpacked", 60, || {
            let snapshots = fs::read_dir(world.root().join("runc-overlayfs/snapshots/snapshots"));
            snapshots.map_or(0, Iterator::count) > 4
        });
    }
    builder.kill();
    running.ends().fails();
}

#[test]
fn a_root_whose_daemon_was_killed_is_not_warm_and_says_what_was_left_behind() {
    for while_unpacking in [false, true] {
        let world = World::new();
        killed(&world, while_unpacking);

        let run = world.check(&world.root(), &["--cache-from", &donor("cache")]).exits(5);

        assert_eq!(run.reports("/leftovers/lock"), "stale");
        let partial = run.reports("/leftovers/partial_downloads");
        assert!(!partial.as_array().unwrap().is_empty(), "{partial}");
        // And what a restart leaves is what it said.
        let kept: Vec<String> = ids(&run, |row| row["layer"] == true && row["survives"] == true);
        let builder = Builder::start(&world.path("again"), &world.root(), &world.config());
        let known = builder.disk_usage();
        drop(builder);
        for id in &kept {
            assert!(known.contains_key(id), "{id} was said to survive");
        }
        world.check(&world.root(), &["--cache-from", &donor("cache")]).exits(5);
        // The next run goes on from there.
        world.warm().run().ends_warm();
        world.check(&world.root(), &["--cache-from", &donor("cache"), "--deep"]).exits(0);
    }
}

fn ids(run: &Run, that: impl Fn(&serde_json::Value) -> bool) -> Vec<String> {
    let records = run.reports("/records").as_array().unwrap().clone();
    records.iter().filter(|row| that(row)).map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}
