//! What nobody is told: no secret in what is printed, on a command line, or in a file that is left.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::canaries::{FILES, PUBLIC};
use super::seal::{found, machine};
use crate::support::ecr::PASSWORD;
use crate::support::ground::tool;
use crate::support::{Ecr, Fault, Run, World, ground, wait_until};

/// Each secret of the run, and the form it travels in.
const SECRETS: [&str; 5] = [
    PASSWORD,
    "QVdTOjEyMzQ1Njc4OTAxMi1hdXRoLXRva2Vu",
    "wJalrXUtnFEMI/K7MDENG",
    "ghp_0123456789abcdef",
    "sesame-0123456789",
];

fn tells(text: &str) -> Option<&'static str> {
    SECRETS.into_iter().find(|secret| text.contains(secret))
}

/// The files below a folder that hold a secret.
fn telling(folder: &Path) -> Vec<String> {
    let patterns = SECRETS.iter().flat_map(|secret| ["-e", secret]);
    let found = Command::new("grep").args(["-rlaF"]).args(patterns).arg(folder).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The command lines of all processes.
fn command_lines() -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

#[test]
fn no_secret_is_printed_seen_in_a_process_list_or_left_in_a_file() {
    let mut world = World::new();
    let ecr = Ecr::of(&mut world);
    world.set("CACHEWARM_GIT_TOKEN", "ghp_0123456789abcdef");
    world.set("SESAME", "sesame-0123456789");
    let context = world.path("context");
    crate::support::git::sample(&context);
    let dockerfile = fs::read_to_string(context.join("Dockerfile")).unwrap();
    let uses = "RUN --mount=type=secret,id=sesame wc -c /run/secrets/sesame >/count\n";
    fs::write(context.join("Dockerfile"), dockerfile + uses).unwrap();
    let largest = ground().registry.layers("team/sample", "cache").remove(0).0;
    ecr.front.times(1, &format!("GET {largest}"), Fault::StallAfter(1000));

    let warm = world.warm().source(["--context", context.to_str().unwrap()]).from([&ecr.donor()]);
    let warm = warm.with(["--secret", "id=sesame,env=SESAME", "-vvv", "--stall-timeout", "5s"]);
    let running = warm.start();
    wait_until("a blob is on its way", 60, || !ecr.front.requests(&format!("GET {largest}")).is_empty());
    let lines = command_lines();
    let run = running.ends().exits(0);

    assert_eq!(run.reports("/verdict"), "warm");
    assert_eq!(world.steps_run().len(), 1, "the step with the secret ran");
    for text in [&lines, &run.stdout, &run.stderr] {
        assert_eq!(tells(text), None, "{text}");
    }
    assert_eq!(telling(world.folder()), Vec::<String>::new());
    assert_eq!(fs::read_dir(world.path("home")).unwrap().count(), 0, "something was left in the home directory");
}

#[test]
fn a_secret_among_the_build_arguments_is_not_told_while_it_is_built_nor_afterwards() {
    let world = World::new();
    let context = world.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("file"), "a file\n").unwrap();
    let lines =
        "FROM busybox:1.35\nARG NPM_TOKEN\nCOPY file /home/$NPM_TOKEN/file\nRUN set -x; echo $NPM_TOKEN >/said\n";
    fs::write(context.join("Dockerfile"), lines).unwrap();
    let source = ["--context", context.to_str().unwrap(), "--build-arg", "NPM_TOKEN=sesame-0123456789"];
    let copied = "COPY file /home/(secret)";

    let run = world.warm().source(source).from([]).with(["-vvv"]).run().exits(0);
    let report = run.reports("").to_string();
    for text in [&run.stdout, &run.stderr, &report] {
        assert_eq!(tells(text), None, "{text}");
    }
    assert!(run.stderr.contains(copied) && run.stderr.contains("echo (secret)"), "{}", run.stderr);
    assert!(report.contains(copied), "{report}");
    // The argument is on that command line, and nowhere in what is left beside BuildKit's state.
    let left: Vec<_> = telling(world.folder())
        .into_iter()
        .filter(|path| !path.starts_with(&*world.root().to_string_lossy()))
        .collect();
    assert_eq!(left, Vec::<String>::new());

    fs::write(context.join("Dockerfile"), lines.to_owned() + "RUN echo $NPM_TOKEN; false\n").unwrap();
    let run = world.warm().source(source).from([]).run().exits(4);
    assert_eq!(tells(&(run.stdout + &run.stderr)), None);
}

