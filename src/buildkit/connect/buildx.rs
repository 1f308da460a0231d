//! The builders of docker buildx, as its own files tell of them: which is meant, where it is, and whom it trusts.
//!
//! `current` and `defaults/` name the builder that was chosen for a Docker daemon, `instances/NAME` has its driver and nodes.
//! **Invariant:** reads, and never writes; buildx's lock is not taken. Source: `store` and `builder` of docker/buildx.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Builder, DockerHost, Tls, Wanted};
use crate::buildkit::Address;
use crate::digest;
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The builder that every Docker daemon has, under the name of its context.
const DEFAULT: &str = "default";
/// Characters of the hash that names a file of `defaults/`.
const HASH: usize = 20;

/// `current`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Current {
    key: String,
    name: String,
    global: bool,
}

/// `instances/NAME`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    #[serde(default)]
    driver: String,
    nodes: Option<Vec<Node>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    name: String,
    #[serde(default)]
    endpoint: String,
    driver_opts: Option<BTreeMap<String, String>>,
}

/// Where a builder is, and how it is reached.
#[derive(Debug)]
struct Place {
    address: Address,
    docker: DockerHost,
    tls: Tls,
}

/// The name of the builder that a person has chosen, and how; none where it is the Docker daemon's own.
///
/// # Errors
/// Explained: buildx's files cannot be read.
pub(super) fn chosen(docker: &DockerHost) -> anyhow::Result<Option<(String, &'static str)>> {
    if let Some(name) = &docker.builder {
        return Ok(Some((name.clone(), "BUILDX_BUILDER")));
    }
    let Some(folder) = &docker.buildx else { return Ok(None) };
    let key = match docker.context_name()? {
        Some(name) if docker.host.is_none() => name,
        _ => docker.host.clone().unwrap_or_else(|| DEFAULT_HOST.to_owned()),
    };
    let current: Current = read(&folder.join("current"))?.unwrap_or_default();
    let is_there = |name: &String| is_name(name) && folder.join("instances").join(name).is_file();
    if current.global && is_there(&current.name) {
        return Ok(Some((current.name, "docker buildx use --global")));
    }
    if !current.name.is_empty() && current.key == key {
        return Ok(Some((current.name, "docker buildx use")).filter(|(name, _)| is_there(name)));
    }
    let hash = digest::sha256(&key).trim_start_matches("sha256:").chars().take(HASH).collect::<String>();
    let default = std::fs::read_to_string(folder.join("defaults").join(hash)).ok();
    Ok(default.filter(is_there).map(|name| (name, "docker buildx use --default")))
}

impl Builder {
    /// The one node of a builder of buildx.
    pub(super) async fn of_buildx(name: &str, wanted: &Wanted, events: &Events) -> anyhow::Result<Builder> {
        let what = format!("could not use the builder {name} of docker buildx");
        let place = place(name, wanted)?;
        let wanted = Wanted { docker: place.docker, tls: place.tls, create: None, ..wanted.clone() };
        let reached = Builder::at(&place.address, &wanted, events).await;
        reached.map_err(|error| {
            let hint = format!("`docker buildx inspect --bootstrap {name}` starts it, or says what is wrong with it");
            Failure::because(error, Kind::Environment, what, hint)
        })
    }
}

