//! Stands between a client and a buildkitd and keeps what the daemon tells of its builds, for
//! `tests/fixtures/status-streams.sh`: `statuses LISTEN UPSTREAM FILE`, two sockets and what is written.
//!
//! The file holds every message of every `Control.Status` call, in the order in which they came, each as gRPC frames it:
//! a byte that is 0, the length in four bytes, the message.

#![expect(clippy::unwrap_used, reason = "a recorder that cannot go on says so by panicking")]

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use http_body_util::BodyExt;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tower::ServiceExt;

const STATUS: &str = "/moby.buildkit.v1.Control/Status";
/// Bytes of headers that a daemon's error may have: it quotes the Dockerfile.
const HEADER_LIMIT: u32 = 16 * 1024 * 1024;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, upstream, file] = arguments.as_slice() else { panic!("statuses LISTEN UPSTREAM FILE") };
    let (upstream, file) = (upstream.clone(), Arc::new(Mutex::new(File::create(file).unwrap())));
    let daemon = Endpoint::from_static("http://localhost").http2_max_header_list_size(HEADER_LIMIT);
    let dial = move |_| UnixStream::connect(upstream.clone()).map(|stream| stream.map(hyper_util::rt::TokioIo::new));
    let daemon = daemon.connect_with_connector(tower::service_fn(dial)).await.unwrap();
    let answer = tower::service_fn(move |request| answer(daemon.clone(), file.clone(), request));
    let incoming = UnixListenerStream::new(UnixListener::bind(listen).unwrap());
    Server::builder().serve_with_incoming(answer, incoming).await.unwrap();
}

async fn answer(
    daemon: Channel,
    file: Arc<Mutex<File>>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, tonic::transport::Error> {
    let is_status = request.uri().path() == STATUS;
    let answer = daemon.oneshot(request).await?;
    if !is_status {
        return Ok(answer);
    }
    let mut held = Vec::new();
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            held.extend(frame.data_ref().into_iter().flatten());
            let whole = messages(&held);
            // Before the client has them: what it was told is on disk when it ends.
            file.lock().unwrap().write_all(&held[..whole]).unwrap();
            held.drain(..whole);
            frame
        }))
    }))
}

/// How many of these bytes are whole messages.
fn messages(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(header) = bytes.get(whole..whole + 5) {
        let end = whole + 5 + u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        if end > bytes.len() {
            break;
        }
        whole = end;
    }
    whole
}
