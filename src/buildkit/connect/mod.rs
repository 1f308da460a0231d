//! Reaching a builder, or starting one.

mod auto;
mod buildx;
mod complaints;
mod config;
mod dialed;
mod docker;
mod log;
mod registries;
mod runc;
mod running;
mod spawn;
mod state_root;
mod tcp;
mod unix;
mod version;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::types::WorkerRecord;
use bollard_buildkit_proto::moby::buildkit::v1::{InfoRequest, ListWorkersRequest};
use bollard_buildkit_proto::pb;
use tonic::Code;
use tonic::transport::Channel;

use super::Address;
use super::address::Dialed;
use crate::buildkit::refusal::Refusal;
use crate::event::Events;
use crate::failure::{Failure, Kind};
use crate::retry;
use docker::{Container, Engine};
use spawn::Daemon;

pub(crate) use config::of_machine as config_of_machine;
pub(crate) use docker::{Create, DockerHost};
pub(crate) use registries::registries;
pub(crate) use runc::{is_stand_in, stand_in};
pub(crate) use spawn::Spawn;
pub(crate) use state_root::{StateRoot, USUAL as USUAL_ROOT};
pub(crate) use tcp::Tls;
pub(crate) use version::{program_version, usual_daemon};

/// Where a buildkitd listens unless told otherwise.
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
    /// Which Docker is meant.
    pub(crate) docker: DockerHost,
    /// What a container that has to be created is like; none is created, and `auto` starts nothing, when absent.
    pub(crate) create: Option<Create>,
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// `--buildkitd-config`.
    pub(crate) config: Option<PathBuf>,
    /// Whether a daemon of ours refuses to run any step; one in a container cannot be made to.
    pub(crate) refuse_steps: bool,
    /// What a daemon of ours lets builds be granted: `network.host` and the like.
    pub(crate) entitlements: Vec<String>,
}

impl Wanted {
    /// The same for builds that need these entitlements, and perhaps no step to run.
    pub(crate) fn for_run(&self, entitlements: Vec<String>, refuse_steps: bool) -> Wanted {
        Wanted { entitlements, refuse_steps, ..self.clone() }
    }

    /// The state root, where nothing tells more.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| state_root::USUAL.into())
    }

    fn spawn(&self, program: Option<PathBuf>) -> Spawn {
        let entitlements = self.entitlements.clone();
        Spawn { refuse_steps: self.refuse_steps, entitlements, ..Spawn::on(self.root(), program, self.config.clone()) }
    }
}

/// A builder that answered.
#[derive(Debug)]
pub(crate) struct Builder {
    /// How to talk to it.
    pub(crate) channel: Channel,
    /// `unix`, `tcp`, `spawn`, `docker-container`, `docker`, or the scheme of its address.
    pub(crate) kind: &'static str,
    /// Its address, for people.
    pub(crate) address: String,
    /// What it says of itself.
    pub(crate) version: String,
    /// Its state root: ours when we started it, else what Docker says, or we were told or guess.
    pub(crate) root: StateRoot,
    /// The id of the worker that builds; the state root holds the same one.
    pub(crate) worker_id: String,
    /// What it builds for unless told otherwise.
    pub(crate) platform: Option<pb::Platform>,
    /// The binary, when we started it.
    pub(crate) program: Option<PathBuf>,
    behind: Behind,
    has_stopped: bool,
}

/// What stands behind a builder, as far as it is our business.
#[derive(Debug)]
enum Behind {
    /// A daemon that runs whether we do or not.
    Stranger,
    /// A process of ours.
    Process(Daemon),
    /// A container, of ours or not.
    Container(Container),
    /// The programs that lead to it.
    Line(dialed::Line),
}

impl Builder {
    /// Reaches the builder, or starts it.
    ///
    /// # Errors
    /// When there is none; the message says which were looked for and what to do.
    pub(crate) async fn connect(wanted: &Wanted, events: &Events) -> anyhow::Result<Builder> {
        let builder = match &wanted.address {
            Address::Auto => Builder::first_there(wanted, events).await,
            address => Builder::at(address, wanted, events).await,
        }?;
        if wanted.refuse_steps && !matches!(builder.behind, Behind::Process(_)) {
            events.note(
                "this builder cannot be made to refuse steps: one that no cache has is stopped as soon as it shows",
            );
        }
        Ok(builder)
    }

