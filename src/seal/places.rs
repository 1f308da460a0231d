//! Where a machine keeps what an image must not have: credentials, histories, logs, what makes it this machine.
//!
//! Everything here is cleaned with `--fix`; what else holds a secret is for its owner to clean. Links of the machine are
//! followed as the machine would, wherever it is mounted.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::logins::{without_logins, without_tokens};
use super::needles::Shapes;
use super::search::Place;
use crate::failure::{Explain, Kind};

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
const SEARCHED: [(&str, Shapes); 12] = [
    ("etc", Shapes::Tokens),
    ("tmp", Shapes::All),
    ("var/tmp", Shapes::All),
    ("var/log", Shapes::All),
    ("var/lib/cloud", Shapes::All),
    ("var/lib/cachewarm", Shapes::All),
    ("var/spool", Shapes::Tokens),
    ("usr/local/etc", Shapes::Tokens),
    ("var/backups", Shapes::Tokens),
    ("var/www", Shapes::Tokens),
    ("opt", Shapes::Tokens),
    ("srv", Shapes::Tokens),
];

/// The file system of the machine that becomes an image.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    homes: BTreeSet<PathBuf>,
    /// Files that are not to be cleaned, because who called us has them open.
    in_use: Vec<PathBuf>,
}

impl Machine {
    /// The one whose `/` is at `root`.
    ///
    /// # Errors
    /// Explained: when there is no such machine.
    pub(super) fn at(root: &Path, in_use: Vec<PathBuf>) -> anyhow::Result<Machine> {
        let users = fs::read_to_string(resolved(root, "etc/passwd").unwrap_or_else(|| root.join("etc/passwd")));
        let users = users.explain(
            Kind::Environment,
            format!("could not read the users of the machine at {}", root.display()),
            "name with --system where its file system is mounted, or look at the state root alone with --system none",
        )?;
        let of_users = users.lines().filter_map(|line| line.split(':').nth(5)).map(|home| relative(home).to_owned());
        let below_home =
            resolved(root, "home").and_then(|home| fs::read_dir(home).ok()).into_iter().flatten().flatten();
        let below_home = below_home.map(|entry| format!("home/{}", entry.file_name().to_string_lossy()));
        let homes = of_users.chain(below_home).chain(["root".to_owned()]).filter(|home| is_home(Path::new(home)));
        let homes = homes.filter_map(|home| resolved(root, &home)).filter(|home| home.is_dir()).collect();
        Ok(Machine { root: root.to_owned(), homes, in_use })
    }

    /// Everything that has to be cleaned and is there, and what of it is in use.
    pub(super) fn chores(&self) -> (Vec<Chore>, Vec<PathBuf>) {
        let of_users = self
            .homes
            .iter()
            .flat_map(|home| OF_USERS.iter().map(move |(path, what, how)| (home.join(path), what, how)));
        let of_machine = OF_THE_MACHINE
            .iter()
            .flat_map(|(path, what, how)| matching(&self.root, path).into_iter().map(move |path| (path, what, how)));
        let mut due = Vec::new();
        for (path, what, how) in of_users.chain(of_machine) {
            let chore = |path| Chore { path, what, treatment: *how };
            // Behind a link is what is meant, and the link goes along with it.
            let behind = path.strip_prefix(&self.root).ok().and_then(|path| resolved(&self.root, path));
            due.extend(behind.filter(|behind| *behind != path).map(chore));
            due.push(chore(path));
        }
        let (mut chores, mut kept) = (Vec::new(), Vec::new());
        while let Some(chore) = due.pop() {
            if self.in_use.contains(&chore.path) {
                kept.push(chore.path);
            } else if chore.path.is_dir() && self.in_use.iter().any(|file| file.starts_with(&chore.path)) {
                let entries = fs::read_dir(&chore.path).into_iter().flatten().flatten();
                due.extend(entries.map(|entry| Chore { path: entry.path(), ..chore.clone() }));
            } else if chore.is_due() {
                chores.push(chore);
            }
        }
        (chores, kept)
    }

