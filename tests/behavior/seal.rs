//! Is the machine safe to snapshot? Secrets planted through real builds, and everything that an image must not have.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use base64::Engine;

use crate::support::{Builder, GitServer, Run, World};

/// The findings of a kind: where they are, and whether they were cleaned.
pub(crate) fn found(run: &Run, kind: &str) -> BTreeSet<(String, bool)> {
    let findings = run.reports("/findings");
    let of_kind = findings.as_array().unwrap().iter().filter(|finding| finding["kind"] == kind);
    of_kind.map(|it| (it["place"].as_str().unwrap().to_owned(), it["cleaned"].as_bool().unwrap())).collect()
}

/// A machine's file system: what is usual, and these files.
pub(crate) fn machine(world: &World, files: &[(&str, &str)]) -> PathBuf {
    let system = world.path("system");
    let usual =
        [("etc/passwd", "root:x:0:0::/root:/bin/sh\nci:x:1:1::/home/ci:/bin/sh\n"), ("root/.profile", "umask 022\n")];
    for (path, text) in usual.iter().chain(files) {
        let path = system.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    system
}

pub(crate) fn warmed() -> World {
    let world = World::new();
    world.warm().run().ends_warm();
    world
}

/// Another project, built on the root by a daemon that keeps its history, as a CI job would on a box that becomes an image.
fn built(world: &World, dockerfile: &str, more: &[&str]) {
    let project = world.path("project");
    fs::create_dir_all(&project).unwrap();
    fs::write(project.join("Dockerfile"), dockerfile).unwrap();
    fs::write(project.join("file"), "of the project").unwrap();
    let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
    builder.build(&project, more).succeeded();
}

#[test]
fn a_warm_root_is_sealed_and_stays_warm() {
    let world = warmed();
    let system = machine(&world, &[]);

    let run = world.seal(&system, &[]).exits(5);
    assert_eq!(run.reports("/verdict"), "not-sealed");
    assert!(!found(&run, "local-source").is_empty() && found(&run, "history").is_empty(), "{}", run.stdout);
    assert!(!world.path("sealed.json").exists());

    let run = world.seal(&system, &["--fix"]).exits(0);
    assert_eq!((run.reports("/verdict"), run.reports("/reasons")), ("sealed".into(), serde_json::json!([])));
    let copies = found(&run, "local-source");
    assert!(!copies.is_empty() && copies.iter().all(|(_, cleaned)| *cleaned), "{copies:?}");
    let marker: serde_json::Value = serde_json::from_slice(&fs::read(world.path("sealed.json")).unwrap()).unwrap();
    assert_eq!((&marker["hit_rate"], &marker["layers"]), (&1.0.into(), &11.into()));
    assert_eq!(marker["commit"], crate::support::ground().commit.as_str());
    assert!(marker["manifest_digest"].as_str().unwrap().starts_with("sha256:"));

    // Nothing is left to be done, nothing is done, and a real daemon has everything.
    let run = world.seal(&system, &[]).exits(0);
    assert_eq!(run.reports("/findings"), serde_json::json!([]));
    let context = world.path("sample");
    crate::support::git::sample(&context);
    let smoke = world.smoke(&world.root(), &context, &[]).exits(0);
    assert_eq!((smoke.reports("/verdict"), smoke.reports("/hit_rate")), ("warm".into(), 1.0.into()));
    let judged = world.judged(&world.root(), |_| ());
    assert!(judged.ran.is_empty() && judged.fetched.is_empty() && judged.extracted.is_empty(), "{judged:?}");
    world.left_nothing_running();
}

/// Every spelling in which a value is looked for here, by other means than cachewarm's.
fn spellings(value: &str) -> Vec<Vec<u8>> {
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut all = vec![value.as_bytes().to_vec()];
    for before in 0..3 {
        let text = engine.encode([&b"xyz"[..before], value.as_bytes()].concat()).into_bytes();
        all.push(text[(before * 8).div_ceil(6)..(before + value.len()) * 8 / 6].to_vec());
    }
    all
}

/// What of the values is below a folder, raw, in base64 or gzipped, and where: by grep and gzip.
fn telling(folder: &Path, values: &[&str]) -> BTreeSet<String> {
    let patterns: Vec<_> =
        values.iter().flat_map(|value| spellings(value).into_iter().map(move |it| (it, *value))).collect();
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(list.path(), patterns.iter().map(|(it, _)| it.as_slice()).collect::<Vec<_>>().join(&b'\n')).unwrap();
    let script = "grep -raoF -f \"$1\" \"$2\"\n\
        find \"$2\" -type f -exec sh -c 'head -c 2 \"$1\" | grep -q \"$(printf \"\\037\\213\")\" && \
        gzip -dcq \"$1\" 2>/dev/null | grep -aoF -f \"$0\" | sed \"s|^|$1:|\"' \"$1\" {} \\;";
    let mut search = std::process::Command::new("sh");
    search.env("LC_ALL", "C").args(["-c", script, "sh"]).arg(list.path()).arg(folder);
    let found = search.output().unwrap();
    let text = String::from_utf8(found.stdout).unwrap();
    let lines = text.lines().map(|line| line.rsplit_once(':').unwrap());
    let value = |found: &str| patterns.iter().find(|(it, _)| it == found.as_bytes()).unwrap().1;
    lines.map(|(file, found)| format!("{} in {file}", value(found))).collect()
}

/// A web server of a folder, and of the git repositories in it.
pub(super) fn server(world: &World) -> GitServer {
    let folder = world.path("web");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "served").unwrap();
    let repository = folder.join("repository.git");
    crate::support::git::sample(&repository);
    fs::write(repository.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    crate::support::git::git(&repository, ["commit", "--quiet", "--all", "--message", "smaller"]);
    GitServer::of(&folder)
}

#[test]
fn what_builds_leave_in_the_root_is_cleaned_to_the_last_byte() {
    let mut world = warmed();
    let server = server(&world);
    let port = server.address().port();
    let canaries: Vec<String> = (1..=11).map(|number| format!("canary-{number:02}-c0ffee")).collect();
    let canary = |number: usize| canaries[number - 1].as_str();
    for (number, variable) in [(1, "FILE_SECRET"), (2, "ENV_SECRET"), (3, "KEPT_SECRET"), (4, "SHOWN_SECRET")] {
        world.set(variable, canary(number));
        fs::write(world.path(variable), canary(number)).unwrap();
    }
    world.set("CACHEWARM_GIT_TOKEN", canary(5));
    world.set("AWS_SECRET_ACCESS_KEY", canary(6));
    world.set("HTTPS_PROXY", &format!("http://user:{}@127.0.0.1:9", canary(7)));
    let repository = format!("http://user:{}@127.0.0.1:{port}/cgi-bin/git/repository.git", canary(11));
    let dockerfile = "FROM busybox:1.35\nARG USED_TOKEN\nARG UNUSED_TOKEN\n\
        RUN test -n \"$USED_TOKEN\" && date >/made\n\
        RUN --mount=type=secret,id=file --mount=type=secret,id=env,env=IT test -n \"$IT\" && wc -c /run/secrets/file\n\
        RUN --mount=type=secret,id=kept --mount=type=cache,target=/cc cp /run/secrets/kept /cc/kept\n\
        RUN --mount=type=secret,id=shown cat /run/secrets/shown\n";
    let secrets = [("file", "FILE_SECRET"), ("env", "ENV_SECRET"), ("kept", "KEPT_SECRET"), ("shown", "SHOWN_SECRET")];
    let secrets = secrets.map(|(id, file)| format!("--secret=id={id},src={}", world.path(file).display()));
    let options = [
        format!("--opt=build-arg:USED_TOKEN={}", canary(8)),
        format!("--opt=build-arg:UNUSED_TOKEN={}", canary(9)),
        format!("--opt=build-arg:HTTP_PROXY=http://user:{}@127.0.0.1:9", canary(10)),
    ];
    let more: Vec<&str> = secrets.iter().chain(&options).map(String::as_str).collect();
    built(&world, dockerfile, &more);
    {
        let builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
        let fetched = builder.fetch(&repository, &[]);
        assert!(fetched.0.status.success(), "{}", fetched.text());
    }
    let all: Vec<&str> = canaries.iter().map(String::as_str).collect();
    let planted: BTreeSet<String> = telling(&world.root(), &all).iter().map(|line| line[..16].to_owned()).collect();
    // Those that builds use well are nowhere to begin with.
    let absent = [1, 2, 5, 6, 7].map(|number| canary(number).to_owned());
    let expected: BTreeSet<String> = canaries.iter().filter(|it| !absent.contains(it)).cloned().collect();
    assert_eq!(planted, expected);

    let system = machine(&world, &[]);
    let told = [
        "--secret=id=file,env=FILE_SECRET",
        "--secret=id=env,env=ENV_SECRET",
        "--secret=id=kept,env=KEPT_SECRET",
        "--secret=id=shown,env=SHOWN_SECRET",
        &format!("--build-arg=USED_TOKEN={}", canary(8)),
        &format!("--build-arg=UNUSED_TOKEN={}", canary(9)),
        &format!("--build-arg=HTTP_PROXY=http://user:{}@127.0.0.1:9", canary(10)),
    ];
    let before = world.seal(&system, &told).exits(5);
    let run = world.seal(&system, &[&["--fix"], &told[..]].concat()).exits(0);

    for text in [&before.stdout, &before.stderr, &run.stdout, &run.stderr, &run.reports("").to_string()] {
        assert!(!all.iter().any(|canary| text.contains(canary)), "{text}");
    }
    assert_eq!(telling(&world.root(), &all), BTreeSet::new());
    let context = world.path("sample");
    crate::support::git::sample(&context);
    world.smoke(&world.root(), &context, &[]).exits(0);
}

#[test]
fn what_cannot_be_cleaned_is_named_and_is_not_sealed() {
    let world = warmed();
    let server = server(&world);
    let port = server.address().port();
    let secret = "canary-00-c0ffee";
    let gzip = |text: &str| format!("printf %s {text} | gzip -9");
    let dockerfile = format!(
        "FROM busybox:1.35\nARG USED_TOKEN\nRUN echo \"it is $USED_TOKEN.\" >/raw\n\
         RUN echo \"it is $USED_TOKEN.\" | base64 >/encoded\nRUN {} >/packed.gz\n\
         ADD http://user:$USED_TOKEN@127.0.0.1:{port}/file /added\n",
        gzip("$USED_TOKEN")
    );
    built(&world, &dockerfile, &[&format!("--opt=build-arg:USED_TOKEN={secret}")]);
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("x{secret}y"));
    let files = [
        ("home/ci/notes", format!("the token is {secret}")),
        ("etc/app.conf", format!("token = \"{secret}\"")),
        ("opt/app/encoded", encoded),
        ("srv/percent", format!("?token={}", secret.replace('-', "%2D"))),
        ("root/key", "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n".to_owned()),
        ("home/ci/token", "ghp_0123456789abcdef0123".to_owned()),
    ];
    let system = machine(&world, &files.each_ref().map(|(path, text)| (*path, text.as_str())));
    fs::rename(system.join("etc/app.conf"), system.join(format!("etc/{secret}.conf"))).unwrap();

    let argument = format!("--build-arg=USED_TOKEN={secret}");
    let run = world.seal(&system, &["--fix", &argument]).exits(5);

    assert_eq!(run.reports("/verdict"), "not-sealed");
    let left = found(&run, "secret");
    let is_left = |what: &str| left.iter().any(|(place, cleaned)| !cleaned && place.contains(what));
    for what in
        ["/fs/raw", "/fs/encoded", "/fs/packed.gz", "metadata_v2.db", "home/ci/notes", "opt/app/encoded", "root/key"]
    {
        assert!(is_left(what), "{what} is not in {left:?}");
    }
    assert!(is_left("home/ci/token") && is_left("etc/("), "{left:?}");
    assert!(
        run.stdout.contains("--mount=type=secret") && run.stdout.contains("build argument USED_TOKEN"),
        "{}",
        run.stdout
    );
    let report = run.reports("").to_string();
    assert!(![&run.stdout, &run.stderr, &report].iter().any(|text| text.contains(secret)));
    assert!(!world.path("sealed.json").exists());

    // What is known and accepted is passed over.
    let accepted = world.seal(&system, &["--ignore", system.join("root/key").to_str().unwrap()]).exits(5);
    assert!(!found(&accepted, "secret").iter().any(|(place, _)| place.contains("root/key")));

    // What nobody can look for is not passed over.
    world.seal(&system, &["--build-arg=UNSET_TOKEN"]).exits(2);
    let unset = world.seal(&system, &["--secret=id=x,env=UNSET"]).exits(2);
    assert!(unset.stderr.contains("UNSET is not set"), "{}", unset.stderr);
}

