//! Where a machine keeps what an image must not have: credentials, histories, logs, what makes it this machine.
//!
//! Everything here is cleaned with `--fix`; what else holds a secret is for its owner to clean.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::needles::Shapes;
use super::search::Place;

/// How a thing is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Overwritten and removed.
    Erase,
    /// Overwritten, and left empty: services expect it.
    Blank,
    /// Docker's configuration without its logins.
    ForgetLogins,
    /// npm's configuration without its tokens.
    ForgetTokens,
}

/// A thing to be cleaned.
#[derive(Debug, Clone)]
pub(super) struct Chore {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it is, for people.
    pub(super) what: &'static str,
    /// How it is cleaned.
    pub(super) treatment: Treatment,
}

use Treatment::{Blank, Erase, ForgetLogins, ForgetTokens};

/// In every home directory.
const OF_USERS: &[(&str, &str, Treatment)] = &[
    (".docker/config.json", "docker's logins", ForgetLogins),
    (".config/containers/auth.json", "podman's logins", ForgetLogins),
    (".npmrc", "npm's tokens", ForgetTokens),
    (".ecr", "tokens of the ECR credential helper", Erase),
    (".aws/credentials", "AWS keys", Erase),
    (".aws/sso", "AWS sessions", Erase),
    (".aws/cli", "AWS sessions", Erase),
    (".netrc", "logins", Erase),
    (".git-credentials", "git's logins", Erase),
    (".config/git/credentials", "git's logins", Erase),
    (".config/gh/hosts.yml", "GitHub's logins", Erase),
    (".cargo/credentials", "cargo's tokens", Erase),
    (".cargo/credentials.toml", "cargo's tokens", Erase),
    (".pypirc", "PyPI's logins", Erase),
    (".ssh/authorized_keys", "keys that may log in", Erase),
    (".bash_history", "a history", Erase),
    (".sh_history", "a history", Erase),
    (".ash_history", "a history", Erase),
    (".zsh_history", "a history", Erase),
    (".python_history", "a history", Erase),
    (".node_repl_history", "a history", Erase),
    (".mysql_history", "a history", Erase),
    (".psql_history", "a history", Erase),
    (".lesshst", "a history", Erase),
    (".viminfo", "a history", Erase),
    (".wget-hsts", "a history", Erase),
];

/// Of the machine. A `*` at the end stands for the rest of a name.
const OF_THE_MACHINE: &[(&str, &str, Treatment)] = &[
    ("etc/machine-id", "the machine's id", Blank),
    ("etc/ssh/ssh_host_*", "the machine's ssh keys", Erase),
    ("var/lib/systemd/random-seed", "the machine's random seed", Erase),
    ("var/lib/cloud/data", "cloud-init's data", Erase),
    ("var/lib/cloud/instance", "cloud-init's data", Erase),
    ("var/lib/cloud/instances", "cloud-init's data", Erase),
    ("var/lib/cloud/sem", "cloud-init's data", Erase),
    ("var/lib/cachewarm/hydrated", "the mark of a volume that was read in", Erase),
    ("var/log/cloud-init*", "a log", Erase),
    ("var/log/journal/*", "a log", Erase),
    ("var/log/amazon/ssm/*", "a log", Erase),
    ("var/log/auth.log*", "a log", Blank),
    ("var/log/secure*", "a log", Blank),
    ("var/log/audit/*", "a log", Blank),
    ("var/log/syslog*", "a log", Blank),
    ("var/log/messages*", "a log", Blank),
    ("var/log/wtmp*", "a log", Blank),
    ("var/log/btmp*", "a log", Blank),
    ("var/log/lastlog", "a log", Blank),
    ("tmp/script_*", "what Packer left", Erase),
    ("tmp/varfile_*", "what Packer left", Erase),
    ("tmp/packer-*", "what Packer left", Erase),
    ("var/tmp/script_*", "what Packer left", Erase),
    ("var/tmp/varfile_*", "what Packer left", Erase),
    ("var/tmp/packer-*", "what Packer left", Erase),
];

/// Where secrets are looked for beside home directories, and which shapes count there.
const SEARCHED: [(&str, Shapes); 10] = [
    ("etc", Shapes::Tokens),
    ("tmp", Shapes::All),
    ("var/tmp", Shapes::All),
    ("var/log", Shapes::All),
    ("var/lib/cloud", Shapes::All),
    ("var/lib/cachewarm", Shapes::All),
    ("var/spool", Shapes::Tokens),
    ("usr/local/etc", Shapes::Tokens),
    ("opt", Shapes::No),
    ("srv", Shapes::No),
];

