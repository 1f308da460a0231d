//! Precedence, places and messages of settings, over every flag there is.

use super::*;
use crate::buildkit::Address;
use crate::cli::commands::{check, seal, smoke, warm};
use crate::cli::table::{COMMANDS, settings_of};
use crate::warm::{Job, Prove};

/// A value for every setting that is not its default.
const SAMPLES: [(&str, &str); 62] = [
    ("verbose", "2"),
    ("quiet", "true"),
    ("repo", "https://example.com/r.git"),
    ("rev", "main"),
    ("submodules", "true"),
    ("modes", "umask=000"),
    ("context", "sub"),
    ("file", "other.Dockerfile"),
    ("target", "build"),
    ("build-arg", "K=V"),
    ("public", "DEMO_TOKEN"),
    ("platform", "linux/arm64"),
    ("policy", "disabled=true"),
    ("source-policy", "policy.json"),
    ("build-context", "base=docker-image://alpine"),
    ("secret", "id=token,env=TOKEN"),
    ("ssh", "default"),
    ("add-host", "db:10.0.0.1"),
    ("network", "host"),
    ("shm-size", "64m"),
    ("ulimit", "nofile=1024"),
    ("label", "a=b"),
    ("no-cache", "true"),
    ("no-cache-filter", "build"),
    ("allow", "network.host"),
    ("bake", "bake.json"),
    ("path-map", "/builds/app=."),
    ("bake-target", "app"),
    ("cache-from", "type=registry,ref=r.example/cache:main"),
    ("cache-optional", "true"),
    ("donor-optional", "true"),
    ("aws-profile", "ci"),
    ("aws-region", "eu-west-1"),
    ("builder", "unix:///run/x.sock"),
    ("tlscacert", "ca.pem"),
    ("tlscert", "cert.pem"),
    ("tlskey", "key.pem"),
    ("tlsservername", "builder.example"),
    ("insecure-tcp", "true"),
    ("buildkit-image", "registry.example/buildkit:v1"),
    ("builder-restart", "on-failure:3"),
    ("keep-builder", "true"),
    ("root", "/srv/buildkit"),
    ("buildkitd-config", "/etc/buildkitd.toml"),
    ("on-miss", "fail"),
    ("min-hit-rate", "0.5"),
    ("fetch", "auto"),
    ("fetch-connections", "4"),
    ("stall-timeout", "5m"),
    ("step-timeout", "30m"),
    ("prove", "false"),
    ("manifest", "none"),
    ("progress", "json"),
    ("report", "json"),
    ("deep", "true"),
    ("used-by", "v0.34.2"),
    ("require", "extracted=95%"),
    ("fix", "true"),
    ("system", "/mnt"),
    ("ignore", "/opt/vendor"),
    ("cache-mounts", "drop"),
    ("marker", "/srv/sealed.json"),
];

