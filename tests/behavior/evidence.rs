//! A verdict needs evidence: what nobody saw is not a hit, and nothing found is not warm.

use std::fs;
use std::path::PathBuf;

use crate::support::{World, ground};

/// A context with this Dockerfile.
fn context(world: &World, dockerfile: &str) -> PathBuf {
    let context = world.path("context");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    context
}

const BUILD: &str = "FROM busybox:1.35 AS base\nRUN echo a >/a\nFROM base\nARG N=1\nRUN echo $N >/b\n";

#[test]
fn a_build_whose_steps_always_run_is_not_warm() {
    let world = World::new();
    let context = context(&world, BUILD);
    let context = context.to_str().unwrap();
    let warm = || world.warm().from([]).source(["--context", context]);
    let run = warm().with(["--no-cache"]).run().exits(5);
    assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("not-warm".into(), 0.0.into()));
    warm().with(["--no-cache", "--min-hit-rate", "0"]).run().exits(5);
    let run = warm().with(["--no-cache-filter", "base"]).run().exits(5);
    assert_eq!(run.reports("/hit_rate"), 0.0);
    let bake = format!(r#"{{"target": {{"default": {{"context": "{context}", "no-cache": true}}}}}}"#);
    fs::write(world.path("bake.json"), bake).unwrap();
    let run = world.warm().from([]).source([]).with(["--bake", "bake.json"]).run().exits(5);
    assert_eq!(run.reports("/hit_rate"), 0.0);
}

#[test]
fn steps_that_always_run_beside_others_are_no_hits() {
    let world = World::new();
    let context = context(&world, "FROM busybox:1.35 AS base\nRUN echo a >/a\nFROM base AS last\nRUN echo b >/b\n");
    let warm = || world.warm().from([]).source(["--context", context.to_str().unwrap()]);
    warm().run().exits(0);
    let run = warm().with(["--no-cache-filter", "last"]).run().exits(0);
    assert_eq!(run.reports("/hit_rate"), 0.5);
    assert!(run.reports("/notes").to_string().contains("count as no hits"), "{}", run.reports("/notes"));
}

#[test]
fn a_build_of_an_image_alone_is_judged_by_its_layers() {
    let world = World::new();
    let context = context(&world, "FROM busybox:1.35\n");
    world.warm().from([]).source(["--context", context.to_str().unwrap()]).run().exits(0);
    world.smoke(&world.root(), &context, &[]).exits(0);
}

#[test]
fn sources_of_which_nothing_is_found_are_not_warm_unless_that_is_accepted() {
    let world = World::new();
    let context = context(&world, BUILD);
    let warm = |n: &'static str| world.warm().source(["--context", context.to_str().unwrap()]).with(["--build-arg", n]);
    let run = warm("N=1").run().exits(5);
    assert!(run.reports("/reasons").to_string().contains("no step was found in them"), "{}", run.reports("/reasons"));
    fs::remove_dir_all(world.root()).unwrap();
    warm("N=1").with(["--min-hit-rate", "0"]).run().exits(0);
    // One hit is more than nothing.
    warm("N=2").run().exits(0);
}

#[test]
fn a_base_image_that_is_not_there_is_not_warm_whatever_the_hit_rate() {
    let world = World::new();
    let first = context(&world, BUILD);
    world.warm().from([]).source(["--context", first.to_str().unwrap()]).run().exits(0);
    let other = context(&world, "FROM docker/dockerfile:1\n");
    for share in ["0", "0.95", "1"] {
        let run = world.smoke(&world.root(), &other, &["--min-hit-rate", share]).exits(5);
        assert!(run.reports("/reasons").to_string().contains("fetch"), "{}", run.reports("/reasons"));
    }
}

#[test]
fn a_forbidden_miss_is_not_warm_every_time() {
    let world = World::new();
    let context = context(&world, BUILD);
    let warm = || world.warm().from([]).source(["--context", context.to_str().unwrap()]);
    warm().run().exits(0);
    for n in 2..17 {
        let argument = format!("N={n}");
        let run = warm().with(["--on-miss", "fail", "--build-arg", &argument]).run().exits(5);
        let reasons = run.reports("/reasons").to_string();
        assert!(reasons.contains("no cache has `[stage-1 1/1] RUN"), "{reasons}");
        assert!(reasons.contains("--on-miss fail forbids to run it"), "{reasons}");
        assert!(run.reports("/steps").to_string().contains("\"miss\""), "{}", run.reports("/steps"));
    }
}

#[test]
fn a_line_of_a_steps_log_is_told_once() {
    let world = World::new();
    let context = context(&world, "FROM busybox:1.35\nRUN echo once; echo twice; echo twice; echo warm >/a\n");
    let run = world.warm().from([]).source(["--context", context.to_str().unwrap()]).run().exits(0);
    let steps = run.reports("/steps");
    let work = steps.as_array().unwrap().iter().find(|step| step["name"].as_str().unwrap().contains("RUN")).unwrap();
    assert_eq!(work["reason"]["detail"], "once\ntwice\ntwice");
}

/// A base image whose name stands for another index of the same layers than when the cache was made: the cache knows the
/// steps by the image's configuration, and BuildKit before v0.33.1 finds them by that only as long as it did not open the image by itself.
#[test]
fn steps_are_found_again_though_their_image_moved_to_another_index() {
    let world = World::older();
    let registry = ground().registry.address();
    let (base, cache) = (format!("{registry}/team/moving:1"), format!("{registry}/team/moved:cache"));
    let (image, project) = (world.path("image"), world.path("project"));
    let stages = "FROM {} AS other\nRUN echo other >/other\nFROM {}\nCOPY file /\nRUN cat /file\nCOPY --from={} /base /b\n\
                  COPY --link --from=other /other /\n";
    for (folder, text) in
        [(&image, "FROM busybox:1.35\nRUN echo base >/base\n".to_owned()), (&project, stages.replace("{}", &base))]
    {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("Dockerfile"), text).unwrap();
        fs::write(folder.join("file"), "content\n").unwrap();
    }
    let builder = world.daemon(&world.path("ci"), &world.path("ci/root"), &world.config());
    let push = format!("type=image,name={base},push=true");
    builder.build(&image, &["--output", &push]).succeeded();
    builder.build(&project, &[]).succeeded();
    builder.build(&image, &["--output", &push, "--opt", "attest:provenance=mode=max"]).succeeded();
    builder.build(&project, &["--export-cache", &format!("type=registry,mode=max,ref={cache}")]).succeeded();
    drop(builder);

    let source = ["--context", project.to_str().unwrap()];
    // With the proof, which a daemon that runs is asked for as well.
    let running = world.daemon(&world.path("daemon"), &world.path("daemon/root"), &world.config());
    let root = world.path("daemon/root");
    let address = running.address();
    let run = world
        .warm()
        .source(source)
        .from([&cache])
        .builder(&address)
        .without_root()
        .with(["--root", root.to_str().unwrap()])
        .run()
        .exits(0);
    assert_eq!(run.reports("/hit_rate"), 1.0);
    let judged = world.judged_by_buildx(&root, &project, &[], "");
    assert!(judged.ran.is_empty(), "{}\n{:?}", run.stdout, judged.ran);
    drop(running);
    world.warm().source(source).from([&cache]).run().exits(0);
    let judged = world.judged_by_buildx(&world.root(), &project, &[], "");
    assert!(judged.ran.is_empty(), "{}\n{:?}", run.stdout, judged.ran);
    world.smoke(&world.root(), &project, &[]).exits(0);
}