    async fn at(address: &Address, wanted: &Wanted, events: &Events) -> anyhow::Result<Builder> {
        match address {
            Address::Auto => Err(Failure::new(
                Kind::Usage,
                "could not use BUILDKIT_HOST=auto",
                "set it to unix:///PATH or tcp://HOST:PORT, or unset it",
            )),
            Address::Unix(socket) => Builder::running(socket, wanted.root()).await,
            Address::Tcp { host, port } => Builder::remote(host, *port, &wanted.tls, wanted.root()).await,
            Address::Spawn(program) => Builder::spawn(wanted.spawn(program.clone())).await,
            Address::Container(name) => Builder::in_container(name, wanted, events).await,
            Address::Docker => Builder::in_docker(wanted).await,
            Address::Dialed(dialed) => Builder::dialed(dialed, wanted.root.clone()).await,
            Address::Buildx(name) => Box::pin(Builder::of_buildx(name, wanted, events)).await,
        }
    }

    async fn running(socket: &Path, root: PathBuf) -> anyhow::Result<Builder> {
        let channel = unix::dial(socket).await?;
        let address = format!("unix://{}", socket.display());
        Builder::introduce(channel, "unix", address, StateRoot::At(root), Behind::Stranger).await
    }

    async fn remote(host: &str, port: u16, tls: &Tls, root: PathBuf) -> anyhow::Result<Builder> {
        let channel = tcp::dial(host, port, tls).await?;
        Builder::introduce(channel, "tcp", tcp::shown(host, port), StateRoot::At(root), Behind::Stranger).await
    }

    /// One elsewhere. Whoever names its root says that it can be read here after all.
    async fn dialed(dialed: &Dialed, root: Option<PathBuf>) -> anyhow::Result<Builder> {
        let (line, channel) = dialed::Line::dial(dialed).await?;
        let elsewhere = || StateRoot::OutOfReach(format!("it is where `{}` leads", dialed.program));
        let root = root.map_or_else(elsewhere, StateRoot::At);
        Builder::introduce(channel, dialed.kind, dialed.address.clone(), root, Behind::Line(line)).await
    }

    /// Starts a private buildkitd and waits until it answers.
    pub(crate) async fn spawn(spawn: Spawn) -> anyhow::Result<Builder> {
        let root = StateRoot::At(spawn.root.clone());
        let (daemon, channel) = spawn.start().await?;
        let address = format!("spawn:{}", daemon.program().display());
        Builder::introduce(channel, "spawn", address, root, Behind::Process(daemon)).await
    }

    /// The container of that name, or a new one.
    async fn in_container(name: &str, wanted: &Wanted, events: &Events) -> anyhow::Result<Builder> {
        let engine = Engine::connect(&wanted.docker, wanted.tls.may_be_plain).await?;
        if let Some((container, mounted)) = Container::find(&engine, name, events).await? {
            if engine.is_here()
                && let (Some(wanted), Some(mounted)) = (&wanted.root, mounted.path())
                && same(wanted, mounted) == Some(false)
            {
                return Err(Failure::new(
                    Kind::Usage,
                    format!(
                        "the container {} has its state root in {}, and --root says {}",
                        container.name(),
                        mounted.display(),
                        wanted.display()
                    ),
                    "leave out --root, or name another container with --builder docker-container://NAME",
                ));
            }
            // Docker elsewhere knows other paths than we do; the worker's id tells whether it is the right root.
            let root = wanted.root.clone().map_or(mounted, StateRoot::At);
            let address = format!("docker-container://{}", container.name());
            let channel = container.channel().await?;
            return Builder::introduce(channel, CONTAINER, address, root, Behind::Container(container)).await;
        }
        let Some(create) = &wanted.create else {
            return Err(Failure::new(
                Kind::Environment,
                format!("there is no container {name} at {}", engine.address()),
                "name one that is there with --builder docker-container://NAME; `docker ps --all` lists them",
            ));
        };
        let root = wanted.root();
        events.note(format!(
            "builder: a new container {name} on {}, by {} at {}",
            root.display(),
            engine.version,
            engine.address()
        ));
        let plan = docker::Plan {
            name,
            root: &root,
            config: wanted.config.as_deref(),
            entitlements: &wanted.entitlements,
            create,
        };
        let mut container = docker::create(&engine, &plan, events).await?;
        let answers = |channel| async { workers(channel).await.is_ok() };
        let channel = container.ready(answers).await?;
        if create.keep {
            container.keep();
        }
        let address = format!("docker-container://{name}");
        Builder::introduce(channel, CONTAINER, address, StateRoot::At(root), Behind::Container(container)).await
    }

    /// The BuildKit inside dockerd.
    async fn in_docker(wanted: &Wanted) -> anyhow::Result<Builder> {
        let engine = Engine::connect(&wanted.docker, wanted.tls.may_be_plain).await?;
        let channel = docker::dial_embedded(&engine).await?;
        let root = StateRoot::OutOfReach("dockerd keeps its cache in a form of its own".to_owned());
        let mut builder = Builder::introduce(channel, "docker", engine.address(), root, Behind::Stranger).await?;
        builder.version = match builder.version.as_str() {
            "" => engine.version,
            version => format!("{version} ({})", engine.version),
        };
        Ok(builder)
    }