/// BuildKit passes over records that others are made from; one whose files were overwritten would then be built on.
#[test]
fn what_buildkit_did_not_come_to_forget_is_not_sealed_until_it_has() {
    let world = warmed();
    let system = machine(&world, &[]);
    let records = world.check(&world.root(), &[]).reports("/records");
    let records = records.as_array().unwrap();
    let below = records.iter().find_map(|it| it["parents"].as_array().unwrap().first()?.as_str()).unwrap();
    let note = world.root().join(".cachewarm-doomed");
    fs::write(&note, format!("{below}\n")).unwrap();

    let run = world.seal(&system, &[]).exits(5);
    assert!(found(&run, "leftover").contains(&(format!("record {below}"), false)), "{}", run.stdout);
    world.seal(&system, &["--fix"]).blames(&["has not forgotten", below, "warm an empty root"]);
    world.seal(&system, &[]).exits(5);
    assert!(!world.path("sealed.json").exists());

    // One that nothing is made from goes, and then it is well.
    let source = records.iter().find(|it| it["record_type"] == "source.local").unwrap()["id"].as_str().unwrap();
    fs::write(&note, format!("{source}\n")).unwrap();
    world.seal(&system, &["--fix"]).exits(0);
    assert!(!note.exists());
}

#[test]
fn a_root_that_somebody_holds_or_that_is_damaged_is_not_sealed() {
    let world = warmed();
    let system = machine(&world, &[]);
    {
        let _builder = Builder::start(&world.path("daemon"), &world.root(), &world.config());
        let run = world.seal(&system, &["--fix"]).exits(5);
        assert!(run.stdout.contains("buildkitd (process ") && run.stdout.contains("systemctl stop"), "{}", run.stdout);
        assert_eq!(run.reports("/findings"), serde_json::json!([]));
    }
    let database = world.root().join("runc-overlayfs/metadata_v2.db");
    let whole = fs::read(&database).unwrap();
    fs::write(&database, &whole[..20_000]).unwrap();
    let run = world.seal(&system, &["--fix"]).exits(5);
    assert!(run.stdout.contains("damaged") && run.stdout.contains("metadata_v2.db"), "{}", run.stdout);
    assert!(!world.path("sealed.json").exists());
    fs::write(&database, &whole).unwrap();

    // A layer that is gone, and a root that is none.
    let snapshots = world.root().join("runc-overlayfs/snapshots/snapshots");
    let layer =
        fs::read_dir(&snapshots).unwrap().map(|it| it.unwrap().path()).find(|it| it.join("fs/bin/busybox").exists());
    fs::remove_dir_all(layer.unwrap()).unwrap();
    let run = world.seal(&system, &["--fix"]).exits(5);
    assert!(run.stdout.contains("not warm: "), "{}", run.stdout);
    let nowhere = world.path("nowhere");
    fs::create_dir(&nowhere).unwrap();
    world.seal(&nowhere.join("absent"), &[]).blames(&["absent", "name a directory"]);
}

