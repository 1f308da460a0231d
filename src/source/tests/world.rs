//! The words the tests of this module are written in: repositories made by git, and what we obtain from them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::auth::Secret;
use crate::event::Events;
use crate::failure::{Failure, Kind};
use crate::source::{Checkout, ModeRule, SourceSpec, obtain};

/// A folder with a repository in `app` that git made.
pub(super) struct World {
    folder: TempDir,
}

impl World {
    /// A repository with two commits on `main`, a branch `side`, an annotated tag `v1` on the first, a light one `v2`.
    pub(super) fn new() -> World {
        let world = World { folder: tempfile::tempdir().expect("a folder") };
        world.repository("app");
        world.git("app", &["tag", "-a", "v1", "-m", "one"]);
        world.write("app/text", "two", 0o644);
        world.git("app", &["commit", "-qam", "two"]);
        world.git("app", &["tag", "v2"]);
        world.git("app", &["branch", "side", "HEAD~1"]);
        world
    }

    /// One more repository, with a text, a script in a folder and a symbolic link.
    pub(super) fn repository(&self, name: &str) {
        fs::create_dir_all(self.path(name)).expect("a folder");
        self.git(name, &["init", "-q", "-b", "main"]);
        self.write(&format!("{name}/text"), "one", 0o644);
        self.write(&format!("{name}/bin/tools/run.sh"), "#!/bin/sh\n", 0o755);
        std::os::unix::fs::symlink("text", self.path(name).join("link")).expect("a link");
        self.git(name, &["add", "."]);
        self.git(name, &["commit", "-qm", "one"]);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
    }

    /// Runs git in a folder, with nothing of this machine's configuration, and gives what it printed.
    pub(super) fn git(&self, folder: &str, arguments: &[&str]) -> String {
        self.shell(folder, "git \"$@\"", arguments)
    }

    /// Runs a line of shell.
    pub(super) fn shell(&self, folder: &str, line: &str, arguments: &[&str]) -> String {
        let output = Command::new("sh")
            .args(["-ec", line, "sh"])
            .args(arguments)
            .current_dir(self.path(folder))
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
            .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@e"), ("GIT_COMMITTER_NAME", "a")])
            .envs([("GIT_COMMITTER_EMAIL", "a@e"), ("GIT_ALLOW_PROTOCOL", "file:http")])
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{line} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    pub(super) fn commit(&self, folder: &str, rev: &str) -> String {
        self.git(folder, &["rev-parse", &format!("{rev}^{{commit}}")])
    }

    /// What we would clone.
    pub(super) fn spec(&self, rev: Option<&str>) -> SourceSpec {
        SourceSpec::Repository {
            url: self.path("app").display().to_string(),
            rev: rev.map(str::to_owned),
            submodules: true,
            token: None,
        }
    }
}

/// A specification with another URL and token.
pub(super) fn at(url: &str, rev: Option<&str>, token: Option<&str>) -> SourceSpec {
    SourceSpec::Repository {
        url: url.to_owned(),
        rev: rev.map(str::to_owned),
        submodules: true,
        token: token.map(Secret::new),
    }
}

pub(super) fn try_obtain(spec: &SourceSpec) -> anyhow::Result<Checkout> {
    try_obtain_with(spec, None)
}

pub(super) fn try_obtain_with(spec: &SourceSpec, modes: Option<ModeRule>) -> anyhow::Result<Checkout> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(obtain(spec, modes, &Events::nobody()))
}

pub(super) fn obtained(spec: &SourceSpec) -> Checkout {
    try_obtain(spec).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The explanation of a failure: whose move it is, all that is said, and the hint.
pub(super) fn explanation<T>(result: anyhow::Result<T>) -> (Kind, String, String) {
    let error = result.err().expect("it failed");
    let failure = Failure::of(&error).unwrap_or_else(|| panic!("not explained: {error:#}"));
    (failure.kind, format!("{error:#}"), failure.hint.clone())
}

/// What BuildKit would see below a folder: path → permissions and content; `.git` folders left out.
pub(super) fn seen(checkout: &Checkout, folder: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let permissions = checkout.modes.permissions(&path, metadata.mode());
        let content = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).expect("a link").display())
        } else if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path());
            open.extend(entries.filter(|path| !path.ends_with(".git") || path.is_file()));
            "/".to_owned()
        } else {
            fs::read_to_string(&path).expect("a file")
        };
        let below = path.strip_prefix(folder).expect("below").display().to_string();
        seen.insert(below, format!("{permissions:o} {content}"));
    }
    seen
}

/// Whether any file below a folder has these bytes in it.
pub(super) fn any_file_has(folder: &Path, needle: &str) -> bool {
    let found = Command::new("grep").args(["-rqaF", needle]).arg(folder).status().expect("grep");
    found.success()
}
