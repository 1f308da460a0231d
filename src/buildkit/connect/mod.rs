//! Reaching a builder, or starting one.

mod config;
mod runc;
mod spawn;
mod tcp;
mod unix;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{InfoRequest, ListWorkersRequest};
use bollard_buildkit_proto::pb;
use tonic::transport::Channel;

use super::Address;
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};
use crate::retry;
use spawn::Daemon;

pub(crate) use runc::{is_stand_in, stand_in};
pub(crate) use spawn::Spawn;
pub(crate) use tcp::Tls;

/// Where a buildkitd keeps its state and listens, unless told otherwise.
const USUAL_ROOT: &str = "/var/lib/buildkit";
const USUAL_SOCKET: &str = "/run/buildkit/buildkitd.sock";
/// A running daemon answers at once; a stuck one should not hold us.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Which builder is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// `--builder`.
    pub(crate) address: Address,
    /// `BUILDKIT_HOST`, which `auto` tries first.
    pub(crate) buildkit_host: Option<String>,
    /// Whom a builder on TCP trusts, and we.
    pub(crate) tls: Tls,
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// `--buildkitd-config`.
    pub(crate) config: Option<PathBuf>,
    /// Whether a daemon of ours refuses to run any step.
    pub(crate) refuse_steps: bool,
    /// What a daemon of ours lets builds be granted: `network.host` and the like.
    pub(crate) entitlements: Vec<String>,
}

impl Wanted {
    fn spawn(&self, root: PathBuf, program: Option<PathBuf>) -> Spawn {
        let entitlements = self.entitlements.clone();
        Spawn { refuse_steps: self.refuse_steps, entitlements, ..Spawn::on(root, program, self.config.clone()) }
    }
}

/// A builder that answered.
#[derive(Debug)]
pub(crate) struct Builder {
    /// How to talk to it.
    pub(crate) channel: Channel,
    /// `unix`, `tcp` or `spawn`.
    pub(crate) kind: &'static str,
    /// Its address, for people.
    pub(crate) address: String,
    /// What it says of itself.
    pub(crate) version: String,
    /// Its state root: ours when we started it, else what we were told or guess.
    pub(crate) root: PathBuf,
    /// The id of the worker that builds; the state root holds the same one.
    pub(crate) worker_id: String,
    /// What it builds for unless told otherwise.
    pub(crate) platform: Option<pb::Platform>,
    /// The binary, when we started it.
    pub(crate) program: Option<PathBuf>,
    daemon: Option<Daemon>,
}

impl Builder {
    /// Reaches the builder, or starts it.
    ///
    /// # Errors
    /// When there is none; the message says which were looked for and what to do.
    pub(crate) async fn connect(wanted: &Wanted, events: &Events) -> anyhow::Result<Builder> {
        let root = wanted.root.clone().unwrap_or_else(|| USUAL_ROOT.into());
        match &wanted.address {
            Address::Unix(socket) => Builder::running(socket, root).await,
            Address::Tcp { host, port } => Builder::remote(host, *port, &wanted.tls, root).await,
            Address::Spawn(program) => Builder::spawn(wanted.spawn(root, program.clone())).await,
            Address::Auto => Builder::first_there(wanted, root, events).await,
        }
    }

