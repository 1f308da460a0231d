//! What BuildKit and buildx have in their sources that a reader of roots and a sender of builds has to know: everything is
//! classified here, so that a newer version shows its list of work.
//!
//! `CACHEWARM_TRIPWIRE=latest` (or a version) looks at another BuildKit than the one of the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::ground::{buildx_source, module_source};

/// Where names stand in BuildKit's source, and what they look like.
const PLACES: [(&str, &str, &str); 9] = [
    ("request", "api/services/control/control.proto", r"(?ms)^message SolveRequest \{.*?^\}"),
    ("gateway request", "frontend/gateway/pb/gateway.proto", r"(?ms)^message SolveRequest \{.*?^\}"),
    ("attribute", "solver/pb/attr.go", r#"(?m)^const Attr\w+ = "([^"]+)""#),
    ("frontend option", "frontend/dockerui/config.go", r#"(?m)^\t(?:key|buildArg|label|local)\w+ += "([^"]+)""#),
    ("record field", "cache/metadata.go", r#"(?m)^const key\w+ = "([^"]+)""#),
    ("record index", "cache/metadata.go", r#"(?m)^const \w+Index = "([^"]+)""#),
    ("bucket", "cache/metadata/metadata.go", r#"(?m)^\t\w+Bucket += "([^"]+)""#),
    ("bucket", "solver/bboltcachestorage/storage.go", r#"(?m)^\t\w+Bucket += "([^"]+)""#),
    ("bucket", "solver/llbsolver/history/buildhistory.go", r#"(?m)^\t\w+Bucket += "([^"]+)""#),
];

/// The same in files that not every version has.
const YOUNGER_PLACES: [(&str, &str, &str); 3] = [
    ("snapshot name", "snapshot/snapshotid.go", r#"(?m)^const \w+ = "([^"]+)""#),
    ("file beside a database", "util/db/compaction/file.go", r#""(\.compact-state[^"]*)""#),
    ("file beside a database", "util/db/boltutil/compact.go", r#"compactSuffix += "([^"]+)""#),
];

/// What becomes of each.
#[rustfmt::skip]
const CLASSIFIED: &[(&str, &[&str])] = &[
    // Sent: buildkit/solve/request.rs.
    ("request", &["Ref", "Session", "Internal", "Entitlements", "Cache", "SourcePolicy"]),
    // Never set: results, exports and history are not for us, and each build is asked through the gateway.
    ("request", &[
        "Definition", "ExporterDeprecated", "ExporterAttrsDeprecated", "Frontend", "FrontendAttrs",
        "FrontendInputs", "Exporters", "EnableSessionExporter", "CompatibilityVersion",
    ]),
    // Policies in rego are refused (source/policy.rs), and buildx sets the proxied network for those alone.
    ("request", &["SourcePolicySession", "ProxyNetwork"]),
    ("gateway request", &[
        "Definition", "Frontend", "FrontendOpt", "allowResultReturn", "allowResultArrayRef", "CacheImports", "FrontendInputs",
        "Evaluate",
    ]),
    ("gateway request", &["Final", "ExporterAttr", "SourcePolicies"]),
    // A directory of ours, and a key: buildkit/solve/{graph,key}.rs.
    ("attribute", &[
        "local.session", "local.unique", "local.includepattern", "local.followpaths", "local.excludepatterns",
        "local.sharedkeyhint", "local.differ", "none", "metadata", "local.metadatatransfer", "local.metadatatransferexclude",
        "image.resolvemode", "default", "pull", "local", "image.recordtype", "image.layerlimit", "image.checksum",
        "oci.session", "oci.store", "oci.layerlimit", "llbbuild.filename",
    ]),
    // Git and HTTP sources, which BuildKit fetches itself: whatever they are, they are part of the definition.
    ("attribute", &[
        "git.keepgitdir", "git.fullurl", "git.authheadersecret", "git.authtokensecret", "git.knownsshhosts",
        "git.mountsshsock", "git.checksum", "git.skipsubmodules", "git.mtime", "git.fetchbycommit", "git.bundle",
        "git.checkoutbundle", "git.advice", "git.sig.pubkey", "git.sig.rejectexpired", "git.sig.requiresignedtag",
        "git.sig.ignoresignedtag", "http.checksum", "http.filename", "http.perm", "http.uid", "http.gid",
        "http.authheadersecret", "http.header.", "http.sig.pubkey", "http.sig.signature",
    ]),
    // What docker's flags become: targets/attributes.rs.
    ("frontend option", &[
        "build-arg:", "label:", "local-sessionid:", "target", "cgroup-parent", "force-network-mode", "add-hosts",
        "image-resolve-mode", "multi-platform", "no-cache", "shm-size", "platform", "ulimit", "cache-imports",
        "build-arg:BUILDKIT_CACHE_MOUNT_NS", "build-arg:BUILDKIT_MULTI_PLATFORM",
        "build-arg:BUILDKIT_SANDBOX_HOSTNAME", "build-arg:BUILDKIT_DOCKERFILE_CHECK",
        "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "build-arg:BUILDKIT_GIT_ADVICE",
    ]),
    // Limits are part of no key; buildx sets no hostname, and the older form of cache sources is not needed.
    ("frontend option", &[
        "hostname", "memory", "memswap", "cpushares", "cpuperiod", "cpuquota", "cpusetcpus", "cpusetmems", "cache-from",
    ]),
    // Read: inspect/records.rs.
    ("record field", &[
        "snapshot.size", "cache.equalMutable", "cache.description", "cache.createdAt", "cache.lastUsedAt",
        "cache.usageCount", "cache.recordType", "snapshot.committed", "cache.parent", "cache.mergeParents",
        "cache.lowerDiffParent", "cache.upperDiffParent", "cache.diffID", "cache.layerIdentity", "cache.chainID",
        "cache.blobChainID", "cache.blob", "cache.snapshot", "cache.blobonly", "cache.deleted",
    ]),
    // Only known to be JSON.
    ("record field", &[
        "cache.cachePolicy", "cache.layerType", "cache.mediatype", "cache.imageRefs", "cache.blobsize", "cache.layer.urls",
    ]),
    // Made anew from the records.
    ("record index", &["blobchainid:", "chainid:"]),
    ("bucket", &["_main", "_index", "_external", "_result", "_links", "_byresult", "_backlinks", "_records", "_version"]),
    // era.rs and inspect/legacy.rs.
    ("snapshot name", &["buildkit-layer-snapshot-v1-"]),
    // inspect/leftovers.rs.
    ("file beside a database", &[".compact", ".compact-state", ".compact-state-*"]),
];

fn names(source: &Path) -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    let mut look = |kind: &str, text: &str, pattern: &str| {
        let before = names.len();
        let pattern = regex::Regex::new(pattern).unwrap();
        let field = regex::Regex::new(r"(?m)^\s+(?:repeated )?(?:map<[^>]*>|[\w.]+) (\w+) = \d+;").unwrap();
        for found in pattern.captures_iter(text) {
            let fields = || field.captures_iter(found.get(0).unwrap().as_str()).map(|it| it[1].to_owned()).collect();
            let found: Vec<String> = found.get(1).map_or_else(fields, |name| vec![name.as_str().to_owned()]);
            names.extend(found.into_iter().map(|name| (kind.to_owned(), name)));
        }
        assert!(names.len() > before, "the source has no {kind} any more: it has moved");
    };
    for (kind, path, pattern) in PLACES {
        look(kind, &fs::read_to_string(source.join(path)).unwrap(), pattern);
    }
    for (kind, path, pattern) in YOUNGER_PLACES {
        if let Ok(text) = fs::read_to_string(source.join(path)) {
            look(kind, &text, pattern);
        }
    }
    names
}

fn unclassified(source: &Path) -> Vec<String> {
    let is_known = |(kind, name): &(String, String)| {
        CLASSIFIED.iter().any(|(known, names)| known == kind && names.contains(&name.as_str()))
    };
    names(source).into_iter().filter(|found| !is_known(found)).map(|(kind, name)| format!("{kind} {name}")).collect()
}

/// The source of the BuildKit of the tests, or of the one that is asked for.
#[expect(clippy::disallowed_methods, reason = "which source is looked at is the caller's word")]
fn buildkit_source() -> PathBuf {
    let Ok(version) = std::env::var("CACHEWARM_TRIPWIRE") else {
        return module_source("tests/tools", "github.com/moby/buildkit");
    };
    let module = format!("github.com/moby/buildkit@{version}");
    let fetched = Command::new("go").args(["mod", "download", "-json", &module]).output().unwrap();
    let fetched: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap();
    PathBuf::from(fetched["Dir"].as_str().unwrap_or_else(|| panic!("{fetched}")))
}

#[test]
fn everything_in_the_source_of_buildkit_is_classified() {
    let unclassified = unclassified(&buildkit_source());
    assert!(
        unclassified.is_empty(),
        "find out what becomes of these, then classify them:\n{}",
        unclassified.join("\n")
    );
}

/// What this would have said of v0.34.2 when v0.32.2 was the newest.
#[test]
fn a_newer_buildkit_shows_what_is_new() {
    let newer = names(&module_source("tests/tools", "github.com/moby/buildkit"));
    let older = names(&module_source("tests/tools-older", "github.com/moby/buildkit"));
    let new: Vec<String> = newer.difference(&older).map(|(kind, name)| format!("{kind} {name}")).collect();
    assert_eq!(
        new,
        [
            "attribute git.advice",
            "file beside a database .compact",
            "file beside a database .compact-state",
            "file beside a database .compact-state-*",
            "frontend option build-arg:BUILDKIT_GIT_ADVICE",
            "record field cache.layerIdentity",
            "snapshot name buildkit-layer-snapshot-v1-",
        ]
    );
}

#[test]
fn every_field_of_a_bake_target_is_known() {
    let source = fs::read_to_string(buildx_source().join("bake/bake.go")).unwrap();
    let target = source.split("type Target struct {").nth(1).unwrap().split("\n}").next().unwrap();
    let field = regex::Regex::new(r#"json:"([a-z-]+),"#).unwrap();
    let theirs: BTreeSet<&str> = field.captures_iter(target).map(|it| it.get(1).unwrap().as_str()).collect();
    assert!(theirs.len() > 25, "{theirs:?}");
    let ours = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/targets/bake_fields.rs")).unwrap();
    let unknown: Vec<_> = theirs.into_iter().filter(|name| !ours.contains(&format!("\"{name}\""))).collect();
    assert!(unknown.is_empty(), "src/targets/bake_fields.rs does not know {unknown:?}");
}
