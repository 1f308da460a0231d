//! Repositories over ssh, fetched by the programs `git` and `ssh`: they know a person's agent, keys, `~/.ssh/config` with its
//! names of hosts, and the hosts that are trusted. libgit2 knows the agent alone, and is used where those programs are not.
//!
//! Nobody is asked for a passphrase: a key that has one is named, with what to do.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use git2::{Oid, Repository};

use super::address::Address;
use super::{Head, Watch, program};
use crate::auth;
use crate::child;
use crate::failure::{Failure, Kind};
use crate::foreign;
use crate::scratch::Scratch;

/// Bytes of the longest list of references that is read.
const LIST: u64 = 256 * 1024 * 1024;

/// A repository behind ssh.
pub(super) struct OverSsh<'a> {
    repository: &'a Repository,
    address: &'a Address,
    /// Where it is by git's configuration (`url.….insteadOf`).
    meant: Address,
    watch: &'a Watch,
}

impl<'a> OverSsh<'a> {
    /// The repository at `address`, which by git's configuration means `meant`. None if that is not over ssh, or the programs
    /// are not there.
    pub(super) fn new(
        repository: &'a Repository,
        address: &'a Address,
        meant: &str,
        watch: &'a Watch,
    ) -> Option<OverSsh<'a>> {
        let meant = Address::new(meant);
        let is_ours = meant.is_ssh() && child::is_there("git") && child::is_there("ssh");
        is_ours.then_some(OverSsh { repository, address, meant, watch })
    }

    /// What the repository has.
    pub(super) fn heads(&self) -> anyhow::Result<Vec<Head>> {
        let scratch = Scratch::new("cachewarm-git-")?;
        let list = scratch.path().join("list");
        let mut git = self.git();
        git.args(["ls-remote", "--quiet", "--", &self.address.remote]).stdout(fs::File::create(&list)?);
        self.run(git)?;
        let list = foreign::read(fs::File::open(&list)?, LIST)?;
        Ok(String::from_utf8_lossy(&list).lines().filter_map(head).collect())
    }

    /// Fetches refspecs; a depth of 0 is all history.
    pub(super) fn fetch(&self, specifications: &[String], depth: i32) -> anyhow::Result<()> {
        let mut git = self.git();
        git.args(["fetch", "--progress", "--no-tags", "--no-recurse-submodules"]);
        if depth > 0 {
            git.arg(format!("--depth={depth}"));
        }
        git.args(["--", &self.address.remote]).args(specifications).stdout(Stdio::null());
        let done = self.run(git);
        // It has the address in it; libgit2 writes none.
        let _ = fs::remove_file(self.repository.path().join("FETCH_HEAD"));
        done
    }

    fn git(&self) -> Command {
        let mut git = program::command();
        git.args(["-c", "protocol.allow=never", "-c", "protocol.ssh.allow=always", "-c", "gc.auto=0"]);
        git.args(["-c", "maintenance.auto=false"]).arg("--git-dir").arg(self.repository.path());
        git
    }

    fn run(&self, git: Command) -> anyhow::Result<()> {
        let scratch = Scratch::new("cachewarm-git-")?;
        let said = scratch.path().join("said");
        let arrived = || fs::metadata(&said).map_or(0, |said| said.len());
        program::run(git, &said, self.watch, arrived)?.map_err(|said| self.explained(&self.address.redacted(&said)))
    }

    fn explained(&self, said: &str) -> anyhow::Error {
        let (shown, says) = (self.address.shown(), |words: &str| said.contains(words));
        let (host, port) = self.meant.ssh_host().unwrap_or_default();
        let by_hand = format!("ssh {}-T {host}", port.map(|port| format!("-p {port} ")).unwrap_or_default());
        let (what, hint) = if says("Host key verification failed") {
            let hint = format!(
                "run `{by_hand}` once and accept the host's key if it is the right one, or write it to ~/.ssh/known_hosts"
            );
            (format!("could not trust {shown}"), hint)
        } else if says("Permission denied") {
            let locked = self.locked_keys();
            let keys = locked.iter().map(|key| key.display().to_string()).collect::<Vec<_>>();
            match keys.is_empty() {
                true => {
                    let hint = format!(
                        "check with `{by_hand}`; have the agent hold the key (`ssh-add KEY`, and pass SSH_AUTH_SOCK on), or name it \
                         as IdentityFile in ~/.ssh/config"
                    );
                    (format!("{shown} refused the ssh keys it was shown, or was shown none"), hint)
                }
                false => {
                    let hint = format!(
                        "have an agent hold it: `ssh-add {}`, with SSH_AUTH_SOCK passed on; or use a key without a passphrase",
                        keys.join(" ")
                    );
                    let key = if keys.len() == 1 { "the key" } else { "the keys" };
                    let has = if keys.len() == 1 { "has" } else { "have" };
                    let what = format!(
                        "{shown} needs an ssh key, and {key} {} {has} a passphrase, which nobody is asked for",
                        keys.join(", ")
                    );
                    (what, hint)
                }
            }
        } else if says("Could not resolve hostname") {
            let hint = "check the name; a name of your own for a host is read from the ~/.ssh/config of the user who runs this";
            (format!("could not find the host of {shown}"), hint.to_owned())
        } else if says("does not appear to be a git repository") || says("not found") {
            let hint = "check the URL; a repository that this key may not read looks the same";
            (format!("there is no git repository at {shown}"), hint.to_owned())
        } else {
            (
                format!("could not fetch from {shown}"),
                format!("check the address and the network with `git ls-remote {shown}`"),
            )
        };
        Failure::because(anyhow::anyhow!("git said: {said}"), Kind::Environment, what, hint)
    }

    /// The keys with a passphrase among those that ssh would show.
    fn locked_keys(&self) -> Vec<PathBuf> {
        let Some((host, port)) = self.meant.ssh_host() else { return Vec::new() };
        let mut ssh = child::command("ssh");
        ssh.arg("-G").args(port.into_iter().flat_map(|port| ["-p", port])).args(["--", host]).stdin(Stdio::null());
        let told = ssh.output().map(|done| done.stdout).unwrap_or_default();
        let files = String::from_utf8_lossy(&told).lines().filter_map(identity_file).collect::<Vec<_>>();
        files.into_iter().filter(|file| auth::has_passphrase(file).is_ok_and(|has| has == Some(true))).collect()
    }
}

/// A line of `git ls-remote`.
fn head(line: &str) -> Option<Head> {
    let (id, name) = line.split_once('\t')?;
    Some((name.to_owned(), Oid::from_str(id).ok()?))
}

/// A file of a key that `ssh -G` tells of.
fn identity_file(line: &str) -> Option<PathBuf> {
    let file = line.strip_prefix("identityfile ")?;
    match file.strip_prefix("~/") {
        Some(below) => Some(std::env::home_dir()?.join(below)),
        None => Some(PathBuf::from(file)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in "[0-9a-f]{0,41}\t?.{0,40}") {
            let _ = (head(&line), identity_file(&line));
        }
    }
}
