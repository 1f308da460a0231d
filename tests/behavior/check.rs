//! What `check` says of real roots, held against what a real buildkitd then finds there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::judge::changed;
use crate::support::registry::made;
use crate::support::{Builder, Registry, Run, World, donor, ground};

/// A root that a plain build on the sample's cache left, with further arguments for buildctl.
fn built(world: &World, more: &[&str]) -> PathBuf {
    let import = format!("type=registry,ref={}", donor("cache"));
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    builder.build(&ground().sample, &[&["--import-cache", &import], more].concat()).succeeded();
    drop(builder);
    assert_eq!(world.steps_run(), Vec::<String>::new(), "every step was CACHED");
    world.root()
}

/// How many of the sample's layers there are, and in which state.
fn layers(run: &Run) -> [u64; 5] {
    ["total", "extracted", "blob_only", "lazy", "broken"]
        .map(|figure| run.reports(&format!("/layers/{figure}")).as_u64().unwrap())
}

fn covered(run: &Run) -> [u64; 4] {
    ["total", "extracted", "blob_only", "lazy"]
        .map(|figure| run.reports(&format!("/donors/0/coverage/{figure}")).as_u64().unwrap())
}

/// The ids of the layers a report says a restart keeps, and of those it drops.
fn predicted(run: &Run) -> [BTreeSet<String>; 2] {
    let records = run.reports("/records").as_array().unwrap().clone();
    let layers = |survives: bool| {
        let rows = records.iter().filter(|row| row["layer"] == true && row["survives"] == survives);
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    [layers(true), layers(false)]
}

/// Restarts a buildkitd on the root and holds every prediction against what it knows then, and what it leaves.
fn holds_after_a_restart(world: &World, run: &Run, root: &Path) {
    let [kept, dropped] = predicted(run);
    let builder = Builder::start(&made(world.path("restart")), root, &world.config());
    let known: BTreeSet<String> = builder.disk_usage().into_keys().collect();
    drop(builder);
    assert_eq!(kept.difference(&known).collect::<Vec<_>>(), [""; 0], "were said to survive");
    // A lowest layer that is lazy is still listed by the daemon that has just dropped it, but no longer in its database.
    let left: BTreeSet<String> = predicted(&world.check(root, &[])).into_iter().flatten().collect();
    assert_eq!(dropped.intersection(&left).collect::<Vec<_>>(), [""; 0], "were said to be dropped");
    assert_eq!(kept, left);
}

fn check_of_the_cache(world: &World, root: &Path) -> Run {
    world.check(root, &["--cache-from", &donor("cache")])
}

#[test]
fn a_root_that_was_warmed_is_all_extracted_and_survives_a_restart() {
    let world = World::new();
    world.warm().run().ends_warm();
    let manifest = world.path("manifest.json");

    let run = world
        .check(&world.root(), &["--cache-from", &donor("cache"), "--deep", "--manifest", manifest.to_str().unwrap()])
        .exits(0);

    assert_eq!((run.reports("/verdict"), run.reports("/command")), ("warm".into(), "check".into()));
    assert_eq!((layers(&run), covered(&run)), ([11, 11, 0, 0, 0], [11, 11, 0, 0]));
    assert_eq!(run.reports("/manifest/extracted"), run.reports("/manifest/records"));
    assert_eq!(run.reports("/deep/faults"), serde_json::json!([]));
    assert_eq!((run.reports("/cache/damaged"), run.reports("/cache/dangling")), (0.into(), 0.into()));
    assert_eq!((run.reports("/steady"), run.reports("/leftovers/lock")), (true.into(), "absent".into()));
    assert!(run.stdout.contains("\nverdict    warm\n"), "{}", run.stdout);
    holds_after_a_restart(&world, &run, &world.root());
    world.left_nothing_running();
}

#[test]
fn a_root_that_only_matched_its_steps_is_lazy_and_empty_after_a_restart() {
    let world = World::new();
    let root = built(&world, &[]);

    let run = check_of_the_cache(&world, &root).exits(5);

    assert_eq!((layers(&run), covered(&run)), ([8, 0, 0, 8, 0], [11, 0, 0, 8]));
    assert_eq!(run.reports("/verdict"), "not-warm");
    holds_after_a_restart(&world, &run, &root);
    // What a restart leaves is nothing at all, and nothing is not warm either.
    let run = world.check(&root, &[]).exits(5);
    assert_eq!(layers(&run)[0], 0);
    assert!(run.stdout.contains("no cache key leads to a step's layer"), "{}", run.stdout);
}

#[test]
fn a_root_that_was_loaded_from_has_blobs_that_nobody_unpacked() {
    let world = World::new();
    let output = format!("type=docker,dest={}", world.path("image.tar").display());
    let root = built(&world, &["--output", &output]);

    let run = check_of_the_cache(&world, &root).exits(5);

    assert_eq!((layers(&run), covered(&run)), ([8, 0, 8, 0, 0], [11, 0, 8, 0]));
    assert!(run.stdout.contains("its blob is here and was never unpacked"), "{}", run.stdout);
    holds_after_a_restart(&world, &run, &root);
}

/// The base image, which another build pulls, is compressed in one way, and the cache's copy of its layer in another:
/// BuildKit unpacks it once.
#[test]
fn a_layer_known_under_two_compressions_is_there_after_a_restart_and_counts_as_such() {
    let world = World::new();
    let registry = Registry::open(&made(world.path("registry")), &world.path("registry/data"));
    let zstd = format!("{}/sample:zstd", registry.address());
    let builder = Builder::start(&world.path("ci"), &world.path("ci/root"), &world.config());
    let export = format!("type=registry,mode=max,compression=zstd,force-compression=true,ref={zstd}");
    builder.build(&ground().sample, &["--export-cache", &export]).succeeded();
    drop(builder);
    world.warm().from([&zstd]).with(["--on-miss", "fail"]).run().ends_warm();
    let other = world.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("Dockerfile"), "FROM busybox:1.35\n").unwrap();
    let manifest = world.path("first.json");
    fs::rename(world.path("manifest.json"), &manifest).unwrap();
    let more = ["--cache-from", &zstd, "--manifest", manifest.to_str().unwrap()];
    let image = ["--context", other.to_str().unwrap()];
    let run = world.warm().from([]).source(image).run().exits(0);
    assert_eq!((run.reports("/layers/total"), run.reports("/layers/extracted")), (1.into(), 1.into()));

    let run = world.check(&world.root(), &more).exits(0);

    assert_eq!((run.reports("/layers/extracted"), run.reports("/layers/phantom")), (11.into(), 1.into()));
    assert!(run.stdout.contains("1 layer known under two compressions"), "{}", run.stdout);
    drop(Builder::start(&world.path("daemon"), &world.root(), &world.config()));
    let run = world.check(&world.root(), &more).exits(0);
    assert_eq!((run.reports("/layers/extracted"), run.reports("/layers/phantom")), (11.into(), 0.into()));
    // Sealing has BuildKit collect its garbage, and every step keeps its result.
    world.seal(Path::new("none"), &["--fix"]).exits(0);
    world.smoke(&world.root(), &ground().sample, &[]).exits(0);
}

