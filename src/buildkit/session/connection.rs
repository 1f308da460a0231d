//! The session itself: a connection inside a call, on which builder and client change roles.
//!
//! We call `Control.Session`; the bytes of that stream are an HTTP/2 connection on which the builder is the client and
//! we are the server. **Invariant:** both directions of the stream are moved from the moment it is opened, because
//! the builder only answers the call together with its first bytes.

use std::convert::Infallible;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Server};
use tonic::{Request, Streaming};

use super::credentials::{self, Credentials};
use super::files::{self, FileSync};
use super::health::{self, Healthy};
use super::{MESSAGE_LIMIT, Services, content, secrets, ssh};
use crate::buildkit::refusal::{HEADER_LIMIT, Refusal};
use crate::random;

/// How long the builder may take to begin talking on a new session, and to end one.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes per message; boundaries mean nothing. BuildKit's own client sends as many at most.
const CHUNK_BYTES: usize = 32 * 1024;
/// Bytes between our server and the stream.
const PIPE_BYTES: usize = 256 * 1024;

/// What a builder knows a session by. Builds name it to be served by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionId(String);

impl SessionId {
    /// A new id of this process: its token, then letters and digits as BuildKit's own client chooses them.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub(crate) fn new() -> anyhow::Result<SessionId> {
        Ok(SessionId(format!("{}{}", process_token()?, digits()?)))
    }

    /// The id as requests name it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the ids of this process's sessions begin with. BuildKit tells a session's id to the frontends of its builds and to
/// no step, so it is known to those alone: the runc that refuses steps tells frontends by it.
///
/// # Errors
/// When the kernel has no random bytes.
pub(crate) fn process_token() -> anyhow::Result<&'static str> {
    static TOKEN: OnceLock<String> = OnceLock::new();
    let fresh = digits()?;
    Ok(TOKEN.get_or_init(|| fresh))
}

/// 25 lower-case letters and digits that nobody can guess.
fn digits() -> anyhow::Result<String> {
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let bytes = random::bytes::<25>()?;
    Ok(bytes.iter().map(|byte| char::from(digits[usize::from(*byte) % digits.len()])).collect())
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The builder is gone, or has given the session up: what the session serves can not be had by builds any more.
#[derive(Debug)]
pub(crate) struct SessionEnded(String);

impl fmt::Display for SessionEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the builder ended our session: {}", self.0)
    }
}

impl std::error::Error for SessionEnded {}

/// An open session. Dropping it ends it at once; [`Session::close`] ends it in peace.
pub(crate) struct Session {
    pub(super) id: SessionId,
    closing: DropGuard,
    ended: watch::Receiver<Option<String>>,
    _server: AbortOnDropHandle<()>,
    _incoming: AbortOnDropHandle<()>,
}

impl Session {
    /// Opens a session on a builder and serves it until it ends.
    ///
    /// The shared key, which may be empty, takes part in deciding which of the builder's copies of a local directory is
    /// brought up to date instead of sent anew.
    ///
    /// # Errors
    /// When the builder cannot be reached, refuses, or says nothing for 30 seconds.
    pub(crate) async fn open(
        channel: Channel,
        id: SessionId,
        shared_key: String,
        services: Services,
    ) -> anyhow::Result<Session> {
        let (ours, served) = tokio::io::duplex(PIPE_BYTES);
        let server = AbortOnDropHandle::new(tokio::spawn(serve(served, services)));
        let (read, write) = tokio::io::split(ours);
        // Ending our side of the stream is what ends the session: the call alone would live on until it has sent all.
        let closing = CancellationToken::new();
        let outgoing = messages(read).take_until(closing.clone().cancelled_owned());
        let closing = closing.drop_guard();

        let mut request = Request::new(outgoing);
        *request.metadata_mut() = metadata(&id, &shared_key)?;
        let mut control = ControlClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, control.session(request)).await;
        let incoming = opened
            .context("the builder did not answer within 30 seconds")
            .and_then(|answer| Ok(answer.map_err(Refusal)?.into_inner()))
            .context("could not open a session on the builder")?;