/// The file system of the machine that becomes an image.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    homes: BTreeSet<PathBuf>,
}

impl Machine {
    /// The one whose `/` is at `root`.
    pub(super) fn at(root: &Path) -> Machine {
        let users = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
        let of_users = users.lines().filter_map(|line| line.split(':').nth(5)).map(|home| root.join(relative(home)));
        let below_home = fs::read_dir(root.join("home")).into_iter().flatten().flatten().map(|entry| entry.path());
        let homes = of_users.chain(below_home).chain([root.join("root")]).filter(|home| is_home(root, home));
        Machine { root: root.to_owned(), homes: homes.collect() }
    }

    /// Everything that has to be cleaned and is there.
    pub(super) fn chores(&self) -> Vec<Chore> {
        let of_users = self
            .homes
            .iter()
            .flat_map(|home| OF_USERS.iter().map(move |(path, what, how)| (home.join(path), what, how)));
        let of_machine = OF_THE_MACHINE
            .iter()
            .flat_map(|(path, what, how)| matching(&self.root, path).into_iter().map(move |path| (path, what, how)));
        let chores = of_users.chain(of_machine).map(|(path, what, how)| Chore { path, what, treatment: *how });
        chores.filter(Chore::is_due).collect()
    }

    /// Where secrets are looked for.
    pub(super) fn searched(&self) -> Vec<Place> {
        let homes = self.homes.iter().map(|home| Place { path: home.clone(), shapes: Shapes::All });
        let others = SEARCHED.iter().map(|(path, shapes)| Place { path: self.root.join(path), shapes: *shapes });
        homes.chain(others).collect()
    }

    /// Whether a file lies where files are only for a while, so that one with a secret in it can be erased.
    pub(super) fn is_temporary(&self, file: &Path) -> bool {
        ["tmp", "var/tmp"].iter().any(|directory| file.starts_with(self.root.join(directory)))
    }

    /// Whether a file is a log, which can be emptied.
    pub(super) fn is_log(&self, file: &Path) -> bool {
        file.starts_with(self.root.join("var/log"))
    }
}

