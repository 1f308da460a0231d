//! A small registry client: manifests, small blobs, and whether a blob is there.
//!
//! **Invariant:** what it returns was read whole, is within the limit asked for, and hashes to its digest. It asks
//! the mirrors in order and then the origin, as BuildKit does. It never uploads, and knows nothing of caches.

use std::sync::Arc;

use reqwest::Method;
use reqwest::header::ACCEPT;

use super::error::{Fault, RegistryError};
use super::exchange::{Answer, Exchange, Request, Want};
use super::hosts::RegistryHosts;
use super::reference::Reference;
use crate::auth::Keychain;
use crate::digest;
use crate::retry::Policy;

/// Every manifest and index type there is a use for.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Talks to registries. Clones share connections, logins and tokens.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(super) hosts: Arc<RegistryHosts>,
    pub(super) exchange: Arc<Exchange>,
}

/// A manifest as the registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawManifest {
    /// `sha256:…` of the bytes.
    pub(crate) digest: String,
    /// The bytes themselves.
    pub(crate) bytes: Vec<u8>,
}

/// One repository on the hosts that answer for it.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(super) client: Client,
    pub(super) reference: Reference,
    pub(super) insecure: bool,
}

impl Client {
    /// A client that reaches hosts as `hosts` says and logs in with `keychain`.
    pub(crate) fn new(hosts: RegistryHosts, keychain: Keychain) -> Client {
        Client::with_policy(hosts, keychain, Policy::REGISTRY)
    }

    /// A client that reaches hosts as `hosts` says, with another patience.
    pub(crate) fn with_policy(hosts: RegistryHosts, keychain: Keychain, policy: Policy) -> Client {
        Client { hosts: Arc::new(hosts), exchange: Arc::new(Exchange::new(keychain, policy)) }
    }

    /// The repository of `reference`; `insecure` is the import's `registry.insecure=true`.
    pub(crate) fn repository(&self, reference: &Reference, insecure: bool) -> Repository {
        Repository { client: self.clone(), reference: reference.clone(), insecure }
    }
}

impl Repository {
    /// Gets a manifest by tag or digest; more than `limit` bytes are an error.
    pub(crate) async fn manifest(&self, object: &str, limit: u64) -> Result<RawManifest, RegistryError> {
        let request = Request {
            method: Method::GET,
            repository: self.reference.repository(),
            object: format!("manifests/{object}"),
            headers: vec![(ACCEPT, MANIFEST_TYPES)],
            want: Want::Body { limit, digest: object.contains(':').then_some(object) },
        };
        let answer = self.ask(&request).await?;
        let digest = digest::sha256(&answer.bytes);
        if let Some(promised) = &answer.digest
            && promised.starts_with("sha256:")
            && *promised != digest
        {
            let what = format!("the manifest's digest is {digest}, and {promised} was announced");
            return Err(RegistryError::new(&answer.host, Fault::Corrupt { what }));
        }
        Ok(RawManifest { digest, bytes: answer.bytes })
    }

    /// Gets a small blob; more than `limit` bytes are an error.
    pub(crate) async fn blob(&self, digest: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let want = Want::Body { limit, digest: Some(digest) };
        Ok(self.ask(&self.blob_request(Method::GET, digest, want)).await?.bytes)
    }

    /// Asks whether a blob is there, and for its size where the registry tells; a 404 is [`Fault::NotFound`].
    pub(crate) async fn blob_size(&self, digest: &str) -> Result<Option<u64>, RegistryError> {
        Ok(self.ask(&self.blob_request(Method::HEAD, digest, Want::Presence)).await?.length)
    }

    pub(super) fn blob_request<'a>(&'a self, method: Method, digest: &str, want: Want<'a>) -> Request<'a> {
        let repository = self.reference.repository();
        Request { method, repository, object: format!("blobs/{digest}"), headers: Vec::new(), want }
    }

    /// Asks each endpoint until one has it; else returns the error that got furthest.
    async fn ask(&self, request: &Request<'_>) -> Result<Answer, RegistryError> {
        let mut worst: Option<RegistryError> = None;
        for endpoint in self.client.hosts.endpoints(&self.reference, self.insecure) {
            match self.client.exchange.ask(&endpoint, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) if worst.as_ref().is_none_or(|worst| error.weight() > worst.weight()) => worst = Some(error),
                Err(_) => {}
            }
        }
        // The origin is always among the endpoints.
        Err(worst.unwrap_or_else(|| {
            RegistryError::new(
                self.reference.host(),
                Fault::Unreachable { cause: "there is no host to ask".into(), speaks_no_tls: false },
            )
        }))
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
