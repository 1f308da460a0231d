//! A private buildkitd on a state root: started, waited for, and stopped cleanly on every way out.
//!
//! It dies with us: `setpriv --pdeathsig` has the kernel send it a signal when we are killed, so that nothing goes
//! on holding the root. It is in a process group of its own, so that Ctrl-C reaches only us, and we end it in order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tonic::transport::Channel;

use super::config::{self, Private};
use super::{log, running, state_root, unix};
use crate::child::{self, Containment};
use crate::failure::{Explain, Failure, Kind};
use crate::retry;
use crate::scratch::Scratch;

/// A daemon with large databases takes a while to open them.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// It ends running requests first, then closes its databases.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const LOG_TAIL_BYTES: u64 = 16_000;
/// Goes on only below the process whose id is the first argument: we may have been killed before the kernel was asked to
/// tell it.
const IF_WE_LIVE: &str = r#"[ "$PPID" = "$0" ] && exec "$@""#;

/// How to start a private buildkitd.
#[derive(Debug, Clone)]
pub(crate) struct Spawn {
    /// The state root.
    pub(crate) root: PathBuf,
    /// A file that it keeps open as long as it lives: the lock of the directory that its root is in.
    pub(crate) holds: Option<Arc<File>>,
    /// The binary; `buildkitd` in `PATH` when absent.
    pub(crate) program: Option<PathBuf>,
    /// A buildkitd.toml to start from.
    pub(crate) config: Option<PathBuf>,
    /// Where none is named: the text of another daemon's, of which only the registries count.
    pub(crate) registries: Option<String>,
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
    runtime: Scratch,
    // Its TMPDIR: it forgets mounts and files there when it is interrupted.
    #[expect(dead_code, reason = "dropping it removes it")]
    mounts: Scratch,
    stopped: bool,
}

impl Spawn {
    /// A daemon on `root`, as the person wants it.
    pub(crate) fn on(root: PathBuf, program: Option<PathBuf>, config: Option<PathBuf>) -> Spawn {
        let entitlements = Vec::new();
        Spawn {
            root,
            holds: None,
            program,
            config,
            registries: None,
            snapshotter: None,
            refuse_steps: false,
            entitlements,
        }
    }

    /// The same with the registries of the daemon that uses its root, where there is one and no configuration is named.
    pub(crate) fn reaching_as_the_running_one(self) -> Spawn {
        let registries = if self.config.is_none() { running::configuration(&self.root) } else { None };
        Spawn { registries, ..self }
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
        let answer = async || {
            if let Some(status) = daemon.child.try_wait().context("waiting for buildkitd")? {
                daemon.stopped = true;
                return Err(self.exited(&daemon, &status.to_string()));
            }
            // One that dies after it began to listen is to be seen here, with what it said.
            if socket.exists()
                && let Ok(channel) = unix::connect(socket.clone()).await
                && super::workers(channel.clone()).await.is_ok()
            {
                return Ok(Some(channel));
            }
            Ok(None)
        };
        match retry::until(START_TIMEOUT, Duration::from_millis(20), answer).await? {
            Some(channel) => Ok((daemon, channel)),
            None => Err(Failure::new(
                Kind::Environment,
                format!("buildkitd did not answer within {} s{}", START_TIMEOUT.as_secs(), daemon.log_text()),
                "look at what it said above; start it by hand on the same root to see more",
            )),
        }
    }

    fn locked(&self) -> anyhow::Error {
        state_root::held(&self.root, "unix://SOCKET")
    }

    fn launch(&self) -> anyhow::Result<Daemon> {
        let program = self.program.clone().unwrap_or_else(|| "buildkitd".into());
        let runtime = runtime_dir().context("making a directory for the socket of buildkitd")?;
        let mut given = config::read(config::of_machine(self.config.as_deref()))?;
        if let Some(other) = &self.registries {
            given = config::with_registries(&given, other).explain(
                Kind::Environment,
                "could not take over the registries of the running buildkitd",
                "name its configuration with --buildkitd-config",
            )?;
        }
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
        let contained = child::containment();
        // The process that waits for it passes on no signal, and sends one itself when it is killed.
        let signal = if contained == Containment::Full { "KILL" } else { "TERM" };
        command.args(["--pdeathsig", signal, "--", "sh", "-c", IF_WE_LIVE]).arg(std::process::id().to_string());
        command.args(contained.prefix()).arg(&program).arg("--config").arg(&config_path);
        command.arg("--root").arg(&self.root);
        let mounts = Scratch::new("cachewarm-mounts-").context("making a directory for mounts")?;
        command.env("TMPDIR", mounts.path());
        let child = self.run(command, &log, &runtime)?;
        Ok(Daemon { child, program, runtime, mounts, stopped: false })
    }

    fn run(&self, mut command: Command, log: &File, runtime: &Scratch) -> anyhow::Result<Child> {
        // It reads and writes nothing there, and makes its directories anew if they are removed while it ends.
        command.stdin(match &self.holds {
            Some(lock) => lock.try_clone().context("sharing a lock with buildkitd")?.into(),
            None => Stdio::null(),
        });
        command.stdout(runtime.share().context("sharing a lock with buildkitd")?).process_group(0);
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
        if log.contains("failed to execute") || log.contains("exec: ") {
            // What starts it names itself in front of the kernel's words.
            let why = log.trim().rsplit(": ").next().unwrap_or_default();
            return Failure::new(
                Kind::Environment,
                format!("could not start {}: {why}", daemon.program.display()),
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
fn runtime_dir() -> anyhow::Result<Scratch> {
    Scratch::new_in(Path::new("/run"), "cachewarm-").or_else(|_| Scratch::new("cachewarm-"))
}

impl Daemon {
    /// The binary.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Ends it: SIGTERM, then waiting until its databases are closed. Whatever it says about being forced is
    /// how it always ends.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        match child::containment() {
            Containment::Full => child::terminate_below(&mut self.child),
            _ => child::terminate(&mut self.child),
        }
        let end = async || self.child.try_wait().context("waiting for buildkitd to end");
        if retry::until(STOP_TIMEOUT, Duration::from_millis(10), end).await?.is_none() {
            return Err(Failure::new(
                Kind::Environment,
                format!("buildkitd did not end within {} s and was killed{}", STOP_TIMEOUT.as_secs(), self.log_text()),
                "run the same command again; what is on disk stays",
            ));
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
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.stopped {
            child::kill_with_descendants(&mut self.child);
        }
    }
}
