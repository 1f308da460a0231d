//! The configuration of a buildkitd we start: the person's own file with what a private daemon needs changed.

use std::path::Path;

use anyhow::Context;
use toml::{Table, Value};

/// Lazily pulled blobs that BuildKit fetches at the same time (`[system] maxRegistryConcurrency`, since v0.31.0;
/// older daemons pass over it). Its default of 4 leaves most of a fast network idle.
const REGISTRY_CONCURRENCY: i64 = 16;

/// What a private daemon needs to be different.
#[derive(Debug)]
pub(super) struct Private<'p> {
    /// Its state root.
    pub(super) root: &'p Path,
    /// Where it listens, and nowhere else.
    pub(super) socket: &'p Path,
    /// Its snapshotter; its own choice when absent.
    pub(super) snapshotter: Option<&'p str>,
    /// A directory for a runc that refuses every step; without it, steps run.
    pub(super) refuse_steps: Option<&'p Path>,
    /// What it lets builds be granted, beside what its own configuration lets.
    pub(super) entitlements: &'p [String],
}

/// Changes `given` (the text of a buildkitd.toml) as a private daemon needs it; it also removes nothing while we work.
///
/// # Errors
/// When `given` is not TOML.
pub(super) fn private(given: &str, private: &Private<'_>) -> anyhow::Result<String> {
    let mut config: Table = given.parse().context("reading the buildkitd configuration")?;
    config.insert("root".into(), text(private.root));
    let grpc = Table::from_iter([(
        "address".to_owned(),
        Value::Array(vec![format!("unix://{}", private.socket.display()).into()]),
    )]);
    // The whole section is ours: a second listener, or TLS on it, is not private.
    config.insert("grpc".into(), Value::Table(grpc));
    config.remove("otel");
    let granted = config.entry("insecure-entitlements").or_insert_with(|| Value::Array(Vec::new()));
    let granted = granted.as_array_mut().context("`insecure-entitlements` in the configuration is not a list")?;
    granted.extend(private.entitlements.iter().map(|entitlement| Value::String(entitlement.clone())));
    let worker = section(&mut config, "worker")?;
    let oci = section(worker, "oci")?;
    oci.insert("enabled".into(), true.into());
    oci.insert("gc".into(), false.into());
    oci.remove("gcpolicy");
    if let Some(snapshotter) = private.snapshotter {
        oci.insert("snapshotter".into(), snapshotter.into());
    }
    if let Some(directory) = private.refuse_steps {
        let configured = oci.get("binary").and_then(Value::as_str);
        let stand_in = super::runc::install(directory, configured)?;
        oci.insert("binary".into(), text(&stand_in));
    }
    section(worker, "containerd")?.insert("enabled".into(), false.into());
    section(&mut config, "system")?.entry("maxRegistryConcurrency").or_insert(REGISTRY_CONCURRENCY.into());
    Ok(config.to_string())
}

fn text(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

fn section<'a>(parent: &'a mut Table, name: &str) -> anyhow::Result<&'a mut Table> {
    parent
        .entry(name)
        .or_insert_with(|| Value::Table(Table::new()))
        .as_table_mut()
        .with_context(|| format!("`{name}` in the buildkitd configuration is not a section"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_daemon_keeps_the_registries_and_none_of_the_listeners() {
        let given = r#"
            root = "/var/lib/buildkit"
            [grpc]
            address = ["tcp://0.0.0.0:1234"]
            [worker.oci]
            gc = true
            snapshotter = "native"
            [[worker.oci.gcpolicy]]
            all = true
            [registry."docker.io"]
            mirrors = ["127.0.0.1:5000"]
        "#;
        let (root, socket) = (Path::new("/state"), Path::new("/run/s.sock"));
        let wanted = Private { root, socket, snapshotter: None, refuse_steps: None, entitlements: &[] };
        let config = private(given, &wanted).unwrap();
        let config: Table = config.parse().unwrap();
        assert_eq!(config["root"].as_str(), Some("/state"));
        assert_eq!(config["grpc"].to_string(), r#"{ address = ["unix:///run/s.sock"] }"#);
        let oci = config["worker"]["oci"].as_table().unwrap();
        assert_eq!((oci["gc"].as_bool(), oci["snapshotter"].as_str()), (Some(false), Some("native")));
        assert!(!oci.contains_key("gcpolicy"));
        assert_eq!(config["worker"]["containerd"]["enabled"].as_bool(), Some(false));
        assert_eq!(config["registry"]["docker.io"]["mirrors"][0].as_str(), Some("127.0.0.1:5000"));
    }
}
