//! The forecast of garbage collection, held against what a real buildkitd with that policy evicts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::judge::changed;
use crate::support::{Builder, Run, World, git};

/// A warmed root on which builds ran since, each with one of these files changed. Of more than a dozen records that may
/// go BuildKit's sort leaves to chance which of two that rank alike goes first.
fn used(world: &World, files: &[&str]) -> PathBuf {
    world.warm().run().ends_warm();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    for file in files {
        let context = world.path("context");
        let _ = fs::remove_dir_all(&context);
        git::sample(&context);
        changed(file)(&context);
        builder.build(&context, &[]).succeeded();
    }
    world.root()
}

fn copy(root: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", "-T"]).args([root, to]).status().unwrap().success());
}

fn evicted(run: &Run) -> BTreeSet<String> {
    run.reports("/gc/evicted").as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn described(run: &Run, ids: BTreeSet<String>) -> Vec<String> {
    let rows = run.reports("/records").as_array().unwrap().clone();
    let meant = rows.iter().filter(|row| ids.contains(row["id"].as_str().unwrap()));
    meant.map(|row| format!("{} {}", row["description"], row["usage_count"])).collect()
}

/// Forecasts, then has a real daemon collect: bytes within 5 %, and the same records but for a tie or two.
fn comes_true(world: &World, root: &Path, policy: &str) -> Run {
    world.configure_builder(policy);
    let run = world.check(root, &["--buildkitd-config", world.config().to_str().unwrap()]);
    let before = Builder::start(&world.path("daemon"), root, &world.config()).disk_usage();
    let total: u64 = before.values().sum();
    assert_eq!(run.reports("/gc/total_bytes"), total, "what BuildKit counts");

    let after = Builder::after_collection(&world.path("daemon"), root, &world.config()).disk_usage();

    let gone: BTreeSet<String> = before.keys().filter(|id| !after.contains_key(*id)).cloned().collect();
    let bytes: u64 = gone.iter().map(|id| before[id]).sum();
    let forecast = run.reports("/gc/evicted_bytes").as_u64().unwrap();
    let (wrong, missed) = (described(&run, &evicted(&run) - &gone), described(&run, &gone - &evicted(&run)));
    let words = format!("forecast {forecast}, evicted {bytes} bytes; wrong: {wrong:?}, missed: {missed:?}");
    assert!(bytes > 0 && forecast.abs_diff(bytes) * 20 <= bytes, "{words}");
    assert!(wrong.len() * 10 <= gone.len() && missed.len() * 10 <= gone.len(), "{words}");
    run
}

#[test]
fn a_cache_over_its_limit_loses_what_was_used_least() {
    let world = World::new();
    let root = used(&world, &["tests/test_kernel.py", "vllm/__init__.py", "tests/test_kernel.py"]);
    let whole = world.path("whole");
    copy(&root, &whole);

    let run = comes_true(&world, &root, "  maxUsedSpace = \"52MB\"\n");

    assert_eq!(run.code, Some(0), "everything is there; only the future is not bright");
    let limit = run.reports("/gc/limit").as_str().unwrap().to_owned();
    assert!(limit.starts_with("maxUsedSpace is 52 MiB, and the cache takes "), "{limit}");
    assert!(run.stdout.contains("to do: set reservedSpace = \"1GB\" in [worker.oci]"), "{}", run.stdout);

    // Whoever does not want that says so, and whoever does as advised has nothing to fear.
    world.configure_builder("  maxUsedSpace = \"52MB\"\n");
    let config = world.config();
    let kept = ["--require", "kept=100%", "--buildkitd-config", config.to_str().unwrap()];
    let run = world.check(&whole, &kept).exits(5);
    assert!(run.stdout.contains("the first garbage collection evicts "), "{}", run.stdout);
    world.configure_builder("  maxUsedSpace = \"52MB\"\n  reservedSpace = \"1GB\"\n");
    world.check(&whole, &kept).exits(0);
}

#[test]
fn a_disk_that_is_too_full_is_freed_by_every_rule_anew() {
    let world = World::new();
    let root = used(&world, &["tests/test_kernel.py", "vllm/__init__.py", "tests/test_kernel.py"]);
    let disk = world.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=200m", "tmpfs"]).arg(&disk).status();
    assert!(mounted.unwrap().success());
    copy(&root, &disk.join("root"));

    let free = Command::new("stat").args(["-f", "-c", "%f %S"]).arg(&disk).output().unwrap();
    let free: Vec<u64> =
        String::from_utf8(free.stdout).unwrap().split_whitespace().map(|word| word.parse().unwrap()).collect();
    let wanted = free[0] * free[1] + (5 << 20);
    let run = comes_true(&world, &disk.join("root"), &format!("  minFreeSpace = {wanted}\n"));

    assert!(run.reports("/gc/limit").as_str().unwrap().starts_with("minFreeSpace is "));
    assert!(run.reports("/gc/evicted_bytes").as_u64().unwrap() > 6 << 20, "one rule alone would be content with less");
}

#[test]
fn rules_of_one_s_own_evict_what_they_are_about() {
    let world = World::new();
    let root = used(&world, &["tests/test_kernel.py", "csrc/kernel.c"]);

    let policy = "  [[worker.oci.gcpolicy]]\n    filters = [\"type==source.local\", \"type==exec.cachemount\"]\n\
        [[worker.oci.gcpolicy]]\n    all = true\n    maxUsedSpace = \"40MB\"\n";
    let run = comes_true(&world, &root, policy);

    let records = run.reports("/records").as_array().unwrap().clone();
    let gone = |kind: &str| {
        let of_kind = records.iter().filter(|row| row["record_type"] == kind && row["class"] == "mutable");
        of_kind.map(|row| row["evicted"] == true).collect::<BTreeSet<_>>()
    };
    assert_eq!((gone("source.local"), gone("exec.cachemount")), ([true].into(), [true].into()));
}

#[test]
fn a_daemon_that_collects_nothing_evicts_nothing() {
    let world = World::new();
    world.warm().run().ends_warm();
    world.configure_builder("  gc = false\n  maxUsedSpace = \"1MB\"\n");

    let run = world.check(&world.root(), &["--buildkitd-config", world.config().to_str().unwrap()]).exits(0);

    assert_eq!((run.reports("/gc/enabled"), evicted(&run)), (false.into(), BTreeSet::new()));
}
