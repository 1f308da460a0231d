//! The ssh agents that a build names: sockets, and no keys. buildx would read keys itself and be an agent of its own for them;
//! we hold no private key, so that none can be found in our memory or in a core of it.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use crate::failure::{Explain as _, Failure, Kind};
use crate::targets::Target;

const HINT: &str = "name the socket of one agent that runs, or leave the path out for that of SSH_AUTH_SOCK";

/// Refuses what is no socket, before a step asks for it and says no more than that the agent failed.
///
/// # Errors
/// A usage error that names the file and what to do instead.
pub(super) fn ensure(target: &Target) -> anyhow::Result<()> {
    for agent in &target.ssh {
        let what = |path: &Path| {
            format!("could not use {} as the ssh agent `{}` of target {}", path.display(), agent.id, target.name)
        };
        for path in &agent.paths {
            let found = fs::metadata(path).explain(Kind::Usage, what(path), HINT)?;
            if !found.file_type().is_socket() {
                let keys: Vec<String> = agent.paths.iter().map(|path| path.display().to_string()).collect();
                let hint = format!(
                    "have an agent hold the key: eval $(ssh-agent); ssh-add {}; and pass --ssh {} without a path",
                    keys.join(" "),
                    agent.id
                );
                return Err(Failure::new(
                    Kind::Usage,
                    format!("{}: it is no socket, and keys are not read", what(path)),
                    hint,
                ));
            }
        }
        if let [_, second, ..] = agent.paths.as_slice() {
            return Err(Failure::new(Kind::Usage, format!("{}: it has a socket already", what(second)), HINT));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::targets::{Context, SshAgent};

    #[test]
    fn a_key_and_what_is_not_there_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("key"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").expect("written");
        let _listener = UnixListener::bind(path("agent")).expect("bound");
        let ensured = |names: &[&str]| {
            let mut target = Target::new("app", Context::Local(".".into()));
            target.ssh =
                vec![SshAgent { id: "default".to_owned(), paths: names.iter().map(|name| path(name)).collect() }];
            ensure(&target).map_err(|error| {
                let hint = Failure::of(&error).expect("it is explained").hint.clone();
                format!("{error:#}; {hint}").replace(&folder.path().display().to_string(), "")
            })
        };
        assert_eq!((ensured(&[]), ensured(&["agent"])), (Ok(()), Ok(())));
        insta::assert_snapshot!(ensured(&["key", "key2"]).expect_err("refused"), @"could not use /key as the ssh agent `default` of target app: it is no socket, and keys are not read; have an agent hold the key: eval $(ssh-agent); ssh-add /key /key2; and pass --ssh default without a path");
        insta::assert_snapshot!(ensured(&["gone"]).expect_err("refused"), @"could not use /gone as the ssh agent `default` of target app: No such file or directory (os error 2); name the socket of one agent that runs, or leave the path out for that of SSH_AUTH_SOCK");
        insta::assert_snapshot!(ensured(&["agent", "agent"]).expect_err("refused"), @"could not use /agent as the ssh agent `default` of target app: it has a socket already; name the socket of one agent that runs, or leave the path out for that of SSH_AUTH_SOCK");
    }
}
