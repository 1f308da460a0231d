//! What docker's spellings mean, value by value.

use proptest::prelude::*;

use super::*;

fn nowhere(_: &str) -> bool {
    false
}

#[test]
fn csv_fields_are_quoted_as_docker_quotes_them() {
    assert_eq!(csv_fields(r#"a,"b,""c""",d"#).unwrap(), ["a", "b,\"c\"", "d"]);
    assert_eq!(csv_fields("").unwrap(), [""]);
    for broken in [r#""open"#, r#""a"b"#, r#"a"b"#] {
        assert!(csv_fields(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_donor_is_a_plain_reference_or_attributes_of_a_registry_or_a_directory() {
    let plain = cache_from("r.example/a:1,r.example/b").unwrap();
    assert_eq!(
        plain.iter().map(|donor| donor.reference.as_str()).collect::<Vec<_>>(),
        ["r.example/a:1", "r.example/b"]
    );
    let full = cache_from(r#"type=registry,ref=r.example/a:{rev},"registry.insecure=true""#).unwrap();
    assert_eq!(full[0].reference, "r.example/a:{rev}");
    assert_eq!(full[0].attributes["registry.insecure"], "true");
    let local = cache_from("type=local,src=/srv/{rev},tag=main").unwrap();
    assert_eq!((local[0].kind, local[0].reference.as_str()), (DonorKind::Local, "/srv/{rev}"));
    assert_eq!(local[0].attributes["tag"], "main");
    for (text, problem) in [
        ("type=gha,scope=x", "cache imports of type gha are not supported, only type=registry and type=local"),
        ("ref=r.example/a", "a cache import needs a type, such as type=registry,ref=…"),
        ("type=registry", "a cache import of type registry needs ref=…"),
        ("type=local,ref=a", "a cache import of type local needs src=…"),
    ] {
        assert_eq!(cache_from(text).unwrap_err().to_string(), problem);
    }
}

#[test]
fn a_secret_is_a_file_a_variable_or_whatever_its_id_names() {
    let from = |text: &str, variable: bool| secret(text, |_| variable).unwrap().from;
    assert_eq!(from("id=a,src=/run/a", true), SecretOrigin::File("/run/a".into()));
    assert_eq!(from("id=a,env=TOKEN", false), SecretOrigin::Env("TOKEN".into()));
    assert_eq!(from("type=env,id=a,src=TOKEN", false), SecretOrigin::Env("TOKEN".into()));
    assert_eq!(from("id=a", true), SecretOrigin::Env("a".into()));
    assert_eq!(from("id=a", false), SecretOrigin::File("a".into()));
    for broken in ["src=x", "id=a,colour=red", "id", "type=vault,id=a"] {
        assert!(secret(broken, nowhere).is_err(), "{broken}");
    }
}

#[test]
fn an_ssh_agent_has_an_id_and_perhaps_a_socket() {
    assert_eq!(ssh("default").unwrap(), SshAgent { id: "default".into(), paths: vec![] });
    assert_eq!(ssh("git=/run/a.sock,/b").unwrap().paths, [PathBuf::from("/run/a.sock"), "/b".into()]);
    assert!(ssh("=/run/a.sock").is_err());
}

#[test]
fn ulimits_are_checked_as_docker_checks_them() {
    assert_eq!(ulimit("nofile=1024:2048").unwrap(), "nofile=1024:2048");
    assert_eq!(ulimit("core=0").unwrap(), "core=0:0");
    assert_eq!(ulimit("nproc=5:-1").unwrap(), "nproc=5:-1");
    for broken in ["nofile", "as=1", "nofile=2:1", "nofile=-1:5", "nofile=1:2:3", "nofile=x"] {
        assert!(ulimit(broken).is_err(), "{broken}");
    }
}

#[test]
fn hosts_take_either_separator_and_addresses_of_either_family() {
    let one = |text: &str| add_host(text).unwrap().remove(0);
    let pair = |host: &str, address: &str| (host.to_owned(), address.to_owned());
    assert_eq!(one("a:10.0.0.1"), pair("a", "10.0.0.1"));
    assert_eq!(one("a=10.0.0.1"), pair("a", "10.0.0.1"));
    assert_eq!(one("a:::1"), pair("a", "::1"));
    assert_eq!(one("a=[2001:db8::1]"), pair("a", "2001:db8::1"));
    assert_eq!(one("a:[::1]"), pair("a", "::1"));
    assert_eq!(one("host.docker.internal:host-gateway"), pair("host.docker.internal", "host-gateway"));
    assert_eq!(extra_host("a", "10.0.0.1,::1").unwrap().len(), 2);
    for broken in ["a", "a=", "=10.0.0.1", "a=example.com", "a=10.0.0.256"] {
        assert!(add_host(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_build_context_is_an_image_a_url_a_target_or_a_directory() {
    let context = |text: &str| build_context(text).unwrap();
    assert_eq!(context("base=docker-image://alpine:3"), ("base".into(), NamedContext::Image("alpine:3".into())));
    assert_eq!(context("docker.io/library/alpine:latest=./a"), ("alpine".into(), NamedContext::Local("./a".into())));
    assert_eq!(context("deps=target:deps").1, NamedContext::Target("deps".into()));
    let remotes = ["https://e.com/a.tgz", "git@e.com:a/b.git", "github.com/a/b", "ssh://git@e.com/a", "git://e.com/a"];
    for remote in remotes {
        assert_eq!(context(&format!("x={remote}")).1, NamedContext::Remote(remote.into()));
    }
    assert!(build_context("x=oci-layout:///dir").unwrap_err().to_string().contains("not supported yet"));
    assert!(build_context("x").is_err());
}

#[test]
fn platforms_are_normalised_as_containerd_does() {
    assert_eq!(platforms("linux/amd64,linux/arm64/v8").unwrap(), ["linux/amd64", "linux/arm64"]);
    assert_eq!(platforms("aarch64").unwrap(), ["linux/arm64"]);
    assert_eq!(platforms("linux/arm").unwrap(), ["linux/arm/v7"]);
    let own = platforms(std::env::consts::ARCH).unwrap().remove(0);
    assert_eq!(platforms("local,linux/s390x").unwrap(), [own.as_str(), "linux/s390x"]);
    assert_eq!(platforms("LOCAL").unwrap(), [own]);
    for broken in ["", "linux", "linux/", "a/b/c/d", "linux/amd 64"] {
        assert!(platforms(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_bare_build_arg_takes_its_value_from_outside_or_is_not_set() {
    let arg = |text: &str| build_arg(text, |name| (name == "HOME").then(|| "/root".to_owned())).unwrap();
    assert_eq!(arg("A=b=c"), Some(("A".into(), "b=c".into())));
    assert_eq!(arg("A="), Some(("A".into(), String::new())));
    assert_eq!(arg("HOME"), Some(("HOME".into(), "/root".into())));
    assert_eq!(arg("NOPE"), None);
    assert!(build_arg("=x", |_| None).is_err());
}

#[test]
fn only_networks_that_buildkit_knows_are_taken() {
    assert_eq!(network("default").unwrap(), None);
    assert_eq!(network("host").unwrap(), Some("host".into()));
    assert!(network("my-net").is_err());
}

proptest! {
    #[test]
    fn no_value_of_any_flag_makes_us_panic(text in ".{0,40}") {
        let _ = (cache_from(&text), secret(&text, nowhere), ssh(&text), ulimit(&text), add_host(&text));
        let _ = (build_context(&text), platforms(&text), build_arg(&text, |_| None), label(&text), network(&text));
        let _ = (is_remote(&text), agent_of(&text));
    }

    #[test]
    fn quoting_a_field_is_undone_by_reading_it(fields in prop::collection::vec("[a-z,\" =]{0,8}", 1..5)) {
        let line = fields.iter().map(|it| format!("\"{}\"", it.replace('"', "\"\""))).collect::<Vec<_>>().join(",");
        prop_assert_eq!(csv_fields(&line).unwrap(), fields);
    }
}
