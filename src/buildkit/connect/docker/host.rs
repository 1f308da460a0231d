//! Which Docker daemon, and a connection to it: found as docker's own client finds it.
//!
//! `DOCKER_HOST` counts first, then the context (`DOCKER_CONTEXT`, else the current one of docker's configuration), then
//! the usual socket. A context is `contexts/meta/ID/meta.json` in the folder of docker's configuration, its certificates
//! are in `contexts/tls/ID/docker`, and ID is the SHA-256 of its name. Source: `cli/context/store` of docker/cli.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::auth::DockerConfig;
use crate::digest;
use crate::failure::{Explain, Failure, Kind};
use crate::foreign;
use crate::registry::is_loopback;

const USUAL_SOCKET: &str = "/var/run/docker.sock";
/// The context that stands for no context.
const NO_CONTEXT: &str = "default";
/// Bytes of the largest description of a context that is read.
const LARGEST_META: u64 = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// What docker's client calls every daemon that it reaches over ssh.
const OVER_SSH: &str = "http://docker.example.com";
const HINT: &str = "set DOCKER_HOST to unix:///PATH or tcp://HOST:PORT, or choose another context with DOCKER_CONTEXT";

/// What docker's own client would go by.
#[derive(Debug, Clone, Default)]
pub(crate) struct DockerHost {
    /// `DOCKER_HOST`.
    pub(crate) host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub(crate) context: Option<String>,
    /// The folder of docker's configuration: `DOCKER_CONFIG`, else `~/.docker`.
    pub(crate) config: Option<PathBuf>,
    /// `DOCKER_TLS_VERIFY`: TLS with the daemon on TCP.
    pub(crate) tls: bool,
    /// `DOCKER_CERT_PATH`: the folder of `ca.pem`, `cert.pem` and `key.pem`; docker's configuration when absent.
    pub(crate) certificates: Option<PathBuf>,
    /// The folder of buildx's builders: `BUILDX_CONFIG`, else `buildx` in docker's configuration.
    pub(crate) buildx: Option<PathBuf>,
    /// `BUILDX_BUILDER`.
    pub(crate) builder: Option<String>,
}

/// Where a Docker daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::buildkit::connect) enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// `HOST:PORT`, and the folder of the certificates if there is TLS.
    Tcp { host: String, port: u16, certificates: Option<PathBuf> },
}

/// A connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Endpoints")]
    endpoints: BTreeMap<String, MetaEndpoint>,
}

#[derive(Deserialize)]
struct MetaEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

impl DockerHost {
    /// Where the daemon is.
    ///
    /// # Errors
    /// Explained: a context that is not there, an address of a kind that we do not speak.
    pub(in crate::buildkit::connect) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        if let Some(host) = &self.host {
            let certificates = self.certificates.clone().or_else(|| self.config.clone()).filter(|_| self.tls);
            return Endpoint::parse(host, certificates).map_err(anyhow::Error::msg).explain(
                Kind::Usage,
                format!("could not use DOCKER_HOST={host}"),
                HINT,
            );
        }
        match self.context_name()? {
            Some(name) => self.of_context(&name),
            None => Ok(Endpoint::Unix(USUAL_SOCKET.into())),
        }
    }

    /// What docker's client calls the daemon: the key of the proxies for it in docker's configuration.
    ///
    /// # Errors
    /// Explained: a context that is not there.
    pub(crate) fn name(&self) -> anyhow::Result<String> {
        if let Some(host) = &self.host {
            return Ok(name_of(host.trim()));
        }
        Ok(match self.context_name()?.map(|name| self.meta(&name)).transpose()? {
            Some(meta) if meta.host.starts_with("ssh://") => OVER_SSH.to_owned(),
            Some(meta) if !meta.host.is_empty() => meta.host,
            _ => format!("unix://{USUAL_SOCKET}"),
        })
    }

    /// The context that is meant, if any.
    pub(in crate::buildkit::connect) fn context_name(&self) -> anyhow::Result<Option<String>> {
        let name = match (&self.context, &self.config) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(folder)) => DockerConfig::read(folder)?.current_context,
            (None, None) => None,
        };
        Ok(name.filter(|name| !name.is_empty() && name != NO_CONTEXT))
    }

    fn of_context(&self, name: &str) -> anyhow::Result<Endpoint> {
        let endpoint = self.meta(name)?;
        let certificates = self.of_contexts("tls", name).map(|folder| folder.join("docker"));
        let parsed = match endpoint.skip_tls_verify {
            true => Err("it does not verify the daemon's certificate, and we always do".to_owned()),
            false => Endpoint::parse(&endpoint.host, certificates.filter(|folder| folder.is_dir())),
        };
        parsed.map_err(anyhow::Error::msg).explain(Kind::Usage, unusable(name), HINT)
    }

    /// What a context says of its daemon.
    fn meta(&self, name: &str) -> anyhow::Result<MetaEndpoint> {
        let read = || {
            let folder = self.of_contexts("meta", name).context("there is no folder of docker's configuration")?;
            let path = folder.join("meta.json");
            let bytes = File::open(&path).map_err(Into::into).and_then(|file| foreign::read(file, LARGEST_META));
            let bytes = bytes.with_context(|| format!("reading {}", path.display()))?;
            let mut meta: Meta =
                serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))?;
            meta.endpoints.remove("docker").context("it has no Docker endpoint")
        };
        read().explain(Kind::Usage, unusable(name), HINT)
    }

    /// Where docker keeps something of a context.
    fn of_contexts(&self, what: &str, name: &str) -> Option<PathBuf> {
        let id = digest::sha256(name);
        let folder = self.config.as_ref()?.join("contexts").join(what);
        Some(folder.join(id.trim_start_matches("sha256:")))
    }
}