#[test]
fn leftovers_and_stale_bytes_are_cleaned() {
    let world = warmed();
    let system = machine(&world, &[]);
    let worker = world.root().join("runc-overlayfs");
    let ingest = worker.join("content/ingest/0a1b");
    fs::create_dir_all(&ingest).unwrap();
    fs::write(ingest.join("data"), "half of it").unwrap();
    fs::write(worker.join("content/blobs/sha256").join("ff".repeat(32)), "nobody's").unwrap();
    fs::create_dir_all(worker.join("snapshots/snapshots/9999/fs")).unwrap();
    fs::write(world.root().join("cache.db.abc.bak"), "put aside").unwrap();
    fs::create_dir_all(worker.join("executor/abc")).unwrap();
    fs::write(worker.join("executor/abc/config.json"), "{}").unwrap();
    let database = world.root().join("cache.db");
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length + 8192).unwrap();
    file.write_all_at(b"what was there before", length + 100).unwrap();
    drop(file);

    let before = world.seal(&system, &[]).exits(5);
    let leftovers = found(&before, "leftover");
    for what in ["ingest/0a1b", "sha256/ffff", "snapshots/9999", "cache.db.abc.bak", "executor/abc"] {
        assert!(leftovers.iter().any(|(place, _)| place.contains(what)), "{what} is not in {leftovers:?}");
    }
    assert!(found(&before, "stale-bytes").iter().any(|(place, _)| place.ends_with("cache.db")));
    let run = world.seal(&system, &["--fix"]).exits(0);

    let cleaned: Vec<_> = found(&run, "leftover").into_iter().chain(found(&run, "stale-bytes")).collect();
    assert!(cleaned.len() >= 5 && cleaned.iter().all(|(_, cleaned)| *cleaned), "{cleaned:?}");
    assert!(!ingest.exists() && !world.root().join("cache.db.abc.bak").exists());
    let bytes = fs::read(&database).unwrap();
    assert!(!bytes.windows(21).any(|window| window == b"what was there before"));
}
