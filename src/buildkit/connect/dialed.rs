//! A connection to a buildkitd by the program of another tool (ssh, podman, nerdctl, kubectl), which runs `buildctl dial-stdio`
//! there: its standard streams are the wire, its standard error says why there is none.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tonic::transport::Channel;

use super::complaints::Complaints;
use crate::buildkit::address::Dialed;
use crate::buildkit::refusal::unused_address;
use crate::failure::{Explain as _, Failure, Kind};
use crate::{child, retry};

/// How long a program that hangs up may take to have said why.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The programs that lead to one builder, one for each connection.
#[derive(Debug, Clone)]
pub(super) struct Line {
    dialed: Dialed,
    complaints: Complaints,
    /// How many programs may still complain.
    talking: Arc<AtomicUsize>,
}

impl Line {
    /// A channel over programs that end with it.
    ///
    /// # Errors
    /// Explained: the program is not there. Whether anybody answers only a call shows.
    pub(super) async fn dial(dialed: &Dialed) -> anyhow::Result<(Line, Channel)> {
        let what = format!("could not reach the builder at {}", dialed.address);
        let program = dialed.program;
        if !child::is_there(program) {
            let hint = format!("install `{program}` into a directory of PATH, or name the builder in another way");
            return Err(Failure::new(Kind::Environment, format!("{what}: there is no `{program}` here"), hint));
        }
        let line = Line { dialed: dialed.clone(), complaints: Complaints::default(), talking: Arc::default() };
        let dialing = line.clone();
        let connector = tower::service_fn(move |_| std::future::ready(dialing.connection().map(TokioIo::new)));
        let channel = unused_address().connect_with_connector(connector).await;
        Ok((line, channel.explain(Kind::Environment, what, "check that the program can be started")?))
    }

    fn connection(&self) -> io::Result<Wire> {
        let mut command = Command::from(child::dialing(self.dialed.program));
        command.args(&self.dialed.arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(mut said)) = streams else {
            return Err(io::Error::other("it has no standard streams"));
        };
        let line = self.clone();
        line.talking.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let mut piece = [0; 1024];
            while let Ok(length @ 1..) = said.read(&mut piece).await {
                line.complaints.add(&piece[..length]);
            }
            line.talking.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(Wire { output, input, _child: child })
    }

    /// What the programs wrote, if all of them have hung up or are just about to.
    pub(super) async fn last_words(&self) -> Option<String> {
        let silent = async || Ok((self.talking.load(Ordering::SeqCst) == 0).then_some(()));
        retry::until(LAST_WORDS, Duration::from_millis(20), silent).await.ok()??;
        Some(self.said()).filter(|text| !text.is_empty())
    }

    /// What the programs wrote so far.
    pub(super) fn said(&self) -> String {
        self.complaints.text()
    }

    /// The program, as a person would call it.
    pub(super) fn program(&self) -> &'static str {
        self.dialed.program
    }

    /// What to try by hand.
    pub(super) fn hint(&self) -> String {
        format!(
            "check with `{} {}` that it connects without asking, and that buildkitd and buildctl of v0.12 or later are there",
            self.dialed.program,
            self.dialed.arguments.join(" ")
        )
    }
}

/// The standard streams of a program that goes with them.
struct Wire {
    output: ChildStdout,
    input: ChildStdin,
    _child: Child,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}
