//! The main job: a root warmed from a registry cache, and BuildKit's own word for it.

use std::fs;
use std::path::Path;

use crate::support::judge::changed;
use crate::support::{Builder, World, donor, ground};

/// What runs when a file of this stage's context changes: nothing that stands before it.
const CHANGES: [(&str, &[&str]); 4] = [
    (
        "requirements/common.txt",
        &[
            "base 2/3",
            "base 3/3",
            "build 1/3",
            "build 2/3",
            "build 3/3",
            "test 1/2",
            "test 2/2",
            "vllm-base 1/3",
            "vllm-base 2/3",
            "vllm-base 3/3",
        ],
    ),
    (
        "csrc/kernel.c",
        &[
            "build 1/3",
            "build 2/3",
            "build 3/3",
            "test 1/2",
            "test 2/2",
            "vllm-base 1/3",
            "vllm-base 2/3",
            "vllm-base 3/3",
        ],
    ),
    ("vllm/__init__.py", &["test 1/2", "test 2/2", "vllm-base 3/3"]),
    ("tests/test_kernel.py", &["test 1/2", "test 2/2"]),
];

/// Holds a root against the independent judge: unchanged, and with a change in each stage.
fn judge_every_stage(world: &World, root: &Path) {
    world.judged(root, |_| ()).ran_only(&[]);
    for (file, steps) in CHANGES {
        world.judged(root, changed(file)).ran_only(steps);
    }
}

#[test]
fn a_daemon_of_its_own_leaves_a_root_on_which_only_changed_steps_run() {
    let world = World::new();

    let run = world.warm().run().ends_warm();

    world.left_nothing_running();
    assert_eq!(world.steps_run(), Vec::<String>::new());
    assert_eq!(run.reports("/hit_rate"), 1.0);
    judge_every_stage(&world, &world.root());
}

#[test]
fn a_running_daemon_is_warmed_and_goes_on_running() {
    let world = World::new();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());

    world.warm().builder(&builder.address()).run().ends_warm();

    let rebuilt = builder.build(&ground().sample, &[]).succeeded();
    assert!(!rebuilt.text().contains("extracting"), "{}", rebuilt.text());
    drop(builder);
    assert_eq!(world.steps_run(), Vec::<String>::new());
    judge_every_stage(&world, &world.root());
}

#[test]
fn the_report_says_what_was_built_from_what_and_what_lies_on_disk() {
    let world = World::new();

    let run = world.warm().run().ends_warm();

    assert_eq!((run.reports("/schema"), run.reports("/command")), (1.into(), "warm".into()));
    assert_eq!(run.reports("/source/commit"), ground().commit.as_str());
    assert_eq!(run.reports("/builder/kind"), "spawn");
    let version =
        std::process::Command::new(crate::support::ground::tool("BUILDKITD")).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert_eq!(run.reports("/builder/buildkit_version"), version.split(' ').nth(2).unwrap());
    assert_eq!(run.reports("/donors/0/ref"), donor("cache"));
    assert_eq!((run.reports("/donors/0/usable"), run.reports("/donors/0/layers")), (true.into(), 11.into()));
    let sizes: u64 = ground().registry.layers("team/sample", "cache").iter().map(|(_, size)| size).sum();
    assert_eq!(run.reports("/donors/0/bytes"), sizes);
    for (figure, count) in [("blob_only", 0), ("lazy", 0), ("phantom", 0), ("broken", 0)] {
        assert_eq!(run.reports(&format!("/layers/{figure}")), count, "{figure}");
    }
    let steps = run.reports("/steps").as_array().unwrap().clone();
    let places: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap().split(']').next().unwrap()).collect();
    for place in ["[base 3/3", "[build 3/3", "[vllm-base 2/3", "[test 2/2"] {
        assert!(places.contains(&place), "{place} is not among {places:?}");
    }
    assert!(steps.iter().all(|step| step["state"] == "hit"), "{steps:?}");
    assert!(run.reports("/transfer/bytes").as_u64().unwrap() >= sizes);
    let names = run.reports("/resolved_by_every_build").to_string();
    assert!(names.contains("busybox:1.35") && names.contains("docker/dockerfile:1"), "{names}");
    for word in ["warm", "11", &donor("cache"), &ground().commit[..7]] {
        assert!(run.stdout.contains(word), "no `{word}` in:\n{}", run.stdout);
    }
}

