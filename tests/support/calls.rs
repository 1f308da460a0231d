//! Calls of cachewarm in a test's world, one for each of its commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::World;
use super::ground::{CACHE, ground};
use super::process::{Process, command};
use super::run::{Run, Running};

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
        arguments.extend(world.named_config());
        arguments.extend(path("--manifest", world.path("manifest.json")));
        world.start(&arguments, self.umask)
    }
}

/// The sample's cache, by its tag in the shared registry.
pub(crate) fn donor(tag: &str) -> String {
    format!("{}/{}:{tag}", ground().registry.address(), CACHE.0)
}

impl World {
    /// `cachewarm warm` on the sample's commit, from its exported cache, by a daemon of its own on [`World::root`].
    pub(crate) fn warm(&self) -> Invocation<'_> {
        let sample = format!("file://{}", ground().sample.display());
        Invocation {
            world: self,
            source: vec!["--repo".into(), sample, "--rev".into(), ground().commit.clone()],
            donors: vec![donor(CACHE.1)],
            builder: format!("spawn:{}", self.buildkitd.display()),
            more: Vec::new(),
            umask: None,
            names_root: true,
        }
    }

    /// `cachewarm check` of a root, with further arguments, to its end.
    pub(crate) fn check(&self, root: &Path, more: &[&str]) -> Run {
        let mut arguments = vec!["check".to_owned(), "--root".to_owned(), root.display().to_string()];
        arguments.extend(more.iter().map(ToString::to_string));
        self.start(&arguments, None).ends()
    }

    /// `cachewarm smoke` of a directory on a root, with further arguments, to its end.
    pub(crate) fn smoke(&self, root: &Path, context: &Path, more: &[&str]) -> Run {
        let (root, builder) = (root.display().to_string(), format!("spawn:{}", self.buildkitd.display()));
        let own = if more.contains(&"--builder") { Vec::new() } else { vec!["--builder", &builder] };
        self.smoke_with(context, &[&["--root", &root], own.as_slice(), more].concat())
    }

    /// As [`World::smoke`], with all that says of which builder.
    pub(crate) fn smoke_with(&self, context: &Path, more: &[&str]) -> Run {
        self.smoke_started(context, more).ends()
    }

    /// Starts `cachewarm smoke` of a directory on a root.
    pub(crate) fn smoke_starts(&self, root: &Path, context: &Path) -> Running {
        let (root, builder) = (root.display().to_string(), format!("spawn:{}", self.buildkitd.display()));
        self.smoke_started(context, &["--root", &root, "--builder", &builder])
    }

    /// The same with faults that strace injects, as [`World::seal_under`].
    pub(crate) fn smoke_under(&self, faults: &[&str], root: &Path, context: &Path) -> Run {
        let (root, builder) = (root.display().to_string(), format!("spawn:{}", self.buildkitd.display()));
        self.under(faults, &self.smoking(context, &["--root", &root, "--builder", &builder]))
    }

    /// A command on a root by a daemon of its own, without a manifest; `more` says what is built.
    pub(crate) fn on_root(&self, command: &str, root: &Path, more: &[&str]) -> Run {
        let mut arguments = vec![command.to_owned(), "--manifest=none".to_owned()];
        arguments.push(format!("--builder=spawn:{}", self.buildkitd.display()));
        arguments.push(format!("--root={}", root.display()));
        arguments.extend(self.named_config());
        arguments.extend(more.iter().map(ToString::to_string));
        self.start(&arguments, None).ends()
    }

    /// `cachewarm seal` of the root and of the machine in `system`, with further arguments, to its end.
    pub(crate) fn seal(&self, system: &Path, more: &[&str]) -> Run {
        self.seal_of(&self.root(), system, more)
    }

    /// The same of another root.
    pub(crate) fn seal_of(&self, root: &Path, system: &Path, more: &[&str]) -> Run {
        self.start(&self.sealing(root, system, more), None).ends()
    }

    /// As [`World::seal`], not waited for.
    pub(crate) fn seal_starts(&self, system: &Path, more: &[&str]) -> Running {
        self.start(&self.sealing(&self.root(), system, more), None)
    }

    /// As [`World::seal`], with faults that strace injects into its system calls: `--inject=openat2:error=ENOSYS`.
    pub(crate) fn seal_under(&self, faults: &[&str], system: &Path, more: &[&str]) -> Run {
        self.under(faults, &self.sealing(&self.root(), system, more))
    }

    /// A call of cachewarm with faults that strace injects into its system calls, and into those of what it starts.
    pub(crate) fn under(&self, faults: &[&str], arguments: &[String]) -> Run {
        self.by(&[&["strace", "--follow-forks", "--output=/dev/null"], faults].concat(), arguments)
    }

    /// A call of cachewarm that another program starts.
    pub(crate) fn by(&self, program: &[&str], arguments: &[String]) -> Run {
        let mut enter = self.enter_by(None, program);
        enter.args(arguments);
        self.run(enter).ends()
    }

    fn sealing(&self, root: &Path, system: &Path, more: &[&str]) -> Vec<String> {
        let path = |name: &str, path: PathBuf| [name.to_owned(), path.display().to_string()];
        let mut arguments = vec!["seal".to_owned()];
        if !more.contains(&"--builder") {
            arguments.push(format!("--builder=spawn:{}", self.buildkitd.display()));
        }
        arguments.extend(path("--root", root.to_owned()));
        arguments.extend(path("--system", system.to_owned()));
        arguments.extend(path("--marker", self.path("sealed.json")));
        arguments.extend(self.named_config());
        if self.path("manifest.json").exists() {
            arguments.extend(path("--manifest", self.path("manifest.json")));
        }
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    }

    fn smoke_started(&self, context: &Path, more: &[&str]) -> Running {
        self.start(&self.smoking(context, more), None)
    }

    /// The argument that names the builder's configuration, unless that is the machine's.
    fn named_config(&self) -> Option<String> {
        (!self.configures_machine).then(|| format!("--buildkitd-config={}", self.config().display()))
    }

    fn smoking(&self, context: &Path, more: &[&str]) -> Vec<String> {
        let mut arguments = vec!["smoke".to_owned(), format!("--context={}", context.display())];
        arguments.extend(self.named_config());
        if !more.contains(&"--manifest") {
            let manifest = self.path("manifest.json");
            let manifest = if manifest.exists() { manifest.display().to_string() } else { "none".to_owned() };
            arguments.extend(["--manifest".to_owned(), manifest]);
        }
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    }

    /// Starts cachewarm with these arguments and a report of each kind.
    fn start(&self, arguments: &[String], umask: Option<&str>) -> Running {
        let mut command = self.enter(umask);
        command.args(arguments);
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Running {
        let reported = self.path("report.json");
        let _ = fs::remove_file(&reported);
        World::reporting(&mut command, &reported);
        self.started(command, reported)
    }

    fn reporting(command: &mut Command, reported: &Path) {
        command.args(["--report", "text", "--report", &format!("json={}", reported.display())]);
    }

    fn started(&self, mut command: Command, reported: PathBuf) -> Running {
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        command.stdin(Stdio::null());
        command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        Running { process: Process::start(command), reported, out, err }
    }

    /// A call of cachewarm whose arguments end with a line that calls docker.
    pub(crate) fn by_line(&self, arguments: &[String]) -> Run {
        let reported = self.path("report.json");
        let _ = fs::remove_file(&reported);
        let line = arguments.iter().position(|argument| argument == "--").unwrap();
        let mut command = self.enter(None);
        command.args(&arguments[..line]);
        World::reporting(&mut command, &reported);
        command.args(&arguments[line..]);
        self.started(command, reported).ends()
    }

    /// What another command of cachewarm writes: its exit code and standard output.
    pub(crate) fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.enter(None).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The command that becomes cachewarm, in the clean environment.
    fn enter(&self, umask: Option<&str>) -> Command {
        self.enter_by(umask, &[])
    }

    /// As [`World::enter`], by way of another program.
    fn enter_by(&self, umask: Option<&str>, program: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_cachewarm");
        // `/run` is the world's own, so that what is left there can be told.
        let mut mounts = "mount --bind \"$0/run\" /run && ".to_owned();
        if self.configures_machine {
            mounts += "mount -t overlay overlay -o lowerdir=\"$0/etc\":/etc /etc && ";
        }
        for (file, covered) in &self.covered {
            mounts += &format!("mount --bind \"$0/{file}\" {covered} && ");
        }
        if self.reads_only {
            mounts += "mount --bind \"$0/root\" \"$0/root\" && mount -o remount,bind,ro \"$0/root\" && ";
        }
        let mut enter = command("unshare");
        enter
            .args(["--mount", "sh", "-c", &format!("{mounts} umask \"$1\" && shift && exec \"$@\"")])
            .arg(&self.folder);
        enter.arg(umask.unwrap_or("022")).args(program).arg(binary).env_clear();
        enter.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        enter.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        enter.envs(self.environment.iter().map(|(name, value)| (name, value)));
        enter.current_dir(&self.folder);
        enter
    }
}
