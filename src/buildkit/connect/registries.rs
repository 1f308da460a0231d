//! How the builder that is wanted will reach registries, for whoever asks them before there is one.

use std::path::Path;

use super::docker::Engine;
use super::{Address, USUAL_SOCKET, Wanted, config};
use crate::registry::RegistryHosts;

/// The registries of a configuration that was named, of dockerd where its BuildKit is meant, else of the machine's buildkitd.
///
/// # Errors
/// Explained: a configuration that cannot be read; a dockerd that does not answer.
pub(crate) async fn registries(wanted: &Wanted, hosts: &[&str]) -> anyhow::Result<RegistryHosts> {
    if hosts.is_empty() && wanted.config.is_none() {
        return Ok(RegistryHosts::default());
    }
    let machine = config::of_machine(wanted.config.as_deref());
    let docker = || Engine::connect(&wanted.docker, wanted.tls.may_be_plain);
    let home = wanted.docker.config.as_deref().and_then(Path::parent);
    match (&wanted.address, machine) {
        (Address::Docker, _) if wanted.config.is_none() => docker().await?.registries(hosts, home).await,
        (_, Some(file)) => RegistryHosts::of_file(file),
        // With nothing else to be found it comes to dockerd.
        (Address::Auto, None) if wanted.buildkit_host.is_none() && !Path::new(USUAL_SOCKET).exists() => {
            match docker().await {
                Ok(engine) => engine.registries(hosts, home).await,
                Err(_) => Ok(RegistryHosts::default()),
            }
        }
        _ => Ok(RegistryHosts::default()),
    }
}
