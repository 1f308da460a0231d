//! A test's own world: a folder with a state root, a clean environment, and `cachewarm` run in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::ground::{self, CACHE, ground, tool};
use super::process::{self, Process, command, wait_until};
use super::registry::made;

/// A folder of its own, and what cachewarm sees in it. All of it goes when dropped.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
    /// Files of its folder that take the place of others for cachewarm and what it starts.
    covered: Vec<(&'static str, &'static str)>,
    /// Beside the clean environment.
    environment: Vec<(String, String)>,
}

impl World {
    /// An empty root, and a builder configuration with docker.io's mirror and a recorder of steps.
    pub(crate) fn new() -> World {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = made(ground::folder().join(number.to_string()));
        for name in ["home", "run", "tmp"] {
            made(folder.join(name));
        }
        let world = World { folder, covered: Vec::new(), environment: Vec::new() };
        world.configure_builder("");
        world
    }

    /// Writes the builder's configuration: docker.io's mirror, a runc that records every step, and `more`.
    pub(crate) fn configure_builder(&self, more: &str) {
        let runc = self.folder.join("runc");
        fs::write(&runc, RECORDER.replace("RECORD", self.folder.join("steps").to_str().unwrap())).unwrap();
        fs::set_permissions(&runc, fs::Permissions::from_mode(0o755)).unwrap();
        let config = ground::mirror_config(&self.folder, ground().registry.address());
        let mirror = fs::read_to_string(&config).unwrap();
        fs::write(config, format!("{mirror}[worker.oci]\n  binary = \"{}\"\n{more}", runc.display())).unwrap();
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The state root that is warmed; not made yet.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// The builder's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("buildkitd.toml")
    }

    /// From now on these host names lead to the address, for cachewarm and what it starts.
    pub(crate) fn resolve(&mut self, address: &str, names: &str) {
        fs::write(self.path("hosts"), format!("127.0.0.1 localhost\n{address} {names}\n")).unwrap();
        self.covered.push(("hosts", "/etc/hosts"));
    }

    /// From now on the machine seems to have only so many mebibytes of memory to spare.
    pub(crate) fn spare_memory(&mut self, mebibytes: u32) {
        fs::write(self.path("meminfo"), format!("MemAvailable: {} kB\n", mebibytes << 10)).unwrap();
        self.covered.push(("meminfo", "/proc/meminfo"));
    }

