//! Sources behind ssh: names of hosts, keys and trust as a person has configured them, and nobody is asked for anything.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::git::{git, sample};
use crate::support::sshd::{ALIAS, KEY, key};
use crate::support::{Sshd, World};

/// A repository of this Dockerfile and what it takes in, for the server to serve.
fn repository(world: &World) -> PathBuf {
    let folder = world.path("r.git");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), "FROM busybox:1.35\nCOPY file /\nRUN cat /file\n").unwrap();
    fs::write(folder.join("file"), "content\n").unwrap();
    git(&folder, ["init", "-q", "-b", "main"]);
    git(&folder, ["add", "-A"]);
    git(&folder, ["commit", "-q", "-m", "One file"]);
    folder
}

#[test]
fn a_host_is_known_by_the_name_and_the_key_of_the_persons_own_configuration() {
    let mut world = World::new();
    let _server = Sshd::start(&mut world, Path::new("/usr/bin"));
    let folder = world.path("r.git");
    let commit = sample(&folder);
    let urls = [format!("{ALIAS}:{}", folder.display()), format!("ssh://{ALIAS}{}", folder.display())];
    for (url, rev) in urls.iter().zip(["main", &commit[..9]]) {
        let run = world.warm().source(["--repo", url, "--rev", rev]).run().ends_warm();
        assert_eq!((run.reports("/source/commit"), run.reports("/hit_rate")), (commit.as_str().into(), 1.0.into()));
    }
    world.left_nothing_running();
}

#[test]
fn submodules_come_by_the_same_way() {
    let mut world = World::new();
    let _server = Sshd::start(&mut world, Path::new("/usr/bin"));
    let folder = repository(&world);
    let part = world.path("part");
    fs::create_dir(&part).unwrap();
    git(&part, ["init", "-q", "-b", "main"]);
    git(&part, ["commit", "-q", "--allow-empty", "-m", "None"]);
    git(&folder, ["submodule", "--quiet", "add", "../part", "part"]);
    git(&folder, ["commit", "-q", "-m", "A part"]);
    let url = format!("{ALIAS}:{}", folder.display());
    world.warm().source(["--repo", &url, "--submodules"]).from([]).run().exits(0);
}

#[test]
fn a_key_with_a_passphrase_is_named_and_nobody_is_asked() {
    let mut world = World::new();
    let _server = Sshd::start(&mut world, Path::new("/usr/bin"));
    let folder = repository(&world);
    let locked = world.path(KEY);
    for file in [locked.clone(), locked.with_extension("pub")] {
        fs::remove_file(file).unwrap();
    }
    key(&locked, "sesame");
    fs::copy(locked.with_extension("pub"), world.path("host/authorized")).unwrap();
    let url = format!("{ALIAS}:{}", folder.display());
    let command = format!("ssh-add {}", locked.display());
    let words = ["has a passphrase", locked.to_str().unwrap(), &command, "SSH_AUTH_SOCK"];
    world.warm().source(["--repo", &url]).from([]).run().blames(&words);

    // Also where there is a terminal at which somebody could be asked.
    let call = format!(
        "{} warm --repo {url} --builder spawn:{} --root {} --manifest none",
        env!("CARGO_BIN_EXE_cachewarm"),
        world.buildkitd().display(),
        world.root().display()
    );
    let run = world.by(&["sh", "-c", "exec \"$0\" --quiet --return --command \"$1\" /dev/null", "script", &call], &[]);
    assert_eq!(run.code, Some(3), "{}", run.stdout);
    assert!(run.stdout.contains("has a passphrase") && !run.stdout.contains("Enter passphrase"), "{}", run.stdout);
    world.built_nothing();
}

#[test]
fn what_keeps_ssh_out_is_told_with_the_next_command() {
    let mut world = World::new();
    let server = Sshd::start(&mut world, Path::new("/usr/bin"));
    let folder = repository(&world);
    let at = |host: &str, path: &Path| format!("ssh://{host}{}", path.display());
    let clone = |url: &str| world.warm().source(["--repo", url]).from([]).run();
    clone(&at(ALIAS, &world.path("gone"))).blames(&["there is no git repository at"]);
    clone(&at("nowhere.invalid", &folder)).blames(&["nowhere.invalid", "~/.ssh/config"]);
    // By this name it has no key.
    let bare = format!("root@{}", server.address());
    clone(&at(&bare, &folder)).blames(&["refused the ssh keys", "ssh-add"]);
    fs::remove_file(world.path("home/.ssh/known_hosts")).unwrap();
    let by_hand = format!("ssh -T {ALIAS}");
    clone(&at(ALIAS, &folder)).blames(&["could not trust", &by_hand, "known_hosts"]);
    assert!(!world.path("home/.ssh/known_hosts").exists());
    world.built_nothing();
}

#[test]
fn keys_of_a_build_are_served_to_it() {
    let mut world = World::new();
    let server = Sshd::start(&mut world, Path::new("/usr/bin"));
    let folder = repository(&world);
    let other = key(&world.path("other"), "");
    let url = format!("ssh://root@{}{}#main", server.address(), folder.display());
    // BuildKit's git asks the agent of the build.
    let keys = format!("default={},{}", other.display(), world.path(KEY).display());
    let run = world.warm().source([&url]).from([]).with(["--ssh", &keys]).run().exits(0);
    assert_eq!(run.reports("/verdict"), "warm");
    let wrong = format!("default={}", other.display());
    let fresh = World::new();
    fresh.warm().source([&url]).from([]).with(["--ssh", &wrong]).run().fails();
    assert!(!crate::support::process::mentions("cachewarm-ssh-"), "an agent is left");
    world.left_nothing_running();
}

#[test]
fn keys_that_cannot_be_served_are_refused_before_a_step_fails_on_them() {
    let world = World::new();
    let locked = key(&world.path("key"), "sesame").display().to_string();
    let bake = r#"{"target": {"default": {"context": ".", "ssh": [{"id": "default", "paths": ["./key", "./key"]}]}}}"#;
    fs::write(world.path("bake.json"), bake).unwrap();
    let runs = [
        world.warm().from([]).with(["--ssh", "default=./key"]).run(),
        world.warm().source(["--bake", "bake.json", "--allow=ssh"]).from([]).run(),
    ];
    for run in runs.map(|run| run.exits(2)) {
        assert!(run.stderr.contains(&locked) && run.stderr.contains("ssh-add"), "{}", run.stderr);
    }
    let run = world.warm().from([]).with(["--ssh", "default=./nowhere"]).run().exits(2);
    assert!(run.stderr.contains("nowhere"), "{}", run.stderr);
    world.built_nothing();
}
