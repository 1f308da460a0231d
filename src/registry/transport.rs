//! HTTP clients for registry endpoints, one per way of trusting.
//!
//! **Invariant:** `Authorization` never follows a redirect to another host or port (reqwest drops it, and S3 would refuse
//! it) nor one from https to http, and a request for a token follows none to another origin: its body may hold a login.
//! Knows nothing of manifests, blobs or logins.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use reqwest::{Certificate, Client, Identity, Url, redirect};

use super::hosts::{Endpoint, KeyPair, Trust, is_loopback};

/// Time for DNS, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// As Go's programs.
const MOST_REDIRECTS: usize = 10;

/// The clients of this run; connections are shared between requests to the same host.
#[derive(Debug, Default)]
pub(super) struct Transport {
    clients: Mutex<HashMap<(Trust, bool, Purpose), Client>>,
}

impl Transport {
    /// The client for requests to `host`, trusting as `endpoint` does.
    pub(super) fn client(&self, endpoint: &Endpoint, host: &str) -> anyhow::Result<Client> {
        self.client_for(Purpose::Asking, endpoint, host)
    }

    /// The client for requests to the token server of `endpoint`, which is trusted the same way.
    pub(super) fn token_client(&self, endpoint: &Endpoint, host: &str) -> anyhow::Result<Client> {
        self.client_for(Purpose::Token, endpoint, host)
    }

    /// The client for what takes many connections to `host`, which is trusted the same way.
    pub(super) fn blob_client(&self, endpoint: &Endpoint, host: &str) -> anyhow::Result<Client> {
        self.client_for(Purpose::Blobs, endpoint, host)
    }

    fn client_for(&self, purpose: Purpose, endpoint: &Endpoint, host: &str) -> anyhow::Result<Client> {
        // Go's programs never use a proxy for loopback; reqwest would.
        let direct = is_loopback(host);
        let key = (endpoint.trust.clone(), direct, purpose);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = build(&endpoint.trust, direct, purpose)
            .with_context(|| format!("could not set up TLS for {}", endpoint.host))?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// What a client is for. All redirects are followed but those to the same port without TLS, along which reqwest would send
/// the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    /// Small answers.
    Asking,
    /// A token. Only redirects to the same scheme, host and port are followed; another one is an answer like every other.
    Token,
    /// Blobs, over many connections: of HTTP/2 there would be one.
    Blobs,
}

impl Purpose {
    fn redirects(self) -> redirect::Policy {
        redirect::Policy::custom(move |attempt| {
            let (before, next) = (attempt.previous().last().cloned(), attempt.url().clone());
            let is_same = before.as_ref().is_some_and(|before| before.origin() == next.origin());
            let port = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
            let loses_tls = before.is_some_and(|before| {
                before.scheme() == "https" && next.scheme() != "https" && port(&before) == port(&next)
            });
            match self {
                _ if attempt.previous().len() > MOST_REDIRECTS => attempt.error("too many redirects"),
                Purpose::Asking | Purpose::Blobs if loses_tls => attempt.error("it redirects from https to http"),
                Purpose::Token if !is_same => attempt.stop(),
                _ => attempt.follow(),
            }
        })
    }
}

fn build(trust: &Trust, direct: bool, purpose: Purpose) -> anyhow::Result<Client> {
    let mut builder = Client::builder()
        .user_agent(concat!("cachewarm/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(purpose.redirects())
        .tls_danger_accept_invalid_certs(trust.anyone);
    if direct {
        builder = builder.no_proxy();
    }
    if purpose == Purpose::Blobs {
        builder = builder.http1_only();
    }
    let mut authorities = trust.authorities.clone();
    let mut key_pairs = trust.key_pairs.clone();
    for folder in &trust.folders {
        search(folder, &mut authorities, &mut key_pairs)?;
    }
    for path in &authorities {
        let certificates = Certificate::from_pem_bundle(&read(path)?)
            .with_context(|| format!("{} holds no PEM certificate", path.display()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    // rustls takes one client certificate; BuildKit offers them all and the server chooses.
    if let Some(KeyPair { key, cert }) = key_pairs.first() {
        let mut pem = read(key)?;
        pem.push(b'\n');
        pem.extend(read(cert)?);
        let identity = Identity::from_pem(&pem)
            .with_context(|| format!("{} and {} are not a PEM key and certificate", key.display(), cert.display()))?;
        builder = builder.identity(identity);
    }
    Ok(builder.build()?)
}

/// Docker's `certs.d` layout: `*.crt` are authorities, `*.cert` stands beside its `*.key`.
fn search(
    folder: &Path,
    authorities: &mut Vec<std::path::PathBuf>,
    key_pairs: &mut Vec<KeyPair>,
) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(_) => return Ok(()), // BuildKit passes over a folder that is missing or closed to it.
    };
    for entry in entries {
        let path = entry.with_context(|| format!("could not read {}", folder.display()))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => authorities.push(path),
            Some("cert") => key_pairs.push(KeyPair { key: path.with_extension("key"), cert: path }),
            _ => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("could not read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::hosts::RegistryHosts;
    use super::super::reference::Reference;
    use super::*;

    fn endpoint(toml: &str) -> Endpoint {
        let hosts = RegistryHosts::from_toml(toml).unwrap();
        hosts.endpoints(&Reference::parse("h.io/x").unwrap(), false).remove(0)
    }

    #[test]
    fn an_authority_that_is_missing_or_no_certificate_is_named() {
        let transport = Transport::default();
        let error = transport.client(&endpoint("[registry.'h.io']\nca = ['/nowhere/ca.pem']"), "h.io").unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/ca.pem"), "{error:#}");
        assert!(transport.client(&endpoint("[registry.'h.io']\ntlsconfigdir = ['/nowhere']"), "h.io").is_ok());
    }

    #[test]
    fn endpoints_that_trust_alike_share_a_client() {
        let transport = Transport::default();
        for host in ["a.io", "b.io", "127.0.0.1:5000"] {
            transport.client(&endpoint(""), host).unwrap();
        }
        assert_eq!(transport.clients.lock().unwrap().len(), 2);
    }
}