    /// Where secrets are looked for.
    pub(super) fn searched(&self) -> Vec<Place> {
        let homes = self.homes.iter().map(|home| Place { path: home.clone(), shapes: Shapes::All });
        let others = SEARCHED
            .iter()
            .filter_map(|(path, shapes)| Some(Place { path: resolved(&self.root, path)?, shapes: *shapes }));
        homes.chain(others).collect()
    }

    /// Whether a file lies where files are only for a while, so that one with a secret in it can be erased.
    pub(super) fn is_temporary(&self, file: &Path) -> bool {
        ["tmp", "var/tmp"].iter().any(|directory| self.has(directory, file))
    }

    /// Whether a file is a log, which can be emptied.
    pub(super) fn is_log(&self, file: &Path) -> bool {
        self.has("var/log", file)
    }

    /// Whether who called us has a file open.
    pub(super) fn is_in_use(&self, file: &Path) -> bool {
        self.in_use.iter().any(|open| open == file)
    }

    fn has(&self, directory: &str, file: &Path) -> bool {
        resolved(&self.root, directory).is_some_and(|directory| file.starts_with(directory))
    }
}

/// Users of services live in `/`, `/usr` or nowhere, and their directories are none of ours.
fn is_home(home: &Path) -> bool {
    let homes = [Path::new("root"), Path::new("home"), Path::new("var/lib/buildkite-agent")];
    homes.iter().any(|above| home.starts_with(above)) && home != Path::new("home")
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// What is at a path of the machine, behind all links, which lead nowhere but into the machine; none when nothing is.
fn resolved(root: &Path, path: impl AsRef<Path>) -> Option<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(root, path.as_ref(), flags, Mode::empty(), resolve).ok()?;
    fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()
}

/// The paths that a pattern stands for.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let (directory, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    // The directories above may be links; what a thing itself is decides later.
    let Some(directory) = resolved(root, Path::new(".").join(directory)) else { return Vec::new() };
    let Some(beginning) = name.strip_suffix('*') else { return vec![directory.join(name)] };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(PathBuf, #[expect(dead_code, reason = "it goes with it")] tempfile::TempDir);

    impl Root {
        fn path(&self) -> &Path {
            &self.0
        }
    }

    #[test]
    fn a_machine_is_cleaned_of_what_it_has() {
        let root = tempfile::tempdir().unwrap();
        // As the kernel has it.
        let root = fs::canonicalize(root.path()).map(|path| (root, path)).unwrap();
        let root = Root(root.1, root.0);
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

        write("elsewhere/logins", "machine y");
        std::os::unix::fs::symlink("/elsewhere/logins", root.path().join("root/.netrc")).unwrap();
        std::os::unix::fs::symlink("/root", root.path().join("home/linked")).unwrap();
        write("tmp/packer-y/script", "is being run");
        write("tmp/packer-y/other", "");
        write("var/tmp/x", "");
        let running = root.path().join("tmp/packer-y/script");

        let machine = Machine::at(root.path(), vec![running.clone()]).unwrap();

        let (chores, kept) = machine.chores();
        assert_eq!(kept, [running]);
        let mut due: Vec<_> = chores.into_iter().map(|chore| chore.path).collect();
        due.sort();
        let expected = [
            "elsewhere/logins",
            "etc/ssh/ssh_host_rsa_key",
            "home/ci/.netrc",
            "home/old/.bash_history",
            "root/.aws/sso",
            "root/.netrc",
            "tmp/packer-x",
            "tmp/packer-y/other",
            "var/log/auth.log",
        ];
        assert_eq!(due, expected.map(|path| root.path().join(path)));
        assert!(machine.is_temporary(&root.path().join("var/tmp/x")) && !machine.is_temporary(root.path()));
        assert!(machine.searched().iter().any(|place| place.path.ends_with("home/old")));
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        assert!(Machine::at(root.path(), Vec::new()).is_err());
    }
}
