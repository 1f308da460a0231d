//! The BuildKit inside dockerd: gRPC behind an upgrade of the Docker API's connection (`POST /grpc`).
//!
//! Its `Control.Session` takes our session as a buildkitd's does, so that the API's `/session` is not needed.
//! Source: `api/server/router/grpc` of moby.

use std::io;

use anyhow::Context;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tonic::transport::Channel;

use super::Engine;
use super::host;
use crate::buildkit::refusal::unused_address;
use crate::failure::{Explain, Failure, Kind};

/// A channel to dockerd's own BuildKit.
///
/// # Errors
/// Explained: Docker has none, or is Podman.
pub(in crate::buildkit::connect) async fn dial(engine: &Engine) -> anyhow::Result<Channel> {
    let what = format!("could not reach the BuildKit of {} at {}", engine.version, engine.endpoint);
    if engine.is_podman {
        return Err(Failure::new(Kind::Environment, what, "Podman has none: use --builder docker-container or spawn"));
    }
    let endpoint = engine.endpoint.clone();
    let connector = tower::service_fn(move |_| {
        let endpoint = endpoint.clone();
        async move { upgraded(&endpoint).await }
    });
    let connected = unused_address().connect_with_connector(connector).await;
    connected.explain(Kind::Environment, what, "use Docker 20.10 or later, or --builder docker-container or spawn")
}

async fn upgraded(endpoint: &host::Endpoint) -> io::Result<Upgraded> {
    let stream = endpoint.dial().await?;
    let upgrade = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let request = Request::builder()
            .method(Method::POST)
            .uri("/grpc")
            .header(HOST, "docker")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "h2c")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::bail!("Docker answers {status}: {}", String::from_utf8_lossy(&body).trim());
        }
        hyper::upgrade::on(response).await.context("upgrading the connection")
    };
    upgrade.await.map_err(io::Error::other)
}
