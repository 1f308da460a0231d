//! A real dockerd on a root and a socket of its own, and containers in it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex};

use super::builder::Built;
use super::ground::{self, ground, support, tool};
use super::process::{Process, command};
use super::registry::made;
use super::{Builder, wait_until};

/// What `docker-container` creates from, unless told otherwise.
pub(crate) const IMAGE: &str = "moby/buildkit:buildx-stable-1";

/// Which dockerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Debian's, 20.10: graph drivers, and BuildKit v0.8.
    V20,
    /// Today's, 29: containerd's image store.
    V29,
}

/// A daemon, its containerd and its containers; all of it ends when dropped, and with the test process.
#[derive(Debug)]
pub(crate) struct Docker {
    folder: PathBuf,
    version: Version,
    mirror: SocketAddr,
    more: Vec<String>,
    etc: Option<PathBuf>,
    process: Process,
}

impl Docker {
    /// Starts a daemon in `folder` that has `mirror` for docker.io, and waits until it answers.
    pub(crate) fn start(folder: &Path, version: Version, mirror: SocketAddr) -> Docker {
        Docker::start_with(folder, version, mirror, Vec::new())
    }

    /// As [`Docker::start`], with further arguments.
    pub(crate) fn start_with(folder: &Path, version: Version, mirror: SocketAddr, more: Vec<String>) -> Docker {
        Docker::start_in(folder, version, mirror, more, None)
    }

    /// As [`Docker::start_with`]; the files of `etc` lie over those of `/etc`.
    pub(crate) fn start_in(
        folder: &Path,
        version: Version,
        mirror: SocketAddr,
        more: Vec<String>,
        etc: Option<PathBuf>,
    ) -> Docker {
        let process = Docker::launch(folder, version, mirror, &more, etc.as_deref());
        Docker { folder: folder.to_owned(), version, mirror, more, etc, process }
    }

    /// One that tests share; their containers have names and roots of their own.
    pub(crate) fn shared(version: Version) -> &'static Docker {
        static OLD: LazyLock<Docker> = LazyLock::new(|| Docker::for_all("docker20", Version::V20));
        static NEW: LazyLock<Docker> = LazyLock::new(|| Docker::for_all("docker29", Version::V29));
        match version {
            Version::V20 => &OLD,
            Version::V29 => &NEW,
        }
    }

    fn for_all(name: &str, version: Version) -> Docker {
        push_image();
        Docker::start(&ground::folder().join(name), version, ground().registry.address())
    }

    /// Namespaces of its own, so that its containers' processes and mounts go when it is killed.
    fn launch(folder: &Path, version: Version, mirror: SocketAddr, more: &[String], etc: Option<&Path>) -> Process {
        made(folder.to_owned());
        let program = match version {
            Version::V20 => tool("DOCKERD_20"),
            Version::V29 => tool("DOCKERD_29"),
        };
        // What an earlier one left means other processes in a new numbering of processes.
        let pid = folder.join("docker.pid");
        for left in [&pid, &folder.join("exec/containerd/containerd.pid")] {
            let _ = fs::remove_file(left);
        }
        let mut daemon = command("unshare");
        daemon.args(["--pid", "--fork", "--mount", "--mount-proc", "--kill-child=KILL"]);
        if let Some(etc) = etc {
            let mount = format!("mount -t overlay overlay -o lowerdir={}:/etc /etc && exec \"$@\"", etc.display());
            daemon.args(["sh", "-c", &mount, "sh"]);
        }
        daemon.arg(program);
        daemon.arg("--data-root").arg(folder.join("data")).arg("--exec-root").arg(folder.join("exec"));
        daemon.arg("--pidfile").arg(pid).arg("--registry-mirror").arg(format!("http://{mirror}"));
        daemon.arg("--host").arg(format!("unix://{}", socket(folder).display()));
        daemon.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        daemon.args(more);
        if version == Version::V29 {
            // Debian's runc does not know them.
            daemon.arg("--feature=time-namespaces=false");
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        daemon.stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = Process::start(daemon);
        wait_until("dockerd answers", 60, || {
            assert!(process.ended().is_none(), "dockerd ended: {}", fs::read_to_string(folder.join("log")).unwrap());
            client(folder, &["version"]).status.success()
        });
        process
    }

    /// `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", socket(&self.folder).display())
    }

    /// Kills it and all its containers.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        self.process = Docker::launch(&self.folder, self.version, self.mirror, &self.more, self.etc.as_deref());
    }

    /// What docker's own client prints; panics when it fails.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let output = client(&self.folder, arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Has docker buildx build a directory in the daemon itself, with these flags.
    pub(crate) fn build(&self, context: &Path, flags: &[&str]) -> Built {
        let mut buildx = Command::new(tool("BUILDX"));
        buildx.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.folder.join("client"));
        buildx.args(["build", "--builder=default", "--progress=rawjson", "--provenance=false"]);
        Built(buildx.args(flags).arg(context).output().unwrap())
    }

    /// Whether there is a container of that name, running or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.docker(&["ps", "--all", "--format", "{{.Names}}"]).lines().any(|line| line == name)
    }

    /// Starts a container with a buildkitd, its state root at `mount` (a directory or a volume; none without).
    pub(crate) fn run_builder(&self, name: &str, mount: Option<&str>, config: &Path) {
        self.run_image(name, mount, config, &[IMAGE]);
        wait_until("the buildkitd in the container answers", 30, || {
            client(&self.folder, &["exec", name, "buildctl", "debug", "workers"]).status.success()
        });
    }

    /// Starts a container of an image with arguments, as privileged as this machine can make one.
    pub(crate) fn run_image(&self, name: &str, mount: Option<&str>, config: &Path, image: &[&str]) {
        let config = format!("{}:/etc/buildkit/buildkitd.toml", config.display());
        let mount = mount.map(|mount| format!("{mount}:/var/lib/buildkit"));
        let mut arguments = vec!["run", "--detach", "--name", name, "--network", "host"];
        match self.version {
            // What this machine's kernel does not let anybody have, it does not try to give.
            Version::V29 => arguments.push("--privileged"),
            Version::V20 => {
                arguments.extend(["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]);
                arguments.extend(["-v", "/sys/fs/cgroup:/sys/fs/cgroup"]);
                for unconfined in ["seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"] {
                    arguments.extend(["--security-opt", unconfined]);
                }
            }
        }
        arguments.extend(mount.iter().flat_map(|mount| ["-v", mount]));
        arguments.extend(["-v", &config]);
        arguments.extend(image);
        self.docker(&arguments);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

fn client(folder: &Path, arguments: &[&str]) -> Output {
    let mut docker = Command::new("/usr/bin/docker");
    docker.arg("--host").arg(format!("unix://{}", socket(folder).display())).args(arguments).output().unwrap()
}

/// Has [`IMAGE`] in the shared registry, from when this was first called.
pub(crate) fn push_image() {
    static PUSHED: Mutex<bool> = Mutex::new(false);
    let mut pushed = PUSHED.lock().unwrap();
    if *pushed {
        return;
    }
    let folder = made(ground::folder().join("builder-image"));
    let registry = ground().registry.address();
    let config = ground::mirror_config(&folder, registry);
    let builder = Builder::start(&folder, &folder.join("root"), &config);
    let made = Command::new(support("builder-image.sh"))
        .args([tool("BUILDKITD"), tool("BUILDCTL"), builder.socket()])
        .arg(registry.to_string())
        .status();
    assert!(made.unwrap().success(), "the builder's image could not be pushed");
    *pushed = true;
}
