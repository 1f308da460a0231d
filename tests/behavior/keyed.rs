//! Secrets in manifests: hashes that nobody can guess values by, and that still tell whether a value changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::explain::reasons_of;
use crate::support::{Run, World};

const ARGUMENT: &str = "DB_PASSWORD=hunter2";

/// Warms a project that uses the build argument, and gives its folder.
fn warmed(world: &World) -> std::path::PathBuf {
    let context = world.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM busybox:1.35\nARG DB_PASSWORD\nRUN echo of the build >/made\n")
        .unwrap();
    warm(world, &context, ARGUMENT).exits(0);
    context
}

fn warm(world: &World, context: &Path, argument: &str) -> Run {
    world.warm().source(["--context", context.to_str().unwrap(), "--build-arg", argument]).from([]).run()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_secret_in_a_manifest_is_a_hash_with_a_key() {
    let world = World::new();
    let context = warmed(&world);
    let (manifest, key) = (world.path("manifest.json"), world.path("manifest.json.cachewarm-key"));
    assert_eq!((mode(&manifest), mode(&key)), (0o600, 0o600));
    let text = fs::read_to_string(&manifest).unwrap();
    // The first digits of SHA-256 of the value, by which it was guessed.
    assert!(text.contains("env DB_PASSWORD\": \"(hmac:") && !text.contains("f52fbd32b2b3b86f"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let kept = fs::read(&key).unwrap();

    // With the key: the same value is the same, another one changed, and no hash is shown.
    let explain = || world.says(&["explain", world.path("old.json").to_str().unwrap(), manifest.to_str().unwrap()]);
    fs::copy(&manifest, world.path("old.json")).unwrap();
    let ask = |argument: &str| {
        let smoke =
            world.smoke(&world.root(), &context, &["--build-arg", argument, "--manifest", manifest.to_str().unwrap()]);
        assert!(
            !smoke.stdout.contains("hmac:") && !smoke.reports("").to_string().contains("hmac:"),
            "{}",
            smoke.stdout
        );
        smoke
    };
    ask(ARGUMENT).exits(0);
    let changed = reasons_of(&ask("DB_PASSWORD=hunter3").exits(5), "miss");
    assert!(
        changed.iter().any(|(kind, what)| kind == "argument-changed" && what.contains("DB_PASSWORD")),
        "{changed:?}"
    );
    warm(&world, &context, ARGUMENT).exits(0);
    assert_eq!((explain().0, fs::read(&key).unwrap()), (Some(0), kept));
    warm(&world, &context, "DB_PASSWORD=hunter3").exits(0);
    let (code, told) = explain();
    assert!(
        code == Some(5) && told.contains("DB_PASSWORD changed in a secret: (secret)") && !told.contains("hmac:"),
        "{told}"
    );

    // Without it nobody knows, and nobody says that it changed.
    fs::remove_file(&key).unwrap();
    let unknown = reasons_of(&ask("DB_PASSWORD=hunter4").exits(5), "miss");
    let (kind, what) = &unknown[0];
    assert!(kind == "secret-unknown" && what.contains("DB_PASSWORD") && what.contains("the key"), "{unknown:?}");
    warm(&world, &context, "DB_PASSWORD=hunter3").exits(0);
    let (code, told) = explain();
    assert!(code == Some(5) && told.contains("cannot be compared") && !told.contains("changed"), "{told}");
}

#[test]
fn a_manifest_of_before_is_read_and_compared() {
    let world = World::new();
    let context = warmed(&world);
    let manifest = world.path("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mark = text.split("(hmac:").nth(1).unwrap().split(')').next().unwrap().to_owned();
    // As it was written for hunter2 before.
    fs::write(&manifest, text.replace(&format!("(hmac:{mark})"), "(sha256:f52fbd32b2b3b86f)")).unwrap();
    let ask = |argument: &str| {
        world.smoke(&world.root(), &context, &["--build-arg", argument, "--manifest", manifest.to_str().unwrap()])
    };
    ask(ARGUMENT).exits(0);
    let changed = reasons_of(&ask("DB_PASSWORD=hunter3").exits(5), "miss");
    assert!(
        changed.iter().any(|(kind, what)| kind == "argument-changed" && what.contains("DB_PASSWORD")),
        "{changed:?}"
    );
}

#[test]
fn a_manifest_without_secrets_is_for_everybody_to_read_and_has_no_key() {
    let world = World::new();
    world.warm().run().ends_warm();
    assert_eq!(mode(&world.path("manifest.json")), 0o644);
    assert!(!world.path("manifest.json.cachewarm-key").exists());
}

#[test]
fn no_image_has_the_key_unless_it_is_asked_for() {
    let world = World::new();
    warmed(&world);
    let key = world.path("manifest.json.cachewarm-key");
    let system = crate::seal::machine(&world, &[]);
    let has_key = |run: &Run| {
        crate::seal::found(run, "secret").iter().any(|(place, _)| place.ends_with("/manifest.json.cachewarm-key"))
    };
    let run = world.seal(&system, &[]).exits(5);
    assert!(has_key(&run) && key.exists(), "{}", run.stdout);
    world.seal(&system, &["--fix", "--ignore", key.to_str().unwrap()]).exits(0);
    assert!(key.exists());
    let run = world.seal(&system, &["--fix"]).exits(0);
    assert!(has_key(&run) && !key.exists(), "{}", run.stdout);
}

/// Only a key that cachewarm made is cachewarm's to remove, by no other name and through no link.
#[test]
fn a_file_that_is_no_key_of_ours_is_never_removed() {
    let world = World::new();
    warmed(&world);
    let system = crate::seal::machine(&world, &[]);
    let (manifest, key) = (world.path("manifest.json"), world.path("manifest.json.cachewarm-key"));
    let ours = fs::read(&key).unwrap();
    let hexadecimal = "0123456789abcdef".repeat(4);
    let foreign = ["-----BEGIN PRIVATE KEY-----\nMIIB\n", hexadecimal.as_str(), ""];

    // Somebody's own key that has the manifest's name.
    for text in foreign {
        fs::write(world.path("manifest.key"), text).unwrap();
        world.seal(&system, &["--fix"]).exits(0);
        assert_eq!(fs::read_to_string(world.path("manifest.key")).unwrap(), text);
    }
    assert!(!key.exists() && manifest.exists());

    // A file in the key's place that cachewarm did not make.
    for text in foreign {
        fs::write(&key, text).unwrap();
        world.seal(&system, &["--fix"]).exits(0);
        assert_eq!(fs::read_to_string(&key).unwrap(), text);
    }
    fs::remove_file(&key).unwrap();

    // A link and a second name: what they lead to is not removed, and the machine is not sealed.
    let victim = world.path("victim");
    fs::write(&victim, &ours).unwrap();
    std::os::unix::fs::symlink(&victim, &key).unwrap();
    let linked = world.seal(&system, &["--fix"]).exits(5);
    assert!(linked.stdout.contains("cachewarm-key"), "{}", linked.stdout);
    fs::remove_file(&key).unwrap();
    fs::hard_link(&victim, &key).unwrap();
    world.seal(&system, &["--fix"]).exits(5);
    assert_eq!(fs::read(&victim).unwrap(), ours);
    fs::remove_file(&key).unwrap();

    // What cannot be looked at is not absent.
    fs::create_dir(&key).unwrap();
    let unread = world.seal(&system, &["--fix"]).exits(5);
    assert!(!crate::seal::found(&unread, "unread").is_empty() && key.is_dir(), "{}", unread.stdout);
}
