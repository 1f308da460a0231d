//! Precedence, places and messages of settings, over every flag there is.

use super::*;
use crate::auth::Secret;
use crate::cli::args::{self, Command};

/// A value for every setting that is not its default.
const SAMPLES: [(&str, &str); 57] = [
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
    ("stall-timeout", "5m"),
    ("step-timeout", "30m"),
    ("prove", "false"),
    ("manifest", "none"),
    ("progress", "json"),
    ("report", "json"),
    ("deep", "true"),
    ("require", "extracted=95%"),
    ("fix", "true"),
    ("system", "/mnt"),
    ("ignore", "/opt/vendor"),
    ("cache-mounts", "drop"),
    ("marker", "/srv/sealed.json"),
];

fn resolve(typed: &[String], variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
    let line = ["cachewarm".to_owned(), "warm".to_owned()].into_iter().chain(typed.iter().cloned());
    let cli = args::parse(line.map(OsString::from)).expect("the line is valid");
    let Command::Warm(warm) = cli.command else { panic!("not warm") };
    Settings::resolve(cli.global, *warm, &Environment::holding(variables))
}

/// What a command was told, without the places it came from.
fn meaning(command: &str, typed: &[String], variables: &[(&str, &str)]) -> anyhow::Result<String> {
    let line = ["cachewarm", command].map(str::to_owned).into_iter().chain(typed.iter().cloned());
    let cli = args::parse(line.map(OsString::from)).expect("the line is valid");
    let environment = Environment::holding(variables);
    let settings = match cli.command {
        Command::Warm(typed) => format!("{:?}", Settings::resolve(cli.global, *typed, &environment)?),
        Command::Smoke(typed) => format!("{:?}", SmokeSettings::resolve(cli.global, *typed, &environment)?),
        Command::Check(typed) => format!("{:?}", CheckSettings::resolve(cli.global, *typed, &environment)?),
        Command::Seal(typed) => format!("{:?}", SealSettings::resolve(cli.global, *typed, &environment)?),
        _ => panic!("{command} has no settings"),
    };
    let places = regex::Regex::new(r#"origin: (Entry \{[^}]*\}|\w+\([^)]*\))|settings_file: (None|Some\([^)]*\))"#)
        .expect("it is a pattern");
    Ok(places.replace_all(&settings, "origin").into_owned())
}

fn told(outcome: anyhow::Result<Settings>) -> String {
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
    for command in args::WITH_SETTINGS {
        for name in args::setting_names_of(command) {
            let sample = SAMPLES.iter().find(|(sample, _)| *sample == name);
            let (_, value) = sample.unwrap_or_else(|| panic!("SAMPLES has no value for --{name}"));
            // What `warm` writes by default `check` reads when it is named.
            let value = match (command, name.as_str()) {
                ("check" | "seal", "manifest") => "m.json",
                ("seal", "builder") => "spawn:/opt/buildkitd",
                _ => value,
            };
            // --rev and --submodules make no sense without a repository.
            let with_repo = ["rev", "submodules"].contains(&name.as_str());
            let repo: &[String] = if with_repo { &["--repo=https://example.com/x".to_owned()] } else { &[] };
            let flag = if name == "verbose" { "-vv".to_owned() } else { format!("--{name}={value}") };
            let variable = variable_of(&name);
            let (_kept, path) = file_with(&format!("{name} = '{value}'"));
            let told = |typed: &[String], variables: &[(&str, &str)]| meaning(command, typed, variables);

            let plain = told(repo, &[]).expect("the defaults are sound");
            let typed = told(&[repo, &[flag]].concat(), &[]).expect("the flag is sound");
            let from_variable = told(repo, &[(&variable, value)]).expect("the variable is sound");
            let from_file = told(repo, &[("CACHEWARM_CONFIG", &path)]).expect("the file is sound");

            assert_ne!(typed, plain, "{command} --{name} has no effect");
            assert_eq!(typed, from_variable, "{variable}");
            assert_eq!(typed, from_file, "`{name}` in the file");
        }
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let (_kept, path) = file_with("builder = 'unix:///file'\ncache-from = ['r/file:1', 'r/file:2']");
    let file = ("CACHEWARM_CONFIG", path.as_str());
    let variable = ("CACHEWARM_BUILDER", "unix:///variable");
    let builder = |typed: &[String], variables: &[(&str, &str)]| resolve(typed, variables).expect("sound").builder;
    assert_eq!(builder(&[], &[]), Address::Auto);
    assert_eq!(builder(&[], &[file]), Address::Unix("/file".into()));
    assert_eq!(builder(&[], &[file, variable]), Address::Unix("/variable".into()));
    assert_eq!(builder(&["--builder=spawn".into()], &[file, variable]), Address::Spawn(None));

    let donors = resolve(&["--cache-from=r/flag".into()], &[file]).expect("sound").build.cache_from.expect("given");
    assert_eq!(donors.value, ["r/flag"], "a list comes whole from the strongest place");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    assert_eq!(resolve(&[], &[("CACHEWARM_BUILDER", "")]).expect("sound").builder, Address::Auto);
}

#[test]
fn an_error_says_where_the_value_came_from() {
    insta::assert_snapshot!(told(resolve(&["--builder=ftp://nowhere".into()], &[])), @"
    could not use --builder: `ftp://nowhere` is not a builder address
    hint: write auto, unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, spawn or spawn:/PATH/TO/buildkitd
    ");
    insta::assert_snapshot!(told(resolve(&[], &[("CACHEWARM_BUILDER", "docker-container://-")])), @"
    could not use CACHEWARM_BUILDER: `docker-container://-` names no container
    hint: write auto, unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, spawn or spawn:/PATH/TO/buildkitd
    ");
    let (_kept, path) = file_with("stall-timeout = 60");
    let words = told(resolve(&["--config".into(), path.clone()], &[])).replace(&path, "FILE");
    insta::assert_snapshot!(words, @"
    could not use `stall-timeout` in FILE: `60` is not a duration
    hint: write 60s, 5m or 1h30m
    ");
    insta::assert_snapshot!(told(resolve(&["--report=xml=x".into()], &[])), @"
    could not use --report: `xml` is not a report format
    hint: write text, json, markdown or prometheus, or FORMAT=FILE
    ");
    insta::assert_snapshot!(told(resolve(&[], &[("CACHEWARM_REV", "main")])), @"
    could not use CACHEWARM_REV: there is no repository to look in
    hint: add --repo URL; a directory is used as it is, and a context's URL names its revision: URL#REF
    ");
    insta::assert_snapshot!(told(resolve(&["--report=text".into(), "--report=json".into()], &[])), @"
    could not use --report: two reports go to the same place
    hint: give all but one a FILE of its own
    ");
}

#[test]
fn a_settings_file_that_was_named_has_to_be_there() {
    insta::assert_snapshot!(told(resolve(&["--config=/nowhere/c.toml".into()], &[])), @"
    could not read the settings file /nowhere/c.toml
    hint: name another with --config
    ");
}

#[test]
fn quiet_gives_way_only_to_a_stronger_wish_for_progress() {
    let mode = |typed: &[String], variables: &[(&str, &str)]| resolve(typed, variables).expect("sound").output.progress;
    assert_eq!(mode(&["-q".into()], &[("CACHEWARM_PROGRESS", "json")]), Mode::Quiet);
    assert_eq!(mode(&["--progress=plain".into()], &[("CACHEWARM_QUIET", "1")]), Mode::Plain);
    assert_eq!(mode(&[], &[("CACHEWARM_QUIET", "1")]), Mode::Quiet);
}

#[test]
fn secrets_come_from_the_environment_alone_and_do_not_print() {
    let settings = resolve(&[], &[("CACHEWARM_GIT_TOKEN", "hush")]).expect("sound");
    assert_eq!(settings.source.git_token, Some(Secret::new("hush")));
    let token = |variables: &[_]| resolve(&[], variables).expect("sound").source.git_token;
    assert_eq!(token(&[("GIT_AUTH_TOKEN", "theirs")]), Some(Secret::new("theirs")));
    assert_eq!(token(&[("GIT_AUTH_TOKEN", "theirs"), ("CACHEWARM_GIT_TOKEN", "ours")]), Some(Secret::new("ours")));
    assert!(!format!("{settings:?}").contains("hush"));
    assert!(!args::setting_names().contains(&"git-token".to_owned()));

    let environment = Environment::holding(&[("TOKEN", "hush"), ("EMPTY", "")]);
    let found = ["TOKEN", "EMPTY", "ABSENT", "A=B"].map(|name| environment.bytes(name));
    assert_eq!(found, [Some(b"hush".to_vec()), Some(Vec::new()), None, None]);
}

#[test]
fn docker_config_is_where_docker_would_look() {
    let place = |variables: &[(&str, &str)]| resolve(&[], variables).expect("sound").credentials.docker_config;
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
        let typed = resolve(&[format!("--prove={text}")], &[]).expect("typed");
        let set = resolve(&[], &[("CACHEWARM_PROVE", text)]).expect("set");
        assert_eq!((typed.prove, set.prove), (Some(means), Some(means)), "{text}");
    }
    insta::assert_snapshot!(told(resolve(&["--prove=maybe".into()], &[])), @"
    could not use --prove: `maybe` is neither true nor false
    hint: write true or false
    ");
}
