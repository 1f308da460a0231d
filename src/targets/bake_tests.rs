//! Bake files as buildx writes them, and as nobody should.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::targets::{Context, Dockerfile, Policy, SecretOrigin};

fn read(json: &str, names: &[&str]) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    bake_targets(json.as_bytes(), &names, &|_| false)
}

fn names(json: &str, chosen: &[&str]) -> Vec<String> {
    read(json, chosen).unwrap().0.into_iter().map(|target| target.name).collect()
}

fn one(fields: &str) -> Target {
    read(&format!(r#"{{"target":{{"default":{fields}}}}}"#), &[]).unwrap().0.remove(0)
}

fn problem(json: &str, chosen: &[&str]) -> String {
    let error = read(json, chosen).unwrap_err();
    assert_eq!(Failure::of(&error).unwrap().kind, Kind::Usage);
    format!("{error:#}")
}

/// What `docker buildx bake --print` (v0.35) wrote.
const REAL: &str = include_str!("../../tests/fixtures/bake-print.json");

#[test]
fn a_file_that_buildx_wrote_is_read_without_a_warning() {
    let (targets, warnings) = read(REAL, &[]).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["deps", "app", "multi-1", "multi-2"]);
    assert_eq!(targets[0].dockerfile, Dockerfile::Inline("FROM scratch\nARG A=${B}\nCOPY x /".into()));
    let app = &targets[1];
    assert_eq!(app.dockerfile, Dockerfile::InContext("../Dockerfile.app".into()));
    assert_eq!(app.donors[2].attributes["registry.insecure"], "true");
    assert_eq!(app.build_args["W"], "a${X}b");
    assert_eq!(app.entitlements, ["security.insecure", "network.host"]);
}

/// Every field we know, in its older and newer spelling.
const PRINTED: &str = r#"{
  "group": { "default": { "targets": ["app"] } },
  "target": {
    "app": {
      "annotations": ["a=b"], "attest": [{"type": "provenance"}], "context": "services/app",
      "contexts": { "base": "docker-image://alpine:3", "conf": "../conf", "deps": "target:deps" },
      "dockerfile": "docker/Dockerfile",
      "args": { "VERSION": "1$${X}", "UNSET": null }, "labels": { "l": "v" }, "tags": ["t"],
      "cache-from": [{ "ref": "r.example/cache:{rev}", "type": "registry" }, "type=registry,ref=r.example/other"],
      "cache-to": [{ "type": "inline" }], "target": "final",
      "secret": [{ "id": "token", "env": "TOKEN" }, "id=netrc,src=.netrc"],
      "ssh": [{ "id": "default" }, "git=/run/agent.sock"],
      "platforms": ["linux/amd64"], "output": [{ "type": "cacheonly" }], "pull": true, "no-cache": false,
      "network": "none", "no-cache-filter": ["fetch"], "shm-size": "64m", "ulimits": ["nofile=1024:2048"],
      "call": "build", "entitlements": ["security.insecure"], "extra-hosts": { "db": "10.0.0.1,::1", "gone": null }
    },
    "deps": { "context": ".", "dockerfile": "Dockerfile", "dockerfile-inline": "FROM scratch\nARG A=$${B}\n" }
  }
}"#;

#[test]
fn what_buildx_prints_is_read_field_by_field() {
    let (targets, warnings) = read(PRINTED, &[]).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let [deps, app] = targets.as_slice() else { panic!("{targets:?}") };
    assert_eq!(deps.dockerfile, Dockerfile::Inline("FROM scratch\nARG A=${B}\n".into()));
    assert_eq!(app.context, Context::Local("services/app".into()));
    assert_eq!(app.dockerfile, Dockerfile::InContext("docker/Dockerfile".into()));
    assert_eq!(app.build_args, BTreeMap::from([("VERSION".to_owned(), "1${X}".to_owned())]));
    assert_eq!(app.named_contexts["conf"], NamedContext::Local("../conf".into()));
    assert_eq!(app.named_contexts["deps"], NamedContext::Target("deps".into()));
    let donors: Vec<&str> = app.donors.iter().map(|donor| donor.reference.as_str()).collect();
    assert_eq!(donors, ["r.example/cache:{rev}", "r.example/other"]);
    assert_eq!(app.secrets[0].from, SecretOrigin::Env("TOKEN".into()));
    assert_eq!(app.secrets[1].from, SecretOrigin::File(".netrc".into()));
    assert_eq!(app.ssh[1].paths, [std::path::PathBuf::from("/run/agent.sock")]);
    assert_eq!((app.stage.as_deref(), app.network.as_deref()), (Some("final"), Some("none")));
    assert_eq!((app.shm_size, app.no_cache), (Some(64 << 20), false));
    assert_eq!(
        (app.ulimits.as_slice(), app.no_cache_stages.as_slice()),
        (&["nofile=1024:2048".to_owned()][..], &["fetch".to_owned()][..])
    );
    assert_eq!(app.extra_hosts, [("db".into(), "10.0.0.1".into()), ("db".into(), "::1".into())]);
}

