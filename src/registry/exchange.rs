//! One request to one endpoint: logged in, retried, bounded, verified.
//!
//! **Invariant:** credentials go to the endpoint that asked for them and to its token server only, and to the latter
//! never over a weaker connection than the endpoint's own. An endpoint that has once spoken TLS is never asked in the clear,
//! and every answer but a part of a blob has to be whole after [`ANSWER_TIMEOUT`]. Each request meets at most one challenge
//! with a login, renews an expired one at most once, and shows another one at most once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, Url};

use super::challenge;
use super::error::{Fault, RegistryError};
use super::hosts::{Endpoint, Scheme};
use super::token::{self, Login};
use super::transport::Transport;
use crate::auth::Keychain;
use crate::digest;
use crate::retry::{self, Policy};

/// How much of an error's body is read, in bytes.
const ERROR_BODY_LIMIT: u64 = 64 * 1024;
/// How long an answer may take until it is whole. All of them are small, but parts of blobs, which have who reads them watch.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// What is asked for.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) repository: &'a str,
    /// `manifests/…` or `blobs/…`.
    pub(super) object: String,
    pub(super) headers: Vec<(HeaderName, &'static str)>,
    pub(super) want: Want<'a>,
}

/// Which part of the answer is of interest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    /// Only that it is there.
    Presence,
    /// All of it, at most `limit` bytes, hashing to `digest` if one is given.
    Body { limit: u64, digest: Option<&'a str> },
    /// The bytes from `start` to before `end`, as they come. Who knows no ranges answers with everything.
    Part { start: u64, end: u64 },
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Who answered.
    pub(super) host: String,
    /// `Docker-Content-Digest`.
    pub(super) digest: Option<String>,
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    /// The body; empty for [`Want::Presence`].
    pub(super) bytes: Vec<u8>,
    /// The answer whose body is still to come, for [`Want::Part`].
    pub(super) coming: Option<Response>,
}

/// What all requests share: connections, and logins by (endpoint, repository).
#[derive(Debug)]
pub(super) struct Exchange {
    keychain: Keychain,
    policy: Policy,
    transport: Transport,
    logins: Mutex<HashMap<(String, String), Login>>,
    /// What the endpoints speak that may speak either, by host.
    spoken: Mutex<HashMap<String, &'static str>>,
}

impl Exchange {
    pub(super) fn new(keychain: Keychain, policy: Policy) -> Exchange {
        Exchange {
            keychain,
            policy,
            transport: Transport::default(),
            logins: Mutex::default(),
            spoken: Mutex::default(),
        }
    }

    /// Asks until there is an answer that will not change.
    pub(super) async fn ask(&self, endpoint: &Endpoint, request: &Request<'_>) -> Result<Answer, RegistryError> {
        retry::retrying(self.policy, RegistryError::retry, |_| self.once(endpoint, request)).await
    }

    /// Asks once, however it is answered; a login that is wanted is shown.
    pub(super) async fn once(&self, endpoint: &Endpoint, request: &Request<'_>) -> Result<Answer, RegistryError> {
        match endpoint.scheme {
            Scheme::Http => self.in_scheme("http", endpoint, request).await,
            Scheme::Https => self.in_scheme("https", endpoint, request).await,
            Scheme::Either => self.in_either(endpoint, request).await,
        }
    }

    /// As BuildKit does with `insecure` and `http`: in the clear only where the answer to TLS was none, or where nobody listens
    /// at the port of https.
    async fn in_either(&self, endpoint: &Endpoint, request: &Request<'_>) -> Result<Answer, RegistryError> {
        let spoken = || self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        let known = spoken().get(&endpoint.host).copied();
        let mut scheme = known.unwrap_or("https");
        let mut outcome = self.in_scheme(scheme, endpoint, request).await;
        if let (None, Err(RegistryError { fault: Fault::Unreachable { speaks_no_tls: true, .. }, .. })) =
            (known, &outcome)
        {
            scheme = "http";
            outcome = self.in_scheme(scheme, endpoint, request).await;
        }
        if !matches!(outcome, Err(RegistryError { fault: Fault::Unreachable { .. }, .. })) {
            spoken().insert(endpoint.host.clone(), scheme);
        }
        outcome
    }