    /// From now on cachewarm's environment has this, too.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// From now on cachewarm's environment lacks this.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// `cachewarm warm` on the sample's commit, from its exported cache, by a daemon of its own on [`World::root`].
    pub(crate) fn warm(&self) -> Invocation<'_> {
        let sample = format!("file://{}", ground().sample.display());
        Invocation {
            world: self,
            source: vec!["--repo".into(), sample, "--rev".into(), ground().commit.clone()],
            donors: vec![donor(CACHE.1)],
            builder: format!("spawn:{}", tool("BUILDKITD").display()),
            more: Vec::new(),
            umask: None,
            names_root: true,
        }
    }

    /// The steps that were executed in containers: what each ran. Frontends are none.
    pub(crate) fn steps_run(&self) -> Vec<String> {
        let record = fs::read_to_string(self.path("steps")).unwrap_or_default();
        record.lines().map(str::to_owned).collect()
    }

    /// Panics when a step was executed or the root has the result of one.
    pub(crate) fn built_nothing(&self) {
        assert_eq!(self.steps_run(), Vec::<String>::new());
        let snapshots = self.root().join("runc-overlayfs/snapshots/snapshots");
        let count = fs::read_dir(snapshots).map_or(0, Iterator::count);
        assert_eq!(count, 0, "the root has {count} snapshots");
    }

    /// The processes that use the root.
    pub(crate) fn running(&self) -> Vec<(u32, String)> {
        process::using(&self.root())
    }

    /// Panics unless everything that was started on the root ends, at once or very soon.
    pub(crate) fn left_nothing_running(&self) {
        wait_until(&format!("{:?} ends", self.running()), 10, || self.running().is_empty());
        // In `/run` BuildKit, runc and mount keep folders of their own, for whoever comes next.
        let mut left = listed(&self.path("run"));
        left.retain(|path| path.contains("/run/cachewarm"));
        left.extend(listed(&self.path("tmp")));
        assert_eq!(left, Vec::<String>::new(), "temporary files are left");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (id, _) in process::using(&self.folder) {
            process::signal(id, "KILL");
        }
        process::unmount_below(&self.folder);
        // The janitor tries again.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Everything below a folder.
fn listed(folder: &Path) -> Vec<String> {
    let found = Command::new("find").arg(folder).args(["-mindepth", "1"]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The sample's cache, by its tag in the shared registry.
pub(crate) fn donor(tag: &str) -> String {
    format!("{}/{}:{tag}", ground().registry.address(), CACHE.0)
}

/// Stands in for runc: notes each container that is not a frontend's, then lets runc do it.
const RECORDER: &str = r#"#!/bin/sh
case " $* " in *" run "*)
  for word in "$@"; do [ "$before" = --bundle ] && bundle=$word; before=$word; done
  grep -q BUILDKIT_FRONTEND_OPT_ "$bundle/config.json" || grep -o '"args":\[[^]]*\]' "$bundle/config.json" | head -n 1 >>RECORD
esac
exec runc "$@"
"#;

/// One call of cachewarm, before it is made.
#[derive(Debug, Clone)]
pub(crate) struct Invocation<'w> {
    world: &'w World,
    source: Vec<String>,
    donors: Vec<String>,
    builder: String,
    more: Vec<String>,
    umask: Option<&'static str>,
    names_root: bool,
}

impl Invocation<'_> {
    /// Another source than the sample's repository.
    pub(crate) fn source<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.source = arguments.map(str::to_owned).into();
        self
    }

    /// Other donors than the sample's cache.
    pub(crate) fn from<const N: usize>(mut self, donors: [&str; N]) -> Self {
        self.donors = donors.map(str::to_owned).into();
        self
    }

    /// Another builder than a daemon of its own.
    pub(crate) fn builder(mut self, address: &str) -> Self {
        self.builder = address.to_owned();
        self
    }

    /// Without `--root`.
    pub(crate) fn without_root(mut self) -> Self {
        self.names_root = false;
        self
    }

    /// Further arguments.
    pub(crate) fn with<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.more.extend(arguments.map(str::to_owned));
        self
    }

    /// The umask it runs under.
    pub(crate) fn umask(mut self, mask: &'static str) -> Self {
        self.umask = Some(mask);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Run {
        self.start().ends()
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        let world = self.world;
        let mut arguments = vec!["warm".to_owned()];
        arguments.extend(self.source.into_iter().chain(self.more));
        arguments.extend(self.donors.into_iter().flat_map(|donor| ["--cache-from".to_owned(), donor]));
        arguments.extend(["--builder".to_owned(), self.builder]);
        let path = |name: &str, path: PathBuf| [name.to_owned(), path.display().to_string()];
        if self.names_root {
            arguments.extend(path("--root", world.root()));
        }
        arguments.extend(path("--buildkitd-config", world.config()));
        arguments.extend(path("--manifest", world.path("manifest.json")));
        world.start(&arguments, self.umask)
    }
}

impl World {
    /// `cachewarm check` of a root, with further arguments, to its end.
    pub(crate) fn check(&self, root: &Path, more: &[&str]) -> Run {
        let mut arguments = vec!["check".to_owned(), "--root".to_owned(), root.display().to_string()];
        arguments.extend(more.iter().map(ToString::to_string));
        self.start(&arguments, None).ends()
    }

    /// `cachewarm smoke` of a directory on a root, with further arguments, to its end.
    pub(crate) fn smoke(&self, root: &Path, context: &Path, more: &[&str]) -> Run {
        let (root, builder) = (root.display().to_string(), format!("spawn:{}", tool("BUILDKITD").display()));
        let own = if more.contains(&"--builder") { Vec::new() } else { vec!["--builder", &builder] };
        self.smoke_with(context, &[&["--root", &root], own.as_slice(), more].concat())
    }

    /// As [`World::smoke`], with all that says of which builder.
    pub(crate) fn smoke_with(&self, context: &Path, more: &[&str]) -> Run {
        self.smoke_started(context, more).ends()
    }

