//! Lets steps use the person's ssh agent, or one of ours for the keys that a build names: to list its keys and to sign with
//! them, and for nothing else.
//!
//! A build must not add, remove or lock keys, so each request is read and the others are answered with a failure, as
//! by BuildKit's own client. The agent protocol (draft-ietf-sshm-ssh-agent) answers requests in order, so that one
//! request is forwarded at a time.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::Ssh;
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::keys::KeyAgent;
use crate::targets::SshAgent;

/// The paths of the methods we serve.
pub(super) const METHODS: [&str; 2] = ["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"];

/// The id of an agent that was not given a name.
const DEFAULT_ID: &str = "default";
/// How long an agent may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the largest message (OpenSSH's `AGENT_MAX_LEN`).
const MESSAGE_LIMIT: usize = 256 * 1024;
/// `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST`.
const ALLOWED: [u8; 2] = [11, 13];
/// A message that holds `SSH_AGENT_FAILURE`.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// The agents of a session. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agents(Arc<BTreeMap<String, Agent>>);

#[derive(Debug)]
enum Agent {
    /// An agent that somebody else runs, at its socket.
    Socket(PathBuf),
    /// An agent of this run, for the keys of files.
    Keys(KeyAgent),
}

impl Agents {
    /// The agents of a target; those without a socket or keys of their own use the default one (`SSH_AUTH_SOCK`), and do not
    /// exist if there is none.
    ///
    /// # Errors
    /// Explained: keys that no agent of ours can hold.
    pub(crate) fn new(agents: &[SshAgent], default_socket: Option<PathBuf>) -> anyhow::Result<Agents> {
        let mut all = BTreeMap::new();
        for agent in agents {
            let found = match (agent.paths.as_slice(), &default_socket) {
                ([], None) => continue,
                ([], Some(socket)) => Agent::Socket(socket.clone()),
                ([path], _) if !is_file(path) => Agent::Socket(path.clone()),
                (keys, _) => Agent::Keys(KeyAgent::holding(keys)?),
            };
            all.insert(agent.id.clone(), found);
        }
        Ok(Agents(Arc::new(all)))
    }

    fn socket(&self, id: &str) -> Result<PathBuf, Status> {
        let id = if id.is_empty() { DEFAULT_ID } else { id };
        match self.0.get(id) {
            Some(Agent::Socket(socket)) => Ok(socket.clone()),
            Some(Agent::Keys(agent)) => Ok(agent.socket().to_owned()),
            None => Err(Status::not_found(format!("there is no ssh agent `{id}`"))),
        }
    }
}

/// Whether it holds a key, and is no socket.
fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.file_type().is_socket())
}

#[tonic::async_trait]
impl Ssh for Agents {
    type ForwardAgentStream = ReceiverStream<Result<BytesMessage, Status>>;

    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get("buildkit.ssh.id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let socket = self.socket(id)?;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(&socket)).await;
        let agent = connected.map_err(anyhow::Error::from).and_then(|agent| agent.map_err(anyhow::Error::from));
        let agent = agent
            .map_err(|error| Status::unknown(format!("could not reach ssh agent {}: {error:#}", socket.display())))?;
        let (answers, outgoing) = mpsc::channel(4);
        tokio::spawn(async move {
            if let Err(error) = forward(request.into_inner(), agent, &answers).await {
                // If the step is gone too, nobody minds.
                let _ = answers.send(Err(Status::unknown(format!("{error:#}")))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

async fn forward(
    mut incoming: Streaming<BytesMessage>,
    mut agent: UnixStream,
    answers: &mpsc::Sender<Result<BytesMessage, Status>>,
) -> anyhow::Result<()> {
    let mut requests = Messages::default();
    while let Some(BytesMessage { data }) = incoming.message().await? {
        requests.push(&data);
        while let Some(request) = requests.next()? {
            // The fifth byte is the type; a message always has one.
            let data = if ALLOWED.contains(&request[4]) {
                ask(&mut agent, &request).await.context("the ssh agent did not answer")?
            } else {
                FAILURE.to_vec()
            };
            answers.send(Ok(BytesMessage { data })).await.context("the step went away")?;
        }
    }
    Ok(())
}

async fn ask(agent: &mut UnixStream, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    agent.write_all(request).await?;
    let length = agent.read_u32().await?;
    anyhow::ensure!((1..=MESSAGE_LIMIT).contains(&(length as usize)), "its answer has a length of {length} bytes");
    let mut answer = length.to_be_bytes().to_vec();
    answer.resize(4 + length as usize, 0);
    agent.read_exact(&mut answer[4..]).await?;
    Ok(answer)
}

/// Cuts a stream of bytes into messages, each with its four bytes of length and at least one byte of content.
#[derive(Debug, Default)]
struct Messages {
    buffer: Vec<u8>,
}

impl Messages {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        anyhow::ensure!((1..=MESSAGE_LIMIT).contains(&length), "a request has a length of {length} bytes");
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(4 + length);
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn an_agent_is_found_by_its_id_and_the_default_socket_stands_in() {
        let agents = [
            SshAgent { id: "default".to_owned(), paths: vec![] },
            SshAgent { id: "other".to_owned(), paths: vec!["/other".into()] },
        ];
        let known = Agents::new(&agents, Some("/default".into())).expect("sockets");
        assert_eq!(known.socket("").expect("known"), PathBuf::from("/default"));
        assert_eq!(known.socket("other").expect("known"), PathBuf::from("/other"));
        assert_eq!(known.socket("third").expect_err("unknown").code(), tonic::Code::NotFound);
        let without = Agents::new(&agents, None).expect("sockets");
        let request = Request::new(CheckAgentRequest { id: String::new() });
        assert_eq!(without.check_agent(request).await.expect_err("no socket").code(), tonic::Code::NotFound);
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_the_stream_is_cut(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            cut in 1usize..20,
        ) {
            let expected: Vec<Vec<u8>> = contents
                .iter()
                .map(|content| [&(content.len() as u32).to_be_bytes()[..], content].concat())
                .collect();
            let mut messages = Messages::default();
            let mut found = Vec::new();
            for piece in expected.concat().chunks(cut) {
                messages.push(piece);
                while let Some(message) = messages.next().expect("they are well-formed") {
                    found.push(message);
                }
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_cut_or_refused_without_panic(bytes: Vec<u8>) {
            let mut messages = Messages::default();
            messages.push(&bytes);
            while let Ok(Some(message)) = messages.next() {
                prop_assert!(message.len() > 4);
            }
        }
    }
}
