//! A buildkitd in a container: found, spoken to, and, when we made it, stopped and removed on every way out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerState, MountPoint};
use bollard::query_parameters::{
    InspectContainerOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures::TryStreamExt as _;
use tonic::transport::Channel;

use super::exec;
use super::owner::{self, Owner};
use super::{Engine, client, is_absent, refused};
use crate::buildkit::connect::complaints::Complaints;
use crate::buildkit::connect::state_root::USUAL;
use crate::buildkit::connect::{StateRoot, log};
use crate::event::Events;
use crate::failure::{Failure, Kind};
use crate::retry;

/// A daemon with large databases takes a while to open them.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Seconds until Docker kills it: it ends running requests first, then closes its databases.
const STOP_SECONDS: i32 = 60;
/// The exit code of what was killed.
const KILLED: i64 = 137;
/// One that does not answer at all should not hold us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Lines of its log that are asked for; most of them may be of a stack trace.
const LOG_LINES: &str = "200";

/// A container with a buildkitd.
#[derive(Debug)]
pub(in crate::buildkit::connect) struct Container {
    engine: Engine,
    name: String,
    /// Whether it goes when we go.
    is_ours: bool,
    complaints: Complaints,
}

impl Container {
    /// The running container of that name, or of the first node of the buildx builder of that name; none if neither is
    /// there. What a killed run of ours left is removed.
    ///
    /// # Errors
    /// Explained: it does not run, or belongs to a run that is going on.
    pub(in crate::buildkit::connect) async fn find(
        engine: &Engine,
        name: &str,
        events: &Events,
    ) -> anyhow::Result<Option<(Container, StateRoot)>> {
        for name in [name.to_owned(), format!("buildx_buildkit_{name}0")] {
            let Some(found) = inspect(engine, &name).await? else { continue };
            if removed_leftover(engine, &name, &found, events).await? {
                continue;
            }
            let state = found.state.clone().unwrap_or_default();
            if state.running != Some(true) || state.paused == Some(true) {
                return Err(Failure::new(
                    Kind::Environment,
                    format!("the container {name} is there and {}", words(&state)),
                    format!("start it (`docker start {name}`), or remove it (`docker rm {name}`) to have one made"),
                ));
            }
            let root = state_root(&found, &name);
            return Ok(Some((Container::new(engine, name, false), root)));
        }
        Ok(None)
    }

    pub(super) fn new(engine: &Engine, name: String, is_ours: bool) -> Container {
        Container { engine: engine.clone(), name, is_ours, complaints: Complaints::default() }
    }

    /// Its name, as Docker has it.
    pub(in crate::buildkit::connect) fn name(&self) -> &str {
        &self.name
    }

    /// A channel to its buildkitd.
    pub(in crate::buildkit::connect) async fn channel(&self) -> anyhow::Result<Channel> {
        exec::dial(&self.engine.docker, &self.name, &self.complaints).await
    }

    /// Waits until the buildkitd in a container that was just started answers `is_answered`.
    ///
    /// # Errors
    /// Explained with its log: it ended, or does not answer in time.
    pub(in crate::buildkit::connect) async fn ready<F: Future<Output = bool>>(
        &self,
        is_answered: impl Fn(Channel) -> F,
    ) -> anyhow::Result<Channel> {
        let answer = async || {
            if let Ok(channel) = self.channel().await
                && tokio::time::timeout(ANSWER_TIMEOUT, is_answered(channel.clone())).await == Ok(true)
            {
                return Ok(Some(Some(channel)));
            }
            Ok(self.has_ended().await.then_some(None))
        };
        let what = match retry::until(START_TIMEOUT, Duration::from_millis(50), answer).await? {
            Some(Some(channel)) => return Ok(channel),
            Some(None) => "ended at its start".to_owned(),
            None => format!("did not answer within {} s", START_TIMEOUT.as_secs()),
        };
        Err(Failure::new(
            Kind::Environment,
            format!("the buildkitd in the container {} {what}{}", self.name, self.last_words().await),
            "see what it said; it needs an image with buildkitd, buildctl and runc, and a state root of its own",
        ))
    }

    /// What it wrote last, and what kept us from speaking to it, as the end of a sentence.
    pub(in crate::buildkit::connect) async fn last_words(&self) -> String {
        let log = self.log_tail().await;
        let log = if log.trim().is_empty() { ", and said nothing".to_owned() } else { format!(":\n{log}") };
        match self.complaints.text() {
            complaints if complaints.is_empty() => log,
            complaints => format!("{log}\n`buildctl dial-stdio` in it says: {complaints}"),
        }
    }

    /// The last lines of its log.
    pub(in crate::buildkit::connect) async fn log_tail(&self) -> String {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(LOG_LINES).build();
        let lines = self.engine.docker.logs(&self.name, Some(options)).try_collect::<Vec<LogOutput>>().await;
        log::tail(&lines.unwrap_or_default().iter().map(ToString::to_string).collect::<String>())
    }

    /// Whether it does not run any more.
    pub(in crate::buildkit::connect) async fn has_ended(&self) -> bool {
        match inspect(&self.engine, &self.name).await {
            Ok(found) => found.and_then(|found| found.state).is_none_or(|state| state.running != Some(true)),
            // Docker does not say.
            Err(_) => false,
        }
    }

    /// Whether it goes when we go.
    pub(in crate::buildkit::connect) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Lets it stay when we go.
    pub(in crate::buildkit::connect) fn keep(&mut self) {
        self.is_ours = false;
    }

    /// Ends and removes it, if we made it to go with us: SIGTERM, then waiting until its databases are closed.
    pub(in crate::buildkit::connect) async fn stop(mut self) -> anyhow::Result<()> {
        if self.is_ours {
            end(&self.engine, &self.name).await?;
            self.is_ours = false;
        }
        Ok(())
    }
}

impl Drop for Container {
    /// For ways out that could not wait: Docker is asked to kill and remove it.
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let (endpoint, name) = (self.engine.endpoint.clone(), self.name.clone());
        // A thread and runtime of its own, because nothing can be awaited here.
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let docker = client(&endpoint)?;
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            anyhow::Ok(runtime.block_on(docker.remove_container(&name, Some(options)))?)
        });
        if !matches!(removed.join(), Ok(Ok(()))) {
            tracing::warn!("could not remove the container {0}: `docker rm -f {0}` does", self.name);
        }
    }
}

