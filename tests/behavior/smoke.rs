//! Is this build warm here? What smoke says of every step, held against what BuildKit then does.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::ground::tool;
use crate::support::judge::changed;
use crate::support::{Builder, Fault, Faults, Run, World, ground, process, wait_until};

/// The names of the steps in this state: what stands in brackets, `test 1/2`.
fn steps(run: &Run, state: &str) -> BTreeSet<String> {
    let steps = run.reports("/steps");
    let of_state = steps.as_array().unwrap().iter().filter(|step| step["state"] == state);
    of_state.filter_map(|step| crate::support::judge::step(step["name"].as_str().unwrap())).collect()
}

/// Smoke of the sample after an edit; its context is in the world.
fn smoke(world: &World, edit: impl FnOnce(&Path)) -> Run {
    let context = tempfile::Builder::new().prefix("edited").tempdir_in(world.folder()).unwrap();
    crate::support::git::sample(context.path());
    edit(context.path());
    world.smoke(&world.root(), context.path(), &[])
}

/// What smoke says is what BuildKit does on a copy of the root, step by step; and it says so a second time.
fn agrees(world: &World, edit: impl Fn(&Path) + Copy) -> Run {
    let run = smoke(world, edit);
    let again = smoke(world, edit);
    assert_eq!(
        (steps(&run, "hit"), steps(&run, "miss"), steps(&run, "unknown")),
        (steps(&again, "hit"), steps(&again, "miss"), steps(&again, "unknown")),
        "smoke changed what it looked at"
    );
    let judged = world.judged(&world.root(), edit);
    let ran: BTreeSet<String> = judged.ran.iter().cloned().collect();
    let (hit, missed) = (steps(&run, "hit"), steps(&run, "miss"));
    assert!(missed.is_subset(&ran), "smoke says {missed:?} would run; BuildKit ran {ran:?}");
    assert!(hit.is_disjoint(&ran), "smoke says {hit:?} are here; BuildKit ran {ran:?}");
    assert_eq!(run.code == Some(0), ran.is_empty(), "smoke exits {:?}; BuildKit ran {ran:?}", run.code);
    assert_eq!(missed.is_empty(), ran.is_empty());
    assert!(judged.fetched.is_empty() && judged.extracted.is_empty(), "{judged:?}");
    run
}

fn warmed() -> World {
    let world = World::new();
    world.warm().run().ends_warm();
    world
}

fn replaced(context: &Path, file: &str, from: &str, to: &str) {
    let path = context.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no `{from}`");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn the_same_commit_is_all_there() {
    let world = warmed();
    // From now on names resolve, and no layer can be had.
    let registry = Faults::before(ground().registry.address());
    let config = fs::read_to_string(world.config()).unwrap();
    let (before, after) = (ground().registry.address().to_string(), registry.address().to_string());
    fs::write(world.config(), config.replace(&before, &after)).unwrap();
    for (repository, tag) in [("team/sample", "cache"), ("library/busybox", "1.35"), ("docker/dockerfile", "1")] {
        for (layer, _) in ground().registry.layers(repository, tag) {
            registry.always(&layer, Fault::status(404));
        }
    }

    let run = agrees(&world, |_| ());

    assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("warm".into(), 1.0.into()));
    assert_eq!((run.reports("/transfer/blobs"), run.reports("/transfer/extracted")), (0.into(), 0.into()));
    assert_eq!(steps(&run, "hit").len(), 10);
    assert!(!registry.requests("HEAD").is_empty(), "nobody asked");
    assert_eq!(world.steps_run(), Vec::<String>::new());
    world.left_nothing_running();
}

#[test]
fn files_that_changed_are_told_from_files_that_did_not() {
    let world = warmed();
    let missed = |run: &Run| steps(run, "miss").into_iter().collect::<Vec<_>>();
    let run = agrees(&world, |context| changed("tests/test_kernel.py")(context));
    assert_eq!(missed(&run), ["test 1/2"]);
    let run = agrees(&world, |context| changed("csrc/kernel.c")(context));
    assert_eq!(missed(&run), ["build 1/3"]);
    assert!(steps(&run, "unknown").contains("vllm-base 2/3"), "{}", run.stdout);
    let run = agrees(&world, |context| fs::write(context.join("vllm/new.py"), "").unwrap());
    assert_eq!(missed(&run), ["vllm-base 3/3"]);
    let run = agrees(&world, |context| fs::remove_file(context.join("vllm/serve.py")).unwrap());
    assert_eq!(missed(&run), ["vllm-base 3/3"]);
    let run = agrees(&world, |context| {
        fs::set_permissions(context.join("requirements/fill"), fs::Permissions::from_mode(0o644)).unwrap();
    });
    assert_eq!(missed(&run), ["base 2/3"]);
    // In no COPY.
    agrees(&world, |context| fs::write(context.join("README.md"), "new").unwrap()).exits(0);
}

