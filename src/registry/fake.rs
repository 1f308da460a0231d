//! A tiny HTTP server for tests: answers what a closure says, and misbehaves on cue. Speaks HTTP/1.1, one request
//! per connection.

use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// `GET /v2/…?ns=…`.
    pub(super) line: String,
    headers: String,
    /// The request's body.
    pub(super) body: String,
}

impl Asked {
    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Closes the connection after this many bytes of the body.
    pub(super) cut_at: Option<usize>,
}

impl Reply {
    pub(super) fn status(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply { body: body.into(), ..Reply::status(200) }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// An error in the distribution specification's form.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Reply {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
        Reply { body: body.into_bytes(), ..Reply::status(status) }
    }
}

/// What a fake does with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// Answers in the clear that it has none, as servers do.
    None,
    /// Speaks it on so many connections and breaks all later ones that ask for it.
    First(usize),
}

/// A running server; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub(super) struct Fake {
    /// `127.0.0.1:PORT`.
    pub(super) host: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Starts a server that answers as `behaviour` says.
    pub(super) async fn start(behaviour: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Fake {
        Fake::start_with(Tls::None, behaviour).await
    }

    /// The same with TLS.
    pub(super) async fn start_with(tls: Tls, behaviour: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Fake {
        let acceptor = (tls != Tls::None).then(acceptor);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Fake { host: listener.local_addr().unwrap().to_string(), log: Arc::default() };
        let log = fake.log.clone();
        let behaviour = Arc::new(behaviour);
        tokio::spawn(async move {
            let mut hellos = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, behaviour, acceptor) = (log.clone(), behaviour.clone(), acceptor.clone());
                let mut first = [0];
                let wants_tls = stream.peek(&mut first).await.is_ok_and(|_| first == *b"\x16");
                hellos += usize::from(wants_tls);
                match (tls, acceptor) {
                    (Tls::First(good), Some(acceptor)) if wants_tls && hellos <= good => {
                        tokio::spawn(
                            async move { serve(acceptor.accept(stream).await.ok()?, &log, &*behaviour).await },
                        );
                    }
                    (Tls::None, _) if wants_tls => drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await),
                    _ if wants_tls => drop(stream),
                    _ => drop(tokio::spawn(async move { serve(stream, &log, &*behaviour).await })),
                }
            }
        });
        fake
    }

    /// Everything that was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests began with `line`.
    pub(super) fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|asked| asked.line.starts_with(line)).count()
    }
}

/// A certificate for nobody in particular.
fn acceptor() -> TlsAcceptor {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=fake",
        ])
        .args(["-days", "2", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(file("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Asked>>,
    behaviour: &impl Fn(&Asked) -> Reply,
) -> Option<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let (line, headers) = text.split_once("\r\n")?;
    let mut asked =
        Asked { line: line.trim_end_matches(" HTTP/1.1").to_owned(), headers: headers.to_owned(), body: String::new() };
    let length: usize = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while bytes.len() < head + 4 + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    asked.body = String::from_utf8_lossy(&bytes[head + 4..]).into_owned();
    log.lock().unwrap().push(asked.clone());

    let reply = behaviour(&asked);
    let mut answer =
        format!("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        answer += &format!("{name}: {value}\r\n");
    }
    answer += "\r\n";
    stream.write_all(answer.as_bytes()).await.ok()?;
    if !asked.line.starts_with("HEAD ") {
        stream.write_all(&reply.body[..reply.cut_at.unwrap_or(reply.body.len())]).await.ok()?;
    }
    stream.shutdown().await.ok()
}
