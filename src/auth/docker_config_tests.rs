//! What docker's configuration means, claim by claim. Helpers are shell scripts run by `sh`.

use proptest::prelude::*;

use super::*;

fn config(text: &str) -> DockerConfig {
    DockerConfig::parse(text.as_bytes()).expect("it is a configuration")
}

async fn login(config: &DockerConfig, host: &str) -> Option<(String, String)> {
    let found = config.credentials(host).await.expect("the configuration is sound");
    found.map(|found| (found.username, found.password.reveal().to_owned()))
}

fn pair(username: &str, password: &str) -> Option<(String, String)> {
    Some((username.to_owned(), password.to_owned()))
}

/// Runs `script` as a credential helper.
async fn helper(script: &str) -> anyhow::Result<Option<Credentials>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("helper.sh");
    std::fs::write(&path, script).unwrap();
    let mut command = Command::new("sh");
    command.arg(path);
    ask(command, "docker-credential-test", "registry.example.com").await
}

#[tokio::test]
async fn a_key_matches_with_and_without_its_scheme_and_path() {
    let config = config(
        r#"{"auths": {"https://a.example.com/v2/": {"auth": "YTpi"}, "b.example.com:5000": {"auth": "Yzpk"},
            "c.example.com": {"username": "u", "password": "p"}, "d.example.com": {}}}"#,
    );
    assert_eq!(login(&config, "a.example.com").await, pair("a", "b"));
    assert_eq!(login(&config, "b.example.com:5000").await, pair("c", "d"));
    assert_eq!(login(&config, "b.example.com").await, None);
    assert_eq!(login(&config, "c.example.com").await, pair("u", "p"));
    assert_eq!(login(&config, "d.example.com").await, None);
}

#[tokio::test]
async fn docker_hub_is_found_under_every_name_it_has() {
    for key in [HUB_KEY, "index.docker.io", "docker.io", "https://registry-1.docker.io"] {
        let config = config(&format!(r#"{{"auths": {{"{key}": {{"auth": "YTpi"}}}}}}"#));
        assert_eq!(login(&config, "registry-1.docker.io").await, pair("a", "b"), "{key}");
    }
}

#[tokio::test]
async fn an_identity_token_has_no_user_and_a_password_may_hold_colons() {
    let config = config(
        r#"{"auths": {"a": {"auth": "YTpiOmM", "identitytoken": "t0ken"}, "b": {"auth": "YTpiOmM="}, "c": {"auth": "YTpiOmMA"}}}"#,
    );
    assert_eq!(login(&config, "a").await, pair("", "t0ken"));
    assert_eq!(login(&config, "b").await, pair("a", "b:c"));
    assert_eq!(login(&config, "c").await, pair("a", "b:c"));
}

#[test]
fn a_helper_of_the_host_goes_before_the_store_and_both_before_the_file() {
    let config = config(
        r#"{"auths": {"a.example.com": {"auth": "YTpi"}}, "credHelpers": {"b.example.com": "b"}, "credsStore": "all"}"#,
    );
    let place = |host: &str| match config.place(host) {
        Place::Helper { name, server } => format!("{name} {server}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(place("b.example.com"), "b b.example.com");
    assert_eq!(place("a.example.com"), "all a.example.com");
    assert_eq!(place("registry-1.docker.io"), "all https://index.docker.io/v1/");
}

#[tokio::test]
async fn a_helper_is_asked_with_the_host_on_its_standard_input() {
    let script = r#"[ "$1" = get ] && read host; echo "{\"Username\": \"user\", \"Secret\": \"for $host\"}""#;
    // The address comes without a line break, so `read` reports the end of file; the answer counts.
    let found = helper(script).await.unwrap().expect("it answered");
    assert_eq!((found.username.as_str(), found.password.reveal()), ("user", "for registry.example.com"));

    let found = helper(r#"echo '{"Username": "<token>", "Secret": "t0ken"}'"#).await.unwrap().expect("it answered");
    assert_eq!((found.username.as_str(), found.password.reveal()), ("", "t0ken"));
}

#[tokio::test]
async fn a_helper_that_knows_nothing_is_no_error_and_one_that_fails_is() {
    assert_eq!(helper("echo 'credentials not found in native keychain'; exit 1").await.unwrap(), None);
    let error = helper("echo 'vault is sealed' >&2; exit 3").await.expect_err("it failed");
    assert!(error.to_string().contains("vault is sealed"), "{error}");
    assert!(Failure::of(&error).unwrap().hint.contains("docker-credential-test get"));
    let error = helper("echo s3cr3t").await.expect_err("it is no JSON");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[tokio::test]
async fn a_helper_that_is_not_installed_is_named() {
    let config = config(r#"{"credsStore": "surely-not-installed"}"#);
    let error = config.credentials("registry.example.com").await.expect_err("there is none");
    assert!(error.to_string().starts_with("could not start docker-credential-surely-not-installed"), "{error}");
    let config = DockerConfig { store: Some("../x".into()), ..DockerConfig::default() };
    assert!(config.credentials("registry.example.com").await.is_err());
}

#[tokio::test]
async fn a_broken_file_is_reported_without_its_contents() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"auths": "s3cr3t"}"#).unwrap();
    let error = DockerConfig::read(folder.path()).err().expect("it is broken");
    let text = format!("{error:#}");
    assert!(text.contains("config.json") && !text.contains("s3cr3t"), "{text}");

    let config = config(r#"{"auths": {"a": {"auth": "s3cr3t!"}}}"#);
    let error = config.credentials("a").await.expect_err("it is broken");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), auth in "\\PC{0,40}") {
        let _ = DockerConfig::parse(&bytes);
        let _ = decode_auth(&auth);
    }
}
