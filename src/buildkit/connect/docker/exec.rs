//! A connection to the buildkitd of a container: `buildctl dial-stdio`, run in it, with its standard streams as the wire.

use std::io;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures::{StreamExt as _, TryStreamExt as _};
use hyper_util::rt::TokioIo;
use tokio_util::io::StreamReader;
use tonic::transport::Channel;

use super::host::Io;
use crate::buildkit::connect::complaints::Complaints;
use crate::buildkit::refusal::unused_address;

/// Bytes of a frame's buffer; dial-stdio writes up to 32 KiB at once.
const FRAME_BYTES: usize = 64 * 1024;

/// A channel to the buildkitd in a container. Every connection of it is a process of its own in there, which ends with it.
///
/// # Errors
/// When the command cannot be started. Whether anybody answers only a call shows.
pub(super) async fn dial(docker: &Docker, container: &str, complaints: &Complaints) -> anyhow::Result<Channel> {
    let (docker, container, complaints) = (docker.clone(), container.to_owned(), complaints.clone());
    let connector = tower::service_fn(move |_| {
        let (docker, container, complaints) = (docker.clone(), container.clone(), complaints.clone());
        async move { connection(&docker, &container, complaints).await.map(TokioIo::new) }
    });
    Ok(unused_address().connect_with_connector(connector).await?)
}

/// Whether a server's first bytes are those of HTTP/2: a SETTINGS frame, whose type is the fourth byte (RFC 9113, 3.4).
fn begins_http2(bytes: &[u8]) -> bool {
    bytes.get(3) == Some(&4)
}

async fn connection(docker: &Docker, container: &str, complaints: Complaints) -> io::Result<Box<dyn Io>> {
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(vec!["buildctl", "dial-stdio"]),
        ..Default::default()
    };
    let command = docker.create_exec(container, options).await.map_err(io::Error::other)?;
    let options = StartExecOptions { output_capacity: Some(FRAME_BYTES), ..Default::default() };
    let started = docker.start_exec(&command.id, Some(options)).await.map_err(io::Error::other)?;
    let StartExecResults::Attached { output, input } = started else {
        return Err(io::Error::other("Docker did not attach to the command"));
    };
    let mut is_http2 = false;
    let output = output.map_err(io::Error::other).filter_map(move |frame| {
        let wire = match frame {
            Ok(LogOutput::StdOut { message }) if is_http2 || begins_http2(&message) => {
                is_http2 = true;
                Some(Ok(message))
            }
            // Docker says on standard output, too, that it cannot run a command.
            Ok(other) => {
                complaints.add(&other.into_bytes());
                None
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(wire)
    });
    Ok(Box::new(tokio::io::join(StreamReader::new(Box::pin(output)), input)))
}
