//! A real Podman that serves Docker's API.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::docker::push_image;
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
