//! A session as the builder sees it. The other end is a scripted builder that speaks the real protocol.

mod builder;

use std::path::Path;
use std::time::Duration;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::health::HealthCheckRequest;
use bollard_buildkit_proto::health::health_client::HealthClient;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_client::FileSyncClient;
use bollard_buildkit_proto::moby::sshforward::v1::BytesMessage;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_client::SshClient;
use builder::Callback;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Status, Streaming};

use super::credentials::Login;
use super::*;
use crate::event::Event;
use crate::targets::SshAgent;

const MIB: usize = 1024 * 1024;

struct Anonymous;

#[tonic::async_trait]
impl Logins for Anonymous {
    async fn login(&self, _: &str) -> anyhow::Result<Option<Login>> {
        Ok(None)
    }
}

fn services(locals: impl IntoIterator<Item = (&'static str, Local)>) -> Services {
    Services {
        logins: Arc::new(Anonymous),
        locals: locals.into_iter().map(|(name, local)| (name.to_owned(), local)).collect(),
        caches: Stores::default(),
        secrets: Secrets::default(),
        agents: Agents::default(),
        events: Events::nobody(),
    }
}

fn directory(path: &Path) -> Local {
    Local::directory(path, Arc::new(|_, permissions| permissions))
}

async fn open(services: Services) -> (Session, Callback) {
    let (channel, mut sessions) = builder::start().await;
    let opening = Session::open(channel, SessionId::new().unwrap(), "key".to_owned(), services);
    let session = tokio::time::timeout(Duration::from_secs(20), opening).await;
    let callback = sessions.recv().await.expect("the builder saw the session");
    (session.expect("it opens in time").expect("it opens"), callback)
}

/// A file transfer, from the builder's end.
struct Transfer {
    requests: mpsc::UnboundedSender<Packet>,
    packets: Streaming<Packet>,
}

impl Transfer {
    async fn open(callback: &Callback, metadata: &[(&'static str, String)]) -> Result<Transfer, Status> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let mut call = Request::new(UnboundedReceiverStream::new(outgoing));
        for (key, value) in metadata {
            call.metadata_mut().append(*key, value.parse().expect("ASCII"));
        }
        let packets = FileSyncClient::new(callback.channel.clone()).diff_copy(call).await?.into_inner();
        Ok(Transfer { requests, packets })
    }

    fn say(&self, kind: PacketType, id: u32) {
        self.requests.send(Packet { r#type: kind.into(), id, ..Packet::default() }).expect("the call is open");
    }

    async fn next(&mut self) -> Result<Option<Packet>, Status> {
        tokio::time::timeout(Duration::from_secs(20), self.packets.message()).await.expect("it goes on")
    }

    /// The announced paths.
    async fn list(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        while let Some(stat) = self.next().await.expect("no failure").expect("more").stat {
            paths.push(stat.path);
        }
        paths
    }
}

#[tokio::test]
async fn a_session_tells_the_builder_who_it_is_and_what_it_serves() {
    let (session, callback) = open(services([])).await;
    let told = |key| callback.metadata.get_all(key).iter().map(|value| value.to_str().expect("ASCII")).collect();
    let id: Vec<&str> = told("x-docker-expose-session-uuid");
    assert_eq!(id, [session.id.as_str()]);
    assert!(id[0].starts_with(process_token().unwrap()) && id[0].len() == 50);
    assert!(id[0].bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    assert_eq!(told("x-docker-expose-session-sharedkey"), ["key"]);
    let methods: Vec<&str> = told("x-docker-expose-session-grpc-method");
    assert!(methods.contains(&"/moby.filesync.v1.FileSync/DiffCopy"));

    let health = HealthClient::new(callback.channel.clone()).check(HealthCheckRequest::default()).await;
    assert_eq!(health.expect("an answer").into_inner().status, 1);
}

#[tokio::test]
async fn a_session_that_the_builder_ends_is_seen_to_have_ended() {
    let (session, callback) = open(services([])).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), session.ended()).await.is_err());
    drop(callback);
    let reason = tokio::time::timeout(Duration::from_secs(20), session.ended()).await.expect("it ended");
    assert_eq!(reason.to_string(), "the builder ended our session: the builder closed the session");
}

#[tokio::test]
async fn a_closed_or_dropped_session_serves_no_more() {
    for peacefully in [true, false] {
        let (session, callback) = open(services([])).await;
        if peacefully {
            tokio::time::timeout(Duration::from_secs(20), session.close()).await.expect("it closes");
        } else {
            drop(session);
        }
        let mut health = HealthClient::new(callback.channel.clone());
        let asked = tokio::time::timeout(Duration::from_secs(20), health.check(HealthCheckRequest::default()));
        let answer = asked.await.expect("no hanging");
        assert!(answer.is_err(), "peacefully: {peacefully}");
    }
}

#[tokio::test]
async fn a_builder_that_asks_for_all_before_it_reads_anything_gets_all() {
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..300 {
        std::fs::write(folder.path().join(format!("{number:03}")), vec![b'x'; 200_000]).expect("written");
    }
    std::fs::write(folder.path().join("large"), vec![b'y'; 20 * MIB]).expect("written");
    let (events, mut heard) = Events::channel();
    let (_session, callback) = open(Services { events, ..services([("context", directory(folder.path()))]) }).await;
    let mut transfer = Transfer::open(&callback, &[("dir-name", "context".to_owned())]).await.expect("it opens");
    assert_eq!(transfer.list().await.len(), 301);
    for id in (0..301).rev() {
        transfer.say(PacketType::PacketReq, id);
    }
    let (mut bytes, mut ended) = (0, 0);
    while ended < 301 {
        let packet = transfer.next().await.expect("no failure").expect("more");
        assert_eq!(packet.r#type, i32::from(PacketType::PacketData));
        bytes += packet.data.len();
        ended += usize::from(packet.data.is_empty());
    }
    transfer.say(PacketType::PacketFin, 0);
    let farewell = transfer.next().await.expect("no failure").expect("a last packet");
    assert_eq!(farewell.r#type, i32::from(PacketType::PacketFin));
    assert_eq!(transfer.next().await.expect("it ends well"), None);
    assert_eq!(bytes, 300 * 200_000 + 20 * MIB);
    let mut told = 0;
    while let Ok(Event::ContextSent { bytes, .. }) = heard.try_recv() {
        told += bytes;
    }
    assert_eq!(told as usize, bytes);
}

#[tokio::test]
async fn a_local_that_was_not_given_is_not_found() {
    let (_session, callback) = open(services([])).await;
    let refused = Transfer::open(&callback, &[("dir-name", "other".to_owned())]).await.err().expect("refused");
    assert_eq!((refused.code(), refused.message()), (tonic::Code::NotFound, r#"no access allowed to dir "other""#));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_ends_the_transfer_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("sub")).expect("made");
    std::fs::write(folder.path().join("sub/file"), "x").expect("written");
    let (_session, callback) = open(services([("context", directory(folder.path()))])).await;
    let mut transfer = Transfer::open(&callback, &[("dir-name", "context".to_owned())]).await.expect("it opens");
    assert_eq!(transfer.list().await, ["sub", "sub/file"]);
    std::fs::remove_file(folder.path().join("sub/file")).expect("removed");
    transfer.say(PacketType::PacketReq, 1);
    let packet = transfer.next().await.expect("no failure").expect("more");
    let text = String::from_utf8(packet.data).expect("text");
    let path = folder.path().join("sub/file");
    assert_eq!(packet.r#type, i32::from(PacketType::PacketErr));
    assert!(text.starts_with(&format!("could not open {}: No such file", path.display())), "{text}");
    assert_eq!(transfer.next().await.expect_err("it failed").message(), text);
}

#[tokio::test]
async fn content_that_was_never_announced_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_session, callback) = open(services([("context", directory(folder.path()))])).await;
    let mut transfer = Transfer::open(&callback, &[("dir-name", "context".to_owned())]).await.expect("it opens");
    assert!(transfer.list().await.is_empty());
    transfer.say(PacketType::PacketReq, 7);
    let packet = transfer.next().await.expect("no failure").expect("more");
    assert_eq!(packet.r#type, i32::from(PacketType::PacketErr));
}

#[tokio::test]
async fn an_ignore_file_of_thousands_of_lines_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["kept", "ignored-4999"] {
        std::fs::write(folder.path().join(name), "x").expect("written");
    }
    let (_session, callback) = open(services([("context", directory(folder.path()))])).await;
    let lines = (0..5000).map(|number| ("exclude-patterns", format!("ignored-{number}")));
    let metadata = [("dir-name", "context".to_owned())].into_iter().chain(lines).collect::<Vec<_>>();
    let mut transfer = Transfer::open(&callback, &metadata).await.expect("it opens");
    assert_eq!(transfer.list().await, ["kept"]);
}

#[tokio::test]
async fn an_agent_is_asked_for_keys_and_signatures_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("agent");
    let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
    // An agent that answers each request with its type and a 99.
    let agent = tokio::spawn(async move {
        let (mut step, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        while let Ok(length) = step.read_u32().await {
            let mut request = vec![0; length as usize];
            step.read_exact(&mut request).await.expect("a request");
            step.write_all(&[0, 0, 0, 2, request[0], 99]).await.expect("answered");
            asked.push(request[0]);
        }
        asked
    });
    let agents = Agents::new(&[SshAgent { id: "default".to_owned(), paths: vec![] }], Some(socket)).expect("a socket");
    let (session, callback) = open(Services { agents, ..services([]) }).await;
    let (requests, outgoing) = mpsc::channel(8);
    let call = SshClient::new(callback.channel.clone()).forward_agent(ReceiverStream::new(outgoing)).await;
    let mut answers = call.expect("it opens").into_inner();
    // List, remove all, lock, sign, extension.
    for (request, expected) in [
        (11, vec![0, 0, 0, 2, 11, 99]),
        (19, vec![0, 0, 0, 1, 5]),
        (22, vec![0, 0, 0, 1, 5]),
        (13, vec![0, 0, 0, 2, 13, 99]),
        (27, vec![0, 0, 0, 1, 5]),
    ] {
        requests.send(BytesMessage { data: vec![0, 0, 0, 2, request, 0] }).await.expect("open");
        let answer = tokio::time::timeout(Duration::from_secs(20), answers.message()).await.expect("an answer in time");
        assert_eq!(answer.expect("no failure").expect("an answer").data, expected, "{request}");
    }
    drop((requests, answers));
    drop((session, callback));
    let asked = tokio::time::timeout(Duration::from_secs(20), agent).await.expect("the agent is let go");
    assert_eq!(asked.expect("it ran"), [11, 13]);
}