fn resolve(typed: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<(Job, Output)> {
    let environment = Environment::holding(variables);
    let from = Sources::typed("warm", typed, &environment)?;
    Ok((warm::job(&from)?.job, output(&from)?))
}

/// What a command was told.
fn meaning(command: &'static str, typed: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<String> {
    let environment = Environment::holding(&[variables, &[("TOKEN", "hush")]].concat());
    let from = Sources::typed(command, typed, &environment)?;
    let job = match command {
        "warm" => format!("{:?}", warm::job(&from)?.job),
        "smoke" => format!("{:?}", smoke::job(&from)?.job),
        "check" => format!("{:?}", check::job(&from)?.job),
        _ => format!("{:?}", seal::job(&from)?.job),
    };
    Ok(format!("{job} {:?}", output(&from)?))
}

fn told<T: std::fmt::Debug>(outcome: anyhow::Result<T>) -> String {
    let error = outcome.expect_err("it is refused");
    let failure = Failure::of(&error).expect("it was explained");
    assert_eq!(failure.kind, Kind::Usage);
    format!("{}\nhint: {}", failure.what, failure.hint)
}

fn file_with(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("cachewarm.toml");
    std::fs::write(&path, text).expect("it is written");
    let path = path.display().to_string();
    (directory, path)
}

#[test]
fn every_flag_means_the_same_as_its_variable_and_its_entry_in_the_file() {
    let folder = tempfile::tempdir().expect("a directory");
    let bake = folder.path().join("bake.json");
    let targets = r#"{"target": {"default": {"context": "/builds/app", "args": {"A": "1"}},
        "app": {"context": "/builds/app", "args": {"B": "2"}}}}"#;
    std::fs::write(&bake, targets).expect("it is written");
    let bake = bake.display().to_string();
    let policy = folder.path().join("policy.json");
    std::fs::write(&policy, "{}").expect("it is written");
    let policy = policy.display().to_string();
    let with_bake = [format!("--bake={bake}"), "--allow=fs.read=*".to_owned()];
    for (command, _) in COMMANDS {
        for name in settings_of(command).map(|setting| setting.name).filter(|name| *name != "config") {
            let sample = SAMPLES.iter().find(|(sample, _)| *sample == name);
            let (_, value) = sample.unwrap_or_else(|| panic!("SAMPLES has no value for --{name}"));
            let value = match (command, name) {
                // What `warm` writes by default `check` reads when it is named.
                ("check" | "seal", "manifest") => "m.json",
                ("seal", "builder") => "spawn:/opt/buildkitd",
                (_, "bake") => &bake,
                (_, "source-policy") => &policy,
                _ => value,
            };
            // Some mean nothing by themselves.
            let beside: &[&str] = match (command, name) {
                (_, "rev" | "submodules") => &["--repo=https://example.com/x"],
                ("warm" | "smoke", "bake") => &["--allow=fs.read=*"],
                ("warm" | "smoke", "bake-target" | "path-map") => &[&with_bake[0], &with_bake[1]],
                ("seal", "bake-target") => &[&with_bake[0]],
                ("seal", "public") => &["--build-arg=DEMO_TOKEN=hush"],
                _ => &[],
            };
            let flag = if name == "verbose" { "-vv".to_owned() } else { format!("--{name}={value}") };
            let variable = format!("CACHEWARM_{}", name.to_uppercase().replace('-', "_"));
            let (_kept, path) = file_with(&format!("{name} = '{value}'"));
            let told = |typed: &[&str], variables: &[(&str, &str)]| {
                meaning(command, typed, variables).unwrap_or_else(|error| panic!("{command} --{name}: {error:#}"))
            };

            let plain = told(beside, &[]);
            let typed = told(&[beside, &[&flag]].concat(), &[]);
            assert_ne!(typed, plain, "{command} --{name} has no effect");
            assert_eq!(typed, told(beside, &[(&variable, value)]), "{variable}");
            assert_eq!(typed, told(beside, &[("CACHEWARM_CONFIG", &path)]), "`{name}` in the file");
        }
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let (_kept, path) = file_with("builder = 'unix:///file'\ncache-from = ['r/file:1', 'r/file:2']");
    let file = ("CACHEWARM_CONFIG", path.as_str());
    let variable = ("CACHEWARM_BUILDER", "unix:///variable");
    let builder =
        |typed: &[&str], variables: &[(&str, &str)]| resolve(typed, variables).expect("sound").0.builder.address;
    assert_eq!(builder(&[], &[]), Address::Auto);
    assert_eq!(builder(&[], &[file]), Address::Unix("/file".into()));
    assert_eq!(builder(&[], &[file, variable]), Address::Unix("/variable".into()));
    assert_eq!(builder(&["--builder=spawn"], &[file, variable]), Address::Spawn(None));

    let targets = resolve(&["--cache-from=r/flag"], &[file]).expect("sound").0.build.targets;
    let donors: Vec<_> = targets[0].donors.iter().map(|donor| donor.reference.as_str()).collect();
    assert_eq!(donors, ["r/flag"], "a list comes whole from the strongest place");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    assert_eq!(resolve(&[], &[("CACHEWARM_BUILDER", "")]).expect("sound").0.builder.address, Address::Auto);
}

