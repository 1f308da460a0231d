//! What the probe says of donors, good and bad.

use std::collections::HashMap;
use std::time::Duration;

use super::super::fake::{Asked, Fake, Reply};
use super::super::hosts::RegistryHosts;
use super::*;
use crate::auth::{Keychain, KeychainOptions};
use crate::digest::sha256;
use crate::failure::Failure;
use crate::retry::Policy;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What a registry holds, by `manifests/…` and `blobs/…`.
#[derive(Clone, Default)]
struct Contents(HashMap<String, Vec<u8>>);

impl Contents {
    fn blob(&mut self, bytes: impl Into<Vec<u8>>, media_type: &str) -> serde_json::Value {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        let descriptor = serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len(),
            "annotations": {"containerd.io/uncompressed": sha256(b"diff")}});
        self.0.insert(format!("blobs/{digest}"), bytes);
        descriptor
    }

    fn manifest(&mut self, name: &str, manifest: &serde_json::Value) -> serde_json::Value {
        let bytes = manifest.to_string().into_bytes();
        let digest = sha256(&bytes);
        let descriptor = serde_json::json!({"mediaType": manifest["mediaType"], "digest": digest, "size": bytes.len()});
        self.0.insert(format!("manifests/{name}"), bytes.clone());
        self.0.insert(format!("manifests/{digest}"), bytes);
        descriptor
    }

    /// A cache of two layers, one on the other, at `main`; `config` may change its config.
    fn cache(config: impl Fn(serde_json::Value) -> Vec<u8>) -> Contents {
        let mut contents = Contents::default();
        let layers = [contents.blob("lower", LAYER), contents.blob("upper", LAYER)];
        let written = serde_json::json!({
            "layers": [{"blob": layers[0]["digest"], "parent": -1}, {"blob": layers[1]["digest"]}],
            "records": [{"digest": sha256(b"record"), "layers": [{"layer": 1}]}],
        });
        let config = contents.blob(config(written), CACHE_CONFIG);
        contents.manifest("main", &serde_json::json!({"mediaType": IMAGE, "config": config, "layers": layers}));
        contents
    }

    fn reply(&self, asked: &Asked) -> Reply {
        let found = asked.line.split_once("/v2/team/cache/").and_then(|(_, object)| self.0.get(object));
        match found {
            Some(bytes) => Reply::ok(bytes.clone()),
            None => Reply::error(404, "NOT_THERE", "not there"),
        }
    }
}

fn good() -> Contents {
    Contents::cache(|config| config.to_string().into_bytes())
}

async fn probe_at(host: &str) -> Probe {
    let policy = Policy { attempts: 2, first_wait: Duration::from_millis(1), ..Policy::REGISTRY };
    let keychain = Keychain::new(KeychainOptions::default());
    let client = Client::with_policy(RegistryHosts::default(), keychain, policy);
    probe(&client, &format!("{host}/team/cache:main"), false).await
}

async fn probed(contents: Contents) -> Probe {
    let fake = Fake::start(move |asked| contents.reply(asked)).await;
    probe_at(&fake.host).await
}

async fn problem_of(behaviour: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Problem {
    let fake = Fake::start(behaviour).await;
    probe_at(&fake.host).await.problem.expect("there is a problem")
}

#[tokio::test]
async fn a_cache_with_all_its_blobs_is_usable() {
    let probe = probed(good()).await;
    assert_eq!((probe.problem.clone(), probe.usable()), (None, true));
    assert_eq!((probe.layers().len(), probe.bytes()), (2, 10));
    assert!(probe.digest.is_some());
}

#[tokio::test]
async fn a_cache_may_be_an_index_of_its_layers() {
    let mut contents = good();
    let written: serde_json::Value = serde_json::from_slice(&contents.0["manifests/main"]).unwrap();
    let manifests = serde_json::json!([written["layers"][0], written["layers"][1], written["config"]]);
    contents.manifest("main", &serde_json::json!({"mediaType": INDEX, "manifests": manifests}));
    let probe = probed(contents).await;
    assert_eq!((probe.problem.clone(), probe.layers().len()), (None, 2));
}

fn image(contents: &mut Contents, name: &str, cache: Option<&str>) -> serde_json::Value {
    let layer = contents.blob("lower", LAYER);
    let mut config =
        serde_json::json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(name.as_bytes())]}});
    if let Some(cache) = cache {
        config["moby.buildkit.cache.v0"] = STANDARD.encode(cache).into();
    }
    let config = contents.blob(config.to_string(), "application/vnd.oci.image.config.v1+json");
    contents.manifest(name, &serde_json::json!({"mediaType": IMAGE, "config": config, "layers": [layer]}))
}