#[test]
fn a_build_argument_that_is_said_to_be_public_is_shown_and_not_searched_for() {
    let mut world = World::new();
    let context = world.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM busybox:1.35\nARG DEMO_TOKEN\nRUN echo $DEMO_TOKEN | tee /said\n")
        .unwrap();
    let given = ["--context", context.to_str().unwrap(), "--build-arg", "DEMO_TOKEN=sesame-0123456789"];
    let run = world.warm().source(given).from([]).with(["--public", "DEMO_TOKEN"]).run().exits(0);
    assert!(run.stderr.contains("| sesame-0123456789"), "{}", run.stderr);
    let system = machine(&world, &[]);
    world.seal(&system, &["--fix", "--build-arg=DEMO_TOKEN=sesame-0123456789"]).exits(5);
    world.seal(&system, &["--fix", "--build-arg=DEMO_TOKEN=sesame-0123456789", "--public=DEMO_TOKEN"]).exits(0);
    world.set("CACHEWARM_PUBLIC", "OTHER,DEMO_TOKEN");
    world.seal(&system, &["--build-arg=DEMO_TOKEN=sesame-0123456789"]).exits(0);
}

#[test]
fn a_secret_in_an_address_is_not_repeated() {
    let world = World::new();
    let urls =
        ["http://user:sesame-0123456789@127.0.0.1:1/team/project.git", "x:sesame-0123456789@127.0.0.1/team/project"];
    for url in urls {
        let run = world.warm().source(["--repo", url, "--rev", "main"]).run().exits(3);
        assert_eq!(tells(&(run.stdout + &run.stderr)), None);
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let world = World::new();
    fs::write(world.path("left"), format!("\0\0{PASSWORD}\0")).unwrap();
    assert_eq!(telling(world.folder()), [world.path("left").to_str().unwrap()]);
}

/// Writes the secrets, and a Dockerfile of which each step leaks one. Gives `--secret` for each.
fn leaking(world: &World) -> [String; FILES.len() + 1] {
    let context = world.path("context");
    fs::create_dir_all(&context).unwrap();
    let mut dockerfile = "FROM busybox:1.35\nCOPY public /public\n".to_owned();
    let mut flags = Vec::new();
    let keystore: Vec<u8> = (0..64u8).map(|number| number.wrapping_mul(167).wrapping_add(0x80)).collect();
    fs::write(world.path("keystore"), keystore).unwrap();
    let files = FILES.iter().map(|(id, content, leak)| (*id, Some(*content), *leak));
    for (id, content, leak) in files.chain([("keystore", None, "cp $S /leak-keystore")]) {
        if let Some(content) = content {
            fs::write(world.path(id), content).unwrap();
        }
        let leak = leak.replace("$S", &format!("/run/secrets/{id}"));
        dockerfile += &format!("RUN --mount=type=secret,id={id} {leak}\n");
        flags.push(format!("--secret=id={id},src={}", world.path(id).display()));
    }
    fs::write(context.join("public"), PUBLIC.join("\n")).unwrap();
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    flags.try_into().unwrap()
}

#[test]
fn a_secret_is_found_by_each_value_of_its_file_and_what_is_public_is_not() {
    let world = World::new();
    let flags = leaking(&world);
    let flags = flags.each_ref().map(String::as_str);
    let context = world.path("context");
    let source = ["--context", context.to_str().unwrap()];
    world.warm().source(source).from([]).with(flags).run().exits(0);

    let system = machine(&world, &[]);
    let run = world.seal(&system, &[&["--fix"], &flags[..]].concat()).exits(5);
    let left: Vec<String> = found(&run, "secret").into_iter().map(|(place, _)| place).collect();
    for id in FILES.iter().map(|(id, ..)| *id).chain(["keystore"]) {
        assert!(left.iter().any(|place| place.contains(&format!("/leak-{id}"))), "{id} is not in {left:?}");
    }
    assert!(!left.iter().any(|place| place.ends_with("/public")), "{left:?}");
}

#[test]
fn a_named_secret_that_cannot_be_had_is_an_error_wherever_it_is_named() {
    let world = World::new();
    world.warm().run().ends_warm();
    let system = machine(&world, &[("opt/leak", "sesame-0123456789")]);
    let bake = world.path("project/bake.json");
    fs::create_dir_all(world.path("project")).unwrap();
    let text = |secret: &str| format!(r#"{{"target": {{"default": {{"context": ".", "secret": [{secret}]}}}}}}"#);
    let bake_with = |secret: &str| {
        fs::write(&bake, text(secret)).unwrap();
        world.seal(&system, &["--bake", bake.to_str().unwrap()])
    };
    for secret in [r#"{"id": "t", "src": "./gone"}"#, r#"{"id": "t", "env": "UNSET"}"#] {
        let run = bake_with(secret).exits(2);
        assert!(run.stderr.contains("secret `t` cannot be looked for"), "{}", run.stderr);
    }
    world.seal(&system, &["--secret=id=t,src=./gone"]).exits(2);
    assert!(!world.path("sealed.json").exists());

    // A relative path leads from where the bake file lies.
    fs::write(world.path("project/t"), "sesame-0123456789\n").unwrap();
    let run = bake_with(r#"{"id": "t", "src": "./t"}"#).exits(5);
    let left = found(&run, "secret");
    assert!(left.iter().any(|(place, _)| place.ends_with("opt/leak")), "{left:?}");
}

#[test]
fn the_values_of_secrets_are_shown_nowhere_not_even_in_pieces() {
    let mut world = World::new();
    world.set("SESAME", "sesame-0123456789");
    let flags = leaking(&world);
    let flags = flags.each_ref().map(String::as_str);
    let context = world.path("context");
    let shown = FILES.map(|(id, _, leak)| {
        format!(
            "RUN --mount=type=secret,id={id} {}; for it in /leak-{id}*; do gzip -dc $it 2>/dev/null || cat $it; done",
            leak.replace("$S", &format!("/run/secrets/{id}"))
        )
    });
    let pieces = "RUN --mount=type=secret,id=sesame,env=SESAME --mount=type=secret,id=npmrc printf %s \"${SESAME%?????????}\"; sleep 0.3; printf %s \"${SESAME#????????}\"; \
        sleep 0.3; printf '%s' \"$SESAME\" >&2; echo done; base64 /run/secrets/npmrc";
    let every = [&["FROM busybox:1.35".to_owned()], &shown[..], &[pieces.to_owned()]].concat().join("\n");
    let secret = |text: &str| {
        let canaries = [
            "sesame-",
            "sesame@",
            "sesame%2F",
            "sesame/of",
            "sesame of",
            "npm_sesame",
            "MIIEpAIBAAKCAQEA0Z3VS5JJ",
            "c2VzYW1l",
            "Nlc2FtZ",
            "zZXNhbW",
        ];
        canaries.into_iter().find(|secret| text.contains(secret))
    };
    let told = |run: &Run| {
        let report = run.reports("").to_string();
        for text in [&run.stdout, &run.stderr, &report] {
            assert_eq!(secret(text), None, "{text}");
        }
    };
    for (ending, exit, progress) in [("", 0, "plain"), ("; false", 4, "json"), ("; false", 4, "plain")] {
        fs::write(context.join("Dockerfile"), every.clone() + ending + "\n").unwrap();
        let warm = world.warm().source(["--context", context.to_str().unwrap()]).from([]).with(flags);
        let markdown = format!("--report=markdown={}", world.path("report.md").display());
        let warm = warm.with(["--secret=id=sesame,env=SESAME", "-vvv", "--progress", progress, &markdown]);
        let run = warm.run().exits(exit);
        let hidden = run.stderr.matches("(secret)").count();
        assert!(
            run.stderr.contains("done") && hidden > if exit == 0 { FILES.len() } else { 2 },
            "{hidden} in {}",
            run.stderr
        );
        if exit == 0 {
            told(&run);
            assert_eq!(secret(&fs::read_to_string(world.path("report.md")).unwrap()), None);
            assert_eq!(secret(&fs::read_to_string(world.path("manifest.json")).unwrap()), None);
        } else {
            assert_eq!(secret(&(run.stdout + &run.stderr)), None);
        }
    }
}

#[test]
fn programs_that_we_start_get_no_secrets_and_leave_no_core() {
    let mut world = World::new();
    let secrets = ["CACHEWARM_GIT_TOKEN", "GIT_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "SESAME", "NPM_TOKEN"];
    secrets.iter().for_each(|name| world.set(name, "sesame-0123456789"));
    world.set("HARMLESS", "it is there");
    let context = world.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM busybox:1.35\nRUN true\n").unwrap();
    let (wrapper, told) = (world.path("buildkitd"), world.path("told"));
    let script = format!(
        "#!/bin/sh\n{{ env; echo \"core $(ulimit -S -c)\"; }} >>'{}'\nexec '{}' \"$@\"\n",
        told.display(),
        tool("BUILDKITD").display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let builder = format!("spawn:{}", wrapper.display());
    let given = ["--context", context.to_str().unwrap(), "--secret=id=t,env=SESAME", "--build-arg", "NPM_TOKEN"];
    world.warm().source(given).from([]).builder(&builder).run().exits(0);
    let system = machine(&world, &[]);
    let seal = ["--fix", "--secret=id=t,env=SESAME", "--build-arg=NPM_TOKEN", "--builder", &builder];
    world.seal(&system, &seal).exits(0);
    let told = fs::read_to_string(told).unwrap();
    assert!(told.matches("core 0\n").count() > 1, "{told}");
    assert!(told.contains("HARMLESS=it is there"), "{told}");
    assert_eq!((tells(&told), told.contains("core unlimited")), (None, false), "{told}");
}