#[test]
fn an_error_says_where_the_value_came_from() {
    insta::assert_snapshot!(told(resolve(&["--builder=ftp://nowhere"], &[])), @"
    could not use --builder: `ftp://nowhere` is not a builder address
    hint: write auto, unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, buildx://NAME, ssh://HOST, podman-container://NAME, nerdctl-container://NAME, kube-pod://NAME, spawn or spawn:/PATH/TO/buildkitd
    ");
    insta::assert_snapshot!(told(resolve(&[], &[("CACHEWARM_BUILDER", "docker-container://-")])), @"
    could not use CACHEWARM_BUILDER: `docker-container://-` names no container
    hint: write auto, unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, buildx://NAME, ssh://HOST, podman-container://NAME, nerdctl-container://NAME, kube-pod://NAME, spawn or spawn:/PATH/TO/buildkitd
    ");
    let (_kept, path) = file_with("stall-timeout = 60");
    let words = told(resolve(&["--config", &path], &[])).replace(&path, "FILE");
    insta::assert_snapshot!(words, @"
    could not use `stall-timeout` in FILE: `60` is not a duration
    hint: write 60s, 5m or 1h30m
    ");
    insta::assert_snapshot!(told(resolve(&["--report=xml=x"], &[])), @"
    could not use --report: `xml` is not a report format
    hint: write text, json, markdown or prometheus, or FORMAT=FILE
    ");
    insta::assert_snapshot!(told(resolve(&[], &[("CACHEWARM_REV", "main")])), @"
    could not use CACHEWARM_REV: there is no repository to look in
    hint: add --repo URL; a directory is used as it is, and a context's URL names its revision: URL#REF
    ");
    insta::assert_snapshot!(told(resolve(&["--report=text", "--report=json"], &[])), @"
    could not use --report: two reports go to the same place
    hint: give all but one a FILE of its own
    ");
}

#[test]
fn a_settings_file_that_was_named_has_to_be_there() {
    insta::assert_snapshot!(told(resolve(&["--config=/nowhere/c.toml"], &[])), @"
    could not read the settings file /nowhere/c.toml
    hint: name another with --config
    ");
}

#[test]
fn quiet_gives_way_only_to_a_stronger_wish_for_progress() {
    let mode = |typed: &[&str], variables: &[(&str, &str)]| resolve(typed, variables).expect("sound").1.progress;
    assert_eq!(mode(&["-q"], &[("CACHEWARM_PROGRESS", "json")]), Mode::Quiet);
    assert_eq!(mode(&["--progress=plain"], &[("CACHEWARM_QUIET", "1")]), Mode::Plain);
    assert_eq!(mode(&[], &[("CACHEWARM_QUIET", "1")]), Mode::Quiet);
}

#[test]
fn a_variable_is_asked_for_as_bytes() {
    let environment = Environment::holding(&[("TOKEN", "hush"), ("EMPTY", "")]);
    let found = ["TOKEN", "EMPTY", "ABSENT", "A=B"].map(|name| environment.bytes(name));
    assert_eq!(found, [Some(b"hush".to_vec()), Some(Vec::new()), None, None]);
    assert!(!crate::cli::table::keys().contains(&"git-token"), "secrets come from the environment alone");
}

#[test]
fn docker_config_is_where_docker_would_look() {
    let place = |variables: &[(&str, &str)]| resolve(&[], variables).expect("sound").0.keychain.docker_config();
    assert_eq!(place(&[("HOME", "/home/me")]), Some("/home/me/.docker".into()));
    assert_eq!(
        place(&[("HOME", "/home/me"), ("DOCKER_CONFIG", "/etc/docker-client")]),
        Some("/etc/docker-client".into())
    );
    assert_eq!(place(&[]), None);
}

#[test]
fn a_switch_means_the_same_from_the_line_and_from_the_environment() {
    for (text, means) in [("yes", true), ("on", true), ("1", true), ("no", false), ("false", false)] {
        let (typed, _) = resolve(&[&format!("--keep-builder={text}")], &[]).expect("typed");
        let (set, _) = resolve(&[], &[("CACHEWARM_KEEP_BUILDER", text)]).expect("set");
        let keeps = |job: Job| job.builder.create.is_some_and(|create| create.keep);
        assert_eq!((keeps(typed), keeps(set)), (means, means), "{text}");
    }
    insta::assert_snapshot!(told(resolve(&["--keep-builder=maybe"], &[])), @"
    could not use --keep-builder: `maybe` is neither true nor false
    hint: write true or false
    ");
}

#[test]
fn a_proof_is_a_switch_with_a_third_way() {
    for (text, means) in [("yes", Prove::Yes), ("0", Prove::No), ("disk", Prove::OnDisk)] {
        assert_eq!(resolve(&[], &[("CACHEWARM_PROVE", text)]).expect("set").0.prove, Some(means), "{text}");
    }
    insta::assert_snapshot!(told(resolve(&["--prove=maybe"], &[])), @"
    could not use --prove: `maybe` is neither true, false nor disk
    hint: write true, false or disk
    ");
}
