//! A private buildkitd on a state root: started, waited for, and stopped cleanly on every way out.
//!
//! It dies with us: `setpriv --pdeathsig` has the kernel send it SIGTERM when we are killed, so that nothing goes
//! on holding the root. It is in a process group of its own, so that Ctrl-C reaches only us, and we end it in order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::config::{self, Private};
use super::{log, state_root, unix};
use crate::child;
use crate::failure::{Explain, Failure, Kind};
use crate::retry;

/// A daemon with large databases takes a while to open them.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// It ends running requests first, then closes its databases.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const LOG_TAIL_BYTES: u64 = 16_000;

/// How to start a private buildkitd.
#[derive(Debug, Clone)]
pub(crate) struct Spawn {
    /// The state root.
    pub(crate) root: PathBuf,
    /// The binary; `buildkitd` in `PATH` when absent.
    pub(crate) program: Option<PathBuf>,
    /// A buildkitd.toml to start from.
    pub(crate) config: Option<PathBuf>,
    /// Its snapshotter; its own choice when absent.
    pub(crate) snapshotter: Option<String>,
    /// Whether it refuses to run any step.
    pub(crate) refuse_steps: bool,
    /// What it lets builds be granted: `network.host` and the like.
    pub(crate) entitlements: Vec<String>,
}

/// A daemon that runs. Dropping it kills it; [`Daemon::stop`] ends it well.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    program: PathBuf,
    // Socket, configuration and log; removed with the daemon.
    runtime: TempDir,
    // Its TMPDIR. Only ever emptied of empty directories: a mount that was left must not be emptied with it.
    mounts: PathBuf,
    stopped: bool,
}

impl Spawn {
    /// A daemon on `root`, as the person wants it.
    pub(crate) fn on(root: PathBuf, program: Option<PathBuf>, config: Option<PathBuf>) -> Spawn {
        Spawn { root, program, config, snapshotter: None, refuse_steps: false, entitlements: Vec::new() }
    }

    /// The snapshotter that it was given, or that a machine's configuration asks for; none when that leaves it to the daemon.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub(crate) fn told_snapshotter(&self) -> anyhow::Result<Option<String>> {
        match &self.snapshotter {
            Some(given) => Ok(Some(given.clone())),
            None => config::configured_snapshotter(self.config.as_deref()),
        }
    }

    /// The same beside a daemon that runs with this snapshotter: only a configuration that is named asks for another one.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub(crate) fn beside(self, running: String) -> anyhow::Result<Spawn> {
        let named =
            self.config.as_deref().map(|file| config::configured_snapshotter(Some(file))).transpose()?.flatten();
        Ok(Spawn { snapshotter: named.or(Some(running)), ..self })
    }

    /// Whether there is a buildkitd to start, before much else is done.
    ///
    /// # Errors
    /// Explained: when there is none.
    pub(crate) async fn can_start(&self) -> anyhow::Result<()> {
        let program = self.program.clone().unwrap_or_else(|| "buildkitd".into());
        let answer = tokio::process::Command::from(child::command(&program)).arg("--version").output().await;
        answer.map(drop).explain(
            Kind::Environment,
            format!("could not start {}, which the proof needs", program.display()),
            "install buildkitd so that it is in PATH, or warm without a proof (--no-prove)",
        )
    }

    /// Starts the daemon and waits until it answers.
    pub(super) async fn start(&self) -> anyhow::Result<(Daemon, Channel)> {
        state_root::prepare(&self.root)?;
        if !state_root::becomes_free(&self.root).await? {
            return Err(self.locked());
        }
        let mut daemon = self.launch()?;
        let socket = daemon.runtime.path().join("buildkitd.sock");
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = daemon.child.try_wait().context("waiting for buildkitd")? {
                daemon.stopped = true;
                return Err(self.exited(&daemon, &status.to_string()));
            }
            if socket.exists()
                && let Ok(channel) = unix::connect(socket.clone()).await
            {
                return Ok((daemon, channel));
            }
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Kind::Environment,
                    format!("buildkitd did not answer within {} s{}", START_TIMEOUT.as_secs(), daemon.log_text()),
                    "look at what it said above; start it by hand on the same root to see more",
                ));
            }
            retry::pause(Duration::from_millis(20)).await;
        }
    }

    fn locked(&self) -> anyhow::Error {
        state_root::held(&self.root, "unix://SOCKET")
    }

    fn launch(&self) -> anyhow::Result<Daemon> {
        let program = self.program.clone().unwrap_or_else(|| "buildkitd".into());
        let runtime = runtime_dir().context("making a directory for the socket of buildkitd")?;
        let given = config::read(self.config.as_deref())?;
        let socket = runtime.path().join("buildkitd.sock");
        let private = Private {
            root: &self.root,
            socket: &socket,
            snapshotter: self.snapshotter.as_deref(),
            refuse_steps: self.refuse_steps.then(|| runtime.path()),
            collects_garbage: false,
            entitlements: &self.entitlements,
        };
        let config = config::private(&given, &private).explain(
            Kind::Usage,
            "could not use the buildkitd configuration",
            "correct the file that --buildkitd-config names",
        )?;
        let config_path = runtime.path().join("buildkitd.toml");
        std::fs::write(&config_path, config).context("writing the configuration of buildkitd")?;
        let log = File::create(runtime.path().join("buildkitd.log")).context("making the log of buildkitd")?;
        let mut command = child::command("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(&program).arg("--config").arg(&config_path);
        command.arg("--root").arg(&self.root);
        // It forgets mount points when it is interrupted, and they are ours to remove.
        let mounts =
            tempfile::Builder::new().prefix("cachewarm-").tempdir().context("making a directory for mounts")?;
        let mounts = mounts.keep();
        command.env("TMPDIR", &mounts);
        let child = self.run(command, &log)?;
        Ok(Daemon { child, program, runtime, mounts, stopped: false })
    }

    fn run(&self, mut command: Command, log: &File) -> anyhow::Result<Child> {
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().context("sharing the log of buildkitd")?);
        command.stderr(log.try_clone().context("sharing the log of buildkitd")?);
        command.spawn().explain(
            Kind::Environment,
            "could not run setpriv, which starts buildkitd",
            "install util-linux (`apt-get install util-linux`)",
        )
    }

    fn exited(&self, daemon: &Daemon, status: &str) -> anyhow::Error {
        let log = daemon.log_tail();
        if log.contains("could not lock") {
            return self.locked();
        }
        if log.contains("failed to execute") {
            return Failure::new(
                Kind::Environment,
                format!("could not start {}: {}", daemon.program.display(), log.trim()),
                "install buildkitd so that it is in PATH, or name it with --builder spawn:/PATH/TO/buildkitd",
            );
        }
        Failure::new(
            Kind::Environment,
            format!("buildkitd ended at its start ({status}){}", daemon.log_text()),
            "see what it said; buildkitd needs root, runc, and a state root of its own",
        )
    }
}