/// Users of services live in `/`, `/usr` or nowhere, and their directories are none of ours.
fn is_home(root: &Path, home: &Path) -> bool {
    let below = home.strip_prefix(root).unwrap_or(home);
    let is_of_a_person =
        below.starts_with("home") || below.starts_with("root") || below.starts_with("var/lib/buildkite-agent");
    is_of_a_person && below != Path::new("home") && home.is_dir()
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// The paths that a pattern stands for.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let Some(beginning) = pattern.strip_suffix('*') else { return vec![root.join(pattern)] };
    let (directory, beginning) = beginning.rsplit_once('/').unwrap_or(("", beginning));
    let entries = fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

impl Chore {
    fn is_due(&self) -> bool {
        let Ok(metadata) = fs::symlink_metadata(&self.path) else { return false };
        match self.treatment {
            Erase => true,
            Blank => metadata.is_file() && metadata.size() > 0,
            ForgetLogins => metadata.is_file() && self.content().is_some_and(|text| without_logins(&text).is_some()),
            ForgetTokens => metadata.is_file() && self.content().is_some_and(|text| without_tokens(&text).is_some()),
        }
    }

    fn content(&self) -> Option<String> {
        fs::read_to_string(&self.path).ok()
    }

    /// What the file is to read instead of what it reads; none where nothing is to be kept.
    pub(super) fn kept(&self) -> Option<String> {
        match self.treatment {
            Erase | Blank => None,
            ForgetLogins => without_logins(&self.content()?),
            ForgetTokens => without_tokens(&self.content()?),
        }
    }
}

/// Docker's configuration without what logs in; none when it has nothing of that kind. One that is not JSON is nothing
/// docker would read, and nothing is left of it.
fn without_logins(text: &str) -> Option<String> {
    let Ok(mut config) = serde_json::from_str::<serde_json::Value>(text) else {
        return (!text.trim().is_empty()).then(String::new);
    };
    let mut found = false;
    for (_, login) in config.get_mut("auths").and_then(|auths| auths.as_object_mut()).into_iter().flatten() {
        for key in ["auth", "username", "password", "identitytoken", "registrytoken"] {
            let removed = login.as_object_mut().and_then(|login| login.remove(key));
            found |= removed.is_some_and(|value| value.as_str() != Some(""));
        }
    }
    found.then(|| serde_json::to_string_pretty(&config).unwrap_or_default() + "\n")
}

/// npm's configuration without its tokens; none when it has none. What stands for a variable (`${NPM_TOKEN}`) is none.
fn without_tokens(text: &str) -> Option<String> {
    let is_token = |line: &str| {
        let Some((key, value)) = line.split_once('=') else { return false };
        let key = key.trim();
        ["_authToken", "_auth", "_password"].iter().any(|end| key.ends_with(end)) && !value.trim().starts_with("${")
    };
    let kept: Vec<&str> = text.lines().filter(|line| !is_token(line)).collect();
    (kept.len() < text.lines().count()).then(|| kept.iter().map(|line| format!("{line}\n")).collect())
}

/// The logins in docker's configuration, as secrets to look for: password by registry.
pub(super) fn logins(text: &str) -> Vec<(String, String)> {
    use base64::Engine;
    let config: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let auths = config.get("auths").and_then(|auths| auths.as_object()).into_iter().flatten();
    let login = |(registry, login): (&String, &serde_json::Value)| {
        let field = |name: &str| login.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let decoded = field("auth").and_then(|auth| base64::engine::general_purpose::STANDARD.decode(auth).ok());
        let pair = decoded.and_then(|pair| String::from_utf8(pair).ok());
        let password = pair.and_then(|pair| pair.split_once(':').map(|(_, password)| password.to_owned()));
        [password, field("password"), field("identitytoken"), field("registrytoken")]
            .into_iter()
            .flatten()
            .map(|password| (registry.clone(), password))
            .collect::<Vec<_>>()
    };
    auths.flat_map(login).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn docker_keeps_what_is_no_login() {
        let text = r#"{"auths": {"r": {"auth": "QVdTOnB3"}, "e": {}}, "credHelpers": {"x": "ecr-login"}}"#;
        let kept: serde_json::Value = serde_json::from_str(&without_logins(text).unwrap()).unwrap();
        assert_eq!(kept, serde_json::json!({"auths": {"r": {}, "e": {}}, "credHelpers": {"x": "ecr-login"}}));
        assert_eq!(without_logins(&kept.to_string()), None);
        assert_eq!(without_logins("{\"auths\": "), Some(String::new()));
        assert_eq!(logins(text), [("r".to_owned(), "pw".to_owned())]);
    }

    #[test]
    fn npm_keeps_what_is_no_token() {
        let text = "registry=https://r/\n//r/:_authToken=npm_x\n//s/:_authToken=${NPM_TOKEN}\n";
        let kept = "registry=https://r/\n//s/:_authToken=${NPM_TOKEN}\n";
        assert_eq!(without_tokens(text).as_deref(), Some(kept));
        assert_eq!(without_tokens(kept), None);
    }

    #[test]
    fn a_machine_is_cleaned_of_what_it_has() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/passwd", "root:x:0:0::/root:/bin/sh\nci:x:1:1::/home/ci:/bin/sh\ndaemon:x:2:2::/usr/sbin:/x\n");
        write("home/ci/.docker/config.json", "{}");
        write("home/ci/.netrc", "machine x");
        write("home/old/.bash_history", "ls");
        write("root/.aws/sso/cache/x.json", "{}");
        write("usr/sbin/.netrc", "none of ours");
        write("etc/machine-id", "");
        write("etc/ssh/ssh_host_rsa_key", "key");
        write("var/log/auth.log", "Accepted");
        write("tmp/packer-x/y", "");

        let machine = Machine::at(root.path());

        let mut due: Vec<_> = machine.chores().into_iter().map(|chore| chore.path).collect();
        due.sort();
        let expected = [
            "etc/ssh/ssh_host_rsa_key",
            "home/ci/.netrc",
            "home/old/.bash_history",
            "root/.aws/sso",
            "tmp/packer-x",
            "var/log/auth.log",
        ];
        assert_eq!(due, expected.map(|path| root.path().join(path)));
        assert!(machine.is_temporary(&root.path().join("var/tmp/x")) && !machine.is_temporary(root.path()));
        assert!(machine.searched().iter().any(|place| place.path.ends_with("home/old")));
    }

    proptest! {
        #[test]
        fn configurations_of_any_text_are_read_without_a_panic(text in any::<String>()) {
            let _ = (without_logins(&text), without_tokens(&text), logins(&text));
        }
    }
}