async fn inspect(engine: &Engine, name: &str) -> anyhow::Result<Option<ContainerInspectResponse>> {
    match engine.docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => {
            let hint = "see what Docker says; `docker ps -a` lists its containers";
            Err(refused(error, format!("could not look at the container {name}"), hint))
        }
    }
}

/// Stops a container so that its databases are closed, and removes it with its anonymous volumes.
async fn end(engine: &Engine, name: &str) -> anyhow::Result<()> {
    let hint = "see what Docker says; `docker rm -f` removes it, and what is on disk stays";
    let options = StopContainerOptionsBuilder::default().t(STOP_SECONDS).build();
    match engine.docker.stop_container(name, Some(options)).await {
        Err(error) if !is_absent(&error) => {
            return Err(refused(error, format!("could not stop the container {name}"), hint));
        }
        _ => {}
    }
    let ended = inspect(engine, name).await?.and_then(|found| found.state).and_then(|state| state.exit_code);
    let log = if ended == Some(KILLED) {
        Container::new(engine, name.to_owned(), false).last_words().await
    } else {
        String::new()
    };
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match engine.docker.remove_container(name, Some(options)).await {
        Err(error) if !is_absent(&error) => Err(refused(error, format!("could not remove the container {name}"), hint)),
        _ if ended == Some(KILLED) => Err(Failure::new(
            Kind::Environment,
            format!("the buildkitd in the container {name} did not end within {STOP_SECONDS} s and was killed{log}"),
            "run the same command again; what is on disk stays",
        )),
        _ => Ok(()),
    }
}

