//! A real sshd of this machine on a loopback port, and a home whose ssh knows it by a name of its own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, command};
use super::registry::{free_address, made};
use super::{World, wait_until};

/// What ssh in the world's home calls it.
pub(crate) const ALIAS: &str = "forge";
/// The key that it lets in, of the world's home.
pub(crate) const KEY: &str = "home/.ssh/deploy";

/// The server. Whoever logs in is root, with this machine's files and with `host/run` of the world as `/run`.
#[derive(Debug)]
pub(crate) struct Sshd {
    address: SocketAddr,
    _process: Process,
}

impl Sshd {
    /// Starts it, with a key for it in the world's home, and makes that the home that ssh looks into. Its sessions find
    /// `programs` besides the usual ones.
    pub(crate) fn start(world: &mut World, programs: &Path) -> Sshd {
        let folder = made(world.path("host"));
        made(folder.join("run/sshd"));
        let ssh = made(world.path("home/.ssh"));
        key(&folder.join("key"), "");
        key(&world.path(KEY), "");
        let address = free_address();
        let shown = folder.display();
        let config = format!(
            "ListenAddress {address}\nHostKey {shown}/key\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {shown}/authorized\n\
             SetEnv PATH={}:/usr/local/bin:/usr/bin:/bin\n",
            programs.display()
        );
        fs::write(folder.join("config"), config).unwrap();
        fs::copy(world.path(KEY).with_extension("pub"), folder.join("authorized")).unwrap();
        let known = fs::read_to_string(folder.join("key.pub")).unwrap();
        fs::write(ssh.join("known_hosts"), format!("[127.0.0.1]:{} {known}", address.port())).unwrap();
        let named = |port| format!("Host {ALIAS}\n  HostName 127.0.0.1\n  Port {port}\n  User root\n");
        let config = format!("{}  IdentityFile ~/.ssh/deploy\n", named(address.port()));
        fs::write(ssh.join("config"), config).unwrap();
        // ssh asks the system where the home is, and not the environment.
        let home = world.path("home");
        fs::write(world.path("passwd"), format!("root:x:0:0:root:{}:/bin/sh\n", home.display())).unwrap();
        world.covered.push(("passwd", "/etc/passwd"));

        let script = "mount --bind \"$0/run\" /run && exec /usr/sbin/sshd -D -e -f \"$0/config\"";
        let mut serve = command("unshare");
        serve.args(["--mount", "sh", "-c", script]).arg(&folder);
        let log = fs::File::create(folder.join("log")).unwrap();
        serve.stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = Process::start(serve);
        wait_until("sshd answers", 10, || {
            assert!(process.ended().is_none(), "{}", fs::read_to_string(folder.join("log")).unwrap());
            TcpStream::connect(address).is_ok()
        });
        Sshd { address, _process: process }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Makes a key, with a passphrase unless that is empty.
pub(crate) fn key(file: &Path, passphrase: &str) -> PathBuf {
    let mut made = Command::new("ssh-keygen");
    made.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(file);
    assert!(made.status().unwrap().success());
    file.to_owned()
}
