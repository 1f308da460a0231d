//! Builders behind the Docker API: a buildkitd in a container, and the one inside dockerd itself.
//!
//! [`host`] finds the daemon, [`Engine`] is how we talk to it. [`container`] finds a container or has [`mod@create`] make
//! one, and speaks to its buildkitd over [`exec`]; [`embedded`] speaks to dockerd's own BuildKit.

mod container;
mod create;
mod embedded;
mod exec;
mod host;
mod image;
mod owner;
mod registries;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::failure::{Failure, Kind};
use host::Endpoint;

pub(super) use container::Container;
pub(crate) use create::Create;
pub(super) use create::{Plan, create};
pub(super) use embedded::dial as dial_embedded;
pub(crate) use host::DockerHost;

/// Seconds a request may take that is answered at once or not at all; stopping a container is the longest.
const TIMEOUT: u64 = 120;

/// A Docker daemon that answered.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    endpoint: Endpoint,
    /// What it says of itself: `Docker 20.10.24`.
    pub(super) version: String,
    pub(super) is_podman: bool,
}

impl Engine {
    /// Reaches the daemon and agrees on a version of the API.
    ///
    /// # Errors
    /// Explained: nobody listens there, we may not, it is exposed and that was not said to be fine.
    pub(super) async fn connect(host: &DockerHost, may_be_exposed: bool) -> anyhow::Result<Engine> {
        let endpoint = host.endpoint()?;
        if endpoint.is_exposed() && !may_be_exposed {
            return Err(Failure::new(
                Kind::Usage,
                format!("could not use Docker at {endpoint}: without TLS anyone on the way could read and change it"),
                "set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, or give --insecure-tcp where the network is to be trusted",
            ));
        }
        // A connection of our own first: its error says more than a client's.
        endpoint.dial().await.map_err(|error| endpoint.unreached(error))?;
        let what = format!("could not talk to Docker at {endpoint}");
        let explained = |error: Error| {
            let hint = "check that a Docker daemon of 20.10 or later listens there";
            Failure::because(error.into(), Kind::Environment, what.as_str(), hint)
        };
        let docker = client(&endpoint).map_err(explained)?.negotiate_version().await.map_err(explained)?;
        let version = docker.version().await.map_err(explained)?;
        let components = version.components.unwrap_or_default();
        let is_podman = components.iter().any(|component| component.name.contains("Podman"));
        let name = if is_podman { "Podman" } else { "Docker" };
        let version = format!("{name} {}", version.version.unwrap_or_default());
        Ok(Engine { docker, endpoint, version, is_podman })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        self.endpoint.to_string()
    }

    /// Whether its paths are those of this machine.
    pub(super) fn is_here(&self) -> bool {
        matches!(self.endpoint, Endpoint::Unix(_))
    }
}

fn client(endpoint: &Endpoint) -> Result<Docker, Error> {
    match endpoint {
        Endpoint::Unix(path) => Docker::connect_with_unix(&path.to_string_lossy(), TIMEOUT, API_DEFAULT_VERSION),
        Endpoint::Tcp { certificates: None, .. } => {
            Docker::connect_with_http(&endpoint.to_string(), TIMEOUT, API_DEFAULT_VERSION)
        }
        Endpoint::Tcp { certificates: Some(folder), .. } => {
            let file = |name| folder.join(name);
            let (key, certificate, authority) = (file("key.pem"), file("cert.pem"), file("ca.pem"));
            let address = endpoint.to_string();
            Docker::connect_with_ssl(&address, &key, &certificate, &authority, TIMEOUT, API_DEFAULT_VERSION)
        }
    }
}

/// Explains its refusal of something that it has to be able to do.
fn refused(error: Error, what: String, hint: &str) -> anyhow::Error {
    Failure::because(error.into(), Kind::Environment, what, hint)
}

/// Whether Docker says that there is no such thing.
fn is_absent(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}
