//! A real Podman that serves Docker's API.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::docker::{IMAGE, push_image};
use super::ground::ground;
use super::process::{Process, command};
use super::registry::made;
use super::wait_until;

/// Starts it on a root and a socket of its own, in namespaces of its own; docker.io is the shared registry.
pub(crate) fn start(folder: &Path) -> Process {
    push_image();
    made(folder.to_owned());
    let registries = format!(
        "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        ground().registry.address()
    );
    fs::write(folder.join("registries.conf"), registries).unwrap();
    // Its usual limits need CAP_SYS_RESOURCE.
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    fs::write(folder.join("containers.conf"), limits).unwrap();
    let mut serve = command("unshare");
    serve.args(["--pid", "--fork", "--mount", "--mount-proc", "--kill-child=KILL", "podman"]);
    serve.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
    serve.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("run"));
    serve.arg("--tmpdir").arg(folder.join("tmp"));
    serve.args(["system", "service", "--time", "0"]).arg(host(folder));
    serve.env("CONTAINERS_CONF", folder.join("containers.conf"));
    serve.env("CONTAINERS_REGISTRIES_CONF", folder.join("registries.conf"));
    let log = fs::File::create(folder.join("log")).unwrap();
    serve.stdout(log.try_clone().unwrap()).stderr(log);
    let mut process = Process::start(serve);
    wait_until("Podman answers", 30, || {
        assert!(process.ended().is_none(), "Podman ended: {}", fs::read_to_string(folder.join("log")).unwrap());
        std::os::unix::net::UnixStream::connect(folder.join("podman.sock")).is_ok()
    });
    process
}

/// `DOCKER_HOST`.
pub(crate) fn host(folder: &Path) -> String {
    format!("unix://{}", folder.join("podman.sock").display())
}

/// Its containers, as Docker's API lists them.
pub(crate) fn containers(folder: &Path) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--unix-socket"]).arg(folder.join("podman.sock"));
    let listed = curl.arg("http://podman/containers/json?all=true").output().unwrap();
    assert!(listed.status.success());
    String::from_utf8(listed.stdout).unwrap()
}

/// Starts a container with a buildkitd, as [`super::Docker::run_builder`] does.
pub(crate) fn run_builder(folder: &Path, name: &str, root: &Path, config: &Path) {
    fs::create_dir_all(root).unwrap();
    let (root, config) = (root.display(), config.display());
    let volumes = [format!("{root}:/var/lib/buildkit"), format!("{config}:/etc/buildkit/buildkitd.toml")];
    let [root, config] = &volumes;
    // Podman takes no short name for one of docker.io.
    let image = format!("docker.io/{IMAGE}");
    podman(
        folder,
        &["run", "--detach", "--name", name, "--network", "host", "--privileged", "-v", root, "-v", config, &image],
    );
    answers(folder, name);
}

/// Starts a container that was killed.
pub(crate) fn revive(folder: &Path, name: &str) {
    podman(folder, &["start", name]);
    answers(folder, name);
}

fn answers(folder: &Path, name: &str) {
    wait_until("the buildkitd in the container answers", 30, || {
        client(folder, &["exec", name, "buildctl", "debug", "workers"]).status.success()
    });
}

/// What Podman's own client does; panics when it fails.
pub(crate) fn podman(folder: &Path, arguments: &[&str]) {
    let output = client(folder, arguments);
    assert!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn client(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("podman").arg("--url").arg(host(folder)).args(arguments).output().unwrap()
}
