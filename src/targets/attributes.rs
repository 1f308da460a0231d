//! What BuildKit's Dockerfile frontend is told about a target: the FrontendOpt map that buildx v0.35 would send
//! (its build/opt.go; BuildKit reads it in frontend/dockerui/config.go), and the names of the directories it will ask for.
//!
//! **Invariant:** everything in a [`Target`] that can change a cache key is in the map. It deliberately has no donors
//! (`cache-imports`), no definitions of other targets and no attestations: those are the solver's, or change no key.
//! It expects a target whose paths `source` has resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::build::{Context, Dockerfile, NamedContext, Target};
use super::flags::HOST_GATEWAY;

/// Sent in place of `host-gateway`: the host's address on docker's default bridge. Addresses are not part of cache keys.
const HOST_GATEWAY_ADDRESS: &str = "172.17.0.1";

/// The Dockerfile's name when it has no path of its own.
const DOCKERFILE: &str = "Dockerfile";

/// The FrontendOpt map of a target.
///
/// A context that is another target's result is announced as `context:NAME` = `input:NAME`; the solver adds that
/// input's definition (FrontendInputs) and `input-metadata:NAME`.
pub(crate) fn attributes(target: &Target) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    let mut set = |key: &str, value: String| drop(map.insert(key.to_owned(), value));
    if let Some(stage) = &target.stage {
        set("target", stage.clone());
    }
    for (name, value) in &target.build_args {
        set(&format!("build-arg:{name}"), value.clone());
    }
    for (name, value) in &target.labels {
        set(&format!("label:{name}"), value.clone());
    }
    if !target.platforms.is_empty() {
        set("platform", target.platforms.join(","));
    }
    if target.no_cache {
        set("no-cache", String::new());
    } else if !target.no_cache_stages.is_empty() {
        set("no-cache", target.no_cache_stages.join(","));
    }
    if target.pulls {
        set("image-resolve-mode", "pull".to_owned());
    }
    if let Some(network @ ("host" | "none")) = target.network.as_deref() {
        set("force-network-mode", network.to_owned());
    }
    if !target.extra_hosts.is_empty() {
        set("add-hosts", extra_hosts(&target.extra_hosts));
    }
    if let Some(bytes) = target.shm_size.filter(|bytes| *bytes > 0) {
        set("shm-size", bytes.to_string());
    }
    if let Some(parent) = &target.cgroup_parent {
        set("cgroup-parent", parent.clone());
    }
    if !target.ulimits.is_empty() {
        set("ulimit", ulimits(&target.ulimits));
    }
    set("filename", filename(target));
    if let Context::Remote(url) = &target.context {
        set("context", url.clone());
        if dockerfile_directory(target).is_some() {
            set("dockerfilekey", "dockerfile".to_owned());
        }
    }
    for (name, context) in &target.named_contexts {
        let value = match context {
            NamedContext::Local(_) => format!("local:{}", local_name(name)),
            NamedContext::Image(reference) => format!("docker-image://{reference}"),
            NamedContext::Remote(url) => url.clone(),
            NamedContext::Target(_) => format!("input:{name}"),
        };
        set(&format!("context:{name}"), value);
    }
    let capabilities = capabilities(target);
    if !capabilities.is_empty() {
        set("frontend.caps", capabilities.join(","));
    }
    map
}

/// The directories the builder will ask for, by the name it asks for (`dir-name`).
///
/// An inline Dockerfile is not in here: `source` writes it to a directory of its own first.
pub(crate) fn directories(target: &Target) -> BTreeMap<String, PathBuf> {
    let mut directories = BTreeMap::new();
    if let Context::Local(path) = &target.context {
        directories.insert("context".to_owned(), path.clone());
    }
    if let Some(directory) = dockerfile_directory(target) {
        directories.insert("dockerfile".to_owned(), directory);
    }
    for (name, context) in &target.named_contexts {
        if let NamedContext::Local(path) = context {
            directories.insert(local_name(name), path.clone());
        }
    }
    directories
}

