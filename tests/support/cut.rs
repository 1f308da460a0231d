//! Stands between cachewarm and a buildkitd and has status streams end in good order before their builds do.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::{FutureExt, StreamExt, stream};
use http::HeaderMap;
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Frame;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tower::ServiceExt;

const STATUS: &str = "/moby.buildkit.v1.Control/Status";
/// Bytes of headers that a daemon's error may have: it quotes the Dockerfile.
const HEADER_LIMIT: u32 = 16 * 1024 * 1024;

/// A daemon that falls silent.
#[derive(Debug)]
pub(crate) struct Cut {
    socket: PathBuf,
    asked: Arc<AtomicUsize>,
    first: Arc<AtomicUsize>,
}

impl Cut {
    /// In front of the daemon at this socket; it passes everything on.
    pub(crate) fn before(upstream: &Path, socket: &Path) -> Cut {
        let (asked, first) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
        let cut = Cut { socket: socket.to_owned(), asked: asked.clone(), first: first.clone() };
        let (upstream, socket) = (upstream.to_owned(), socket.to_owned());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(socket).unwrap()
        };
        thread::spawn(move || {
            runtime.block_on(async move {
                let dial = move |_| {
                    UnixStream::connect(upstream.clone()).map(|stream| stream.map(hyper_util::rt::TokioIo::new))
                };
                let daemon = Endpoint::from_static("http://localhost").http2_max_header_list_size(HEADER_LIMIT);
                let daemon = daemon.connect_with_connector_lazy(tower::service_fn(dial));
                let answer =
                    tower::service_fn(move |request| answer(daemon.clone(), asked.clone(), first.clone(), request));
                Server::builder().serve_with_incoming(answer, UnixListenerStream::new(listener)).await.unwrap();
            });
        });
        cut
    }

    /// Its address, as `--builder` takes it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// How many status streams were asked for since the last call; has those from the `first` on end without a message.
    pub(crate) fn from(&self, first: usize) -> usize {
        self.first.store(first, Ordering::SeqCst);
        self.asked.swap(0, Ordering::SeqCst)
    }
}

async fn answer(
    daemon: Channel,
    asked: Arc<AtomicUsize>,
    first: Arc<AtomicUsize>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, tonic::transport::Error> {
    let is_cut = request.uri().path() == STATUS && asked.fetch_add(1, Ordering::SeqCst) >= first.load(Ordering::SeqCst);
    let answer = daemon.oneshot(request).await?;
    if !is_cut {
        return Ok(answer);
    }
    Ok(answer.map(|body| {
        let well = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let end = stream::iter([Ok(Frame::trailers(well))]);
        // Some of its messages would do only on a machine that is not busy: one that is has all in its first.
        let nothing = BodyStream::new(body).filter(|_| ready(false));
        Body::new(StreamBody::new(Box::pin(nothing.chain(end))))
    }))
}
