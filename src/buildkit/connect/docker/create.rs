//! A container with a buildkitd of our own on a state root of Docker's machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
};

use super::container::Container;
use super::{Engine, image, owner, refused};
use crate::auth::Keychain;
use crate::buildkit::connect::config::{self, Private};
use crate::buildkit::connect::state_root::{self, USUAL};
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};

const CONFIG: &str = "/etc/buildkit/buildkitd.toml";
const CERTIFICATES: &str = "/etc/buildkit/certs";
/// Where buildctl looks for the daemon.
const SOCKET: &str = "/run/buildkit/buildkitd.sock";
const CGROUPS: &str = "/sys/fs/cgroup";
/// What runc says where the machine itself lacks one of the capabilities of a privileged container.
const NO_CAPABILITIES: &str = "unable to apply caps";

/// What a container that has to be created is like.
#[derive(Debug, Clone)]
pub(crate) struct Create {
    /// `--buildkit-image`.
    pub(crate) image: String,
    /// `--builder-restart`.
    pub(crate) restart: Restart,
    /// `--keep-builder`: it stays, and collects garbage as its configuration says.
    pub(crate) keep: bool,
    /// The logins at the image's registry.
    pub(crate) keychain: Keychain,
}

/// When Docker starts it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restart {
    name: RestartPolicyNameEnum,
    attempts: Option<i64>,
}

impl FromStr for Restart {
    type Err = String;

    /// As `docker run --restart` takes it.
    fn from_str(text: &str) -> Result<Restart, String> {
        let (name, attempts) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let name = match (name, attempts) {
            ("no", None) => RestartPolicyNameEnum::NO,
            ("always", None) => RestartPolicyNameEnum::ALWAYS,
            ("unless-stopped", None) => RestartPolicyNameEnum::UNLESS_STOPPED,
            ("on-failure", _) => RestartPolicyNameEnum::ON_FAILURE,
            _ => return Err(format!("`{text}` is not a restart policy")),
        };
        let attempts =
            attempts.map(str::parse).transpose().map_err(|_| format!("`{text}` does not end with a number"))?;
        Ok(Restart { name, attempts })
    }
}

/// Everything a container is made from.
pub(in crate::buildkit::connect) struct Plan<'p> {
    /// Its name.
    pub(in crate::buildkit::connect) name: &'p str,
    /// The state root on Docker's machine.
    pub(in crate::buildkit::connect) root: &'p Path,
    /// A buildkitd.toml to start from.
    pub(in crate::buildkit::connect) config: Option<&'p Path>,
    /// What it lets builds be granted.
    pub(in crate::buildkit::connect) entitlements: &'p [String],
    /// The rest.
    pub(in crate::buildkit::connect) create: &'p Create,
}

/// Creates and starts the container; its buildkitd may take a while to answer.
///
/// # Errors
/// Explained: the state root cannot be used or is in use, the image cannot be had, Docker refuses.
pub(in crate::buildkit::connect) async fn create(
    engine: &Engine,
    plan: &Plan<'_>,
    events: &Events,
) -> anyhow::Result<Container> {
    let root = plan.root.to_str().filter(|root| !root.contains(':')).ok_or_else(|| {
        let what = format!("could not mount the state root {} in a container", plan.root.display());
        Failure::new(Kind::Usage, what, "name a directory without a colon with --root; Docker does not take others")
    })?;
    if engine.is_here() {
        state_root::prepare(plan.root)?;
        if !state_root::becomes_free(plan.root).await? {
            return Err(state_root::held(plan.root, "docker-container://NAME or unix://SOCKET"));
        }
    }
    let archive = files(plan)?;
    image::ensure(engine, &plan.create.image, &plan.create.keychain, events).await?;
    let started = start(engine, plan, archive.clone(), privileged(root)).await;
    let error = match started {
        Err(error) if format!("{error:#}").contains(NO_CAPABILITIES) => error,
        started => return started,
    };
    tracing::debug!("a privileged container did not start: {error:#}");
    events.note("builder: this machine cannot give a container all privileges; it gets all but SYS_RESOURCE");
    start(engine, plan, archive, all_but_resources(root)).await
}

/// As buildx has it, on the host's network.
fn privileged(root: &str) -> HostConfig {
    HostConfig {
        privileged: Some(true),
        network_mode: Some("host".to_owned()),
        binds: Some(vec![format!("{root}:{USUAL}")]),
        ..HostConfig::default()
    }
}