#[test]
fn what_is_asked_for_wrongly_is_a_usage_error_that_says_how_to_ask() {
    let world = World::new();
    world.warm().run().ends_warm();
    fs::write(world.path("limits.toml"), "[worker.oci]\n  maxUsedSpace = \"much\"\n").unwrap();
    fs::write(world.path("promise.json"), "{}").unwrap();
    for (arguments, words) in [
        (["--require", "extracted"], ["could not use --require: `extracted` has no `=`", "extracted=95%"]),
        (["--require", "warm=1"], ["`warm` is not one of extracted, survives, kept", "extracted=95%"]),
        (["--manifest", "promise.json"], ["could not use the manifest", "cachewarm warm --manifest FILE"]),
        (["--manifest", "absent.json"], ["No such file", "cachewarm warm --manifest FILE"]),
        (["--buildkitd-config", "limits.toml"], ["invalid size: 'much'", "--buildkitd-config"]),
        (["--cache-from", "Not A Reference"], ["Not A Reference", "hint:"]),
    ] {
        let run = world.check(&world.root(), &arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
        }
    }
    let absent = format!("{}/team/sample:absent", ground().registry.address());
    world.check(&world.root(), &["--cache-from", &absent]).blames(&["team/sample:absent", "hint:"]);
}

#[test]
fn a_root_that_a_daemon_works_on_is_read_without_disturbing_it() {
    let world = World::new();
    world.warm().run().ends_warm();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    std::thread::scope(|scope| {
        let building = scope.spawn(|| {
            for number in 0..3 {
                let context = world.path(&format!("context-{number}"));
                crate::support::git::sample(&context);
                changed("tests/test_kernel.py")(&context);
                fs::write(context.join("tests/more.py"), number.to_string()).unwrap();
                builder.build(&context, &[]).succeeded();
            }
        });
        let mut read = 0;
        while !building.is_finished() || read < 3 {
            let run = check_of_the_cache(&world, &world.root()).exits(0);
            assert_eq!((covered(&run), run.reports("/leftovers/lock")), ([11, 11, 0, 0], "held".into()));
            read += 1;
        }
    });
}

