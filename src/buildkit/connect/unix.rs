//! A buildkitd that listens on a unix socket.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Channel;

use crate::buildkit::refusal::unused_address;
use crate::failure::{Explain, Kind};

/// Connects to the daemon.
///
/// # Errors
/// When nobody listens there, or we may not.
pub(crate) async fn dial(socket: &Path) -> anyhow::Result<Channel> {
    let hint = match UnixStream::connect(socket).await {
        Ok(_) => "check that it is a buildkitd",
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            "run as root, or as a member of the socket's group"
        }
        Err(_) => "start it (`systemctl start buildkit`), or use --builder spawn",
    };
    connect(socket.to_owned()).await.explain(
        Kind::Environment,
        format!("could not reach the builder at unix://{}", socket.display()),
        hint,
    )
}

/// Connects without explaining: for whoever waits until a daemon is ready.
pub(super) async fn connect(socket: PathBuf) -> anyhow::Result<Channel> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Ok(unused_address().connect_with_connector(connector).await?)
}
