//! The client against registries that misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::fake::{Asked, Fake, Reply, Tls};
use super::*;
use crate::auth::KeychainOptions;
use crate::digest::sha256;

const QUICK: Policy = Policy {
    attempts: 3,
    first_wait: Duration::from_millis(1),
    longest_wait: Duration::from_millis(2),
    longest_asked: Duration::from_secs(2),
};

/// A client whose docker configuration knows `user`/`s3cr3t` for these hosts.
fn client(toml: &str, known: &[&str]) -> (Client, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let auths: serde_json::Map<_, _> =
        known.iter().map(|host| (host.to_string(), serde_json::json!({"auth": "dXNlcjpzM2NyM3Q="}))).collect();
    std::fs::write(folder.path().join("config.json"), serde_json::json!({"auths": auths}).to_string()).unwrap();
    let options = KeychainOptions { docker_config: Some(folder.path().into()), ..KeychainOptions::default() };
    let hosts = RegistryHosts::from_toml(toml).unwrap();
    (Client::with_policy(hosts, Keychain::new(options), QUICK), folder)
}

fn repository(client: &Client, host: &str) -> Repository {
    client.repository(&Reference::parse(&format!("{host}/team/cache")).unwrap(), false)
}

fn basic_user(asked: &Asked) -> bool {
    asked.header("authorization").as_deref() == Some("Basic dXNlcjpzM2NyM3Q=")
}

#[tokio::test]
async fn a_manifest_is_asked_for_in_all_its_forms_and_named_by_its_bytes() {
    let fake = Fake::start(|_| Reply::ok("{}")).await;
    let (client, _folder) = client("", &[]);
    let manifest = repository(&client, &fake.host).manifest("main", 100).await.unwrap();
    assert_eq!(manifest.digest, sha256(b"{}"));
    let asked = &fake.asked()[0];
    assert_eq!(asked.line, "GET /v2/team/cache/manifests/main");
    assert!(asked.header("accept").unwrap().contains("vnd.oci.image.index"));
    assert!(asked.header("user-agent").unwrap().starts_with("cachewarm/"));
}

/// Whoever sits between us and the registry can break a connection; that is no reason to show a password to him.
#[tokio::test]
async fn a_registry_that_has_spoken_tls_is_never_asked_in_the_clear() {
    for good in 0..3 {
        let fake = Fake::start_with(Tls::First(good), |asked| match basic_user(asked) {
            true => Reply::ok("x"),
            false => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        })
        .await;
        let (client, _folder) = client(&format!("[registry.'{}']\ninsecure = true", fake.host), &[&fake.host]);
        let outcome = repository(&client, &fake.host).blob_size("sha256:1").await;
        assert_eq!(outcome.is_ok(), good == 2, "{outcome:?}");
        assert_eq!(fake.asked().len(), good, "{:?}", fake.asked());
    }
}

#[tokio::test]
async fn a_registry_without_tls_is_asked_in_the_clear_where_that_is_configured() {
    let fake = Fake::start(|_| Reply::ok("x")).await;
    let (client, _folder) = client(&format!("[registry.'{}']\ninsecure = true", fake.host), &[]);
    let repository = repository(&client, &fake.host);
    repository.blob_size("sha256:1").await.unwrap();
    repository.blob_size("sha256:2").await.unwrap();
    assert_eq!(fake.asked().len(), 2);
}

