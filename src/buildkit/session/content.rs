//! The blobs of local caches (`type=local`), which a builder reads from us as from containerd's content store.
//!
//! A builder asks for what it imports, and for nothing else, so only reading is served. Written by hand, because nobody
//! publishes the messages: `api/services/content/v1/content.proto` of containerd, and `session/content` of BuildKit, which
//! names the store in the metadata of each call.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::digest;
use crate::foreign;

/// The paths of the methods we serve.
pub(super) const METHODS: [&str; 2] =
    ["/containerd.services.content.v1.Content/Info", "/containerd.services.content.v1.Content/Read"];
/// Which store is meant.
const STORE: &str = "buildkit-attachable-store-id";
/// Bytes per message of a blob.
const CHUNK_BYTES: usize = 512 * 1024;

/// The directories of local caches, each an OCI image layout. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Stores(Arc<Vec<String>>);

impl Stores {
    /// Serves these directories, each by its path as the import says it.
    pub(crate) fn new(directories: impl Iterator<Item = String>) -> Stores {
        Stores(Arc::new(directories.collect()))
    }

    /// Opens a blob; its size.
    async fn open(&self, asked: &MetadataMap, digest: &str) -> Result<(tokio::fs::File, i64), Status> {
        let store = asked.get(STORE).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let known = self.0.iter().find(|directory| store.strip_prefix("local:") == Some(directory));
        let directory = known.ok_or_else(|| Status::not_found(format!("unknown store {store}")))?;
        let path = digest::blob_path(Path::new(directory), digest)
            .ok_or_else(|| Status::invalid_argument(format!("`{digest}` is no digest")))?;
        let opened = tokio::task::spawn_blocking(move || sized(&path)).await;
        let opened = opened.map_err(|error| Status::internal(error.to_string()))?;
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Status::not_found(format!("{digest}: not found")),
            _ => Status::unknown(format!("could not open {digest} in {directory}: {error}")),
        })
    }
}

fn sized(path: &Path) -> io::Result<(tokio::fs::File, i64)> {
    let file = foreign::open_regular(path)?;
    let size = i64::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    Ok((tokio::fs::File::from_std(file), size))
}

#[derive(Clone, PartialEq, prost::Message)]
struct InfoRequest {
    #[prost(string, tag = "1")]
    digest: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadRequest {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    offset: i64,
    /// All of it when zero.
    #[prost(int64, tag = "3")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadResponse {
    #[prost(int64, tag = "1")]
    offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

impl NamedService for Stores {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

impl<B> Service<http::Request<B>> for Stores
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
        let [info, read] = METHODS;
        Box::pin(async move {
            match request.uri().path() {
                path if path == info => {
                    let codec = ProstCodec::<InfoResponse, InfoRequest>::default();
                    Ok(Grpc::new(codec).unary(service, request).await)
                }
                path if path == read => {
                    let codec = ProstCodec::<ReadResponse, ReadRequest>::default();
                    Ok(Grpc::new(codec).server_streaming(service, request).await)
                }
                _ => Ok(Status::unimplemented("not served by this client").into_http()),
            }
        })
    }
}

impl UnaryService<InfoRequest> for Stores {
    type Response = InfoResponse;
    type Future = BoxFuture<Response<InfoResponse>, Status>;

    fn call(&mut self, call: Request<InfoRequest>) -> Self::Future {
        let stores = self.clone();
        Box::pin(async move {
            let (_, size) = stores.open(call.metadata(), &call.get_ref().digest).await?;
            let info = Info { digest: call.into_inner().digest, size };
            Ok(Response::new(InfoResponse { info: Some(info) }))
        })
    }
}

impl ServerStreamingService<ReadRequest> for Stores {
    type Response = ReadResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, call: Request<ReadRequest>) -> Self::Future {
        let stores = self.clone();
        Box::pin(async move {
            let ReadRequest { digest, offset, size } = call.get_ref().clone();
            let (mut file, whole) = stores.open(call.metadata(), &digest).await?;
            let offset = offset.clamp(0, whole);
            let left = whole - offset;
            // containerd gives what there is of a size beyond the end.
            let size = if size <= 0 { left } else { size.min(left) };
            file.seek(io::SeekFrom::Start(offset.unsigned_abs())).await?;
            let pieces = futures::stream::try_unfold(
                (file, offset, size.unsigned_abs()),
                |(mut file, offset, left)| async move {
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
                    if wanted == 0 {
                        return Ok::<_, Status>(None);
                    }
                    let mut data = vec![0; wanted];
                    file.read_exact(&mut data).await?;
                    let next = (file, offset.saturating_add_unsigned(wanted as u64), left - wanted as u64);
                    Ok(Some((ReadResponse { offset, data }, next)))
                },
            );
            Ok(Response::new(Box::pin(pieces) as Self::ResponseStream))
        })
    }
}
