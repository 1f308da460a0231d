//! An ssh agent for the keys that a build names by their files, as BuildKit's client has one in itself. Ours is OpenSSH's: it
//! knows every kind of key, and holds them where neither a core of ours nor a message can have them.
//!
//! **Invariant:** it ends with us, however we end: it is told to live as long as a program does, and that one reads what we
//! hold open.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::child;
use crate::failure::{Explain as _, Failure, Kind};
use crate::scratch::Scratch;

const INSTALL: &str =
    "install OpenSSH's client (ssh-agent and ssh-add), or name the socket of an agent that holds the key";
const CHECK: &str = "check it with `ssh-keygen -y -f KEY`, or have an agent of your own hold it (`ssh-add KEY`)";
/// What the agent lives as long as. It says that it was started, for then the agent listens.
const COMPANION: &str = "echo; exec cat >/dev/null";

/// An agent that holds some keys; it goes when this goes.
#[derive(Debug)]
pub(super) struct KeyAgent {
    socket: PathBuf,
    child: Child,
    _scratch: Scratch,
}

impl KeyAgent {
    /// Starts one that holds the keys of these files, none of which has a passphrase.
    ///
    /// # Errors
    /// Explained: no OpenSSH, a file that is no key.
    pub(super) fn holding(files: &[PathBuf]) -> anyhow::Result<KeyAgent> {
        let what = "could not start an ssh agent for the keys of the build";
        let scratch = Scratch::new("cachewarm-ssh-").explain(Kind::Environment, what, "make room, or set TMPDIR")?;
        let socket = scratch.path().join("agent");
        let mut agent = child::command("ssh-agent");
        agent.arg("-a").arg(&socket).args(["sh", "-c", COMPANION]);
        agent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // What is typed at our terminal is not for it.
        agent.process_group(0);
        let child = agent.spawn().explain(Kind::Environment, what, INSTALL)?;
        let mut agent = KeyAgent { socket, child, _scratch: scratch };
        let started = agent.child.stdout.take().map(|mut told| told.read_exact(&mut [0]));
        if !matches!(started, Some(Ok(()))) {
            return Err(Failure::new(Kind::Environment, what, INSTALL));
        }
        files.iter().try_for_each(|file| agent.add(file))?;
        Ok(agent)
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// ssh-add reads a key of its input whoever may read the file, as BuildKit's client does.
    fn add(&self, file: &Path) -> anyhow::Result<()> {
        let what = format!("could not use the ssh key {}", file.display());
        let key = fs::read(file).explain(Kind::Usage, what.as_str(), CHECK)?;
        let mut add = child::command("ssh-add");
        add.args(["-q", "-"]).env("SSH_AUTH_SOCK", &self.socket).env("SSH_ASKPASS_REQUIRE", "never");
        add.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut adding = add.spawn().explain(Kind::Environment, what.as_str(), INSTALL)?;
        // One that does not want it all says why.
        let _ = adding.stdin.take().map(|mut input| input.write_all(&key));
        let done = adding.wait_with_output().explain(Kind::Environment, what.as_str(), INSTALL)?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr).trim().replace(char::is_control, " ");
        Err(Failure::because(anyhow::anyhow!("ssh-add said: {said}"), Kind::Usage, what, CHECK))
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        child::kill_with_descendants(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_agent_holds_keys_of_every_kind_and_goes_with_us() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = ["rsa", "ecdsa", "ed25519"].map(|kind| folder.path().join(kind)).into();
        for (file, format) in files.iter().zip(["PEM", "PKCS8", "RFC4716"]) {
            let kind = file.file_name().unwrap();
            let mut made = Command::new("ssh-keygen");
            made.args(["-q", "-N", "", "-m", format, "-t"]).arg(kind).arg("-f").arg(file);
            assert!(made.status().unwrap().success());
            // Others may read it.
            fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        }
        let agent = KeyAgent::holding(&files).unwrap();
        let socket = agent.socket().to_owned();
        let listed = || {
            let listed = Command::new("ssh-add").arg("-L").env("SSH_AUTH_SOCK", &socket).output().unwrap();
            String::from_utf8(listed.stdout).unwrap().lines().filter(|line| line.contains("AAAA")).count()
        };
        assert_eq!(listed(), 3);
        drop(agent);
        assert_eq!(listed(), 0);
        assert!(!socket.exists());

        fs::write(&files[0], "no key\n").unwrap();
        let error = KeyAgent::holding(&files).unwrap_err();
        assert!(format!("{error:#}").contains("could not use the ssh key"), "{error:#}");
    }
}