/// What comes closest to privileged where the machine's own bounding set lacks CAP_SYS_RESOURCE.
fn all_but_resources(root: &str) -> HostConfig {
    let unconfined = ["seccomp=unconfined", "apparmor=unconfined"];
    HostConfig {
        privileged: None,
        cap_add: Some(vec!["ALL".to_owned()]),
        cap_drop: Some(vec!["SYS_RESOURCE".to_owned()]),
        security_opt: Some(unconfined.map(str::to_owned).to_vec()),
        // What docker's client makes of `systempaths=unconfined`.
        masked_paths: Some(Vec::new()),
        readonly_paths: Some(Vec::new()),
        binds: Some(vec![format!("{root}:{USUAL}"), format!("{CGROUPS}:{CGROUPS}")]),
        ..privileged(root)
    }
}

async fn start(engine: &Engine, plan: &Plan<'_>, archive: Vec<u8>, host: HostConfig) -> anyhow::Result<Container> {
    let Create { image, restart, keep, .. } = plan.create;
    let policy = RestartPolicy { name: Some(restart.name), maximum_retry_count: restart.attempts };
    let owner = (owner::LABEL.to_owned(), owner::ourselves());
    let body = ContainerCreateBody {
        image: Some(image.clone()),
        cmd: Some(vec!["--config".to_owned(), CONFIG.to_owned()]),
        labels: Some(HashMap::from_iter((!keep).then_some(owner))),
        host_config: Some(HostConfig { restart_policy: Some(policy), ..host }),
        ..ContainerCreateBody::default()
    };
    let what = |verb: &str| format!("could not {verb} the container {} from {image}", plan.name);
    let hint = "see what Docker says";
    let explained = |error: Error, verb: &str| refused(error, what(verb), hint);
    let options = CreateContainerOptionsBuilder::default().name(plan.name).build();
    engine.docker.create_container(Some(options), body).await.map_err(|error| explained(error, "create"))?;
    // From here on a failure removes it, also one that is to be kept.
    let container = Container::new(engine, plan.name.to_owned(), true);
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    let uploaded = engine.docker.upload_to_container(plan.name, Some(options), bollard::body_full(archive.into()));
    uploaded.await.map_err(|error| explained(error, "configure"))?;
    let started = engine.docker.start_container(plan.name, None::<StartContainerOptions>).await;
    started.map_err(|error| explained(error, "start"))?;
    Ok(container)
}

/// The daemon's configuration and the certificates it names, as an archive for `/`.
fn files(plan: &Plan<'_>) -> anyhow::Result<Vec<u8>> {
    let given = config::read(plan.config)?;
    let private = Private {
        root: Path::new(USUAL),
        socket: Path::new(SOCKET),
        snapshotter: None,
        collects_garbage: plan.create.keep,
        refuse_steps: None,
        entitlements: plan.entitlements,
    };
    let (what, hint) = ("could not use the buildkitd configuration", "correct the file that --buildkitd-config names");
    let made = config::private(&given, &private).explain(Kind::Usage, what, hint)?;
    let (made, certificates) =
        config::with_certificates_in(&made, Path::new(CERTIFICATES)).explain(Kind::Usage, what, hint)?;
    let mut contents: Vec<(PathBuf, Vec<u8>)> = vec![(CONFIG.into(), made.into_bytes())];
    for (there, here) in certificates {
        let bytes = std::fs::read(&here);
        let what = format!("could not read {}, which the buildkitd configuration names", here.display());
        contents.push((there, bytes.explain(Kind::Usage, what, hint)?));
    }
    archive(&contents).context("packing the configuration of buildkitd")
}

/// Files as a tar archive, readable by root alone: keys are among them.
fn archive(files: &[(PathBuf, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, path.strip_prefix("/").unwrap_or(path), contents.as_slice())?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_dockers() {
        let policy = |text: &str| text.parse::<Restart>().map(|restart| (restart.name, restart.attempts));
        assert_eq!(policy("unless-stopped"), Ok((RestartPolicyNameEnum::UNLESS_STOPPED, None)));
        assert_eq!(policy("on-failure:3"), Ok((RestartPolicyNameEnum::ON_FAILURE, Some(3))));
        for wrong in ["", "never", "always:3", "on-failure:x"] {
            assert!(policy(wrong).is_err(), "{wrong}");
        }
    }
}
