//! The real bytes of files that Git LFS keeps, got by git-lfs itself into a clone of ours.
//!
//! **Invariant:** nothing that the repository says is run: git's configuration in a clone is ours, hooks are off, and of a
//! `.lfsconfig` git-lfs takes no more than where the files are. A login is told to git only for the origin it was meant for,
//! and neither written nor shown to anybody's credential helper. What arrives is held against its pointer.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use git2::Repository;

use super::address::Address;
use super::credentials::Keys;
use super::pointer::Pointer;
use super::{Watch, program};
use crate::child;
use crate::failure::{Failure, Kind};
use crate::scratch::Scratch;

/// Files that a message names.
const NAMED: usize = 5;
/// What git's credential helper is for the run: it tells, and never remembers.
const HELPER: &str = r#"!f() { test "$1" != get || printf 'username=%s\npassword=%s\n' "$CACHEWARM_LFS_USER" "$CACHEWARM_LFS_PASSWORD"; }; f"#;

/// Where the work trees of a clone came from.
#[derive(Debug, Clone)]
pub(in crate::source) struct Origins {
    /// The root of each work tree, and its address; submodules come after what they are in.
    pub(super) trees: Vec<(PathBuf, Address)>,
    pub(super) keys: Keys,
}

/// How many files there are, and some of them by their names below a directory.
pub(in crate::source) fn named(pointers: &[Pointer], root: &Path) -> String {
    let name = |pointer: &Pointer| {
        let path = pointer.path.strip_prefix(root).unwrap_or(&pointer.path);
        path.display().to_string().replace(char::is_control, "?")
    };
    let names: Vec<String> = pointers.iter().take(NAMED).map(name).collect();
    let more = if pointers.len() > NAMED { ", …" } else { "" };
    let files = if pointers.len() == 1 { "file" } else { "files" };
    format!("{} {files} ({}{more})", pointers.len(), names.join(", "))
}

impl Origins {
    /// Puts the files into the clone that pointers stand for.
    ///
    /// # Errors
    /// Explained: no git-lfs, a server that does not give, bytes that are not those of the pointer.
    pub(in crate::source) fn fill(&self, pointers: &[Pointer], watch: &Watch) -> anyhow::Result<()> {
        let root = self.trees.first().map_or(Path::new("/"), |(root, _)| root);
        let files = named(pointers, root);
        let installed = child::command("git-lfs").arg("version").output().is_ok_and(|done| done.status.success());
        if !installed {
            let what = format!("the build needs {files} from Git LFS, and git-lfs is not here to get them");
            return Err(Failure::new(Kind::Environment, what, INSTALL));
        }
        let mut by_tree: BTreeMap<usize, Vec<&Pointer>> = BTreeMap::new();
        for pointer in pointers {
            let tree = self.trees.iter().rposition(|(tree, _)| pointer.path.starts_with(tree));
            by_tree.entry(tree.context("a file outside of the clone")?).or_default().push(pointer);
        }
        for (tree, pointers) in by_tree {
            let (tree, address) = &self.trees[tree];
            self.fill_tree(tree, address, &pointers, watch).map_err(|error| {
                let what = format!("could not get {files} from Git LFS");
                Failure::because(error, Kind::Environment, what, CHECK)
            })?;
        }
        let empty: Vec<Pointer> = pointers.iter().filter(|pointer| !pointer.is_filled()).cloned().collect();
        if empty.is_empty() {
            return Ok(());
        }
        let what = format!("what Git LFS gave is not what its pointers say, of {}", named(&empty, root));
        Err(Failure::new(Kind::Environment, what, CHECK))
    }

    fn fill_tree(&self, tree: &Path, address: &Address, pointers: &[&Pointer], watch: &Watch) -> anyhow::Result<()> {
        let own = Repository::open(tree)?.path().to_owned();
        let (storage, config) = (own.join("lfs"), own.join("config"));
        let before = fs::read(&config)?;
        let done = self.check_out(tree, &storage, address, pointers, watch);
        // git-lfs keeps a second copy of the files, and writes down what the server asked for.
        fs::write(&config, before)?;
        match fs::remove_dir_all(&storage) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => done.and(Err(error.into())),
            _ => done,
        }
    }

    fn check_out(
        &self,
        tree: &Path,
        storage: &Path,
        address: &Address,
        pointers: &[&Pointer],
        watch: &Watch,
    ) -> anyhow::Result<()> {
        let scratch = Scratch::new("cachewarm-lfs-")?;
        let (list, said) = (scratch.path().join("list"), scratch.path().join("said"));
        let mut names = Vec::new();
        for pointer in pointers {
            names.extend_from_slice(pointer.path.strip_prefix(tree)?.as_os_str().as_bytes());
            names.push(0);
            // What is there as it was checked out is not checked out again.
            fs::remove_file(&pointer.path)?;
        }
        fs::write(&list, names)?;

        let mut git = program::command();
        git.env_remove("GIT_LFS_SKIP_SMUDGE");
        git.arg("-C").arg(tree).arg("checkout").arg("--quiet");
        git.arg(format!("--pathspec-from-file={}", list.display())).arg("--pathspec-file-nul");
        git.env("GIT_LITERAL_PATHSPECS", "1").envs(self.configuration(address)?).stdout(Stdio::null());
        let done = program::run(git, &said, watch, || bytes_below(storage))?;
        done.map_err(|said| anyhow::anyhow!("git said: {}", address.redacted(&said)))
    }

    /// git's configuration for the run, in variables: the command line is everybody's to read.
    fn configuration(&self, address: &Address) -> anyhow::Result<Vec<(String, OsString)>> {
        let remote = match address.is_local() && !address.remote.contains("://") {
            true => std::path::absolute(&address.remote)?.into_os_string(),
            false => OsString::from(&address.remote),
        };
        let mut settings: Vec<(String, OsString)> = vec![
            ("remote.origin.url".to_owned(), remote),
            ("filter.lfs.process".to_owned(), "git-lfs filter-process".into()),
            ("filter.lfs.smudge".to_owned(), "git-lfs smudge -- %f".into()),
            ("filter.lfs.clean".to_owned(), "git-lfs clean -- %f".into()),
            ("filter.lfs.required".to_owned(), "true".into()),
        ];
        let mut variables = Vec::new();
        if let Some((origin, user, password)) = self.keys.login() {
            let helper = format!("credential.{origin}.helper");
            // An empty one forgets those of the machine, which would be told to remember.
            settings.extend([(helper.clone(), OsString::new()), (helper, HELPER.into())]);
            variables.push(("CACHEWARM_LFS_USER".to_owned(), user.into()));
            variables.push(("CACHEWARM_LFS_PASSWORD".to_owned(), password.reveal().into()));
        }
        variables.push(("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string().into()));
        for (number, (name, value)) in settings.into_iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{number}"), name.into()));
            variables.push((format!("GIT_CONFIG_VALUE_{number}"), value));
        }
        Ok(variables)
    }
}

/// Bytes of all files below a directory.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

const INSTALL: &str = "install git-lfs; or name the files in .dockerignore where the build needs none of them; or check the repository out \
     with `git lfs pull` and give it with --context";
const CHECK: &str = "check with `git clone` and `git lfs pull` that the server gives them to this login";
