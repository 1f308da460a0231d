//! Git repositories as tests need them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::ground::support;
use super::process::{Process, command};
use super::registry::free_address;
use super::wait_until;

/// Makes the sample's repository in a new folder and gives its commit.
pub(crate) fn sample(folder: &Path) -> String {
    let made = Command::new(support("sample.sh")).arg(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// Runs git in a folder, as nobody in particular, and gives what it prints.
pub(crate) fn git<const N: usize>(folder: &Path, arguments: [&str; N]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=sample", "-c", "user.email=sample@example.com", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(folder)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A web server of a folder, and of the git repositories in it.
#[derive(Debug)]
pub(crate) struct GitServer {
    address: SocketAddr,
    _process: Process,
}

impl GitServer {
    /// Serves whoever asks.
    pub(crate) fn of(folder: &Path) -> GitServer {
        GitServer::start(folder, "")
    }

    /// Serves repositories only to who shows this token as BuildKit does.
    pub(crate) fn behind_token(folder: &Path, token: &str) -> GitServer {
        GitServer::start(folder, &format!("/cgi-bin:x-access-token:{token}\n"))
    }

    fn start(folder: &Path, rules: &str) -> GitServer {
        fs::create_dir_all(folder.join("cgi-bin")).unwrap();
        let script = folder.join("cgi-bin/git");
        let text = format!(
            "#!/bin/sh\nexport GIT_PROJECT_ROOT='{}' GIT_HTTP_EXPORT_ALL=1\nexport GIT_CONFIG_COUNT=1 \
             GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'\nexec git http-backend\n",
            folder.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let config = folder.with_extension("httpd.conf");
        fs::write(&config, rules).unwrap();
        let address = free_address();
        let mut httpd = command("busybox");
        httpd.args(["httpd", "-f", "-p", &address.to_string(), "-h"]).arg(folder).arg("-c").arg(config);
        let process = Process::start(httpd);
        wait_until("the web server answers", 10, || TcpStream::connect(address).is_ok());
        GitServer { address, _process: process }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a repository in its folder.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("http://{}/cgi-bin/git/{name}", self.address)
    }
}