fn unusable(context: &str) -> String {
    format!("could not use the docker context `{context}`")
}

/// An address as docker's client completes it (`opts/hosts.go` of docker/cli).
fn name_of(address: &str) -> String {
    let (kind, place) = address.split_once("://").unwrap_or(("tcp", address));
    match kind {
        "ssh" => OVER_SSH.to_owned(),
        "unix" if place.is_empty() => format!("unix://{USUAL_SOCKET}"),
        "tcp" => {
            let (place, path) = place.split_at(place.find('/').unwrap_or(place.len()));
            let parts = place.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
            let (host, port) = parts.unwrap_or((place, ""));
            let or = |text: &str, usual: &str| if text.is_empty() { usual.to_owned() } else { text.to_owned() };
            format!("tcp://{}:{}{path}", or(host, "localhost"), or(port, "2375"))
        }
        _ => address.to_owned(),
    }
}

impl Endpoint {
    fn parse(text: &str, certificates: Option<PathBuf>) -> Result<Endpoint, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Endpoint::Unix(path.into())),
                false => Err(format!("`{text}` needs an absolute path")),
            };
        }
        if text.starts_with("ssh://") {
            return Err("Docker over ssh is not supported: run cachewarm on that machine, or forward its socket".into());
        }
        let Some(place) = text.strip_prefix("tcp://") else { return Err(format!("`{text}` is no address of Docker")) };
        let usual = if certificates.is_some() { 2376 } else { 2375 };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("`{port}` is not a port"))?)
            }
            _ => (place, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.is_empty() || host.contains(['/', '@', ' ']) {
            true => Err(format!("`{text}` names no host")),
            false => Ok(Endpoint::Tcp { host: host.into(), port, certificates }),
        }
    }

    /// Whether anyone on the way could read and change what is said.
    pub(super) fn is_exposed(&self) -> bool {
        matches!(self, Endpoint::Tcp { host, certificates: None, .. } if !is_loopback(host))
    }

    /// Opens a connection.
    pub(super) async fn dial(&self) -> io::Result<Box<dyn Io>> {
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.dial_patiently()).await;
        dialled.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")))
    }

    async fn dial_patiently(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Endpoint::Tcp { host, port, certificates } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                let Some(folder) = certificates else { return Ok(Box::new(stream)) };
                let config = tls(folder).map_err(io::Error::other)?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
            }
        }
    }

    /// Says why a connection could not be opened.
    pub(super) fn unreached(&self, error: io::Error) -> anyhow::Error {
        let hint = match (self, error.kind()) {
            (Endpoint::Unix(path), io::ErrorKind::PermissionDenied) => {
                format!("run as root, or as a member of the group {}", group_of(path))
            }
            (Endpoint::Unix(_), _) => {
                "start Docker (`systemctl start docker`), or set DOCKER_HOST to where it is".to_owned()
            }
            (Endpoint::Tcp { .. }, _) => {
                "check that Docker listens there; with TLS, check DOCKER_TLS_VERIFY and the files in DOCKER_CERT_PATH"
                    .to_owned()
            }
        };
        Failure::because(error.into(), Kind::Environment, format!("could not reach Docker at {self}"), hint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// The name of the group that may use a socket, or its number.
fn group_of(socket: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let Ok(id) = std::fs::metadata(socket).map(|metadata| metadata.gid()) else { return "docker".to_owned() };
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let fields = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let named = fields.filter(|fields| fields.get(2) == Some(&id.to_string().as_str()));
    named.map(|fields| format!("`{}`", fields[0])).next().unwrap_or_else(|| id.to_string())
}

fn tls(folder: &Path) -> anyhow::Result<ClientConfig> {
    let file = |name: &str| folder.join(name);
    let read = |name: &str| format!("reading {}", file(name).display());
    let certificates = |name: &str| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let pem = CertificateDer::pem_file_iter(file(name)).with_context(|| read(name))?;
        pem.collect::<Result<_, _>>().with_context(|| read(name))
    };
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(certificates("ca.pem")?);
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).with_context(|| read("key.pem"))?;
    ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_client_auth_cert(certificates("cert.pem")?, key)
        .context("using the client's certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.into(), port, certificates: None }
    }

    #[test]
    fn addresses_are_those_of_dockers_client() {
        assert_eq!(Endpoint::parse("unix:///run/d.sock", None), Ok(Endpoint::Unix("/run/d.sock".into())));
        assert_eq!(Endpoint::parse("tcp://h", None), Ok(tcp("h", 2375)));
        assert_eq!(Endpoint::parse("tcp://[::1]", None), Ok(tcp("::1", 2375)));
        assert_eq!(
            Endpoint::parse("tcp://[::1]:5", None).map(|endpoint| endpoint.to_string()),
            Ok("tcp://[::1]:5".into())
        );
        for wrong in ["unix://x", "tcp://", "tcp://h:x", "tcp://u@h", "ssh://h", "npipe://x", ""] {
            assert!(Endpoint::parse(wrong, None).is_err(), "{wrong}");
        }
        assert!(tcp("10.0.0.1", 1).is_exposed() && !tcp("localhost", 1).is_exposed());
    }

    #[test]
    fn a_daemon_is_called_what_dockers_client_calls_it() {
        for (address, name) in [
            ("unix://", "unix:///var/run/docker.sock"),
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            (" tcp://h ", "tcp://h:2375"),
            ("h:1", "tcp://h:1"),
            ("tcp://", "tcp://localhost:2375"),
            ("tcp://:1/p", "tcp://localhost:1/p"),
            ("tcp://[::1]:5", "tcp://[::1]:5"),
            ("ssh://u@h", "http://docker.example.com"),
            ("fd://3", "fd://3"),
        ] {
            let docker = DockerHost { host: Some(address.into()), ..DockerHost::default() };
            assert_eq!(docker.name().unwrap(), name);
        }
        assert_eq!(DockerHost::default().name().unwrap(), "unix:///var/run/docker.sock");
    }

    #[test]
    fn whoever_may_not_use_the_socket_is_told_which_group_may() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = Endpoint::Unix(socket).unreached(io::ErrorKind::PermissionDenied.into());
        let hint = Failure::of(&error).unwrap().hint.clone();
        assert!(hint.starts_with("run as root, or as a member of the group `"), "{hint}");
    }

    #[test]
    fn the_environment_wins_over_the_context_and_that_over_the_usual_socket() {
        let folder = tempfile::tempdir().unwrap();
        let context = |id: &str| folder.path().join("contexts/meta").join(id);
        // printf team | sha256sum
        let id = "ca8b22d0db83a22db163b560b3e4e51527e533d31d067b614a0c33c4d2df8432";
        std::fs::create_dir_all(context(id)).unwrap();
        std::fs::write(context(id).join("meta.json"), r#"{"Name":"team","Endpoints":{"docker":{"Host":"tcp://h:1"}}}"#)
            .unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext":"team"}"#).unwrap();

        let mut docker = DockerHost { config: Some(folder.path().into()), ..DockerHost::default() };
        assert_eq!(docker.endpoint().unwrap(), tcp("h", 1));
        assert_eq!(docker.name().unwrap(), "tcp://h:1");
        docker.context = Some("default".into());
        assert_eq!(docker.endpoint().unwrap(), Endpoint::Unix(USUAL_SOCKET.into()));
        docker.context = Some("absent".into());
        assert!(format!("{:#}", docker.endpoint().unwrap_err()).contains("the docker context `absent`"));
        assert!(format!("{:#}", docker.name().unwrap_err()).contains("the docker context `absent`"));
        docker.host = Some("unix:///run/d.sock".into());
        assert_eq!(docker.endpoint().unwrap(), Endpoint::Unix("/run/d.sock".into()));
    }
}
