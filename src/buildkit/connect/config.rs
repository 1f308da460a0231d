//! The configuration of a buildkitd we start: the person's own file with what a private daemon needs changed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use toml::{Table, Value};

use crate::failure::{Explain, Kind};

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
    /// Whether it removes what its configuration lets it remove.
    pub(super) collects_garbage: bool,
    /// A directory for a runc that refuses every step; without it, steps run.
    pub(super) refuse_steps: Option<&'p Path>,
    /// What it lets builds be granted, beside what its own configuration lets.
    pub(super) entitlements: &'p [String],
}

/// The text of a buildkitd.toml; none is an empty one.
///
/// # Errors
/// Explained: it cannot be read.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<String> {
    let Some(file) = file else { return Ok(String::new()) };
    std::fs::read_to_string(file).explain(
        Kind::Usage,
        format!("could not read the buildkitd configuration {}", file.display()),
        "name a readable file with --buildkitd-config",
    )
}

/// Changes `given` (the text of a buildkitd.toml) as a private daemon needs it.
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
    // The usual place of this one is the same for every daemon of a machine, and the last to start takes it over.
    let traces = private.socket.with_file_name("traces.sock");
    config.insert("otel".into(), Value::Table(Table::from_iter([("socketPath".to_owned(), text(&traces))])));
    let granted = config.entry("insecure-entitlements").or_insert_with(|| Value::Array(Vec::new()));
    let granted = granted.as_array_mut().context("`insecure-entitlements` in the configuration is not a list")?;
    granted.extend(private.entitlements.iter().map(|entitlement| Value::String(entitlement.clone())));
    let worker = section(&mut config, "worker")?;
    let oci = section(worker, "oci")?;
    oci.insert("enabled".into(), true.into());
    if !private.collects_garbage {
        oci.insert("gc".into(), false.into());
        oci.remove("gcpolicy");
    }
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

/// Where buildkitd looks for its configuration.
pub(super) const USUAL: &str = "/etc/buildkit/buildkitd.toml";

/// The snapshotter that the configuration of a machine's daemon asks for: of `file`, else of the usual one where there is
/// one. None when that leaves it to the daemon.
///
/// # Errors
/// When it cannot be read or is not TOML.
pub(super) fn configured_snapshotter(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    snapshotter(&read(of_machine(file))?)
}

/// The configuration of a machine's daemon: `file`, else the usual one where there is one.
pub(crate) fn of_machine(file: Option<&Path>) -> Option<&Path> {
    file.or_else(|| Some(Path::new(USUAL)).filter(|usual| usual.symlink_metadata().is_ok()))
}

/// A configuration with the registries of another one.
///
/// # Errors
/// When either is not TOML.
pub(super) fn with_registries(given: &str, of: &str) -> anyhow::Result<String> {
    let mut config: Table = given.parse().context("reading the buildkitd configuration")?;
    let mut other: Table = of.parse().context("reading its configuration")?;
    if let Some(registries) = other.remove("registry") {
        config.insert("registry".into(), registries);
    }
    Ok(config.to_string())
}

/// The snapshotter that a configuration asks for; none when it leaves that to the daemon.
///
/// # Errors
/// When `given` is not TOML.
pub(super) fn snapshotter(given: &str) -> anyhow::Result<Option<String>> {
    let config: Table = given.parse().context("reading the buildkitd configuration")?;
    let oci = config.get("worker").and_then(|worker| worker.get("oci"));
    let named = oci.and_then(|oci| oci.get("snapshotter")).and_then(Value::as_str);
    Ok(named.filter(|name| !["", "auto"].contains(name)).map(str::to_owned))
}

/// Where a file of this machine has to be in a container, and the file.
pub(super) type Moved = (PathBuf, PathBuf);

/// Moves the certificates and keys that a configuration names into a directory of a container.
///
/// # Errors
/// When `given` is not TOML.
pub(super) fn with_certificates_in(given: &str, directory: &Path) -> anyhow::Result<(String, Vec<Moved>)> {
    let mut config: Table = given.parse().context("reading the buildkitd configuration")?;
    let mut moved = Vec::new();
    let mut to_there = |value: &mut Value| {
        if let Value::String(file) = value {
            let there = directory.join(format!("{}.pem", moved.len()));
            moved.push((there.clone(), PathBuf::from(&*file)));
            *value = text(&there);
        }
    };
    let hosts = config.get_mut("registry").and_then(Value::as_table_mut);
    for (_, host) in hosts.into_iter().flatten() {
        let list = host.get_mut("ca").and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(&mut to_there);
        let pairs = host.get_mut("keypair").and_then(Value::as_array_mut);
        for pair in pairs.into_iter().flatten() {
            pair.get_mut("key").into_iter().for_each(&mut to_there);
            pair.get_mut("cert").into_iter().for_each(&mut to_there);
        }
    }
    Ok((config.to_string(), moved))
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
        let wanted =
            Private { root, socket, snapshotter: None, collects_garbage: false, refuse_steps: None, entitlements: &[] };
        assert_eq!(snapshotter(given).unwrap().as_deref(), Some("native"));
        assert_eq!(snapshotter("[worker.oci]\nsnapshotter = 'auto'").unwrap(), None);
        let config = private(given, &wanted).unwrap();
        let config: Table = config.parse().unwrap();
        assert_eq!(config["root"].as_str(), Some("/state"));
        assert_eq!(config["grpc"].to_string(), r#"{ address = ["unix:///run/s.sock"] }"#);
        assert_eq!(config["otel"].to_string(), r#"{ socketPath = "/run/traces.sock" }"#);
        let oci = config["worker"]["oci"].as_table().unwrap();
        assert_eq!((oci["gc"].as_bool(), oci["snapshotter"].as_str()), (Some(false), Some("native")));
        assert!(!oci.contains_key("gcpolicy"));
        assert_eq!(config["worker"]["containerd"]["enabled"].as_bool(), Some(false));
        assert_eq!(config["registry"]["docker.io"]["mirrors"][0].as_str(), Some("127.0.0.1:5000"));
    }

    #[test]
    fn certificates_follow_into_a_container() {
        let given = r#"
            [registry."r"]
            ca = ["/etc/ca.pem"]
            [[registry."r".keypair]]
            key = "/etc/key.pem"
            cert = "/etc/cert.pem"
            [registry."plain"]
            http = true
        "#;
        let (config, moved) = with_certificates_in(given, Path::new("/c")).unwrap();
        let config: Table = config.parse().unwrap();
        assert_eq!(config["registry"]["r"]["ca"][0].as_str(), Some("/c/0.pem"));
        assert_eq!(config["registry"]["r"]["keypair"][0]["cert"].as_str(), Some("/c/2.pem"));
        assert_eq!(config["registry"]["plain"]["http"].as_bool(), Some(true));
        let expected = [("/c/0.pem", "/etc/ca.pem"), ("/c/1.pem", "/etc/key.pem"), ("/c/2.pem", "/etc/cert.pem")];
        assert_eq!(moved, expected.map(|(there, here)| (PathBuf::from(there), PathBuf::from(here))));
        assert!(with_certificates_in("[", Path::new("/c")).is_err());
    }
}