/// A short path: sockets have room for 107 bytes. `/run` is in memory on most machines.
fn runtime_dir() -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("cachewarm-");
    builder.tempdir_in("/run").or_else(|_| builder.tempdir())
}

impl Daemon {
    /// The binary.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Ends it: SIGTERM, then waiting until its databases are closed. Whatever it says about being forced is
    /// how it always ends.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait().context("waiting for buildkitd to end")?.is_none() {
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Kind::Environment,
                    format!(
                        "buildkitd did not end within {} s and was killed{}",
                        STOP_TIMEOUT.as_secs(),
                        self.log_text()
                    ),
                    "run the same command again; what is on disk stays",
                ));
            }
            retry::pause(Duration::from_millis(10)).await;
        }
        self.stopped = true;
        Ok(())
    }

    /// Whether it ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// The last lines it wrote.
    pub(super) fn log_tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.runtime.path().join("buildkitd.log"))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        log::tail(&read().unwrap_or_default())
    }

    fn log_text(&self) -> String {
        match self.log_tail() {
            tail if tail.trim().is_empty() => ", and said nothing".to_owned(),
            tail => format!(":\n{tail}"),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may just have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.stopped {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        for left in std::fs::read_dir(&self.mounts).into_iter().flatten().flatten() {
            // Mostly there is no mount, or no directory any more; what matters is that none is left.
            let unmounted = rustix::mount::unmount(left.path(), UnmountFlags::DETACH);
            if unmounted == Err(Errno::INVAL) && left.file_type().is_ok_and(|kind| kind.is_dir()) {
                // Never was one: where a daemon that died put a build's metadata.
                for file in std::fs::read_dir(left.path()).into_iter().flatten().flatten() {
                    let _ = std::fs::remove_file(file.path());
                }
            }
            let _ = std::fs::remove_dir(left.path());
        }
        if let Err(error) = std::fs::remove_dir(&self.mounts) {
            tracing::warn!("could not remove {}: {error}", self.mounts.display());
        }
    }
}
