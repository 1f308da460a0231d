//! `FileSync`: the gRPC service a builder reads local directories through.
//!
//! Written by hand instead of generated, because our packets are (see [`super::wire`]).

use std::convert::Infallible;
use std::task::{Context, Poll};

use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Response, Status, Streaming};

use super::super::MESSAGE_LIMIT;
use super::request::Request;
use super::wire::{Packet, PacketCodec};
use super::{Locals, transfer};
use crate::event::Events;

/// The path of the one method we serve.
pub(in super::super) const DIFF_COPY: &str = "/moby.filesync.v1.FileSync/DiffCopy";

/// Serves locals. Cloning it is cheap.
#[derive(Clone)]
pub(in super::super) struct FileSync {
    locals: Locals,
    events: Events,
}

impl FileSync {
    /// A service that serves these locals and no others.
    pub(in super::super) fn new(locals: Locals, events: Events) -> FileSync {
        FileSync { locals, events }
    }
}

impl NamedService for FileSync {
    const NAME: &'static str = "moby.filesync.v1.FileSync";
}

impl<B> Service<http::Request<B>> for FileSync
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != DIFF_COPY {
                return Ok(Status::unimplemented("not served by this client").into_http());
            }
            let mut grpc =
                Grpc::new(PacketCodec).apply_max_message_size_config(Some(MESSAGE_LIMIT), Some(MESSAGE_LIMIT));
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<Packet> for FileSync {
    type Response = Packet;
    type ResponseStream = ReceiverStream<Result<Packet, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, call: tonic::Request<Streaming<Packet>>) -> Self::Future {
        let request = Request::read(call.metadata());
        let local = self.locals.get(&request.name).cloned();
        let events = self.events.clone();
        Box::pin(async move {
            // The wording is that of BuildKit's own client.
            let local =
                local.ok_or_else(|| Status::not_found(format!("no access allowed to dir {:?}", request.name)))?;
            Ok(Response::new(ReceiverStream::new(transfer::start(local, request, call.into_inner(), events))))
        })
    }
}
