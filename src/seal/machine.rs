//! The file system of the machine that becomes an image: whose homes it has, which logins lie in them, and where tokens are
//! looked for. Nothing here is ever changed; the vendor's own tool that removes a login is named.
//!
//! Symbolic links are resolved as the machine itself would resolve them: an absolute target starts at the machine's root.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use regex::bytes::Regex;
use rustix::fs::{FileType, OFlags, fstat, readlinkat};

use super::finding::{Action, Finding};
use super::needles::Shapes;
use crate::beneath;
use crate::failure::{Explain, Kind};
use crate::report::seal::FindingKind;

/// The largest configuration file that is read for logins, in bytes.
const LARGEST: u64 = 4 << 20;
/// The most links that are followed on the way to a file, as in the kernel.
const MOST_LINKS: usize = 40;

/// A file or directory of a home directory that logs in: its path, what it is, how its content tells (empty: by being
/// there), and how it is removed.
type Login = (&'static str, &'static str, &'static str, &'static str);

const DOCKER: &str = r#""(?:auth|password|identitytoken|registrytoken)"\s*:\s*"[^"]+"|"HttpHeaders"\s*:\s*\{\s*"|"https?Proxy"\s*:\s*"[^"]*@"#;
const URL: &str = r"(?m)^[^#;\n]*://[^\s/@:]*:[^\s/@$][^\s@]*@";

/// The logins of every home directory.
const LOGINS: &[Login] = &[
    (".docker/config.json", "docker's logins", DOCKER, "docker logout REGISTRY"),
    (".config/containers/auth.json", "podman's logins", DOCKER, "podman logout --all"),
    (".ecr", "tokens of the ECR credential helper", "", "rm -r ~/.ecr"),
    (".aws/credentials", "AWS keys", "", "rm ~/.aws/credentials"),
    (
        ".aws/config",
        "AWS keys",
        "aws_secret_access_key|aws_session_token",
        "aws configure set aws_secret_access_key ''",
    ),
    (".aws/sso/cache", "AWS sessions", "", "aws sso logout && rm -r ~/.aws/sso"),
    (".aws/cli/cache", "AWS sessions", "", "rm -r ~/.aws/cli/cache"),
    (".netrc", "logins", "(?i)password|account", "rm ~/.netrc"),
    (".git-credentials", "git's logins", "", "rm ~/.git-credentials"),
    (".config/git/credentials", "git's logins", "", "rm ~/.config/git/credentials"),
    (".config/gh/hosts.yml", "GitHub's logins", "oauth_token|users:", "gh auth logout"),
    (".config/glab-cli/config.yml", "GitLab's logins", r"token:\s*[^\s]", "glab auth logout"),
    (".npmrc", "npm's tokens", r"(?m)^[^#;\n]*(?:_authToken|_auth|_password)\s*=\s*[^$\s]", "npm logout"),
    (".yarnrc.yml", "yarn's tokens", r"npmAuth(?:Token|Ident):\s*[^\s$]", "yarn npm logout --all"),
    (".cargo/credentials", "cargo's tokens", "", "cargo logout"),
    (".cargo/credentials.toml", "cargo's tokens", "", "cargo logout"),
    (".pypirc", "PyPI's logins", r"(?m)^\s*password\s*[=:]", "rm ~/.pypirc"),
    (".pip/pip.conf", "pip's logins", URL, "pip config unset global.index-url"),
    (".config/pip/pip.conf", "pip's logins", URL, "pip config unset global.index-url"),
    (".config/pypoetry/auth.toml", "poetry's logins", "", "rm ~/.config/pypoetry/auth.toml"),
    (".m2/settings.xml", "Maven's logins", r"<(?:password|passphrase)>\s*[^<\s$]", "rm ~/.m2/settings.xml"),
    (
        ".gradle/gradle.properties",
        "Gradle's logins",
        r"(?im)^[^#!\n=:]*(?:password|token|secret|apikey)[^#\n=:]*[=:]\s*[^\s$]",
        "rm ~/.gradle/gradle.properties",
    ),
    (".gem/credentials", "RubyGems' keys", "", "gem signout"),
    (
        ".kube/config",
        "Kubernetes' logins",
        r"(?:token|client-key-data|password):\s*[^\s]",
        "kubectl config unset users",
    ),
    (".vault-token", "a Vault token", "", "rm ~/.vault-token"),
    (".config/gcloud/credentials.db", "Google Cloud's logins", "", "gcloud auth revoke --all"),
    (".config/gcloud/access_tokens.db", "Google Cloud's logins", "", "gcloud auth revoke --all"),
    (
        ".config/gcloud/application_default_credentials.json",
        "Google Cloud's logins",
        "",
        "gcloud auth application-default revoke",
    ),
    (".azure/msal_token_cache.json", "Azure's logins", "", "az logout && az account clear"),
    (".azure/msal_token_cache.bin", "Azure's logins", "", "az logout && az account clear"),
    (".azure/accessTokens.json", "Azure's logins", "", "az logout && az account clear"),
    (".azure/service_principal_entries.json", "Azure's logins", "", "az logout && az account clear"),
    (".terraform.d/credentials.tfrc.json", "Terraform's tokens", "", "terraform logout"),
    (".terraformrc", "Terraform's tokens", r"token\s*=", "rm ~/.terraformrc"),
];