#[test]
fn lines_that_changed_are_told_from_lines_that_did_not() {
    let world = warmed();
    let missed = |run: &Run| steps(run, "miss").into_iter().collect::<Vec<_>>();
    let run =
        agrees(&world, |context| replaced(context, "Dockerfile", "RUN mkdir -p /opt", "RUN mkdir -p -m 755 /opt"));
    assert_eq!(missed(&run), ["base 3/3"]);
    let run = agrees(&world, |context| replaced(context, "Dockerfile", "AS build\n", "AS build\nENV CFLAGS=-O2\n"));
    assert_eq!(missed(&run), ["build 2/3"]);
    let run = agrees(&world, |context| replaced(context, "Dockerfile", "AS test\n", "AS test\nARG DEBUG=1\n"));
    assert_eq!(missed(&run), ["test 2/2"]);
    let run =
        agrees(&world, |context| replaced(context, "Dockerfile", "COPY vllm/ /vllm/", "COPY --chmod=700 vllm/ /vllm/"));
    assert_eq!(missed(&run), ["vllm-base 3/3"]);
    // A comment and a name change no step.
    agrees(&world, |context| replaced(context, "Dockerfile", "# Four stages", "# Several stages")).exits(0);
}

#[test]
fn what_does_not_fit_into_memory_is_asked_about_on_disk() {
    let mut world = warmed();
    world.spare_memory(300);
    let run = smoke(&world, |context| fs::write(context.join("vllm/weights"), vec![7; 100 << 20]).unwrap()).exits(5);
    assert!(run.stderr.contains("does not fit into memory"), "{}", run.stderr);
    assert_eq!(steps(&run, "miss").into_iter().collect::<Vec<_>>(), ["vllm-base 3/3"]);
    world.left_nothing_running();
}

#[test]
fn a_step_that_takes_an_hour_is_a_miss_at_once_and_does_not_run() {
    let world = warmed();
    let run =
        smoke(&world, |context| replaced(context, "Dockerfile", "RUN mkdir -p /opt", "RUN sleep 3600; mkdir /opt"));
    let run = run.exits(5);
    assert_eq!(steps(&run, "miss").into_iter().collect::<Vec<_>>(), ["base 3/3"]);
    assert_eq!(world.steps_run(), Vec::<String>::new());
    world.left_nothing_running();
}

/// A daemon that was started once with another snapshotter left an empty worker of it.
#[test]
fn a_root_of_two_snapshotters_is_judged_by_the_one_that_is_used() {
    let world = World::new();
    world.configure_builder("  snapshotter = \"native\"\n");
    drop(Builder::start(&world.path("daemon"), &world.root(), &world.config()));
    world.configure_builder("");
    world.warm().run().ends_warm();
    world.check(&world.root(), &[]).exits(0);
    smoke(&world, |_| {}).exits(0);
    world.configure_builder("  snapshotter = \"native\"\n");
    let config = world.config().display().to_string();
    world.check(&world.root(), &["--buildkitd-config", &config]).exits(5);
    smoke(&world, |_| {}).exits(5);
}

/// BuildKit gives the containers of frontends these variables, and an image or a Dockerfile can set them too.
#[test]
fn a_step_that_looks_like_a_frontend_does_not_run() {
    let world = warmed();
    let session = "ENV BUILDKIT_FRONTEND_OPT_0=target=x BUILDKIT_SESSION_ID=0123456789abcdefghijklmno";
    let run = smoke(&world, |context| {
        replaced(context, "Dockerfile", "RUN mkdir -p /opt", &format!("{session}\nRUN mkdir -p /opt"));
    });
    let run = run.exits(5);
    assert_eq!(steps(&run, "miss").into_iter().collect::<Vec<_>>(), ["base 3/3"]);
    assert_eq!(world.steps_run(), Vec::<String>::new());
}

