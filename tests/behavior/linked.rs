//! Targets that take each other's results as contexts (`target:NAME`): each platform takes its own.

use std::fs;
use std::process::Command;

use rustix::fs::inotify;

use crate::support::builder::Built;
use crate::support::ground::{mirror_config, tool};
use crate::support::judge::{Judged, copied};
use crate::support::{Builder, World, ground};

/// Writes a base, and an application on it, whose paths and variables tell the platform; the bake file names these fields
/// in addition.
fn project(world: &World, base: &str, more: &str) {
    for (folder, dockerfile) in [("base", base), ("app", "FROM base\nCOPY g ./$A/\n")] {
        fs::create_dir(world.path(folder)).unwrap();
        fs::write(world.path(folder).join("Dockerfile"), dockerfile).unwrap();
        fs::write(world.path(folder).join("f"), "f\n").unwrap();
        fs::write(world.path(folder).join("g"), "g\n").unwrap();
    }
    let text = format!(
        r#"{{"target": {{
            "base": {{"context": "base"{more}}},
            "app": {{"context": "app", "contexts": {{"base": "target:base"}}{more}}}}}}}"#
    );
    fs::write(world.path("bake.json"), text).unwrap();
}

/// What buildx bake has to do on a copy of the root.
pub(super) fn judged(world: &World, more: &[&str]) -> Judged {
    let folder = tempfile::Builder::new().prefix("judge").tempdir_in(world.folder()).unwrap();
    let copy = copied(&world.root(), folder.path());
    let config = mirror_config(folder.path(), ground().registry.address());
    let builder = Builder::start(&folder.path().join("daemon"), &copy, &config);
    let buildx = |arguments: &[&str]| {
        let mut buildx = Command::new(tool("BUILDX"));
        buildx.env("BUILDX_CONFIG", folder.path().join("buildx")).env("DOCKER_CONFIG", folder.path());
        buildx.args(arguments).current_dir(world.folder()).output().unwrap()
    };
    let made = buildx(&["create", "--name=judge", "--driver=remote", &builder.address()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let bake = ["bake", "--builder=judge", "--progress=rawjson", "--file=bake.json", "--set=*.output=type=cacheonly"];
    Judged::of(&Built(buildx(&[bake.as_slice(), more].concat())).succeeded())
}

const BASE: &str = "FROM scratch\nARG TARGETARCH\nENV A=$TARGETARCH\nWORKDIR /$TARGETARCH\nCOPY f .\n";

fn is_the_same_for_buildx(base: &str, more: &str, names: &[&str]) {
    let world = World::new();
    project(&world, base, more);
    let targets = ["--bake", "bake.json", "--bake-target", "app"];
    let run = world.warm().source([]).from([]).with(targets).run().exits(0);
    assert_eq!(run.reports("/verdict"), "warm");
    let judged = judged(&world, &["app"]);
    // A WORKDIR that nobody needs is begun all the same, to learn its key.
    let copied: Vec<&String> = judged.ran_by_name.iter().filter(|name| !name.contains("] WORKDIR ")).collect();
    assert_eq!((copied, judged.fetched), (vec![], vec![]));
    let steps = run.reports("/steps").to_string();
    for name in names {
        assert!(steps.contains(name), "no {name} in {steps}");
    }
}

#[test]
fn each_platform_is_built_on_its_own_base() {
    let both = r#", "platforms": ["linux/amd64", "linux/arm64"]"#;
    is_the_same_for_buildx(BASE, both, &["COPY g ./amd64/", "COPY g ./arm64/"]);
}

#[test]
fn local_is_a_platform_like_others() {
    let (own, other) = if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") };
    let platforms = format!(r#", "platforms": ["local", "linux/{other}"]"#);
    is_the_same_for_buildx(BASE, &platforms, &[&format!("COPY g ./{own}/"), &format!("COPY g ./{other}/")]);
}

#[test]
fn one_platform_may_be_asked_for_as_if_there_were_several() {
    let one = r#", "platforms": ["linux/amd64"], "args": {"BUILDKIT_MULTI_PLATFORM": "1"}"#;
    is_the_same_for_buildx(BASE, one, &["COPY g ./amd64/"]);
}

#[test]
fn a_base_that_is_empty_is_refused_as_buildx_refuses_it() {
    let world = World::new();
    project(&world, "FROM scratch\nENV A=amd64\n", "");
    let run = world.warm().source([]).from([]).with(["--bake", "bake.json", "--bake-target", "app"]).run().exits(4);
    assert!(run.stderr.contains("`base` is a target that makes nothing"), "{}", run.stderr);
}

/// Targets of one context whose steps mount it: each is found by a build of it alone, which has a session of its own.
#[test]
fn targets_that_mount_one_context_are_each_warm_for_a_later_build() {
    let world = World::new();
    let project = world.path("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("file"), "content\n").unwrap();
    let steps = "FROM busybox:1.35 AS deps\nWORKDIR /src\nRUN --mount=type=bind,target=.,rw mkdir /vendor\n\
                 FROM deps AS vendor\nRUN --mount=type=bind,target=.,rw ls /vendor\n\
                 FROM deps AS build\nRUN --mount=target=/context --mount=type=cache,target=/src/c ls /context\n\
                 FROM build AS validate\nRUN --mount=target=/context --mount=target=.,type=tmpfs true\n\
                 FROM deps AS lint\nRUN --mount=type=bind,target=.,rw echo lint\n";
    fs::write(project.join("Dockerfile"), steps).unwrap();
    let all = ["vendor", "validate", "lint"];
    let target = |name: &str| format!(r#""{name}":{{"context":"{}","target":"{name}"}}"#, project.display());
    let group = format!(r#""group":{{"default":{{"targets":{all:?}}}}}"#);
    let bake = world.path("bake.json");
    fs::write(&bake, format!(r#"{{{group},"target":{{{}}}}}"#, all.map(target).join(","))).unwrap();
    world.warm().source(["--bake", bake.to_str().unwrap()]).from([]).run().exits(0);
    for name in all {
        let judged = world.judged_by_buildx(&world.root(), &project, &["--target", name], "");
        assert_eq!((judged.ran, judged.fetched), (vec![], vec![]), "{name}");
    }
}

#[test]
fn smoke_sends_a_context_of_several_targets_once() {
    let world = World::new();
    let context = world.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("file"), "content\n").unwrap();
    let targets: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            fs::write(context.join(name), format!("FROM scratch\nCOPY . /{name}\n")).unwrap();
            format!(r#""{name}": {{"context": "context", "dockerfile": "{name}"}}"#)
        })
        .collect();
    fs::write(world.path("bake.json"), format!(r#"{{"target": {{{}}}}}"#, targets.join(", "))).unwrap();
    let bake = ["--bake", "bake.json", "--bake-target", "a", "--bake-target", "b", "--bake-target", "c"];
    world.warm().source([]).from([]).with(bake).run().exits(0);

    let opened = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&opened, context.join("file"), inotify::WatchFlags::OPEN).unwrap();
    let run = world.on_root("smoke", &world.root(), &bake).exits(0);
    assert_eq!(run.reports("/hit_rate"), 1.0);
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&opened, &mut buffer);
    let mut times = 0;
    while events.next().is_ok() {
        times += 1;
    }
    assert_eq!(times, 1);
}

/// Files of one name, size and time in two directories that are contexts of one name: what `git clone` makes of two settings
/// files. BuildKit asks only for files that differ in those from what a session of the same key sent.
#[test]
fn contexts_of_one_name_are_not_taken_for_each_other() {
    let world = World::new();
    let settings = |name: &str, text: &str| {
        let folder = world.path("conf").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("settings"), text).unwrap();
        let file = fs::File::options().write(true).open(folder.join("settings")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)).unwrap();
    };
    settings("dev", "env=dev\n");
    settings("prd", "env=prd\n");
    fs::create_dir(world.path("context")).unwrap();
    let dockerfile = "FROM busybox:1.35\nCOPY --from=conf settings /settings\nRUN cat /settings >/g\n";
    fs::write(world.path("context/Dockerfile"), dockerfile).unwrap();
    let target = |name: &str| format!(r#""{name}": {{"context": "context", "contexts": {{"conf": "conf/{name}"}}}}"#);
    let group = r#""group": {"default": {"targets": ["dev", "prd"]}}"#;
    let bake = format!(r#"{{{group}, "target": {{{}, {}}}}}"#, target("dev"), target("prd"));
    fs::write(world.path("bake.json"), bake).unwrap();
    let one = ["--bake", "bake.json", "--bake-target", "dev"];
    let smoke = |exits: i32| {
        world.on_root("smoke", &world.root(), &["--bake=bake.json"]).exits(exits);
    };
    world.warm().source([]).from([]).with(one).run().exits(0);
    smoke(5);
    world.warm().source([]).from([]).with(["--bake", "bake.json"]).run().exits(0);
    smoke(0);
    let judged = judged(&world, &[]);
    assert_eq!((judged.ran, judged.fetched), (vec![], vec![]));
    // Another run may find other bytes of the same size and time.
    settings("dev", "env=new\n");
    smoke(5);
    let run = world.warm().source([]).from([]).with(one).run().exits(0);
    assert_eq!(run.reports("/hit_rate"), 0.0);
}