/// Where services are set up. Private keys belong there, tokens do not.
const SETTINGS: [&str; 5] = ["etc", "opt", "srv", "usr/local/etc", "var/backups"];
/// What work on the machine leaves behind: neither tokens nor private keys belong there.
const TRANSIENT: [&str; 10] = [
    "swap.img",
    "swapfile",
    "tmp",
    "var/crash",
    "var/lib/cachewarm",
    "var/lib/cloud",
    "var/lib/systemd/coredump",
    "var/log",
    "var/spool",
    "var/tmp",
];

/// Directories of the system that some accounts name as their homes.
const NO_HOMES: [&str; 11] = ["bin", "boot", "dev", "etc", "lib", "proc", "run", "sbin", "sys", "usr", "var/spool"];

/// How the content of each of [`LOGINS`] tells, compiled once.
static TELLING: LazyLock<Result<Vec<Regex>, regex::Error>> =
    LazyLock::new(|| LOGINS.iter().map(|(_, _, content, _)| Regex::new(content)).collect());

/// The file system of the machine that becomes an image.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    directory: OwnedFd,
    /// Below the root.
    homes: BTreeSet<PathBuf>,
}

impl Machine {
    /// Opens the machine whose `/` is at `root`.
    ///
    /// # Errors
    /// Explained: when its users cannot be read.
    pub(super) fn at(root: &Path) -> anyhow::Result<Machine> {
        let opened = || {
            let directory = beneath::directory(root)?;
            let homes = homes(&directory)?;
            io::Result::Ok((directory, homes))
        };
        let (directory, homes) = opened().explain(
            Kind::Environment,
            format!("could not read the users of the machine at {}", root.display()),
            "name with --system where its file system is mounted, or look at the state root alone with --system none",
        )?;
        Ok(Machine { root: root.to_owned(), directory, homes })
    }

    /// The logins that lie in homes, and the files of which nobody can say whether they are logins.
    pub(super) fn logins(&self) -> Vec<Finding> {
        let telling = TELLING.as_deref().unwrap_or_default();
        let mut findings = Vec::new();
        for home in self.homes.iter().map(PathBuf::as_path).chain([Path::new("")]) {
            for ((path, what, _, remedy), telling) in LOGINS.iter().zip(telling) {
                let place = home.join(path);
                let (kind, what, remedy) = match self.is_login(&place, telling) {
                    Ok(false) => continue,
                    Ok(true) => {
                        let remedy = format!("remove it as the user it belongs to: {remedy}");
                        (FindingKind::Machine, (*what).to_owned(), remedy)
                    }
                    Err(error) => {
                        let remedy = "make it a plain file that can be read, or remove it".to_owned();
                        (FindingKind::Unread, error.to_string(), remedy)
                    }
                };
                findings.push(Finding::new(kind, self.root.join(&place).display(), what, Action::Ask(remedy)));
            }
        }
        findings
    }

    fn is_login(&self, path: &Path, telling: &Regex) -> io::Result<bool> {
        let Some(path) = resolved(&self.directory, path)? else { return Ok(false) };
        if telling.as_str().is_empty() {
            return Ok(true);
        }
        Ok(telling.is_match(&content(&self.directory, &path)?))
    }

    /// Which shapes count at a path below the root.
    pub(super) fn shapes(&self, path: &Path) -> Shapes {
        if path.ancestors().any(|above| self.homes.contains(above)) {
            return Shapes::All;
        }
        let is_below = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        match (is_below(&SETTINGS), is_below(&TRANSIENT)) {
            (true, _) => Shapes::Tokens,
            (_, true) => Shapes::All,
            _ => Shapes::No,
        }
    }
}

/// The home directories that are there, below the root: those that accounts name, and whatever lies in `/home`.
fn homes(directory: &OwnedFd) -> io::Result<BTreeSet<PathBuf>> {
    let users = resolved(directory, Path::new("etc/passwd"))?.ok_or(io::ErrorKind::NotFound)?;
    let users = content(directory, &users)?;
    let users = String::from_utf8_lossy(&users);
    let named = users.lines().filter_map(|line| line.split(':').nth(5)).map(|home| home.trim_matches('/').to_owned());
    let mut wanted: BTreeSet<PathBuf> = named.map(PathBuf::from).collect();
    wanted.insert("root".into());
    if let Some(home) = resolved(directory, Path::new("home"))? {
        let below = beneath::open(directory, &home, OFlags::RDONLY | OFlags::DIRECTORY)?;
        wanted.extend(beneath::entries(&below)?.into_iter().map(|name| home.join(name)));
    }
    let mut homes = BTreeSet::new();
    for home in wanted {
        if home.as_os_str().is_empty() || NO_HOMES.iter().any(|system| home.starts_with(system)) {
            continue;
        }
        let Some(home) = resolved(directory, &home)? else { continue };
        let opened = beneath::open(directory, &home, OFlags::PATH)?;
        let is_home = FileType::from_raw_mode(fstat(&opened)?.st_mode) == FileType::Directory;
        if is_home && !home.as_os_str().is_empty() {
            homes.insert(home);
        }
    }
    Ok(homes)
}