/// A redirect with 307 would take the body along, and with it the identity token.
#[tokio::test]
async fn a_login_does_not_follow_a_token_server_that_redirects() {
    let stranger = Fake::start(|_| Reply::ok(r#"{"token": "t0ken"}"#)).await;
    for status in [302, 307] {
        let elsewhere = format!("http://{}/token", stranger.host);
        let server = Fake::start(move |_| Reply::status(status).header("Location", elsewhere.clone())).await;
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", server.host);
        let fake = Fake::start(move |_| Reply::status(401).header("WWW-Authenticate", realm.clone())).await;
        let folder = tempfile::tempdir().unwrap();
        for login in [r#"{"identitytoken": "1dentity"}"#, r#"{"auth": "dXNlcjpzM2NyM3Q="}"#] {
            let config = format!(r#"{{"auths": {{"{}": {login}}}}}"#, fake.host);
            std::fs::write(folder.path().join("config.json"), config).unwrap();
            let options = KeychainOptions { docker_config: Some(folder.path().into()), ..KeychainOptions::default() };
            let hosts = RegistryHosts::from_toml("").unwrap();
            let client = Client::with_policy(hosts, Keychain::new(options), QUICK);
            let error = repository(&client, &fake.host).blob_size("sha256:1").await.unwrap_err();
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
        assert_eq!(server.count("GET /token") + server.count("POST /token"), 2);
    }
    assert_eq!(stranger.asked().len(), 0, "{:?}", stranger.asked());
}

#[tokio::test]
async fn basic_credentials_are_sent_once_asked_for_and_remembered() {
    let fake = Fake::start(|asked| match basic_user(asked) {
        true => Reply::ok("x"),
        false => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    })
    .await;
    let (client, _folder) = client("", &[&fake.host]);
    let repository = repository(&client, &fake.host);
    repository.blob_size("sha256:1").await.unwrap();
    repository.blob_size("sha256:2").await.unwrap();
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn a_bearer_token_is_fetched_with_our_credentials_and_used_for_the_repository() {
    let server = Fake::start(|asked| match basic_user(asked) {
        true => Reply::ok(r#"{"access_token": "t0ken", "expires_in": 300}"#),
        false => Reply::status(401),
    })
    .await;
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", server.host);
    let fake = Fake::start(move |asked| match asked.header("authorization").as_deref() {
        Some("Bearer t0ken") => Reply::ok("x"),
        _ => Reply::status(401).header("WWW-Authenticate", realm.clone()),
    })
    .await;
    let (client, _folder) = client("", &[&fake.host]);
    repository(&client, &fake.host).blob_size("sha256:1").await.unwrap();
    repository(&client, &fake.host).blob_size("sha256:2").await.unwrap();
    assert_eq!(server.asked().len(), 1);
    assert_eq!(server.asked()[0].line, "GET /token?scope=repository%3Ateam%2Fcache%3Apull&service=s");
}

#[tokio::test]
async fn a_refusal_says_whether_we_had_anything_to_show() {
    let fake = Fake::start(|_| {
        Reply::error(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", "Basic realm=\"r\"")
    })
    .await;
    for (known, expected) in [(vec![fake.host.as_str()], false), (vec![], true)] {
        let (client, _folder) = client("", &known);
        let error = repository(&client, &fake.host).manifest("main", 100).await.unwrap_err();
        match &error.fault {
            Fault::Denied { anonymous, expired: false, .. } => assert_eq!(*anonymous, expected),
            other => panic!("{other:?}"),
        }
        assert!(error.to_string().contains("authentication required"), "{error}");
    }
    // Anonymously asked once; with credentials once without and once with them.
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn an_expired_token_is_known_by_its_words_also_when_only_the_presence_was_asked_for() {
    let fake = Fake::start(|_| Reply::error(403, "DENIED", "Your authorization token has expired.")).await;
    let (client, _folder) = client("", &[&fake.host]);
    let repository = repository(&client, &fake.host);
    let errors = [repository.manifest("main", 9).await.map(drop), repository.blob_size("sha256:1").await.map(drop)];
    for error in errors {
        assert!(matches!(error.unwrap_err().fault, Fault::Denied { expired: true, .. }));
    }
}

#[tokio::test]
async fn busy_and_broken_servers_are_asked_again_and_a_missing_thing_is_not() {
    let turn = AtomicUsize::new(0);
    let fake = Fake::start(move |asked| match (asked.line.contains("gone"), turn.fetch_add(1, Ordering::Relaxed)) {
        (true, _) => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        (_, 0) => Reply::status(429).header("Retry-After", "1"),
        (_, 1) => Reply::status(503),
        _ => Reply::ok("{}"),
    })
    .await;
    let (client, _folder) = client("", &[]);
    let repository = repository(&client, &fake.host);
    let start = std::time::Instant::now();
    repository.manifest("main", 100).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(matches!(repository.manifest("gone", 100).await.unwrap_err().fault, Fault::NotFound { .. }));
    assert_eq!(
        (fake.count("GET /v2/team/cache/manifests/main"), fake.count("GET /v2/team/cache/manifests/gone")),
        (3, 1)
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_or_has_the_wrong_bytes_is_asked_for_again() {
    let turn = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match turn.fetch_add(1, Ordering::Relaxed) {
        0 => Reply { cut_at: Some(3), ..Reply::ok("right") },
        1 => Reply::ok("wrong"),
        _ => Reply::ok("right"),
    })
    .await;
    let (client, _folder) = client("", &[]);
    let bytes = repository(&client, &fake.host).blob(&sha256(b"right"), 100).await.unwrap();
    assert_eq!((bytes.as_slice(), fake.asked().len()), (b"right".as_slice(), 3));
    let error = repository(&client, &fake.host).blob(&sha256(b"other"), 100).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read() {
    let fake = Fake::start(|_| Reply::ok(vec![b'x'; 101])).await;
    let (client, _folder) = client("", &[]);
    let error = repository(&client, &fake.host).manifest("main", 100).await.unwrap_err();
    assert!(matches!(error.fault, Fault::TooLarge { size: 101, limit: 100 }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_followed_without_our_credentials() {
    let store = Fake::start(|asked| match asked.header("authorization") {
        Some(_) => Reply::status(400),
        None => Reply::ok("blob"),
    })
    .await;
    let target = format!("http://{}/blob?X-Amz-Signature=s3cr3t", store.host);
    let fake = Fake::start(move |asked| match basic_user(asked) {
        true => Reply::status(307).header("Location", target.clone()),
        false => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    })
    .await;
    let (client, _folder) = client("", &[&fake.host]);
    let bytes = repository(&client, &fake.host).blob(&sha256(b"blob"), 100).await.unwrap();
    assert_eq!(bytes, b"blob");
}

#[tokio::test]
async fn a_presigned_address_that_is_good_for_get_only_still_shows_that_the_blob_is_there() {
    let store = Fake::start(|asked| match asked.line.starts_with("GET ") {
        true if asked.header("range").as_deref() == Some("bytes=0-0") => {
            Reply { body: b"b".into(), ..Reply::status(206) }
        }
        _ => Reply::status(403),
    })
    .await;
    let target = format!("http://{}/blob?X-Amz-Signature=s3cr3t", store.host);
    let fake = Fake::start(move |_| Reply::status(307).header("Location", target.clone())).await;
    let (client, _folder) = client("", &[]);
    assert_eq!(repository(&client, &fake.host).blob_size("sha256:1").await.unwrap(), None);
}

#[tokio::test]
async fn mirrors_are_asked_before_the_origin_and_told_whom_they_stand_in_for() {
    let mirror = Fake::start(|asked| match asked.line.contains("main") {
        true => Reply::ok("{}"),
        false => Reply::status(404),
    })
    .await;
    let origin = Fake::start(|_| Reply::ok("[]")).await;
    let toml = format!("[registry.'{}']\nmirrors = ['127.0.0.1:1', '{}/pre/fix']", origin.host, mirror.host);
    let (client, _folder) = client(&toml, &[]);
    let repository = repository(&client, &origin.host);
    assert_eq!(repository.manifest("main", 10).await.unwrap().bytes, b"{}");
    assert_eq!(repository.manifest("other", 10).await.unwrap().bytes, b"[]");
    let query = origin.host.replace(':', "%3A");
    assert_eq!(mirror.asked()[0].line, format!("GET /v2/pre/fix/team/cache/manifests/main?ns={query}"));
    assert_eq!(
        origin.asked().iter().map(|asked| &asked.line).collect::<Vec<_>>(),
        ["GET /v2/team/cache/manifests/other"]
    );
}

#[tokio::test]
async fn of_several_hosts_that_failed_the_one_that_got_furthest_is_reported() {
    let origin = Fake::start(|_| Reply::status(404)).await;
    let toml = format!("[registry.'{}']\nmirrors = ['127.0.0.1:1']", origin.host);
    let (client, _folder) = client(&toml, &[]);
    let error = repository(&client, &origin.host).manifest("main", 10).await.unwrap_err();
    assert!(matches!(error.fault, Fault::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn an_insecure_import_falls_back_to_plain_http() {
    let fake = Fake::start(|_| Reply::ok("{}")).await;
    let (client, _folder) = client("", &[]);
    let reference = Reference::parse(&format!("{}/x", fake.host)).unwrap();
    assert_eq!(client.repository(&reference, true).manifest("main", 10).await.unwrap().bytes, b"{}");
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let (client, _folder) = client("", &[]);
    let error = repository(&client, "127.0.0.1:1").manifest("main", 10).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
}