        let (end, ended) = watch::channel(None);
        let incoming = AbortOnDropHandle::new(tokio::spawn(async move {
            let reason = receive(incoming, write).await;
            tracing::debug!("the session ended: {reason}");
            end.send_replace(Some(reason));
        }));
        Ok(Session { id, closing, ended, _server: server, _incoming: incoming })
    }

    /// Waits until the session has ended, and says why. Builds that name it fail from then on.
    pub(crate) async fn ended(&self) -> SessionEnded {
        let mut ended = self.ended.clone();
        let reason = ended.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone());
        SessionEnded(reason.unwrap_or_else(|| "the session was given up".to_owned()))
    }

    /// Ends the session and waits until the builder has noticed, for five seconds at most.
    pub(crate) async fn close(self) {
        let Session { id, closing, mut ended, _server, _incoming } = self;
        drop(closing);
        if tokio::time::timeout(CLOSE_TIMEOUT, ended.wait_for(Option::is_some)).await.is_err() {
            tracing::debug!("the builder did not notice that session {id} was closed");
        }
    }

    /// Ends sessions, one after the other.
    pub(crate) async fn close_all(sessions: Vec<Session>) {
        for session in sessions {
            session.close().await;
        }
    }
}

async fn serve(connection: DuplexStream, services: Services) {
    macro_rules! limited {
        ($server:expr) => {
            $server.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT)
        };
    }
    // The connection is the only one there will ever be; the server has to outlive it.
    let connections = futures::stream::iter([Ok::<_, Infallible>(connection)]).chain(futures::stream::pending());
    let served = Server::builder()
        // A long `.dockerignore` comes as metadata.
        .http2_max_header_list_size(HEADER_LIMIT)
        .add_service(limited!(HealthServer::new(Healthy)))
        .add_service(limited!(AuthServer::new(Credentials(services.logins))))
        .add_service(limited!(SecretsServer::new(services.secrets)))
        .add_service(limited!(SshServer::new(services.agents)))
        .add_service(services.caches)
        .add_service(FileSync::new(services.locals, services.events))
        .serve_with_incoming(connections)
        .await;
    if let Err(error) = served {
        tracing::debug!("the session's server ended: {error}");
    }
}

/// What comes out of a pipe, as messages. They end when its other end is gone.
pub(super) fn messages(read: ReadHalf<DuplexStream>) -> impl Stream<Item = BytesMessage> + Send {
    futures::stream::unfold(read, |mut read| async move {
        let mut data = Vec::with_capacity(CHUNK_BYTES);
        match read.read_buf(&mut data).await {
            Ok(1..) => Some((BytesMessage { data }, read)),
            _ => None,
        }
    })
}

/// Hands the builder's bytes to our server until there are no more; why.
async fn receive(mut incoming: Streaming<BytesMessage>, mut write: WriteHalf<DuplexStream>) -> String {
    loop {
        match incoming.message().await {
            Ok(Some(message)) => {
                if write.write_all(&message.data).await.is_err() {
                    return "our side of the session broke down".to_owned();
                }
            }
            Ok(None) => return "the builder closed the session".to_owned(),
            Err(status) => return format!("the session broke: {}", status.message()),
        }
    }
}

/// What the builder has to know of a session before it says anything on it.
fn metadata(id: &SessionId, shared_key: &str) -> anyhow::Result<MetadataMap> {
    let value = |text: &str| text.parse::<AsciiMetadataValue>().with_context(|| format!("`{text}` is not ASCII"));
    let mut metadata = MetadataMap::new();
    metadata.insert("x-docker-expose-session-uuid", value(id.as_str())?);
    metadata.insert("x-docker-expose-session-sharedkey", value(shared_key)?);
    let methods = [health::CHECK, credentials::CREDENTIALS, secrets::GET_SECRET, files::DIFF_COPY];
    for method in methods.into_iter().chain(ssh::METHODS).chain(content::METHODS) {
        metadata.append("x-docker-expose-session-grpc-method", value(method)?);
    }
    Ok(metadata)
}
