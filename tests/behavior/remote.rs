//! URLs as context: the builder fetches them itself, as it does for `docker buildx build URL`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::git::git;
use crate::support::ground::mirror_config;
use crate::support::judge::{Judged, copied};
use crate::support::{Builder, GitServer, World, ground};

/// A repository in the folder `web`, of which a clone has more than the builder takes from its URL.
fn repository(world: &World) -> (PathBuf, PathBuf) {
    let web = world.path("web");
    let folder = web.join("r.git");
    fs::create_dir_all(folder.join("docs")).unwrap();
    fs::write(folder.join("docs/page"), "a page\n").unwrap();
    fs::write(folder.join(".dockerignore"), "docs/\n").unwrap();
    fs::write(folder.join("Dockerfile"), "FROM busybox:1.35\nCOPY . /app\nRUN ls -R /app >/list\n").unwrap();
    git(&folder, ["init", "-q", "-b", "main"]);
    git(&folder, ["add", "-A"]);
    git(&folder, ["commit", "-q", "-m", "A page"]);
    (web, folder)
}

/// What CI builds from the URL, and exports to the registry.
fn exported(world: &World, url: &str, more: &[&str]) -> String {
    let config = mirror_config(&world.path("run"), ground().registry.address());
    let ci = Builder::start(&world.path("ci"), &world.path("ci-root"), &config);
    let reference =
        format!("{}/remote/{}:c", ground().registry.address(), world.folder().file_name().unwrap().display());
    let cache = format!("type=registry,mode=max,ref={reference}");
    ci.fetch(url, &[&["--export-cache", cache.as_str()], more].concat()).succeeded();
    reference
}

/// What buildctl has to do for the URL on a copy of the root.
fn judged(world: &World, url: &str) -> Judged {
    let folder = tempfile::Builder::new().prefix("judge").tempdir_in(world.folder()).unwrap();
    let copy = copied(&world.root(), folder.path());
    let config = mirror_config(folder.path(), ground().registry.address());
    let builder = Builder::start(&folder.path().join("daemon"), &copy, &config);
    Judged::of(&builder.fetch(url, &[]).succeeded())
}

fn head(folder: &Path) -> String {
    git(folder, ["rev-parse", "HEAD"])
}

#[test]
fn the_context_of_a_url_is_the_builders_own() {
    let world = World::new();
    let (web, folder) = repository(&world);
    let server = GitServer::of(&web);
    let url = format!("{}#main", server.repository("r.git"));
    let cache = exported(&world, &url, &[]);

    let run = world.warm().source([&url]).from([&cache]).with(["--on-miss", "fail"]).run().exits(0);
    assert_eq!((run.reports("/verdict"), run.reports("/hit_rate")), ("warm".into(), 1.0.into()));
    assert_eq!(run.reports("/source/rev"), "main");
    judged(&world, &url).ran_only(&[]);
    let run = world.smoke(&world.root(), Path::new(&url), &[]).exits(0);
    assert_eq!(run.reports("/verdict"), "warm");

    // A clone has what the ignore file leaves out, and the reason says where the difference comes from.
    let run = world.smoke(&world.root(), &folder, &[]).exits(5);
    assert!(run.stdout.contains("git URL"), "{}", run.stdout);
    // By its commit it is the same context, and the report knows which commit that is.
    let exact = format!("{}#{}", server.repository("r.git"), head(&folder));
    let run = world.smoke(&world.root(), Path::new(&exact), &[]).exits(0);
    assert_eq!(run.reports("/source/commit"), head(&folder).as_str());
}