    async fn in_scheme(
        &self,
        scheme: &str,
        endpoint: &Endpoint,
        request: &Request<'_>,
    ) -> Result<Answer, RegistryError> {
        let host = &endpoint.host;
        let url = url(scheme, endpoint, request)?;
        let (mut challenged, mut renewed, mut passed_over) = (false, false, false);
        loop {
            let login = self.remembered(endpoint, request.repository);
            let response = self.send(endpoint, request, &request.method, &url, login.as_ref()).await?;
            let status = response.status().as_u16();
            if status == 401 && !challenged {
                challenged = true;
                let headers = response.headers().get_all(WWW_AUTHENTICATE);
                let challenge = challenge::best(headers.iter().filter_map(|value| value.to_str().ok()));
                if let Some(challenge) = challenge {
                    let credentials = self.keychain.credentials(host).await;
                    let credentials =
                        credentials.map_err(|error| RegistryError::new(host, Fault::Credentials(error)))?;
                    let met = token::meet(&self.transport, endpoint, &url, request.repository, &challenge, credentials);
                    if let Some(login) = met.await? {
                        self.remember(endpoint, request.repository, Some(login));
                        continue;
                    }
                }
            }
            let mut error = match self.read(endpoint, request, &url, response, login.as_ref()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // What was refused need not be shown again.
            if let Fault::Denied { expired, anonymous, message, .. } = &mut error.fault {
                self.remember(endpoint, request.repository, None);
                if *expired && !renewed && self.keychain.forget(host) {
                    (renewed, challenged) = (true, false);
                    continue;
                }
                if !*anonymous && !passed_over && self.keychain.pass_over(host).await {
                    (passed_over, challenged) = (true, false);
                    continue;
                }
                if let Some(both) = self.keychain.shown(host) {
                    *message = if message.is_empty() { both.to_owned() } else { format!("{message}; {both}") };
                }
            }
            return Err(error);
        }
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        method: &Method,
        url: &Url,
        login: Option<&Login>,
    ) -> Result<Response, RegistryError> {
        let host = &endpoint.host;
        let client = match request.want {
            Want::Part { .. } => self.transport.blob_client(endpoint, host),
            _ => self.transport.client(endpoint, host),
        };
        let client = client.map_err(|error| RegistryError::new(host, Fault::Setup(error)))?;
        let mut sending = client.request(method.clone(), url.clone());
        sending = match request.want {
            Want::Part { start, end } => {
                let range = format!("bytes={start}-{}", end.saturating_sub(1));
                sending.header(RANGE, range).header(ACCEPT_ENCODING, "identity")
            }
            _ => sending.timeout(ANSWER_TIMEOUT),
        };
        for (name, value) in &request.headers {
            sending = sending.header(name, *value);
        }
        if let Some(login) = login {
            sending = sending.header(AUTHORIZATION, login.header.clone());
        }
        if matches!(request.want, Want::Presence) && method == Method::GET {
            sending = sending.header(RANGE, HeaderValue::from_static("bytes=0-0"));
        }
        sending.send().await.map_err(|error| RegistryError::of_network(host, error))
    }

    async fn read(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        url: &Url,
        response: Response,
        login: Option<&Login>,
    ) -> Result<Answer, RegistryError> {
        let host = &endpoint.host;
        let anonymous = login.is_none_or(|login| login.anonymous);
        if response.status().is_success() {
            return answer(host, response, request.want).await;
        }
        let status = response.status().as_u16();
        let redirected = response.url().origin() != url.origin();
        if request.method == Method::HEAD && (status == 403 || redirected && matches!(status, 400 | 405)) {
            // The answer to HEAD has no body to say why, and a presigned address may be good for GET only.
            let second = self.send(endpoint, request, &Method::GET, url, login).await?;
            if second.status().is_success() {
                return answer(host, second, request.want).await;
            }
            return Err(refusal(host, second, anonymous).await);
        }
        Err(refusal(host, response, anonymous).await)
    }

    fn remembered(&self, endpoint: &Endpoint, repository: &str) -> Option<Login> {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let login = logins.get(&(endpoint.host.clone(), repository.to_owned()))?;
        login.good_until.is_none_or(|until| Instant::now() < until).then(|| login.clone())
    }

    fn remember(&self, endpoint: &Endpoint, repository: &str, login: Option<Login>) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (endpoint.host.clone(), repository.to_owned());
        match login {
            Some(login) => logins.insert(key, login),
            None => logins.remove(&key),
        };
    }
}

fn url(scheme: &str, endpoint: &Endpoint, request: &Request<'_>) -> Result<Url, RegistryError> {
    let text = format!("{scheme}://{}{}/{}/{}", endpoint.host, endpoint.path, request.repository, request.object);
    let mut url = Url::parse(&text).map_err(|error| {
        RegistryError::new(&endpoint.host, Fault::Setup(anyhow::anyhow!("{text} is not an address: {error}")))
    })?;
    if let Some(origin) = &endpoint.mirror_of {
        url.query_pairs_mut().append_pair("ns", origin);
    }
    Ok(url)
}

async fn answer(host: &str, response: Response, want: Want<'_>) -> Result<Answer, RegistryError> {
    let text = |name: HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(|value| value.trim().to_owned())
    };
    let digest = text(HeaderName::from_static("docker-content-digest"));
    // The length of one byte of a blob is not the blob's.
    let partial = response.status().as_u16() == 206;
    let length = text(CONTENT_LENGTH).and_then(|text| text.parse().ok()).filter(|_| !partial);
    let bytes = match want {
        Want::Presence => Vec::new(),
        Want::Part { .. } => {
            let coming = Some(response);
            return Ok(Answer { host: host.to_owned(), digest, length, bytes: Vec::new(), coming });
        }
        Want::Body { limit, digest } => {
            let bytes = body(host, response, limit).await?;
            if let Some(digest) = digest.filter(|digest| digest.starts_with("sha256:"))
                && digest::sha256(&bytes) != digest
            {
                let what = format!("asked for {digest}, got {} bytes of {}", bytes.len(), digest::sha256(&bytes));
                return Err(RegistryError::new(host, Fault::Corrupt { what }));
            }
            bytes
        }
    };
    Ok(Answer { host: host.to_owned(), digest, length, bytes, coming: None })
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn body(host: &str, mut response: Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
    let too_large = |size| RegistryError::new(host, Fault::TooLarge { size, limit });
    if let Some(size) = response.content_length().filter(|size| *size > limit) {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| RegistryError::of_network(host, error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(too_large(bytes.len() as u64));
        }
    }
    Ok(bytes)
}

/// Reads why an answer is not what was asked for.
pub(super) async fn refusal(host: &str, mut response: Response, anonymous: bool) -> RegistryError {
    let status = response.status().as_u16();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut bytes = Vec::new();
    // As much as comes; the status alone says enough if nothing does.
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > ERROR_BODY_LIMIT {
            break;
        }
    }
    RegistryError::of_status(host, status, after.map(Duration::from_secs), &bytes, anonymous)
}
