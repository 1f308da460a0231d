//! A real buildkitd on a root and a socket of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::ground::tool;
use super::process::{Process, command};
use super::wait_until;

/// A daemon; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Builder {
    socket: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Builder {
    /// Starts a daemon on `root`, its socket and log in `folder`, and waits until it answers.
    pub(crate) fn start(folder: &Path, root: &Path, config: &Path) -> Builder {
        Builder::started_by(command(tool("BUILDKITD")), folder, root, config)
    }

    /// As [`Builder::start`]; `daemon` is the command that becomes buildkitd once it has its arguments.
    pub(crate) fn started_by(mut daemon: Command, folder: &Path, root: &Path, config: &Path) -> Builder {
        daemon.arg("--oci-worker-gc=false");
        Builder::run(daemon, folder, root, config)
    }

    /// A daemon that collects garbage as its configuration says, after its first collection; that has to find some.
    pub(crate) fn after_collection(folder: &Path, root: &Path, config: &Path) -> Builder {
        let mut daemon = command(tool("BUILDKITD"));
        daemon.arg("--debug");
        let builder = Builder::run(daemon, folder, root, config);
        wait_until("garbage is collected", 30, || builder.log().contains("gc cleaned up "));
        builder
    }

    fn run(mut daemon: Command, folder: &Path, root: &Path, config: &Path) -> Builder {
        fs::create_dir_all(folder).unwrap();
        let (socket, log) = (folder.join("buildkitd.sock"), folder.join("buildkitd.log"));
        let file = fs::File::create(&log).unwrap();
        daemon.arg("--root").arg(root).arg("--config").arg(config).arg(format!("--addr=unix://{}", socket.display()));
        // Every buildkitd of a machine takes over the usual one, and of two that start at once one may fail.
        daemon.arg(format!("--otel-socket-path={}", folder.join("traces.sock").display()));
        daemon.arg("--containerd-worker=false");
        daemon.stdout(file.try_clone().unwrap()).stderr(file);
        let mut builder = Builder { socket, log, process: Process::start(daemon) };
        wait_until("buildkitd answers", 30, || {
            assert!(builder.process.ended().is_none(), "buildkitd ended: {}", builder.log());
            builder.buildctl(&["debug", "workers"]).status.success()
        });
        builder
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Its address, as `--builder` takes it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Builds a folder's Dockerfile with BuildKit's own client.
    pub(crate) fn build(&self, context: &Path, more: &[&str]) -> Built {
        let context = context.display();
        let (local, dockerfile) = (format!("context={context}"), format!("dockerfile={context}"));
        let mut arguments = vec!["build", "--progress=rawjson", "--frontend=dockerfile.v0"];
        arguments.extend(["--local", &local, "--local", &dockerfile]);
        arguments.extend(more);
        Built(self.buildctl(&arguments))
    }

    /// Builds the Dockerfile of a repository.
    pub(crate) fn fetch(&self, repository: &str, more: &[&str]) -> Built {
        let context = format!("context={repository}");
        let fixed = ["build", "--progress=rawjson", "--frontend=dockerfile.v0", "--opt", &context];
        Built(self.buildctl(&[fixed.as_slice(), more].concat()))
    }

    /// What it counts as its cache, by record: id and bytes.
    pub(crate) fn disk_usage(&self) -> BTreeMap<String, u64> {
        let listed = self.buildctl(&["du", "--format", "{{json .}}"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let records: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
        let row =
            |record: &serde_json::Value| (record["id"].as_str().unwrap().to_owned(), record["size"].as_u64().unwrap());
        records.iter().map(row).collect()
    }

    /// Has it forget everything that nothing holds.
    pub(crate) fn prune(&self) {
        let pruned = self.buildctl(&["prune", "--all"]);
        assert!(pruned.status.success(), "{}", String::from_utf8_lossy(&pruned.stderr));
    }

    fn buildctl(&self, arguments: &[&str]) -> Output {
        let mut buildctl = Command::new(tool("BUILDCTL"));
        buildctl.arg("--addr").arg(self.address()).args(arguments).output().unwrap()
    }
}

/// What a build by buildctl printed.
#[derive(Debug)]
pub(crate) struct Built(pub(crate) Output);

impl Built {
    /// Panics unless the build succeeded.
    pub(crate) fn succeeded(self) -> Built {
        assert!(self.0.status.success(), "{}", self.text());
        self
    }

    /// All it printed.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.0.stdout), String::from_utf8_lossy(&self.0.stderr))
    }

    /// The status messages among it.
    pub(crate) fn messages(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
