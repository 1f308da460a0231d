//! Files of Git LFS in our clones, got by the real git-lfs from a server that speaks its batch API.

use std::fs;
use std::path::{Path, PathBuf};

use super::serving::Server;
use super::world::{World, any_file_has, at, explanation, obtained};
use crate::event::Events;
use crate::failure::Kind;
use crate::source::{Checkout, SourceSpec, fill_pointers};

/// What a server of Git LFS answers; none to what is not for it. The objects lie where git-lfs put them in each repository.
pub(super) fn served(folder: &Path, path: &str, body: &[u8], host: &str) -> Option<Vec<u8>> {
    let path = path.trim_start_matches('/');
    if let Some(id) = path.split_once("/objects-of-lfs/") {
        return fs::read(folder.join(id.0).join("lfs/objects").join(&id.1[..2]).join(&id.1[2..4]).join(id.1)).ok();
    }
    let repository = path.strip_suffix("/info/lfs/objects/batch")?.trim_end_matches(".git").trim_end_matches('/');
    let asked: serde_json::Value = serde_json::from_slice(body).ok()?;
    let object = |asked: &serde_json::Value| {
        let id = asked["oid"].as_str()?;
        let href = format!("http://{host}/{repository}/.git/objects-of-lfs/{id}");
        Some(serde_json::json!({"oid": id, "size": asked["size"], "actions": {"download": {"href": href}}}))
    };
    let objects: Vec<_> = asked["objects"].as_array()?.iter().filter_map(object).collect();
    Some(serde_json::json!({"transfer": "basic", "objects": objects}).to_string().into_bytes())
}

/// A repository keeps `*.bin` in Git LFS from now on, and has one of that.
fn enlarge(world: &World, repository: &str) {
    world.git(repository, &["lfs", "install", "--local"]);
    world.write(&format!("{repository}/.gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n", 0o644);
    world.write(&format!("{repository}/a b,.bin"), &format!("the real bytes of {repository}"), 0o644);
    world.git(repository, &["add", "."]);
    world.git(repository, &["commit", "-qm", "large"]);
}

fn fill(checkout: &Checkout, files: &[&str]) -> anyhow::Result<bool> {
    let files: Vec<PathBuf> = files.iter().map(|file| checkout.root.join(file)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(fill_pointers(checkout, files, &Events::nobody()))
}

fn text(checkout: &Checkout, file: &str) -> String {
    fs::read_to_string(checkout.root.join(file)).expect("a file")
}

#[test]
fn real_bytes_come_with_the_login_of_the_clone_also_for_submodules() {
    let world = World::new();
    world.repository("lib");
    enlarge(&world, "lib");
    enlarge(&world, "app");
    world.git("app", &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib", "lib"]);
    world.git("app", &["config", "-f", ".gitmodules", "submodule.lib.url", "../../lib/.git"]);
    world.git("app", &["commit", "-qam", "submodule"]);
    let server = Server::of(&world, &["deploy:t0ken"]);
    let url = server.url("app/.git").replace("http://", "http://deploy@");
    let checkout = obtained(&at(&url, None, Some("t0ken")));
    let before = world.shell("", "cat \"$1/.git/config\"", &[&checkout.root.display().to_string()]);
    assert!(text(&checkout, "a b,.bin").starts_with("version https://git-lfs"));

    fill(&checkout, &["a b,.bin", "lib/a b,.bin", "text"]).unwrap();

    assert_eq!(text(&checkout, "a b,.bin"), "the real bytes of app");
    assert_eq!(text(&checkout, "lib/a b,.bin"), "the real bytes of lib");
    assert!(server.asked_with().iter().all(|login| login == "deploy:t0ken"), "{:?}", server.asked_with());
    assert!(!any_file_has(&checkout.root, "t0ken") && !checkout.root.join(".git/lfs").exists());
    assert_eq!(world.shell("", "cat \"$1/.git/config\"", &[&checkout.root.display().to_string()]), before);
}

#[test]
fn a_server_that_the_repository_names_is_shown_no_login() {
    let world = World::new();
    let elsewhere = Server::of(&world, &["nobody:nothing"]);
    enlarge(&world, "app");
    world.write("app/.lfsconfig", &format!("[lfs]\nurl = {}\n", elsewhere.url("app/.git/info/lfs")), 0o644);
    world.git("app", &["add", "."]);
    world.git("app", &["commit", "-qm", "elsewhere"]);
    let server = Server::of(&world, &["x-access-token:t0ken"]);
    let checkout = obtained(&at(&server.url("app/.git"), None, Some("t0ken")));

    let (kind, text, hint) = explanation(fill(&checkout, &["a b,.bin"]));

    assert_eq!(kind, Kind::Environment);
    assert!(text.contains("could not get 1 file (a b,.bin) from Git LFS") && !text.contains("t0ken"), "{text}");
    assert!(hint.contains("git lfs pull"), "{hint}");
    assert_eq!(elsewhere.asked_with(), Vec::<String>::new());
}

#[test]
fn bytes_that_are_not_those_of_the_pointer_are_refused() {
    let world = World::new();
    enlarge(&world, "app");
    world.shell("app", "find .git/lfs/objects -type f | while read f; do tr r R <\"$f\" >x; cat x >\"$f\"; done", &[]);
    let server = Server::of(&world, &[]);
    let checkout = obtained(&at(&server.url("app/.git"), None, None));
    let (kind, text, _) = explanation(fill(&checkout, &["a b,.bin"]));
    assert_eq!(kind, Kind::Environment);
    assert!(text.contains("Git LFS"), "{text}");
}

#[test]
fn text_of_a_pointer_that_no_attribute_speaks_of_is_text() {
    let world = World::new();
    enlarge(&world, "app");
    world.shell("app", "git show 'HEAD:a b,.bin' >sample.txt; git add sample.txt; git commit -qm sample", &[]);
    let checkout = obtained(&world.spec(None));
    let sample = text(&checkout, "sample.txt");
    assert!(sample.starts_with("version https://git-lfs"));
    fill(&checkout, &["sample.txt", "a b,.bin"]).unwrap();
    assert_eq!(
        (text(&checkout, "sample.txt"), text(&checkout, "a b,.bin")),
        (sample, "the real bytes of app".to_owned())
    );
    // A directory is as it is.
    world.shell("", "GIT_LFS_SKIP_SMUDGE=1 git clone -q app copy", &[]);
    let copy = obtained(&SourceSpec::Directory(world.path("copy")));
    fill(&copy, &["a b,.bin"]).unwrap();
    assert!(text(&copy, "a b,.bin").starts_with("version https://git-lfs"));
}
