//! Meeting a challenge: Basic from the credentials at hand, Bearer from the token server the registry names.
//!
//! **Invariant:** credentials are sent to a token server only over TLS, unless the registry itself is spoken to in
//! the clear, and never to where a token server redirects. Source: the distribution project's token and OAuth 2 specifications.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::error::{Fault, RegistryError};
use super::exchange::{ANSWER_TIMEOUT, body, refusal};
use super::hosts::Endpoint;
use super::transport::Transport;
use crate::auth::{Credentials, Secret};

/// Token answers are small.
const TOKEN_LIMIT: u64 = 1024 * 1024;
/// What a token lives when its server does not say, by specification.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// An `Authorization` header and how long it is good for.
#[derive(Debug, Clone)]
pub(super) struct Login {
    /// Marked as sensitive: it does not print.
    pub(super) header: HeaderValue,
    /// `None`: until it is refused.
    pub(super) good_until: Option<Instant>,
    /// It is a token for anybody; we had no credentials to show for it.
    pub(super) anonymous: bool,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<u64>,
}

/// Meets `challenge`, which `endpoint` answered to a request for `asked`. `None` when we have nothing to show.
pub(super) async fn meet(
    transport: &Transport,
    endpoint: &Endpoint,
    asked: &Url,
    repository: &str,
    challenge: &Challenge,
    credentials: Option<Credentials>,
) -> Result<Option<Login>, RegistryError> {
    match (challenge, credentials) {
        // An identity token is no password.
        (Challenge::Basic, Some(credentials)) if !credentials.username.is_empty() => {
            Ok(Some(Login { header: sensitive(endpoint, &basic(&credentials))?, good_until: None, anonymous: false }))
        }
        (Challenge::Basic, _) => Ok(None),
        (Challenge::Bearer { realm, service, scope }, credentials) => {
            let default_scope = format!("repository:{repository}:pull");
            let mut pairs = vec![("scope", scope.as_deref().unwrap_or(&default_scope))];
            pairs.extend(service.as_deref().map(|service| ("service", service)));
            fetch(transport, endpoint, asked, realm, &pairs, credentials).await.map(Some)
        }
    }
}

async fn fetch(
    transport: &Transport,
    endpoint: &Endpoint,
    asked: &Url,
    realm: &str,
    pairs: &[(&str, &str)],
    credentials: Option<Credentials>,
) -> Result<Login, RegistryError> {
    let wrong = |what: String| RegistryError::new(&endpoint.host, Fault::Corrupt { what });
    let mut url =
        Url::parse(realm).map_err(|error| wrong(format!("its token server `{realm}` is no address: {error}")))?;
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(wrong(format!("its token server `{realm}` has no host"))),
    };
    if url.scheme() != "https" && asked.scheme() == "https" && credentials.is_some() {
        return Err(wrong(format!("it wants our credentials sent to `{realm}`, in the clear")));
    }
    let client = transport.token_client(endpoint, &host);
    let client = client.map_err(|error| RegistryError::new(&endpoint.host, Fault::Setup(error)))?;
    let anonymous = credentials.is_none();
    let request = match credentials {
        Some(identity) if identity.username.is_empty() => {
            let mut form = pairs.to_vec();
            form.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "cachewarm"),
                ("refresh_token", identity.password.reveal()),
            ]);
            let form = client.request(Method::POST, url.clone()).body(encoded(&form));
            form.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        }
        known => {
            url.query_pairs_mut().extend_pairs(pairs);
            let request = client.request(Method::GET, url);
            match known {
                Some(known) => request.header(AUTHORIZATION, sensitive(endpoint, &basic(&known))?),
                None => request,
            }
        }
    };
    let response =
        request.timeout(ANSWER_TIMEOUT).send().await.map_err(|error| RegistryError::of_network(&host, error))?;
    if !response.status().is_success() {
        return Err(refusal(&host, response, anonymous).await);
    }
    let bytes = body(&host, response, TOKEN_LIMIT).await?;
    // The message of serde_json might quote the token.
    let answer: TokenAnswer = serde_json::from_slice(&bytes)
        .map_err(|_| RegistryError::new(&host, Fault::Corrupt { what: "the token is not JSON".into() }))?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Err(RegistryError::new(&host, Fault::Corrupt { what: "the answer holds no token".into() }));
    };
    let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, |seconds| Duration::from_secs(seconds.min(24 * 3600)));
    Ok(Login {
        header: sensitive(endpoint, &Secret::new(format!("Bearer {}", token.reveal())))?,
        // Use it for nine tenths of its life, so that none dies on the way.
        good_until: Some(Instant::now() + lifetime.mul_f64(0.9)),
        anonymous,
    })
}

fn basic(credentials: &Credentials) -> Secret {
    let pair = format!("{}:{}", credentials.username, credentials.password.reveal());
    Secret::new(format!("Basic {}", STANDARD.encode(pair)))
}

fn sensitive(endpoint: &Endpoint, value: &Secret) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::from_str(value.reveal()).map_err(|_| {
        let what = "its token cannot be sent in a header".to_owned();
        RegistryError::new(&endpoint.host, Fault::Corrupt { what })
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// `application/x-www-form-urlencoded`, by way of a URL's query.
fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut url = match Url::parse("form:x") {
        Ok(url) => url,
        Err(_) => return String::new(),
    };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}