/// The entitlements a target needs: the ones it was given, and the one that `--network host` implies.
pub(crate) fn entitlements(target: &Target) -> Vec<String> {
    let mut entitlements = target.entitlements.clone();
    if target.network.as_deref() == Some("host") {
        entitlements.push("network.host".to_owned());
    }
    entitlements.sort();
    entitlements.dedup();
    entitlements
}

/// `context` and `dockerfile` are names of the build itself, so named contexts of these names get another.
fn local_name(name: &str) -> String {
    if matches!(name, "context" | "dockerfile") { format!("_{name}") } else { name.to_owned() }
}

/// The directory the Dockerfile is read from; none when it lies in a remote context.
fn dockerfile_directory(target: &Target) -> Option<PathBuf> {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    match (&target.dockerfile, &target.context) {
        (Dockerfile::Path(Some(path)), _) if path.is_absolute() => parent(path),
        (Dockerfile::Path(None), Context::Local(context)) => Some(context.clone()),
        (Dockerfile::Path(Some(path)), Context::Local(_)) => parent(path),
        (Dockerfile::InContext(path), Context::Local(context)) => parent(&context.join(path)),
        (Dockerfile::Inline(_), _) | (_, Context::Remote(_)) => None,
    }
}

/// The Dockerfile's path below the directory it is read from, or below the remote context.
fn filename(target: &Target) -> String {
    let path = match &target.dockerfile {
        Dockerfile::Path(Some(path)) | Dockerfile::InContext(path) => path.as_path(),
        Dockerfile::Path(None) | Dockerfile::Inline(_) => Path::new(DOCKERFILE),
    };
    if dockerfile_directory(target).is_some() {
        return path.file_name().map_or(DOCKERFILE.into(), |name| name.to_string_lossy().into_owned());
    }
    path.to_string_lossy().into_owned()
}

fn extra_hosts(hosts: &[(String, String)]) -> String {
    let entry = |(host, address): &(String, String)| {
        let address = if address == HOST_GATEWAY { HOST_GATEWAY_ADDRESS } else { address };
        format!("{host}={address}")
    };
    hosts.iter().map(entry).collect::<Vec<String>>().join(",")
}

/// One limit for each name, the last one given, sorted by name (docker/cli opts/ulimit.go).
fn ulimits(limits: &[String]) -> String {
    let named = limits.iter().map(|limit| (limit.split('=').next().unwrap_or(limit), limit.as_str()));
    let named: BTreeMap<&str, &str> = named.collect();
    named.into_values().collect::<Vec<&str>>().join(",")
}

