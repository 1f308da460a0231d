//! Whatever somebody puts into a manifest: it is refused, or compared and shown.

use proptest::prelude::*;

use super::*;
use crate::report;

/// A build of a copy and a command, with the files of its directory.
fn sample() -> serde_json::Value {
    let mut manifest = serde_json::to_value(Manifest::new()).unwrap();
    manifest["contexts"] = serde_json::json!([{
        "name": "context", "excluded": [], "left_out": 0,
        "entries": ["d 0755 0 - src", "f 0644 3 aa src/a.c", "l 0777 0 \"src/a.c\" link"],
    }]);
    let step = |name: &str, kind: &str, key: serde_json::Value, inputs: serde_json::Value| serde_json::json!({"digest": name, "name": name, "kind": kind, "targets": ["t"], "key": key, "inputs": inputs});
    let mut local = step(
        "[internal] load build context",
        "local",
        serde_json::json!({"directory": "context"}),
        serde_json::json!([]),
    );
    local["context"] = 0.into();
    let image = serde_json::json!({"image": "x", "image digest": "sha256:1"});
    let copy = serde_json::json!({"copy 1 source": "/link", "copy 1 destination": "/"});
    manifest["steps"] = serde_json::json!([
        local,
        step("[a 1/3] FROM x@sha256:1", "image", image, serde_json::json!([])),
        step("[a 2/3] COPY link /", "file", copy, serde_json::json!([{"step": 1}, {"step": 0, "paths": ["/link"]}])),
        step("[a 3/3] RUN make", "exec", serde_json::json!({"command": "make"}), serde_json::json!([{"step": 2}])),
    ]);
    manifest
}

fn read(json: &str) -> Option<Manifest> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    std::fs::write(&path, json).unwrap();
    Manifest::read(&path).ok()
}

#[test]
fn a_file_behind_a_link_is_named() {
    let old = read(&sample().to_string()).unwrap();
    let new = read(&sample().to_string().replace("f 0644 3 aa", "f 0644 3 bb")).unwrap();
    let comparison = Comparison::new(&old, &new);
    assert_eq!(comparison.reason(2).unwrap().what, "src/a.c has other content");
    assert_eq!(comparison.reason(3).unwrap().kind, "input-changed");
    assert!(Comparison::new(&old, &old).reason(3).is_none());
}

#[test]
fn another_frontend_is_told_of_beside_what_it_changed() {
    let frontend =
        |json: String, digest: &str| json.replace("\"frontends\":[]", &format!("\"frontends\":[\"f@{digest}\"]"));
    let old = read(&frontend(sample().to_string(), "1")).unwrap();
    let same = read(&frontend(sample().to_string(), "2")).unwrap();
    assert!(Comparison::new(&old, &same).reason(3).is_none(), "it changes no key by itself");
    let new = read(&frontend(sample().to_string().replace("make", "make all"), "2")).unwrap();
    let reason = Comparison::new(&old, &new).reason(3).unwrap();
    assert_eq!(reason.kind, "command-changed");
    assert!(reason.detail.unwrap().contains("the Dockerfile frontend is another one as well\n  - f@1\n  + f@2"));
}

#[test]
fn another_source_policy_is_told_of_beside_what_it_changed() {
    let policy = |json: String, digest: &str| json.replacen('{', &format!("{{\"source_policy\":\"{digest}\","), 1);
    let old = read(&sample().to_string()).unwrap();
    let same = read(&policy(sample().to_string(), "sha256:1")).unwrap();
    assert!(Comparison::new(&old, &same).reason(2).is_none(), "it changes no key by itself");
    let new = read(&policy(sample().to_string().replace("\"sha256:1\"", "\"sha256:2\""), "sha256:1")).unwrap();
    let reason = Comparison::new(&old, &new).reason(2).unwrap();
    assert_eq!(reason.kind, "base-image-moved");
    assert_eq!(reason.detail.unwrap(), "the source policy is another one as well");
}

#[test]
fn of_an_image_that_has_moved_it_is_told_what_this_buildkit_makes_of_the_same_layers() {
    let by = |json: String, version: &str| {
        let version = format!("\"buildkit_version\":\"{version}\"");
        read(&json.replace("\"buildkit_version\":\"\"", &version)).unwrap()
    };
    let old = by(sample().to_string(), "v0.32.2");
    let detail = |version: &str| {
        let new = by(sample().to_string().replace("\"sha256:1\"", "\"sha256:2\""), version);
        let reason = Comparison::new(&old, &new).reason(2).unwrap();
        assert_eq!(reason.kind, "base-image-moved");
        reason.detail
    };
    assert_eq!((detail("v0.33.0"), detail("")), (None, None));
    assert!(detail("v0.34.2").unwrap().contains("by its digest alone"));
}

#[test]
fn what_is_not_written_down_may_be_why() {
    let old = read(&sample().to_string().replace("\"left_out\":0", "\"left_out\":7")).unwrap();
    let new = read(&sample().to_string()).unwrap();
    let reason = Comparison::new(&old, &new).reason_in(3, Traces::default());
    assert_eq!(reason.kind, "files-unknown");
    assert!(reason.what.starts_with("7 files"), "{}", reason.what);
}

proptest! {
    #[test]
    fn a_damaged_manifest_is_refused_or_compared(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let whole = sample().to_string();
        let mut bytes = whole.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let damaged = String::from_utf8_lossy(&bytes).into_owned();
        if let (Some(old), Some(new)) = (read(&whole), read(&damaged)) {
            for (old, new) in [(&old, &new), (&new, &old)] {
                let comparison = Comparison::new(old, new);
                for place in 0..new.steps.len() {
                    let _ = comparison.reason_in(place, Traces::default());
                }
            }
            let _ = report::manifest_text(&new);
        }
    }
}