/// Removes a container that a killed run of ours left. One of a run that goes on, or of who knows whom, is an error.
async fn removed_leftover(
    engine: &Engine,
    name: &str,
    found: &ContainerInspectResponse,
    events: &Events,
) -> anyhow::Result<bool> {
    let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
    let Some(label) = labels.and_then(|labels| labels.get(owner::LABEL)) else { return Ok(false) };
    let (whose, hint) = match owner::of(label) {
        Owner::Gone => {
            events.note(format!("removing the container {name}, which a run that was killed left"));
            end(engine, name).await?;
            return Ok(true);
        }
        Owner::Alive(id) => {
            let hint = "wait for that run, or name another container with --builder docker-container://NAME";
            (format!("the run of cachewarm that is process {id}"), hint.to_owned())
        }
        Owner::Unknown => {
            let hint = format!("if that run is over, remove what it left: `docker rm -f {name}`");
            ("a run of cachewarm on another machine, in another container, or before a reboot".to_owned(), hint)
        }
    };
    Err(Failure::new(Kind::Environment, format!("the container {name} belongs to {whose}"), hint))
}

fn words(state: &ContainerState) -> String {
    match (state.paused, state.exit_code) {
        (Some(true), _) => "paused".to_owned(),
        (_, Some(code)) => format!("does not run; it ended with exit code {code}"),
        (_, None) => "does not run".to_owned(),
    }
}

/// Where the state root of a container's buildkitd is on Docker's machine.
fn state_root(found: &ContainerInspectResponse, name: &str) -> StateRoot {
    let inside = root_inside(found.args.as_deref().unwrap_or_default());
    match outside(&inside, found.mounts.as_deref().unwrap_or_default()) {
        Some(path) => StateRoot::At(path),
        None => StateRoot::OutOfReach(format!(
            "the container {name} keeps its state root {} to itself: nothing of this machine is mounted there",
            inside.display()
        )),
    }
}

/// What `--root` says, else where buildkitd has it.
fn root_inside(arguments: &[String]) -> PathBuf {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if let Some(root) = argument.strip_prefix("--root=") {
            return root.into();
        }
        if argument == "--root"
            && let Some(root) = arguments.next()
        {
            return root.into();
        }
    }
    USUAL.into()
}

/// The path outside of a path inside; the innermost mount counts. Of a volume, Docker says where it is, too.
fn outside(inside: &Path, mounts: &[MountPoint]) -> Option<PathBuf> {
    let mounted = mounts.iter().filter_map(|mount| {
        let rest = inside.strip_prefix(mount.destination.as_ref()?).ok()?;
        let source = mount.source.as_ref().filter(|source| !source.is_empty())?;
        let whole = if rest.as_os_str().is_empty() { PathBuf::from(source) } else { Path::new(source).join(rest) };
        Some((mount.destination.as_ref()?.len(), whole))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_root_is_found_through_the_innermost_mount() {
        let mount = |source: &str, destination: &str| MountPoint {
            source: Some(source.into()),
            destination: Some(destination.into()),
            ..MountPoint::default()
        };
        let mounts = [mount("/", "/var"), mount("/srv/state", "/var/lib/buildkit"), mount("/cgroup", "/sys/fs/cgroup")];
        assert_eq!(outside(Path::new("/var/lib/buildkit"), &mounts), Some("/srv/state".into()));
        assert_eq!(outside(Path::new("/var/lib/buildkit/x"), &mounts), Some("/srv/state/x".into()));
        assert_eq!(outside(Path::new("/var/other"), &mounts), Some("/other".into()));
        assert_eq!(outside(Path::new("/home"), &mounts), None);
        let arguments = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(root_inside(&arguments(&["--debug", "--root", "/state"])), Path::new("/state"));
        assert_eq!(root_inside(&arguments(&["--root=/state"])), Path::new("/state"));
        assert_eq!(root_inside(&arguments(&["--root"])), Path::new(USUAL));
    }
}