fn place(name: &str, wanted: &Wanted) -> anyhow::Result<Place> {
    let what = format!("could not use the builder {name} of docker buildx");
    let unusable = |why: String, hint: String| Failure::new(Kind::Usage, format!("{what}: {why}"), hint);
    let folder = wanted.docker.buildx.as_deref().filter(|_| is_name(name));
    let instance: Option<Instance> = match folder {
        Some(folder) => read(&folder.join("instances").join(name))?,
        None => None,
    };
    let Some(instance) = instance else {
        // Each context of docker's is a builder under its name.
        let docker = context(name, &wanted.docker);
        docker.endpoint().map_err(|error| {
            let what = format!("docker buildx has no builder {name}, nor has docker a context of that name");
            Failure::because(error, Kind::Usage, what, "`docker buildx ls` lists the builders that there are")
        })?;
        return Ok(Place { address: Address::Docker, docker, tls: wanted.tls.clone() });
    };
    let nodes = instance.nodes.unwrap_or_default();
    let [node] = nodes.as_slice() else {
        let own = |node: &Node| match instance.driver.as_str() {
            "remote" => node.endpoint.clone(),
            _ => format!("docker-container://{}", container(node)),
        };
        let own = nodes.iter().map(own).collect::<Vec<_>>().join(", ");
        let hint = format!("warm one after the other, each by its own address: --builder {own}");
        return Err(unusable(format!("it has {} nodes", nodes.len()), hint));
    };
    let options = node.driver_opts.clone().unwrap_or_default();
    let mut tls = wanted.tls.clone();
    let (address, docker) = match instance.driver.as_str() {
        "docker-container" => (Address::Container(container(node)), context(&node.endpoint, &wanted.docker)),
        "docker" => (Address::Docker, context(&node.endpoint, &wanted.docker)),
        "remote" => {
            let file = |name: &str, given: Option<PathBuf>| given.or_else(|| options.get(name).map(PathBuf::from));
            tls = Tls {
                authority: file("cacert", tls.authority),
                certificate: file("cert", tls.certificate),
                key: file("key", tls.key),
                server_name: tls.server_name.or_else(|| options.get("servername").cloned()),
                may_be_plain: tls.may_be_plain,
            };
            let address = node
                .endpoint
                .parse()
                .map_err(|why| unusable(why, "name the builder itself with --builder".to_owned()))?;
            (address, wanted.docker.clone())
        }
        driver => {
            let hint = match driver {
                "kubernetes" => "name each of its pods: --builder kube-pod://NAME?namespace=NAMESPACE&context=CONTEXT",
                _ => "name a builder of the drivers docker, docker-container or remote with --builder",
            };
            let hint = hint.to_owned();
            return Err(unusable(format!("it has the driver `{driver}`, which is not supported"), hint));
        }
    };
    Ok(Place { address, docker, tls })
}

/// The container of a node.
fn container(node: &Node) -> String {
    format!("buildx_buildkit_{}", node.name)
}

/// The Docker daemon that a node names: an address, or a context of docker's.
fn context(endpoint: &str, docker: &DockerHost) -> DockerHost {
    let mut docker = docker.clone();
    match endpoint {
        "" => {}
        host if host.contains("://") => docker.host = Some(host.to_owned()),
        // What docker's own client goes by where nobody names a context.
        DEFAULT if docker.host.is_some() => {}
        name => (docker.host, docker.context) = (None, Some(name.to_owned())),
    }
    docker
}

/// As buildx has them; no other names a file.
fn is_name(name: &str) -> bool {
    let rest = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.chars().all(rest)
}

fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<Option<T>> {
    let read = || -> anyhow::Result<Option<T>> {
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).context("it is not JSON of buildx"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let what = format!("could not read docker buildx's file {}", file.display());
    read().explain(Kind::Environment, what, "name a builder with --builder, or repair it (`docker buildx ls`)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker(folder: &Path) -> DockerHost {
        DockerHost { buildx: Some(folder.to_owned()), host: Some("tcp://h:1".into()), ..DockerHost::default() }
    }

    fn instance(folder: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(folder.join("instances")).unwrap();
        std::fs::write(folder.join("instances").join(name), text).unwrap();
    }

    #[test]
    fn the_builder_that_is_meant_is_the_one_that_was_chosen_for_this_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let current = |text: &str| std::fs::write(folder.path().join("current"), text).unwrap();
        let meant = |docker: &DockerHost| chosen(docker).unwrap().map(|(name, _)| name);
        let mut docker = docker(folder.path());
        assert_eq!(meant(&docker), None);
        instance(folder.path(), "mine", "{}");
        current(r#"{"Key":"tcp://h:1","Name":"mine","Global":false}"#);
        assert_eq!(meant(&docker).as_deref(), Some("mine"));
        current(r#"{"Key":"tcp://other:1","Name":"mine","Global":false}"#);
        assert_eq!(meant(&docker), None);
        // printf tcp://h:1 | sha256sum
        let hash = &digest::sha256("tcp://h:1")["sha256:".len()..][..HASH];
        std::fs::create_dir(folder.path().join("defaults")).unwrap();
        std::fs::write(folder.path().join("defaults").join(hash), "mine").unwrap();
        assert_eq!(meant(&docker).as_deref(), Some("mine"));
        current(r#"{"Key":"tcp://h:1","Name":"gone","Global":false}"#);
        assert_eq!(meant(&docker), None);
        current(r#"{"Key":"tcp://h:1","Name":"../../etc/passwd","Global":true}"#);
        assert_eq!(meant(&docker), None);
        current("{");
        assert!(chosen(&docker).unwrap_err().to_string().contains("current"));
        docker.builder = Some("theirs".into());
        assert_eq!(meant(&docker).as_deref(), Some("theirs"));
    }
}
