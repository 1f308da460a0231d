//! What is built with: daemons and disks that are not what they should be, and ends that come too early.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::judge::changed;
use crate::support::run::Running;
use crate::support::sshd::{ALIAS, Sshd};
use crate::support::{Builder, Fault, Faults, World, ground, wait_until};

/// Mounts a file system in memory, of this size, at a folder of the world; it goes with the world.
fn memory(folder: &Path, options: &str) {
    fs::create_dir_all(folder).unwrap();
    let mut mount = Command::new("mount");
    assert!(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).status().unwrap().success());
}

/// A run that has begun to fetch and cannot go on until `faults` behaves.
fn held(world: &World, faults: &Faults) -> Running {
    let layers = ground().registry.layers("team/sample", "cache");
    for (layer, _) in &layers[..3] {
        faults.always(&format!("GET {layer}"), Fault::StallAfter(100_000));
    }
    let donor = format!("{}/team/sample:cache", faults.address());
    let running = world.warm().from([&donor]).with(["--stall-timeout", "60s"]).start();
    wait_until("a blob is on its way", 60, || {
        layers[..3].iter().any(|(layer, _)| !faults.requests(&format!("GET {layer}")).is_empty())
    });
    running
}

/// The same command again, with a network that behaves, ends warm.
fn converges(world: &World, faults: &Faults) {
    faults.behave();
    let donor = format!("{}/team/sample:cache", faults.address());
    world.warm().from([&donor]).run().ends_warm();
    world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
}

#[test]
fn a_root_that_another_daemon_holds_is_left_alone() {
    let world = World::new();
    let _builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    let root = world.root();
    world.warm().run().blames(&[root.to_str().unwrap(), "in use by another buildkitd", "unix://"]);
}

#[test]
fn a_root_that_cannot_be_written_is_named() {
    let world = World::new();
    memory(&world.root(), "ro");
    world.warm().run().blames(&[world.root().to_str().unwrap(), "Read-only file system"]);
    world.left_nothing_running();
}

#[test]
fn a_full_disk_is_named_and_more_room_is_all_it_takes() {
    let world = World::new();
    memory(&world.root(), "size=12m");
    let run = world.warm().run().exits(3);
    assert!(run.stderr.contains("no space left on device"), "{}", run.stderr);
    assert_eq!(world.steps_run(), Vec::<String>::new());
    world.left_nothing_running();

    let root = world.root();
    let mut remount = Command::new("mount");
    assert!(remount.args(["-o", "remount,size=200m"]).arg(&root).status().unwrap().success());
    world.warm().run().ends_warm();
}

/// containerd makes a snapshot's directory before it notes the snapshot; a kill in between leaves it in the next one's way.
#[test]
fn a_directory_that_a_killed_daemon_left_in_the_way_is_no_hindrance() {
    for number in [1, 6] {
        let world = World::new();
        drop(Builder::start(&world.path("daemon"), &world.root(), &world.config()));
        let left = world.root().join(format!("runc-overlayfs/snapshots/snapshots/{number}/fs"));
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("file"), "left").unwrap();

        world.warm().with(["--on-miss", "fail"]).run().ends_warm();

        world.judged(&world.root(), changed("tests/test_kernel.py")).ran_only(&["test 1/2", "test 2/2"]);
    }
}

#[test]
fn a_buildkitd_that_is_not_there_is_named() {
    let world = World::new();
    world.warm().builder("spawn:/nowhere/buildkitd").run().blames(&["/nowhere/buildkitd", "hint:"]);
    world.warm().builder("spawn").run().blames(&["buildkitd", "PATH"]);
}