#[test]
fn groups_hold_groups_and_name_each_target_once() {
    let json = r#"{"group":{"default":{"targets":["all","a"]},"all":{"targets":["a","b"]}},"target":{"a":{},"b":{}}}"#;
    assert_eq!(names(json, &[]), ["a", "b"]);
    assert_eq!(names(json, &["b", "all"]), ["b", "a"]);
}

#[test]
fn a_group_and_its_target_may_share_a_name() {
    let json = r#"{"group":{"default":{"targets":["default"]}},"target":{"default":{},"b":{}}}"#;
    assert_eq!(names(json, &[]), ["default"]);
}

#[test]
fn a_target_comes_after_the_targets_it_takes_contexts_from() {
    let json =
        r#"{"target":{"a":{"contexts":{"x":"target:b","y":"target:c"}},"b":{"contexts":{"x":"target:c"}},"c":{}}}"#;
    assert_eq!(names(json, &["a"]), ["c", "b", "a"]);
}

#[test]
fn what_is_nested_too_deep_or_a_million_times_is_no_trouble() {
    let many = |depth: usize, one: &dyn Fn(usize) -> String| (0..depth).map(one).collect::<Vec<_>>().join(",");
    let groups = |depth| many(depth, &|n| format!(r#""g{n}":{{"targets":["g{0}","g{0}"]}}"#, n + 1));
    let json = |depth| format!(r#"{{"group":{{{}}},"target":{{"g{depth}":{{}}}}}}"#, groups(depth));
    assert_eq!(names(&json(90), &["g0"]), ["g90"]);
    assert!(problem(&json(100_000), &["g0"]).contains("more than 100 groups"));
    let contexts = many(100_000, &|n| format!(r#""t{n}":{{"contexts":{{"a":"target:t{}"}}}}"#, n + 1));
    assert!(problem(&format!(r#"{{"target":{{{contexts}}}}}"#), &["t0"]).contains("more than 100 targets"));
}

#[test]
fn circles_are_refused_and_shown() {
    let groups = r#"{"group":{"a":{"targets":["b"]},"b":{"targets":["a"]}}}"#;
    assert!(problem(groups, &["a"]).ends_with("groups name each other in a circle: a → b → a"));
    let targets = r#"{"target":{"a":{"contexts":{"x":"target:b"}},"b":{"contexts":{"x":"target:a"}}}}"#;
    assert!(problem(targets, &["a"]).ends_with("targets need each other in a circle: a → b → a"));
}

#[test]
fn an_unknown_name_is_answered_with_the_names_there_are() {
    let json = r#"{"group":{"all":{"targets":["a"]}},"target":{"a":{}}}"#;
    for chosen in [&["nope"][..], &[]] {
        let error = read(json, chosen).unwrap_err();
        assert_eq!(Failure::of(&error).unwrap().hint, "choose with --bake-target; the file has all (group), a");
    }
    assert!(problem(r#"{"group":{"all":{"targets":["gone"]}}}"#, &["all"]).contains("gone, which does not exist"));
    assert!(
        problem(r#"{"target":{"a":{"contexts":{"x":"target:gone"}}}}"#, &["a"])
            .contains("no target gone, from which a takes")
    );
}

#[test]
fn malformed_json_is_shown_by_line_and_column() {
    let problem = problem("{\n  \"target\": {,}\n}", &[]);
    assert!(problem.contains("it is not valid JSON: key must be a string at line 2 column 14"), "{problem}");
}

#[test]
fn what_only_buildx_can_resolve_is_refused() {
    assert!(problem(r#"{"variable":{"A":{}},"target":{"default":{}}}"#, &[]).contains("only buildx can resolve"));
    assert!(problem(r#"{"target":{"default":{"inherits":["x"]}}}"#, &[]).contains("resolved by buildx first"));
}

#[test]
fn a_policy_is_off_only_where_all_of_it_says_so() {
    let policy = |policy: &str| {
        let json = format!(r#"{{"target":{{"default":{{"policy":{policy}}}}}}}"#);
        read(&json, &[]).unwrap().0.remove(0).policy
    };
    let (off, file) = (r#"{"Files":null,"Disabled":true}"#, r#"{"Files":[{"Filename":"p.rego"}]}"#);
    assert_eq!([policy("null"), policy("[]")], [Policy::Beside; 2]);
    assert_eq!(policy(&format!("[{off}]")), Policy::Off);
    let given = [file, &format!("{off},{file}"), r#""disabled=true""#, r#"{"Strict":true}"#];
    assert_eq!(given.map(|text| policy(&format!("[{text}]"))), [Policy::Given; 4]);
}

#[test]
fn unknown_fields_are_warned_about_and_known_harmless_ones_are_not() {
    let (_, warnings) = read(r#"{"new":1,"target":{"default":{"tags":["x"],"frobnicate":true}}}"#, &[]).unwrap();
    assert_eq!(
        warnings,
        [
            "the bake file has `new`, which is not known here and was ignored",
            "bake target default: `frobnicate` is not known here and was ignored",
        ]
    );
}

#[test]
fn caches_that_cannot_be_read_are_left_out_with_a_word() {
    for kind in ["gha", "s3", "inline", "azblob"] {
        let entries = [format!(r#"{{"type":"{kind}","scope":"x"}}"#), format!(r#""type={kind},src=y""#)];
        for entry in entries {
            let json = format!(r#"{{"target":{{"web":{{"cache-from":[{entry},"r.example/a:b"]}}}}}}"#);
            let (targets, warnings) = read(&json, &["web"]).unwrap();
            assert_eq!(targets[0].donors.len(), 1, "{entry}");
            let told = format!("target web: its cache of type {kind} is left out");
            assert!(warnings.len() == 1 && warnings[0].starts_with(&told), "{warnings:?}");
        }
    }
}

#[test]
fn older_spellings_mean_the_same() {
    let target =
        one(r#"{"cache-from":["r.example/a"],"shm-size":1024,"extra-hosts":["a=10.0.0.1"],"dockerfile":"Dockerfile"}"#);
    assert_eq!(target.donors[0].reference, "r.example/a");
    assert_eq!((target.shm_size, target.dockerfile), (Some(1024), Dockerfile::Path(None)));
    assert_eq!(target.extra_hosts, [("a".into(), "10.0.0.1".into())]);
}

#[test]
fn a_context_over_ssh_brings_the_default_agent() {
    assert_eq!(one(r#"{"context":"git@example.com:a/b.git"}"#).ssh[0].id, "default");
    assert!(one(r#"{"context":"https://example.com/a.git"}"#).ssh.is_empty());
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    for (fields, expected) in [
        (r#"{"args":[]}"#, "`args` is not an object"),
        (r#"{"target":1}"#, "`target` is not a string"),
        (r#"{"cache-from":[1]}"#, "`cache-from` has an entry that is neither"),
        (r#"{"ulimits":["nofile"]}"#, "invalid ulimit argument: nofile"),
        (r#"{"contexts":{"a":"oci-layout://x"}}"#, "not supported yet"),
        (r#"{"dockerfile":"https://example.com/Dockerfile"}"#, "not supported yet"),
    ] {
        let problem = problem(&format!(r#"{{"target":{{"web":{fields}}}}}"#), &["web"]);
        assert!(problem.contains("target web") && problem.contains(expected), "{problem}");
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z=,:/.\"]{0,12}".prop_map(Value::from),
        Just(Value::from("target:a")),
    ];
    let key = prop_oneof![
        "(group|target|targets|default|a|args|contexts|context|dockerfile|cache-from|secret|ssh|ulimits|shm-size)",
        "(extra-hosts|network|platforms|labels|type|ref|id|src|paths|no-cache|inherits|entitlements)",
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_us_panic(target in json(), group in json()) {
        let file = serde_json::json!({"group": {"default": group}, "target": {"a": target, "default": {"contexts": {"a": "target:a"}}}});
        let _ = bake_targets(file.to_string().as_bytes(), &[], &|_| true);
        let _ = bake_targets(file.to_string().as_bytes(), &["a".to_owned()], &|_| true);
    }

    #[test]
    fn no_bytes_make_us_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = bake_targets(&bytes, &[], &|_| true);
    }
}