    /// Starts `cachewarm smoke` of a directory on a root.
    pub(crate) fn smoke_starts(&self, root: &Path, context: &Path) -> Running {
        let (root, builder) = (root.display().to_string(), format!("spawn:{}", tool("BUILDKITD").display()));
        self.smoke_started(context, &["--root", &root, "--builder", &builder])
    }

    fn smoke_started(&self, context: &Path, more: &[&str]) -> Running {
        let mut arguments = vec!["smoke".to_owned(), format!("--context={}", context.display())];
        arguments.push(format!("--buildkitd-config={}", self.config().display()));
        if !more.contains(&"--manifest") {
            let manifest = self.path("manifest.json");
            let manifest = if manifest.exists() { manifest.display().to_string() } else { "none".to_owned() };
            arguments.extend(["--manifest".to_owned(), manifest]);
        }
        arguments.extend(more.iter().map(ToString::to_string));
        self.start(&arguments, None)
    }

    /// Starts cachewarm with these arguments and a report of each kind.
    fn start(&self, arguments: &[String], umask: Option<&str>) -> Running {
        let reported = self.path("report.json");
        let _ = fs::remove_file(&reported);
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        let mut command = self.enter(umask);
        command.args(arguments).args(["--report", "text", "--report", &format!("json={}", reported.display())]);
        command.stdin(Stdio::null());
        command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        Running { process: Process::start(command), reported, out, err }
    }

    /// What another command of cachewarm writes: its exit code and standard output.
    pub(crate) fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.enter(None).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The command that becomes cachewarm, in the clean environment.
    fn enter(&self, umask: Option<&str>) -> Command {
        let binary = env!("CARGO_BIN_EXE_cachewarm");
        // `/run` is the world's own, so that what is left there can be told.
        let mut mounts = "mount --bind \"$0/run\" /run && ".to_owned();
        for (file, covered) in &self.covered {
            mounts += &format!("mount --bind \"$0/{file}\" {covered} && ");
        }
        let mut enter = command("unshare");
        enter
            .args(["--mount", "sh", "-c", &format!("{mounts} umask \"$1\" && shift && exec \"$@\"")])
            .arg(&self.folder);
        enter.arg(umask.unwrap_or("022")).arg(binary).env_clear();
        enter.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        enter.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        enter.envs(self.environment.iter().map(|(name, value)| (name, value)));
        enter.current_dir(&self.folder);
        enter
    }
}

/// A cachewarm that runs.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    reported: PathBuf,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        process::signal(self.id(), name);
    }

    /// Waits for its end; panics when it takes more than two minutes.
    pub(crate) fn ends(mut self) -> Run {
        let mut status = None;
        wait_until("cachewarm ends", 120, || {
            status = self.process.ended();
            status.is_some()
        });
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let report = fs::read(&self.reported).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
        Run { code: status.unwrap().code(), stdout: text(&self.out), stderr: text(&self.err), report }
    }
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it said.
    pub(crate) stderr: String,
    report: Option<serde_json::Value>,
}

impl Run {
    /// Panics unless it ended with this exit code.
    pub(crate) fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless it ended with exit code 3 (the environment), saying all of `words` on stderr.
    pub(crate) fn blames(self, words: &[&str]) -> Run {
        let run = self.exits(3);
        for word in words {
            assert!(run.stderr.contains(word), "no `{word}` in:\n{}", run.stderr);
        }
        run
    }

    /// Panics when it ended with 0: whatever it is that went wrong, something is missing.
    pub(crate) fn fails(self) -> Run {
        assert_ne!(self.code, Some(0), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// A field of the JSON report, by its path: `/layers/total`. Null when there is none.
    pub(crate) fn reports(&self, pointer: &str) -> serde_json::Value {
        let report = self.report.as_ref().unwrap_or_else(|| panic!("no report; stderr:\n{}", self.stderr));
        report.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Panics unless it ended with 0, verdict warm and all of the sample's eleven layers extracted.
    pub(crate) fn ends_warm(self) -> Run {
        let run = self.exits(0);
        let layers = (run.reports("/layers/total"), run.reports("/layers/extracted"));
        assert_eq!((run.reports("/verdict"), layers), ("warm".into(), (11.into(), 11.into())));
        run
    }
}