    async fn first_there(wanted: &Wanted, root: PathBuf, events: &Events) -> anyhow::Result<Builder> {
        if let Some(host) = &wanted.buildkit_host {
            let address: Address = host.parse().map_err(anyhow::Error::msg).explain(
                Kind::Usage,
                format!("could not use BUILDKIT_HOST={host}"),
                format!(
                    "set it to unix:///PATH or tcp://HOST:PORT, or name a builder with --builder ({})",
                    super::ADDRESS_FORMS
                ),
            )?;
            events.note(format!("builder: {host}, from BUILDKIT_HOST"));
            return match address {
                Address::Unix(socket) => Builder::running(&socket, root).await,
                Address::Tcp { host, port } => Builder::remote(&host, port, &wanted.tls, root).await,
                Address::Spawn(program) => Builder::spawn(wanted.spawn(root, program)).await,
                Address::Auto => Err(Failure::new(
                    Kind::Usage,
                    "could not use BUILDKIT_HOST=auto",
                    "set it to unix:///PATH or tcp://HOST:PORT, or unset it",
                )),
            };
        }
        // A daemon on another root would warm the wrong one.
        if wanted.root.is_none() && Path::new(USUAL_SOCKET).exists() {
            events.note(format!("builder: unix://{USUAL_SOCKET} is there"));
            return Builder::running(Path::new(USUAL_SOCKET), root).await;
        }
        let passed_over = match wanted.root {
            Some(_) => format!("passed over {USUAL_SOCKET}, because --root was given"),
            None => format!("no {USUAL_SOCKET}"),
        };
        events.note(format!("builder: a private buildkitd on {} ({passed_over})", root.display()));
        Builder::spawn(wanted.spawn(root, None)).await
    }

    async fn running(socket: &Path, root: PathBuf) -> anyhow::Result<Builder> {
        let channel = unix::dial(socket).await?;
        Builder::introduce(channel, "unix", format!("unix://{}", socket.display()), root, None).await
    }

    async fn remote(host: &str, port: u16, tls: &Tls, root: PathBuf) -> anyhow::Result<Builder> {
        let channel = tcp::dial(host, port, tls).await?;
        Builder::introduce(channel, "tcp", tcp::shown(host, port), root, None).await
    }

    /// Starts a private buildkitd and waits until it answers.
    pub(crate) async fn spawn(spawn: Spawn) -> anyhow::Result<Builder> {
        let root = spawn.root.clone();
        let (daemon, channel) = spawn.start().await?;
        let address = format!("spawn:{}", daemon.program().display());
        Builder::introduce(channel, "spawn", address, root, Some(daemon)).await
    }

    async fn introduce(
        channel: Channel,
        kind: &'static str,
        address: String,
        root: PathBuf,
        daemon: Option<Daemon>,
    ) -> anyhow::Result<Builder> {
        let mut control = ControlClient::new(channel.clone());
        let asked = tokio::time::timeout(CALL_TIMEOUT, async {
            let workers = control.list_workers(ListWorkersRequest::default()).await?.into_inner().record;
            let info = control.info(InfoRequest::default()).await?.into_inner();
            anyhow::Ok((workers, info))
        });
        let answer = asked.await.context("it did not answer in time").and_then(|answer| answer);
        let (workers, info) = answer.map_err(|error| {
            // With TLS 1.3 a daemon refuses a client's certificate only after the client thinks that all is well.
            let hint = match kind {
                "tcp" => tcp::hint(&error).unwrap_or(tcp::UNANSWERED),
                _ => "check that a buildkitd of v0.12 or later listens there",
            };
            Failure::because(error, Kind::Environment, format!("could not talk to the builder at {address}"), hint)
        })?;
        let version = info.buildkit_version.map(|version| version.version).unwrap_or_default();
        let worker = workers.into_iter().next();
        let worker_id = worker.as_ref().map(|worker| worker.id.clone()).unwrap_or_default();
        let platform = worker.and_then(|worker| worker.platforms.into_iter().next());
        let program = daemon.as_ref().map(|daemon| daemon.program().to_owned());
        Ok(Builder { channel, kind, address, version, root, worker_id, platform, program, daemon })
    }

    /// Stops the daemon if it is ours, and waits until its databases are closed and on disk.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        match self.daemon.take() {
            Some(daemon) => daemon.stop().await,
            None => Ok(()),
        }
    }

    /// The last lines of our daemon's log, if it ended by itself or is just about to.
    pub(crate) async fn last_words(&mut self) -> Option<String> {
        let daemon = self.daemon.as_mut()?;
        // A broken connection is seen before the process is gone.
        for _ in 0..40 {
            if daemon.has_ended() {
                return Some(daemon.log_tail());
            }
            retry::pause(Duration::from_millis(50)).await;
        }
        None
    }
}