#[test]
fn a_root_of_whole_copies_is_read_as_well() {
    let world = World::new();
    world.configure_builder("  snapshotter = \"native\"\n");
    world.warm().run().ends_warm();

    let (config, donor) = (world.config().display().to_string(), donor("cache"));
    let call = ["--cache-from", &donor, "--deep"];
    let run = world.check(&world.root(), &[&call[..], &["--buildkitd-config", &config]].concat()).exits(0);
    // A daemon that is told nothing uses overlayfs here, and forgets all of it.
    let without = world.check(&world.root(), &call).exits(5);
    assert!(without.stdout.contains("of the snapshotter native go with the next start"), "{}", without.stdout);

    assert_eq!((layers(&run), run.reports("/workers/0/snapshotter")), ([11, 11, 0, 0, 0], "native".into()));
    holds_after_a_restart(&world, &run, &world.root());
}

#[test]
fn a_start_with_another_snapshotter_costs_all_results_and_is_seen() {
    let world = World::new();
    world.warm().run().ends_warm();
    world.configure_builder("  snapshotter = \"native\"\n");
    drop(Builder::start(&world.path("daemon"), &world.root(), &world.config()));

    let run = check_of_the_cache(&world, &world.root()).exits(5);

    assert_eq!(run.reports("/workers").as_array().unwrap().len(), 2);
    // The layers are all there; only no key leads to them.
    assert_eq!((layers(&run), run.reports("/cache/records")), ([11, 11, 0, 0, 0], 0.into()));
    assert!(run.stdout.contains("no cache key leads to a step's layer"), "{}", run.stdout);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let world = World::new();
    let root = |name: &str, inside: &str| {
        made(world.path(name));
        made(world.path(name).join(inside));
        world.path(name)
    };
    for (path, words) in [
        (world.path("absent"), ["does not exist", "--root"]),
        (root("empty", ""), ["is not a BuildKit state root", "--root"]),
        (root("containerd", "containerd-overlayfs"), ["containerd worker", "--oci-worker=true"]),
    ] {
        world.check(&path, &[]).blames(&words);
    }
}

#[test]
fn dockerd_s_own_builder_is_named_and_not_mistaken_for_an_empty_one() {
    let world = World::new();
    let data = made(world.path("docker"));
    let socket = world.path("docker.sock");
    let mut dockerd = crate::support::process::command("dockerd");
    dockerd.arg("--data-root").arg(&data).arg("--exec-root").arg(world.path("exec"));
    dockerd.arg("--pidfile").arg(world.path("docker.pid")).arg("--host").arg(format!("unix://{}", socket.display()));
    dockerd.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]);
    let log = fs::File::create(world.path("docker.log")).unwrap();
    dockerd.stdout(log.try_clone().unwrap()).stderr(log);
    let mut dockerd = crate::support::process::Process::start(dockerd);
    crate::support::wait_until("dockerd answers", 60, || {
        let log = || fs::read_to_string(world.path("docker.log")).unwrap();
        assert!(dockerd.ended().is_none(), "dockerd ended: {}", log());
        let ping = Command::new("curl").args(["--silent", "--unix-socket"]).arg(&socket).arg("http://d/_ping").output();
        ping.unwrap().stdout == b"OK"
    });
    dockerd.stop();

    for root in [data.clone(), data.join("buildkit")] {
        world.check(&root, &[]).blames(&["dockerd's own builder", "buildkitd of its own"]);
    }
}