#[test]
fn a_second_run_hits_everything_and_fetches_next_to_nothing() {
    let world = World::new();
    world.warm().run().ends_warm();

    let again = world.warm().run().ends_warm();

    assert_eq!((again.reports("/hit_rate"), again.reports("/transfer/extracted")), (1.0.into(), 0.into()));
    assert!(again.reports("/transfer/bytes").as_u64().unwrap() < 100_000, "{}", again.reports("/transfer"));
}

#[test]
fn the_umask_of_whoever_calls_makes_no_difference() {
    for umask in ["077", "002"] {
        let world = World::new();

        let run = world.warm().umask(umask).with(["--on-miss", "fail"]).run().ends_warm();

        assert_eq!(run.reports("/hit_rate"), 1.0, "umask {umask}");
        world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
    }
}

#[test]
fn a_step_that_no_cache_has_runs_and_its_result_is_warm() {
    let world = World::new();
    let context = world.path("context");
    crate::support::git::sample(&context);
    changed("tests/test_kernel.py")(&context);

    let run = world.warm().source(["--context", context.to_str().unwrap()]).run().exits(0);

    assert_eq!((run.reports("/verdict"), world.steps_run().len()), ("warm".into(), 1));
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&[]);
}

#[test]
fn a_step_that_no_cache_has_never_runs_when_misses_are_failures() {
    let world = World::new();
    let context = world.path("context");
    crate::support::git::sample(&context);
    changed("csrc/kernel.c")(&context);

    let run = world.warm().source(["--context", context.to_str().unwrap()]).with(["--on-miss", "fail"]).run().exits(5);

    assert_eq!(world.steps_run(), Vec::<String>::new());
    assert_eq!(run.reports("/verdict"), "not-warm");
    let steps = run.reports("/steps").to_string();
    assert!(steps.contains("[build 1/3]") && steps.contains("\"miss\""), "{steps}");
    world.left_nothing_running();
}

#[test]
fn too_few_hits_are_a_failure_when_a_share_is_asked_for() {
    let world = World::new();
    let context = world.path("context");
    crate::support::git::sample(&context);
    changed("tests/test_kernel.py")(&context);

    world.warm().source(["--context", context.to_str().unwrap()]).with(["--min-hit-rate", "0.95"]).run().exits(5);
}

#[test]
fn several_targets_of_a_bake_file_are_warmed_in_one_run() {
    let world = World::new();
    let donor = donor("cache");
    let bake = format!(
        r#"{{"group": {{"default": {{"targets": ["wheel", "test"]}}}}, "target": {{
            "wheel": {{"context": ".", "dockerfile": "Dockerfile", "target": "build", "cache-from": [{{"type": "registry", "ref": "{donor}"}}]}},
            "test": {{"context": ".", "dockerfile": "Dockerfile", "target": "test", "cache-from": [{{"type": "registry", "ref": "{donor}"}}]}}}}}}"#
    );
    std::fs::write(world.path("bake.json"), bake).unwrap();

    let run = world.warm().from([]).with(["--bake", "bake.json"]).run().ends_warm();

    assert_eq!((run.reports("/targets/0/name"), run.reports("/targets/1/name")), ("wheel".into(), "test".into()));
    judge_every_stage(&world, &world.root());
}

/// The judge can tell: what everybody does today does not pass it.
#[test]
fn a_plain_build_with_cache_from_leaves_a_cold_root() {
    let world = World::new();
    let import = format!("type=registry,ref={}", donor("cache"));
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    builder.build(&ground().sample, &["--import-cache", &import]).succeeded();
    assert_eq!(world.steps_run(), Vec::<String>::new(), "every step was CACHED");
    drop(builder);

    let judged = world.try_judged(&world.root(), |_| ());

    // Its base image cannot even be had again.
    assert!(judged.is_err_and(|text| text.contains("not found")));
}

/// And a root that has everything does.
#[test]
fn a_root_that_built_everything_itself_is_as_warm_as_can_be() {
    let world = World::new();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    builder.build(&ground().sample, &[]).succeeded();
    drop(builder);
    assert_eq!(world.steps_run().len(), 5);

    judge_every_stage(&world, &world.root());
}

#[test]
fn a_base_image_of_several_platforms_is_asked_for_by_every_build() {
    let world = World::new();
    fs::create_dir(world.path("app")).unwrap();
    fs::write(world.path("app/Dockerfile"), "FROM busybox:1.35\nCOPY Dockerfile /\n").unwrap();

    let both = ["--context", "app", "--platform", "linux/amd64,linux/arm64"];
    let run = world.warm().source(both).from([]).run().exits(0);

    let base = serde_json::json!(["docker.io/library/busybox:1.35"]);
    assert_eq!(run.reports("/resolved_by_every_build"), base);
}