#[tokio::test]
async fn an_image_with_an_inline_cache_is_a_donor_and_one_without_is_not() {
    let mut contents = Contents::default();
    image(&mut contents, "main", Some(r#"[{"digest": "x", "layers": [{"layer": 0}]}]"#));
    let probe = probed(contents).await;
    assert_eq!((probe.problem.clone(), probe.layers().len()), (None, 1));

    let mut contents = Contents::default();
    image(&mut contents, "main", None);
    assert_eq!(probed(contents).await.problem.unwrap().kind, ProblemKind::NotACache);
}

#[tokio::test]
async fn every_platform_of_an_image_is_looked_at() {
    let mut contents = Contents::default();
    let cache = Some(r#"[{"digest": "x", "layers": [{"layer": 0}]}]"#);
    let manifests =
        [image(&mut contents, "a", cache), image(&mut contents, "b", None), image(&mut contents, "c", cache)];
    contents.manifest("main", &serde_json::json!({"mediaType": INDEX, "manifests": manifests}));
    let probe = probed(contents).await;
    assert_eq!((probe.problem.clone(), probe.layers.len(), probe.layers().len()), (None, 2, 1));
}

#[tokio::test]
async fn missing_blobs_are_listed() {
    let mut contents = good();
    contents.0.remove(&format!("blobs/{}", sha256(b"lower")));
    let probe = probed(contents).await;
    assert_eq!(probe.missing, [sha256(b"lower")]);
    let problem = probe.problem.unwrap();
    assert_eq!(problem.kind, ProblemKind::BlobsMissing);
    assert!(problem.what.starts_with("1 of its 2 blobs are gone from 127.0.0.1:"), "{problem}");
}

#[tokio::test]
async fn a_blob_that_cannot_be_asked_for_is_not_taken_for_missing() {
    for status in [405, 500] {
        let contents = good();
        let problem = problem_of(move |asked| match asked.line.starts_with("HEAD") {
            true => Reply::status(status),
            false => contents.reply(asked),
        });
        assert_eq!(problem.await.kind, ProblemKind::BlobsUnchecked, "{status}");
    }
}

fn padded_to(size: u64) -> impl Fn(serde_json::Value) -> Vec<u8> {
    move |config| {
        let mut bytes = config.to_string().into_bytes();
        bytes.resize(size as usize, b' ');
        bytes
    }
}

#[tokio::test]
async fn a_config_or_manifest_of_exactly_one_mebibyte_is_allowed_and_one_byte_more_is_not() {
    assert!(probed(Contents::cache(padded_to(BUILDKIT_LIMIT))).await.usable());
    let problem = probed(Contents::cache(padded_to(BUILDKIT_LIMIT + 1))).await.problem.unwrap();
    assert_eq!(problem.kind, ProblemKind::ConfigTooLarge);

    for (size, expected) in [
        (BUILDKIT_LIMIT, None),
        (BUILDKIT_LIMIT + 1, Some(ProblemKind::ManifestTooLarge)),
        (MANIFEST_LIMIT + 1, Some(ProblemKind::ManifestTooLarge)),
    ] {
        let mut contents = good();
        contents.0.get_mut("manifests/main").unwrap().resize(size as usize, b' ');
        let problem = probed(contents).await.problem;
        assert_eq!(problem.as_ref().map(|problem| problem.kind), expected);
        assert!(problem.is_none_or(|problem| problem.what.contains(&size.to_string())));
    }
}

#[tokio::test]
async fn a_config_buildkit_would_refuse_is_refused() {
    let problem = probed(Contents::cache(|_| b"{\"layers\": [{}]}".to_vec())).await.problem.unwrap();
    assert_eq!(problem.kind, ProblemKind::Invalid);
    let mut contents = good();
    let key = contents.0.keys().find(|key| contents.0[*key].starts_with(b"{\"layers\"")).unwrap().clone();
    contents.0.remove(&key);
    assert_eq!(probed(contents).await.problem.unwrap().kind, ProblemKind::BlobsMissing);
}

#[tokio::test]
async fn each_refusal_has_its_own_name_and_remedy() {
    use ProblemKind::*;
    let expired = Reply::error(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.");
    for (reply, kind, words) in [
        (
            Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            NotFound,
            "`team/cache` does not have the manifest `main`",
        ),
        (expired, Expired, "token has expired"),
        (Reply::error(403, "DENIED", "no"), Denied, "there is no login"),
        (Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""), Denied, "there is no login"),
        (Reply::status(429), Throttled, "429"),
        (Reply::status(500), Server, "500"),
        (Reply::ok("<html>"), Invalid, "not one"),
        (Reply::ok("{}"), NotACache, "not a build cache"),
    ] {
        let status = reply.status;
        let problem = problem_of(move |_| reply.clone()).await;
        assert_eq!(problem.kind, kind, "{status}");
        assert!(problem.what.contains(words) && !problem.remedy.is_empty(), "{status}: {problem:?}");
    }
    let problem = probe_at("127.0.0.1:1").await.problem.unwrap();
    assert_eq!(problem.kind, Unreachable);
    let error = problem.failure("127.0.0.1:1/team/cache:main");
    assert!(Failure::of(&error).unwrap().hint.contains("buildkitd.toml"));
}

#[tokio::test]
async fn what_is_no_reference_is_a_problem_of_the_command_line() {
    let client = Client::new(RegistryHosts::default(), Keychain::new(KeychainOptions::default()));
    let probe = probe(&client, "h.io/Upper:{rev}", false).await;
    assert_eq!((probe.reference.as_str(), probe.usable()), ("h.io/Upper:{rev}", false));
    assert_eq!(Failure::of(&probe.problem.unwrap().failure("x")).unwrap().kind.exit_code(), 2);
}
