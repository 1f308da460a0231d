//! A builder that only knows sessions, and gives the test the builder's end of them.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::moby::buildkit::v1::control_server::{Control, ControlServer};
use bollard_buildkit_proto::moby::buildkit::v1::*;
use futures::StreamExt as _;
use futures::stream::{BoxStream, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::super::connection::messages;

/// The builder's end of a session: what it was told when it was opened, and a way to call the client.
pub(super) struct Callback {
    pub(super) metadata: MetadataMap,
    pub(super) channel: Channel,
    /// Dropping it closes the session.
    pub(super) _open: mpsc::Sender<()>,
}

/// Starts a builder; returns a channel to it and the sessions that are opened on it.
pub(super) async fn start() -> (Channel, mpsc::Receiver<Callback>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (opened, sessions) = mpsc::channel(4);
    let connections = futures::stream::iter([Ok::<_, Infallible>(theirs)]).chain(futures::stream::pending());
    let control = ControlServer::new(Builder { opened });
    tokio::spawn(Server::builder().add_service(control).serve_with_incoming(connections));
    (connect(ours).await, sessions)
}

/// A client on the one end of a pipe.
async fn connect(pipe: DuplexStream) -> Channel {
    let pipe = Arc::new(Mutex::new(Some(pipe)));
    let connector = tower::service_fn(move |_| {
        let pipe = pipe.lock().expect("whole").take().map(TokioIo::new);
        async { pipe.ok_or_else(|| io::Error::other("only one connection")) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.expect("a connection")
}

struct Builder {
    opened: mpsc::Sender<Callback>,
}

#[tonic::async_trait]
impl Control for Builder {
    type PruneStream = Empty<Result<UsageRecord, Status>>;
    type StatusStream = Empty<Result<StatusResponse, Status>>;
    type SessionStream = BoxStream<'static, Result<BytesMessage, Status>>;
    type ListenBuildHistoryStream = Empty<Result<BuildHistoryEvent, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let metadata = request.metadata().clone();
        let mut incoming = request.into_inner();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (read, mut write) = tokio::io::split(ours);
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                write.write_all(&message.data).await?;
            }
            write.shutdown().await
        });
        let opened = self.opened.clone();
        let (open, mut closed) = mpsc::channel(1);
        tokio::spawn(async move {
            let callback = Callback { metadata, channel: connect(theirs).await, _open: open };
            opened.send(callback).await.is_ok()
        });
        // As grpc-go, we say nothing at all before the connection's first bytes.
        let mut messages = messages(read).boxed();
        let first = messages.next().await;
        let rest = messages.take_until(async move { closed.recv().await });
        Ok(Response::new(futures::stream::iter(first).chain(rest).map(Ok).boxed()))
    }

    async fn solve(&self, _: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn disk_usage(&self, _: Request<DiskUsageRequest>) -> Result<Response<DiskUsageResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn prune(&self, _: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Result<Response<ListWorkersResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn listen_build_history(
        &self,
        _: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn update_build_history(
        &self,
        _: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