#[test]
fn a_private_repository_is_fetched_with_the_secret_of_the_build_and_says_how_without() {
    let mut world = World::new();
    let (web, _) = repository(&world);
    let server = GitServer::behind_token(&web, "T0k");
    let url = format!("{}#main", server.repository("r.git"));

    let run = world.warm().source([&url]).from([]).run().blames(&["git", "GIT_AUTH_TOKEN", "--secret"]);
    assert!(!run.stderr.contains("Dockerfile or the build flags"), "{}", run.stderr);
    world.built_nothing();

    world.set("TOKEN_OF_CI", "T0k");
    for id in ["GIT_AUTH_TOKEN".to_owned(), format!("GIT_AUTH_TOKEN.{}", server.address())] {
        let secret = format!("id={id},env=TOKEN_OF_CI");
        let run = world.warm().source([&url]).from([]).with(["--secret", &secret]).run().exits(0);
        assert_eq!(run.reports("/verdict"), "warm");
        assert!(!run.stderr.contains("T0k") && !run.stdout.contains("T0k"));
    }
    let run = world.smoke(&world.root(), Path::new(&url), &[]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("GIT_AUTH_TOKEN"), "{}", run.stderr);
}

#[test]
fn the_argument_is_the_context() {
    let world = World::new();
    let (_, folder) = repository(&world);
    let path = folder.to_str().unwrap();
    world.warm().source([path]).from([]).run().exits(0);
    // `.`, and a path below it, as in a shell.
    let run = world.warm().source(["web/r.git"]).from([]).run().exits(0);
    assert_eq!(run.reports("/hit_rate"), 1.0);

    let refused = |source: [&str; 3], words: &[&str]| {
        let run = world.warm().source(source).from([]).run().exits(2);
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{}", run.stderr);
    };
    refused([path, "--context", path], &["--context"]);
    refused([path, "--repo", path], &["--repo"]);
    refused([path, "--bake", "bake.json"], &["--bake"]);
    refused(["--context=http://127.0.0.1:9/r.git", "--repo", path], &["--repo", "URL"]);
    refused(["https://127.0.0.1:9/r.git", "--rev", "main"], &["--rev", "URL#REF"]);
}

#[test]
fn a_url_that_gives_nothing_is_explained() {
    let world = World::new();
    let (web, folder) = repository(&world);
    git(&folder, ["tag", "-a", "-m", "One", "v1.0"]);
    let server = GitServer::of(&web);
    let url = |suffix: &str| server.repository(&format!("r.git{suffix}"));

    // The builder alone knows what a name led to, and says so.
    for suffix in ["", "#v1.0", "?ref=main"] {
        let run = world.warm().source([&url(suffix)]).from([]).run().exits(0);
        assert_eq!(run.reports("/source/commit"), head(&folder).as_str(), "{suffix}");
    }
    for suffix in ["#nosuch", "#main:nosuch"] {
        let run = world.warm().source([&url(suffix)]).from([]).run().exits(4);
        assert!(run.stderr.contains("URL#REF:DIRECTORY"), "{}", run.stderr);
    }
    let archive = format!("http://{}/gone.tar.gz", server.address());
    world.warm().source([&archive]).from([]).run().blames(&["404", "check the URL"]);
    let page = format!("http://{}/r.git/docs/page", server.address());
    let run = world.warm().source([&page]).from([]).run().exits(4);
    assert!(run.stderr.contains("ends in .git"), "{}", run.stderr);
    let gone = "http://user:hunter2@127.0.0.1:9/r.git#main";
    let run = world.warm().source([gone]).from([]).run().blames(&["127.0.0.1:9/r.git", "check the address"]);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    // Of a repository without a revision BuildKit says it in other words.
    let unnamed = "http://127.0.0.1:9/r.git";
    world.warm().source([unnamed]).from([]).run().blames(&["127.0.0.1:9/r.git", "check the address"]);
    fs::create_dir(world.path("added")).unwrap();
    fs::write(world.path("added/Dockerfile"), format!("FROM scratch\nADD {unnamed} /r\n")).unwrap();
    world.warm().source(["added"]).from([]).run().blames(&["127.0.0.1:9/r.git", "check the address"]);
}

#[test]
fn an_archive_is_a_context() {
    let world = World::new();
    let (web, folder) = repository(&world);
    let server = GitServer::of(&web);
    git(&folder, ["archive", "--output=../context.tar.gz", "HEAD"]);
    let url = format!("http://{}/context.tar.gz", server.address());
    world.warm().source([&url]).from([]).run().exits(0);
    judged(&world, &url).ran_only(&[]);
    world.smoke(&world.root(), Path::new(&url), &[]).exits(0);
}
