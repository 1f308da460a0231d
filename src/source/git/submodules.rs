//! Submodules, cloned as git lays them out: their repositories below `.git/modules`, and a `.git` file that points there.
//!
//! git's own layout matters because the `.git` file is part of the context. libgit2's submodule calls would write the
//! URLs into configuration files, so they are not used. **Invariant:** nothing a repository says leads outside of the
//! checkout, nor to credentials or directories that were not meant for it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};
use git2::{Commit, Config, ObjectType, Oid, Repository, RepositoryInitOptions};

use super::address::Address;
use super::{Client, Laid, Wanted, work_tree};

/// Submodules nested deeper than this are taken for a circle.
const DEEPEST: usize = 16;

const LINK: i32 = 0o160_000;

/// Clones all submodules of `commit`, recursively, below `root`, and adds what they track to what is `laid` out.
pub(super) fn clone(
    client: &Client<'_>,
    address: &Address,
    repository: &Repository,
    commit: &Commit<'_>,
    root: &Path,
    laid: &mut Laid,
) -> anyhow::Result<()> {
    let place = Place { root, below: PathBuf::new(), modules: PathBuf::from(".git/modules"), depth: 0 };
    clone_below(client, address, repository, commit, &place, laid)
}

/// Where a repository's submodules go.
struct Place<'a> {
    root: &'a Path,
    /// The repository's work tree, below the root.
    below: PathBuf,
    /// Where its submodules' repositories go, below the root.
    modules: PathBuf,
    depth: usize,
}

/// One submodule, as `.gitmodules` and the tree tell of it.
#[derive(Debug, Default)]
struct Submodule {
    name: String,
    path: String,
    url: String,
    skipped: bool,
}

fn clone_below(
    client: &Client<'_>,
    address: &Address,
    repository: &Repository,
    commit: &Commit<'_>,
    place: &Place<'_>,
    laid: &mut Laid,
) -> anyhow::Result<()> {
    for submodule in declared(repository, commit)? {
        let Some(id) = linked(commit, &submodule.path).filter(|_| !submodule.skipped) else { continue };
        clone_one(client, address, id, &submodule, place, laid)
            .with_context(|| format!("submodule {}", place.below.join(&submodule.path).display()))?;
    }
    Ok(())
}

fn clone_one(
    client: &Client<'_>,
    address: &Address,
    id: Oid,
    submodule: &Submodule,
    place: &Place<'_>,
    laid: &mut Laid,
) -> anyhow::Result<()> {
    let Submodule { name, path, url, .. } = submodule;
    ensure!(place.depth < DEEPEST, "submodules are nested more than {DEEPEST} deep");
    ensure!(is_plain(name) && is_plain(path), "its name or path leads elsewhere");
    let its = address.submodule(url);
    ensure!(!its.is_local() || address.is_local(), "{} is a directory of this machine", its.shown());
    let below = place.below.join(path);
    let directory = place.root.join(&below);
    ensure!(is_real_directory(place.root, &below), "{} is not a directory of the checkout", below.display());
    let git = place.modules.join(name);

    let mut options = RepositoryInitOptions::new();
    options.external_template(false).mkpath(true).no_dotgit_dir(true).workdir_path(&directory);
    let inner = Repository::init_opts(place.root.join(&git), &options)?;
    let commit = client.fetch(&inner, &its, &Wanted::Commit(id))?;
    client.check_out(&inner, &commit, &directory)?;
    // libgit2 wrote an absolute path there; git writes a relative one.
    let up = below.components().map(|_| "../").collect::<String>();
    fs::write(directory.join(".git"), format!("gitdir: {up}{}\n", git.display()))?;

    work_tree::record(&inner, &[below.as_os_str().as_encoded_bytes(), b"/"].concat(), &mut laid.recorded)?;
    laid.trees.push((directory, its.clone()));
    let place = Place { root: place.root, below, modules: git.join("modules"), depth: place.depth + 1 };
    clone_below(client, &its, &inner, &commit, &place, laid)
}

/// What the commit's `.gitmodules` declares. It is read from the commit, never through a link on disk.
fn declared(repository: &Repository, commit: &Commit<'_>) -> anyhow::Result<Vec<Submodule>> {
    let tree = commit.tree()?;
    let Some(entry) = tree.get_name(".gitmodules").filter(|entry| entry.filemode() & 0o170_000 == 0o100_000) else {
        return Ok(Vec::new());
    };
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), without_includes(repository.find_blob(entry.id())?.content()))?;
    let mut submodules: Vec<Submodule> = Vec::new();
    let config = Config::open(file.path()).context("reading .gitmodules")?;
    config.entries(Some("^submodule\\."))?.for_each(|entry| {
        let (Ok(key), Ok(value)) = (entry.name(), entry.value()) else { return };
        let Some((name, field)) = key.strip_prefix("submodule.").and_then(|key| key.rsplit_once('.')) else { return };
        if !submodules.iter().any(|known| known.name == name) {
            submodules.push(Submodule { name: name.to_owned(), ..Submodule::default() });
        }
        let Some(submodule) = submodules.iter_mut().find(|known| known.name == name) else { return };
        match field {
            "path" => submodule.path = value.trim_end_matches('/').to_owned(),
            "url" => submodule.url = value.to_owned(),
            "update" => submodule.skipped = value == "none",
            _ => {}
        }
    })?;
    Ok(submodules)
}

/// A configuration whose sections `include` and `includeIf` have another name. git does not follow them in `.gitmodules`;
/// libgit2 does, to files of this machine.
fn without_includes(configuration: &[u8]) -> Vec<u8> {
    const SECTION: &[u8] = b"[include";
    let mut configuration = configuration.to_vec();
    for at in 0..configuration.len() {
        if let Some(section) = configuration.get_mut(at..at + SECTION.len())
            && section.eq_ignore_ascii_case(SECTION)
        {
            section.copy_from_slice(b"[ignored");
        }
    }
    configuration
}

/// The commit a tree links to at a path.
fn linked(commit: &Commit<'_>, path: &str) -> Option<Oid> {
    let entry = commit.tree().ok()?.get_path(Path::new(path)).ok()?;
    (entry.filemode() == LINK && entry.kind() == Some(ObjectType::Commit)).then(|| entry.id())
}

/// A relative path that goes only downwards.
fn is_plain(path: &str) -> bool {
    let components: Vec<Component<'_>> = Path::new(path).components().collect();
    !components.is_empty() && components.iter().all(|part| matches!(part, Component::Normal(name) if *name != ".git"))
}

/// Whether a path below `root` is a directory that no symbolic link leads through.
fn is_real_directory(root: &Path, below: &Path) -> bool {
    let mut path = root.to_owned();
    below.components().all(|part| {
        path.push(part);
        fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir())
    })
}