/// What the frontend must be able to do; an external one (`# syntax=`) that cannot is refused by BuildKit.
fn capabilities(target: &Target) -> Vec<String> {
    let mut capabilities = Vec::new();
    let queried = |url: &str| url.split('#').next().is_some_and(|url| url.contains(".git?"));
    if !target.named_contexts.is_empty() {
        capabilities.push("moby.buildkit.frontend.contexts+forward".to_owned());
    }
    if matches!(&target.context, Context::Remote(url) if queried(url)) {
        capabilities.push("moby.buildkit.frontend.gitquerystring".to_owned());
    }
    if target.named_contexts.values().any(|context| matches!(context, NamedContext::Remote(url) if queried(url))) {
        capabilities.push("moby.buildkit.frontend.gitquerystring+forward".to_owned());
    }
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(target: &Target) -> String {
        attributes(target).iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    #[test]
    fn a_plain_target_is_sent_as_buildx_sends_it() {
        let mut target = Target::new("app", Context::Local("/src/app".into()));
        assert_eq!(golden(&target), "filename = Dockerfile\n");
        target.dockerfile = Dockerfile::Path(Some("/src/docker/app.Dockerfile".into()));
        assert_eq!(golden(&target), "filename = app.Dockerfile\n");
        let directories = directories(&target);
        assert_eq!(directories["context"], PathBuf::from("/src/app"));
        assert_eq!(directories["dockerfile"], PathBuf::from("/src/docker"));
    }

    #[test]
    fn every_field_that_changes_a_cache_key_has_buildx_s_name_and_spelling() {
        let mut target = Target::new("app", Context::Local("/src".into()));
        target.stage = Some("Final".into());
        target.build_args = BTreeMap::from([("VERSION".into(), "1=2,3".into()), ("EMPTY".into(), String::new())]);
        target.labels = BTreeMap::from([("org.x".into(), "y".into())]);
        target.platforms = vec!["linux/amd64".into(), "linux/arm64".into()];
        target.no_cache_stages = vec!["deps".into(), "build".into()];
        target.network = Some("none".into());
        target.extra_hosts =
            vec![("a".into(), "10.0.0.1".into()), ("b".into(), "::1".into()), ("c".into(), "host-gateway".into())];
        target.shm_size = Some(67_108_864);
        target.cgroup_parent = Some("ci".into());
        target.ulimits = vec!["nproc=5:5".into(), "nofile=1:2".into(), "nproc=6:6".into()];
        target.named_contexts = BTreeMap::from([
            ("base".into(), NamedContext::Image("docker.io/library/alpine:3".into())),
            ("context".into(), NamedContext::Local("/other".into())),
            ("data".into(), NamedContext::Local("/data".into())),
            ("deps".into(), NamedContext::Target("deps-target".into())),
            ("lib".into(), NamedContext::Remote("https://example.com/lib.git#main".into())),
        ]);
        let expected = "\
add-hosts = a=10.0.0.1,b=::1,c=172.17.0.1
build-arg:EMPTY = 
build-arg:VERSION = 1=2,3
cgroup-parent = ci
context:base = docker-image://docker.io/library/alpine:3
context:context = local:_context
context:data = local:data
context:deps = input:deps
context:lib = https://example.com/lib.git#main
filename = Dockerfile
force-network-mode = none
frontend.caps = moby.buildkit.frontend.contexts+forward
label:org.x = y
no-cache = deps,build
platform = linux/amd64,linux/arm64
shm-size = 67108864
target = Final
ulimit = nofile=1:2,nproc=6:6
";
        assert_eq!(golden(&target), expected);
        let names: Vec<String> = directories(&target).into_keys().collect();
        assert_eq!(names, ["_context", "context", "data", "dockerfile"]);
    }

    #[test]
    fn without_cache_is_an_empty_list_of_stages_whatever_else_was_asked() {
        let mut target = Target::new("app", Context::Local("/src".into()));
        target.no_cache = true;
        target.no_cache_stages = vec!["deps".into()];
        assert_eq!(golden(&target), "filename = Dockerfile\nno-cache = \n");
    }

    #[test]
    fn a_remote_context_brings_its_own_dockerfile_unless_one_is_sent() {
        let mut target = Target::new("app", Context::Remote("https://example.com/app.git?ref=main".into()));
        target.dockerfile = Dockerfile::InContext("docker/Dockerfile".into());
        assert_eq!(
            golden(&target),
            "context = https://example.com/app.git?ref=main\nfilename = docker/Dockerfile\n\
             frontend.caps = moby.buildkit.frontend.gitquerystring\n"
        );
        assert!(directories(&target).is_empty());
        target.dockerfile = Dockerfile::Path(Some("/tmp/own/Dockerfile".into()));
        target.context = Context::Remote("https://example.com/app.git".into());
        assert_eq!(
            golden(&target),
            "context = https://example.com/app.git\ndockerfilekey = dockerfile\nfilename = Dockerfile\n"
        );
    }

    #[test]
    fn the_host_network_needs_its_entitlement_once() {
        let mut target = Target::new("app", Context::Local("/src".into()));
        target.network = Some("host".into());
        target.entitlements = vec!["security.insecure".into(), "network.host".into()];
        assert_eq!(entitlements(&target), ["network.host", "security.insecure"]);
    }
}