    async fn introduce(
        channel: Channel,
        kind: &'static str,
        address: String,
        root: StateRoot,
        behind: Behind,
    ) -> anyhow::Result<Builder> {
        let asked = tokio::time::timeout(CALL_TIMEOUT, async {
            anyhow::Ok((workers(channel.clone()).await?, version(channel.clone()).await?))
        });
        let answer = asked.await.context("it did not answer in time").and_then(|answer| answer);
        let (workers, version) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // With TLS 1.3 a daemon refuses a client's certificate only after the client thinks that all is well.
                let hint = match (kind, &behind) {
                    ("tcp", _) => tcp::hint(&error).unwrap_or(tcp::UNANSWERED).to_owned(),
                    (CONTAINER, _) => "check that buildkitd and buildctl of v0.12 or later are in it".to_owned(),
                    (_, Behind::Line(line)) => line.hint(),
                    _ => "check that a buildkitd of v0.12 or later listens there".to_owned(),
                };
                let last = match &behind {
                    Behind::Container(container) => format!("; it said last{}", container.last_words().await),
                    Behind::Line(line) => match line.last_words().await.unwrap_or_else(|| line.said()) {
                        said if said.is_empty() => said,
                        said => format!("; `{}` says: {said}", line.program()),
                    },
                    _ => String::new(),
                };
                let what = format!("could not talk to the builder at {address}{last}");
                return Err(Failure::because(error, Kind::Environment, what, hint));
            }
        };
        let worker = workers.into_iter().next();
        let worker_id = worker.as_ref().map(|worker| worker.id.clone()).unwrap_or_default();
        let platform = worker.and_then(|worker| worker.platforms.into_iter().next());
        let program = match &behind {
            Behind::Process(daemon) => Some(daemon.program().to_owned()),
            _ => None,
        };
        Ok(Builder { channel, kind, address, version, root, worker_id, platform, program, behind, has_stopped: false })
    }

    /// Stops the daemon if it is ours, and waits until its databases are closed and on disk.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.behind, Behind::Stranger) {
            Behind::Process(daemon) => {
                self.has_stopped = true;
                daemon.stop().await
            }
            Behind::Container(container) => {
                self.has_stopped = container.is_ours();
                container.stop().await
            }
            Behind::Stranger | Behind::Line(_) => Ok(()),
        }
    }

    /// Whether it is the one inside dockerd, which has images beside its cache.
    pub(crate) fn is_inside_dockerd(&self) -> bool {
        self.kind == "docker"
    }

    /// Whether it was ours and is gone: it can not be asked any more.
    pub(crate) fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// The last lines of the daemon's log, if we can have it and it ended by itself or is just about to.
    pub(crate) async fn last_words(&mut self) -> Option<String> {
        if let Behind::Line(line) = &self.behind {
            return line.last_words().await;
        }
        let tail = async || {
            Ok(match &mut self.behind {
                Behind::Process(daemon) => daemon.has_ended().then(|| Some(daemon.log_tail())),
                Behind::Container(container) => match container.has_ended().await {
                    true => Some(Some(container.log_tail().await)),
                    false => None,
                },
                Behind::Stranger | Behind::Line(_) => Some(None),
            })
        };
        // A broken connection is seen before the process is gone.
        retry::until(Duration::from_secs(2), Duration::from_millis(50), tail).await.ok()??
    }
}

/// Whether two paths are one directory, if both can be looked at.
fn same(one: &Path, other: &Path) -> Option<bool> {
    Some(one.canonicalize().ok()? == other.canonicalize().ok()?)
}

/// The kind of a builder in a container.
const CONTAINER: &str = "docker-container";

async fn workers(channel: Channel) -> anyhow::Result<Vec<WorkerRecord>> {
    Ok(ControlClient::new(channel)
        .list_workers(ListWorkersRequest::default())
        .await
        .map_err(Refusal)?
        .into_inner()
        .record)
}

/// What BuildKit says of itself; nothing from the one in Docker before 23.0, which has no word for that.
async fn version(channel: Channel) -> anyhow::Result<String> {
    match ControlClient::new(channel).info(InfoRequest::default()).await {
        Ok(info) => Ok(info.into_inner().buildkit_version.map(|version| version.version).unwrap_or_default()),
        Err(status) if status.code() == Code::Unimplemented => Ok(String::new()),
        Err(status) => Err(Refusal(status).into()),
    }
}