/// `du` of such a root is as large as that of a warm one, and every step says CACHED.
#[test]
fn what_matches_and_is_not_unpacked_is_not_called_warm() {
    let world = World::new();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    let import = format!("type=registry,ref={}", crate::support::donor("cache"));
    builder.build(&ground().sample, &["--import-cache", &import, "--output", "type=docker,dest=/dev/null"]).succeeded();

    // Beside the daemon, which still knows of everything.
    let run = smoke(&world, |_| ()).exits(5);

    assert_eq!(run.reports("/hit_rate"), 1.0);
    assert!(run.stdout.contains("matched but not present"), "{}", run.stdout);
    assert_eq!(run.reports("/transfer/blobs"), 0);
    drop(builder);
}

#[test]
fn a_root_that_cannot_be_read_is_named_and_so_is_a_builder_that_is_not_there() {
    let world = World::new();
    let run = smoke(&world, |_| ());
    run.blames(&["could not read the state root", "--root"]);
    // A root that is named is what is asked about, whatever builders there are.
    let auto = world.smoke(&world.root(), &ground().sample, &["--builder", "auto"]);
    auto.blames(&["could not read the state root", "--root"]);
    world.smoke_with(&ground().sample, &["--builder", "unix:///run/x.sock"]).blames(&["/run/x.sock"]);
}

#[test]
fn a_copy_that_ran_while_it_was_asked_for_is_no_hit_afterwards() {
    let world = warmed();
    // Stacked on one another, and both changed.
    let run = agrees(&world, |context| {
        changed("vllm/serve.py")(context);
        changed("tests/test_kernel.py")(context);
    });
    assert_eq!(steps(&run, "miss").into_iter().collect::<Vec<_>>(), ["vllm-base 3/3"]);
    // The second target shares the first one's changed COPY.
    let bake = r#"{"target": {
        "vllm": {"context": ".", "dockerfile": "Dockerfile", "target": "vllm-base"},
        "test": {"context": ".", "dockerfile": "Dockerfile", "target": "test"}}}"#;
    fs::write(world.path("bake.json"), bake).unwrap();
    let context = world.path("edited");
    crate::support::git::sample(&context);
    changed("vllm/serve.py")(&context);
    let bake = world.path("bake.json").display().to_string();
    let targets = ["--bake", bake.as_str(), "--bake-target", "vllm", "--bake-target", "test"];
    let run = world.smoke(&world.root(), &context, &targets).exits(5);
    for target in ["/targets/0", "/targets/1"] {
        let (steps, hits) = (run.reports(&format!("{target}/steps")), run.reports(&format!("{target}/hits")));
        assert!(hits.as_u64() < steps.as_u64(), "{target} is all hits: {}", run.stdout);
    }
}

#[test]
fn what_runs_in_every_build_or_is_an_image_that_is_not_here_is_not_called_warm() {
    let world = warmed();
    let run = world.smoke(&world.root(), &ground().sample, &["--no-cache"]).exits(5);
    assert_eq!(run.reports("/hit_rate"), 0.0);
    let run = world.smoke(&world.root(), &ground().sample, &["--no-cache-filter", "test"]).exits(5);
    assert!(run.reports("/hit_rate").as_f64().unwrap() > 0.5, "{}", run.stdout);

    // An image alone: no step runs, and it has to be fetched all the same.
    let other = World::new();
    drop(Builder::start(&other.path("daemon"), &other.root(), &other.config()));
    fs::create_dir(other.path("image")).unwrap();
    fs::write(other.path("image/Dockerfile"), "FROM busybox:1.35\nENV A=1\n").unwrap();
    let run = other.smoke(&other.root(), &other.path("image"), &[]).exits(5);
    assert!(run.stdout.contains("the build would fetch it"), "{}", run.stdout);
    let run = world.smoke(&world.root(), &other.path("image"), &[]).exits(0);
    assert_eq!(run.reports("/layers/extracted"), 1);
}