#[test]
fn a_buildkitd_that_ends_at_its_start_is_quoted() {
    let world = World::new();
    let broken = world.path("broken-buildkitd");
    fs::write(&broken, "#!/bin/sh\necho 'the flux capacitor is missing' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    world.warm().builder(&format!("spawn:{}", broken.display())).run().blames(&["the flux capacitor is missing"]);
    world.left_nothing_running();
}

#[test]
fn a_builder_configuration_with_a_mistake_is_quoted() {
    let world = World::new();
    world.configure_builder("[worker.oci\n");
    let config = world.config();
    let run = world.warm().run().fails();
    assert!(run.stderr.contains(config.to_str().unwrap()), "{}", run.stderr);
    world.left_nothing_running();
}

#[test]
fn a_socket_nobody_listens_at_is_named() {
    let world = World::new();
    world.warm().builder("unix:///nowhere/buildkitd.sock").run().blames(&["/nowhere/buildkitd.sock", "hint:"]);
}

#[test]
fn addresses_that_name_no_builder_are_refused_by_name() {
    let world = World::new();
    for address in ["tcp://builder:1234", "docker-container://-x", "ftp://nowhere"] {
        let run = world.warm().builder(address).run().exits(2);
        assert!(run.stderr.contains(address), "{}", run.stderr);
    }
}

#[test]
fn auto_takes_the_daemon_that_runs_and_says_so() {
    let mut world = World::new();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    world.set("BUILDKIT_HOST", &builder.address());

    let run = world.warm().builder("auto").run().ends_warm();

    assert_eq!(
        (run.reports("/builder/kind"), run.reports("/builder/address")),
        ("unix".into(), builder.address().into())
    );
    assert!(run.stderr.contains("BUILDKIT_HOST"), "{}", run.stderr);
}

#[test]
fn a_root_that_cannot_be_read_is_never_called_warm() {
    let world = World::new();
    let builder = Builder::start(&world.path("daemon"), &world.path("elsewhere"), &world.config());

    // The flag names a folder that is not the daemon's.
    let run = world.warm().builder(&builder.address()).run().exits(5);

    assert_eq!(run.reports("/verdict"), "not-verified");
}

#[test]
fn an_interrupt_midway_leaves_nothing_running_and_a_root_to_go_on_from() {
    let world = World::new();
    let faults = Faults::before(ground().registry.address());
    let running = held(&world, &faults);

    running.signal("INT");

    running.ends().exits(130);
    world.left_nothing_running();
    converges(&world, &faults);
}

#[test]
fn cachewarm_killed_midway_converges_when_run_again() {
    let world = World::new();
    let faults = Faults::before(ground().registry.address());
    let running = held(&world, &faults);

    running.signal("KILL");

    assert_eq!(running.ends().code, None);
    wait_until("its buildkitd ends as well", 10, || world.running().is_empty());
    converges(&world, &faults);
}

#[test]
fn a_program_that_leads_to_no_builder_is_quoted() {
    let mut world = World::new();
    let run = |world: &World, address: &str| world.warm().without_root().builder(address).run();
    run(&world, "nerdctl-container://builder").blames(&["there is no `nerdctl` here", "hint:"]);
    run(&world, "ssh://host.invalid").blames(&[
        "ssh://host.invalid",
        "`ssh` says: ",
        "host.invalid",
        "ssh -- host.invalid",
    ]);
    run(&world, "podman-container://nobody").blames(&["`podman` says: ", "nobody"]);
    // No name of a host is an option, and nothing of an address is for a shell.
    for address in ["ssh://-oProxyCommand=touch", "ssh://host/run/$(id)", "kube-pod://a?namespace=--all"] {
        let refused = run(&world, address).exits(2);
        assert!(refused.stderr.contains(address), "{}", refused.stderr);
    }
    let server = Sshd::start(&mut world, Path::new("/usr/bin"));
    let bare = format!("ssh://root@{}", server.address());
    run(&world, &bare).blames(&["Permission denied", "without asking"]);
    // It gets in, and finds no buildctl.
    run(&world, &format!("ssh://{ALIAS}")).blames(&["buildctl", "not found"]);
}
