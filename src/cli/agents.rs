//! The ssh agents that a build names: one socket, or keys, as BuildKit's client takes them. What is neither is refused before
//! a step asks for it and says no more than that the agent failed.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use crate::auth;
use crate::failure::{Explain as _, Failure, Kind};
use crate::targets::Target;

const HINT: &str =
    "name the socket of one agent that runs, or files of keys, or leave the path out for the agent of SSH_AUTH_SOCK";

/// Refuses what is neither one socket nor keys that can be used without asking anybody.
///
/// # Errors
/// A usage error that names the file and what to do instead.
pub(super) fn ensure(target: &Target) -> anyhow::Result<()> {
    for agent in &target.ssh {
        let what = |path: &Path| {
            format!("could not use {} as the ssh agent `{}` of target {}", path.display(), agent.id, target.name)
        };
        let refused =
            |path: &Path, why: &str, hint: &str| Err(Failure::new(Kind::Usage, format!("{}: {why}", what(path)), hint));
        for path in &agent.paths {
            let found = fs::metadata(path).explain(Kind::Usage, what(path), HINT)?;
            if found.file_type().is_socket() {
                match agent.paths.as_slice() {
                    [_] => continue,
                    _ => return refused(path, "a socket goes with no other socket and with no keys", HINT),
                }
            }
            if !found.is_file() {
                return refused(path, "it is neither a socket nor the file of a key", HINT);
            }
            match auth::has_passphrase(path).explain(Kind::Usage, what(path), HINT)? {
                Some(false) => {}
                Some(true) => {
                    let hint = format!(
                        "have an agent hold it: eval $(ssh-agent); ssh-add {}; and pass --ssh {} without a path",
                        path.display(),
                        agent.id
                    );
                    return refused(path, "the key has a passphrase, which nobody is asked for", &hint);
                }
                None => return refused(path, "it is neither a socket nor a private key", HINT),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::targets::{Context, SshAgent};

    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\n";

    #[test]
    fn what_can_be_no_agent_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("key"), KEY).expect("written");
        fs::write(path("locked"), format!("{KEY}Proc-Type: 4,ENCRYPTED\n")).expect("written");
        fs::write(path("key.pub"), "ssh-ed25519 AAAA me\n").expect("written");
        let _listener = UnixListener::bind(path("agent")).expect("bound");
        let ensured = |names: &[&str]| {
            let mut target = Target::new("app", Context::Local(".".into()));
            target.ssh =
                vec![SshAgent { id: "default".to_owned(), paths: names.iter().map(|name| path(name)).collect() }];
            ensure(&target).map_err(|error| {
                let hint = Failure::of(&error).expect("it is explained").hint.clone();
                let hint = if hint == HINT { "HINT".to_owned() } else { hint };
                format!("{error:#}; {hint}").replace(&folder.path().display().to_string(), "")
            })
        };
        for fine in [&[][..], &["agent"], &["key"], &["key", "key"]] {
            assert_eq!(ensured(fine), Ok(()));
        }
        let refused = |names: &[&str]| ensured(names).expect_err("refused");
        insta::assert_snapshot!(refused(&["key", "locked"]), @"could not use /locked as the ssh agent `default` of target app: the key has a passphrase, which nobody is asked for; have an agent hold it: eval $(ssh-agent); ssh-add /locked; and pass --ssh default without a path");
        insta::assert_snapshot!(refused(&["key.pub"]), @"could not use /key.pub as the ssh agent `default` of target app: it is neither a socket nor a private key; HINT");
        insta::assert_snapshot!(refused(&["gone"]), @"could not use /gone as the ssh agent `default` of target app: No such file or directory (os error 2); HINT");
        insta::assert_snapshot!(refused(&["key", "agent"]), @"could not use /agent as the ssh agent `default` of target app: a socket goes with no other socket and with no keys; HINT");
        insta::assert_snapshot!(refused(&[""]), @"could not use / as the ssh agent `default` of target app: it is neither a socket nor the file of a key; HINT");
    }
}
