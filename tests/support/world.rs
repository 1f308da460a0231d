//! A test's own world: a folder with a state root, a clean environment, and `cachewarm` run in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Builder;
use super::ground::{self, ground};
use super::process::{self, wait_until};
use super::registry::made;

/// A folder of its own, and what cachewarm sees in it. All of it goes when dropped.
#[derive(Debug)]
pub(crate) struct World {
    pub(super) folder: PathBuf,
    /// The buildkitd of cachewarm's own daemons, and of the judge.
    pub(super) buildkitd: PathBuf,
    /// Files of its folder that take the place of others for cachewarm and what it starts.
    pub(super) covered: Vec<(&'static str, &'static str)>,
    /// Whether cachewarm itself, unlike a daemon of the test, cannot write to the root.
    pub(super) reads_only: bool,
    /// Whether the builder's configuration lies where buildkitd looks for it, and no call names it.
    pub(super) configures_machine: bool,
    /// Beside the clean environment.
    pub(super) environment: Vec<(String, String)>,
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
        let buildkitd = ground::tool("BUILDKITD");
        let world = World {
            folder,
            buildkitd,
            covered: Vec::new(),
            reads_only: false,
            configures_machine: false,
            environment: Vec::new(),
        };
        world.configure_builder("");
        world
    }

    /// The same with an older BuildKit.
    pub(crate) fn older() -> World {
        World::with("BUILDKITD_OLDER")
    }

    /// The same with another buildkitd that `tests/setup.sh` installed.
    pub(crate) fn with(buildkitd: &str) -> World {
        let mut world = World::new();
        world.buildkitd = ground::tool(buildkitd);
        world
    }

    /// Starts its buildkitd, as [`Builder::start`] does.
    pub(crate) fn daemon(&self, folder: &Path, root: &Path, config: &Path) -> Builder {
        Builder::started_by(process::command(&self.buildkitd), folder, root, config)
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

    /// The buildkitd of its daemons.
    pub(crate) fn buildkitd(&self) -> &Path {
        &self.buildkitd
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

    /// From now on the builder's configuration is the machine's, for cachewarm and what it starts, and no call names it.
    pub(crate) fn configure_machine(&mut self) {
        fs::create_dir_all(self.path("etc/buildkit")).unwrap();
        fs::copy(self.config(), self.path("etc/buildkit/buildkitd.toml")).unwrap();
        self.configures_machine = true;
    }

    /// From now on the files of this directory lie over those of `/etc`, for cachewarm and what it starts, and no call names a
    /// configuration of the builder.
    pub(crate) fn own_etc(&mut self) -> PathBuf {
        self.configures_machine = true;
        made(self.path("etc"))
    }

    /// From now on cachewarm cannot write to the root, which has to be there; a daemon that the test starts can.
    pub(crate) fn read_only(&mut self) {
        self.reads_only = true;
    }

    /// From now on the machine seems to have only so many mebibytes of memory to spare.
    pub(crate) fn spare_memory(&mut self, mebibytes: u32) {
        fs::write(self.path("meminfo"), format!("MemAvailable: {} kB\n", mebibytes << 10)).unwrap();
        self.covered.push(("meminfo", "/proc/meminfo"));
    }

    /// Puts buildx where docker looks for it.
    pub(crate) fn install_buildx(&self) {
        let plugins = self.path("home/.docker/cli-plugins");
        fs::create_dir_all(&plugins).unwrap();
        symlink(ground::tool("BUILDX"), plugins.join("docker-buildx")).unwrap();
    }

    /// From now on cachewarm's environment has this, too.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// From now on cachewarm's environment lacks this.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// The variables that were set.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
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

/// Stands in for runc: notes each container that is not a frontend's, then lets runc do it. Only BuildKit gives a container
/// its workers; a Dockerfile of the tests never does.
const RECORDER: &str = r#"#!/bin/sh
case " $* " in *" run "*)
  for word in "$@"; do [ "$before" = --bundle ] && bundle=$word; before=$word; done
  grep -q '"BUILDKIT_WORKERS=' "$bundle/config.json" || grep -o '"args":\[[^]]*\]' "$bundle/config.json" | head -n 1 >>RECORD
esac
exec runc "$@"
"#;