/// BuildKit v0.32.2 panics now and then when a build is given up.
#[test]
fn a_daemon_on_the_shadow_that_dies_is_replaced() {
    let world = warmed();
    // It waits for the name of the base image when it is killed.
    let registry = Faults::before(ground().registry.address());
    let config = fs::read_to_string(world.config()).unwrap();
    let (before, after) = (ground().registry.address().to_string(), registry.address().to_string());
    fs::write(world.config(), config.replace(&before, &after)).unwrap();
    registry.times(1, "busybox/manifests", Fault::StallAfter(0));
    let running = world.smoke_starts(&world.root(), &ground().sample);
    wait_until("it asks for the name", 60, || !registry.requests("busybox/manifests").is_empty());
    let daemons: Vec<_> =
        process::using(world.folder()).into_iter().filter(|(_, line)| line.contains("buildkitd --config")).collect();
    assert!(!daemons.is_empty(), "no daemon is there");
    daemons.iter().for_each(|(id, _)| process::signal(*id, "KILL"));

    let run = running.ends().exits(0);

    assert!(run.stderr.contains("asking another one"), "{}", run.stderr);
    world.left_nothing_running();
}

#[test]
fn a_builder_whose_root_can_be_read_is_left_alone() {
    let mut world = warmed();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    let before = builder.disk_usage();
    // A machine's own buildkitd is in PATH.
    let tools = tool("BUILDKITD").parent().unwrap().display().to_string();
    world.set("PATH", &format!("{tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    let (address, root) = (builder.address(), world.root().display().to_string());
    let smoke = |context: &Path| world.smoke_with(context, &["--builder", &address, "--root", &root]);

    let run = smoke(&ground().sample).exits(0);

    assert_eq!(
        (run.reports("/builder/kind"), run.reports("/builder/address")),
        ("shadow".into(), address.as_str().into())
    );
    assert_eq!(run.reports("/builder/state_root"), root.as_str());
    let context = world.path("edited");
    crate::support::git::sample(&context);
    changed("csrc/kernel.c")(&context);
    assert_eq!(steps(&smoke(&context).exits(5), "miss").into_iter().collect::<Vec<_>>(), ["build 1/3"]);
    assert_eq!(builder.disk_usage(), before, "it was asked, or its root was changed");
}

/// Names are resolved through a mirror that only the running daemon's own configuration knows of.
#[test]
fn names_are_resolved_as_the_daemon_resolves_them_that_uses_the_root() {
    let mut world = warmed();
    let _builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    world.configure_machine();
    fs::remove_file(world.path("etc/buildkit/buildkitd.toml")).unwrap();

    let run = world.smoke(&world.root(), &ground().sample, &[]).exits(0);

    assert_eq!((run.reports("/builder/kind"), run.reports("/hit_rate")), ("shadow".into(), 1.0.into()));
}

/// Each level of a directory is a file that is open; a soft limit of 256 files is that of some machines.
#[test]
fn a_deep_directory_is_no_matter_of_open_files() {
    let world = World::new();
    let context = world.path("deep");
    let script = "mkdir \"$1\" && cd \"$1\" && printf 'FROM busybox:1.35\\nCOPY . /x\\n' >Dockerfile && \
                  for n in $(seq 400); do mkdir d && cd d; done && echo x >file";
    assert!(std::process::Command::new("sh").args(["-c", script, "sh"]).arg(&context).status().unwrap().success());
    let mut arguments = vec!["warm".to_owned(), format!("--context={}", context.display())];
    arguments.push(format!("--builder=spawn:{}", tool("BUILDKITD").display()));
    arguments.push(format!("--root={}", world.root().display()));
    arguments.push(format!("--buildkitd-config={}", world.config().display()));
    arguments.push(format!("--manifest={}", world.path("manifest.json").display()));
    world.by(&["prlimit", "--nofile=256:4096"], &arguments).exits(0);
}

/// BuildKit lists what it has run itself under another id once a build uses it.
#[test]
fn a_builder_that_ran_the_steps_itself_has_them() {
    let world = World::new();
    let context = world.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("file"), "content\n").unwrap();
    fs::write(context.join("Dockerfile"), "FROM busybox:1.35\nCOPY file /\nRUN cat /file >/copy\nCOPY file /again\n")
        .unwrap();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    builder.build(&context, &[]).succeeded();

    // Nobody but the builder itself can be asked: there is no buildkitd in PATH.
    for _ in 0..2 {
        let run = world.smoke_with(&context, &["--builder", &builder.address()]);
        let steps = run.reports("/steps");
        let is_hit = |step: &serde_json::Value| step["state"] == "hit";
        assert!(steps.as_array().unwrap().iter().all(is_hit) && run.reports("/hit_rate") == 1.0, "{}", run.stdout);
    }
}