/// The path below `root` that a path leads to once its symbolic links are followed; none when nothing is there.
fn resolved(root: &OwnedFd, path: &Path) -> io::Result<Option<PathBuf>> {
    let mut found = PathBuf::new();
    let mut left: Vec<PathBuf> = vec![path.to_owned()];
    let mut links = 0;
    while let Some(next) = left.pop() {
        let mut components = next.components();
        let Some(component) = components.next() else { continue };
        left.push(components.as_path().to_owned());
        match component {
            Component::RootDir => found = PathBuf::new(),
            Component::ParentDir => drop(found.pop()),
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                let here = found.join(name);
                let opened = match beneath::open(root, &here, OFlags::PATH | OFlags::NOFOLLOW) {
                    Err(error) if beneath::is_absent(&error) => return Ok(None),
                    opened => opened?,
                };
                if FileType::from_raw_mode(fstat(&opened)?.st_mode) != FileType::Symlink {
                    found = here;
                    continue;
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let target = readlinkat(&opened, "", Vec::new())?;
                left.push(OsString::from_vec(target.into_bytes()).into());
            }
        }
    }
    Ok(Some(found))
}

/// The content of a regular file, which has to be a small one.
fn content(root: &OwnedFd, path: &Path) -> io::Result<Vec<u8>> {
    let file = File::from(beneath::open(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let users = "root:x:0:0::/root:/bin/sh\nci:x:1:1::/home/ci:/bin/sh\njenkins:x:3:3::/var/lib/jenkins:/x\n\
            daemon:x:2:2::/usr/sbin:/x\nnobody:x:9:9::/nonexistent:/x\n";
        for (path, text) in [("etc/passwd", users)].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// The findings: places below the root.
    fn found(root: &tempfile::TempDir, kind: FindingKind) -> Vec<String> {
        let findings = Machine::at(root.path()).unwrap().logins().into_iter().filter(|it| it.kind == kind);
        let mut places: Vec<_> = findings.map(|it| it.place[root.path().as_os_str().len() + 1..].to_owned()).collect();
        places.sort();
        places
    }

    #[test]
    fn logins_are_found_in_every_home_and_what_only_looks_like_one_is_not() {
        let root = machine(&[
            ("home/ci/.docker/config.json", r#"{"auths": {"r": {"auth": "QVdTOnB3"}}}"#),
            ("home/old/.netrc", "machine x login u password p"),
            ("home/old/.npmrc", "//r/:_authToken=${NPM_TOKEN}"),
            ("root/.docker/config.json", r#"{"auths": {"r": {}}, "credHelpers": {"x": "ecr-login"}}"#),
            ("root/.aws/config", "[default]\nregion = x"),
            ("root/.config/pip/pip.conf", "index-url = https://u:p4ssw0rd@r/simple"),
            ("root/.m2/settings.xml", "<password>${env.X}</password>"),
            ("var/lib/jenkins/.aws/credentials", "x"),
            (".vault-token", "of the machine itself"),
            ("usr/sbin/.netrc", "password x"),
        ]);
        let expected = [
            ".vault-token",
            "home/ci/.docker/config.json",
            "home/old/.netrc",
            "root/.config/pip/pip.conf",
            "var/lib/jenkins/.aws/credentials",
        ];
        assert_eq!(found(&root, FindingKind::Machine), expected);
        assert_eq!(found(&root, FindingKind::Unread), Vec::<String>::new());
    }

    #[test]
    fn links_lead_where_the_machine_would_go_and_no_further() {
        let root = machine(&[("data/home/u/.netrc", "password x"), ("root/x", ""), ("elsewhere/token", "x")]);
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("credentials"), "x").unwrap();
        let path = |path: &str| root.path().join(path);
        fs::create_dir_all(path("root/.aws")).unwrap();
        symlink("/data/home", path("home")).unwrap();
        symlink("/elsewhere/token", path("root/.vault-token")).unwrap();
        symlink(outside.path().join("credentials"), path("root/.aws/credentials")).unwrap();
        symlink("../../../../../../elsewhere/token", path("root/.git-credentials")).unwrap();
        assert_eq!(
            found(&root, FindingKind::Machine),
            ["data/home/u/.netrc", "root/.git-credentials", "root/.vault-token"]
        );
        assert!(Machine::at(root.path()).unwrap().shapes(Path::new("data/home/u/x")) == Shapes::All);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_a_machine_without_users_is_none() {
        let root =
            machine(&[("home/ci/x", ""), ("root/.netrc/x", ""), ("root/.npmrc", &"x".repeat(LARGEST as usize + 1))]);
        symlink(".kube", root.path().join("root/.kube")).unwrap();
        assert_eq!(found(&root, FindingKind::Unread), ["root/.kube/config", "root/.netrc", "root/.npmrc"]);
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        assert!(Machine::at(root.path()).is_err());
        assert!(TELLING.is_ok());
    }
}
